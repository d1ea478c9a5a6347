"""A store written out in the layouts that FER2013 is exchanged in: `export(store, "csv", folder, progress)`.

Only rows that stand in a split are written, with the labels that the store has (FER2013's, or those of a label mode).
Shapes: N faces, H x W pixels, V = 10 vote columns.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.catalog import check_name
from fer_core.data.csv_source import COLUMNS, SIDE, Progress
from fer_core.data.labelling import needed_votes
from fer_core.data.quality import check
from fer_core.data.store import OUT, FaceStore
from fer_core.errors import DataError
from fer_core.files import folder_atomic, refuse_existing, write_atomic, writing_into
from fer_core.labels import EMOTIONS, SPLITS, USAGE_TO_SPLIT
from fer_core.registry import registrar

USAGES: tuple[str, ...] = tuple(USAGE_TO_SPLIT)
"""The challenge's names of the splits, in the order of `labels.SPLITS`."""
PARTS = ("train", "test", "test")
"""Top folder of each split in the image-folder layout."""
FERPLUS_FOLDERS = ("FER2013Train", "FER2013Valid", "FER2013Test")
"""The FER+ project's folder of each split."""
_STEP = 512
"""Rows from one word of progress to the next."""


@dataclass(frozen=True)
class Exported:
    """What was written: the file or folder, how many faces, and a sentence for what a person must be told."""

    path: Path
    faces: int
    notes: tuple[str, ...] = ()


LAYOUTS: dict[str, Callable[[FaceStore, Path, Progress], Exported]] = {}
register = registrar(LAYOUTS)


def export(store: FaceStore, layout: str, folder: Path, progress: Progress) -> Exported:
    """Write the store to `folder` in a layout, whole or not at all; nothing that is there already is overwritten.

    Args:
        layout: csv (`fer2013.csv`), folder (`{train,test}/<emotion>/*.png`), npz (`fer2013.npz`), or ferplus (the
            FER+ project's three folders of images with `label.csv`).
        progress: called with faces done, and how many there are.
    Raises:
        ConfigError: no such layout.
        DataError: the target exists, the layout cannot hold this store, or the disk is full; nothing is left then.
    """
    check_name("layout", layout, LAYOUTS)
    if not len(store):
        raise DataError(f"{store.source}: no face stands in a split, so there is nothing to export.")
    with writing_into(folder):
        return LAYOUTS[layout](store, folder, progress)


@register("csv")
def export_csv(store: FaceStore, folder: Path, progress: Progress) -> Exported:
    """`fer2013.csv` as the challenge has it. Source: kaggle.com/c/challenges-in-representation-learning-..."""
    _check_classes(store, "csv")
    if store.image_size != (SIDE, SIDE):
        height, width = store.image_size
        raise DataError(
            f"{store.source}: faces of {width} x {height} pixels; fer2013.csv holds {SIDE} x {SIDE}. "
            "Export the layout npz or folder."
        )
    path, rows = folder / "fer2013.csv", _rows(store)
    refuse_existing(path)
    write_atomic(path, lambda file: _write_csv(file, store, rows, progress))
    return Exported(path, len(rows))


def _write_csv(file: BinaryIO, store: FaceStore, rows: NDArray[np.int64], progress: Progress) -> None:
    # Each value's digits and a blank, padded with zero bytes to one 32-bit word: a face is a look-up and a deletion.
    words = np.array([f"{value} ".encode() for value in range(256)], dtype="S4").view(np.uint32)
    file.write(f"{','.join(COLUMNS)}\n".encode())
    for row in _each(rows, progress):
        pixels = words[store.images_NHW[row].ravel()].tobytes().translate(None, b"\0")[:-1]
        file.write(b"%d,%b,%b\n" % (store.labels_N[row], pixels, USAGES[store.splits_N[row]].encode()))


@register("folder")
def export_folder(store: FaceStore, folder: Path, progress: Progress) -> Exported:
    """`{train,test}/<emotion>/<Usage>_<row>.png`, as most copies on the web have it; `row` is the store's."""
    _check_classes(store, "folder")
    rows = _rows(store)
    with _new_folder(folder) as temporary:
        for part in PARTS:
            for name in EMOTIONS:
                (temporary / part / name).mkdir(parents=True, exist_ok=True)
        for row in _each(rows, progress):
            split = store.splits_N[row]
            name = f"{USAGES[split]}_{row:05d}.png"
            _save(store.images_NHW[row], temporary / PARTS[split] / EMOTIONS[store.labels_N[row]] / name)
    return Exported(folder, len(rows))


