"""Sources that the app can switch to: its own, the sample, what lies in data/, and what was uploaded."""

import re
import shutil
from pathlib import Path
from typing import BinaryIO

from fer_core.data.source import DEFAULT_FOLDER, SAMPLE, Source, find_source, read_source
from fer_core.data.store import cache_error
from fer_core.errors import DataError
from fer_core.files import private_folder
from fer_core.settings import settings

SUFFIXES = (".csv", ".zip", ".tar.gz", ".tgz", ".tar", ".npz")
"""What can be uploaded; a folder of images comes as a zip of it."""
_ODD = re.compile(r"[^\w.-]+")


def list_sources() -> dict[str, str]:
    """Short name -> what `find_source` finds it by; the app's own source first."""
    candidates = [*_default(), SAMPLE, *map(str, _files(DEFAULT_FOLDER)), *map(str, _files(_uploads()))]
    named: dict[str, str] = {}
    for name in dict.fromkeys(candidates):
        path = Path(name)
        short = SAMPLE if name == SAMPLE else path.name
        named[short if short not in named else f"{path.parent.name}/{short}"] = name
    return named


def keep_upload(name: str, content: BinaryIO) -> str:
    """Keep an uploaded file as a source if it can be read as one. Returns its short name.

    Raises: DataError: a kind of file that we do not read, a name that is taken, or damaged content; nothing is kept.
    """
    clean = _ODD.sub("-", Path(name).name).lstrip(".-")
    if not clean.lower().endswith(SUFFIXES):
        raise DataError(f"{name}: cannot be a source. Upload one of {', '.join(SUFFIXES)}; a folder as a .zip of it.")
    target = _uploads() / clean
    if target.exists():
        raise DataError(f"{clean}: there is an upload of that name already. Choose it in the list, or rename the file.")
    try:
        with private_folder(_uploads(), "new") as folder:
            temporary = folder / clean
            with temporary.open("wb") as file:
                shutil.copyfileobj(content, file)
            _check(temporary)
            temporary.rename(target)
    except OSError as error:  # a full disk, a name that is too long
        raise cache_error(_uploads(), error) from None
    return next(short for short, found in list_sources().items() if found == str(target.resolve()))


def _check(path: Path) -> None:
    try:
        read_source(path)
    except DataError as error:  # a person knows the file's name, not the place that it is checked in
        raise DataError(str(error).replace(f"{path.parent.resolve()}/", "").replace(f"{path.parent}/", "")) from None


def _default() -> list[str]:
    source: Source = find_source()
    return [source.name]


def _uploads() -> Path:
    return settings().cache / "uploads"


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path.resolve() for path in folder.iterdir() if path.name.lower().endswith(SUFFIXES) and _is_data(path)
    )


def _is_data(path: Path) -> bool:
    unlabelled = path.name.startswith("fer2013new") or path.name == "test.csv"  # but not an upload: it has been read
    return path.is_file() and path.name[0] != "." and (path.parent == _uploads() or not unlabelled)
