"""Which faces a run got wrong, how sure it was and how near the right answer: columns to filter and sort.

Shapes: N faces of a split, K classes.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fer_core.catalog import check_name
from fer_core.evaluate import softmax
from fer_core.predictions import SplitPredictions

SORTS: tuple[str, ...] = ("surest", "least sure", "highest loss", "closest call", "most disputed")
"""Orders of the found faces; the last needs votes. Closest call: the smallest margin between the two top answers."""

Range = tuple[float, float]
"""Lowest and highest value, both included."""
_ANY: Range = (0.0, 1.0)


@dataclass(frozen=True)
class MistakeFilters:
    """Which faces are wanted, and in which order; as it is created: every mistake, the surest first."""

    true: str | None = None
    """A class, or None for any; so `predicted`."""
    predicted: str | None = None
    only_wrong: bool = True
    confidence: Range = _ANY
    """Of the probability of the predicted class."""
    margin: Range = _ANY
    """Of that probability minus the next one's."""
    agreement: Range = _ANY
    """Of the share of FER+'s taggers behind the top vote; 0 to 1 asks nothing, else faces without votes fit none."""
    sort: str = SORTS[0]


@dataclass(frozen=True)
class Answers:
    """A run's answers on one split, row by row."""

    labels_N: NDArray[np.int64]
    predicted_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]
    hashes_N: NDArray[np.uint64]
    classes: tuple[str, ...]

    @cached_property
    def confidence_N(self) -> NDArray[np.float64]:
        """Probability of the predicted emotion, 1/K..1."""
        return self.probabilities_NK.max(axis=1)

    @cached_property
    def margin_N(self) -> NDArray[np.float64]:
        """That probability minus the second largest, 0..1."""
        second, first = np.partition(self.probabilities_NK, -2, axis=1)[:, -2:].T
        return first - second

    @cached_property
    def loss_N(self) -> NDArray[np.float64]:
        """Minus the logarithm of the label's probability, in nats; at most 700, where the probability is 0."""
        own = self.probabilities_NK[np.arange(len(self.labels_N)), self.labels_N]
        return -np.log(np.maximum(own, np.exp(-700)))

    @property
    def wrong_N(self) -> NDArray[np.bool_]:
        return self.predicted_N != self.labels_N

    def select(
        self,
        filters: MistakeFilters,
        *,
        agreement_N: NDArray[np.floating] | None = None,
        flagged_N: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int64]:
        """Positions that fit all filters, in the order that is asked for; of equals the first stands first.

        Args:
            agreement_N: share of the taggers behind the top vote, NaN where nobody voted; None: no votes are known,
                and nothing asks for them.
            flagged_N: of which faces alone are wanted; None: of all.
        Raises: ConfigError: no such order.
        """
        fits = np.ones(len(self.labels_N), dtype=bool) if flagged_N is None else flagged_N.copy()
        if filters.only_wrong:
            fits &= self.wrong_N
        for name, kinds in ((filters.true, self.labels_N), (filters.predicted, self.predicted_N)):
            if name is not None:
                fits &= kinds == self.classes.index(name)
        for wanted, values in ((filters.confidence, self.confidence_N), (filters.margin, self.margin_N)):
            fits &= _within(values, wanted)
        if agreement_N is not None and filters.agreement != _ANY:
            fits &= _within(agreement_N, filters.agreement)  # NaN is within nothing
        chosen = np.flatnonzero(fits)
        return chosen[np.argsort(self._order(filters.sort, agreement_N)[chosen], kind="stable")]

    def _order(self, sort: str, agreement_N: NDArray[np.floating] | None) -> NDArray[np.floating]:
        check_name("order", sort, SORTS)
        if sort == "most disputed" and agreement_N is not None:
            return agreement_N  # no votes are NaN, and come last
        columns = {"least sure": self.confidence_N, "highest loss": -self.loss_N, "closest call": self.margin_N}
        return columns.get(sort, -self.confidence_N)


def answers(predictions: SplitPredictions) -> Answers:
    """Predicted emotion and probabilities of every face; of equal logits the first wins, as in `evaluate`."""
    return Answers(
        labels_N=predictions.labels_N,
        predicted_N=predictions.logits_NK.argmax(axis=1),
        probabilities_NK=softmax(predictions.logits_NK),
        hashes_N=predictions.hashes_N,
        classes=predictions.classes,
    )


def _within(values_N: NDArray[np.floating], wanted: Range) -> NDArray[np.bool_]:
    return (values_N >= wanted[0]) & (values_N <= wanted[1])
