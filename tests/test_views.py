"""What a run trains on and what judges it: by hand, and through the real trainer for every label mode."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fer_core import experiment
from fer_core.catalog import LABELS
from fer_core.config import RunConfig
from fer_core.data import FaceStore, open_store
from fer_core.data.store import OUT, Faces
from fer_core.data.views import judged_view, training_view
from fer_core.errors import DataError, RunError
from fer_core.experiment import train_run
from fer_core.labels import CONTEMPT, EMOTIONS, FERPLUS_COLUMNS, FERPLUS_TO_EMOTION, SPLITS
from fer_core.run_model import load_model
from fer_core.runs import Run, create_run
from fer_core.train.loop import Trainer
from tests.faces import write_csv, write_votes
from tests.toy import striped_faces, toy_config

pytestmark = pytest.mark.usefixtures("one_thread")

FERPLUS = [mode for mode in LABELS if mode != "fer"]
EIGHT = (*EMOTIONS, CONTEMPT)
COLUMN_OF = {emotion: column for column, emotion in FERPLUS_TO_EMOTION.items()}

# What the taggers say of the k-th face of a split is pattern k % 5; own is FER2013's label, other the emotion after it.
OWN_10, OWN_6_OTHER_4, TIE, NO_FACE, CONTEMPT_8 = range(5)
PATTERNS: list[dict[str, int]] = [
    {"own": 10},
    {"own": 6, "other": 4},
    {"own": 5, "other": 5},
    {"NF": 10},
    {"contempt": 8, "own": 2},
]
KEPT_BY_MAJORITY = {OWN_10, OWN_6_OTHER_4, CONTEMPT_8}
KEPT_BY_OTHERS = KEPT_BY_MAJORITY | {TIE}
# 35 train, 21 public and 28 private faces: of the patterns 7 each; 5, 4, 4, 4, 4; 6, 6, 6, 5, 5.
TRAINED = {"fer": 35, "majority": 21, "probability": 28, "crossentropy": 28, "multi": 28}
TRAINED_WITHOUT_LEAKS = {"fer": 32, "majority": 19, "probability": 26, "crossentropy": 26, "multi": 26}
JUDGED = {"public": 13, "private": 17}


def toy_faces() -> Faces:
    """Three train faces are also elsewhere: the 4th (no face) in public, the first two in private."""
    faces = striped_faces()
    train, public, private = (np.flatnonzero(faces.splits_N == code) for code in range(3))
    images = faces.images_NHW.copy()
    images[public[0]], images[private[1]], images[private[2]] = images[train[3]], images[train[0]], images[train[1]]
    return replace(faces, images_NHW=images)


def patterns(splits_N: np.ndarray) -> np.ndarray:
    """Pattern of each row."""
    found = np.empty(len(splits_N), dtype=np.int64)
    for code in range(3):
        rows = np.flatnonzero(splits_N == code)
        found[rows] = np.arange(len(rows)) % len(PATTERNS)
    return found


def vote_row(label: int, pattern: int) -> list[int]:
    names = {"own": COLUMN_OF[EMOTIONS[label]], "other": COLUMN_OF[EMOTIONS[(label + 1) % 7]]}
    named = {names.get(who, who): n for who, n in PATTERNS[pattern].items()}
    return [named.get(column, 0) for column in FERPLUS_COLUMNS]


def toy_votes(faces: Faces) -> np.ndarray:
    rows = zip(faces.labels_N, patterns(faces.splits_N), strict=True)
    return np.array([vote_row(label, pattern) for label, pattern in rows], dtype=np.uint8)


def write_toy(folder: Path) -> Path:
    """A toy `fer2013.csv` with `fer2013new.csv` beside it."""
    faces = toy_faces()
    write_votes(folder / "fer2013new.csv", faces, toy_votes(faces))
    return write_csv(folder / "fer2013.csv", faces)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("data"))


@pytest.fixture
def store(data) -> FaceStore:
    return open_store(str(data))


def rows_with(store: FaceStore, split: str, kept: set[int]) -> list[int]:
    """Rows of a split whose pattern is one of these: from the words above, not from the code."""
    found = patterns(store.splits_N)
    return [row for row in np.flatnonzero(store.splits_N == SPLITS.index(split)).tolist() if found[row] in kept]


def majority_of(store: FaceStore, row: int) -> int:
    return 7 if patterns(store.splits_N)[row] == CONTEMPT_8 else int(store.labels_N[row])


def leaks(store: FaceStore) -> list[int]:
    train = np.flatnonzero(store.splits_N == 0)
    return train[[0, 1, 3]].tolist()


# --- the views ------------------------------------------------------------------------------------------------------


def test_fer_labels_without_anything_left_out_are_the_store_itself(store):
    config = RunConfig()
    assert training_view(store, config) is store
    assert judged_view(store, config) is store


@pytest.mark.parametrize("mode", FERPLUS)
def test_training_rows_are_those_that_the_mode_keeps(store, mode):
    view = training_view(store, RunConfig(labels=mode))
    kept = KEPT_BY_MAJORITY if mode == "majority" else KEPT_BY_OTHERS
    assert view.rows("train").tolist() == rows_with(store, "train", kept)
    assert view.classes == EIGHT and view.targets_NK.shape == (84, 8)
    assert len(view.rows("train")) == TRAINED[mode]


@pytest.mark.parametrize("mode", FERPLUS)
def test_every_ferplus_run_is_judged_on_the_same_majority_rows_and_labels(store, mode):
    view = judged_view(store, RunConfig(labels=mode))
    for split, n in JUDGED.items():
        rows = view.rows(split).tolist()
        assert rows == rows_with(store, split, KEPT_BY_MAJORITY) and len(rows) == n
        assert view.labels_N[rows].tolist() == [majority_of(store, row) for row in rows]
    assert view.fingerprint == judged_view(store, RunConfig(labels="majority")).fingerprint


@pytest.mark.parametrize("mode", FERPLUS)
def test_without_contempt_its_faces_are_in_neither_view(store, mode):
    config = RunConfig(labels=mode, contempt=False)
    train, judged = training_view(store, config), judged_view(store, config)
    assert train.classes == judged.classes == EMOTIONS
    kept = {OWN_10, OWN_6_OTHER_4} | (set() if mode == "majority" else {TIE})
    assert train.rows("train").tolist() == rows_with(store, "train", kept)
    for split in JUDGED:
        rows = judged.rows(split)
        assert rows.tolist() == rows_with(store, split, {OWN_10, OWN_6_OTHER_4})
        assert judged.labels_N[rows].tolist() == store.labels_N[rows].tolist()


def test_contempt_changes_nothing_for_fer_labels(store):
    assert training_view(store, RunConfig(contempt=False)) is store


def test_soft_targets_of_a_mode_reach_its_training_view(store):
    row = rows_with(store, "train", {OWN_6_OTHER_4})[0]
    own = store.labels_N[row]
    shares = dict.fromkeys(range(8), 0.0) | {int(own): 0.6, int(own + 1) % 7: 0.4}
    target = training_view(store, RunConfig(labels="crossentropy")).targets_NK[row]
    assert dict(enumerate(target.tolist())) == pytest.approx(shares)
    target = training_view(store, RunConfig(labels="majority")).targets_NK[row]
    assert target.tolist() == np.eye(8)[own].tolist()


@pytest.mark.parametrize("mode", LABELS)
def test_leaks_are_left_out_of_train_and_of_nothing_else(store, mode):
    config = RunConfig(labels=mode, leave_out=("leaks_into",))
    whole, view = training_view(store, config.changed(leave_out=())), training_view(store, config)
    gone = sorted(set(whole.rows("train").tolist()) - set(view.rows("train").tolist()))
    assert gone == sorted(set(leaks(store)) & set(whole.rows("train").tolist()))
    assert len(view.rows("train")) == TRAINED_WITHOUT_LEAKS[mode]
    assert view.fingerprint != whole.fingerprint
    assert (view.splits_N[leaks(store)] == OUT).all()
    judged = judged_view(store, config)
    assert judged.fingerprint == judged_view(store, config.changed(leave_out=())).fingerprint


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.0, {OWN_10, OWN_6_OTHER_4, TIE, NO_FACE, CONTEMPT_8}),
        (0.4, {OWN_10, OWN_6_OTHER_4, TIE, CONTEMPT_8}),  # of the no-faces, no emotion has a vote
        (0.5, {OWN_10, OWN_6_OTHER_4, TIE, CONTEMPT_8}),
        (0.6, {OWN_10, OWN_6_OTHER_4, CONTEMPT_8}),
        (0.8, {OWN_10, CONTEMPT_8}),
        (1.0, {OWN_10}),
    ],
)
def test_a_smallest_vote_share_keeps_what_reaches_it(store, share, kept):
    config = RunConfig(min_vote_share=share)
    assert training_view(store, config).rows("train").tolist() == rows_with(store, "train", kept)
    assert judged_view(store, config) is store
    both = config.changed(labels="majority")
    assert training_view(store, both).rows("train").tolist() == rows_with(store, "train", kept & KEPT_BY_MAJORITY)
    assert len(judged_view(store, both).rows("private")) == JUDGED["private"]


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"labels": "multi"}, "--labels multi"),
        ({"min_vote_share": 0.5}, "a smallest vote share"),
        ({"leave_out": ("low_agreement",)}, "leaving out low_agreement"),
    ],
)
def test_a_store_without_votes_says_what_needs_them(store, config, what):
    with pytest.raises(DataError, match=f"fer2013.csv: no FER. votes, which {what} needs. Put fer2013new.csv beside"):
        training_view(replace(store, votes_NV=None), RunConfig(**config))


def test_judging_by_majority_needs_votes(store):
    with pytest.raises(DataError, match="no FER. votes, which --labels majority needs"):
        judged_view(replace(store, votes_NV=None), RunConfig(labels="probability"))


def test_what_leaves_no_training_face_is_refused(store):
    nobody = store.votes_NV.copy()
    nobody[:] = vote_row(0, NO_FACE)
    with pytest.raises(DataError, match="no train face is left without not_a_face, vote shares below 0.5; leave out"):
        training_view(replace(store, votes_NV=nobody), RunConfig(leave_out=("not_a_face",), min_vote_share=0.5))


# --- through the trainer --------------------------------------------------------------------------------------------


class Spied:
    """A run of one epoch, and what its trainer was given."""

    def __init__(self, folder: Path, data: Path, **config: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FER_CACHE", str(folder / "cache"))
            patch.setenv("FER_RUNS", str(folder / "runs"))
            patch.setattr(experiment, "Trainer", lambda model, train, *rest: self._spied(model, train, *rest))
            self.run = create_run(toy_config(data=str(data), epochs=1, augment="none", **config), "one")
            train_run(self.run)
            self.store = open_store(str(data))
        self.data = self.run.environment()["data"]

    def _spied(self, model: Any, train: Any, *rest: Any) -> Trainer:
        self.given = train
        return Trainer(model, train, *rest)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, data: Path) -> dict[str, Spied]:
    return {mode: Spied(tmp_path_factory.mktemp(mode), data, labels=mode) for mode in LABELS}


def judged_rows(store: FaceStore, mode: str, split: str) -> list[int]:
    return rows_with(store, split, set(range(5)) if mode == "fer" else KEPT_BY_MAJORITY)


@pytest.mark.parametrize("mode", LABELS)
def test_a_run_of_each_mode_is_done_and_judged_on_its_rows(runs, mode):
    spied = runs[mode]
    assert spied.run.status().state == "done" and spied.run.splits() == ("public", "private")
    classes = EMOTIONS if mode == "fer" else EIGHT
    for split, n in {"public": 21, "private": 28}.items() if mode == "fer" else JUDGED.items():
        found, rows = spied.run.predictions(split), judged_rows(spied.store, mode, split)
        assert found.rows_N.tolist() == rows and len(rows) == n
        assert found.hashes_N.tolist() == spied.store.hashes_N[rows].tolist()
        own = spied.store.labels_N[rows].tolist()
        assert found.labels_N.tolist() == (own if mode == "fer" else [majority_of(spied.store, row) for row in rows])
        assert found.classes == classes and found.logits_NK.shape == (n, len(classes))
        assert np.isfinite(found.logits_NK).all()


@pytest.mark.parametrize("mode", LABELS)
def test_the_trainer_is_given_the_rows_that_the_mode_keeps(runs, mode):
    spied = runs[mode]
    kept = {"fer": set(range(5)), "majority": KEPT_BY_MAJORITY}.get(mode, KEPT_BY_OTHERS)
    rows = rows_with(spied.store, "train", kept)
    assert len(spied.given) == len(rows) == TRAINED[mode]
    np.testing.assert_array_equal(spied.given.images_NHW.numpy(), spied.store.images_NHW[rows])
    assert (spied.given.targets_NK is None) == (mode == "fer")
    assert load_model(spied.run).net.head.out_features == (7 if mode == "fer" else 8)


@pytest.mark.parametrize("mode", LABELS)
def test_the_environment_says_what_was_trained_on_and_what_judged(runs, mode):
    spied = runs[mode]
    found = json.loads((spied.run.path / "environment.json").read_text())["data"]
    assert found["judged_by"] == ("fer" if mode == "fer" else "majority")
    assert found["classes"] == list(EMOTIONS if mode == "fer" else EIGHT)
    totals = {split: sum(by_class.values()) for split, by_class in found["counts"].items()}
    assert totals == {"train": TRAINED[mode]} | ({"public": 21, "private": 28} if mode == "fer" else JUDGED)
    assert list(found["counts"]["train"]) == list(found["counts"]["private"]) == found["classes"]
    if mode == "fer":
        assert found["counts"]["train"] == dict.fromkeys(EMOTIONS, 5)
    else:
        # 8 of 10 chose contempt in every fifth face, whatever the mode makes of the others.
        assert [found["counts"][split]["contempt"] for split in SPLITS] == [7, 4, 5]
    assert (
        found["is_fer2013"] is False
        and found["fingerprint"] == training_view(spied.store, spied.run.config()).fingerprint
    )


def test_counts_of_the_majority_by_hand(runs):
    spied = runs["majority"]
    for split in SPLITS:
        rows = rows_with(spied.store, split, KEPT_BY_MAJORITY)
        by_hand = [sum(majority_of(spied.store, row) == code for row in rows) for code in range(8)]
        assert spied.data["counts"][split] == dict(zip(EIGHT, by_hand, strict=True))


@pytest.mark.parametrize("mode", LABELS)
def test_faces_that_also_stand_in_train_are_marked_also_where_the_mode_does_not_train_on_them(runs, mode):
    spied = runs[mode]
    # Public's first face is train's fourth, a no-face that FER+ modes drop; private's second and third are train's
    # first two, and the third has a tie, which is no majority.
    marked = {"public": [0], "private": [1, 2] if mode == "fer" else [1]}
    for split, places in marked.items():
        assert np.flatnonzero(spied.run.predictions(split).in_train_N).tolist() == places


def test_runs_of_all_ferplus_modes_can_be_compared_face_by_face(runs):
    found = [runs[mode].run.predictions("private") for mode in FERPLUS]
    assert len({one.fingerprint for one in found}) == 1
    assert {one.rows_N.tobytes() for one in found} == {found[0].rows_N.tobytes()}
    assert len({one.logits_NK.tobytes() for one in found}) > 1  # yet they were trained on other targets


def test_a_probability_run_and_a_soft_one_see_the_same_faces(runs):
    drawn, soft = runs["probability"].given, runs["crossentropy"].given
    assert torch.equal(drawn.images_NHW, soft.images_NHW) and torch.equal(drawn.targets_NK, soft.targets_NK)


@pytest.mark.parametrize("mode", ["fer", "majority"])
def test_a_run_without_leaks_trains_on_fewer_rows_and_is_judged_on_as_many(tmp_path, data, runs, mode):
    spied = Spied(tmp_path, data, labels=mode, leave_out=("leaks_into",))
    assert len(spied.given) == TRAINED_WITHOUT_LEAKS[mode] < TRAINED[mode]
    trained_on = {image.numpy().tobytes() for image in spied.given.images_NHW}
    assert not trained_on & {image.tobytes() for image in spied.store.images_NHW[leaks(spied.store)]}
    assert sum(spied.data["counts"]["train"].values()) == TRAINED_WITHOUT_LEAKS[mode]
    for split in ("public", "private"):
        found, whole = spied.run.predictions(split), runs[mode].run.predictions(split)
        assert found.rows_N.tolist() == whole.rows_N.tolist() and found.fingerprint == whole.fingerprint
        assert found.in_train_N.tolist() == whole.in_train_N.tolist()


def test_a_run_without_contempt_has_seven_classes(tmp_path, data):
    spied = Spied(tmp_path, data, labels="majority", contempt=False)
    assert spied.data["classes"] == list(EMOTIONS) and spied.data["judged_by"] == "majority"
    assert {split: sum(n.values()) for split, n in spied.data["counts"].items()} == {
        "train": 14, "public": 9, "private": 12,
    }  # fmt: skip
    assert spied.run.predictions("private").logits_NK.shape == (12, 7)


# --- going on with another view -------------------------------------------------------------------------------------


def stopped_run(data: Path, **config: Any) -> Run:
    """A run of two epochs that was stopped at its third step, with a checkpoint."""
    run = create_run(toy_config(data=str(data), **config), "one")
    steps = SimpleNamespace(n=0)

    def on_step(share: float) -> None:
        steps.n += 1
        if steps.n == 3:  # an epoch has three steps, or two where a mode keeps fewer faces
            run.stop_file.touch()

    train_run(run, on_step=on_step)
    assert run.status().state == "stopped" and run.last.exists()
    return run


OTHER_VIEWS = {
    "ferplus for fer": ("fer", {"labels": "majority"}),
    "fer for ferplus": ("majority", {"labels": "fer"}),
    "another mode": ("probability", {"labels": "crossentropy"}),
    "no contempt": ("majority", {"contempt": False}),
    "leaks left out": ("fer", {"leave_out": ("leaks_into",)}),
    "a vote share": ("fer", {"min_vote_share": 0.6}),
}


@pytest.mark.parametrize(("mode", "changes"), OTHER_VIEWS.values(), ids=OTHER_VIEWS)
def test_resuming_with_another_view_is_refused(data, store, mode, changes):
    run = stopped_run(data, labels=mode)
    config, last = run.config(), run.last.read_bytes()
    (run.path / "config.json").write_text(config.changed(**changes).to_json())
    with pytest.raises(RunError) as caught:
        train_run(run)
    before, now = (training_view(store, one).fingerprint for one in (config, run.config()))
    assert str(caught.value) == (
        f"run 'one' was trained on other data ({data} has fingerprint {now}, the run {before}); "
        "give back that data, or train a new run."
    )
    assert before != now and run.status().state == "failed" and run.last.read_bytes() == last
    (run.path / "config.json").write_text(config.to_json())
    train_run(run)
    assert run.status().state == "done"


def test_resuming_after_the_votes_have_changed_is_refused(tmp_path):
    data = write_toy(tmp_path / "own")
    run = stopped_run(data, labels="crossentropy")
    votes = data.with_name("fer2013new.csv")
    before = votes.read_text()
    votes.write_text(before.replace(",8,0,0\n", ",3,0,0\n"))
    assert votes.read_text() != before
    with pytest.raises(RunError, match="was trained on other data"):
        train_run(run)
