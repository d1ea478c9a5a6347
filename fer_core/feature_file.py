"""What a net makes of each face, on disk: features by row, found by the run's weights and the faces' pixels.

`features.compute_features` makes them; reading them needs no torch. Shapes: N faces, D features.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.data import FaceStore
from fer_core.ensemble_file import refuse_ensemble
from fer_core.errors import DataError, RunError
from fer_core.files import write_atomic
from fer_core.runs import Run
from fer_core.settings import settings

FILE = "features.npz"
FORMAT = 1
"""Format number of `features.npz`; a file of another is made anew."""

_DIGITS = 16
_WIDE_BYTES = 256 << 20
_ROWS_AT_ONCE = 2048
"""float32 copies of so many rows stay in the processor's cache."""


@dataclass(frozen=True)
class Features:
    """What goes into the last linear layer of a net, for every row of a store."""

    values_ND: NDArray[np.float16]

    def __len__(self) -> int:
        return len(self.values_ND)

    def rows(self, rows_M: NDArray[np.integer] | slice = slice(None)) -> NDArray[np.float32]:
        """The features of these rows to compute with, float32 (M, D)."""
        wide_ND = self.values_ND if self._wide_ND is None else self._wide_ND
        return wide_ND[rows_M].astype(np.float32, copy=False)

    @cached_property
    def _wide_ND(self) -> NDArray[np.float32] | None:
        """All features as float32, where that is not too much to hold: to widen them takes 15 times as long as a
        dot product with each of them."""
        small = self.values_ND.size * 4 <= _WIDE_BYTES
        return self.values_ND.astype(np.float32) if small else None

    @cached_property
    def lengths_N(self) -> NDArray[np.float32]:
        """Euclidean length of each row."""
        return np.concatenate([np.linalg.norm(self.rows(part), axis=1) for part in self._parts()])

    def times(self, vector_D: NDArray[np.float32]) -> NDArray[np.float32]:
        """The dot product of each row with a vector, (N,)."""
        return np.concatenate([self.rows(part) @ vector_D for part in self._parts()])

    def _parts(self) -> list[slice]:
        return [slice(start, start + _ROWS_AT_ONCE) for start in range(0, len(self), _ROWS_AT_ONCE)]


def nearest_faces(
    features: Features, row: int, k: int, among_rows: NDArray[np.integer] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The faces that a net takes for the most similar to one, by the cosine between their features.

    Args:
        k: how many, at least 1; fewer come where there are fewer.
        among_rows: rows to choose from, such as those of `train`; left out, all. The face itself never comes.
    Returns: rows, the most similar first and of equals the lower row, and their cosines, -1..1; a face without any
        active feature has the cosine 0 with every other.
    Raises: DataError: there is no such row.
    """
    if not 0 <= row < len(features):
        raise DataError(f"there is no row {row}; the features are of rows 0 to {len(features) - 1}.")
    others = np.arange(len(features)) if among_rows is None else np.unique(among_rows).astype(np.int64)
    others = others[others != row]
    [vector] = features.rows(np.array([row]))
    lengths = features.lengths_N * features.lengths_N[row]
    cosines = (features.times(vector) / np.where(lengths > 0, lengths, 1))[others]
    few = np.argpartition(-cosines, min(k, len(others)) - 1)[:k] if k < len(others) else np.arange(len(others))
    few = np.flatnonzero(cosines >= cosines[few].min()) if len(few) else few  # equals of the last one too
    best = few[np.argsort(-cosines[few], kind="stable")][:k]
    return others[best], np.clip(cosines[best], -1, 1).astype(np.float32)


def features_folder(run: Run, store: FaceStore) -> Path:
    """Where the features of these faces by this run's net lie, and what is derived from them; it may not exist yet.

    Another label mode of the same source is the same faces, and retrained weights are another net.
    Raises: RunError: the run has no weights.
    """
    pixels = hashlib.sha256(np.ascontiguousarray(store.hashes_N, dtype="<u8").tobytes()).hexdigest()[:_DIGITS]
    return settings().cache / "features" / f"{weights_digest(run)}-{pixels}"


def weights_digest(run: Run) -> str:
    """16 hex digits over the file with the run's best weights. Raises: RunError: it has none."""
    try:
        stat = run.best.stat()
        return _digest(str(run.best.resolve()), stat.st_size, stat.st_mtime_ns)
    except OSError:
        refuse_ensemble(run)
        raise RunError(
            f"run {run.name!r} has no weights; it is {run.status().state}. Train or resume it first."
        ) from None


@lru_cache(maxsize=256)
def _digest(path: str, size: int, changed_ns: int) -> str:
    """Size and time stand for the content: a large net's file takes a second to read."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_DIGITS]


def read_features(run: Run, store: FaceStore) -> Features | None:
    """The features that were computed of these faces by this run's net; None where none were, or they are damaged.

    Raises: RunError: the run has no weights.
    """
    values_ND = read_arrays(features_folder(run, store) / FILE, FORMAT).get("values")
    if values_ND is None or values_ND.ndim != 2 or values_ND.dtype != np.float16:
        return None
    return Features(values_ND) if len(values_ND) == len(store.hashes_N) else None


def write_features(run: Run, store: FaceStore, values_ND: NDArray[np.floating]) -> Features:
    """Keep features as float16, whole or not at all.

    Raises: RunError: they are not finite, or too large for float16. DataError: the cache cannot be written.
    """
    with np.errstate(over="ignore"):
        kept_ND = values_ND.astype(np.float16)
    if not np.isfinite(kept_ND).all():
        raise RunError(f"the features of run {run.name!r} are not finite in 16 bits; its weights may have diverged.")
    write_arrays(features_folder(run, store) / FILE, FORMAT, values=kept_ND)
    return Features(kept_ND)


def write_arrays(path: Path, file_format: int, **arrays: Any) -> None:
    """Write named arrays, whole or not at all. Raises: DataError: the place cannot be written."""
    try:
        write_atomic(path, lambda file: np.savez(file, format=np.int64(file_format), **arrays))
    except OSError as error:
        raise DataError(
            f"could not write {path} ({error.strerror or error}); free some space there, or name another folder in "
            "$FER_CACHE."
        ) from None


def read_arrays(path: Path, file_format: int) -> dict[str, NDArray[Any]]:
    """What `write_arrays` wrote; empty where there is nothing, or it is damaged or of another format."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile):
        return {}
    return arrays if "format" in arrays and int(arrays.pop("format")) == file_format else {}
