"""How far a run's figures would move on other faces: all runs judged again on the same resampled faces.

Shapes: N faces, C patterns (a label with each run's answer), S runs, R resamples, K classes, F figures.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.evaluate import Floats, Interval, figures_of_counts

RESAMPLES = 10_000
HEADLINES = ("accuracy", "macro_f1", "balanced_accuracy")
"""The first figures of F, as `evaluate.Report` names them; then comes the recall of each class."""

_FEW = 20
"""Up to so many faces, drawing a pattern's faces one by one is cheaper than one binomial number for all of them."""
_CHUNK = 1 << 15
"""Counts that are held at a time: 256 KiB, which fit a cache."""
_THREADS = 2
"""NumPy draws and multiplies without Python's lock. Each part has a seed of its own: their number changes no figure."""


@dataclass(frozen=True)
class PairedIntervals:
    """95% intervals of one figure: of each run alone, and of the difference B - A on the same faces."""

    a: Interval
    b: Interval
    delta: Interval


@dataclass(frozen=True)
class Intervals:
    """95% bootstrap intervals of two runs' figures, as `paired_intervals` finds them."""

    accuracy: PairedIntervals
    balanced_accuracy: PairedIntervals
    recall: dict[str, PairedIntervals | None]
    """By emotion; None where it has no face."""
    _draw_macro_f1: Callable[[], PairedIntervals] = field(repr=False, compare=False)

    @cached_property
    def macro_f1(self) -> PairedIntervals:
        """Drawn when first asked for: it alone depends on which wrong answer a run gives, and takes thrice the time."""
        return self._draw_macro_f1()

    def to_json(self) -> dict[str, Any]:
        """Each figure's intervals `a`, `b` and `delta`; `recall` has them by emotion, null where it has no face."""
        recall = {name: one and dict(vars(one)) for name, one in self.recall.items()}
        return {**{name: dict(vars(getattr(self, name))) for name in HEADLINES}, "recall": recall}


def paired_intervals(
    joint_KKK: NDArray[np.int64], classes: tuple[str, ...], *, resamples: int = RESAMPLES, seed: int = 0
) -> Intervals:
    """95% intervals by the paired bootstrap: the same faces are drawn for both runs, again and again.

    They say how the figures of these two trained nets vary over faces; that another seed would train other nets is not
    in them (`seeds.compare_seeds` has both). They are percentile intervals, the 2.5% and the 97.5% quantile of the
    resampled figures: they stay within possible values, need no formula for macro-F1, and cover without a further
    correction (BCa): simulated on FER2013's mix of 3,589 faces in 93% to 96%, disgust's 55 included. They are not
    corrected for there being seven emotions. Where all faces agree the interval has no width; with a handful of faces
    it is too short, and McNemar's test is what to go by.

    Args: joint_KKK: faces by label, A's answer and B's answer. Equal seeds give equal intervals.
    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    accuracy, _, balanced_accuracy, *recalls = _drawn_intervals(_right_or_wrong(joint_KKK), resamples, seed)
    faces_K = joint_KKK.sum(axis=(1, 2)).tolist()
    recall = {name: one if faces else None for name, faces, one in zip(classes, faces_K, recalls, strict=True)}
    return Intervals(accuracy, balanced_accuracy, recall, lambda: _drawn_intervals(joint_KKK, resamples, seed)[1])


def _right_or_wrong(joint_KKK: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same faces with all of a label's wrong answers taken as one: at most 28 patterns of 343, the same recalls."""
    cells_C3 = np.argwhere(joint_KKK)
    labels_C = cells_C3[:, 0]
    one_wrong_C = (labels_C + 1) % len(joint_KKK)
    a_C, b_C = (np.where(answers_C == labels_C, labels_C, one_wrong_C) for answers_C in cells_C3[:, 1:].T)
    merged_KKK = np.zeros_like(joint_KKK)
    np.add.at(merged_KKK, (labels_C, a_C, b_C), joint_KKK[tuple(cells_C3.T)])
    return merged_KKK


def _drawn_intervals(joint_KKK: NDArray[np.int64], resamples: int, seed: int) -> list[PairedIntervals]:
    """Of each of the F figures."""
    cells_C3 = np.argwhere(joint_KKK)
    labels_C, answers_SC, counts_C = cells_C3[:, 0], cells_C3[:, 1:].T, joint_KKK[tuple(cells_C3.T)]
    figures_RSF = resampled_figures(labels_C, answers_SC, counts_C, len(joint_KKK), resamples=resamples, seed=seed)
    a_FR, b_FR = figures_RSF.transpose(1, 2, 0)
    return [PairedIntervals(*three) for three in zip(*map(_percentiles, (a_FR, b_FR, b_FR - a_FR)), strict=True)]


