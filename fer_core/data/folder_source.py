"""Folders of labelled faces: `<emotion>/*` or `<split>/<emotion>/*`, in whatever folders they are wrapped."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from fer_core.data.csv_source import Progress
from fer_core.data.held_out import hold_out
from fer_core.data.image_file import FORMATS, decode_all
from fer_core.data.store import Faces
from fer_core.errors import DataError
from fer_core.labels import ALIASES, EMOTIONS, SPLITS, USAGE_TO_SPLIT

_SPLIT_WORDS: dict[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "public", "publictest", "dev"), "public"),
    **dict.fromkeys(("test", "testing", "private", "privatetest"), "private"),
}
_FER2013_NUMBERS = {str(code): name for code, name in enumerate(EMOTIONS)}
_RAFDB_NUMBERS = {
    "1": "surprise", "2": "fear", "3": "disgust", "4": "happy", "5": "sad", "6": "angry", "7": "neutral",
}  # fmt: skip
_NUMBERINGS = (("FER2013's order", _FER2013_NUMBERS), ("RAF-DB's numbering", _RAFDB_NUMBERS))
_EXPECTED = f"<emotion>/* or <split>/<emotion>/*, the emotions being {', '.join(EMOTIONS)} (or 0 to 6, or 1 to 7)"

_DEPTH = 5
"""Folders below the given one that are looked into: three wrappers, the split, the emotion."""
_FOLDERS_TO_GLANCE = 2_000
"""So many folders are looked into before something is said to be no image folder."""
_LITTER = {"__MACOSX", "lost+found", "Thumbs.db", "ehthumbs.db", "desktop.ini"}
"""What operating systems leave lying about, beside hidden files."""
_LISTED = 10


@dataclass
class _Folder:
    """One folder: what lies in it, sorted by name."""

    path: Path
    parts: tuple[str, ...]
    """Names of the folders from the root down to this one; empty for the root itself."""
    images: list[str] = field(default_factory=list)
    others: int = 0
    folders: list[Path] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.parts[-1].strip().lower() if self.parts else ""

    @property
    def split(self) -> str:
        """Split of the nearest folder above that is named like one."""
        words = (_SPLIT_WORDS.get(name.lower()) for name in reversed(self.parts[:-1]))
        return next(filter(None, words), "train")


def looks_like_folder_source(path: Path) -> bool:
    """Whether images lie in a folder named like an emotion or a number. Stops at the first; follows no links.

    Raises: DataError: a folder in it cannot be looked into.
    """
    known = ALIASES.keys() | _FER2013_NUMBERS.keys() | _RAFDB_NUMBERS.keys()
    waiting = [(path, 0)] if path.is_dir() else []
    for folder, depth in islice(waiting, _FOLDERS_TO_GLANCE):
        for entry in _entries(folder):
            if _is_litter(entry.name):
                continue
            if _suffix(entry.name) in FORMATS and folder.name.strip().lower() in known and depth:
                return True
            if depth < _DEPTH and entry.is_dir(follow_symlinks=False):
                waiting.append((Path(entry.path), depth + 1))
    return False


def folder_signature(path: Path) -> str:
    """What changes when images are added or removed: each folder's name, time and number of entries."""
    return "|".join(sorted(_signature_parts(path, path.resolve(), 0)))


def read_folder(path: Path, progress: Progress) -> Faces:
    """Read every image in a folder named like an emotion; rows are sorted by path.

    - The name of the folder that an image lies in is its emotion: one of `labels.ALIASES`, in any case, or a number
      where the numbers are exactly 0 to 6 (FER2013's order) or 1 to 7 (RAF-DB's numbering).
    - `Training_`, `PublicTest_` or `PrivateTest_` at the start of a file's name is its split, else the nearest folder
      above named like one (train; val, public; test, private), else `train`. What is missing, `hold_out` makes.
    - Images of one size of up to 224 pixels a side are kept as they are. Of any others, the centre square is resized
      to 48 x 48.

    `notes` say what was left out, resized, held out or read by number.

    Raises: DataError: no folder is a known emotion, no training images, images that cannot be read, or a symlink that
    leads out of the folder.
    """
    folders = sorted(_walk(path), key=lambda folder: folder.parts)
    emotions, notes = _emotions(path, folders)
    files = [
        (f"{folder.path}{os.sep}{name}", emotions[folder.name], _split_of(name) or folder.split)
        for folder in folders
        if folder.name in emotions
        for name in folder.images
    ]
    splits = np.array([SPLITS.index(split) for _, _, split in files], dtype=np.int8)
    if SPLITS.index("train") not in splits:
        raise DataError(f"{path}: all {len(files)} images are in val or test folders, none in train/, to learn from.")
    labels = np.array([EMOTIONS.index(emotion) for _, emotion, _ in files], dtype=np.int64)
    images, size_notes = decode_all([name for name, _, _ in files], progress)
    splits, held_out_notes = hold_out(labels, splits)
    return Faces(images, labels, splits, (*notes, *_left_out(folders, emotions), *size_notes, *held_out_notes))


