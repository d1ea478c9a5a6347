"""A study's trainings in the app's own queue: what is new is begun, what ended early goes on."""

from collections.abc import Sequence

from fer_core import launcher
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.runs import list_runs


def queue(named: Sequence[tuple[str, RunConfig]]) -> int:
    """Put trainings into the queue of the runs folder; they go on detached, one after the other.

    Args: named: name and configuration of each. One whose folder is there is not begun anew.
    Returns: how many were begun or resumed. Raises: RunError: all of them are done, or at work.
    """
    there = {run.name: run for run in list_runs()}
    new = [(name, config) for name, config in named if name not in there]
    known = [there[name] for name, _ in named if name in there]
    halted = [run for run in known if launcher.current_status(run).state not in ("done", *launcher.ACTIVE)]
    if not new and not halted:
        raise RunError(
            f"every training from {named[0][0]} to {named[-1][0]} is done or at work; go on with the report."
        )
    if halted:
        launcher.resume(*halted)
    if new:
        launcher.start(new)
    return len(new) + len(halted)
