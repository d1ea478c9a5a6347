"""The balancing study in Markdown; numbers are read from its values, none is written here."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import figure, source_line, table

_FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "macro-recall", "macro_f1": "macro-F1"}
_RARE = "disgust"


def balancing_text(values: Mapping[str, Any]) -> str:
    """What was done, a table of public, which chooses, one of private, and each emotion's recall on private."""
    settings = values["settings"]
    seeds = max(one["seeds"] for one in settings)
    opening = (
        "# Balancing, measured\n\n"
        f"Recipe `{values['recipe']}` at {values['epochs']} epochs, up to {seeds} seeds a setting, every answer "
        "averaged with the mirror image. Means ± standard deviation over the seeds, in percent; in brackets the "
        "difference to as-is in points with its 95% interval, over other seeds and other faces. The last rows are the "
        "as-is nets themselves, their decision moved after training by the tau that each one's public answers name "
        f"({_taus(values['taus'])}).\n\n{source_line(values)}\n"
    )
    return "\n".join([opening, *(_table(split, settings) for split in ("public", "private")), _emotions(settings)])


def _taus(taus: Mapping[str, list[float]]) -> str:
    return "; ".join(
        f"{title.split(', ')[-1]}: {', '.join(f'{tau:g}' for tau in some)}" for title, some in taus.items()
    )


def _table(split: str, settings: list[dict[str, Any]]) -> str:
    first = settings[0][split]
    role = "which chooses" if split == "public" else "read once, after that"
    head = ("setting", "seeds", *_FIGURES.values(), f"{_RARE} recall, {first['faces'][_RARE]} faces")
    rows = [
        (one["name"], str(one["seeds"]), *(figure(one[split][name]) for name in _FIGURES),
         figure(one[split]["recall"][_RARE]))
        for one in settings
    ]  # fmt: skip
    return f"## {split.capitalize()}, {role}: n = {first['n']:,}\n\n{table(head, rows)}"


def _emotions(settings: list[dict[str, Any]]) -> str:
    first = settings[0]["private"]
    names = [name for name, one in first["recall"].items() if one]
    head = ("setting", *(f"{name} ({first['faces'][name]})" for name in names))
    rows = [(one["name"], *(_recall(one["private"], name) for name in names)) for one in settings]
    return (
        "## Recall on private, by emotion\n\n"
        "In bold: real after correction for the number of emotions (Holm, p below 0.05).\n\n" + table(head, rows)
    )


def _recall(values: Mapping[str, Any], name: str) -> str:
    one = values["recall"][name]
    text = f"{100 * one['b']['mean']:.1f}"
    if one["delta"]:
        text += f" ({100 * one['delta']:+.1f})"
    return f"**{text}**" if values["recall_p_holm"][name] < 0.05 else text
