"""What the drawn sample promises, with the real trainer: hard enough to teach, and balancing visibly helps."""

import json

import numpy as np
import pytest

from fer_core.cli import main
from fer_core.data import open_store
from fer_core.runs import Run, find_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The small net on the sample in its default epochs, as it is and with the sampler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("FER_RUNS", str(folder))
        assert main(["train", "--data", "sample", "--name", "as-is"]) == 0
        assert main(["train", "--data", "sample", "--balance", "sampler", "--name", "sampler"]) == 0
        yield folder


@pytest.fixture(autouse=True)
def places(trained, monkeypatch):
    monkeypatch.setenv("FER_RUNS", str(trained))


def evaluated(name: str, capsys) -> dict:
    capsys.readouterr()
    assert main(["evaluate", name, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_as_is_learns_the_sample_but_misses_disgust(capsys):
    report = evaluated("as-is", capsys)
    assert report["split"] == "private"
    assert report["n"] == 1000
    assert 0.60 <= report["accuracy"] <= 0.85
    assert report["per_class"]["disgust"]["recall"] <= 0.5


def test_the_sampler_finds_clearly_more_of_disgust(capsys):
    plain, balanced = evaluated("as-is", capsys), evaluated("sampler", capsys)
    assert balanced["per_class"]["disgust"]["recall"] >= plain["per_class"]["disgust"]["recall"] + 0.1
    assert balanced["accuracy"] >= plain["accuracy"] - 0.05


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")  # more steps fit train better, not private
def test_a_logistic_regression_on_pixels_stays_ten_points_below(capsys):
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    store = open_store("sample")
    train, private = (store.rows(split) for split in ("train", "private"))
    pixels = store.images_NHW.reshape(len(store), -1).astype(np.float32)
    scaler = StandardScaler().fit(pixels[train])
    model = LogisticRegression(max_iter=60, C=0.01).fit(scaler.transform(pixels[train]), store.labels_N[train])
    accuracy = model.score(scaler.transform(pixels[private]), store.labels_N[private])
    assert accuracy <= evaluated("as-is", capsys)["accuracy"] - 0.10


def test_the_comparison_needs_no_data(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("FER_CACHE", str(tmp_path))
    monkeypatch.setenv("FER_DATA", str(tmp_path / "nowhere"))
    capsys.readouterr()
    assert main(["compare", "as-is", "sampler", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["n"] == 1000
    assert values["recall_delta"]["disgust"] > 0


def test_a_run_is_whole(trained):
    run: Run = find_run("sampler")
    names = {path.name for path in run.path.iterdir()}
    wanted = {
        "config.json",
        "environment.json",
        "history.jsonl",
        "status.json",
        "predictions.npz",
        "best.pt",
        "last.pt",
    }
    assert wanted <= names
    assert run.status().state == "done"
    assert [record.epoch for record in run.history()] == list(range(1, 9))