def intervals_of_one(
    confusion_KK: NDArray[np.int64], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """95% intervals of one run's `HEADLINES`, from its confusion matrix; made as those of `paired_intervals`."""
    cells_C2 = np.argwhere(confusion_KK)
    labels_C, answers_C = cells_C2.T
    counts_C, k = confusion_KK[labels_C, answers_C], len(confusion_KK)
    figures_RF = resampled_figures(labels_C, answers_C[None], counts_C, k, resamples=resamples, seed=seed)[:, 0]
    return dict(zip(HEADLINES, _percentiles(figures_RF.T), strict=False))


def resampled_figures(
    labels_C: NDArray[np.int64],
    answers_SC: NDArray[np.int64],
    counts_C: NDArray[np.int64],
    k: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Floats:
    """Accuracy, macro-F1, balanced accuracy and each class's recall of every run, on faces drawn with replacement.

    Faces of one pattern are alike to every figure, so what is drawn is how often each pattern occurs: the same
    distribution as drawing the faces one by one. A resample is judged as `evaluate` judges a split: a class that has no
    face in it counts in neither mean, except that macro-F1 counts it with 0 where a run answers it; its recall is not a
    number there.

    Args: counts_C: faces of each pattern, at least 1; as many are drawn for a resample as there are.
    Returns: float64 (R, S, 3 + K) in 0..1, the figures in the order of `HEADLINES`, then recalls.
    """
    s = len(answers_SC)
    hot_CK, hot_SCK = np.eye(k)[labels_C], np.eye(k)[answers_SC]
    # One product with the drawn counts gives all sums: faces of each class, then hits and answers, run by run.
    sums = np.concatenate([hot_CK, *(hot_SCK * hot_CK), *hot_SCK], axis=1)

    def figures(drawn_rC: NDArray[np.int64]) -> Floats:
        found = (drawn_rC.astype(np.float64) @ sums).reshape(len(drawn_rC), 1 + 2 * s, k)
        return _figures(found[:, :1], found[:, 1 : s + 1], found[:, s + 1 :])

    parts = _parts(counts_C, resamples, seed)
    with ThreadPoolExecutor(_THREADS) as pool:
        return np.concatenate(list(pool.map(lambda part: figures(_drawn(counts_C, *part)), parts)))


def _parts(counts_C: NDArray[np.int64], resamples: int, seed: int) -> list[tuple[int, np.random.SeedSequence]]:
    """How many resamples are drawn at a time, so that they fit the processor's cache, and the seed of each part."""
    singly = int(counts_C[counts_C <= _FEW].sum())
    rows = max(1, _CHUNK // max(len(counts_C), singly))
    sizes = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return list(zip(sizes, np.random.SeedSequence(seed).spawn(len(sizes)), strict=True))


def _drawn(counts_C: NDArray[np.int64], r: int, seed: np.random.SeedSequence) -> NDArray[np.int64]:
    """Multinomial counts of the patterns for some resamples, (r, C).

    The common patterns are drawn as counts, all others as one; the faces that fall to these are then drawn singly.
    """
    rng = np.random.default_rng(seed)
    n, c = int(counts_C.sum()), len(counts_C)
    common_C = counts_C > _FEW
    rare_M = np.repeat(np.flatnonzero(~common_C), counts_C[~common_C])
    shares = counts_C[common_C] / n
    if len(rare_M):
        shares = np.append(shares, len(rare_M) / n)
    found = rng.multinomial(n, shares, size=r)
    drawn_rC = np.zeros((r, c), dtype=np.int64)
    drawn_rC[:, common_C] = found[:, : common_C.sum()]
    if len(rare_M):
        singles_r = found[:, -1]
        picked = rare_M[rng.integers(len(rare_M), size=singles_r.sum())]
        places = np.repeat(np.arange(r) * c, singles_r) + picked
        drawn_rC += np.bincount(places, minlength=r * c).reshape(r, c)
    return drawn_rC


def _figures(faces_R1K: Floats, hits_RSK: Floats, answers_RSK: Floats) -> Floats:
    """The figures (R, S, 3 + K) from each class's faces, hits and answers."""
    *means, recall = figures_of_counts(faces_R1K, hits_RSK, answers_RSK)
    return np.concatenate([np.stack(means, axis=2), recall], axis=2)


def _percentiles(values_FR: Floats) -> list[Interval]:
    """Of each row, over what is a number in it; a row without any has no interval, (nan, nan)."""
    known_F = ~np.isnan(values_FR).any(axis=1)
    found_F2 = np.full((len(values_FR), 2), np.nan)
    found_F2[known_F] = np.percentile(values_FR[known_F], (2.5, 97.5), axis=1).T
    for i in np.flatnonzero(~known_F):  # some resamples hold no face of it
        some_R = values_FR[i][~np.isnan(values_FR[i])]
        found_F2[i] = np.percentile(some_R, (2.5, 97.5)) if len(some_R) else np.nan
    # Shares that are equal can differ by 1e-17 here, and an interval that ends at 0 must be seen to include it.
    return [(round(low, 12) + 0.0, round(high, 12) + 0.0) for low, high in found_F2.tolist()]
