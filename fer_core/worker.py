"""Processes of our own that outlive the app: started detached, and told from a later one of the same number."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from fer_core.runs import runs_folder
from fer_core.settings import settings

_NICE = 5
"""A worker yields to whoever else wants the processor: the app stays quick while it trains."""
_SAME_PROCESS_S = 1.0
"""Two readings of one process's start time may differ by rounding."""


def start_worker(command: Sequence[str], log: Path) -> None:
    """Run a command detached, with the app's folders; what it prints is added to the log."""
    places = {"RUNS": runs_folder(), "CACHE": settings().cache, "SHIPPED": settings().shipped}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            cwd=Path(__file__).parent.parent,  # so that `-m fer_core` finds this package, wherever the app was started
            env={**os.environ, **{f"FER_{name}": str(path.resolve()) for name, path in places.items()}},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    if os.name == "posix":
        with suppress(psutil.NoSuchProcess):
            psutil.Process(process.pid).nice(min(19, psutil.Process().nice() + _NICE))


def is_alive(pid: int | None, started: float | None) -> bool:
    """Whether this very process still runs: not a zombie, and not a later process with the same number.

    Args: started: its start time as `psutil` tells it, in seconds since the epoch.
    """
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - (started or 0)) < _SAME_PROCESS_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
