"""Faces followed from one picture of a camera to the next, their boxes and emotions smoothed over time.

Shapes: F faces of one picture, G faces that are followed, K classes. Boxes: left, top, right, bottom in pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEAST_OVERLAP = 0.2
"""Intersection over union from which on two boxes are one face: at five pictures a second a head may move by half."""


@dataclass(frozen=True)
class Followed:
    """One face, as it is by now."""

    number: int
    """The same for as long as the face is followed; counted from 1, and again from 1 once nobody is followed."""
    box_4: NDArray[np.float64]
    probabilities_K: NDArray[np.float64]
    """They sum to 1, as those that went in."""
    unseen_s: float
    """Since when it has not been found; 0.0: it is in the latest picture."""


@dataclass(frozen=True)
class _Track:
    number: int
    seen_s: float
    found_4: NDArray[np.float64]
    """Where it was found last: there, not where the mean is, it is looked for."""
    box_4: NDArray[np.float64]
    probabilities_K: NDArray[np.float64]


class Follower:
    """Gives every face a number, and exponential means by elapsed time: a slow machine smooths as a fast one does."""

    def __init__(self, half_life_s: float = 0.4, forget_s: float = 1.0, *, box_half_life_s: float = 0.1) -> None:
        """A face's probabilities and box are means of what was found, the older the less.

        Args:
            half_life_s: what is so much older counts for half; of the probabilities.
            forget_s: a face that has not been found for longer is forgotten; found again, it is another one.
            box_half_life_s: of the box. Shorter, for a box that lags behind its face is worse than one that trembles.
        Raises: ValueError: one of them is not above 0.
        """
        if min(half_life_s, forget_s, box_half_life_s) <= 0:
            raise ValueError(f"half-lives and forget_s are above 0: {half_life_s}, {box_half_life_s}, {forget_s}")
        self.half_life_s, self.forget_s, self.box_half_life_s = half_life_s, forget_s, box_half_life_s
        self._tracks: list[_Track] = []
        self._last_number = 0

    def update(self, time_s: float, boxes_F4: ArrayLike, probabilities_FK: ArrayLike) -> list[Followed]:
        """Take in what was found in one picture.

        Args:
            time_s: when, by a clock that does not go back.
            boxes_F4: the faces of the picture, in any order; none of them: an empty list.
            probabilities_FK: of each of them; rows that sum to 1.
        Returns: every face that is not forgotten by now, by its number.
        """
        found_F4 = np.asarray(boxes_F4, dtype=np.float64).reshape(-1, 4)
        given_FK = [np.asarray(one, dtype=np.float64) for one in np.asarray(probabilities_FK)]
        tracks = [track for track in self._tracks if time_s - track.seen_s <= self.forget_s]
        if not tracks:
            self._last_number = 0
        pairs = matched(np.array([track.found_4 for track in tracks]).reshape(-1, 4), found_F4)
        for face, (box_4, probabilities_K) in enumerate(zip(found_F4, given_FK, strict=True)):
            if face in pairs:
                tracks[pairs[face]] = self._moved_on(tracks[pairs[face]], time_s, box_4, probabilities_K)
            else:
                self._last_number += 1
                tracks.append(_Track(self._last_number, time_s, box_4, box_4, probabilities_K))
        self._tracks = tracks
        return [Followed(one.number, one.box_4, one.probabilities_K, time_s - one.seen_s) for one in tracks]

    def _moved_on(
        self, track: _Track, time_s: float, box_4: NDArray[np.float64], probabilities_K: NDArray[np.float64]
    ) -> _Track:
        elapsed_s = time_s - track.seen_s
        mean_4 = _mean(track.box_4, box_4, elapsed_s, self.box_half_life_s)
        mean_K = _mean(track.probabilities_K, probabilities_K, elapsed_s, self.half_life_s)
        return _Track(track.number, time_s, box_4, mean_4, mean_K)


def matched(boxes_G4: NDArray[np.float64], boxes_F4: NDArray[np.float64]) -> dict[int, int]:
    """Which of G boxes each of F is: pairs by overlap, the largest first, each box in one pair at most.

    Returns: row of F -> row of G, for those whose overlap suffices.
    """
    overlap_GF = _overlaps(boxes_G4, boxes_F4)
    pairs: dict[int, int] = {}
    for place in np.argsort(-overlap_GF, axis=None, kind="stable").tolist():
        old, face = divmod(place, len(boxes_F4))
        if overlap_GF[old, face] < _LEAST_OVERLAP:
            break
        if face not in pairs and old not in pairs.values():
            pairs[face] = old
    return pairs


def _overlaps(boxes_G4: NDArray[np.float64], boxes_F4: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of each with each: (G, F), 0..1."""
    ends_GF2 = np.minimum(boxes_G4[:, None, 2:], boxes_F4[None, :, 2:])
    both_GF = (ends_GF2 - np.maximum(boxes_G4[:, None, :2], boxes_F4[None, :, :2])).clip(min=0).prod(2)
    areas_G, areas_F = ((boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (boxes_G4, boxes_F4))
    return both_GF / np.maximum(areas_G[:, None] + areas_F - both_GF, 1e-9)


def _mean(
    old: NDArray[np.float64], new: NDArray[np.float64], elapsed_s: float, half_life_s: float
) -> NDArray[np.float64]:
    kept = 0.5 ** (elapsed_s / half_life_s)
    return kept * old + (1 - kept) * new
