"""`reproduce`: the shipped net again from the user's faces, what is refused, and both beside each other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fer_core import cli
from fer_core.cli_reproduce import SHIPPED, beside, check_data
from fer_core.config import RunConfig
from fer_core.data import open_store, resolve_config
from fer_core.data.store import Faces
from fer_core.environment import code_of, describe_environment
from fer_core.experiment import train_run
from fer_core.runs import Run, create_run, list_runs
from tests.faces import make_predictions, write_csv
from tests.made_runs import both, finished_run
from tests.toy import striped_faces, toy_config

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"train": 3, "public": 2, "private": 2}


@pytest.fixture
def data(tmp_path):
    return write_csv(tmp_path / "mine" / "fer2013.csv", striped_faces(**SIZES))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a finished run of two epochs, on faces that the user has too."""
    place = tmp_path_factory.mktemp("theirs")
    source = write_csv(place / "fer2013.csv", striped_faces(**SIZES))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RUNS", "CACHE", "SHIPPED"):
            patch.setenv(f"FER_{name}", str(place / name.lower()))
        run = create_run(resolve_config(toy_config(data=str(source), model="cnn6", tensorboard=False)), "one")
        train_run(run)
    return run.path


@pytest.fixture
def shipped(trained, tmp_path):
    """A net that came with the explorer."""
    return Run(shutil.copytree(trained, tmp_path / "shipped" / "fer2013-small"))


def reproduce(*words):
    return cli.main(["reproduce", *map(str, words)])


def test_other_code_is_named_before_the_training_begins(shipped, data, capsys):
    shipped.write_environment(shipped.environment() | {"code": {"version": "0.1.0", "source_hash": "0123456789ab"}})
    assert reproduce("small", "--data", data, "--device", "cpu", "--precision", "fp32") == 0
    ours = code_of(describe_environment())
    assert f"fer2013-small was trained by code 0.1.0 (0123456789ab), this is {ours}." in capsys.readouterr().err


@pytest.mark.parametrize(("net", "name"), SHIPPED.items())
def test_what_comes_with_the_explorer_is_what_its_recipe_trains(net, name):
    config = Run(Path(cli.__file__).parent / "weights" / name).config()
    assert config.recipe == net
    assert config.differences_from(RunConfig(recipe=net).resolved(1)) == {}


def test_the_same_faces_and_seed_give_the_same_figures(shipped, data, capsys):
    assert reproduce("small", "--data", data, "--device", "cpu", "--precision", "fp32", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["difference"] for row in values["rows"]] == [0.0] * (2 * (3 + 7))
    assert all(row["inside"] for row in values["rows"])
    assert values["n"] == {"public": 14, "private": 14} and values["shipped"] == "fer2013-small"
    [run] = list_runs()
    assert run.config().differences_from(shipped.config()).keys() == {"data"}


def test_another_seed_is_another_run_with_a_table_for_a_person(shipped, data, capsys):
    assert reproduce("small", "--data", data, "--seed", 5, "--name", "mine", "--view", "flip", "--device", "cpu") == 0
    text = capsys.readouterr().out
    assert "epoch 2/2" in text and "mine (seed 5) beside fer2013-small (seed 0)" in text
    assert "14 faces of private, view flip" in text and "balanced accuracy" in text and "recall surprise" in text
    assert text.strip().splitlines()[-1].endswith("of 20 figures lie inside")


def test_a_stopped_reproduction_goes_on_and_a_finished_one_is_shown(shipped, data, capsys):
    run = create_run(shipped.config().changed(data=str(data)), "again")
    train_run(run, on_step=lambda share: run.stop_file.touch())
    assert run.status().state == "stopped"
    assert reproduce("small", "--resume", "again") == 0
    first = capsys.readouterr().out
    assert run.status().state == "done" and "epoch 2/2" in first
    assert reproduce("small", "--resume", "again") == 0
    assert first.endswith(capsys.readouterr().out)  # nothing is trained, the table is the same


def test_a_stop_is_told_with_the_way_to_go_on(shipped, data, capsys, monkeypatch):
    monkeypatch.setattr("fer_core.cli_reproduce.train_runs", lambda runs, queue: runs[0].update_status(state="stopped"))
    assert reproduce("small", "--data", data, "--name", "again") == 0
    said = capsys.readouterr()
    assert "python -m fer_core reproduce small --resume again" in said.err and said.out == ""


def test_other_faces_are_refused_before_there_is_a_run(shipped, tmp_path, capsys):
    more = write_csv(tmp_path / "more.csv", striped_faces(train=4, public=2, private=2))
    assert reproduce("small", "--data", more) == 2
    assert "28 faces in train, and fer2013-small was trained on FER2013 with 21." in capsys.readouterr().err
    faces = striped_faces(**SIZES)
    swapped = replace(faces, labels_N=np.where(faces.labels_N == 0, 3, faces.labels_N))
    assert reproduce("small", "--data", write_csv(tmp_path / "labels.csv", swapped)) == 2
    assert "21 in other shares of the emotions" in capsys.readouterr().err
    other = write_csv(tmp_path / "other.csv", striped_faces(**SIZES, seed=9))
    assert reproduce("small", "--data", other) == 2
    assert "only 0% of FER2013's public and private faces" in capsys.readouterr().err
    assert list_runs() == []


def test_the_drawn_sample_is_refused(shipped, capsys):
    assert reproduce("small", "--data", "sample") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: drawn sample faces: ") and error.count("\n") == 1


def test_the_same_faces_in_another_order_are_taken_and_said(shipped, tmp_path):
    faces = striped_faces(**SIZES)
    order = np.random.default_rng(1).permutation(len(faces.labels_N))
    mixed = Faces(faces.images_NHW[order], faces.labels_N[order], faces.splits_N[order])
    path = write_csv(tmp_path / "mixed.csv", mixed)
    store, config = open_store(str(path)), shipped.config().changed(data=str(path))
    assert "in another order: the figures will differ" in check_data(store, config, shipped)[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("smal",), "no shipped net named 'smal'. Did you mean 'small'?"),
        (("small/balanced",), "the shipped run fer2013-small-balanced is not there"),
        (("small", "--view", "ten-crop"), "no view named 'ten-crop'"),
        (("small", "--resume", "other"), "does not reproduce fer2013-small: it differs in lr."),
        (("small", "--resume", "fer2013-small"), "it is the shipped one itself"),
        (("small", "--resume", "other", "--seed", "3"), "--seed does not go with --resume"),
        (("small", "--data", "nowhere.csv"), "nowhere.csv"),
    ],
)
def test_what_cannot_be_reproduced_is_one_line(shipped, words, said, capsys):
    create_run(shipped.config().changed(lr=0.01), "other")
    assert reproduce(*words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_inside_is_within_the_shipped_figures_own_interval():
    labels = [0] * 100 + [3] * 100
    old = finished_run("old", both(make_predictions(labels, [0] * 80 + [3] * 120)))
    new = finished_run("new", both(make_predictions(labels, [0] * 60 + [3] * 140)))
    rows = {row["figure"]: row for row in beside(old, new)["rows"] if row["split"] == "private"}
    # 80 of 100: (0.8 + z²/200 ± z·sqrt(0.16/100 + z²/40000)) / (1 + z²/100), z = 1.96
    assert rows["recall angry"]["shipped_ci95"] == (pytest.approx(0.7112, abs=1e-4), pytest.approx(0.8666, abs=1e-4))
    assert rows["recall angry"]["difference"] == pytest.approx(-0.2) and not rows["recall angry"]["inside"]
    assert rows["recall happy"]["inside"] and not rows["accuracy"]["inside"]
