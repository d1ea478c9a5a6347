"""One tree for everything a user can get wrong: each message is one line that says what to do."""

from collections.abc import Sequence

_NAMED = 3


def first_few(problems: Sequence[str], what: str) -> str:
    """The first three problems, and where there are more, how many bad `what` there are in all."""
    more = f"; {len(problems)} bad {what} in all" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more


class FerError(ValueError):
    """A mistake in what we were given. The command line prints it and exits with code 2; a page shows it."""


class ConfigError(FerError):
    """A setting that is unknown, out of bounds, or does not fit the others."""


class DataError(FerError):
    """A data source that is missing, damaged, or not in a layout we read."""


class SomeFailed(FerError):
    """Some of many things failed, each told already; the others are done. The command line exits with code 1."""


class RunError(FerError):
    """A run that is missing, damaged, busy, or cannot answer what was asked."""
