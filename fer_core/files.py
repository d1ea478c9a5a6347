"""Files that are either whole or not there: written beside their place, then renamed."""

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from fer_core.errors import DataError


def write_atomic(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call `write` on a temporary file in the same folder, then rename it to `path`.

    A crash, a full disk or an error in `write` leaves the old file as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            write(file)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` in UTF-8, whole or not at all."""
    write_atomic(path, lambda file: file.write(text.encode()))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN and infinity are refused: they are not JSON."""
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    write_text(path, text)


@contextmanager
def folder_atomic(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; when the block ends well, it is renamed to `path`.

    Two processes may race: the first rename wins and the other's folder is dropped, since both hold the same content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    temporary.mkdir()
    try:
        yield temporary
        try:
            temporary.replace(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def private_folder(parent: Path, kind: str) -> Iterator[Path]:
    """Give an empty folder under `parent` that only its owner may look into; it goes when the block ends.

    What processes of this kind left behind that were killed goes first: the process's number stands in the name.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f".{kind}.*"):
        owner = left.name.split(".")[2]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(dir=parent.resolve(), prefix=f".{kind}.{os.getpid()}."))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing_into(folder: Path) -> Iterator[None]:
    """Make a folder to write into. When the block fails, what was made of it goes again, and a full disk is one line.

    Raises: DataError: the folder cannot be made or written to.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    whole = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
        whole = True
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written to ({error.strerror or error}); nothing half-written is left. "
            "Free some space, or name another folder."
        ) from None
    finally:
        for place in () if whole else made:
            with suppress(OSError):  # something else has been put there meanwhile, or it was never made
                place.rmdir()


def refuse_existing(*paths: Path) -> None:
    """Raises: DataError: one of them is there, and nothing is overwritten."""
    for path in paths:
        if path.exists():
            raise DataError(f"{path} is there already, and nothing is overwritten. Remove it, or name another folder.")


def _beside(path: Path) -> Path:
    """A hidden name that nobody has. Not `tempfile`'s: what it makes, only its owner may ever read."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")
