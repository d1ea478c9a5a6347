"""What makes a run an ensemble: whose answers were averaged, and how, in one file beside them.

runs/NAME/ensemble.json   members, average, the prior that the mean carries, what differs between the members
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fer_core.catalog import AVERAGES, check_name
from fer_core.errors import ConfigError, RunError
from fer_core.files import write_json
from fer_core.runs import Run

FORMAT = 1
"""Format number of `ensemble.json`."""
FEWEST = 2
"""Members of an ensemble, at least."""


@dataclass(frozen=True)
class Ensemble:
    """Where an ensemble's answers come from. They lie in its own `predictions.npz`, so that its members may go."""

    members: tuple[str, ...]
    """Names of the runs; of chosen ones in the order in which they were chosen."""
    average: str
    """One of `catalog.AVERAGES`."""
    prior: Mapping[str, float] | None
    """Share of each class in the prior that the mean carries, summing to 1; None where a member's is not known."""
    differs: Mapping[str, tuple[Any, ...]]
    """Setting -> its value in each member, of the settings that are not the same in all of them."""
    chosen_from: tuple[str, ...] = ()
    """The runs that the members were chosen from, on public; empty where a person named the members."""
    public_accuracy: tuple[float, ...] = ()
    """Of chosen members: the mean's accuracy on public with the first one, with the first two and so on."""

    def __post_init__(self) -> None:
        """Raises: ConfigError: a name that is not known, or numbers that do not fit the members."""
        check_name("average", self.average, AVERAGES)
        if len(set(self.members)) < max(FEWEST, len(self.members)):
            raise ConfigError(f"{len(self.members)} members; at least {FEWEST} are needed, each of them once.")
        if any(len(values) != len(self.members) for values in self.differs.values()):
            raise ConfigError("a setting that differs has not one value for each member.")
        if self.prior is not None and not _are_shares(self.prior):
            raise ConfigError("the prior is not a set of shares that sum to 1.")
        if len(self.public_accuracy) != (len(self.members) if self.chosen_from else 0):
            raise ConfigError("a choice has one accuracy for each member.")

    @property
    def title(self) -> str:
        return f"ensemble of {len(self.members)}"

    @property
    def words(self) -> str:
        """What it is, in one line."""
        return f"{self.title}: {', '.join(self.members)}; mean of {self.average}"


def is_ensemble(run: Run) -> bool:
    """Whether a run's answers are the mean of other runs'; its settings are then those of the first of them."""
    return _file(run).exists()


def read_ensemble(run: Run) -> Ensemble | None:
    """What the run is made of; None for one that was trained. Raises: RunError: the file is damaged."""
    path = _file(run)
    try:
        return _parsed(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path}: damaged ({error}). Delete the ensemble, and make it again.") from None


def write_ensemble(run: Run, ensemble: Ensemble) -> None:
    write_json(_file(run), {"format": FORMAT, **asdict(ensemble)})


def refuse_ensemble(run: Run) -> None:
    """Raises: RunError: this run has no weights that could be trained or asked, for it is an ensemble, or damaged."""
    found = read_ensemble(run)
    if found is not None:
        raise RunError(
            f"run {run.name!r} is an {found.title} runs, which has no weights of its own. Name one of its members: "
            f"{', '.join(found.members)}."
        )


def _parsed(values: Any) -> Ensemble:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"format {FORMAT} is expected")
    prior = values["prior"]
    return Ensemble(
        members=_texts(values["members"]),
        average=values["average"],
        prior=None if prior is None else {str(name): float(share) for name, share in prior.items()},
        differs={name: tuple(map(_frozen, members)) for name, members in values["differs"].items()},
        chosen_from=_texts(values["chosen_from"]),
        public_accuracy=tuple(float(share) for share in values["public_accuracy"]),
    )


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("a list of names is expected")
    return tuple(values)


def _frozen(value: Any) -> Any:
    """A setting's value as `RunConfig` has it: JSON knows no tuples."""
    return tuple(value) if isinstance(value, list) else value


def _are_shares(prior: Mapping[str, float]) -> bool:
    return all(share >= 0 for share in prior.values()) and math.isclose(sum(prior.values()), 1, abs_tol=1e-6)


def _file(run: Run) -> Path:
    return run.path / "ensemble.json"
