"""Start, watch, stop and resume trainings that outlive the app: each is a detached `python -m fer_core train`.

This module reaches training by a process, never by import.
"""

import shutil
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import psutil
from filelock import FileLock, Timeout

from fer_core import catalog
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.runs import ACTIVE, Run, Status, create_run, list_runs, runs_folder
from fer_core.worker import is_alive, start_worker

_STARTING_S = 60
"""A queued run that no process has claimed for so long never will be."""
_SILENT_S = 600
"""A running loop writes its heartbeat with each batch, and is silent only while it opens data and fetches weights."""
_OVERHEAD_S = 4
"""Imports, opening the data, and the last evaluation."""
_WITH_EVALUATION = 1.1
_TYPICAL_SIDE = 48
"""The side, in pixels, of which the catalog's speeds speak."""
_TYPICAL_IMAGES_PER_S = 200
_TURN_POLL_S = 0.5


def start(named: Sequence[tuple[str, RunConfig]]) -> list[Run]:
    """Write a queued run for each (name, configuration) and start one worker that trains them in turn.

    Raises: RunError: a name is taken, or a run with the very same settings is active (a double click, a second tab).
    """
    runs_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(runs_folder() / ".start.lock"):
        _refuse_twins([config for _, config in named])
        runs = _create_all(named)
        _start_worker(runs)
    return runs


def _create_all(named: Sequence[tuple[str, RunConfig]]) -> list[Run]:
    """All of these runs, or none of them. Raises: RunError: a name is taken."""
    runs: list[Run] = []
    try:
        for name, config in named:
            runs.append(create_run(config, name))
    except RunError:
        for run in runs:
            shutil.rmtree(run.path)
        raise
    return runs


def _refuse_twins(configs: Sequence[RunConfig]) -> None:
    for run in active_runs():
        if run.config() in configs:
            raise RunError(
                f"run {run.name!r} has the very same settings and is {current_status(run).state}; "
                "wait for it, or change something, for example the seed."
            )


def resume(*runs: Run) -> None:
    """Go on with runs that are stopped, failed or lost, one after the other in one worker.

    Raises: RunError: one of them is active, or done.
    """
    for run in runs:
        make_ready(run)
    _start_worker(runs)


def make_ready(run: Run) -> None:
    """Queue a run that is stopped, failed or lost again. Raises: RunError: it is active, or done."""
    status = current_status(run)
    unclaimed = status.state == "queued" and status.pid is None
    if status.state == "done" or (status.state in ACTIVE and not unclaimed):
        raise RunError(f"run {run.name!r} is {status.state}; only a stopped, failed or lost run can be resumed.")
    run.requeue()


def stop(run: Run) -> None:
    """Ask a run to stop: at its next batch it writes a checkpoint and ends; a queued one is not begun.

    Raises: RunError: it is not active.
    """
    state = current_status(run).state
    if state not in ACTIVE:
        raise RunError(f"run {run.name!r} is {state}; there is nothing to stop.")
    run.stop_file.touch()


def terminate(run: Run) -> None:
    """End a run's process at once, when `stop` is not heard. What came after its last checkpoint is lost.

    Raises: RunError: its process is gone, or the number now belongs to another process, which is left alone.
    """
    status = run.status()
    if not _is_alive(status):
        raise RunError(f"run {run.name!r} has no living process.")
    psutil.Process(status.pid).terminate()


def current_status(run: Run) -> Status:
    """The run's status as it is now: what it wrote, or `stopping`, or `lost` where its process is gone."""
    status = run.status()
    if status.state not in ACTIVE:
        return status
    if _is_lost(status):
        latest = run.status()  # it may have ended by itself between the first look and the one at its process
        if latest.state not in ACTIVE:
            return latest
        return replace(status, state="lost", message="its process is gone; resume it from its last epoch")
    return replace(status, state="stopping") if run.stop_file.exists() else status


def active_runs() -> list[Run]:
    """The runs that are queued, running or stopping now, the running one first."""
    states = [(run, current_status(run).state) for run in list_runs()]
    active = [(run, state) for run, state in states if state in ACTIVE]
    return [run for run, state in sorted(active, key=lambda pair: (pair[1] == "queued", pair[0].name))]


def estimate_s(config: RunConfig, train_faces: int) -> float:
    """About how long a training takes, in seconds: by the speed of this net's latest run here, else a typical one."""
    assert config.epochs is not None, "the configuration is resolved"
    speeds = (_typical_speed(run) for run in list_runs() if _tells_speed_of(run, config))
    speed = next(speeds, None) or _guess(config)
    return _OVERHEAD_S + config.epochs * train_faces / speed * _WITH_EVALUATION


def _typical_speed(run: Run) -> float:
    """The median epoch's: one during which the machine was busy elsewhere does not count."""
    return statistics.median(record.images_per_s for record in run.history())


def _tells_speed_of(run: Run, config: RunConfig) -> bool:
    """The same net on the same device, with as much work for each face."""
    other = run.config()
    names = ("model", "device", "image_size", "freeze_until")
    return bool(run.history()) and all(getattr(other, name) == getattr(config, name) for name in names)


def _guess(config: RunConfig) -> float:
    """Faces a second of a net that has never been trained here: the work grows with the area of a face."""
    entry = catalog.MODELS.get(config.model)  # a run's own net may not be loaded
    area = ((config.image_size or _TYPICAL_SIDE) / _TYPICAL_SIDE) ** 2
    return (entry.typical_images_per_s if entry else _TYPICAL_IMAGES_PER_S) / max(1.0, area)


@contextmanager
def turn(runs: Sequence[Run]) -> Iterator[None]:
    """Hold the one place for a queued worker's training in the runs folder; wait for it as long as it takes.

    The lock is held by the process, so that the kernel frees it in a crash. Waiting ends early when all of `runs` have
    been asked to stop.
    """
    lock = FileLock(runs_folder() / ".turn.lock")
    while not all(run.stop_file.exists() for run in runs):
        try:
            lock.acquire(timeout=_TURN_POLL_S)
            break
        except Timeout:
            continue
    try:
        yield
    finally:
        lock.release()


def worker_command(runs: Sequence[Run]) -> list[str]:
    """The command line of the process that trains these runs in turn."""
    names = [part for run in runs for part in ("--resume", run.name)]
    return [sys.executable, "-m", "fer_core", "train", "--queue", *names]


def _is_lost(status: Status) -> bool:
    silent_s = time.time() - status.heartbeat
    if status.pid is None:
        return silent_s > _STARTING_S
    return not _is_alive(status) or (status.state == "running" and silent_s > _SILENT_S)


def _is_alive(status: Status) -> bool:
    return is_alive(status.pid, status.process_started)


def _start_worker(runs: Sequence[Run]) -> None:
    start_worker(worker_command(runs), runs[0].path / "train.log")
