"""Finding faces in a store: filters, orders, and what is told of one face; numpy on columns, fast on a million rows.

Shapes: N faces, R rows found, K classes, H x W pixels.
"""

import csv
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.data.quality import Quality, cached_near_copies
from fer_core.data.store import OUT, FaceStore
from fer_core.labels import FERPLUS_COLUMNS, SPLITS

SORTS: tuple[str, ...] = ("row order", "darkest", "brightest", "least contrast", "most disputed")
"""Orders of the found faces; the last needs votes."""

NO_MAJORITY = "none"
"""What a filter calls the faces on which FER+'s taggers have no majority."""

_MEAN_OF = 2000
"""A mean face is the same to the eye beyond so many faces, and a store may hold a million."""


@dataclass(frozen=True)
class Filters:
    """Which faces are wanted; None asks for any."""

    split: str | None = None
    emotion: str | None = None
    """A class of the view's label mode."""
    ferplus: str | None = None
    """FER+'s majority: one of its eight emotions, or `none`."""
    agreement: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest share of the taggers behind the top vote, both included; 0 to 1 asks for nothing."""
    flag: str | None = None
    """A name of `catalog.FLAGS`."""
    sort: str = SORTS[0]


def find_faces(view: FaceStore, quality: Quality, filters: Filters) -> NDArray[np.int64]:
    """Rows of the view that fit every filter, int64 (R,), in the order that is asked for.

    Raises: DataError: no such split, or the flag has not been looked for.
    """
    rows = np.flatnonzero(view.splits_N != OUT) if filters.split is None else view.rows(filters.split)
    if filters.flag is not None:
        rows = rows[quality.flag(filters.flag)[rows]]
    if filters.emotion is not None:
        rows = rows[view.labels_N[rows] == view.classes.index(filters.emotion)]
    if filters.ferplus is not None:
        wanted = -1 if filters.ferplus == NO_MAJORITY else FERPLUS_CLASSES.index(filters.ferplus)
        rows = rows[quality.majority_N[rows] == wanted]
    low, high = filters.agreement
    if (low, high) != (0.0, 1.0):
        share = quality.vote_share_N[rows]
        rows = rows[(share >= low) & (share <= high)]  # no votes are NaN, and fit no range
    return _sorted(view, quality, rows, filters.sort)


def _sorted(view: FaceStore, quality: Quality, rows: NDArray[np.int64], sort: str) -> NDArray[np.int64]:
    columns = {
        "darkest": lambda: view.brightness_N[rows],
        "brightest": lambda: -view.brightness_N[rows],
        "least contrast": lambda: view.contrast_N[rows],
        "most disputed": lambda: quality.vote_share_N[rows],  # no votes are NaN, and come last
    }
    return rows if sort == SORTS[0] else rows[np.argsort(columns[sort](), kind="stable")]


def mean_faces(view: FaceStore, split: str = "train") -> NDArray[np.uint8]:
    """The mean picture of each class, uint8 (K, H, W), over at most 2,000 evenly spaced faces; grey without any."""
    means = np.full((len(view.classes), *view.image_size), 128, dtype=np.uint8)
    rows = view.rows(split)
    for label in range(len(view.classes)):
        own = rows[view.labels_N[rows] == label]
        if len(own):
            chosen = own[:: -(-len(own) // _MEAN_OF)]
            means[label] = view.images_NHW[chosen].mean(axis=0).round()
            view.let_go()
    return means


def light_histograms(view: FaceStore, column: str, bins: int = 40) -> tuple[NDArray[np.float64], dict[str, NDArray]]:
    """How brightness or contrast is spread: bin centres, and for each split the share of its faces in each bin."""
    values = {"brightness": view.brightness_N, "contrast": view.contrast_N}[column]
    top = 255.0 if column == "brightness" else 127.5
    edges = np.linspace(0, top, bins + 1)
    shares = {}
    for split in SPLITS:
        rows = view.rows(split)
        shares[split] = np.histogram(np.minimum(values[rows], top), edges)[0] / max(1, len(rows))
    return (edges[:-1] + edges[1:]) / 2, shares


def copies_of(view: FaceStore, row: int) -> NDArray[np.int64]:
    """Every row with the very pixels of this one, itself included, ascending."""
    return np.flatnonzero(view.hashes_N == view.hashes_N[row])


def near_copies_of(view: FaceStore, row: int) -> NDArray[np.int64]:
    """The rows that are nearly the same picture as this one; empty where near copies have not been looked for."""
    near = cached_near_copies(view)
    if near is None:
        return np.zeros(0, dtype=np.int64)
    first = copies_of(view, row)[0]  # of exact copies, pairs name the first alone
    return np.concatenate([near.rows_b_M[near.rows_a_M == first], near.rows_a_M[near.rows_b_M == first]])


def faces_csv(view: FaceStore, quality: Quality, rows_R: NDArray[np.int64]) -> str:
    """The found faces as CSV text: row, split, emotion, light, copies and flags, and the votes where there are any."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    votes = view.votes_NV
    head = ["row", "split", "emotion", "brightness", "contrast", "duplicate_of", "flags"]
    writer.writerow([*head, *(("vote_share", *FERPLUS_COLUMNS) if votes is not None else ())])
    masks = {name: quality.flag(name)[rows_R] for name in quality.known_flags}
    for place, row in enumerate(rows_R.tolist()):
        first = int(quality.duplicate_of_N[row])
        writer.writerow([
            row, SPLITS[view.splits_N[row]], view.classes[view.labels_N[row]],
            f"{view.brightness_N[row]:.1f}", f"{view.contrast_N[row]:.1f}", "" if first < 0 else first,
            " ".join(name for name, mask in masks.items() if mask[place]),
            *((_short(quality.vote_share_N[row]), *votes[row].tolist()) if votes is not None else ()),
        ])  # fmt: skip
    return text.getvalue()


def _short(share: float) -> str:
    return "" if np.isnan(share) else f"{share:.2f}"
