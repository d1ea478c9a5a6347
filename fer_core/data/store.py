"""`FaceStore`: faces, labels and splits of one source, mapped into memory, with a fingerprint of the content.

Shapes: N faces, H x W pixels, K classes.
"""

import hashlib
import json
import mmap
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.files import folder_atomic, write_json
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS, SPLITS

FORMAT = 2
"""Format number of a cached store; another number is parsed anew."""

_ARRAYS = ("images", "labels", "splits", "hashes", "brightness", "contrast")
_LIGHT_ROWS = 512  # float copies of so many faces stay in the processor's cache

OUT = -1
"""Split code of a row that a label mode or a flag leaves out: it keeps its number, and is in no split."""


@dataclass(frozen=True)
class Faces:
    """What a source parser hands over, checked: images (N, H, W) uint8, labels (N,) int64, split codes (N,) int8."""

    images_NHW: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    splits_N: NDArray[np.int8]
    notes: tuple[str, ...] = ()
    """What a person must be told about how these rows came to be, one sentence each."""
    votes_NV: NDArray[np.uint8] | None = None
    """Ten taggers' votes where the source itself has them, (N, 10) in the order of `labels.FERPLUS_COLUMNS`."""


@dataclass(frozen=True)
class FaceStore:
    """Every face of a source, read-only. Arrays are memory maps: slicing reads only what is asked for.

    A label mode or a flag gives another view of the same rows (`labelling.labelled`, `quality.leave_out`): pixels,
    hashes and row numbers stay, labels and splits change, and what is left out stands in no split.
    """

    images_NHW: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    splits_N: NDArray[np.int8]
    hashes_N: NDArray[np.uint64]
    """64-bit hash of each row's pixels (`pixel_hashes`): the same face has the same hash in every source."""
    brightness_N: NDArray[np.float32]
    """Mean grey value of each face, 0 to 255."""
    contrast_N: NDArray[np.float32]
    """Standard deviation of each face's grey values, 0 to 127.5."""
    source: str
    """The source as a person would name it: a path, or `drawn sample faces`."""
    kind: str
    """`csv`, `folder`, `npz` or `sample`; of an archive, what is in it."""
    fingerprint: str
    """Hash of pixels, labels, splits and class names together: equal content, equal fingerprint."""
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = EMOTIONS
    votes_NV: NDArray[np.uint8] | None = None
    """FER+ votes, (N, 10) in the order of `labels.FERPLUS_COLUMNS`; all zero where a row has none. None: no FER+."""
    targets_NK: NDArray[np.float32] | None = None
    """Share of each class in the target of a row, where the label mode has such; rows sum to 1. None: the label."""
    folder: Path | None = None
    """Where the store lies in the cache; what is derived from it is kept there too."""

    def __len__(self) -> int:
        """Faces that stand in a split."""
        return int(self.counts_SK.sum())

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images_NHW.shape[1], self.images_NHW.shape[2]

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row indices of a split, ascending. Raises: DataError: no such split."""
        if split not in SPLITS:
            raise DataError(f"no split named {split!r}. Known: {', '.join(SPLITS)}.")
        return np.flatnonzero(self.splits_N == SPLITS.index(split))

    @cached_property
    def counts_SK(self) -> NDArray[np.int64]:
        """Faces per split and class, shape (3, K), rows in the order of `labels.SPLITS`."""
        inside = np.flatnonzero(self.splits_N != OUT)
        cells = self.splits_N[inside].astype(np.int64) * len(self.classes) + self.labels_N[inside]
        return np.bincount(cells, minlength=len(SPLITS) * len(self.classes)).reshape(len(SPLITS), -1)

    def counts(self) -> dict[str, dict[str, int]]:
        """Split -> emotion -> number of faces."""
        rows = self.counts_SK.tolist()
        return {split: dict(zip(self.classes, row, strict=True)) for split, row in zip(SPLITS, rows, strict=True)}

    def imbalance(self, split: str) -> tuple[str, str, float]:
        """Rarest emotion that occurs, commonest emotion, and how many of these there are for each of those."""
        counts = {name: n for name, n in self.counts()[split].items() if n} or {self.classes[0]: 1}
        rarest, commonest = (choose(counts, key=lambda name: counts[name]) for choose in (min, max))
        return rarest, commonest, counts[commonest] / counts[rarest]

    def find(self, hashes_M: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Row of each face with these pixels, int64 (M,); -1 where the store has no such face."""
        order = np.argsort(self.hashes_N, kind="stable")
        places = np.searchsorted(self.hashes_N, hashes_M, sorter=order).clip(max=len(order) - 1)
        rows = order[places]
        return np.where(self.hashes_N[rows] == hashes_M, rows, -1)

    def let_go(self) -> None:
        """Take the pixels that were read out of this process's memory; the system's file cache still has them.

        Each face that is touched maps 64 kB around it: 14,000 faces spread over a large store would stay as 900 MB.
        """
        mapped = getattr(self.images_NHW, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    @property
    def is_fer2013(self) -> bool:
        """Whether published FER2013 figures may stand beside these: the challenge's 28,709 / 3,589 / 3,589 rows."""
        return self.kind != "sample" and self.counts_SK.sum(axis=1).tolist() == [28_709, 3_589, 3_589]


def pixel_hashes(images_NHW: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """BLAKE2b, 8 bytes, of each image's size and pixels. uint64, shape (N,)."""
    key = np.array(images_NHW.shape[1:], dtype="<u4").tobytes()
    digests = (hashlib.blake2b(image.tobytes(), digest_size=8, key=key).digest() for image in images_NHW)
    return np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)


def content_fingerprint(hashes_N: Any, labels_N: Any, splits_N: Any, classes: Iterable[str]) -> str:
    """16 hex digits over everything that a run's result depends on, in row order."""
    digest = hashlib.sha256(",".join(classes).encode())
    for array, dtype in ((hashes_N, "<u8"), (labels_N, "<i8"), (splits_N, "i1")):
        digest.update(np.ascontiguousarray(array, dtype=dtype).tobytes())
    return digest.hexdigest()[:16]


def write_store(folder: Path, faces: Faces, source: str, kind: str) -> None:
    """Write a store's arrays and `meta.json` to `folder`, whole or not at all. Raises: DataError: the disk is full."""
    try:
        # Hashing and saving let go of the interpreter: both cores work on a first open.
        with folder_atomic(folder) as temporary, ThreadPoolExecutor(2) as beside:
            saving = beside.submit(np.save, temporary / "images.npy", faces.images_NHW)
            hashing = beside.submit(pixel_hashes, faces.images_NHW)
            light = _light(faces.images_NHW)
            _write_columns(temporary, faces, hashing.result(), *light)
            meta = {
                "format": FORMAT,
                "source": source,
                "kind": kind,
                "notes": list(faces.notes),
                "classes": list(EMOTIONS),
                "fingerprint": content_fingerprint(hashing.result(), faces.labels_N, faces.splits_N, EMOTIONS),
            }
            saving.result()
            write_json(temporary / "meta.json", meta)
    except OSError as error:
        raise cache_error(folder.parent, error) from None


def _write_columns(folder: Path, faces: Faces, *more_N: NDArray[Any]) -> None:
    """Everything but the pixels: labels, splits, then hashes, brightness and contrast, and votes if there are any."""
    columns: tuple[NDArray[Any], ...] = (faces.labels_N, faces.splits_N, *more_N)
    for name, array in zip(_ARRAYS[1:], columns, strict=True):
        np.save(folder / f"{name}.npy", array)
    if faces.votes_NV is not None:
        np.save(folder / "votes.npy", faces.votes_NV)


def _light(images_NHW: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Brightness and contrast of each face."""
    brightness = np.empty(len(images_NHW), dtype=np.float32)
    contrast = np.empty(len(images_NHW), dtype=np.float32)
    for start in range(0, len(images_NHW), _LIGHT_ROWS):
        rows = slice(start, start + _LIGHT_ROWS)
        pixels = images_NHW[rows].reshape(len(images_NHW[rows]), -1).astype(np.float32)
        brightness[rows], contrast[rows] = pixels.mean(axis=1), pixels.std(axis=1)
    return brightness, contrast


def cache_error(folder: Path, error: OSError) -> DataError:
    """What a person is told when the cache cannot be written."""
    return DataError(
        f"could not write the cache in {folder} ({error.strerror or error}); free some space there, "
        "or name another folder in $FER_CACHE."
    )


def read_store(folder: Path) -> FaceStore | None:
    """Map a store that `write_store` wrote; None where there is none, or where it is damaged or of another format."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if meta.pop("format") != FORMAT:
            return None
        columns = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS]
        votes = np.load(folder / "votes.npy", mmap_mode="r") if (folder / "votes.npy").exists() else None
        notes, classes = tuple(meta.pop("notes")), tuple(meta.pop("classes"))
        images, labels, splits, hashes, brightness, contrast = columns
        store = FaceStore(
            images, labels, splits, hashes, brightness, contrast,
            notes=notes, classes=classes, votes_NV=votes, folder=folder, **meta,
        )  # fmt: skip
        return store if _is_whole(store) else None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None


_SHAPES = {
    "images_NHW": (3, np.uint8), "labels_N": (1, np.int64), "splits_N": (1, np.int8), "hashes_N": (1, np.uint64),
    "brightness_N": (1, np.float32), "contrast_N": (1, np.float32),
}  # fmt: skip
"""Dimensions and type of each array."""


def _is_whole(store: FaceStore) -> bool:
    arrays = {name: getattr(store, name) for name in _SHAPES}
    n, votes = len(store.labels_N), store.votes_NV
    return (
        all((array.ndim, array.dtype) == _SHAPES[name] for name, array in arrays.items())
        and all(len(array) == n for array in arrays.values())
        and (votes is None or (votes.shape, votes.dtype) == ((n, len(FERPLUS_COLUMNS)), np.uint8))
        and 0 <= store.labels_N.min() <= store.labels_N.max() < len(store.classes)
        and 0 <= store.splits_N.min() <= store.splits_N.max() < len(SPLITS)
    )
