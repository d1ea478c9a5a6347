"""Label modes: what ten taggers' votes become when a model is trained on them, as the FER+ project processes them.

A mode turns a store into another view of the same rows: labels, soft targets, and rows that are left out.
Source: Barsoum et al., ICMI 2016, arXiv 1608.01041, and the project's code (`ferplus.py` in microsoft/FERPlus).
Shapes: N faces, V = 10 vote columns (`labels.FERPLUS_COLUMNS`), E = 8 emotions (FER2013's seven, then contempt),
K classes of a view.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fer_core.data.store import OUT, FaceStore
from fer_core.errors import DataError
from fer_core.labels import CONTEMPT, EMOTIONS, FERPLUS_COLUMNS, FERPLUS_TO_EMOTION
from fer_core.registry import registrar

Votes = NDArray[np.integer]
Taken = NDArray[np.int64]
"""Votes that a mode takes, (N, V); all zero where the row is dropped."""

FERPLUS_CLASSES: tuple[str, ...] = (*EMOTIONS, CONTEMPT)
NO_EMOTION = ("unknown", "NF")
"""Vote columns that are no emotion: a tagger could not tell, or saw no face."""

_EMOTION_COLUMNS = [
    FERPLUS_COLUMNS.index(column)
    for name in FERPLUS_CLASSES
    for column in (*FERPLUS_TO_EMOTION, CONTEMPT)
    if FERPLUS_TO_EMOTION.get(column, column) == name
]
"""Vote column of each emotion, in the order of `FERPLUS_CLASSES`."""
_FIRST_OTHER = min(FERPLUS_COLUMNS.index(column) for column in NO_EMOTION)

LABEL_MODES: dict[str, Callable[[Votes], Taken]] = {}
register = registrar(LABEL_MODES)


def labelled(store: FaceStore, mode: str, *, contempt: bool = True) -> FaceStore:
    """The store as a label mode sees it: `fer` is the store itself, the others take FER+'s votes.

    In every FER+ mode a row's label is its emotion with the most votes (the first of equals in the order of FER+'s
    columns), `targets_NK` holds what `crossentropy` learns, and rows that the mode drops stand in no split.

    Args: contempt: True gives FER+'s eight classes; False leaves out the rows that contempt leads, and its votes.
    Raises: DataError: the store has no votes.
    """
    if mode == "fer":
        return store
    taken_NE = take_votes(needed_votes(store, f"--labels {mode}"), mode)
    targets_NE = taken_NE / np.maximum(taken_NE.sum(axis=1, keepdims=True), 1)
    if not contempt:
        targets_NE = _without_contempt(targets_NE)
    labels_N = _leading(targets_NE)
    splits_N = np.where(labels_N >= 0, store.splits_N, OUT).astype(np.int8)
    return replace(
        store,
        labels_N=np.maximum(labels_N, 0),
        splits_N=splits_N,
        targets_NK=targets_NE.astype(np.float32),
        classes=FERPLUS_CLASSES if contempt else EMOTIONS,
        fingerprint=_fingerprint(store.fingerprint, mode, contempt, targets_NE),
    )


def needed_votes(store: FaceStore, what: str) -> NDArray[np.uint8]:
    """The store's votes. Raises: DataError: it has none; the line names `what` needs them, and how to get them."""
    if store.votes_NV is None:
        raise DataError(
            f"{store.source}: no FER+ votes, which {what} needs. Put fer2013new.csv beside it, give --ferplus PATH, "
            "or run: python -m fer_core data download --what votes"
        )
    return store.votes_NV


def judged_by(mode: str) -> str:
    """The mode whose labels judge a run: FER+ figures are on the majority rows, as in its paper."""
    return "fer" if mode == "fer" else "majority"


def take_votes(votes_NV: Votes, mode: str) -> Taken:
    """Votes that a mode takes for each of the eight emotions, int64 (N, E); a row that it drops is all zero."""
    votes = np.where(votes_NV <= 1, 0, votes_NV).astype(np.int64)  # a single vote is an outlier to FER+
    taken = LABEL_MODES[mode](votes)
    leads = taken.argmax(axis=1)
    taken[leads >= _FIRST_OTHER] = 0  # rows that unknown or no-face leads
    return taken[:, _EMOTION_COLUMNS]


def majority_labels(votes_NV: Votes) -> NDArray[np.int64]:
    """FER+'s majority emotion of each row, an index into `FERPLUS_CLASSES`; -1 where there is none. int64 (N,)."""
    return _leading(take_votes(votes_NV, "majority"))


@register("majority")
def majority(votes_NV: Votes) -> Taken:
    """The top vote alone, where it is more than half of what is left."""
    top = votes_NV.max(axis=1, keepdims=True)
    taken = np.zeros_like(votes_NV)
    np.put_along_axis(taken, votes_NV.argmax(axis=1)[:, None], top, axis=1)
    return np.where(2 * top > votes_NV.sum(axis=1, keepdims=True), taken, 0)


@register("crossentropy")
def crossentropy(votes_NV: Votes) -> Taken:
    """The largest votes, all ties at once, until they cover 75% of the sum or three emotions are taken.

    A row is dropped if half or less is covered, if more than three are taken, or if unknown or no-face leads. Where
    unknown or no-face is reached behind an emotion, it is not taken, and nothing after it.
    """
    left, taken = votes_NV.copy(), np.zeros_like(votes_NV)
    total, count = votes_NV.sum(axis=1), np.zeros(len(votes_NV), dtype=np.int64)
    going = total > 0
    while going.any():
        ties = (left == left.max(axis=1, keepdims=True)) & (left > 0) & going[:, None]
        other = ties[:, _FIRST_OTHER:].any(axis=1)
        ties[:, _FIRST_OTHER:] = False
        taken = np.where(ties, votes_NV, taken)
        left = np.where(ties, 0, left)
        count += ties.sum(axis=1)
        going &= ~other & (4 * taken.sum(axis=1) < 3 * total) & (count < 3)
    keep = (2 * taken.sum(axis=1) > total) & (count <= 3)
    return np.where(keep[:, None], taken, 0)


register("probability")(crossentropy)  # the same votes; training draws one label of them at each visit


@register("multi")
def multi(votes_NV: Votes) -> Taken:
    """Every column with at least 30% of the votes; a row is dropped where these are half or less of them."""
    total = votes_NV.sum(axis=1, keepdims=True)
    taken = np.where((10 * votes_NV >= 3 * total) & (votes_NV > 0), votes_NV, 0)
    return np.where(2 * taken.sum(axis=1, keepdims=True) > total, taken, 0)


def _without_contempt(targets_NE: NDArray[np.float64]) -> NDArray[np.float64]:
    last = FERPLUS_CLASSES.index(CONTEMPT)
    rest = targets_NE[:, :last].copy()
    rest[targets_NE.argmax(axis=1) == last] = 0
    return rest / np.where(rest.any(axis=1), rest.sum(axis=1), 1)[:, None]


def _leading(shares_NK: NDArray) -> NDArray[np.int64]:
    """The class with the largest share, -1 where there is none; of equals the first in the order of FER+'s columns."""
    order = np.argsort(_EMOTION_COLUMNS[: shares_NK.shape[1]])
    first = order[shares_NK[:, order].argmax(axis=1)]
    return np.where(shares_NK.any(axis=1), first, -1)


def _fingerprint(store: str, mode: str, contempt: bool, targets_NE: NDArray[np.float64]) -> str:
    digest = hashlib.sha256(f"{store}:{mode}:{contempt}".encode())
    digest.update(np.round(targets_NE, 6).tobytes())
    return digest.hexdigest()[:16]
