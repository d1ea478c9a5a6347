"""The challenge's CSV files: emotion, pixels (2,304 numbers in one string) and, where the file has splits, Usage.

That is `fer2013.csv`, `icml_face_data.csv` (other order of columns, blanks in the header), `train.csv` (no Usage).
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from fer_core.data.held_out import hold_out
from fer_core.data.pixel_text import IrregularText, PixelText
from fer_core.data.store import Faces
from fer_core.errors import DataError, first_few
from fer_core.labels import CONTEMPT, EMOTIONS, SPLITS, USAGE_TO_SPLIT

COLUMNS = ("emotion", "pixels", "Usage")
SIDE = 48
PIXELS = SIDE * SIDE
_BLOCK_BYTES = 4 << 20

_LABELS = {str(code): code for code in range(len(EMOTIONS))}
_SPLIT_CODES = {usage: SPLITS.index(split) for usage, split in USAGE_TO_SPLIT.items()}
_NO_USAGE = "Training"
"""What every row counts as in a file without the column: `train.csv`."""

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_COMPRESSED_MARKS = (b"\x1f\x8b", b"BZ", b"\xfd7", b"7z")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

Progress = Callable[[int, int], None]
"""Called with what is done and what there is, in the same unit."""


class _Irregular(Exception):
    """The fast reader met something it does not vouch for; the careful one decides."""


def read_csv(path: Path, progress: Progress) -> Faces:
    """Read every row of a FER2013 CSV in file order; columns may stand in any order, further ones are ignored.

    A file without a flaw is parsed by blocks. Anything else is read again row by row, which either accepts it (stray
    blanks) or says exactly which lines are wrong. Without a Usage column all rows are `train`, and public and private
    are held out of them (`held_out.hold_out`); the notes say so.

    Args: progress: called with bytes read, roughly, and bytes there are.
    Raises: DataError: a column is missing, there are no rows, or rows are damaged; the file is a Git LFS pointer, or
        UTF-16.
    """
    refuse_lfs_pointer(path)
    header = _header(path)
    _check_header(path, header)
    try:
        images, labels, splits = _read_fast(path, header, progress)
    except (_Irregular, IrregularText, pa.ArrowInvalid):
        images, labels, splits = _read_carefully(path)
    if not len(labels):
        raise DataError(f"{path}: no rows. Expected the header {','.join(COLUMNS)}, then one row a face.")
    notes: tuple[str, ...] = ()
    if "Usage" not in header:
        splits, notes = hold_out(labels, splits)
    return Faces(images.reshape(-1, SIDE, SIDE), labels, splits, notes + _notes_on_test_csv(path))


def refuse_lfs_pointer(path: Path) -> None:
    """Raises: DataError: the file is only Git LFS's pointer to the real one, as a clone without LFS has it."""
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise DataError(f"{path}: a Git LFS pointer, not the file itself. Run `git lfs pull` in its repository.")


def has_faces(path: Path) -> bool:
    """Whether a CSV's header promises labelled pixels; a list of image files has another one."""
    return path.is_file() and {"emotion", "pixels"} <= set(_header(path))


_Table = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int8]]
"""Pixels (N, 2304), labels (N,), split codes (N,)."""


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        return _stripped(next(csv.reader([file.readline(10_000)]), []))


def _stripped(header: list[str]) -> list[str]:
    return [name.strip() for name in header]


def _check_header(path: Path, header: list[str]) -> None:
    with path.open("rb") as file:
        mark = file.read(2)
    if mark in _UTF16_MARKS:
        raise DataError(f"{path}: UTF-16 text; FER2013's CSV files are UTF-8. Save it as UTF-8 and open that.")
    if mark in _COMPRESSED_MARKS:
        raise DataError(f"{path}: a compressed file. Unpack it first; of archives, .zip, .tar and .tar.gz are read.")
    if {"Image name", CONTEMPT} <= set(header):
        raise DataError(
            f"{path}: FER+'s votes, without faces. Put it beside the fer2013.csv that is opened, under the name "
            "fer2013new.csv: the votes are then joined to its faces."
        )
    found = ", ".join(header)[:80] or "nothing"
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: {header.count(twice[0])} columns named {twice[0]!r} (found: {found}); expected one.")
    if "pixels" in header and set(header) <= {"pixels", "Usage"}:
        raise DataError(
            f"{path}: no column 'emotion' in the header (found: {found}): these rows have no labels. "
            "Give the challenge's train.csv, icml_face_data.csv or fer2013.csv instead."
        )
    # Another spelling of Usage is no file without Usage: its own splits must not be drawn anew.
    needed = [name for name in COLUMNS if name != "Usage" or "usage" in map(str.lower, header)]
    missing = [name for name in needed if name not in header]
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r} in the header (found: {found}). Expected {','.join(COLUMNS)}."
        )


