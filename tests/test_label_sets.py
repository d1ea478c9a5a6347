"""Nets by FER2013's labels and by FER+'s majority: the shares by hand, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import label_sets
from fer_core.data import open_store
from fer_core.labels import EMOTIONS
from tests.faces import make_faces, make_predictions, votes_for, write_csv, write_votes
from tests.made_runs import finished_run

FACES = make_faces(
    {"train": {"happy": 1, "sad": 1}, "public": {"happy": 4, "sad": 4}, "private": {"happy": 2, "sad": 2}}
)
PUBLIC, PRIVATE = (np.flatnonzero(FACES.splits_N == code) for code in (1, 2))
HAPPY, SAD = EMOTIONS.index("happy"), EMOTIONS.index("sad")


@pytest.fixture
def data(tmp_path):
    """FER2013 as a few faces; what the taggers see of the first two happy ones of public is sad."""
    majority = [EMOTIONS[k] for k in FACES.labels_N]
    for row in PUBLIC[:2]:
        majority[row] = "sad"
    write_votes(tmp_path / "fer2013new.csv", FACES, votes_for(majority))
    return write_csv(tmp_path / "fer2013.csv", FACES)


def answers(data, rows, said):
    """The last face of the split also stands in train."""
    store = open_store(str(data))
    made = make_predictions(FACES.labels_N[rows], said, hashes=store.hashes_N[rows])
    copies = np.arange(len(rows)) == len(rows) - 1
    return replace(made, rows_N=rows, fingerprint=store.fingerprint, in_train_N=copies)


def two_runs(data):
    """By heart has every label right; what people see of public has the first two otherwise, as its taggers do."""
    labels = FACES.labels_N
    seen = np.where(np.isin(np.arange(len(labels)), PUBLIC[:2]), SAD, labels)
    for name, said in (("by-heart", labels), ("as-people", seen)):
        split = {key: answers(data, rows, said[rows]) for key, rows in (("public", PUBLIC), ("private", PRIVATE))}
        finished_run(name, split)


def call(data, out, *words):
    return label_sets.main([*words, "--data", str(data), "--out", str(out), "--view", "none"])


def test_what_is_lost_by_one_set_of_labels_is_won_by_the_other(data, tmp_path, capsys):
    two_runs(data)
    assert call(data, tmp_path, "by-heart", "as-people") == 0
    values = json.loads((tmp_path / "label_sets.json").read_text())
    first, other = values["splits"]["public"]
    own, apart, majority = label_sets.LABEL_SETS
    # Eight faces; without the copy seven, of whose labels the taggers contradict two.
    assert [first[name]["n"] for name in label_sets.LABEL_SETS] == [8, 7, 7]
    assert [first[name]["accuracy"] for name in label_sets.LABEL_SETS] == [1, 1, pytest.approx(5 / 7)]
    assert [other[name]["accuracy"] for name in label_sets.LABEL_SETS] == [6 / 8, pytest.approx(5 / 7), 1]
    assert first[own]["delta"] is None and other[own]["delta"] == -2 / 8
    assert other[apart]["delta"] == pytest.approx(-2 / 7) and other[majority]["delta"] == pytest.approx(2 / 7)
    low, high = other[majority]["delta_ci95"]
    assert low < 2 / 7 < high
    assert values["splits"]["private"][1][majority]["delta"] == 0
    text = (tmp_path / "label_sets.md").read_text()
    assert text == capsys.readouterr().out.removesuffix("\n")
    assert "| as-people | 75.00 (-25.00: " in text and "without copies, n = 7 |" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("by-heart",), "name at least two runs, each of them once"),
        (("by-heart", "by-heart"), "name at least two runs, each of them once"),
        (("by-heart", "nobody"), "no run named 'nobody'"),
        (("by-heart", "as-people", "--view", "flip"), "flip"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_nothing_is_written(data, tmp_path, capsys, words, said):
    two_runs(data)
    out = tmp_path / "out"
    out.mkdir()
    view = [] if "--view" in words else ["--view", "none"]
    assert label_sets.main([*words, "--data", str(data), "--out", str(out), *view]) == 2
    found = capsys.readouterr().err
    assert found.startswith("error: ") and said in found and found.count("\n") == 1
    assert list(out.iterdir()) == []


def test_without_votes_there_is_nothing_to_compare(data, tmp_path, capsys):
    two_runs(data)
    (tmp_path / "fer2013new.csv").unlink()
    assert call(data, tmp_path, "by-heart", "as-people") == 2
    assert "votes" in capsys.readouterr().err
