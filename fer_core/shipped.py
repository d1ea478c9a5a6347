"""Runs that come with the explorer: whole run folders in `fer_core/weights`, read like any run and never written.

`runs.find_run` finds them by name after the user's own runs; `benchmarks.ship` puts them there.
"""

from pathlib import Path

from fer_core.errors import RunError
from fer_core.settings import settings

DEFAULT_RUN = "fer2013-small"
"""Predicts where no run is named."""


def is_shipped(path: Path) -> bool:
    """Whether this is the folder of a shipped run; one with a dot before its name is only being made."""
    return path.parent.resolve() == settings().shipped.resolve() and not path.name.startswith(".")


def refuse_shipped(path: Path) -> None:
    """Raises: RunError: this is the folder of a shipped run, which stays as it is."""
    if is_shipped(path):
        raise RunError(
            f"run {path.name!r} comes with the explorer and stays as it is; train one of your own to change."
        )
