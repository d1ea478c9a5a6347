"""The review list: what people say of faces while they look at mistakes, on disk the moment they say it.

reviews/review.jsonl   one event a line: a mark, or the undoing of one; lines are added, and none is ever changed

Every line is added whole under a lock and brought to the disk before the call returns, so that tabs and processes that
mark at once lose nothing. A crash may leave a torn last line: it is passed over, and the next event begins on a line of
its own. A line that cannot be read is skipped and counted rather than refused: one bad line must not cost the others.
"""

import csv
import hashlib
import io
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from fer_core.catalog import HELD_OUT, VERDICTS
from fer_core.errors import DataError
from fer_core.labels import CONTEMPT, EMOTIONS, SPLITS
from fer_core.settings import settings

FORMAT = 1
"""Format number of each line."""
FILE = "review.jsonl"

_HASH = re.compile(r"[0-9a-f]{16}")
_PATIENCE_S = 20.0
"""So long an event waits for others to be written; one takes milliseconds."""


@dataclass(frozen=True)
class Mark:
    """What a person said of a face."""

    id: str
    time: str
    """UTC, ISO 8601."""
    hash: str
    """Of its pixels: 16 hex digits (`face_hash`)."""
    label: str
    """The label that the face had. The same pixels under another label are another case."""
    split: str
    """Where it was looked at: train, public or private."""
    verdict: str | None
    """One of `catalog.VERDICTS`; None takes back whatever was said of this face before."""
    proposed: str | None = None
    """The emotion that would be right."""
    note: str = ""

    def __post_init__(self) -> None:
        """Raises: DataError: something that cannot be said of a face."""
        for name in ("id", "time", "note"):
            _check_text(name, getattr(self, name), True, "a text")
        _check_text("hash", self.hash, _HASH.fullmatch(str(self.hash)) is not None, "16 hex digits of a face's pixels")
        _check_name("label", self.label, (*EMOTIONS, CONTEMPT))
        _check_name("split", self.split, SPLITS)
        if self.verdict is not None:
            _check_name("verdict", self.verdict, VERDICTS)
        if self.proposed is None:
            return
        _check_name("proposed emotion", self.proposed, EMOTIONS)
        if self.verdict in (None, "not a face"):
            raise DataError(f"no emotion can be proposed for {self.verdict or 'a verdict taken back'!r}; leave it out.")
        if self.proposed == self.label:
            raise DataError(f"{self.proposed!r} is the label already; propose another emotion, or none.")


