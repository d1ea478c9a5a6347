"""FER2013's rows by their pixels: what tells which row a face of some copy of it is, without the copy's row order.

`known.npz` ships with the package: a 64-bit hash of each row's pixels and a short descriptor, made by `write_known`. It
holds no picture: 24 small numbers keep where a face is light and dark, not what it looks like. It ties FER+'s votes,
which name rows only, to folders and re-compressed copies.
Shapes: M rows of FER2013, D numbers a descriptor, N faces.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core.data.near import SAME_FACE_DISTANCE, descriptors, nearest
from fer_core.data.store import FaceStore
from fer_core.files import write_atomic

_FILE = Path(__file__).with_suffix(".npz")
_SCALE = 127.0
"""Descriptors lie within the unit ball and ship as bytes."""


@dataclass(frozen=True)
class Known:
    """Hash, uint64 (M,), and descriptor, float32 (M, D), of each row."""

    hashes_M: NDArray[np.uint64]
    descriptors_MD: NDArray[np.float32]

    def nearest(self, images_NHW: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The row of which each face is a near copy, int64 (N,); -1 where none is near enough."""
        if not len(images_NHW):
            return np.zeros(0, dtype=np.int64)
        return nearest(descriptors(images_NHW), self.descriptors_MD, within=SAME_FACE_DISTANCE)[0]


@cache
def load_known() -> Known:
    """The table that ships with the package."""
    with np.load(_FILE, allow_pickle=False) as file:
        return Known(file["hashes"], file["descriptors"].astype(np.float32) / _SCALE)


def write_known(store: FaceStore, path: Path = _FILE) -> None:
    """Make the table from FER2013 in its own row order."""
    small = np.round(descriptors(np.asarray(store.images_NHW)) * _SCALE).astype(np.int8)
    write_atomic(path, lambda file: np.savez_compressed(file, hashes=np.asarray(store.hashes_N), descriptors=small))
