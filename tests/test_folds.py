"""Folds of train: disjoint, even, copies together; and a run that answers the fold that it did not learn from."""

import numpy as np
import pytest

from fer_core import cli, experiment
from fer_core.config import RunConfig
from fer_core.data import open_store
from fer_core.data.folds import assign_folds, fold_rows
from fer_core.data.store import OUT
from fer_core.data.views import held_out_rows, judged_view, training_view
from fer_core.errors import DataError, RunError
from fer_core.experiment import train_run
from fer_core.labels import EMOTIONS
from fer_core.predictions import report_on
from fer_core.review import ReviewList, face_hash
from fer_core.run_adjustment import decided
from fer_core.run_facts import read_facts
from fer_core.run_table import table_rows
from fer_core.runs import Run, create_run, free_name
from tests.faces import store_of, write_csv
from tests.toy import striped_faces, toy_config

pytestmark = pytest.mark.usefixtures("one_thread")


def many(n=700, copies=60, seed=0):
    """Labels as uneven as FER2013's and hashes, of which so many rows are copies of others, some under other labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, n, p=[0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17])
    hashes = rng.integers(0, 2**64, n, dtype=np.uint64)
    hashes[rng.permutation(n)[:copies]] = hashes[rng.integers(0, 20, copies)]
    return labels, hashes


@pytest.mark.parametrize("folds", [2, 3, 5, 10])
def test_copies_stand_in_one_fold_and_labels_are_spread_evenly(folds):
    labels, hashes = many()
    found = assign_folds(labels, hashes, folds)
    assert set(found) == set(range(folds))
    for pixels in np.unique(hashes):
        assert len(set(found[hashes == pixels])) == 1
    counts = np.array([np.bincount(labels[found == fold], minlength=7) for fold in range(folds)])
    assert np.ptp(counts, axis=0).max() <= 1, "single faces even out what copies left uneven"
    assert np.ptp(counts.sum(axis=1)) <= 2


def test_a_faces_fold_does_not_depend_on_the_order_of_the_rows():
    labels, hashes = many()
    order = np.random.default_rng(1).permutation(len(labels))
    found = assign_folds(labels, hashes, 5)
    np.testing.assert_array_equal(assign_folds(labels[order], hashes[order], 5), found[order])


def test_folds_by_hand():
    # Three copies (hash 9) go first, to fold 0; then single faces by hash, each to the fold with fewest of its label.
    labels = np.array([0, 0, 0, 0, 1, 0, 1])
    hashes = np.array([9, 9, 9, 1, 2, 3, 4], dtype=np.uint64)
    assert assign_folds(labels, hashes, 2).tolist() == [0, 0, 0, 1, 1, 1, 0]


@pytest.fixture
def store():
    faces = striped_faces(train=6, public=2, private=2, side=24)
    faces.images_NHW[np.flatnonzero(faces.splits_N == 0)[1]] = faces.images_NHW[np.flatnonzero(faces.splits_N == 0)[0]]
    return store_of(faces.images_NHW, faces.labels_N, faces.splits_N)


def test_the_folds_together_are_train_and_no_two_overlap(store):
    rows = np.concatenate([fold_rows(store, 3, fold) for fold in range(3)])
    assert sorted(rows.tolist()) == store.rows("train").tolist()
    for fold in range(3):
        config = RunConfig(folds=3, fold=fold)
        trained = training_view(store, config).rows("train")
        held = held_out_rows(store, config)
        assert sorted([*trained, *held]) == store.rows("train").tolist()
        assert not set(store.hashes_N[trained].tolist()) & set(store.hashes_N[held].tolist())


def test_neither_seed_nor_flags_nor_labels_of_a_review_move_a_fold(store, tmp_path):
    marked = ReviewList(tmp_path / "review.jsonl")
    row = int(store.rows("train")[3])
    label = EMOTIONS[store.labels_N[row]]
    marked.mark(
        face_hash(store.hashes_N[row]), label, "train", "wrong label", proposed="happy" if label != "happy" else "sad"
    )
    plain = RunConfig(folds=3, fold=1)
    other = plain.changed(seed=7, leave_out=("duplicate_of",), review=str(marked.path), review_action="relabel")
    np.testing.assert_array_equal(held_out_rows(store, plain), held_out_rows(store, other))
    assert set(training_view(store, other).rows("train")) <= set(training_view(store, plain).rows("train"))


def test_each_fold_has_its_own_fingerprint_and_judging_knows_none(store):
    configs = [RunConfig(), *(RunConfig(folds=3, fold=fold) for fold in range(3)), RunConfig(folds=2)]
    assert len({training_view(store, config).fingerprint for config in configs}) == 5
    assert all(judged_view(store, config) is store for config in configs)
    view = training_view(store, configs[1])
    assert (view.splits_N[held_out_rows(store, configs[1])] == OUT).all()
    for split in ("public", "private"):
        np.testing.assert_array_equal(view.rows(split), store.rows(split))


def test_more_folds_than_faces_are_refused():
    pictures = np.random.default_rng(0).integers(0, 256, (5, 24, 24), dtype=np.uint8)
    few = store_of(pictures, [0, 1, 2, 0, 0], [0, 0, 0, 1, 2])
    assert [len(fold_rows(few, 3, fold)) for fold in range(3)] == [1, 1, 1]
    with pytest.raises(DataError) as caught:
        training_view(few, RunConfig(folds=4, fold=3))
    assert str(caught.value) == "faces.csv: too few different training faces for 4 folds; give a lower --folds."


def test_a_run_of_a_fold_says_so_in_its_name():
    assert free_name(RunConfig(folds=5, fold=2)) == "small-as-is-fold-2-of-5"
    assert free_name(RunConfig(recipe="cnn6", folds=5)) == "cnn6-fold-0-of-5"
    assert free_name(RunConfig(review="/a/b.jsonl", review_action="relabel")) == "small-as-is-relabel"


# --- a whole run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """35 faces to train with, 21 public and 28 private ones; one picture stands twice in train and once in public."""
    faces = striped_faces()
    first, second, *_ = np.flatnonzero((faces.splits_N == 0) & (faces.labels_N == 0))
    faces.images_NHW[second] = faces.images_NHW[first]
    faces.images_NHW[np.flatnonzero((faces.splits_N == 1) & (faces.labels_N == 0))[0]] = faces.images_NHW[first]
    return write_csv(tmp_path_factory.mktemp("data") / "fer2013.csv", faces)


def fold_run(data, name="one", **more) -> Run:
    quick = {"epochs": 1, "augment": "none", "tensorboard": False, "views": ("none", "flip"), "folds": 3, "fold": 1}
    return create_run(toy_config(data=str(data), **{**quick, **more}), name)


def test_a_run_answers_the_fold_that_it_left_out_and_does_not_read_private(data, monkeypatch):
    run, taken, original = fold_run(data), [], experiment._tensors

    def spied(faces, split, device):
        found = original(faces, split, device)
        taken.append((split, [image.tobytes() for image in found.images_NHW.numpy()]))
        return found

    monkeypatch.setattr(experiment, "_tensors", spied)
    train_run(run)
    assert [split for split, _ in taken] == ["train", "public", "public", "held_out"]
    trained, held = set(taken[0][1]), set(taken[-1][1])
    assert not trained & held
    store = open_store(str(data))
    every = {image.tobytes() for image in store.images_NHW[store.rows("train")]}
    assert trained | held == every
    assert run.status().state == "done" and run.splits() == ("public", "held_out")

    found = run.predictions("held_out")
    rows = fold_rows(store, 3, 1)
    assert found.rows_N.tolist() == rows.tolist()
    assert found.labels_N.tolist() == store.labels_N[rows].tolist()
    assert found.hashes_N.tolist() == store.hashes_N[rows].tolist()
    assert found.logits_NK.shape == (len(rows), 7) and run.views("held_out") == ("none", "flip")
    assert not found.in_train_N.any(), "no copy of them was learned"
    assert run.predictions("public").in_train_N.sum() == 1, "against all of train, as in every run"
    assert found.fingerprint == run.predictions("public").fingerprint == store.fingerprint
    counts = run.environment()["data"]["counts"]["train"]
    assert sum(counts.values()) == 35 - len(rows)

    with pytest.raises(RunError) as caught:
        run.predictions("private")
    assert str(caught.value) == (
        "run 'one' has no predictions on 'private' (it has: public, held_out). "
        "A run with --folds answers the fold that it did not train on, and does not read private."
    )
    facts = read_facts(run)
    assert (facts.private, facts.problem, facts.splits) == (None, "", ("public", "held_out"))
    assert facts.best == facts.public
    [row] = table_rows([facts])
    assert row["private_accuracy"] is None and row["public_accuracy"] is not None


def test_a_run_of_a_fold_is_judged_on_what_it_has(data, capsys):
    run = fold_run(data)
    train_run(run)
    assert report_on(decided(run, "held_out", "flip")).n == len(fold_rows(open_store(str(data)), 3, 1))
    assert cli.main(["evaluate", "one", "--split", "public"]) == 0
    assert cli.main(["evaluate", "one"]) == 2
    assert "does not read private" in capsys.readouterr().err


def test_a_run_without_folds_has_no_fold_to_answer(data):
    run = fold_run(data, folds=0, fold=0)
    train_run(run)
    assert run.splits() == ("public", "private")
    with pytest.raises(RunError) as caught:
        run.predictions("held_out")
    assert str(caught.value) == (
        "run 'one' has no predictions on 'held_out' (it has: public, private). "
        "Only a run with --folds holds a fold out, and answers it when its training ends by itself."
    )


def test_a_fold_is_answered_with_the_labels_that_it_came_with_though_a_review_changes_them(data, tmp_path):
    store, marked = open_store(str(data)), ReviewList(tmp_path / "review.jsonl")
    held = fold_rows(store, 3, 1)
    for row in held:
        marked.mark(face_hash(store.hashes_N[row]), EMOTIONS[store.labels_N[row]], "held_out", "not a face")
    run = fold_run(data, review=str(marked.path))
    train_run(run)
    assert run.predictions("held_out").labels_N.tolist() == store.labels_N[held].tolist()
    assert run.environment()["review"] == {
        "file": "review.jsonl", "digest": marked.digest(), "action": "drop", "dropped": 0, "relabelled": 0,
    }  # fmt: skip


def test_a_stopped_run_answers_its_fold_once_it_is_resumed_and_not_before(data):
    run = fold_run(data, epochs=2)
    train_run(run, on_epoch=lambda record: run.stop_file.touch())
    assert run.status().state == "stopped" and run.splits() == ("public",)
    train_run(run)
    assert run.status().state == "done" and run.splits() == ("public", "held_out")


# --- a run with a review list


def test_a_run_records_its_review_list_and_trains_without_the_marked_rows(data, tmp_path):
    store, marked = open_store(str(data)), ReviewList(tmp_path / "review.jsonl")
    row = int(store.rows("train")[4])
    marked.mark(face_hash(store.hashes_N[row]), EMOTIONS[store.labels_N[row]], "train", "unclear")
    run = fold_run(data, folds=0, fold=0, review=str(marked.path))
    train_run(run)
    copies = int((store.hashes_N[store.rows("train")] == store.hashes_N[row]).sum())
    assert run.environment()["review"] == {
        "file": "review.jsonl", "digest": marked.digest(), "action": "drop", "dropped": copies, "relabelled": 0,
    }  # fmt: skip
    assert sum(run.environment()["data"]["counts"]["train"].values()) == 35 - copies
    assert run.splits() == ("public", "private")


def test_a_run_is_not_resumed_by_a_list_that_says_something_else_now(data, tmp_path):
    store, marked = open_store(str(data)), ReviewList(tmp_path / "review.jsonl")
    row, other = store.rows("train")[4:6].tolist()
    marked.mark(face_hash(store.hashes_N[row]), EMOTIONS[store.labels_N[row]], "train", "unclear")
    run = fold_run(data, epochs=2, review=str(marked.path))
    train_run(run, on_epoch=lambda record: run.stop_file.touch())
    marked.mark(face_hash(store.hashes_N[other]), EMOTIONS[store.labels_N[other]], "train", "unclear")
    with pytest.raises(RunError) as caught:
        train_run(run)
    assert str(caught.value) == (
        f"{marked.path} has changed since run 'one' was begun; undo the marks made since, or train a new run."
    )
    marked.undo()
    train_run(run)
    assert run.status().state == "done"
