"""FER+: ten taggers' votes for each face of FER2013 (`fer2013new.csv`), joined to whatever copy of it is open.

Source: Barsoum et al., ICMI 2016, arXiv 1608.01041.
Shapes: N faces of a store, M rows of the votes file, V = 10 columns.
"""

import csv
import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from fer_core.copies import occurrences
from fer_core.data.csv_source import refuse_lfs_pointer
from fer_core.data.known import Known, load_known
from fer_core.data.store import FaceStore
from fer_core.errors import DataError, first_few
from fer_core.files import write_atomic
from fer_core.labels import FER2013_ROWS, FERPLUS_COLUMNS, SPLITS, USAGE_TO_SPLIT

FILE_NAME = "fer2013new.csv"
_HEADER = ("Usage", "Image name", *FERPLUS_COLUMNS)
_MOST_VOTES = 100
_SAME_ROW = 0.9
"""A copy of FER2013 in its own row order has nearly all pixels in their known rows; a shuffled one has almost none."""
_DESCENTS = 0.01
"""Image names ascend but for a handful; in a shuffled file half of them descend."""


@dataclass(frozen=True)
class Votes:
    """The votes file: split code of each row, int8 (M,), and its votes, uint8 (M, V)."""

    splits_M: NDArray[np.int8]
    votes_MV: NDArray[np.uint8]


@dataclass(frozen=True)
class Join:
    """Votes for each face, uint8 (N, V), all zero where there are none; and how they were found, in a sentence."""

    votes_NV: NDArray[np.uint8]
    note: str


def with_votes(store: FaceStore, path: Path) -> FaceStore:
    """The store with FER+'s votes from this file; the join is kept in the store's cache folder.

    Raises: DataError: the file is damaged, or does not belong to the store's rows.
    """
    stat = path.stat()
    name = hashlib.sha256(f"{path}:{stat.st_size}:{stat.st_mtime_ns}".encode()).hexdigest()[:12]
    kept = None if store.folder is None else store.folder / f"ferplus-{name}.npz"
    join = _read_join(kept, len(store.labels_N)) if kept else None
    if join is None:
        join = join_votes(store, read_votes(path), path)
        if kept:
            with suppress(OSError):  # no room, or a cache that only others may write: it is joined again next time
                _write_join(kept, join)
    if not join.votes_NV.any():
        none = f"FER+ votes of {path.name} are not used: none of these faces is in FER2013."
        return replace(store, notes=(*store.notes, none))
    return replace(store, votes_NV=join.votes_NV, notes=(*store.notes, join.note) if join.note else store.notes)


def read_votes(path: Path) -> Votes:
    """Read `fer2013new.csv`. Raises: DataError: a column is missing, rows are damaged, missing or out of order."""
    refuse_lfs_pointer(path)
    return _read_fast(path) or _read_carefully(path)


def _read_fast(path: Path) -> Votes | None:
    """A file without a flaw, parsed by Arrow; None for any other, of which the careful reader says what is wrong."""
    types = dict.fromkeys(_HEADER, pa.string()) | dict.fromkeys(FERPLUS_COLUMNS, pa.uint8())
    options = arrow_csv.ConvertOptions(column_types=types, include_columns=_HEADER)
    try:
        batches = [batch.columns for batch in arrow_csv.open_csv(path, convert_options=options)]
        codes = [SPLITS.index(USAGE_TO_SPLIT[name]) for usage, *_ in batches for name in usage.to_pylist()]
    except (pa.ArrowInvalid, KeyError):
        return None
    if not codes or any(column.null_count for _, _, *votes in batches for column in votes):
        return None
    votes_MV = np.concatenate([np.stack([_bytes(column) for column in votes], axis=1) for _, _, *votes in batches])
    if votes_MV.max() > _MOST_VOTES or b"0x" in path.read_bytes().lower():  # Arrow takes 0x3 for a number
        return None
    _check_order(path, [name for _, names, *_ in batches for name in names.to_pylist()])
    return Votes(np.array(codes, dtype=np.int8), votes_MV)


def _bytes(column: Any) -> NDArray[np.uint8]:
    """An Arrow array of uint8 without nulls; its own `to_numpy` first loads all of pandas."""
    return np.frombuffer(column.buffers()[1], dtype=np.uint8)[column.offset : column.offset + len(column)]


def _read_carefully(path: Path) -> Votes:
    usages, names, votes, problems = [], [], [], []
    for line, usage, name, row in _rows(path):
        problem = _problem(usage, row)
        if problem:
            problems.append(f"line {line}: {problem}")
        else:
            usages.append(SPLITS.index(USAGE_TO_SPLIT[usage]))
            votes.append([int(value) for value in row])
            names.append(name)
    if problems:
        raise DataError(f"{path}: {first_few(problems, 'rows')}. Repair these rows or fetch the file again.")
    if not votes:
        raise DataError(f"{path}: no rows. Expected the header {','.join(_HEADER)}, then one row a face.")
    _check_order(path, names)
    return Votes(np.array(usages, dtype=np.int8), np.array(votes, dtype=np.uint8))


