"""Which faces a run got wrong, and how sure it was: predictions as columns to filter and sort.

Shapes: N faces of a split, K classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_core.evaluate import softmax
from fer_core.predictions import SplitPredictions


@dataclass(frozen=True)
class Answers:
    """A run's answers on one split, row by row."""

    labels_N: NDArray[np.int64]
    predicted_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]
    hashes_N: NDArray[np.uint64]
    classes: tuple[str, ...]

    @property
    def confidence_N(self) -> NDArray[np.float64]:
        """Probability of the predicted emotion, 1/K..1."""
        return self.probabilities_NK.max(axis=1)

    @property
    def wrong_N(self) -> NDArray[np.bool_]:
        return self.predicted_N != self.labels_N

    def select(
        self, *, true: str | None, predicted: str | None, confidence: tuple[float, float], only_wrong: bool
    ) -> NDArray[np.int64]:
        """Positions that fit all filters, the most confident answers first.

        Args:
            true, predicted: names in `classes`; None for any.
            confidence: lowest and highest probability of the predicted emotion, both included.
        """
        sure = self.confidence_N
        fits = (sure >= confidence[0]) & (sure <= confidence[1])
        if only_wrong:
            fits &= self.wrong_N
        for name, values in ((true, self.labels_N), (predicted, self.predicted_N)):
            if name is not None:
                fits &= values == self.classes.index(name)
        chosen = np.flatnonzero(fits)
        return chosen[np.argsort(-sure[chosen], kind="stable")]


def answers(predictions: SplitPredictions) -> Answers:
    """Predicted emotion and probabilities of every face; of equal logits the first wins, as in `evaluate`."""
    return Answers(
        labels_N=predictions.labels_N,
        predicted_N=predictions.logits_NK.argmax(axis=1),
        probabilities_NK=softmax(predictions.logits_NK),
        hashes_N=predictions.hashes_N,
        classes=predictions.classes,
    )