class ReviewList:
    """A review list on disk. Nothing is cached: each call reads what the file says now. A list need not exist yet."""

    def __init__(self, path: Path | None = None) -> None:
        """Args: path: the list's file; left out, the one in $FER_REVIEWS."""
        self.path = settings().reviews / FILE if path is None else path

    def mark(
        self, hash: str, label: str, split: str, verdict: str | None, *, proposed: str | None = None, note: str = ""
    ) -> Mark:
        """Say something of a face; it is on disk when this returns, and stands in place of what was said before.

        Args: split: `held_out`, a fold of train, counts as train.
        Raises: DataError: a name that is not known, or the file cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        place = "train" if split == HELD_OUT else split
        made = Mark(secrets.token_hex(8), now, hash, label, place, verdict, proposed, note)
        with self._locked():
            self._append(asdict(made))
        return made

    def undo(self, id: str | None = None) -> Mark | None:
        """Undo a mark, so that what was said of its face before stands again.

        Args: id: of the mark; left out, the last one that stands, whoever made it.
        Returns: what was undone; None where no such mark stands.
        Raises: DataError: the file cannot be read or written.
        """
        with self._locked():
            standing = [one for one in self._read().standing if id in (None, one.id)]
            if standing:
                now = datetime.now(UTC).isoformat(timespec="milliseconds")
                self._append({"id": secrets.token_hex(8), "time": now, "undo": standing[-1].id})
        return standing[-1] if standing else None

    def marks(self) -> list[Mark]:
        """What is said of each face now: the last mark of each hash and label that stands, the newest mark last.

        Raises: DataError: the file cannot be read.
        """
        latest: dict[tuple[str, str], Mark] = {}
        for one in self._read().standing:
            latest.pop((one.hash, one.label), None)
            latest[one.hash, one.label] = one
        return [one for one in latest.values() if one.verdict is not None]

    def digest(self) -> str:
        """`digest_of` what is said now. Raises: DataError: the file cannot be read."""
        return digest_of(self.marks())

    @property
    def damaged(self) -> int:
        """Lines that cannot be read, and are skipped; a torn last one does not count. Raises: DataError."""
        return self._read().damaged

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_PATIENCE_S):
                yield
        except Timeout:
            raise DataError(f"{self.path}: another process is writing it and does not end; try again.") from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror or error}).") from None

    def _append(self, event: dict[str, Any]) -> None:
        """Add one line; the lock is held."""
        line = json.dumps({"format": FORMAT, **event}, ensure_ascii=False).encode() + b"\n"
        new = not self.path.exists()
        with self.path.open("a+b") as file:
            file.write(line if _ends_with_a_line(file) else b"\n" + line)
            file.flush()
            os.fsync(file.fileno())
        if new:
            _sync_folder(self.path.parent)

    def _read(self) -> "_Events":
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            content = b""
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error}).") from None
        return _Events.parse(content)


@dataclass(frozen=True)
class _Events:
    """What a file's lines say."""

    standing: tuple[Mark, ...]
    """The marks that are not undone, in the order of the file."""
    damaged: int

    @classmethod
    def parse(cls, content: bytes) -> Self:
        *lines, last = content.split(b"\n")
        marks: list[Mark] = []
        undone: set[str] = set()
        damaged = 0
        for place, line in enumerate([*lines, last]):
            if not line.strip():
                continue
            try:
                event = _event(line)
            except (ValueError, TypeError, RecursionError):  # a DataError is a ValueError
                damaged += place < len(lines)
                continue
            if isinstance(event, Mark):
                marks.append(event)
            else:
                undone.add(event)
        return cls(tuple(one for one in marks if one.id not in undone), damaged)


def face_hash(pixels: int) -> str:
    """The 16 hex digits by which a face is marked, of its value in `FaceStore.hashes_N`."""
    return f"{int(pixels):016x}"


def digest_of(marks: Iterable[Mark]) -> str:
    """SHA-256 of what is said of which face: equal where a training would use them alike.

    When, where, in which order and with which note it was said does not count.
    """
    said = sorted([one.hash, one.label, one.verdict or "", one.proposed or ""] for one in marks)
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def to_csv(marks: Iterable[Mark]) -> str:
    """A line for each mark, under a heading."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("hash", "label", "split", "verdict", "proposed", "time", "note"))
    for one in marks:
        table.writerow((one.hash, one.label, one.split, one.verdict or "", one.proposed or "", one.time, one.note))
    return text.getvalue()


def _event(line: bytes) -> Mark | str:
    """A mark, or the id of the mark that is undone. Raises: ValueError or TypeError: neither."""
    values = json.loads(line)
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
        raise ValueError(f"format {FORMAT} is expected")
    return str(values["undo"]) if values.get("undo") else Mark(**values)


def _check_name(kind: str, name: str, known: Iterable[str]) -> None:
    if name not in tuple(known):
        raise DataError(f"no {kind} named {name!r}. Known: {', '.join(known)}.")


def _check_text(kind: str, value: Any, fits: bool, allowed: str) -> None:
    if not isinstance(value, str) or not fits:
        raise DataError(f"the {kind} is {value!r}; it should be {allowed}.")


def _ends_with_a_line(file: Any) -> bool:
    """Whether what stands there is whole lines: after a crash the last one may be torn."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def _sync_folder(folder: Path) -> None:
    """Bring a new file's name to the disk too, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