@register("npz")
def export_npz(store: FaceStore, folder: Path, progress: Progress) -> Exported:
    """`fer2013.npz`: pixels (N, H, W) uint8, emotion (N,) int8, usage (N,) text. `npz_source` reads it."""
    _check_classes(store, "npz")
    path, rows = folder / "fer2013.npz", _rows(store)
    refuse_existing(path)
    pixels, emotion = store.images_NHW[rows], store.labels_N[rows].astype(np.int8)
    usage = np.array(USAGES)[store.splits_N[rows]]
    write_atomic(path, lambda file: np.savez(file, pixels=pixels, emotion=emotion, usage=usage))
    progress(len(rows), len(rows))
    return Exported(path, len(rows))


@register("ferplus")
def export_ferplus(store: FaceStore, folder: Path, progress: Progress) -> Exported:
    """What the FER+ project's training reads: `FER2013{Train,Valid,Test}/` with images and `label.csv`.

    Images are named by the store's row. The project's own `Image name` column numbers them in another way, with gaps,
    so that lists of image names from elsewhere do not fit. Rows that every tagger called no face, and rows without
    votes, are left out. Source: `generate_training_data.py` and `ferplus.py` in microsoft/FERPlus.
    """
    votes_NV = np.asarray(needed_votes(store, "the layout ferplus"))
    no_face = check(store).not_a_face_N
    no_votes = (votes_NV == 0).all(axis=1)
    inside = store.splits_N != OUT
    rows = np.flatnonzero(inside & ~no_face & ~no_votes)
    if not len(rows):
        raise DataError(f"{store.source}: no face has FER+ votes for an emotion, so there is nothing to export.")
    with _new_folder(folder) as temporary:
        for part in FERPLUS_FOLDERS:
            (temporary / part).mkdir()
        for row in _each(rows, progress):
            _save(store.images_NHW[row], temporary / FERPLUS_FOLDERS[store.splits_N[row]] / _ferplus_name(row))
        for code in range(len(SPLITS)):
            _write_labels(temporary / FERPLUS_FOLDERS[code] / "label.csv", rows[store.splits_N[rows] == code], votes_NV)
    counts = {"that all taggers called no face": no_face, "without votes": no_votes}
    notes = (f"Left out: {n:,} faces {why}." for why, rows in counts.items() if (n := int((inside & rows).sum())))
    return Exported(folder, len(rows), tuple(notes))


def _write_labels(path: Path, rows: NDArray[np.int64], votes_NV: NDArray[np.uint8]) -> None:
    # The project once kept a face box, "(0, 0, 48, 48)", between the name and the votes. Its current generator writes
    # no box and its current reader takes `row[1:]` as the ten votes: a box would end that in a ValueError.
    with path.open("w", newline="", encoding="ascii") as file:
        csv.writer(file).writerows([_ferplus_name(row), *votes_NV[row].tolist()] for row in rows.tolist())


def _ferplus_name(row: int) -> str:
    return f"fer{row:07d}.png"


def _rows(store: FaceStore) -> NDArray[np.int64]:
    return np.flatnonzero(store.splits_N != OUT)


def _each(rows: NDArray[np.int64], progress: Progress) -> Iterator[int]:
    for done, row in enumerate(rows.tolist(), 1):
        yield row
        if done % _STEP == 0 or done == len(rows):
            progress(done, len(rows))


def _save(image_HW: NDArray[np.uint8], path: Path) -> None:
    Image.fromarray(image_HW).save(path)


def _check_classes(store: FaceStore, layout: str) -> None:
    if store.classes != EMOTIONS:
        further = ", ".join(name for name in store.classes if name not in EMOTIONS)
        raise DataError(
            f"{store.source}: its labels have {len(store.classes)} classes (with {further}); the layout {layout} holds "
            "FER2013's seven. Export the store under FER2013's own labels, or in the layout ferplus."
        )


@contextmanager
def _new_folder(folder: Path) -> Iterator[Path]:
    """`folder_atomic` on a folder that must be empty; `writing_into` has made it."""
    entries = sorted(place.name for place in folder.iterdir())
    if entries:
        shown = ", ".join(entries[:3]) + (", ..." if len(entries) > 3 else "")
        raise DataError(
            f"{folder} is not empty ({shown}), and nothing is overwritten. Empty it, or name another folder."
        )
    folder.rmdir()  # not every system renames onto an empty folder
    try:
        with folder_atomic(folder) as temporary:
            yield temporary
    finally:
        folder.mkdir(exist_ok=True)  # an empty folder that was there before stays when nothing came of it
