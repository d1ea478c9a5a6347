"""Tags, notes and the bin: what is kept, what is refused, and that a deleted run comes back whole."""

import json

import pytest
from filelock import FileLock

from fer_core.errors import RunError
from fer_core.run_shelf import (
    Notes,
    add_tag,
    bin_run,
    binned_runs,
    clean_tags,
    empty_bin,
    read_notes,
    restore,
    write_notes,
)
from fer_core.runs import find_run, list_runs
from tests.faces import make_predictions, write_run


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def test_a_run_without_notes_has_none():
    assert read_notes(write_run("a")) == Notes((), "")


def test_tags_and_note_are_read_back_as_they_were_written():
    run = write_run("a")
    write_notes(run, Notes(("keep", "für später"), "first line\nsecond: 66 %"))
    assert read_notes(run) == Notes(("keep", "für später"), "first line\nsecond: 66 %")
    assert json.loads((run.path / "notes.json").read_text())["format"] == 1
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == []


def test_tags_are_stripped_and_kept_once_in_their_order():
    assert clean_tags([" b ", "a", "", "b", "  "]) == ("b", "a")


@pytest.mark.parametrize("tag", ["a,b", "x" * 33, "two\nlines", "bell\a"])
def test_a_tag_that_is_not_allowed_is_refused_in_one_line(tag):
    run = write_run("a")
    with pytest.raises(RunError, match="1 to 32 printable characters, and no comma") as caught:
        write_notes(run, Notes((tag,)))
    assert "\n" not in str(caught.value)
    assert not (run.path / "notes.json").exists()


def test_limits_are_the_last_that_is_allowed():
    run = write_run("a")
    write_notes(run, Notes(("x" * 32,), "y" * 2000))
    with pytest.raises(RunError, match=r"2,001 characters; keep it within 2,000"):
        write_notes(run, Notes((), "y" * 2001))
    with pytest.raises(RunError, match="21 tags are too many"):
        write_notes(run, Notes(tuple(f"t{i}" for i in range(21))))
    assert read_notes(run).tags == ("x" * 32,)


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", "{}", '{"format": 2, "tags": [], "note": ""}', '{"format": 1, "tags": "keep", "note": ""}',
        '{"format": 1, "tags": [1], "note": ""}', '{"format": 1, "tags": [], "note": null}',
        '{"format": 1, "tags": []}',        '{"format": 1, "tags": ["a,b"], "note": ""}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_named_in_one_line(text):
    run = write_run("a")
    (run.path / "notes.json").write_text(text)
    with pytest.raises(RunError, match=r"notes.json: damaged") as caught:
        read_notes(run)
    assert "\n" not in str(caught.value)


def test_a_further_tag_leaves_the_others_and_the_note():
    run = write_run("a")
    write_notes(run, Notes(("old",), "why"))
    add_tag(run, "new")
    add_tag(run, "old")
    assert read_notes(run) == Notes(("old", "new"), "why")


def test_noting_a_run_that_is_gone_makes_no_folder():
    run = write_run("a")
    bin_run(run, "done")
    with pytest.raises(RunError, match="no run 'a' any more"):
        add_tag(run, "late")
    assert not run.path.exists()


def test_a_deleted_run_is_in_no_list_and_comes_back_byte_for_byte():
    run, other = write_run("a", private=make_predictions([0, 3])), write_run("b")
    add_tag(run, "keep")
    before = contents(run.path)
    binned = bin_run(run, "done")
    assert [one.name for one in list_runs()] == [other.name]
    assert [one.name for one in binned_runs()] == ["a"]
    with pytest.raises(RunError, match="no run named 'a'"):
        find_run("a")
    assert restore(binned).name == "a"
    assert contents(run.path) == before
    assert binned_runs() == []


@pytest.mark.parametrize("state", ["queued", "running", "stopping"])
def test_an_active_run_is_not_deleted(state):
    run = write_run("a", state=state)
    with pytest.raises(RunError, match=f"is {state}; stop it"):
        bin_run(run, state)
    assert run.path.is_dir() and binned_runs() == []


def test_a_run_that_somebody_trains_is_not_deleted_whatever_was_read_before():
    run = write_run("a", state="stopped")
    with FileLock(run.path / "lock"), pytest.raises(RunError, match="is being trained; stop it"):
        bin_run(run, "stopped")
    assert run.path.is_dir() and binned_runs() == []


def test_a_lost_run_whose_status_still_says_running_can_be_deleted():
    run = write_run("a", state="running")
    bin_run(run, "lost")
    assert not run.path.exists()


def test_deleting_twice_says_that_it_is_gone():
    run = write_run("a")
    bin_run(run, "done")
    with pytest.raises(RunError, match="nothing was deleted"):
        bin_run(run, "done")
    assert len(binned_runs()) == 1


def test_two_runs_of_one_name_lie_in_the_bin_side_by_side_the_latest_first():
    bin_run(write_run("a", state="failed"), "failed")
    latest = bin_run(write_run("a"), "done")
    assert [one.name for one in binned_runs()] == ["a", "a"]
    assert binned_runs()[0] == latest


def test_a_name_that_is_taken_meanwhile_keeps_both_runs():
    binned = bin_run(write_run("a", state="failed"), "failed")
    write_run("a")
    with pytest.raises(RunError, match="another run named 'a' now. Delete it, or rename"):
        restore(binned)
    assert find_run("a").status().state == "done"
    assert binned_runs() == [binned]


def test_a_run_that_is_no_longer_in_the_bin_cannot_be_restored():
    binned = bin_run(write_run("a"), "done")
    empty_bin()
    with pytest.raises(RunError, match="cannot be restored"):
        restore(binned)


def test_emptying_the_bin_leaves_the_runs_and_counts():
    bin_run(write_run("a"), "done")
    bin_run(write_run("b"), "done")
    kept = write_run("c")
    (kept.path.parent / ".bin" / "a stranger").mkdir()
    assert empty_bin() == 2
    assert [run.name for run in list_runs()] == ["c"]
    assert (kept.path.parent / ".bin" / "a stranger").is_dir()
    assert empty_bin() == 0
