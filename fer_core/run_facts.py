"""One run as facts: its settings, state and figures, judged and noted, in one object that a table can keep.

Figures are shares in 0..1. Public ones are those of the epoch that was kept, private ones are read from the run's
predictions, as are both of an ensemble, which has no epochs.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fer_core.config import RunConfig
from fer_core.ensemble_file import Ensemble, read_ensemble
from fer_core.errors import RunError
from fer_core.evaluate import Report, wilson_interval
from fer_core.predictions import report_on
from fer_core.run_shelf import Notes, read_notes
from fer_core.runs import EpochRecord, Run, Status, all_runs, shipped_runs

Stamp = tuple[tuple[int, ...], ...]
"""Time of change and size of each file that a row is made from: equal stamps, equal row."""

_FILES = (
    "config.json", "status.json", "history.jsonl", "environment.json", "notes.json", "predictions.npz", "ensemble.json",
)  # fmt: skip

_T = TypeVar("_T")


@dataclass(frozen=True)
class Kind:
    """What a run was judged on. Figures of different kinds say nothing about each other."""

    data: str
    """`FER2013`, `sample`, or the name of another source."""
    labels: str
    """`fer` or `majority`, as `labelling.judged_by` has it; with `, 7 emotions` where contempt was left out."""

    @property
    def title(self) -> str:
        return self.data if self.labels == "fer" else f"{self.data}, FER+ {self.labels}"


@dataclass(frozen=True)
class Figures:
    """How good a run is on one split."""

    accuracy: float
    macro_f1: float
    log_loss: float
    n: int | None = None
    ci95: tuple[float, float] | None = None
    """Wilson score interval of the accuracy; None where it is not known how many faces there were."""
    report: Report | None = None
    """All figures; None where they are read from the history, as on public."""


@dataclass(frozen=True)
class Facts:
    """All that the table says of one run."""

    run: Run
    config: RunConfig
    status: Status
    kind: Kind | None
    """None until the training has looked at its data."""
    public: Figures | None
    private: Figures | None
    """None unless the training has come to its end, or that of every member of an ensemble."""
    splits: tuple[str, ...]
    """Those that it has predictions on, for the Compare and Mistakes pages."""
    notes: Notes
    parameters: int | None
    wall_s: float | None
    images_per_s: float | None
    """Median over the epochs."""
    ensemble: Ensemble | None = None
    """What it is made of, where its answers are the mean of other runs'; `config` is then that of the first of them."""
    problem: str = ""
    """What could not be read, in one line; the rest is shown all the same."""

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def recipe(self) -> str:
        """The recipe, or without one the net; of an ensemble, of how many."""
        if self.ensemble is not None:
            return self.ensemble.title
        return self.config.recipe or self.config.model

    @property
    def best(self) -> Figures | None:
        """The private figures, or where there are none the public ones."""
        return self.private or self.public


def run_stamps() -> dict[Run, Stamp]:
    """Of every run, whether it can be read or not: the user's by name, then the shipped ones."""
    return {run: tuple(_stamp(run.path / name) for name in _FILES) for run in (*all_runs(), *shipped_runs())}


def read_facts(run: Run) -> Facts:
    """Read a run, and judge its answers on private.

    Raises: RunError: its configuration, status or history cannot be read; any other damage is told in `problem`.
    """
    config, status, history = run.config(), run.status(), run.history()
    problems: list[str] = []
    environment: dict[str, Any] = _unless_damaged(run.environment, {}, problems)
    splits: tuple[str, ...] = _unless_damaged(run.splits, (), problems)
    ensemble = _unless_damaged(lambda: read_ensemble(run), None, problems)
    notes = _unless_damaged(lambda: read_notes(run), Notes(), problems)
    data = environment.get("data", {})

    def judged(split: str) -> Figures | None:
        return _unless_damaged(lambda: _judged(run, split), None, problems) if split in splits else None

    return Facts(
        run=run,
        config=config,
        status=status,
        kind=_kind(data, config) if data else None,
        public=judged("public") if ensemble else _public(history, config, _n_public(data)),
        private=judged("private"),
        splits=splits,
        notes=notes,
        parameters=environment.get("parameters"),
        wall_s=history[-1].wall_s if history else None,
        images_per_s=statistics.median(one.images_per_s for one in history) if history else None,
        ensemble=ensemble,
        problem=" ".join(problems),
    )


def accuracy_by_view(run: Run) -> dict[str, float]:
    """Private accuracy by each further test-time view that a run was judged by; none of them is `Facts.private`.

    Raises: RunError: its predictions are damaged.
    """
    views = [view for view in run.views("private") if view != "none"]
    return {view: report_on(run.predictions("private", view)).accuracy for view in views}


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size


def _unless_damaged(read: Callable[[], _T], otherwise: _T, problems: list[str]) -> _T:
    try:
        return read()
    except RunError as error:
        problems.append(str(error))
        return otherwise


def _kind(data: dict[str, Any], config: RunConfig) -> Kind:
    source = str(data.get("source", config.data or ""))
    name = "FER2013" if data.get("is_fer2013") else Path(source).name or source
    labels = str(data.get("judged_by", "fer"))
    return Kind(name, labels if labels == "fer" or config.contempt else f"{labels}, 7 emotions")


def _public(history: Sequence[EpochRecord], config: RunConfig, n: int) -> Figures | None:
    """Of the epoch that was kept: the first one with the best value of the selection metric."""
    if not history:
        return None
    signs = {"accuracy": ("public_accuracy", 1), "macro_f1": ("public_macro_f1", 1), "loss": ("public_loss", -1)}
    field, sign = signs[config.select_by]
    kept = max(history, key=lambda one: sign * getattr(one, field))
    accuracy = kept.public_accuracy
    interval = wilson_interval(round(accuracy * n), n) if n else None
    return Figures(accuracy, kept.public_macro_f1, kept.public_loss, n or None, interval)


def _n_public(data: dict[str, Any]) -> int:
    return sum(data.get("counts", {}).get("public", {}).values())


def _judged(run: Run, split: str) -> Figures:
    report = report_on(run.predictions(split))
    return Figures(report.accuracy, report.macro_f1, report.log_loss, report.n, report.accuracy_ci95, report)
