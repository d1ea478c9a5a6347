"""Runs that come with the explorer: found after the user's own, never written, shown with the user's own pictures."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from benchmarks.ship import ship, without_paths
from fer_core import launcher
from fer_core.cli import main
from fer_core.config import RunConfig
from fer_core.data import known as known_module
from fer_core.data import open_store
from fer_core.data.known import Known, find_faces
from fer_core.data.near import descriptors
from fer_core.data.store import Faces, pixel_hashes
from fer_core.errors import ConfigError, RunError
from fer_core.run_facts import read_facts, run_stamps
from fer_core.run_model import architecture, load_model, make_model
from fer_core.run_shelf import Binned, Notes, add_tag, bin_run, read_notes, restore, write_notes
from fer_core.runs import (
    EpochRecord,
    Run,
    create_run,
    damaged_runs,
    find_run,
    free_name,
    known_runs,
    list_runs,
    runs_folder,
    shipped_runs,
)
from fer_core.settings import Settings
from fer_core.train.checkpoint import load_checkpoint, save_weights
from tests.faces import make_predictions, store_of, write_csv, write_folder, write_run
from tests.toy import striped_images, toy_config

ROOT = Path(__file__).resolve().parent.parent
PAIR = ("fer2013-small", "fer2013-small-balanced")


def shipped(run: Run) -> Run:
    """Move a run of the user's to where the shipped ones lie."""
    Settings().shipped.mkdir(exist_ok=True)
    return Run(Path(shutil.move(run.path, Settings().shipped / run.name)))


def smooth_faces() -> Faces:
    """Seven train, seven public and seven private faces with shapes as large as a face's, so that they survive JPEG."""
    rng = np.random.default_rng(1)
    small = rng.integers(0, 256, (21, 6, 6), dtype=np.uint8)
    images = [np.asarray(Image.fromarray(one).resize((48, 48), Image.Resampling.BICUBIC)) for one in small]
    return Faces(np.stack(images), np.tile(np.arange(7), 3), np.repeat(np.arange(3, dtype=np.int8), 7))


FACES = smooth_faces()
HASHES = pixel_hashes(FACES.images_NHW)
KNOWN = Known(HASHES, descriptors(FACES.images_NHW))


def as_jpeg(images: np.ndarray) -> np.ndarray:
    def one(image: np.ndarray) -> np.ndarray:
        Image.fromarray(image).save(file := io.BytesIO(), "JPEG", quality=80)
        return np.asarray(Image.open(file))

    return np.stack([one(image) for image in images])


def judged(name: str, right: int = 5, **settings) -> Run:
    """A finished run on `FACES` that is right on so many of the seven faces of a split."""
    config = RunConfig(data="/home/someone/fer2013.csv", views=("none", "flip"), **settings).resolved(2)
    run = create_run(config, name)
    said = np.where(np.arange(7) < right, np.arange(7), (np.arange(7) + 1) % 7)
    answers = {}
    for code, split in enumerate(("public", "private"), start=1):
        one = make_predictions(np.arange(7), said, hashes=HASHES[FACES.splits_N == code])
        answers[split] = replace(one, more_NK={"flip": one.logits_NK, "ten_crop": one.logits_NK})
    run.write_predictions(answers)
    data = {"source": "/home/someone/fer2013.csv", "is_fer2013": True, "notes": ["From /mnt/x.csv, and/or not."]}
    run.write_environment({"machine": "a processor", "data": data})
    run.write_history([EpochRecord(e, 0.1, 1.5, 0.4, 1.4, 0.5, 0.3, 900.0, 9.0 * e) for e in (1, 2)])
    run.update_status(state="done", epoch=2, pid=4321, message="trained in /home/someone")
    return run


# --- found by name


def test_a_shipped_run_is_found_by_its_name_after_the_users_own():
    run = shipped(write_run(PAIR[0]))
    assert find_run(PAIR[0]) == run and run.shipped
    assert find_run(str(run.path)).shipped
    runs_folder().mkdir(exist_ok=True)
    own = Run(Path(shutil.copytree(run.path, runs_folder() / PAIR[0])))
    assert find_run(PAIR[0]) == own and not own.shipped
    assert shipped_runs() == []  # one name, one run


