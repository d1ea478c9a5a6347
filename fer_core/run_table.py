"""Many runs as the rows of one table: what differed, how good each was, and what others published.

Choosing between runs belongs on public: private is what the chosen one then gives.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from fer_core.augmentations import BUILT_IN
from fer_core.catalog import DEFAULT_LEARNING_RATES, FER2013_REFERENCES, FERPLUS_REFERENCES
from fer_core.config import RunConfig
from fer_core.ensemble_file import Ensemble
from fer_core.recipes import RECIPES
from fer_core.run_facts import Facts, Kind

PUBLISHED = "published"
"""Stands as the state of a row that is no run of ours."""

_OWN_COLUMNS = frozenset({"recipe", "data", "ferplus", "epochs"})
"""Settings that have a column of their own, or that are told by what the run was judged on."""
_NOT_NOTEWORTHY = frozenset({"tensorboard", "views"})
"""Settings that cannot change how good a net is."""
_LONGEST = 48
"""Characters of a setting's value that are shown."""


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody else reports. It stands beside private; `claim` says on which split it was."""

    title: str
    accuracy: float
    kind: Kind
    recipe: str = ""
    """Which recipe of ours is made after it."""
    claim: str = ""
    """In the author's words."""


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

    Settings that a run has from its recipe (or from the defaults) are left out: the recipe stands beside them. Of an
    ensemble, which has none of its own: its members and how they are averaged.
    """
    varied = _varied([_settings(one.config) for one in facts if not one.ensemble])
    return {
        one.name: _of_members(one.ensemble)
        if one.ensemble
        else " · ".join(_phrase(name, value) for name, value in _set_by_hand(one.config).items() if name in varied)
        for one in facts
    }


def _of_members(ensemble: Ensemble) -> str:
    return f"mean of {ensemble.average}: {', '.join(ensemble.members)}"


def in_common(facts: Sequence[Facts]) -> str:
    """The settings that all of these runs have set alike, as in `differing`; empty for one run. No ensemble counts."""
    trained = [one for one in facts if not one.ensemble]
    if len(trained) < 2:
        return ""
    first, *others = (_set_by_hand(one.config) for one in trained)
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
            **empty, "name": one.title, "state": PUBLISHED, "recipe": one.recipe, "differs": "", "note": one.claim,
            "tags": [],
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
        "epochs": "" if one.ensemble else f"{one.status.epoch}/{one.config.epochs or '?'}",
        "wall_min": one.wall_s / 60 if one.wall_s is not None else None,
        "images_per_s": one.images_per_s,
        "parameters": one.parameters / 1e6 if one.parameters else None,
        "created": datetime.fromtimestamp(one.status.created),
    }


def _words_of(one: Facts) -> str:
    settings = (f"{_title(name)} {_value(value)}" for name, value in _set_by_hand(one.config).items())
    made_of = (_of_members(one.ensemble),) if one.ensemble else (one.config.model, *settings)
    kind = one.kind.title if one.kind else ""
    words = (one.name, one.recipe, one.status.state, kind, *one.notes.tags, one.notes.note, *made_of)
    return " ".join(words).casefold()


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
    return f"{_title(name)} {_value(Path(value).name if name == 'review' else value)}"


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
    found = [Published(one.title, one.accuracy, kind, name, RECIPES[name].claim) for name, one in recipes.items()]
    quoted = FERPLUS_REFERENCES if by_votes else FER2013_REFERENCES
    others = [one for one in quoted if one not in recipes.values()]
    return found + [Published(one.title, one.accuracy, kind) for one in others]
