"""`FaceStore`: faces, labels and splits of one source, mapped into memory, with a fingerprint of the content.

Shapes: N faces, H x W pixels, K classes.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.errors import DataError
from fer_core.files import folder_atomic, write_json
from fer_core.labels import EMOTIONS, SPLITS

FORMAT = 1
"""Format number of a cached store; another number is parsed anew."""

_ARRAYS = ("images", "labels", "splits", "hashes")


@dataclass(frozen=True)
class Faces:
    """What a source parser hands over, checked: images (N, H, W) uint8, labels (N,) int64, split codes (N,) int8."""

    images_NHW: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    splits_N: NDArray[np.int8]
    notes: tuple[str, ...] = ()
    """What a person must be told about how these rows came to be, one sentence each."""


@dataclass(frozen=True)
class FaceStore:
    """Every face of a source, read-only. Arrays are memory maps: slicing reads only what is asked for."""

    images_NHW: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    splits_N: NDArray[np.int8]
    hashes_N: NDArray[np.uint64]
    """64-bit hash of each row's pixels (`pixel_hashes`): the same face has the same hash in every source."""
    source: str
    """The source as a person would name it: a path, or `drawn sample faces`."""
    kind: str
    """`csv`, `folder` or `sample`."""
    fingerprint: str
    """Hash of pixels, labels, splits and class names together: equal content, equal fingerprint."""
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = EMOTIONS
    votes_NV: NDArray[np.uint8] | None = None
    """FER+ votes, (N, 10) in the order of `labels.FERPLUS_COLUMNS`, or None."""

    def __len__(self) -> int:
        return len(self.labels_N)

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
        cells = self.splits_N.astype(np.int64) * len(self.classes) + self.labels_N
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
    hashes = pixel_hashes(faces.images_NHW)
    arrays: dict[str, NDArray[Any]] = dict(
        zip(_ARRAYS, (faces.images_NHW, faces.labels_N, faces.splits_N, hashes), strict=True)
    )
    meta = {
        "format": FORMAT,
        "source": source,
        "kind": kind,
        "notes": list(faces.notes),
        "classes": list(EMOTIONS),
        "fingerprint": content_fingerprint(hashes, faces.labels_N, faces.splits_N, EMOTIONS),
    }
    try:
        with folder_atomic(folder) as temporary:
            for name, array in arrays.items():
                np.save(temporary / f"{name}.npy", array)
            write_json(temporary / "meta.json", meta)
    except OSError as error:
        raise cache_error(folder.parent, error) from None


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
        images, labels, splits, hashes = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        notes, classes = tuple(meta.pop("notes")), tuple(meta.pop("classes"))
        store = FaceStore(images, labels, splits, hashes, notes=notes, classes=classes, **meta)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return store if len(images) == len(labels) == len(splits) == len(hashes) else None
