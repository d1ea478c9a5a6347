"""FER2013's rows by their pixels: what tells which row a face of some copy of it is, without the copy's row order.

`known.npz` ships with the package: a 64-bit hash of each row's pixels and a short descriptor, made by `write_known`. It
holds no picture: 24 small numbers keep where a face is light and dark, not what it looks like. It ties FER+'s votes,
which name rows only, and the answers of shipped runs, which name hashes, to folders and re-compressed copies.
Shapes: M rows of FER2013, D numbers a descriptor, N faces, Q faces to look up.
"""

import zipfile
import zlib
from contextlib import suppress
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


def find_faces(store: FaceStore, hashes_Q: NDArray[np.uint64], known: Known | None = None) -> NDArray[np.int64]:
    """Row in the store of each of these FER2013 faces, whatever the store's order and format, int64 (Q,).

    It is the face with the very pixels, else the nearest near copy; -1 where the store has neither. Near copies are
    looked for once, and kept in the store's cache folder.

    Args:
        hashes_Q: `pixel_hashes` of FER2013 as it was published.
        known: hashes and descriptors of FER2013's rows; left out, those that ship with the package.
    """
    rows_Q = store.find(hashes_Q)
    rest = np.flatnonzero(rows_Q < 0)
    if not len(rest):
        return rows_Q
    known = known or load_known()
    order = np.argsort(known.hashes_M, kind="stable")
    known_Q = order[np.searchsorted(known.hashes_M, hashes_Q[rest], sorter=order).clip(max=len(order) - 1)]
    is_known = known.hashes_M[known_Q] == hashes_Q[rest]
    rows_Q[rest[is_known]] = _near_rows(store, known)[known_Q[is_known]]
    return rows_Q


def _near_rows(store: FaceStore, known: Known) -> NDArray[np.int64]:
    """Row in the store of the nearest near copy of each known face, int64 (M,); -1 where there is none."""
    made_by = zlib.crc32(known.descriptors_MD.tobytes())
    kept = None if store.folder is None else store.folder / f"known-{made_by:08x}.npy"
    rows_M = _read_rows(kept, len(known.hashes_M)) if kept else None
    if rows_M is None:
        here = descriptors(store.images_NHW)
        store.let_go()
        rows_M = nearest(known.descriptors_MD, here, within=SAME_FACE_DISTANCE)[0]
        if kept:
            with suppress(OSError):  # no room, or a cache that only others may write: it is looked for again next time
                write_atomic(kept, lambda file: np.save(file, rows_M))
    return rows_M


def _read_rows(path: Path, count: int) -> NDArray[np.int64] | None:
    try:
        rows_M = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None
    return rows_M if isinstance(rows_M, np.ndarray) and (rows_M.shape, rows_M.dtype) == ((count,), np.int64) else None
