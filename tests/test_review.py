"""The review list: on disk at once, whole after a crash, nothing lost between tabs; what a training makes of it."""

import csv
import hashlib
import io
import itertools
import json
import multiprocessing
import threading
from dataclasses import replace

import numpy as np
import pytest

from fer_core import review
from fer_core.config import RunConfig
from fer_core.data.store import OUT
from fer_core.data.views import AppliedReview, apply_marks, judged_view, reviewed_view, training_view
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS
from fer_core.review import Mark, ReviewList, digest_of, face_hash, to_csv
from tests.faces import store_of

ANGRY, FEAR, HAPPY, SAD = (EMOTIONS.index(name) for name in ("angry", "fear", "happy", "sad"))
FACE, OTHER = "00000000000000aa", "00000000000000bb"


@pytest.fixture
def marked(tmp_path):
    return ReviewList(tmp_path / "lists" / "review.jsonl")


def lines(found):
    return found.path.read_bytes().split(b"\n")


def said(found):
    return [(one.hash, one.label, one.verdict, one.proposed) for one in found.marks()]


def refusal(call, *arguments, **more):
    with pytest.raises(DataError) as caught:
        call(*arguments, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- marks


def test_a_mark_is_on_disk_as_one_line_before_the_call_returns(marked):
    made = marked.mark(FACE, "angry", "public", "wrong label", proposed="sad", note="tears, a wet cheek\nü")
    *whole, last = lines(marked)
    assert (len(whole), last) == (1, b"")
    event = json.loads(whole[0])
    assert event == {
        "format": 1, "id": made.id, "time": made.time, "hash": FACE, "label": "angry", "split": "public",
        "verdict": "wrong label", "proposed": "sad", "note": "tears, a wet cheek\nü",
    }  # fmt: skip
    assert made.time.endswith("+00:00")
    assert ReviewList(marked.path).marks() == [made]


def test_a_list_that_nobody_has_written_is_empty_and_makes_no_file(marked):
    assert (marked.marks(), marked.undo(), marked.damaged) == ([], None, 0)
    assert not marked.path.exists()


def test_the_last_word_on_a_face_counts_and_stands_last(marked):
    marked.mark(FACE, "angry", "train", "unclear")
    marked.mark(OTHER, "happy", "train", "not a face")
    marked.mark(FACE, "angry", "train", "wrong label", proposed="fear")
    assert said(marked) == [(OTHER, "happy", "not a face", None), (FACE, "angry", "wrong label", "fear")]


def test_the_same_pixels_under_another_label_are_another_case(marked):
    marked.mark(FACE, "angry", "train", "wrong label", proposed="sad")
    marked.mark(FACE, "sad", "train", "unclear")
    assert said(marked) == [(FACE, "angry", "wrong label", "sad"), (FACE, "sad", "unclear", None)]


def test_a_verdict_can_be_taken_back(marked):
    marked.mark(FACE, "angry", "train", "unclear")
    marked.mark(FACE, "angry", "train", None)
    assert said(marked) == []
    marked.undo()
    assert said(marked) == [(FACE, "angry", "unclear", None)]


def test_undo_takes_the_last_mark_then_the_one_before_and_never_the_same_twice(marked):
    first = marked.mark(FACE, "angry", "train", "unclear")
    second = marked.mark(FACE, "angry", "train", "not a face")
    assert marked.undo() == second and marked.marks() == [first]
    assert marked.undo() == first and marked.marks() == []
    assert marked.undo() is None
    third = marked.mark(FACE, "angry", "train", "unclear")
    assert marked.marks() == [third] and marked.undo() == third


def test_a_tab_can_undo_its_own_mark_though_another_came_later(marked):
    own = marked.mark(FACE, "angry", "train", "unclear")
    others = marked.mark(OTHER, "angry", "train", "unclear")
    assert marked.undo(own.id) == own and marked.marks() == [others]
    assert marked.undo(own.id) is None and marked.undo("nobody's") is None
    assert marked.marks() == [others]


def test_nothing_that_was_written_is_ever_changed(marked):
    marked.mark(FACE, "angry", "train", "unclear")
    before = marked.path.read_bytes()
    marked.undo()
    marked.mark(OTHER, "sad", "train", "unclear")
    assert marked.path.read_bytes().startswith(before)


def test_the_fold_that_a_run_held_out_is_train(marked):
    assert marked.mark(FACE, "angry", "held_out", "unclear").split == "train"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hash": "aa"}, "the hash is 'aa'; it should be 16 hex digits of a face's pixels."),
        (
            {"hash": "00000000000000AA"},
            "the hash is '00000000000000AA'; it should be 16 hex digits of a face's pixels.",
        ),
        ({"label": "anger"}, f"no label named 'anger'. Known: {', '.join(EMOTIONS)}, contempt."),
        ({"split": "test"}, "no split named 'test'. Known: train, public, private."),
        ({"verdict": "wrong"}, "no verdict named 'wrong'. Known: wrong label, unclear, not a face."),
        ({"proposed": "contempt"}, f"no proposed emotion named 'contempt'. Known: {', '.join(EMOTIONS)}."),
        ({"proposed": "angry"}, "'angry' is the label already; propose another emotion, or none."),
        ({"verdict": "not a face"}, "no emotion can be proposed for 'not a face'; leave it out."),
        ({"note": 3}, "the note is 3; it should be a text."),
    ],
)
def test_what_cannot_be_said_of_a_face_is_refused_and_not_written(marked, values, message):
    right = {"hash": FACE, "label": "angry", "split": "train", "verdict": "wrong label", "proposed": "sad"}
    assert refusal(marked.mark, **{**right, **values}) == message
    assert not marked.path.exists()


