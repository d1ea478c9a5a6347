"""Many runs as the rows of one table: what differed, how good each was, and what others published.

Figures are shares in 0..1. Public ones are those of the epoch that was kept, private ones are read from the run's
predictions; choosing between runs belongs on public.
"""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from fer_core.augmentations import BUILT_IN
from fer_core.catalog import DEFAULT_LEARNING_RATES, FER2013_REFERENCES, FERPLUS_REFERENCES, Reference
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.evaluate import Report, wilson_interval
from fer_core.predictions import report_on
from fer_core.recipes import RECIPES
from fer_core.run_shelf import Notes, read_notes
from fer_core.runs import NAME, EpochRecord, Run, Status, runs_folder

PUBLISHED = "published"
"""Stands as the state of a row that is no run of ours."""

Stamp = tuple[tuple[int, ...], ...]
"""Time of change and size of each file that a row is made from: equal stamps, equal row."""

_FILES = ("config.json", "status.json", "history.jsonl", "environment.json", "notes.json", "predictions.npz")
_OWN_COLUMNS = frozenset({"recipe", "data", "ferplus", "epochs"})
"""Settings that have a column of their own, or that are told by what the run was judged on."""
_NOT_NOTEWORTHY = frozenset({"tensorboard", "views"})
"""Settings that cannot change how good a net is."""
_LONGEST = 48
"""Characters of a setting's value that are shown."""


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
    """All figures; None on public, which is read from the history."""


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
    """None unless the training has come to its end."""
    splits: tuple[str, ...]
    """Those that it has predictions on, for the Compare and Mistakes pages."""
    notes: Notes
    parameters: int | None
    wall_s: float | None
    images_per_s: float | None
    """Median over the epochs."""
    problem: str = ""
    """What could not be read, in one line; the rest is shown all the same."""

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def recipe(self) -> str:
        """The recipe, or without one the net."""
        return self.config.recipe or self.config.model

    @property
    def best(self) -> Figures | None:
        """The private figures, or where there are none the public ones."""
        return self.private or self.public


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody else reports, on private."""

    title: str
    accuracy: float
    kind: Kind
    recipe: str = ""
    """Which recipe of ours is made after it."""


def run_stamps() -> dict[Run, Stamp]:
    """Every folder of the runs folder that holds a run, whether it can be read or not, by name."""
    folders = sorted(runs_folder().iterdir()) if runs_folder().is_dir() else []
    stamps = {Run(path): tuple(map(_stamp, (path / name for name in _FILES))) for path in folders if _named(path)}
    return {run: stamp for run, stamp in stamps.items() if all(stamp[:2])}


def read_facts(run: Run) -> Facts:
    """Read a run, and judge its answers on private.

    Raises: RunError: its configuration, status or history cannot be read; any other damage is told in `problem`.
    """
    config, status, history = run.config(), run.status(), run.history()
    problems: list[str] = []
    environment = _unless_damaged(run.environment, {}, problems)
    splits = _unless_damaged(run.splits, (), problems)
    private = _unless_damaged(lambda: _private(run), None, problems) if "private" in splits else None
    notes = _unless_damaged(lambda: read_notes(run), Notes(), problems)
    data = environment.get("data", {})
    return Facts(
        run=run,
        config=config,
        status=status,
        kind=_kind(data, config) if data else None,
        public=_public(history, config, sum(data.get("counts", {}).get("public", {}).values())),
        private=private,
        splits=splits,
        notes=notes,
        parameters=environment.get("parameters"),
        wall_s=history[-1].wall_s if history else None,
        images_per_s=statistics.median(one.images_per_s for one in history) if history else None,
        problem=" ".join(problems),
    )


def accuracy_by_view(run: Run) -> dict[str, float]:
    """Private accuracy by each further test-time view that a run was judged by; none of them is `Facts.private`.

    Raises: RunError: its predictions are damaged.
    """
    views = [view for view in run.views("private") if view != "none"]
    return {view: report_on(run.predictions("private", view)).accuracy for view in views}


def best_first(facts: Iterable[Facts]) -> list[Facts]:
    """By public accuracy, the highest first; the kind that most runs were judged on comes first, unjudged runs last."""
    runs = list(facts)
    sizes = Counter(one.kind for one in runs)

    def place(one: Facts) -> tuple[Any, ...]:
        title = one.kind.title if one.kind else ""
        return one.public is None, -sizes[one.kind], title, -one.public.accuracy if one.public else 0, one.name

    return sorted(runs, key=place)


def matching(facts: Iterable[Facts], text: str, tags: Iterable[str] = ()) -> list[Facts]:
    """The runs that have every word of `text` somewhere in what the table says of them, and every one of the tags."""
    words, wanted = text.casefold().split(), set(tags)
    return [one for one in facts if wanted <= set(one.notes.tags) and all(word in _words_of(one) for word in words)]


def differing(facts: Sequence[Facts]) -> dict[str, str]:
    """Name -> the settings that are not the same in all of these runs and that this one has set: `lr 0.01 · seed 2`.

    Settings that a run has from its recipe (or from the defaults) are left out: the recipe stands beside them.
    """
    dumps = {one.name: _settings(one.config) for one in facts}
    varied = _varied(list(dumps.values()))
    return {
        one.name: " · ".join(_phrase(name, value) for name, value in _set_by_hand(one.config).items() if name in varied)
        for one in facts
    }


def in_common(facts: Sequence[Facts]) -> str:
    """The settings that all of these runs have set alike, as in `differing`; empty for one run."""
    if len(facts) < 2:
        return ""
    first, *others = (_set_by_hand(one.config) for one in facts)
    same = {name: value for name, value in first.items() if all(one.get(name) == value for one in others)}
    return " · ".join(_phrase(name, value) for name, value in same.items())


def kinds_of(facts: Iterable[Facts]) -> list[Kind]:
    """What these runs were judged on, the most frequent first."""
    counts = Counter(one.kind for one in facts if one.kind and one.best)
    return [kind for kind, _ in counts.most_common()]


def published(kinds: Iterable[Kind]) -> list[Published]:
    """What others report on these kinds of data and labels, the highest first; FER2013 alone has any."""
    rows = [one for kind in kinds if kind.data == "FER2013" for one in _published_on(kind)]
    return sorted(rows, key=lambda one: -one.accuracy)


def table_rows(facts: Sequence[Facts], others: Sequence[Published] = ()) -> list[dict[str, Any]]:
    """One dict a row, all with the same keys: the runs in their order, then the published figures."""
    differs = differing(facts)
    empty = dict.fromkeys(_row(facts[0], "")) if facts else {}
    references: list[dict[str, Any]] = [
        {
            **empty, "name": one.title, "state": PUBLISHED, "recipe": one.recipe, "differs": "", "note": "", "tags": [],
            "judged_on": one.kind.title, "private_accuracy": one.accuracy,
        }
        for one in others
    ]  # fmt: skip
    return [_row(one, differs[one.name]) for one in facts] + references


def _row(one: Facts, differs: str) -> dict[str, Any]:
    public, private = one.public, one.private
    report = private.report if private else None
    dedup = report.dedup if report else None
    return {
        "name": one.name,
        "state": one.status.state,
        "recipe": one.recipe,
        "differs": differs,
        "tags": list(one.notes.tags),
        "note": one.notes.note.partition("\n")[0],
        "public_accuracy": public.accuracy if public else None,
        "public_macro_f1": public.macro_f1 if public else None,
        "private_accuracy": private.accuracy if private else None,
        "private_macro_f1": private.macro_f1 if private else None,
        "without_copies": dedup.accuracy if dedup else None,
        "n": private.n if private else None,
        "balanced_accuracy": report.balanced_accuracy if report else None,
        "log_loss": private.log_loss if private else None,
        "ece": report.ece if report else None,
        "judged_on": one.kind.title if one.kind else "",
        "epochs": f"{one.status.epoch}/{one.config.epochs or '?'}",
        "wall_min": one.wall_s / 60 if one.wall_s is not None else None,
        "images_per_s": one.images_per_s,
        "parameters": one.parameters / 1e6 if one.parameters else None,
        "created": datetime.fromtimestamp(one.status.created),
    }


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_mtime_ns, found.st_size


def _named(path: Path) -> bool:
    return NAME.fullmatch(path.name) is not None


def _unless_damaged(read: Any, otherwise: Any, problems: list[str]) -> Any:
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


def _private(run: Run) -> Figures:
    # The one place that reads predictions.
    report = report_on(run.predictions("private"))
    return Figures(report.accuracy, report.macro_f1, report.log_loss, report.n, report.accuracy_ci95, report)


def _words_of(one: Facts) -> str:
    settings = (f"{_title(name)} {_value(value)}" for name, value in _set_by_hand(one.config).items())
    kind = one.kind.title if one.kind else ""
    return " ".join((one.name, one.recipe, one.config.model, one.status.state, kind, *one.notes.tags, one.notes.note,
                     *settings)).casefold()  # fmt: skip


def _settings(config: RunConfig) -> dict[str, Any]:
    return {name: value for name, value in config if name not in _OWN_COLUMNS | _NOT_NOTEWORTHY}


def _set_by_hand(config: RunConfig) -> dict[str, Any]:
    """The settings that are not the recipe's own, nor what its optimizer and its augmentation bring along."""
    start = dict(_start(config.recipe))
    if start["lr"] is None:
        start["lr"] = DEFAULT_LEARNING_RATES[config.optimizer]
    if config.augment in BUILT_IN:
        own = BUILT_IN[config.augment].augmentation
        start |= {"augment_steps": own.texts(), "augment_share": own.share}
    if config.recipe is None:  # then the net's name stands in the recipe's place
        start["model"] = config.model
    return {name: value for name, value in _settings(config).items() if value not in (None, start[name])}


