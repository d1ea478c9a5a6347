"""Two runs on the same faces: what changed, by how much, and whether it is more than chance.

Differences are B minus A. Shapes: N shared faces, K classes.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.copies import occurrences
from fer_core.errors import RunError
from fer_core.evaluate import Z95, Interval, Report, evaluate
from fer_core.predictions import SplitPredictions


@dataclass(frozen=True)
class Comparison:
    """Reports of A and B on the faces that both have seen, and their paired differences."""

    a: Report
    b: Report
    n_a: int
    """Faces that A predicted in this split; `a.n` of them are shared with B."""
    n_b: int
    fixed: int
    """Faces that B has right and A wrong."""
    broken: int
    """Faces that A has right and B wrong."""
    accuracy_delta_ci95: Interval
    mcnemar_p: float

    @property
    def accuracy_delta(self) -> float:
        return self.b.accuracy - self.a.accuracy

    @property
    def recall_delta(self) -> dict[str, float]:
        return {name: self.b.per_class[name].recall - one.recall for name, one in self.a.per_class.items()}

    @property
    def confusion_delta_KK(self) -> NDArray[np.int64]:
        return self.b.confusion_KK - self.a.confusion_KK

    def to_json(self) -> dict[str, Any]:
        """The figures under the names that `compare --json` promises; unrounded."""
        names = ("accuracy_delta", "accuracy_delta_ci95", "mcnemar_p", "recall_delta")
        values = {name: getattr(self, name) for name in names}
        delta = self.confusion_delta_KK.tolist()
        return {"n": self.a.n, "classes": self.a.classes, **values, "confusion_delta": delta}


def compare(a: SplitPredictions, b: SplitPredictions) -> Comparison:
    """Compare two runs face by face; faces are joined on the hash of their pixels, so their order does not matter.

    Raises: RunError: other classes, no shared face, or the same face under another label.
    """
    if a.classes != b.classes:
        raise RunError(
            f"the runs have different label sets: {', '.join(a.classes)} and {', '.join(b.classes)}. "
            "Only runs with the same emotions can be compared."
        )
    rows_a, rows_b = shared_rows(a, b)
    shared = np.intersect1d(a.hashes_N, b.hashes_N)
    if not len(shared):
        raise RunError("the runs share no face in this split. Train both on the same data.")
    other = len(np.setdiff1d(shared, a.hashes_N[rows_a]))
    if other:
        raise RunError(
            f"the runs label {other} of {len(shared)} shared faces differently. Train both on the same labels."
        )
    labels = a.labels_N[rows_a]
    hits_a = a.logits_NK[rows_a].argmax(axis=1) == labels
    hits_b = b.logits_NK[rows_b].argmax(axis=1) == labels
    fixed, broken = int((hits_b & ~hits_a).sum()), int((hits_a & ~hits_b).sum())
    return Comparison(
        a=evaluate(a.logits_NK[rows_a], labels, a.classes, _at(a.in_train_N, rows_a)),
        b=evaluate(b.logits_NK[rows_b], labels, b.classes, _at(b.in_train_N, rows_b)),
        n_a=len(a.labels_N),
        n_b=len(b.labels_N),
        fixed=fixed,
        broken=broken,
        accuracy_delta_ci95=paired_difference_interval(fixed, broken, len(labels)),
        mcnemar_p=mcnemar_exact(fixed, broken),
    )


def _at(in_train_N: NDArray[np.bool_] | None, rows_M: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    return None if in_train_N is None else in_train_N[rows_M]


def shared_rows(a: SplitPredictions, b: SplitPredictions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions in A and in B of the faces that both hold under the same label, pairwise, in A's order.

    A face that stands k times in A and m times in B is paired min(k, m) times.
    """
    keys_a, keys_b = _occurrence_keys(a), _occurrence_keys(b)
    _, rows_a, rows_b = np.intersect1d(keys_a, keys_b, assume_unique=True, return_indices=True)
    order = np.argsort(rows_a)
    return rows_a[order], rows_b[order]


def _occurrence_keys(p: SplitPredictions) -> NDArray:
    """(hash, label, how many earlier rows have both) of each row, as one sortable record."""
    keys = np.empty(len(p.labels_N), dtype=[("hash", np.uint64), ("label", np.int64), ("occurrence", np.int64)])
    keys["hash"], keys["label"] = p.hashes_N, p.labels_N
    keys["occurrence"] = occurrences(p.hashes_N, p.labels_N)
    return keys


def paired_difference_interval(fixed: int, broken: int, n: int) -> Interval:
    """95% interval of the difference of two paired shares, (fixed - broken) / n.

    Wald interval with one added to both discordant counts and two to n, which keeps its coverage at small counts.
    Source: Bonett & Price, J. Educ. Behav. Stat. 37 (2012) 479-488.
    """
    gain, loss = (fixed + 1) / (n + 2), (broken + 1) / (n + 2)
    half = Z95 * math.sqrt((gain + loss - (gain - loss) ** 2) / (n + 2))
    return max(-1.0, gain - loss - half), min(1.0, gain - loss + half)


def mcnemar_exact(fixed: int, broken: int) -> float:
    """Two-sided exact p-value of McNemar's test: the discordant pairs are fair coin flips if the runs are equal.

    Source: McNemar, Psychometrika 12 (1947) 153-157; exact binomial form.
    """
    discordant, fewer = fixed + broken, min(fixed, broken)
    tail = sum(math.comb(discordant, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**discordant)