def test_the_list_of_runs_is_the_users_own_and_the_shipped_ones_come_after_it():
    for name in PAIR:
        shipped(write_run(name))
    write_run("mine")
    assert [run.name for run in list_runs()] == ["mine"]
    assert [run.name for run in known_runs()] == ["mine", *PAIR]
    assert [run.name for run in run_stamps()] == ["mine", *PAIR]


def test_what_ships_lies_in_the_package_unless_a_variable_says_otherwise(monkeypatch):
    monkeypatch.setenv("FER_SHIPPED", "")
    assert Settings().shipped == ROOT / "fer_core" / "weights"


def test_an_unknown_name_is_answered_with_what_ships():
    shipped(write_run(PAIR[0]))
    with pytest.raises(RunError, match="Did you mean 'fer2013-small'\\? Known: fer2013-small\\."):
        find_run("fer2013-smal")


def test_a_damaged_shipped_run_is_named_and_not_listed():
    (shipped(write_run(PAIR[0])).path / "config.json").write_text("{")
    assert known_runs() == []
    assert PAIR[0] in damaged_runs()[0]


# --- read-only


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run.update_status(state="queued"),
        lambda run: run.claim(),
        lambda run: run.requeue(),
        lambda run: write_notes(run, Notes(("mine",), "x")),
        lambda run: add_tag(run, "mine"),
        lambda run: bin_run(run, "done"),
    ],
)
def test_a_shipped_run_stays_as_it_is(change):
    run = shipped(write_run(PAIR[0], private=make_predictions([0])))
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(RunError, match="'fer2013-small' comes with the explorer and stays as it is"):
        change(run)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


def test_a_shipped_run_is_not_resumed(capsys):
    run = shipped(write_run(PAIR[0]))
    with pytest.raises(RunError, match="is done; only a stopped"):
        launcher.make_ready(run)
    assert main(["train", "--resume", PAIR[0], "--queue"]) == 2
    assert "comes with the explorer" in capsys.readouterr().err


def test_no_run_takes_a_shipped_runs_name(tmp_path):
    run = shipped(write_run("small-as-is"))
    with pytest.raises(RunError, match="'small-as-is' comes with the explorer; give another --name"):
        create_run(RunConfig(), "small-as-is")
    assert free_name(RunConfig()) == "small-as-is-2"
    binned = Binned(runs_folder() / ".bin" / "17.small-as-is")
    shutil.copytree(run.path, binned.path)
    with pytest.raises(RunError, match="none is restored over it. Move .* to .*small-as-is-2 to have it back"):
        restore(binned)
    assert binned.path.is_dir()


def test_its_notes_say_where_it_comes_from():
    assert read_notes(shipped(write_run(PAIR[0]))) == Notes(("shipped",), "Comes with the explorer.")


# --- its net


@pytest.mark.usefixtures("one_thread")
def test_its_net_needs_neither_data_nor_runs_of_ones_own(monkeypatch, tmp_path):
    config = toy_config()
    store = store_of(striped_images(np.arange(7), 48, np.random.default_rng(0)), range(7), [0] * 7)
    torch.manual_seed(3)
    pixels = torch.from_numpy(store.images_NHW)
    model = make_model(config, store, pixels).eval()
    run = judged(PAIR[0])
    save_weights(run.best, model, 2, architecture(config, 7, (48, 48)))
    shipped(run)
    monkeypatch.setenv("FER_DATA", str(tmp_path / "nowhere.csv"))
    faces = pixels[:, None] / 255
    with torch.no_grad():
        assert torch.equal(load_model(find_run(PAIR[0]))(faces), model(faces))
    started = make_model(config.changed(weights=PAIR[0]), store, pixels)
    assert torch.equal(next(started.parameters()), next(model.parameters()))
    with pytest.raises(ConfigError, match="Known: fer2013-small"):
        make_model(config.changed(weights="fer2013-smal"), store, pixels)


# --- its faces in the user's data


def test_a_face_is_found_by_its_very_pixels_wherever_it_stands():
    order = np.random.default_rng(2).permutation(21)
    store = store_of(FACES.images_NHW[order], FACES.labels_N[order], FACES.splits_N[order])
    rows = find_faces(store, HASHES, KNOWN)
    assert order[rows].tolist() == list(range(21))


