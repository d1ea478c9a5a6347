"""The faces behind a cell of one of two confusion matrices, told apart by what the other run makes of them.

Shapes: N faces that both runs judged.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_core.compare import answers, joined_rows
from fer_core.predictions import SplitPredictions

GROUPS: dict[str, str] = {
    "fixed": "B is right, A is not.",
    "broken": "A is right, B is not.",
    "still wrong": "Neither is right.",
    "right in both": "Both are right.",
}
"""Group -> what it means."""


@dataclass(frozen=True)
class BothAnswers:
    """What two runs say of the faces that both judged."""

    classes: tuple[str, ...]
    rows_a_N: NDArray[np.int64]
    """Their positions among the first run's answers."""
    labels_N: NDArray[np.int64]
    said_a_N: NDArray[np.int64]
    said_b_N: NDArray[np.int64]

    def group_N(self) -> NDArray[np.int64]:
        """Position in `GROUPS` of each face's group."""
        right_a, right_b = self.said_a_N == self.labels_N, self.said_b_N == self.labels_N
        return np.select([right_b & ~right_a, right_a & ~right_b, ~right_a & ~right_b], [0, 1, 2], 3)

    def in_cell(self, letter: str, true: str, predicted: str) -> dict[str, NDArray[np.int64]]:
        """Group -> positions (of the N) of the faces in a cell of A's or B's matrix; empty groups are left out.

        Args: letter: whose matrix, "A" or "B". true, predicted: names in `classes`.
        """
        said = self.said_a_N if letter == "A" else self.said_b_N
        here = (self.labels_N == self.classes.index(true)) & (said == self.classes.index(predicted))
        group = self.group_N()
        found = {name: np.flatnonzero(here & (group == place)) for place, name in enumerate(GROUPS)}
        return {name: rows for name, rows in found.items() if len(rows)}


def places_in(a: SplitPredictions, b: SplitPredictions) -> NDArray[np.int64]:
    """Where each of A's faces stands among B's answers, int64 of A's length; -1 where B did not judge it.

    Raises: RunError: the runs cannot be compared (`compare.joined_rows`).
    """
    rows_a, rows_b = joined_rows(a, b)
    places = np.full(len(a.labels_N), -1)
    places[rows_a] = rows_b
    return places


def both_answers(a: SplitPredictions, b: SplitPredictions) -> BothAnswers:
    """Raises: RunError: the runs cannot be compared (`compare.joined_rows`)."""
    rows_a, rows_b = joined_rows(a, b)
    return BothAnswers(a.classes, rows_a, a.labels_N[rows_a], answers(a, rows_a), answers(b, rows_b))
