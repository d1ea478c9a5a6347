"""Moving a run's decision after training: its stored logits by temperature, by the classes' prior, and by offsets.

Shapes: N faces of a split, K classes, T values of tau. Plain numpy: the sliders call this on every move.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_core.balance import Floats, logit_offsets
from fer_core.catalog import check_name
from fer_core.errors import ConfigError, RunError
from fer_core.evaluate import confusion_matrix, figures_of_counts, log_loss
from fer_core.predictions import SplitPredictions, report_on

TAUS: tuple[float, ...] = tuple(step / 40 for step in range(-40, 81))
"""The grid of tau that curves are drawn and chosen on: -1 to 2, 0 and 1 among them."""
TEMPERATURES = (0.05, 20.0)
"""Lowest and highest temperature."""
MOST_TAU = 10.0
MOST_OFFSET = 10.0
"""In nats, either way: odds of 22,000 to 1."""
METRICS: tuple[str, ...] = ("accuracy", "balanced_accuracy", "macro_f1")
"""What tau can be chosen for, under `Report`'s names; `balanced_accuracy` is the macro-recall."""


@dataclass(frozen=True)
class Adjustment:
    """Values that move a decision (`adjust_logits` says how); as it is created, it changes nothing."""

    tau: float = 0.0
    """Strength of logit adjustment: 0 leaves the prior in, 1 takes it out, more favours the rare, less the frequent."""
    temperature: float = 1.0
    """Above 1 makes answers less sure, below 1 surer."""
    offsets_K: tuple[float, ...] = ()
    """Added to the logits of each class, in nats; empty: none."""

    def __post_init__(self) -> None:
        """Raises: ConfigError: a value is out of bounds."""
        low, high = TEMPERATURES
        if not abs(self.tau) <= MOST_TAU:
            raise ConfigError(f"tau is {self.tau}; it should be from {-MOST_TAU:g} to {MOST_TAU:g}.")
        if not low <= self.temperature <= high:
            raise ConfigError(f"the temperature is {self.temperature}; it should be from {low:g} to {high:g}.")
        if not all(abs(offset) <= MOST_OFFSET for offset in self.offsets_K):
            raise ConfigError(f"an emotion's offset should be from {-MOST_OFFSET:g} to {MOST_OFFSET:g}.")


AS_IS = Adjustment()


@dataclass(frozen=True)
class Tradeoff:
    """What a run reaches at one tau. Shares in 0..1, as `Report` has them."""

    tau: float
    accuracy: float
    balanced_accuracy: float
    """The macro-recall: mean recall over the classes that have a face."""
    macro_f1: float


def adjust_logits(logits_NK: NDArray[np.floating], prior_K: ArrayLike, adjustment: Adjustment) -> Floats:
    """logits / temperature - tau * log(prior) + offsets, in this order, as float64 (N, K).

    The temperature comes first, for it mends how sure the net itself is; it scales neither prior nor offsets. A
    calibrated net says p(class | face) under the prior it has learnt from (`run_adjustment.training_prior`): divided by
    that prior (tau 1), the largest answer has the best expected macro-recall. With tau 0 and no offsets no answer
    changes, whatever the temperature.

    Args: prior_K: shares or counts; a class with 0 gets nothing from tau (`balance.logit_offsets`).
    Raises: ConfigError: offsets of another number of classes.
    Source: Menon et al., ICLR 2021, arXiv 2007.07314 (post-hoc, equation 9); temperature: Guo et al., ICML 2017,
    arXiv 1706.04599.
    """
    moved = logits_NK.astype(np.float64)
    moved /= adjustment.temperature
    moved += logit_shifts(prior_K, adjustment)
    return moved


def logit_shifts(prior_K: ArrayLike, adjustment: Adjustment) -> Floats:
    """What is added to the logits of each class (K,), whatever the face. Raises: ConfigError: as `adjust_logits`."""
    by_tau = -logit_offsets(prior_K, adjustment.tau)
    offsets, k = adjustment.offsets_K, len(by_tau)
    if len(offsets) not in (0, k):
        raise ConfigError(f"there are {len(offsets)} offsets for {k} emotions; give one each, or none.")
    return by_tau + np.array(offsets) if offsets else by_tau


def adjusted(predictions: SplitPredictions, prior_K: ArrayLike, adjustment: Adjustment) -> SplitPredictions:
    """The same faces with adjusted logits, as float64: in float32 a division can make two of them equal.

    `report_on`, `compare` and whatever else takes predictions takes these.
    """
    more = {view: adjust_logits(logits, prior_K, adjustment) for view, logits in predictions.more_NK.items()}
    moved = adjust_logits(predictions.logits_NK, prior_K, adjustment)
    return replace(predictions, logits_NK=moved, more_NK=more)  # type: ignore[arg-type]  # wider than what is stored