def test_a_face_that_was_compressed_is_found_as_a_near_copy():
    order = np.random.default_rng(2).permutation(21)[:20]  # one face is left out
    store = store_of(as_jpeg(FACES.images_NHW)[order], FACES.labels_N[order], FACES.splits_N[order])
    assert not np.isin(HASHES, store.hashes_N).any()
    rows = find_faces(store, HASHES, KNOWN)
    assert np.flatnonzero(rows < 0).tolist() == list(set(range(21)) - set(order))
    assert order[rows[rows >= 0]].tolist() == np.flatnonzero(rows >= 0).tolist()


def test_a_face_of_another_size_is_found_too():
    large = np.stack([np.asarray(Image.fromarray(one).resize((96, 96))) for one in FACES.images_NHW])
    assert find_faces(store_of(large, FACES.labels_N, FACES.splits_N), HASHES, KNOWN).tolist() == list(range(21))


def test_faces_that_nobody_knows_are_not_found():
    store = store_of(as_jpeg(FACES.images_NHW), FACES.labels_N, FACES.splits_N)
    assert find_faces(store, np.array([1, 2], dtype=np.uint64), KNOWN).tolist() == [-1, -1]
    others = np.random.default_rng(7).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    assert find_faces(store_of(others, range(5), [0] * 5), HASHES, KNOWN).tolist() == [-1] * 21
    assert find_faces(store_of(others, range(5), [0] * 5), HASHES[:0], KNOWN).tolist() == []


def test_a_black_picture_is_like_no_other_and_is_found_by_its_pixels_alone():
    images = FACES.images_NHW.copy()
    images[3] = 0
    known = Known(pixel_hashes(images), descriptors(images))
    assert find_faces(store_of(images, FACES.labels_N, FACES.splits_N), known.hashes_M, known)[3] == 3
    nearly = images.copy()
    nearly[3] = 1
    assert find_faces(store_of(nearly, FACES.labels_N, FACES.splits_N), known.hashes_M, known)[3] == -1


def test_near_copies_are_looked_for_once(tmp_path, monkeypatch):
    faces = Faces(as_jpeg(FACES.images_NHW), FACES.labels_N, FACES.splits_N)
    source = str(write_csv(tmp_path / "fer2013.csv", faces))
    first = find_faces(open_store(source), HASHES, KNOWN)
    kept = next(open_store(source).folder.glob("known-*.npy"))
    monkeypatch.setattr(known_module, "descriptors", lambda images: pytest.fail("looked for again"))
    assert find_faces(open_store(source), HASHES, KNOWN).tolist() == first.tolist() == list(range(21))
    monkeypatch.undo()
    kept.write_bytes(b"\x93NUMPY damaged")
    assert find_faces(open_store(source), HASHES, KNOWN).tolist() == first.tolist()


# --- the command line