def _split_of(name: str) -> str | None:
    return USAGE_TO_SPLIT.get(name.split("_")[0])


def _emotions(path: Path, folders: list[_Folder]) -> tuple[dict[str, str], list[str]]:
    """Lower-case folder name -> emotion, of the class folders that have one, and a note where numbers were read."""
    names = {folder.name for folder in folders if folder.images}
    if not names:
        raise DataError(f"{path}: no images. Expected {_EXPECTED}.")
    found = {name: ALIASES[name] for name in names & ALIASES.keys()}
    numbers = {name for name in names if name.isascii() and name.isdigit()}
    for title, numbering in _NUMBERINGS:
        if numbers == numbering.keys():
            order = ", ".join(f"{number} {emotion}" for number, emotion in numbering.items())
            return found | numbering, [f"The folders' numbers are read in {title}: {order}."]
    if not found:
        listed = ", ".join(sorted(names - {""})[:_LISTED]) or "no folder, only images"
        raise DataError(
            f"{path}: no images in a folder named after an emotion (found: {listed}). Expected {_EXPECTED}."
        )
    return found, []


def _left_out(folders: list[_Folder], emotions: dict[str, str]) -> Iterator[str]:
    """A sentence for everything that is there and was not read."""
    counts: Counter[str] = Counter()
    for folder in folders:
        if folder.name not in emotions:
            counts[folder.name] += len(folder.images)
    for name, n in sorted(counts.items()):
        if n and name:
            yield f"{name}: {_counted(n, 'image')} left out; FER2013 has no such emotion."
        elif n:
            yield f"{_counted(n, 'image')} left out, in no folder named after an emotion."
    others = sum(folder.others for folder in folders)
    if others:
        yield f"{_counted(others, 'file')} left out, no {'images' if others > 1 else 'image'} by name."
    if any(folder.folders and len(folder.parts) == _DEPTH for folder in folders):
        yield f"Folders more than {_DEPTH} levels down are left out."


def _counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def _walk(path: Path) -> Iterator[_Folder]:
    """Every folder down to `_DEPTH`, the upper ones first, so that a glance finds what lies near."""
    root = path.resolve()
    waiting: list[tuple[Path, tuple[str, ...]]] = [(path, ())]
    for below, parts in waiting:
        folder = _list(root, below, parts)
        yield folder
        if len(parts) < _DEPTH:
            waiting += [(inner, (*parts, inner.name)) for inner in folder.folders]


def _list(root: Path, path: Path, parts: tuple[str, ...]) -> _Folder:
    folder = _Folder(path, parts)
    for entry in _entries(path):
        if _is_litter(entry.name) or (_is_linked(entry) and not _leads_on(root, Path(entry.path))):
            continue
        if entry.is_dir():
            folder.folders.append(Path(entry.path))
        elif _suffix(entry.name) in FORMATS and (entry.is_file() or entry.is_symlink()):  # not a pipe, which never ends
            folder.images.append(entry.name)
        else:
            folder.others += 1
    folder.images.sort()
    folder.folders.sort()
    return folder


def _is_linked(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to something that would be read; a link to a README is nobody's business."""
    return entry.is_symlink() and (entry.is_dir() or _suffix(entry.name) in FORMATS)


def _signature_parts(path: Path, root: Path, depth: int) -> Iterator[str]:
    entries = _entries(path)
    yield f"{path}:{path.stat().st_mtime_ns}:{len(entries)}"
    for entry in entries if depth < _DEPTH else []:
        if entry.is_dir() and not _is_litter(entry.name):
            below = Path(entry.path)
            if not entry.is_symlink() or _leads_on(root, below):
                yield from _signature_parts(below, root, depth + 1)


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from None


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in _LITTER


def _suffix(name: str) -> str:
    """As `Path.suffix`, in lower case; a `Path` for each of 36,000 names takes as long as listing them."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def _leads_on(root: Path, link: Path) -> bool:
    """Whether a symlink leads to something in the folder that has not been entered on the way to the link.

    Raises: DataError: it leads out of the folder, where neither the signature nor a copy of the folder would see it.
    """
    target = Path(os.path.realpath(link))
    if not target.is_relative_to(root):
        raise DataError(f"{link}: a link out of this folder, to {target}. Put a copy in its place, or remove it.")
    return target not in link.parent.resolve().parents and target != link.parent.resolve()
