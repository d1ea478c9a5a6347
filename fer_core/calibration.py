"""Whether a run is as sure as it may be, and what it finds at which cost: curves over its probabilities.

Shapes: N faces, K classes, B bins.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_core.evaluate import ECE_BINS, Floats, confidence_bins, softmax, wilson_interval
from fer_core.predictions import SplitPredictions


@dataclass(frozen=True)
class Bin:
    """The faces whose top probability lies in one range."""

    faces: int
    confidence: float
    """Their mean top probability."""
    accuracy: float
    ci95: tuple[float, float]
    """Wilson interval of the accuracy."""


def reliability(probabilities_NK: Floats, labels_N: NDArray[np.int64], bins: int = ECE_BINS) -> list[Bin]:
    """Bins of equal width, (low, high], by the top probability; those without a face are left out.

    The mean distance between confidence and accuracy, weighted by faces, is `Report.ece` (with its 15 bins).
    """
    confidence = probabilities_NK.max(axis=1)
    hits = probabilities_NK.argmax(axis=1) == labels_N
    place = confidence_bins(confidence, bins)
    found = []
    for part in range(bins):
        here = place == part
        if n := int(here.sum()):
            right = int(hits[here].sum())
            found.append(Bin(n, float(confidence[here].mean()), right / n, wilson_interval(right, n)))
    return found


def reliability_of(answers: SplitPredictions) -> list[Bin]:
    """`reliability` of a run's stored answers."""
    return reliability(softmax(answers.logits_NK), answers.labels_N)


def precision_recall_of(answers: SplitPredictions, emotion: str) -> "PrecisionRecall | None":
    """`precision_recall` of a run's stored answers for one of their classes."""
    k = answers.classes.index(emotion)
    return precision_recall(softmax(answers.logits_NK)[:, k], answers.labels_N == k)


@dataclass(frozen=True)
class PrecisionRecall:
    """One emotion, found by a threshold on its probability, from the highest down."""

    recall_T: Floats
    """Rising; of equal probabilities only the last is a point."""
    precision_T: Floats
    average_precision: float
    """Mean precision over the steps of recall, as scikit-learn has it; not the trapezoids' area."""


def precision_recall(probability_N: Floats, is_it_N: NDArray[np.bool_]) -> PrecisionRecall | None:
    """None where no face has the emotion."""
    total = int(is_it_N.sum())
    if not total:
        return None
    order = np.argsort(-probability_N, kind="stable")
    hits = np.cumsum(is_it_N[order])
    last = np.append(np.diff(probability_N[order]) != 0, True)
    recall, precision = hits[last] / total, hits[last] / (np.flatnonzero(last) + 1)
    steps = np.diff(np.concatenate([[0.0], recall]))
    return PrecisionRecall(recall, precision, float((steps * precision).sum()))