def test_a_face_is_named_by_the_hex_digits_of_its_hash():
    assert face_hash(np.uint64(170)) == FACE
    assert face_hash(np.uint64(2**64 - 1)) == "f" * 16


def test_the_default_list_lies_where_the_settings_say(tmp_path):
    assert ReviewList().path == tmp_path / "reviews" / "review.jsonl"


# --- crashes


def test_a_torn_last_line_is_passed_over_and_the_next_mark_begins_on_its_own(marked):
    first = marked.mark(FACE, "angry", "train", "unclear")
    second = marked.mark(OTHER, "angry", "train", "unclear")
    whole = marked.path.read_bytes()
    marked.path.write_bytes(whole[:-25])
    assert marked.marks() == [first] and marked.damaged == 0
    third = marked.mark(OTHER, "sad", "train", "unclear")
    assert marked.marks() == [first, third]
    assert marked.path.read_bytes().startswith(whole[:-25] + b"\n"), "nothing is thrown away, not even the torn line"
    assert marked.damaged == 1
    assert second.id not in {one.id for one in marked.marks()}


@pytest.mark.parametrize("cut", range(1, 12))
def test_wherever_a_line_is_torn_the_others_stay(marked, cut):
    first = marked.mark(FACE, "angry", "train", "unclear", note="größer")
    before = marked.path.stat().st_size
    marked.mark(OTHER, "angry", "train", "unclear", note="größer")
    content = marked.path.read_bytes()
    marked.path.write_bytes(content[: before + (len(content) - before) * cut // 12])
    assert marked.marks() == [first]
    last = marked.mark(OTHER, "sad", "train", "unclear")
    assert marked.marks() == [first, last]


def test_a_line_that_only_lacks_its_end_counts_before_and_after(marked):
    made = marked.mark(FACE, "angry", "train", "unclear")
    marked.path.write_bytes(marked.path.read_bytes().rstrip(b"\n"))
    assert marked.marks() == [made]
    marked.mark(OTHER, "angry", "train", "unclear")
    assert len(marked.marks()) == 2 and marked.damaged == 0


def test_damaged_lines_are_counted_and_cost_no_other_mark(marked):
    first = marked.mark(FACE, "angry", "train", "unclear")
    with marked.path.open("ab") as file:
        file.write(b"\xff\xfe\n[1]\nnull\n{}\n" + b"[" * 100_000 + b"\n\n")
        for change in ({"format": 2}, {"id": ["x"]}, {"verdict": "?"}, {"hash": 5}, {"more": 1}):
            event = {"format": 1, "id": "x", "time": "", "hash": OTHER, "label": "sad", "split": "train"}
            file.write(json.dumps({**event, "verdict": "unclear", **change}).encode() + b"\n")
    last = marked.mark(OTHER, "angry", "train", "unclear")
    assert marked.marks() == [first, last]
    assert marked.damaged == 5 + 5


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    found = ReviewList(tmp_path / "file" / "review.jsonl")
    assert refusal(found.mark, FACE, "angry", "train", "unclear").startswith(f"{found.path}: cannot be written (")
    (tmp_path / "folder.jsonl").mkdir()
    assert refusal(ReviewList(tmp_path / "folder.jsonl").marks).endswith("cannot be read (Is a directory).")


def test_a_list_that_somebody_else_holds_is_one_line(marked, monkeypatch):
    monkeypatch.setattr(review, "_PATIENCE_S", 0.05)
    marked.mark(FACE, "angry", "train", "unclear")
    with marked._locked():
        text = refusal(ReviewList(marked.path).mark, OTHER, "angry", "train", "unclear")
    assert text == f"{marked.path}: another process is writing it and does not end; try again."
    assert len(marked.marks()) == 1


# --- two at once


def mark_many(path, start, both_there):
    found = ReviewList(path)
    for number in range(start, start + 200):
        if number % 10 == 0:  # neither gets ahead, so that they do write at the same time
            both_there.wait()
        found.mark(face_hash(number), "angry", "train", "unclear")


def in_two(make, path):
    both_there = make.Barrier(2)
    work = make.Thread if make is threading else make.Process
    workers = [work(target=mark_many, args=(path, start, both_there)) for start in (0, 200)]
    for one in workers:
        one.start()
    for one in workers:
        one.join(60)
    return workers


def test_two_processes_that_mark_at_once_lose_nothing(marked):
    workers = in_two(multiprocessing.get_context("spawn"), marked.path)
    assert [one.exitcode for one in workers] == [0, 0]
    found = marked.marks()
    assert sorted(one.hash for one in found) == [face_hash(number) for number in range(400)]
    assert len({one.id for one in found}) == 400 and marked.damaged == 0
    order = [int(one.hash, 16) < 200 for one in found]
    assert sum(a != b for a, b in itertools.pairwise(order)) >= 19, "they did not write at the same time"


def test_two_tabs_of_one_app_lose_nothing(marked):
    in_two(threading, marked.path)
    assert (len(marked.marks()), marked.damaged) == (400, 0)


# --- digest and CSV


def test_the_digest_is_of_what_is_said_now_and_not_of_how_it_came_about(marked, tmp_path):
    empty = marked.digest()
    marked.mark(FACE, "angry", "train", "wrong label", proposed="sad")
    one = marked.digest()
    assert one != empty
    marked.mark(OTHER, "happy", "train", "unclear")
    both = marked.digest()
    marked.undo()
    assert marked.digest() == one
    marked.mark(OTHER, "happy", "public", "unclear", note="seen again")
    assert marked.digest() == both
    turned = ReviewList(tmp_path / "other.jsonl")
    turned.mark(OTHER, "happy", "train", "not a face")
    turned.mark(OTHER, "happy", "train", "unclear")
    turned.mark(FACE, "angry", "private", "wrong label", proposed="sad")
    assert turned.digest() == both == digest_of(turned.marks())


@pytest.mark.parametrize("change", [{"verdict": "unclear"}, {"proposed": "fear"}, {"label": "happy"}, {"hash": OTHER}])
def test_whatever_a_training_would_use_changes_the_digest(change):
    one = Mark("1", "", FACE, "angry", "train", "wrong label", "sad")
    assert digest_of([one]) != digest_of([replace(one, **change)])


def test_the_digest_by_hand():
    one = Mark("1", "", FACE, "angry", "train", "unclear")
    assert digest_of([one]) == hashlib.sha256(f'[["{FACE}", "angry", "unclear", ""]]'.encode()).hexdigest()


def test_csv_has_a_line_for_each_mark(marked):
    first = marked.mark(FACE, "angry", "public", "wrong label", proposed="sad", note='says "no",\nthen goes')
    second = marked.mark(OTHER, "happy", "train", "unclear")
    assert list(csv.reader(io.StringIO(to_csv(marked.marks())))) == [
        ["hash", "label", "split", "verdict", "proposed", "time", "note"],
        [FACE, "angry", "public", "wrong label", "sad", first.time, 'says "no",\nthen goes'],
        [OTHER, "happy", "train", "unclear", "", second.time, ""],
    ]


# --- what a training makes of it


@pytest.fixture
def store():
    """Eleven rows of seven pictures: row 1 is a copy of row 0, row 2 the same picture under another label; rows 6 and
    7 are copies in public and private of row 5."""
    pictures = np.random.default_rng(0).integers(0, 256, (11, 24, 24), dtype=np.uint8)
    pictures[[1, 2]] = pictures[0]
    pictures[[6, 7]] = pictures[5]
    labels = [ANGRY, ANGRY, SAD, HAPPY, FEAR, HAPPY, HAPPY, HAPPY, SAD, FEAR, SAD]
    return store_of(pictures, labels, [0, 0, 0, 0, 0, 0, 1, 2, 1, 2, 0])


def mark_row(found, store, row, verdict="wrong label", proposed=None, split="train"):
    label = EMOTIONS[store.labels_N[row]]
    return found.mark(face_hash(store.hashes_N[row]), label, split, verdict, proposed=proposed)


@pytest.fixture
def reviewed(marked, store):
    """Row 0's picture as angry should be fear, row 3 is no face, row 5's is unclear, row 9 (private) is wrong."""
    mark_row(marked, store, 0, proposed="fear")
    mark_row(marked, store, 3, "not a face")
    mark_row(marked, store, 6, "unclear", split="public")
    mark_row(marked, store, 9, proposed="sad", split="private")
    return marked


def test_dropping_takes_all_copies_under_that_label_and_no_other_row(store, reviewed):
    config = RunConfig(review=str(reviewed.path))
    view, applied = reviewed_view(store, config)
    assert view.rows("train").tolist() == [2, 4, 10]
    np.testing.assert_array_equal(view.labels_N, store.labels_N)
    assert applied == AppliedReview("review.jsonl", reviewed.digest(), "drop", dropped=4, relabelled=0)


def test_relabelling_gives_what_was_proposed_and_drops_the_rest(store, reviewed):
    config = RunConfig(review=str(reviewed.path), review_action="relabel")
    view, applied = reviewed_view(store, config)
    assert view.rows("train").tolist() == [0, 1, 2, 4, 10]
    assert view.labels_N[view.rows("train")].tolist() == [FEAR, FEAR, SAD, FEAR, SAD]
    assert applied == AppliedReview("review.jsonl", reviewed.digest(), "relabel", dropped=2, relabelled=2)
    assert view.counts()["train"]["fear"] == 3 and view.counts()["train"]["angry"] == 0


@pytest.mark.parametrize("action", ["drop", "relabel"])
def test_judging_is_never_touched(store, reviewed, action):
    config = RunConfig(review=str(reviewed.path), review_action=action)
    assert judged_view(store, config) is store
    view = training_view(store, config)
    for split in ("public", "private"):
        assert view.rows(split).tolist() == store.rows(split).tolist()
        np.testing.assert_array_equal(view.labels_N[view.rows(split)], store.labels_N[store.rows(split)])


def test_a_list_changes_the_fingerprint_where_it_changes_the_training(store, reviewed):
    views = [
        training_view(store, RunConfig(review=str(reviewed.path), review_action=name)) for name in ("drop", "relabel")
    ]
    seen = {store.fingerprint, *(view.fingerprint for view in views)}
    mark_row(reviewed, store, 4, "unclear")
    seen.add(training_view(store, RunConfig(review=str(reviewed.path))).fingerprint)
    mark_row(reviewed, store, 10, proposed="happy")
    relabel = RunConfig(review=str(reviewed.path), review_action="relabel")
    seen.add(training_view(store, relabel).fingerprint)
    mark_row(reviewed, store, 10, proposed="disgust")
    seen.add(training_view(store, relabel).fingerprint)
    assert len(seen) == 6


def test_marks_that_touch_no_training_row_leave_the_store_as_it_is(store, marked):
    mark_row(marked, store, 8, proposed="angry", split="public")
    marked.mark(face_hash(store.hashes_N[0]), "happy", "train", "unclear")
    marked.mark(FACE, "contempt", "train", "unclear")
    view, applied = reviewed_view(store, RunConfig(review=str(marked.path)))
    assert view is store
    assert (applied.dropped, applied.relabelled, applied.digest) == (0, 0, marked.digest())
    assert reviewed_view(store, RunConfig()) == (store, None)


def test_two_labels_of_one_picture_can_change_places(store, marked):
    mark_row(marked, store, 0, proposed="sad")
    mark_row(marked, store, 2, proposed="angry")
    view = apply_marks(store, marked.marks(), relabel=True)
    assert view.labels_N[:3].tolist() == [SAD, SAD, ANGRY]


def test_a_mark_comes_before_the_flags(store, marked):
    config = RunConfig(leave_out=("label_conflict",))
    assert training_view(store, config).rows("train").tolist() == [3, 4, 5, 10]
    mark_row(marked, store, 0, proposed="sad")
    solved = config.changed(review=str(marked.path), review_action="relabel")
    assert training_view(store, solved).rows("train").tolist() == [0, 1, 2, 3, 4, 5, 10]


def test_nothing_left_to_train_on_is_one_line(store, marked):
    for row in store.rows("train"):
        mark_row(marked, store, row, "unclear")
    text = refusal(training_view, store, RunConfig(review=str(marked.path)))
    assert text == "faces.csv: no train face is left without those of the review list; mark fewer."


def test_a_list_that_is_not_there_is_one_line(store, tmp_path):
    path = tmp_path / "nope.jsonl"
    text = refusal(training_view, store, RunConfig(review=str(path)))
    assert text == f"{path}: no such review list. Mark faces on the Mistakes page, or leave --review out."


def test_a_row_that_is_left_out_is_in_no_split_and_keeps_its_number(store, reviewed):
    view = training_view(store, RunConfig(review=str(reviewed.path)))
    assert view.splits_N[[0, 1, 3, 5]].tolist() == [OUT] * 4 and len(view.labels_N) == 11
    assert store.splits_N[[0, 1, 3, 5]].tolist() == [0] * 4, "the store that was opened stays as it was"
