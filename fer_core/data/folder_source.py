"""FER2013 as an image folder: `{train,test}/<emotion>/*.png|jpg`, as most copies on the web have it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.data.csv_source import Progress
from fer_core.data.store import Faces
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS, SPLITS, USAGE_TO_SPLIT

PARTS = {"train": "train", "test": "private"}
"""Top folder -> split of its images, unless a file's name begins with the challenge's own name of the split."""

_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_MAX_SIDE = 1024
_SHOWN = 3
_HELD_OUT = 10
"""One in so many of `train/` is held out as `public` where the layout has no such split."""
_HELD_OUT_SEED = 2013


@dataclass(frozen=True)
class _ImageFile:
    path: Path
    label: int
    split: str


def looks_like_folder_source(path: Path) -> bool:
    return all((path / part).is_dir() for part in PARTS)


def folder_signature(path: Path) -> str:
    """What changes when images are added or removed: each class folder's name, time and number of entries."""
    parts = []
    for folder in _class_folders(path):
        parts.append(f"{folder.relative_to(path)}:{folder.stat().st_mtime_ns}:{sum(1 for _ in folder.iterdir())}")
    return "|".join(parts)


def read_folder(path: Path, progress: Progress) -> Faces:
    """Read `{train,test}/<emotion>/*`; rows are sorted by path.

    `Training_`, `PublicTest_` and `PrivateTest_` at the start of a file name give its split. Without them `test/` is
    `private`, and a stratified tenth of `train/` is held out as `public`; a note says so.

    Raises: DataError: an unknown emotion folder, no images, unreadable images, or images of different sizes.
    """
    files = list(_image_files(path))
    if not files:
        raise DataError(f"{path}: no images. Expected train/<emotion>/*.png or *.jpg, and test/ beside it.")
    images = _read_images([file.path for file in files], progress)
    labels = np.array([file.label for file in files], dtype=np.int64)
    splits = np.array([SPLITS.index(file.split) for file in files], dtype=np.int8)
    if SPLITS.index("public") in splits:
        return Faces(images, labels, splits)
    note = (
        f"This folder has no public split: a stratified tenth of train/ (seed {_HELD_OUT_SEED}) is held out as public."
    )
    return Faces(images, labels, _hold_out(labels, splits), (note,))


def _class_folders(path: Path) -> list[Path]:
    return sorted(folder for part in PARTS for folder in (path / part).iterdir() if folder.is_dir())


def _image_files(path: Path) -> Iterator[_ImageFile]:
    for folder in _class_folders(path):
        if folder.name.lower() not in EMOTIONS:
            raise DataError(f"{folder}: not an emotion. Expected folders named {', '.join(EMOTIONS)}.")
        label = EMOTIONS.index(folder.name.lower())
        for file in sorted(folder.iterdir()):
            if file.suffix.lower() in _SUFFIXES:
                yield _ImageFile(file, label, _split_of(file.name) or PARTS[folder.parent.name])


def _split_of(name: str) -> str | None:
    return USAGE_TO_SPLIT.get(name.split("_")[0])


def _hold_out(labels_N: NDArray[np.int64], splits_N: NDArray[np.int8]) -> NDArray[np.int8]:
    rng = np.random.default_rng(_HELD_OUT_SEED)
    splits = splits_N.copy()
    for label in range(len(EMOTIONS)):
        rows = np.flatnonzero((labels_N == label) & (splits_N == SPLITS.index("train")))
        splits[rng.permutation(rows)[: round(len(rows) / _HELD_OUT)]] = SPLITS.index("public")
    return splits


def _read_images(paths: list[Path], progress: Progress) -> NDArray[np.uint8]:
    images: list[NDArray[np.uint8]] = []
    problems: list[str] = []
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it reads and decodes
        for done, image in enumerate(pool.map(_read_image, paths, chunksize=64), 1):
            if isinstance(image, str):
                problems.append(image)
            elif images and image.shape != images[0].shape:
                problems.append(f"{paths[done - 1]}: {_size(image)}, where the first image has {_size(images[0])}")
            else:
                images.append(image)
            if done % 512 == 0 or done == len(paths):
                progress(done, len(paths))
    if problems:
        more = f"; {len(problems)} bad images in all" if len(problems) > _SHOWN else ""
        raise DataError(f"{'; '.join(problems[:_SHOWN])}{more}. Repair or remove them.")
    return np.stack(images)


def _read_image(path: Path) -> NDArray[np.uint8] | str:
    """The image in grey, or a sentence that names the file and what is wrong with it."""
    try:
        with Image.open(path, formats=list(set(_SUFFIXES.values()))) as image:
            if max(image.size) > _MAX_SIDE:  # looked at before a single pixel is decoded
                return f"{path}: {image.width} x {image.height} pixels, at most {_MAX_SIDE} a side are read"
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(f" {str(path)!r}", "")
        return f"{path}: not a readable PNG or JPEG image ({reason})"


def _size(image: NDArray[np.uint8]) -> str:
    return f"{image.shape[1]} x {image.shape[0]} pixels"
