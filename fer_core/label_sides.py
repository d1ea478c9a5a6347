"""Is it the model or the label? With which of the two FER+'s ten taggers side, for each mistake of a run.

Shapes: N faces of a split, V = 10 vote columns (`labels.FERPLUS_COLUMNS`), K = 7 classes.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.data.known import find_faces
from fer_core.data.labelling import majority_labels, needed_votes
from fer_core.data.store import FaceStore
from fer_core.errors import RunError
from fer_core.evaluate import Interval, wilson_interval
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS
from fer_core.predictions import SplitPredictions

SIDES: dict[str, str] = {
    "model": "FER+'s majority is what the model says: the label is in doubt.",
    "label": "FER+'s majority is the label: the model is wrong.",
    "neither": "FER+'s majority is a third emotion.",
    "no majority": "The taggers do not agree on an emotion, see no face, or there are no votes.",
}
"""With whom FER+'s majority sides in a mistake -> what it means."""


@dataclass(frozen=True)
class Share:
    """So many of n faces."""

    count: int
    n: int

    @property
    def share(self) -> float | None:
        """In 0..1; None of no faces."""
        return self.count / self.n if self.n else None

    @property
    def ci95(self) -> Interval | None:
        """Wilson score interval."""
        return wilson_interval(self.count, self.n) if self.n else None

    def to_json(self) -> dict[str, Any]:
        return {"count": self.count, "n": self.n, "share": self.share, "ci95": self.ci95}


@dataclass(frozen=True)
class Pair:
    """The mistakes of one kind: this emotion called that one."""

    true: str
    predicted: str
    n: int
    sides: dict[str, int]
    """How many of them FER+'s majority gives to each of `SIDES`."""

    def share(self, side: str) -> Share:
        return Share(self.sides[side], self.n)

    def to_json(self) -> dict[str, Any]:
        return {"true": self.true, "predicted": self.predicted, "n": self.n, "sides": self.sides}


@dataclass(frozen=True)
class Accuracies:
    """One run's accuracy by each label set."""

    fer2013_same: Share
    """By FER2013's labels, on the faces with a FER+ majority within the seven emotions."""
    ferplus_same: Share
    """By FER+'s majority, on the very same faces."""
    fer2013_own: Share
    """By FER2013's labels, on all faces."""
    ferplus_own: Share
    """By FER+'s majority, on all faces that have one; those of contempt count as wrong, which the model cannot say."""

    def to_json(self) -> dict[str, Any]:
        return {name: share.to_json() for name, share in vars(self).items()}


@dataclass(frozen=True)
class LabelSides:
    """A run's answers on a split beside both label sets."""

    labels_N: NDArray[np.int64]
    """FER2013's label, an index into `labels.EMOTIONS`."""
    predicted_N: NDArray[np.int64]
    majority_N: NDArray[np.int64]
    """FER+'s majority, an index into `labelling.FERPLUS_CLASSES`; -1 where there is none."""

    @property
    def side_N(self) -> NDArray[np.int64]:
        """Position in `SIDES` of each mistake's side; -1 where the model's answer is the label."""
        of_majority = [self.majority_N == self.predicted_N, self.majority_N == self.labels_N, self.majority_N >= 0]
        return np.where(self.predicted_N == self.labels_N, -1, np.select(of_majority, [0, 1, 2], 3))

    def where(self, side: str) -> NDArray[np.int64]:
        """Positions (of the N) of the mistakes of one side, ascending."""
        return np.flatnonzero(self.side_N == list(SIDES).index(side))

    @property
    def mistakes(self) -> int:
        return int((self.side_N >= 0).sum())

    def totals(self) -> dict[str, Share]:
        """Side -> how many of all mistakes; they add up to all of them."""
        counts = _side_counts(self.side_N)
        return {side: Share(count, self.mistakes) for side, count in counts.items()}

    def pairs(self) -> list[Pair]:
        """Every pair of emotions that the model confuses, the commonest first, equals in the order of the emotions."""
        side_N = self.side_N
        cells_N = np.where(side_N >= 0, self.labels_N * len(EMOTIONS) + self.predicted_N, -1)
        commonest = sorted(Counter(cells_N[side_N >= 0].tolist()).items(), key=lambda item: (-item[1], item[0]))
        kinds = [(divmod(cell, len(EMOTIONS)), n, _side_counts(side_N[cells_N == cell])) for cell, n in commonest]
        return [Pair(EMOTIONS[true], EMOTIONS[predicted], n, sides) for (true, predicted), n, sides in kinds]

    def accuracies(self) -> Accuracies:
        by_label_N, by_majority_N = self.predicted_N == self.labels_N, self.predicted_N == self.majority_N
        has_N = self.majority_N >= 0
        same_N = has_N & (self.majority_N < len(EMOTIONS))
        return Accuracies(
            _share(by_label_N[same_N]), _share(by_majority_N[same_N]), _share(by_label_N), _share(by_majority_N[has_N])
        )

    def to_json(self) -> dict[str, Any]:
        """Totals, pairs and accuracies; shares in 0..1, unrounded, each with its n and 95% interval."""
        return {
            "n": len(self.labels_N),
            "mistakes": self.mistakes,
            "totals": {side: share.to_json() for side, share in self.totals().items()},
            "pairs": [pair.to_json() for pair in self.pairs()],
            "accuracy": self.accuracies().to_json(),
        }