@cache
def _start(recipe: str | None) -> dict[str, Any]:
    return dict(RunConfig(recipe=recipe))


def _varied(dumps: Sequence[dict[str, Any]]) -> set[str]:
    """The settings that are not the same in all. An augmentation's steps count only where its name does not tell."""
    varied = {name for name in (dumps[0] if dumps else ()) if any(one[name] != dumps[0][name] for one in dumps)}
    for name in ("augment_steps", "augment_share"):
        if len({(one["augment"], one[name]) for one in dumps}) == len({one["augment"] for one in dumps}):
            varied.discard(name)
    return varied


def _phrase(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return _title(name) if value else f"no {_title(name)}"
    return f"{_title(name)} {_value(value)}"


def _title(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple) else f"{value:g}" if _is_number(value) else str(value)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _is_number(value: Any) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _published_on(kind: Kind) -> list[Published]:
    """Each recipe's own figure, and what the catalog knows besides."""
    if kind.labels not in ("fer", "majority"):
        return []
    by_votes = kind.labels == "majority"
    recipes = {
        name: one.published
        for name, one in RECIPES.items()
        if one.published and (one.settings.get("labels", "fer") != "fer") == by_votes
    }
    found = [Published(one.title, one.accuracy, kind, name) for name, one in recipes.items()]
    known = {_net(one.title) for one in recipes.values()}
    others = (part for one in (FERPLUS_REFERENCES if by_votes else FER2013_REFERENCES) for part in _parts(one))
    return found + [Published(one.title, one.accuracy, kind) for one in others if _net(one.title) not in known]


def _parts(reference: Reference) -> list[Reference]:
    """A line in a chart may stand for several figures that lie too close for labels of their own."""
    return [Reference(title, reference.accuracy) for title in reference.title.split(" · ") if title]


def _net(title: str) -> str:
    return title.split()[0].strip(",")
