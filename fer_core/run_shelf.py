"""What a person adds to runs and takes away: tags, a note, and a bin that gives back what was put into it.

runs/NAME/notes.json      tags and note
     .bin/NUMBER.NAME/    a run that was deleted; the number is the time, so the latest stands last
"""

import json
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from fer_core.errors import RunError
from fer_core.files import write_json
from fer_core.runs import ACTIVE, NAME, Run, runs_folder, shipped_runs
from fer_core.shipped import refuse_shipped

FORMAT = 1
"""Format number of `notes.json`."""
MOST_TAG = 32
"""Characters of a tag, at most."""
MOST_TAGS = 20
MOST_NOTE = 2000
"""Characters of a note, at most."""


@dataclass(frozen=True)
class Notes:
    """What a person noted of a run."""

    tags: tuple[str, ...] = ()
    note: str = ""
    """Any number of lines."""


SHIPPED = Notes(("shipped",), "Comes with the explorer.")
"""What stands for the notes of a shipped run."""


@dataclass(frozen=True)
class Binned:
    """A run in the bin."""

    path: Path

    @property
    def name(self) -> str:
        """The run's name before it was deleted, and after it is restored."""
        return self.path.name.partition(".")[2]


def clean_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags without surrounding space, each once, in their order; empty ones are left out.

    Raises: RunError: one is too long or has a comma or an unprintable character, or there are too many.
    """
    found = tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    for tag in found:
        if len(tag) > MOST_TAG or "," in tag or not tag.isprintable():
            raise RunError(f"{tag!r} cannot be a tag: use 1 to {MOST_TAG} printable characters, and no comma.")
    if len(found) > MOST_TAGS:
        raise RunError(f"{len(found)} tags are too many for one run: use at most {MOST_TAGS}.")
    return found


def read_notes(run: Run) -> Notes:
    """A run's tags and note; empty where nothing was noted yet, and always the same of a shipped run.

    Raises: RunError: the file is damaged.
    """
    if run.shipped:
        return SHIPPED
    path = _notes_file(run)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError(f"format {FORMAT} is expected")
        tags, note = values["tags"], values["note"]
        if not isinstance(note, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise ValueError("tags must be a list of texts, and the note a text")
        return Notes(clean_tags(tags), note)
    except FileNotFoundError:
        return Notes()
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path}: damaged ({error}). Correct it, or remove it and note again.") from None


def write_notes(run: Run, notes: Notes) -> None:
    """Put these tags and this note in place of the old ones, whole or not at all.

    Raises: RunError: a tag or the note is not allowed, or the run is gone or shipped.
    """
    refuse_shipped(run.path)
    if len(notes.note) > MOST_NOTE:
        raise RunError(f"the note has {len(notes.note):,} characters; keep it within {MOST_NOTE:,}.")
    checked = Notes(clean_tags(notes.tags), notes.note.strip())
    if not run.path.is_dir():  # writing would make a folder that is no run
        raise RunError(f"there is no run {run.name!r} any more; nothing was noted.")
    write_json(_notes_file(run), {"format": FORMAT, **asdict(checked)})


def add_tag(run: Run, tag: str) -> None:
    """Put one more tag on a run; one that it has already stays where it is. Raises: RunError, as `write_notes`."""
    notes = read_notes(run)
    write_notes(run, Notes((*notes.tags, tag), notes.note))


def bin_run(run: Run, state: str) -> Binned:
    """Move a run's folder to the bin, whole.

    Args: state: what `launcher.current_status` says: an active run stays, a lost one may go.
    Raises: RunError: it is active, shipped or being trained at this moment, or its folder is gone or cannot be moved.
    """
    refuse_shipped(run.path)
    if state in ACTIVE:
        raise RunError(f"run {run.name!r} is {state}; stop it on the Train page before you delete it.")
    if not run.path.is_dir():
        raise RunError(f"there is no run {run.name!r} any more; nothing was deleted.")
    place = _bin() / f"{time.time_ns()}.{run.name}"
    try:
        place.parent.mkdir(exist_ok=True)
        # Whoever trains a run holds this lock: with it in hand, nobody resumes the run while it is moved.
        with FileLock(run.path / "lock", timeout=0):
            run.path.rename(place)
    except Timeout:
        raise RunError(f"run {run.name!r} is being trained; stop it on the Train page before you delete it.") from None
    except OSError as error:
        raise RunError(f"run {run.name!r} cannot be moved to {place.parent} ({error.strerror}).") from None
    return Binned(place)


def binned_runs() -> list[Binned]:
    """What is in the bin, the latest first."""
    folders = list(_bin().iterdir()) if _bin().is_dir() else []
    return [Binned(path) for path in sorted(folders, key=_when, reverse=True) if _when(path)]


def restore(binned: Binned) -> Run:
    """Move a run back from the bin, under the name that it had.

    Raises: RunError: another run, or a shipped one, has that name now, or it is no longer in the bin.
    """
    place = runs_folder() / binned.name
    if binned.name in [run.name for run in shipped_runs()]:
        raise RunError(
            f"a run named {binned.name!r} comes with the explorer, and none is restored over it. "
            f"Move {binned.path} to {place}-2 to have it back under another name."
        )
    if place.exists():
        raise RunError(
            f"there is another run named {binned.name!r} now. Delete it, or rename its folder {place}, and try again."
        )
    try:
        binned.path.rename(place)
    except OSError as error:
        raise RunError(f"run {binned.name!r} cannot be restored from {binned.path} ({error.strerror}).") from None
    return Run(place)


def empty_bin() -> int:
    """Delete for good what is in the bin, and return how many runs that were.

    Raises: RunError: one cannot be deleted; the others are gone.
    """
    binned = binned_runs()
    for one in binned:
        if one.path.is_symlink():
            one.path.unlink()
        else:
            shutil.rmtree(one.path, ignore_errors=True)
    left = binned_runs()
    if left:
        raise RunError(f"{left[0].path} cannot be deleted; look at who owns it.")
    return len(binned)


def _notes_file(run: Run) -> Path:
    return run.path / "notes.json"


def _bin() -> Path:
    return runs_folder() / ".bin"  # a run's name has no dot, so that no list of runs shows it


def _when(path: Path) -> int:
    """The time at which it was deleted, in nanoseconds; 0 for what is no deleted run."""
    number, _, name = path.name.partition(".")
    return int(number) if number.isdecimal() and number.isascii() and NAME.fullmatch(name) else 0
