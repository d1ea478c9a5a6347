"""What the studies' and the leaderboard's texts are made of: tables, and a figure over seeds with its difference."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fer_core.evaluate import Interval

_IN_WORDS = frozenset({
    "system", "run", "on", "split", "view", "what went wrong", "ended", "recipe", "net", "targets",
    "faces and emotions", "public selects by", "setting", "code", "emotion", "trick", "ranking",
    "kind", "case", "detector", "found and cut",
})  # fmt: skip
"""Columns that hold no number."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; columns of words start at the left, numbers end at the right."""
    lines = [head, ["---" if name in _IN_WORDS else "---:" for name in head], *rows]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in lines)


def figure(one: Mapping[str, Any]) -> str:
    """A `seeds.SeedDifference` as JSON: mean of B in percent, its spread, and the difference with its interval."""
    mean, sd = one["b"]["mean"], one["b"]["sd"]
    text = f"{100 * mean:.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")
    return with_difference(text, one["delta"], one["ci95"]) if one["delta"] else text


def with_difference(text: str, delta: float, ci95: Interval, digits: int = 1) -> str:
    """`70.1 (-0.7: -1.9 to +0.5)`: a figure, and in points its difference to another one with the 95% interval."""
    points, low, high = (f"{100 * share:+.{digits}f}" for share in (delta, *ci95))
    return f"{text} ({points}: {low} to {high})"


def source_line(values: Mapping[str, Any]) -> str:
    """Machine and code of a study's runs, as `measured.made_on` has them."""
    return f"{values['machine']}; code {', '.join(values['codes'])}."