def test_the_commands_take_it_by_its_name(capsys):
    for name, right in zip(PAIR, (4, 6), strict=True):
        shipped(judged(name, right))
    judged("mine", 5)
    assert main(["evaluate", PAIR[0], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == pytest.approx(4 / 7)
    assert main(["compare", *PAIR, "--view", "flip", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy_delta"] == pytest.approx(2 / 7)
    assert main(["runs", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["shipped"], row["state"]) for row in listed] == [
        ("mine", False, "done"), (PAIR[0], True, "done"), (PAIR[1], True, "done")
    ]  # fmt: skip
    assert main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["shipped" in line for line in lines] == [False, False, True, True]


# --- shipping


@pytest.fixture
def fer2013(monkeypatch):
    """As if FER2013 were the 21 faces."""
    for module in ("fer_core.data.known", "benchmarks.ship"):
        monkeypatch.setattr(f"{module}.load_known", lambda: KNOWN)


def with_weights(run: Run, values: int = 100) -> Run:
    weights = {"weight": torch.zeros(values, dtype=torch.bfloat16), "seen": torch.tensor(3)}
    torch.save({"format": 1, "model": weights, "epoch": 2, "architecture": {"name": "x"}, "optimizer": {}}, run.best)
    return run


def test_what_is_shipped_is_the_whole_run_and_nothing_of_the_machine(fer2013):
    run = with_weights(judged("trained", balance="sampler"))
    for name in ("last.pt", "events.out.tfevents.1", "train.log", "lock"):
        (run.path / name).write_bytes(b"/home/someone")
    folder = ship(run, PAIR[0])
    assert folder == Settings().shipped / PAIR[0]
    files = {"config.json", "environment.json", "history.jsonl", "status.json", "predictions.npz", "best.pt"}
    assert {path.name for path in folder.iterdir()} == files
    assert not any(b"someone" in path.read_bytes() for path in folder.iterdir())
    found = find_run(PAIR[0])
    assert found.config() == run.config().changed(data=None)
    assert found.history() == run.history()
    assert (found.status().state, found.status().pid) == ("done", None)
    assert found.status().created == run.status().created
    assert found.environment()["data"] == {
        "source": "fer2013.csv", "is_fer2013": True, "notes": ["From x.csv, and/or not."]
    }  # fmt: skip
    assert read_facts(found).kind.title == "FER2013"
    saved = load_checkpoint(found.best)
    assert set(saved) == {"model", "epoch", "architecture"}
    assert {name: tensor.dtype for name, tensor in saved["model"].items()} == {
        "weight": torch.float32, "seen": torch.int64
    }  # fmt: skip
    for split in ("public", "private"):
        assert found.views(split) == ("none", "flip")
        before, after = run.predictions(split, "flip"), found.predictions(split, "flip")
        for name in ("hashes_N", "labels_N", "logits_NK"):
            assert np.array_equal(getattr(before, name), getattr(after, name))


def test_what_cannot_be_shipped_is_refused_in_one_line_and_leaves_nothing(fer2013):
    stopped = judged("stopped")
    stopped.update_status(state="stopped")
    without_flip = judged("plain")
    without_flip.write_predictions({s: without_flip.predictions(s) for s in ("public", "private")})
    strange = judged("strange")
    one = strange.predictions("public")
    both = replace(one, hashes_N=one.hashes_N + np.uint64(1), more_NK={"flip": one.logits_NK})
    strange.write_predictions({"public": both, "private": both})
    large = with_weights(judged("large"), 1_000_000)
    tuned = judged("tuned", weights="/home/someone/best.pt")
    refusals = {
        stopped: "is stopped; only one that is done", without_flip: "not judged by the view 'flip'",
        strange: "7 of the 7 public faces of run 'strange' are not FER2013's", large: "best.pt has 4,0",
        tuned: "--weights /home/someone/best.pt, which others do not have",
    }  # fmt: skip
    for run, text in refusals.items():
        with pytest.raises(RunError, match=text) as caught:
            ship(run, PAIR[0])
        assert "\n" not in str(caught.value)
    assert list(Settings().shipped.glob("*")) == []
    with pytest.raises(RunError, match="cannot name a run"):
        ship(stopped, "../x")


def test_nothing_is_shipped_over_another(fer2013):
    ship(with_weights(judged("trained")), PAIR[0])
    with pytest.raises(ValueError, match="is there already, and nothing is overwritten"):
        ship(find_run("trained"), PAIR[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/tmp/fer/fer2013.csv", "fer2013.csv"),
        ("C:\\Users\\me\\fer2013.csv", "fer2013.csv"),
        ("~/data/faces: 3 rows", "faces: 3 rows"),
        ("accuracy/loss 3/4 https://x.org/y", "accuracy/loss 3/4 https://x.org/y"),
    ],
)
def test_of_a_path_the_last_part_is_left(text, expected):
    assert without_paths({"a": [text]}) == {"a": [expected]}


# --- pages


def open_page(name: str, **query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=90).switch_page(f"pages/{name}.py")
    at.query_params.update(query)
    at.run()
    assert not at.exception and not at.error
    return at


def text_of(at: AppTest) -> str:
    blocks = [*at.markdown, *at.caption, *at.title, *at.subheader, *at.info, *at.warning]
    return "\n".join(str(block.value) for block in blocks)


@pytest.fixture
def pair(fer2013) -> list[Run]:
    return [shipped(judged(name, right)) for name, right in zip(PAIR, (3, 6), strict=True)]


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FER_DATA", str(write_csv(tmp_path / "fer2013.csv", FACES)))
    return tmp_path / "fer2013.csv"


def test_a_newcomer_sees_the_shipped_pair_compared(pair, source):
    at = open_page("compare")
    assert [at.selectbox(key=key).value for key in "ab"] == list(PAIR)
    assert at.metric[0].label == "Accuracy, B"
    assert "fer2013-small and fer2013-small-balanced come with the explorer" in text_of(at)
    at.selectbox(key="b").set_value(None).run()
    assert at.selectbox(key="b").value is None  # one alone is a choice too
    assert at.metric[0].label == "Accuracy"


def test_what_the_address_names_is_compared(pair, source):
    assert open_page("compare", a=PAIR[1]).selectbox(key="b").value is None
    assert open_page("compare", a=PAIR[1], b=PAIR[0]).selectbox(key="a").value == PAIR[1]


def test_runs_of_ones_own_come_first_and_alone(pair, source):
    judged("mine")
    at = open_page("compare")
    assert at.selectbox(key="a").options == ["mine", *PAIR]
    assert (at.selectbox(key="a").value, at.selectbox(key="b").value) == ("mine", None)
    assert "come with" not in text_of(at) and "comes with" not in text_of(at)
    assert open_page("mistakes").selectbox(key="run").value == "mine"


def test_mistakes_of_a_shipped_run_have_the_pictures_of_the_open_data(pair, source):
    at = open_page("mistakes")
    assert at.selectbox(key="run").value == PAIR[0]
    text = text_of(at)
    assert "4 of 7 faces" in text and "comes with the explorer" in text
    assert "without a picture" not in text and len(at.dataframe) == 0


def test_pictures_that_are_not_there_are_counted(pair, tmp_path, monkeypatch):
    kept = np.delete(np.arange(21), [15, 17])  # two private faces
    faces = Faces(as_jpeg(FACES.images_NHW)[kept], FACES.labels_N[kept], FACES.splits_N[kept])
    monkeypatch.setenv("FER_DATA", str(write_folder(tmp_path / "faces", faces, suffix=".png")))
    text = text_of(open_page("mistakes", show="all"))
    assert "2 of 7 faces are not in your data and shown without a picture." in text


@pytest.mark.parametrize("data", ["sample", "nowhere.csv"])
def test_without_fer2013_the_answers_are_a_table_and_one_line_says_how_to_see_the_faces(pair, data, monkeypatch):
    monkeypatch.setenv("FER_DATA", data)
    at = open_page("mistakes", show="all")
    [line] = [box.value for box in at.info]
    assert "The 7 faces are FER2013's" in line and "`FER_DATA`" in line and "Data page" in line
    table = at.dataframe[0].value
    answers = list(zip(table["labelled"], table["taken for"], strict=True))
    assert sorted(answers) == [
        ("angry", "angry"), ("disgust", "disgust"), ("fear", "fear"), ("happy", "sad"), ("neutral", "angry"),
        ("sad", "surprise"), ("surprise", "neutral"),
    ]  # fmt: skip
    assert "labelled **{}**, taken for **{}**".format(*answers[0]) in text_of(at)
    assert "McNemar p" in text_of(open_page("compare"))


def test_the_runs_page_lists_them_last_and_marked(pair, source):
    judged("mine", 3)
    at = open_page("runs", published="false")
    table = at.dataframe[0].value
    assert list(table["name"]) == ["mine", *PAIR]
    assert [list(tags) for tags in table["tags"]] == [[], ["shipped"], ["shipped"]]
    assert list(table["note"])[1] == "Comes with the explorer."


def test_on_the_runs_page_a_shipped_run_is_neither_noted_nor_deleted(pair, source):
    judged("mine", 3)
    at = open_page("runs", chosen=PAIR[0])
    assert {button.label: button.disabled for button in at.button}["Delete"]
    assert not at.text_area and "comes with the explorer" in text_of(at)
    both = open_page("runs", chosen=f"mine,{PAIR[0]}")
    delete = next(button for button in both.button if button.label == "Delete")
    assert not delete.disabled and not any(button.label.startswith("Tag all") for button in both.button)
    delete.click().run()
    assert [run.name for run in known_runs()] == list(PAIR)


def test_only_what_is_ones_own_makes_the_twin_step_ready(pair, source):
    compare = next(button for button in open_page("data").button if button.label == "Compare")
    assert compare.disabled


def test_where_nothing_ships_the_pages_are_empty_as_ever(source):
    for page in ("compare", "mistakes", "runs"):
        assert [button.label for button in open_page(page).button] == ["Go to Train"]
