"""The ablation as a table in Markdown; numbers are read from its values, none is written here."""

from collections.abc import Mapping
from typing import Any

from benchmarks.markdown import table

_HEAD = (
    "trick", "setting", "public, as it is", "mirrored too", "log loss", "difference in points", "95% interval, paired",
    "faces/s on threads",
)  # fmt: skip


def ablation_table(values: Mapping[str, Any]) -> str:
    """What was done, then a line a variant, the reference first, then in the order of what each costs or gains."""
    seeds = ", ".join(map(str, values["seeds"]))
    codes = ", ".join(values["codes"])
    opening = (
        f"Recipe `{values['recipe']}` at {values['epochs']} epochs, seed {seeds}, one thing changed at a time, judged "
        f"on {values['n']:,} faces of public only. A difference is variant minus reference, of the view "
        f"as it is: below zero, the change costs. {values['machine']}, code {codes}.\n\n"
    )
    first = [row for row in values["rows"] if row["delta"] is None]
    others = sorted((row for row in values["rows"] if row["delta"] is not None), key=lambda row: row["delta"])
    return opening + table(_HEAD, map(_line, [*first, *others]))


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["delta_ci95"] or (0.0, 0.0)
    return (
        row["trick"],
        row["setting"],
        f"{row['accuracy']['none']:.2%}",
        f"{row['accuracy']['flip']:.2%}" if "flip" in row["accuracy"] else "–",
        f"{row['log_loss']:.3f}",
        "" if row["delta"] is None else f"{100 * row['delta']:+.2f}",
        "" if row["delta"] is None else f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{row['faces_per_s']:,.0f} on {row['threads']}",
    )