def _notes_on_test_csv(path: Path) -> tuple[str, ...]:
    """What to say about the challenge's `test.csv` beside its `train.csv`: faces whose labels were never given out."""
    beside = path.with_name("test.csv")
    if path.name != "train.csv" or not beside.is_file():
        return ()
    header = _header(beside)
    if "pixels" not in header or "emotion" in header:
        return ()
    with beside.open("rb") as file:
        rows = sum(not line.isspace() for line in file) - 1
    return (f"test.csv beside it has {rows:,} faces without a label; they are left out.",) if rows else ()


def _read_fast(path: Path, header: list[str], progress: Progress) -> _Table:
    # The columns are named by their places: arrow looks them up by their exact names, blanks and all.
    wanted = [str(header.index(name)) for name in COLUMNS if name in header]
    reader = arrow_csv.open_csv(
        path,
        arrow_csv.ReadOptions(block_size=_BLOCK_BYTES, skip_rows=1, column_names=[str(i) for i in range(len(header))]),
        arrow_csv.ParseOptions(),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.binary()), include_columns=wanted),
    )
    total, done, row, parser = path.stat().st_size, 0, 0, PixelText(PIXELS)
    # Room for as many rows as the file can have, each with one digit and one blank or comma a pixel. What is not used
    # is never touched, so it costs no memory.
    images = np.empty((total // (2 * PIXELS) + 1, PIXELS), dtype=np.uint8)
    labels, splits = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int8)]
    for batch in reader:
        emotion, pixels, *usage = batch.columns
        _parse_pixels(parser, pixels, images[row : row + len(batch)])
        labels.append(_codes(emotion, _LABELS, np.int64))
        splits.append(_codes(usage[0], _SPLIT_CODES, np.int8) if usage else _no_usage(len(batch)))
        row, done = row + len(batch), done + batch.nbytes
        progress(min(done, total), total)
    return images[:row], np.concatenate(labels), np.concatenate(splits)


def _no_usage(rows: int) -> NDArray[np.int8]:
    return np.full(rows, _SPLIT_CODES[_NO_USAGE], dtype=np.int8)


def _parse_pixels(parser: PixelText, column: Any, out_RP: NDArray[np.uint8]) -> None:
    _, offsets, text = column.buffers()
    if text is None or column.null_count or len(out_RP) != len(column):
        raise _Irregular
    offsets_R1 = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    parser.parse(np.frombuffer(text, dtype=np.uint8), offsets_R1, out_RP)


def _codes(column: Any, codes: dict[str, int], dtype: type) -> NDArray:
    # Not arrow's dictionary encoding: it loads all of pyarrow.compute first, which takes ten times as long as this.
    try:
        return np.array([codes[value.decode().strip()] for value in column.to_pylist()], dtype=dtype)
    except (KeyError, UnicodeDecodeError):
        raise _Irregular from None


def _read_carefully(path: Path) -> _Table:
    images, labels, splits, problems = [], [], [], []
    for line, row in _rows(path):
        problem = row if isinstance(row, str) else _problem(row)
        if problem or isinstance(row, str):
            problems.append(f"line {line}: {problem}")
        elif not problems:
            emotion, pixels, usage = row
            images.append(np.array(pixels.split(), dtype=np.uint8))
            labels.append(int(emotion))
            splits.append(_SPLIT_CODES[usage])
    if problems:
        raise DataError(f"{path}: {first_few(problems, 'rows')}. Repair these rows or fetch the file again.")
    images_NP = np.array(images, dtype=np.uint8).reshape(-1, PIXELS)
    return images_NP, np.array(labels, dtype=np.int64), np.array(splits, dtype=np.int8)


def _rows(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Line number and the row's emotion, pixels and Usage, or a sentence where the row has not every field."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = _stripped(next(reader))
        places = [header.index(name) for name in COLUMNS if name in header]
        rest = [_NO_USAGE] if "Usage" not in header else []
        line = reader.line_num + 1  # where the next row begins: a quote that never closes swallows the lines after it
        try:
            for row in reader:
                begun, line = line, reader.line_num + 1
                if not row:
                    continue
                whole = len(row) == len(header)
                yield (
                    begun,
                    (
                        [row[place].strip() for place in places] + rest
                        if whole
                        else f"{len(row)} fields where the header has {len(header)}"
                    ),
                )
        except csv.Error as error:
            yield line, f"not a CSV row ({error})"


def _problem(row: list[str]) -> str | None:
    emotion, pixels, usage = row
    if emotion not in _LABELS:
        return f"emotion {emotion[:20]!r}, expected 0 to {len(EMOTIONS) - 1}"
    if usage not in _SPLIT_CODES:
        return f"Usage {usage[:20]!r}, expected {', '.join(USAGE_TO_SPLIT)}"
    values = pixels.split()
    if len(values) != PIXELS:
        return f"{len(values)} pixels, expected {PIXELS}"
    bad = next(
        (
            value
            for value in values
            if not (value.isascii() and value.isdigit() and len(value.lstrip("0")) <= 3 and int(value) <= 255)
        ),
        None,
    )
    return None if bad is None else f"pixel value {bad[:20]!r}, expected 0 to 255"
