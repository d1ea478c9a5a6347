"""Where FER2013's label and the majority of FER+'s taggers part ways."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.data.labelling import FERPLUS_CLASSES, majority_labels, needed_votes
from fer_core.data.store import OUT, FaceStore
from fer_core.labels import EMOTIONS


@dataclass(frozen=True)
class Agreement:
    """FER2013's labels against FER+'s majority, over the rows that have both."""

    matrix: NDArray[np.int64]
    """Rows of each label and majority, (7, 8)."""
    rows: tuple[str, ...] = EMOTIONS
    columns: tuple[str, ...] = FERPLUS_CLASSES

    @property
    def n(self) -> int:
        return int(self.matrix.sum())

    @property
    def agree(self) -> float:
        """Share of the rows on which the two say the same; 0 without any."""
        return float(self.matrix.diagonal().sum()) / max(1, self.n)

    def to_json(self) -> dict[str, Any]:
        names = {"rows": list(self.rows), "columns": list(self.columns)}
        return {"n": self.n, "agree": self.agree, **names, "matrix": self.matrix.tolist()}


def ferplus_agreement(store: FaceStore) -> Agreement:
    """FER2013's label against FER+'s majority, of every row in a split that has one.

    Raises: DataError: the store has no votes.
    """
    majority = majority_labels(needed_votes(store, "the agreement with FER+"))
    rows = np.flatnonzero((majority >= 0) & (store.splits_N != OUT))
    cells = store.labels_N[rows] * len(FERPLUS_CLASSES) + majority[rows]
    counts = np.bincount(cells, minlength=len(EMOTIONS) * len(FERPLUS_CLASSES))
    return Agreement(counts.reshape(len(EMOTIONS), len(FERPLUS_CLASSES)))
