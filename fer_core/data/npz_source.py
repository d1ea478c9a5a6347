"""FER2013 as one NumPy file, `fer2013.npz`: what `export` writes, and what maps fastest of all that people exchange.

Arrays: `pixels` (N, H, W) uint8, `emotion` (N,) integers 0 to 6, `usage` (N,) the challenge's names of the splits.
"""

import lzma
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.data.archive_source import MAX_RATIO, MAX_TOTAL_BYTES, RATIO_COUNTS_FROM
from fer_core.data.csv_source import Progress
from fer_core.data.store import Faces
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS, SPLITS, USAGE_TO_SPLIT

ARRAYS = ("pixels", "emotion", "usage")
_LAYOUT = "Expected pixels (N,H,W) uint8, emotion (N,) integers 0 to 6, usage (N,) Training, PublicTest or PrivateTest."
_DAMAGE = (
    *(OSError, EOFError, ValueError, MemoryError, NotImplementedError, RuntimeError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)
"""What zipfile, zlib and numpy raise over a file that is cut, overwritten, packed in a way of its own, or encrypted."""


def read_npz(path: Path, progress: Progress) -> Faces:
    """Read every row in file order; further arrays in the file are ignored. Nothing in it is ever unpickled.

    Args: progress: called with bytes of the arrays read so far, and bytes of all three.
    Raises: DataError: the file is damaged, an array is missing or of another shape or type, or a value is out of range.
    """
    pixels, emotion, usage = _read_arrays(path, progress)
    problem = _shape_problem(pixels, emotion, usage) or _value_problem(emotion, usage)
    if problem:
        raise DataError(f"{path}: {problem}. {_LAYOUT}")
    names, places_N = np.unique(usage.astype(str), return_inverse=True)
    codes = np.array([SPLITS.index(USAGE_TO_SPLIT[name]) for name in names], dtype=np.int8)
    return Faces(np.ascontiguousarray(pixels), emotion.astype(np.int64), codes[places_N])


def _read_arrays(path: Path, progress: Progress) -> list[NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            missing = [name for name in ARRAYS if f"{name}.npy" not in members]
            if missing:
                found = ", ".join(repr(name.removesuffix(".npy")) for name in members)[:80] or "nothing"
                raise DataError(f"{path}: no array {missing[0]!r} in it (found: {found}). {_LAYOUT}")
            sizes = [members[f"{name}.npy"].file_size for name in ARRAYS]
            arrays = []
            for done, name in enumerate(ARRAYS, 1):
                arrays.append(_read_array(archive, path, name))
                progress(sum(sizes[:done]), sum(sizes))
            return arrays
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file.") from None
    except _DAMAGE as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise DataError(f"{path}: not a readable .npz file ({reason}). Fetch or export it again.") from None


def _read_array(archive: zipfile.ZipFile, path: Path, name: str) -> NDArray[Any]:
    """One array, its header looked at first: a short file can promise an array that no memory holds."""
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise DataError(f"{path}: array {name!r} holds pickled Python objects, which are never read. {_LAYOUT}")
        promised, there = dtype.itemsize * int(np.prod(shape, dtype=object)), archive.getinfo(f"{name}.npy").file_size
        if promised > there:
            raise ValueError(f"array {name!r} promises {promised:,} bytes and has {there:,}")
        if promised > MAX_TOTAL_BYTES or (promised > RATIO_COUNTS_FROM and promised > MAX_RATIO * path.stat().st_size):
            raise DataError(
                f"{path}: array {name!r} unpacks to {promised:,} bytes, more than a data set of this size on disk has."
            )
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _shape_problem(pixels: NDArray[Any], emotion: NDArray[Any], usage: NDArray[Any]) -> str | None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        return f"pixels is {_kind(pixels)}"
    if emotion.dtype.kind not in "iu" or emotion.ndim != 1:
        return f"emotion is {_kind(emotion)}"
    if usage.dtype.kind not in "US" or usage.ndim != 1:
        return f"usage is {_kind(usage)}"
    if not len(pixels) == len(emotion) == len(usage):
        return f"{len(pixels):,} rows of pixels, {len(emotion):,} of emotion and {len(usage):,} of usage"
    return None if pixels.size else f"no rows: pixels is {_kind(pixels)}"


def _value_problem(emotion: NDArray[Any], usage: NDArray[Any]) -> str | None:
    wrong = np.flatnonzero((emotion < 0) | (emotion >= len(EMOTIONS)))
    if len(wrong):
        return f"emotion {emotion[wrong[0]]} in row {wrong[0]} ({len(wrong):,} rows are out of range)"
    known = np.array(list(USAGE_TO_SPLIT), dtype=usage.dtype.kind)
    wrong = np.flatnonzero(~np.isin(usage, known))
    if len(wrong):
        found = usage[wrong[0]]
        text = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
        return f"usage {text[:20]!r} in row {wrong[0]} ({len(wrong):,} rows have an unknown one)"
    return None


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype.name} {array.shape}"
