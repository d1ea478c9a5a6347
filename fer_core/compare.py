"""Two runs on the same faces: what changed, by how much, and whether it is more than chance.

Differences are B minus A. Shapes: N shared faces, K classes, S runs.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.bootstrap import Intervals, paired_intervals
from fer_core.copies import occurrences
from fer_core.errors import RunError
from fer_core.evaluate import Z95, Interval, Report, evaluate
from fer_core.predictions import SplitPredictions

SIGNIFICANT = 0.05
"""A p-value below it is called real."""


@dataclass(frozen=True)
class EmotionTest:
    """Whether A and B find an emotion's faces equally often."""

    faces: int
    fixed: int
    """Faces of the emotion that B has right and A wrong."""
    broken: int
    """Faces of the emotion that A has right and B wrong."""
    p: float | None
    """McNemar's exact p-value for this emotion alone; None where it has no face."""
    p_holm: float | None
    """The same, corrected by Holm's method for all emotions that have faces."""

    @property
    def gain(self) -> int:
        """How many more of its faces B finds."""
        return self.fixed - self.broken

    @property
    def real(self) -> bool:
        """More than chance at 5%, after the correction."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANT


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
    """By a formula, at once; `intervals` has those of all figures."""
    mcnemar_p: float
    joint_KKK: NDArray[np.int64]
    """Shared faces by label, A's answer and B's answer: all that tests and intervals need."""

    @property
    def accuracy_delta(self) -> float:
        return self.b.accuracy - self.a.accuracy

    @property
    def macro_f1_delta(self) -> float:
        return self.b.macro_f1 - self.a.macro_f1

    @property
    def balanced_accuracy_delta(self) -> float:
        """Also called the difference in macro-recall."""
        return self.b.balanced_accuracy - self.a.balanced_accuracy

    @property
    def recall_delta(self) -> dict[str, float]:
        return {name: self.b.per_class[name].recall - one.recall for name, one in self.a.per_class.items()}

    @property
    def confusion_delta_KK(self) -> NDArray[np.int64]:
        return self.b.confusion_KK - self.a.confusion_KK

    @cached_property
    def emotion_tests(self) -> dict[str, EmotionTest]:
        """McNemar's test of each emotion, corrected for their number."""
        return _emotion_tests(self.joint_KKK, self.a.classes)

    @cached_property
    def intervals(self) -> Intervals:
        """95% bootstrap intervals; drawn when first asked for, in about 30 ms, macro-F1's alone in thrice that."""
        return paired_intervals(self.joint_KKK, self.a.classes)

    def to_json(self) -> dict[str, Any]:
        """The figures under the names that `compare --json` promises; unrounded."""
        names = ("accuracy_delta", "accuracy_delta_ci95", "mcnemar_p", "recall_delta")
        values = {name: getattr(self, name) for name in names}
        return {
            "n": self.a.n,
            "classes": self.a.classes,
            **values,
            "confusion_delta": self.confusion_delta_KK.tolist(),
            "macro_f1_delta": self.macro_f1_delta,
            "balanced_accuracy_delta": self.balanced_accuracy_delta,
            "emotion_tests": {name: vars(one) for name, one in self.emotion_tests.items()},
            "intervals": self.intervals.to_json(),
        }


def compare(a: SplitPredictions, b: SplitPredictions) -> Comparison:
    """Compare two runs face by face; faces are joined on the hash of their pixels, so their order does not matter.

    Raises: RunError: other classes, no shared face, or the same face under another label.
    """
    rows_a, rows_b = joined_rows(a, b)
    labels = a.labels_N[rows_a]
    joint = joint_counts(labels, answers(a, rows_a), answers(b, rows_b), len(a.classes))
    fixed, broken = (int(some.sum()) for some in _discordant(joint))
    return Comparison(
        a=evaluate(a.logits_NK[rows_a], labels, a.classes, _at(a.in_train_N, rows_a)),
        b=evaluate(b.logits_NK[rows_b], labels, b.classes, _at(b.in_train_N, rows_b)),
        n_a=len(a.labels_N),
        n_b=len(b.labels_N),
        fixed=fixed,
        broken=broken,
        accuracy_delta_ci95=paired_difference_interval(fixed, broken, len(labels)),
        mcnemar_p=mcnemar_exact(fixed, broken),
        joint_KKK=joint,
    )


