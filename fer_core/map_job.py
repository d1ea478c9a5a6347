"""Start, watch and stop the making of a map of all faces: a detached `python -m fer_core map` that outlives the app.

What is done lies beside the features (`feature_file.features_folder`): a job that was stopped or lost goes on from its
last finished step. This module reaches torch and scikit-learn by a process, never by import.

features_folder/features.npz, points.npz, map.npz   what the steps have made
                status.json, stop, map.log          what the job says, what it is told, what it printed
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from fer_core.data import SAMPLE, FaceStore
from fer_core.errors import FerError, RunError
from fer_core.face_map import MapSettings
from fer_core.feature_file import features_folder
from fer_core.files import write_json
from fer_core.runs import Run
from fer_core.worker import is_alive, start_worker

FORMAT = 1
"""Format number of `status.json`."""
STATES = ("none", "queued", "running", "stopping", "stopped", "done", "failed", "lost")
"""A job's life. `none`, `stopping` and `lost` are never written: they are what a reader calls what it finds."""
ACTIVE = ("queued", "running", "stopping")
STEPS = ("features", "components", "t-SNE")

_STARTING_S = 60
"""A queued job that no process has claimed for so long never will be."""
_SILENT_S = 1800
"""Finding the neighbours of all faces says nothing until it is done, and a busy machine makes it ten times as long."""
_HEARTBEAT_S = 1.0


class MapStopped(Exception):
    """Somebody asked the job to stop."""


@dataclass(frozen=True)
class MapStatus:
    """What the making of a map is doing. Times are seconds since the epoch."""

    state: str = "none"
    step: str = ""
    """One of `STEPS`."""
    share: float = 0.0
    """Share of this step that is done, 0..1."""
    message: str = ""
    """One line for a person: how far it is, or what failed."""
    faces: int | None = None
    """How many faces the map shall show; None: all."""
    pid: int | None = None
    process_started: float | None = None
    """With `pid`, tells this process from a later one that was given the same number."""
    heartbeat: float = 0.0
    created: float = field(default_factory=time.time)


def map_status(run: Run, store: FaceStore) -> MapStatus:
    """The job as it is now: what it wrote, or `stopping`, or `lost` where its process is gone without a word.

    Raises: RunError: the run has no weights.
    """
    return _status_in(features_folder(run, store))


def start_map(run: Run, store: FaceStore, settings: MapSettings | None = None) -> MapStatus:
    """Start one process that makes the map. Where one is at work already, it is left to its work.

    Raises: RunError: the run has no weights.
    """
    folder = features_folder(run, store)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".start.lock"):
        status = _status_in(folder)
        if status.state in ACTIVE:
            return status
        settings = settings or MapSettings()
        (folder / "stop").unlink(missing_ok=True)
        status = MapStatus("queued", message="starting", faces=settings.faces, heartbeat=time.time())
        _write(folder, status)
        start_worker(map_command(run, store, settings), folder / "map.log")
    return status


def stop_map(run: Run, store: FaceStore) -> None:
    """Ask the job to stop; it ends within seconds, and the steps that it has finished stay.

    Raises: RunError: it is not at work.
    """
    folder = features_folder(run, store)
    status = _status_in(folder)
    if status.state not in ACTIVE:
        raise RunError(f"the map of run {run.name!r} is not being made ({status.state}); there is nothing to stop.")
    (folder / "stop").touch()
    if status.pid is not None and _is_alive(status):  # t-SNE looks for the file only now and then
        with suppress(psutil.NoSuchProcess):
            psutil.Process(status.pid).terminate()