def label_sides(predictions: SplitPredictions, votes_NV: NDArray[np.uint8]) -> LabelSides:
    """With whom FER+ sides, for a run that answers in FER2013's seven emotions. Of equal logits the first wins.

    Args: votes_NV: of the same faces in the same order (`votes_of`); all zero where there are none.
    Raises: RunError: the run is judged by other labels than FER2013's, or the votes are of another number of faces.
    """
    refuse_other_labels(predictions)
    n = len(predictions.labels_N)
    if votes_NV.shape != (n, len(FERPLUS_COLUMNS)):
        raise RunError(f"votes of shape {votes_NV.shape} for {n:,} answers; expected ({n}, {len(FERPLUS_COLUMNS)}).")
    return LabelSides(predictions.labels_N, predictions.logits_NK.argmax(axis=1), majority_labels(votes_NV))


def refuse_other_labels(predictions: SplitPredictions) -> None:
    """Raises: RunError: the labels are not FER2013's, so that FER+ cannot say whether they are right."""
    if predictions.classes != EMOTIONS:
        raise RunError(
            f"this run answers in {len(predictions.classes)} classes ({', '.join(predictions.classes)}); model or "
            f"label is asked of runs in FER2013's seven ({', '.join(EMOTIONS)}). Choose a run of --labels fer."
        )


def votes_of(store: FaceStore, rows_N: NDArray[np.int64]) -> NDArray[np.uint8]:
    """FER+'s votes of these rows of the store, uint8 (N, V); all zero where a row is -1 (not there) or has none.

    Raises: DataError: the store has no votes at all.
    """
    votes_NV = np.array(needed_votes(store, "telling model from label")[rows_N])
    votes_NV[rows_N < 0] = 0
    return votes_NV


def rows_in(store: FaceStore, predictions: SplitPredictions) -> NDArray[np.int64]:
    """Row in the store of each face that a run judged, int64 (N,); -1 where it is not there.

    In the store that the run was trained on they are the run's own rows, since copies of one face have votes of their
    own; elsewhere a face is found by its pixels, and a copy may stand in for it.
    """
    own = predictions.fingerprint == store.fingerprint
    return predictions.rows_N if own else find_faces(store, predictions.hashes_N)


def sides_sentence(sides: LabelSides, split: str) -> str:
    """The totals in plain words, for a person: 'Of 1,190 mistakes on private, FER+'s taggers side ...'."""
    if not sides.mistakes:
        return (
            f"There is no mistake on {split}: the model says what the label says of all {len(sides.labels_N):,} faces."
        )
    said = {side: f"{share.count / share.n:.0%}" for side, share in sides.totals().items()}
    noun = "mistake" if sides.mistakes == 1 else "mistakes"
    return (
        f"Of {sides.mistakes:,} {noun} on {split}, the majority of FER+'s ten taggers sides with the model in "
        f"{said['model']}, with the label in {said['label']} and with neither in {said['neither']}; in "
        f"{said['no majority']} they have no majority."
    )


def accuracy_sentence(sides: LabelSides) -> str:
    """Accuracy by each label set on the same faces, in plain words, with 95% intervals."""
    fer2013, ferplus = sides.accuracies().fer2013_same, sides.accuracies().ferplus_same
    if not fer2013.n:
        return "No face has a FER+ majority among the seven emotions, so the two label sets cannot stand side by side."
    return (
        f"On the {fer2013.n:,} faces that both label sets speak of, the model is right in {_percent(fer2013)} by "
        f"FER2013's labels and in {_percent(ferplus)} by FER+'s majority."
    )


def _percent(share: Share) -> str:
    low, high = wilson_interval(share.count, share.n)
    return f"{share.count / share.n:.1%} ({low:.1%} to {high:.1%})"


def _share(right: NDArray[np.bool_]) -> Share:
    return Share(int(right.sum()), len(right))


def _side_counts(side_N: NDArray[np.int64]) -> dict[str, int]:
    counts = np.bincount(side_N[side_N >= 0], minlength=len(SIDES)).tolist()
    return dict(zip(SIDES, counts, strict=True))
