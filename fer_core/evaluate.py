"""From logits and labels to a `Report`: every figure by which a run is judged. Plain numpy.

Shapes: N faces, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import RunError

Floats = NDArray[np.float64]
Interval = tuple[float, float]

Z95 = 1.959963984540054
"""Two-sided 95% quantile of the normal distribution."""
ECE_BINS = 15


@dataclass(frozen=True)
class ClassReport:
    """One emotion: of those called it, the share that is it (precision); of those that are it, the share found."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Dedup:
    """The figures without the faces whose very pixels also stand in the training split."""

    n: int
    accuracy: float
    macro_f1: float


@dataclass(frozen=True)
class Report:
    """A run's figures on one split. Shares lie in 0..1; a class without predictions has precision 0, as in sklearn."""

    classes: tuple[str, ...]
    n: int
    accuracy: float
    accuracy_ci95: Interval
    """Wilson score interval."""
    macro_f1: float
    """Mean F1 over the classes that occur as label or prediction."""
    balanced_accuracy: float
    """Mean recall over the classes that have a face."""
    log_loss: float
    """Mean negative log-likelihood of the true class, in nats."""
    ece: float
    """Expected calibration error of the top probability, 15 bins of equal width (Guo et al. 2017, arXiv 1706.04599)."""
    per_class: dict[str, ClassReport]
    confusion_KK: NDArray[np.int64]
    """Counts, rows true, columns predicted."""
    dedup: Dedup | None = None
    """None where it is not known which faces also stand in train, or where all of them do."""

    def to_json(self) -> dict[str, Any]:
        """The figures under the names that `evaluate --json` promises; unrounded."""
        names = ("n", "classes", "accuracy", "accuracy_ci95", "macro_f1", "balanced_accuracy", "log_loss", "ece")
        values = {name: getattr(self, name) for name in names}
        per_class = {name: vars(one) for name, one in self.per_class.items()}
        dedup = None if self.dedup is None else vars(self.dedup)
        return {**values, "dedup": dedup, "per_class": per_class, "confusion": self.confusion_KK.tolist()}


def evaluate(
    logits_NK: NDArray[np.floating],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    in_train_N: NDArray[np.bool_] | None = None,
) -> Report:
    """Judge predictions. The predicted class is the one with the highest logit, the first of equals.

    Args: in_train_N: faces that also stand in train; given, the report has its figures without them as well.
    Raises: RunError: no faces, or logits that are not finite.
    """
    if not len(labels_N):
        raise RunError("there are no predictions to judge.")
    if not np.isfinite(logits_NK).all():
        raise RunError("the predictions hold values that are not finite; the training diverged. Try a lower --lr.")
    predicted_N = logits_NK.argmax(axis=1)
    confusion = confusion_matrix(labels_N, predicted_N, len(classes))
    per_class = _per_class(confusion, classes)
    probabilities = softmax(logits_NK)
    correct, n = int(np.trace(confusion)), len(labels_N)
    return Report(
        classes=tuple(classes),
        n=n,
        accuracy=correct / n,
        accuracy_ci95=wilson_interval(correct, n),
        macro_f1=_macro_f1(confusion, per_class),
        balanced_accuracy=float(np.mean([one.recall for one in per_class.values() if one.support])),
        log_loss=log_loss(logits_NK, labels_N),
        ece=expected_calibration_error(probabilities, labels_N),
        per_class=per_class,
        confusion_KK=confusion,
        dedup=_dedup(predicted_N, labels_N, classes, in_train_N),
    )


def confusion_matrix(labels_N: NDArray[np.int64], predicted_N: NDArray[np.integer], k: int) -> NDArray[np.int64]:
    """Counts (K, K): rows true, columns predicted."""
    return np.bincount(labels_N * k + predicted_N, minlength=k * k).reshape(k, k)


def softmax(logits_NK: NDArray[np.floating]) -> Floats:
    """Probabilities (N, K), rows sum to 1; computed in float64, shifted by the maximum so that nothing overflows."""
    shifted = logits_NK.astype(np.float64) - logits_NK.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def log_loss(logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> float:
    """Mean cross-entropy in nats, from logits, so that a probability that rounds to 0 still has a finite price."""
    logits = logits_NK.astype(np.float64)
    peak = logits.max(axis=1)
    log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    return float(np.mean(log_sum - logits[np.arange(len(labels_N)), labels_N]))


def expected_calibration_error(probabilities_NK: Floats, labels_N: NDArray[np.int64]) -> float:
    """Mean distance between confidence and accuracy, over bins of the top probability, weighted by their size."""
    confidence = probabilities_NK.max(axis=1)
    hits = (probabilities_NK.argmax(axis=1) == labels_N).astype(np.float64)
    gap = np.bincount(confidence_bins(confidence), weights=hits - confidence, minlength=ECE_BINS)
    return float(np.abs(gap).sum() / len(labels_N))


def confidence_bins(confidence_N: Floats, bins: int = ECE_BINS) -> NDArray[np.int64]:
    """Which of so many bins of equal width, (low, high], each top probability falls into; exactly 1: the last one."""
    return np.clip(np.ceil(confidence_N * bins).astype(np.int64) - 1, 0, bins - 1)


def wilson_interval(successes: int, n: int) -> Interval:
    """95% interval of a share. Source: Wilson 1927; unlike the normal one it stays inside 0..1."""
    share = successes / n
    centre = share + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def figures_of_counts(faces: Floats, hits: Floats, answers: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Accuracy, macro-F1, balanced accuracy (...,) and recalls (..., K) of many matrices, as `evaluate` has them.

    A class that does not occur counts in no mean, and its recall is not a number.

    Args: faces, hits, answers: of each class, (..., K): its faces, those found, and faces that were called it.
    """
    with np.errstate(invalid="ignore"):
        recall, f1 = hits / faces, 2 * hits / (faces + answers)
    return hits.sum(axis=-1) / faces.sum(axis=-1), _mean_of_known(f1), _mean_of_known(recall), recall


def _mean_of_known(values: Floats) -> Floats:
    """Over the last axis and what is a number: 0 / 0 is a class that does not occur."""
    known = ~np.isnan(values)
    return np.where(known, values, 0.0).sum(axis=-1) / known.sum(axis=-1)


def _dedup(
    predicted_N: NDArray[np.integer],
    labels_N: NDArray[np.int64],
    classes: Sequence[str],
    in_train_N: NDArray[np.bool_] | None,
) -> Dedup | None:
    if in_train_N is None or in_train_N.all():
        return None
    confusion = confusion_matrix(labels_N[~in_train_N], predicted_N[~in_train_N], len(classes))
    n = int(confusion.sum())
    return Dedup(n, int(np.trace(confusion)) / n, _macro_f1(confusion, _per_class(confusion, classes)))


def _macro_f1(confusion_KK: NDArray[np.int64], per_class: Mapping[str, ClassReport]) -> float:
    seen = confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1) > 0
    return float(np.mean([one.f1 for one, occurs in zip(per_class.values(), seen, strict=True) if occurs]))


def _per_class(confusion_KK: NDArray[np.int64], classes: Sequence[str]) -> dict[str, ClassReport]:
    hits, support, called = np.diag(confusion_KK), confusion_KK.sum(axis=1), confusion_KK.sum(axis=0)
    rows = zip(hits.tolist(), support.tolist(), called.tolist(), strict=True)
    return {
        name: ClassReport(_ratio(hit, call), _ratio(hit, true), _ratio(2 * hit, true + call), true)
        for name, (hit, true, call) in zip(classes, rows, strict=True)
    }


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