def join_votes(store: FaceStore, votes: Votes, path: Path, known: Known | None = None) -> Join:
    """Find each face's votes: by row where the store has the file's rows, else by its pixels, else by a near copy.

    Args: known: hashes and descriptors of FER2013's rows; left out, those that ship with the package.
    Raises: DataError: the file has neither the store's rows nor all of FER2013's.
    """
    if store.kind in ("csv", "npz") and len(votes.votes_MV) == len(store.labels_N):
        known = known or (load_known() if len(store.labels_N) == FER2013_ROWS else None)
        if known is None or np.mean(known.hashes_M == store.hashes_N) >= _SAME_ROW:
            _check_usage(store, votes, path)
            return Join(votes.votes_MV, "")
    known = known or load_known()
    if len(votes.votes_MV) != len(known.hashes_M):
        raise DataError(
            f"{path}: {len(votes.votes_MV):,} rows; {store.source} has {len(store.labels_N):,} and FER2013 "
            f"{len(known.hashes_M):,}. Give FER+'s whole {FILE_NAME}."
        )
    rows_N, near = _known_rows(store, votes, known)
    joined = np.where(rows_N[:, None] >= 0, votes.votes_MV[rows_N], 0).astype(np.uint8)
    missing = int((rows_N < 0).sum())
    by_pixels = len(rows_N) - near - missing
    note = (
        f"FER+ votes of {path.name}: {by_pixels:,} faces joined by their pixels, {near:,} by a near copy, "
        f"{missing:,} could not be joined."
    )
    return Join(joined, note)


def _known_rows(store: FaceStore, votes: Votes, known: Known) -> tuple[NDArray[np.int64], int]:
    """FER2013's row of each face, -1 where none is known; and how many were found by a near copy."""
    ours: list[NDArray] = [np.asarray(store.hashes_N), store.splits_N, occurrences(store.hashes_N, store.splits_N)]
    theirs: list[NDArray] = [known.hashes_M, votes.splits_M, occurrences(known.hashes_M, votes.splits_M)]
    rows_N = np.full(len(store.hashes_N), -1)
    # Copies of one face have votes of their own: first the copy of that split with that number, then any of it.
    for columns in (3, 2, 1):
        rows_N = np.where(rows_N >= 0, rows_N, _find(_key(*theirs[:columns]), _key(*ours[:columns])))
    rest = np.flatnonzero(rows_N < 0)
    rows_N[rest] = known.nearest(store.images_NHW[rest])
    return rows_N, int((rows_N[rest] >= 0).sum())


def _key(hashes_N: NDArray, *columns_N: NDArray) -> NDArray[np.uint64]:
    """One number for the hash and these small ones, spread over 64 bits so that no two meet by chance."""
    keys = hashes_N
    for column in columns_N:
        keys = (keys ^ (column.astype(np.uint64) + np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    return keys


def _find(known_M: NDArray[np.uint64], wanted_N: NDArray[np.uint64]) -> NDArray[np.int64]:
    order = np.argsort(known_M, kind="stable")
    rows = order[np.searchsorted(known_M, wanted_N, sorter=order).clip(max=len(order) - 1)]
    return np.where(known_M[rows] == wanted_N, rows, -1)


def _rows(path: Path) -> Iterator[tuple[int, str, str, list[str]]]:
    """Line number, Usage, image name and vote fields of each row."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip() for name in next(reader, [])]
        places = _places(path, header)
        try:
            for row in reader:
                if row:
                    fields = [row[place].strip() for place in places] if len(row) == len(header) else []
                    yield reader.line_num, *(fields[:2] or ("", "")), fields[2:]
        except csv.Error as error:
            raise DataError(f"{path}: line {reader.line_num}: not a CSV row ({error}). Fetch the file again.") from None


def _places(path: Path, header: list[str]) -> list[int]:
    wrong = next((name for name in _HEADER if header.count(name) != 1), None)
    if wrong is not None:
        found = ", ".join(header)[:80] or "nothing"
        times = "no column" if wrong not in header else f"{header.count(wrong)} columns"
        raise DataError(
            f"{path}: {times} {wrong!r} in the header (found: {found}). Expected FER+'s {','.join(_HEADER)}."
        )
    return [header.index(name) for name in _HEADER]


def _problem(usage: str, row: list[str]) -> str | None:
    if not row:
        return "too few or too many fields"
    if usage not in USAGE_TO_SPLIT:
        return f"Usage {usage[:20]!r}, expected {', '.join(USAGE_TO_SPLIT)}"
    bad = [v for v in row if not (v.isascii() and v.isdigit() and len(v) <= 3 and int(v) <= _MOST_VOTES)]
    return f"votes {bad[0][:20]!r}, expected 0 to {_MOST_VOTES}" if bad else None


def _check_order(path: Path, names: list[str]) -> None:
    """FER+'s rows stand in FER2013's order; nothing but the image names tells when somebody has sorted them."""
    numbers = [int(digits) for name in names if (digits := name.removeprefix("fer").removesuffix(".png")).isdecimal()]
    descents = sum(a > b for a, b in pairwise(numbers))
    if descents > max(1, _DESCENTS * len(numbers)):
        raise DataError(
            f"{path}: the rows are not in FER2013's order ({descents:,} image names are lower than the one before). "
            "Votes are joined by row: fetch the file again."
        )


def _check_usage(store: FaceStore, votes: Votes, path: Path) -> None:
    other = np.flatnonzero(votes.splits_M != store.splits_N)
    if len(other):
        raise DataError(
            f"{path}: row {other[0] + 1} is in another split than in {store.source} ({len(other):,} rows are); "
            "both must be in the order of fer2013.csv. Fetch both again."
        )


def _read_join(path: Path, rows: int) -> Join | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            join = Join(file["votes"], str(file["note"]))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
    fits = join.votes_NV.shape == (rows, len(FERPLUS_COLUMNS)) and join.votes_NV.dtype == np.uint8
    return join if fits else None


def _write_join(path: Path, join: Join) -> None:
    write_atomic(path, lambda file: np.savez(file, votes=join.votes_NV, note=np.array(join.note)))
