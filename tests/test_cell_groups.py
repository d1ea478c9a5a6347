"""Faces behind a cell, by what the other run makes of them: by hand, and summing up to the matrices."""

import numpy as np
import pytest

from fer_core.cell_groups import GROUPS, both_answers
from fer_core.compare import compare
from fer_core.errors import RunError
from tests.faces import make_predictions

LABELS = [0, 0, 0, 0, 3, 3, 3]
A = make_predictions(LABELS, [0, 3, 3, 4, 3, 0, 3])
B = make_predictions(LABELS, [3, 0, 3, 3, 3, 0, 3])


def cell(letter, true, predicted):
    found = both_answers(A, B).in_cell(letter, true, predicted)
    return {name: rows.tolist() for name, rows in found.items()}


def test_cells_by_hand():
    assert cell("A", "angry", "happy") == {"fixed": [1], "still wrong": [2]}
    assert cell("B", "angry", "happy") == {"broken": [0], "still wrong": [2, 3]}
    assert cell("A", "happy", "happy") == {"right in both": [4, 6]}
    assert cell("A", "angry", "angry") == {"broken": [0]}
    assert cell("A", "fear", "sad") == {}


def test_groups_are_the_comparisons():
    found, both = compare(A, B), both_answers(A, B)
    counts = dict(zip(GROUPS, np.bincount(both.group_N(), minlength=4).tolist(), strict=True))
    assert (counts["fixed"], counts["broken"]) == (found.fixed, found.broken)
    for letter, report in (("A", found.a), ("B", found.b)):
        for i, true in enumerate(both.classes):
            for j, predicted in enumerate(both.classes):
                rows = both.in_cell(letter, true, predicted).values()
                assert sum(map(len, rows)) == report.confusion_KK[i, j]


def test_positions_are_the_first_runs_where_the_orders_differ():
    turned = make_predictions(LABELS[::-1], B.logits_NK.argmax(1)[::-1].tolist(), hashes=A.hashes_N[::-1].tolist())
    both = both_answers(turned, A)
    place = both.in_cell("B", "angry", "sad")["still wrong"]
    assert turned.hashes_N[both.rows_a_N[place]].tolist() == [A.hashes_N[3]]


def test_runs_that_cannot_be_compared_are_refused():
    other = make_predictions(LABELS, LABELS, hashes=list(range(900, 907)))
    with pytest.raises(RunError, match="share no face"):
        both_answers(A, other)