def tradeoff_curve(
    predictions: SplitPredictions, prior_K: ArrayLike, taus: Sequence[float] = TAUS, given: Adjustment = AS_IS
) -> list[Tradeoff]:
    """What the run reaches at each tau, in their order; `given` has the temperature and the offsets.

    Raises: RunError: there are no predictions, or they are not finite.
    """
    report_on(predictions)  # refuses what cannot be judged
    labels, k = predictions.labels_N, len(predictions.classes)
    scaled = np.asfortranarray(predictions.logits_NK, dtype=np.float64) / given.temperature
    shifts = [logit_shifts(prior_K, replace(given, tau=tau)) for tau in taus]
    figures_MT = _figures(np.array([confusion_matrix(labels, _highest(scaled, shift_K), k) for shift_K in shifts]))
    return [Tradeoff(tau, *row) for tau, row in zip(taus, figures_MT.T.tolist(), strict=True)]


def _highest(logits_NK: Floats, shift_K: Floats) -> NDArray[np.int64]:
    """(logits + shift).argmax(axis=1), the first of equals. By classes, without a branch: a third of the time."""
    highest_N = logits_NK[:, 0] + shift_K[0]
    found_N = np.zeros(len(logits_NK), dtype=np.int16)
    for k in range(1, len(shift_K)):
        # A later class is taken where it is higher; its number is higher too, so that a maximum does it.
        moved_N = logits_NK[:, k] + shift_K[k]
        np.maximum(found_N, (moved_N > highest_N) * np.int16(k), out=found_N)
        np.maximum(highest_N, moved_N, out=highest_N)
    return found_N.astype(np.int64)


def _figures(confusion_TKK: NDArray[np.int64]) -> Floats:
    """Accuracy, macro-recall and macro-F1 of each matrix, (3, T), over the same classes as `evaluate` has them."""
    hits_TK = np.diagonal(confusion_TKK, axis1=1, axis2=2).astype(np.float64)
    faces_TK, called_TK = confusion_TKK.sum(axis=2), confusion_TKK.sum(axis=1)
    accuracy, macro_f1, balanced, _ = figures_of_counts(faces_TK, hits_TK, called_TK)
    return np.array([accuracy, balanced, macro_f1])


def front(points: Sequence[Tradeoff]) -> list[int]:
    """Positions of the best trade-offs between accuracy and macro-recall, by falling accuracy.

    No other point is at least as good in both and better in one; of equal points the first stands for all. The points
    may be of several runs.
    """
    order = sorted(range(len(points)), key=lambda i: (-points[i].accuracy, -points[i].balanced_accuracy, i))
    found: list[int] = []
    for i in order:
        if not found or points[i].balanced_accuracy > points[found[-1]].balanced_accuracy:
            found.append(i)
    return found


def best_tau(
    predictions: SplitPredictions, prior_K: ArrayLike, metric: str, *, split: str, given: Adjustment = AS_IS
) -> float:
    """The tau of `TAUS` with the highest metric on public; of equals the one nearest to 0.

    Args:
        metric: one of `METRICS`.
        split: which split the predictions are of.
        given: its temperature and offsets stay.
    Raises: ConfigError: no such metric. RunError: the split is not public, or the predictions cannot be judged.
    """
    check_name("metric", metric, METRICS)
    _refuse_all_but_public(split)
    points = tradeoff_curve(predictions, prior_K, given=given)
    return max(points, key=lambda point: (getattr(point, metric), -abs(point.tau), point.tau)).tau


def best_temperature(
    predictions: SplitPredictions, prior_K: ArrayLike, *, split: str, given: Adjustment = AS_IS
) -> float:
    """The temperature with the lowest log loss on public, to three digits after the point; 1 where none is lower.

    The log loss is convex in 1 / temperature, so that golden-section search finds its one minimum within
    `TEMPERATURES`; where every answer is right, that is the lowest.

    Args: split, given: as in `best_tau`; with tau 0 and no offsets this is plain temperature scaling.
    Raises: RunError: as in `best_tau`. Source: Guo et al., ICML 2017, arXiv 1706.04599.
    """
    _refuse_all_but_public(split)
    report_on(predictions)

    def loss(temperature: float) -> float:
        moved = adjust_logits(predictions.logits_NK, prior_K, replace(given, temperature=temperature))
        return log_loss(moved, predictions.labels_N)

    low, high = map(math.log, TEMPERATURES)
    found = round(math.exp(_lowest(lambda x: loss(math.exp(x)), low, high, within=1e-5)), 3)
    return found if loss(found) < loss(1.0) else 1.0


def _lowest(function: Callable[[float], float], low: float, high: float, within: float) -> float:
    """Where a function with one minimum is lowest between two ends: golden-section search (Kiefer 1953)."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > within:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def _refuse_all_but_public(split: str) -> None:
    if split != "public":
        raise RunError(f"an adjustment is chosen on public, not on {split!r}: private only shows what it gives.")