def joined_rows(*runs: SplitPredictions) -> tuple[NDArray[np.int64], ...]:
    """`shared_rows`, where they make a comparison.

    Raises: RunError: other classes, no shared face, or the same face under another label.
    """
    for other in runs[1:]:
        if other.classes != runs[0].classes:
            raise RunError(
                f"the runs have different label sets: {', '.join(runs[0].classes)} and {', '.join(other.classes)}. "
                "Only runs with the same emotions can be compared."
            )
    shared = reduce(np.intersect1d, [one.hashes_N for one in runs])
    if not len(shared):
        raise RunError("the runs share no face in this split. Train both on the same data.")
    rows = shared_rows(*runs)
    other_labels = len(np.setdiff1d(shared, runs[0].hashes_N[rows[0]]))
    if other_labels:
        raise RunError(
            f"the runs label {other_labels} of {len(shared)} shared faces differently. Train both on the same labels."
        )
    return rows


def shared_rows(*runs: SplitPredictions) -> tuple[NDArray[np.int64], ...]:
    """Positions in each run of the faces that all hold under the same label, pairwise, in the first one's order.

    A face that stands k times in A and m times in B is paired min(k, m) times.
    """
    if all(_same_faces(runs[0], one) for one in runs[1:]):  # as it is with runs on one data set; spares the sorting
        return (np.arange(len(runs[0].labels_N)),) * len(runs)
    keys = [_occurrence_keys(one) for one in runs]
    shared = reduce(lambda some, more: np.intersect1d(some, more, assume_unique=True), keys)
    rows = [np.intersect1d(shared, one, assume_unique=True, return_indices=True)[2] for one in keys]
    order = np.argsort(rows[0])
    return tuple(one[order] for one in rows)


def _at(in_train_N: NDArray[np.bool_] | None, rows_M: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    return None if in_train_N is None else in_train_N[rows_M]


def _same_faces(a: SplitPredictions, b: SplitPredictions) -> bool:
    return np.array_equal(a.hashes_N, b.hashes_N) and np.array_equal(a.labels_N, b.labels_N)


def _occurrence_keys(p: SplitPredictions) -> NDArray:
    """(hash, label, how many earlier rows have both) of each row, as one sortable record."""
    keys = np.empty(len(p.labels_N), dtype=[("hash", np.uint64), ("label", np.int64), ("occurrence", np.int64)])
    keys["hash"], keys["label"] = p.hashes_N, p.labels_N
    keys["occurrence"] = occurrences(p.hashes_N, p.labels_N)
    return keys


def answers(run: SplitPredictions, rows_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class that a run names for each of these faces, as `evaluate` takes it from the logits."""
    return run.logits_NK[rows_M].argmax(axis=1)


def joint_counts(
    labels_N: NDArray[np.int64], answers_a_N: NDArray[np.int64], answers_b_N: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """How many faces have each label, answer of A and answer of B: counts (K, K, K)."""
    return np.bincount((labels_N * k + answers_a_N) * k + answers_b_N, minlength=k**3).reshape(k, k, k)


def _discordant(joint_KKK: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each class, the faces that only B has right, and those that only A has right."""
    both_K = np.einsum("kkk->k", joint_KKK)
    return np.einsum("kak->k", joint_KKK) - both_K, np.einsum("kkb->k", joint_KKK) - both_K


def _emotion_tests(joint_KKK: NDArray[np.int64], classes: Sequence[str]) -> dict[str, EmotionTest]:
    faces_K = joint_KKK.sum(axis=(1, 2)).tolist()
    fixed_K, broken_K = (some.tolist() for some in _discordant(joint_KKK))
    counts = list(zip(classes, faces_K, fixed_K, broken_K, strict=True))
    p = {name: mcnemar_exact(fixed, broken) for name, faces, fixed, broken in counts if faces}
    corrected = dict(zip(p, holm(list(p.values())), strict=True))
    return {
        name: EmotionTest(faces, fixed, broken, p.get(name), corrected.get(name))
        for name, faces, fixed, broken in counts
    }


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

    Twice the smaller binomial tail, at most 1, in whole numbers until the last division; 1 without discordant pairs.
    Source: McNemar, Psychometrika 12 (1947) 153-157; exact binomial form.
    """
    discordant, fewer = fixed + broken, min(fixed, broken)
    tail = term = 1
    for k in range(fewer):
        term = term * (discordant - k) // (k + 1)  # the next binomial coefficient: thousands by `math.comb` take long
        tail += term
    return min(1.0, 2 * tail / 2**discordant)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number: the chance of any false alarm among those below 0.05 is at most 5%.

    The smallest of m is multiplied by m, the next by m - 1 and so on; none falls below one before it, or exceeds 1.
    Needs no assumption on how the tests depend on each other. Source: Holm, Scand. J. Statist. 6 (1979) 65-70.
    """
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = least
    return corrected