class MapJob:
    """The worker's side: says how far it is, and learns that it shall stop."""

    def __init__(self, folder: Path, status: MapStatus) -> None:
        self._folder, self._status, self._written = folder, status, 0.0

    def report(self, step: str, share: float, message: str) -> None:
        """Write this into the status, at most each second. Raises: MapStopped: somebody asked for that."""
        if (self._folder / "stop").exists():
            raise MapStopped
        new_step = step != self._status.step
        self._status = replace(self._status, step=step, share=share, message=message)
        if new_step or time.monotonic() - self._written > _HEARTBEAT_S:
            self.write()

    def write(self, **values: object) -> None:
        self._status = replace(self._status, heartbeat=time.time(), **values)  # type: ignore[arg-type]
        _write(self._folder, self._status)
        self._written = time.monotonic()


@contextmanager
def at_work(run: Run, store: FaceStore, settings: MapSettings) -> Iterator[MapJob]:
    """Make this process the one that makes the map; its end is written into the status, and passed on.

    Raises: RunError: another process is at it, or the run has no weights. MapStopped: somebody asked it to stop.
    """
    folder = features_folder(run, store)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")  # held by the process, so that the kernel frees it in a crash
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"the map of run {run.name!r} is being made by another process.") from None
    process = psutil.Process()
    own = {"pid": process.pid, "process_started": process.create_time(), "faces": settings.faces}
    try:
        with FileLock(folder / ".start.lock"):
            if _status_in(folder).state not in ACTIVE:  # a stop file that is left over from an earlier job
                (folder / "stop").unlink(missing_ok=True)
            job = MapJob(folder, MapStatus("running", **own))  # type: ignore[arg-type]
            job.write()
        yield from _ended(job)
        (folder / "stop").unlink(missing_ok=True)
    finally:
        lock.release()


def _ended(job: MapJob) -> Iterator[MapJob]:
    """How the work ended. What nobody foresaw is not written: a reader sees that the process is gone."""
    try:
        yield job
    except MapStopped:
        job.write(state="stopped", message="stopped; what is finished is kept")
        raise
    except (FerError, OSError, MemoryError) as error:
        job.write(state="failed", message=str(error) or type(error).__name__)
        raise
    job.write(state="done", share=1.0, message="")


def map_command(run: Run, store: FaceStore, settings: MapSettings) -> list[str]:
    """The command line that makes this map."""
    data = SAMPLE if store.kind == "sample" else store.source
    chosen = {} if settings.faces is None else {"faces": settings.faces}
    values = {"data": data, "perplexity": settings.perplexity, "seed": settings.seed, **chosen}
    flags = [part for name, value in values.items() for part in (f"--{name}", str(value))]
    return [sys.executable, "-m", "fer_core", "map", str(run.path.resolve()), *flags]


def _status_in(folder: Path) -> MapStatus:
    status = _read(folder)
    if status.state not in ACTIVE:
        return status
    stopping = (folder / "stop").exists()
    if _is_lost(status):
        latest = _read(folder)  # it may have ended by itself between the first look and the one at its process
        if latest.state not in ACTIVE:
            return latest
        if stopping:
            return replace(status, state="stopped", message="stopped; what is finished is kept")
        return replace(status, state="lost", message=f"its process is gone; start it again, or see {folder}/map.log")
    return replace(status, state="stopping") if stopping else status


def _read(folder: Path) -> MapStatus:
    """What the job last wrote; of what cannot be read, that there is none: the next start writes it anew."""
    try:
        values = json.loads((folder / "status.json").read_text())
        return MapStatus(**values) if values.pop("format", None) == FORMAT else MapStatus()
    except (OSError, ValueError, TypeError, AttributeError):
        return MapStatus()


def _write(folder: Path, status: MapStatus) -> None:
    write_json(folder / "status.json", {"format": FORMAT, **asdict(status)})


def _is_lost(status: MapStatus) -> bool:
    silent_s = time.time() - status.heartbeat
    if status.pid is None:
        return silent_s > _STARTING_S
    return not _is_alive(status) or silent_s > _SILENT_S


def _is_alive(status: MapStatus) -> bool:
    return is_alive(status.pid, status.process_started)
