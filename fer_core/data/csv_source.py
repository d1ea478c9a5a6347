"""The challenge's own file, `fer2013.csv`: emotion, pixels (2,304 numbers in one string), Usage."""

import csv
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from fer_core.data.store import Faces
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS, SPLITS, USAGE_TO_SPLIT

COLUMNS = ("emotion", "pixels", "Usage")
SIDE = 48
PIXELS = SIDE * SIDE
_BLOCK_BYTES = 16 << 20
_SHOWN = 3
"""How many bad rows an error names; the rest are counted."""

_LABELS = {str(code).encode(): code for code in range(len(EMOTIONS))}
_SPLIT_CODES = {usage.encode(): SPLITS.index(split) for usage, split in USAGE_TO_SPLIT.items()}

Progress = Callable[[int, int], None]
"""Called with what is done and what there is, in the same unit."""


class _Irregular(Exception):
    """The fast reader met something it does not vouch for; the careful one decides."""


def read_csv(path: Path, progress: Progress) -> Faces:
    """Read every row of a FER2013 CSV in file order; columns may stand in any order, further ones are ignored.

    A file without a flaw is parsed by blocks in C. Anything else is read again row by row, which either accepts it
    (stray blanks) or says exactly which lines are wrong.

    Raises: DataError: a column is missing, there are no rows, or rows are damaged.
    """
    _check_header(path)
    try:
        blocks = list(_fast_blocks(path, progress))
    except (_Irregular, pa.ArrowInvalid):
        blocks = [_read_carefully(path)]
    if not sum(len(labels) for _, labels, _ in blocks):
        raise DataError(f"{path}: no rows. Expected the header {','.join(COLUMNS)}, then one row a face.")
    images, labels, splits = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Faces(images.reshape(-1, SIDE, SIDE), labels, splits)


_Block = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int8]]


def _check_header(path: Path) -> None:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader([file.readline(10_000)]), [])
    missing = [name for name in COLUMNS if name not in header]
    twice = [name for name in COLUMNS if header.count(name) > 1]
    found = ", ".join(header)[:80] or "nothing"
    if twice:
        raise DataError(f"{path}: {header.count(twice[0])} columns named {twice[0]!r} (found: {found}); expected one.")
    if missing:
        raise DataError(
            f"{path}: no column {missing[0]!r} in the header (found: {found}). Expected {','.join(COLUMNS)}."
        )


def _fast_blocks(path: Path, progress: Progress) -> Iterator[_Block]:
    reader = arrow_csv.open_csv(
        path,
        arrow_csv.ReadOptions(block_size=_BLOCK_BYTES),
        arrow_csv.ParseOptions(),
        arrow_csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.binary()), include_columns=COLUMNS),
    )
    total, done = path.stat().st_size, 0
    for batch in reader:
        emotion, pixels, usage = (column.to_pylist() for column in batch.columns)
        yield _fast_pixels(pixels), _codes(emotion, _LABELS, np.int64), _codes(usage, _SPLIT_CODES, np.int8)
        done += batch.nbytes
        progress(min(done, total), total)


def _fast_pixels(rows: list[bytes]) -> NDArray[np.uint8]:
    # With single blanks and nothing else between the numbers, the count of blanks is the count of pixels less one, so
    # that a short row cannot hide behind a long one when the whole block is parsed at once.
    if any(row.count(b" ") != PIXELS - 1 or b"  " in row or row.strip() != row for row in rows):
        raise _Irregular
    if any(row.translate(None, b"0123456789 ") for row in rows):  # a sign, a tab, a word
        raise _Irregular
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy's word for text that is no number; counted below
        try:
            # A number too large for int64 becomes its largest, and is refused below like any other above 255.
            values = np.fromstring(b" ".join(rows), dtype=np.int64, sep=" ")
        except ValueError:
            raise _Irregular from None
    if len(values) != len(rows) * PIXELS or (len(values) and (values.min() < 0 or values.max() > 255)):
        raise _Irregular
    return values.astype(np.uint8).reshape(-1, PIXELS)


def _codes(values: list[bytes], codes: dict[bytes, int], dtype: type) -> NDArray:
    try:
        return np.array([codes[value] for value in values], dtype=dtype)
    except KeyError:
        raise _Irregular from None


def _read_carefully(path: Path) -> _Block:
    images, labels, splits, problems = [], [], [], []
    for line, row in _rows(path):
        problem = row if isinstance(row, str) else _problem(row)
        if problem or isinstance(row, str):
            problems.append(f"line {line}: {problem}")
        elif not problems:
            emotion, pixels, usage = row
            images.append(np.array(pixels.split(), dtype=np.uint8))
            labels.append(int(emotion))
            splits.append(_SPLIT_CODES[usage.encode()])
    if problems:
        more = f"; {len(problems)} bad rows in all" if len(problems) > _SHOWN else ""
        raise DataError(f"{path}: {'; '.join(problems[:_SHOWN])}{more}. Repair these rows or fetch the file again.")
    images_NP = np.array(images, dtype=np.uint8).reshape(-1, PIXELS)
    return images_NP, np.array(labels, dtype=np.int64), np.array(splits, dtype=np.int8)


def _rows(path: Path) -> Iterator[tuple[int, list[str] | str]]:
    """Line number and the row's emotion, pixels and Usage, or a sentence where the row has not all of them."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        header = next(reader)
        places = [header.index(name) for name in COLUMNS]
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
                        [row[place].strip() for place in places]
                        if whole
                        else f"{len(row)} fields where the header has {len(header)}"
                    ),
                )
        except csv.Error as error:
            yield line, f"not a CSV row ({error})"


def _problem(row: list[str]) -> str | None:
    emotion, pixels, usage = row
    if emotion.encode() not in _LABELS:
        return f"emotion {emotion[:20]!r}, expected 0 to {len(EMOTIONS) - 1}"
    if usage.encode() not in _SPLIT_CODES:
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
