"""Charts of balancing, in Vega-Lite: what it does before a training, and which trade-offs there are after one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fer_core.adjust import Tradeoff, front
from fer_core.balance_preview import Preview
from fer_core.chart_parts import GREY, WHOLE_PERCENT, Spec, grouped_bars
from fer_core.errors import RunError
from fer_core.palette import RUN_COLORS

QUANTITIES: dict[str, tuple[str, str, str]] = {
    "mix": ("Share of an epoch's faces", "mix_K", "{:.1%}"),
    "repeats": ("Times that an epoch shows a face", "repeats_K", "{:.2f}×"),
    "unseen": ("Faces that an epoch never shows", "unseen_K", "{:.1%}"),
    "loss": ("Share of the loss", "loss_share_K", "{:.1%}"),
    "gradient": ("Share of the gradient", "gradient_share_K", "{:.1%}"),
}
"""What `mix_chart` draws: title, field of `Preview`, and how a number is written."""

_ROOM, _GRID = 0.02, 0.05
"""What the axes of trade-offs show on either side of the runs and the front."""


def mix_chart(before: Preview, after: Preview, classes: Sequence[str], quantity: str, *, ink: str) -> Spec:
    """One quantity of `QUANTITIES` of each class: a bar as is, and one below it balanced, each with its number.

    Args: ink: colour of the numbers.
    Raises: RunError: the gradient is asked for, and no run's answers were given.
    """
    title, attribute, form = QUANTITIES[quantity]
    values = {"as is": _values(before, attribute), "balanced": _values(after, attribute)}
    return grouped_bars(classes, values, (GREY, RUN_COLORS["B"]), form, ink=ink, title=title)


def _values(one: Preview, attribute: str) -> Any:
    values = getattr(one, attribute)
    if values is None:
        raise RunError("without a stored run nothing is known of gradients; choose one, or look at the loss.")
    return values


def tradeoff_chart(
    curves: Mapping[str, Sequence[Tradeoff]],
    runs: Mapping[str, Tradeoff],
    *,
    colors: Mapping[str, str],
    ink: str,
) -> Spec:
    """Accuracy against macro-recall: a line over tau and a point for each run, and the front of the best trade-offs.

    The front (`adjust.front`) is over the points of all lines and all runs: wide and pale behind the others, with the
    runs that lie on it ringed. The axes show the runs and the front; where a tau leads far below both, its line is cut.

    Args:
        curves: run -> its trade-offs by rising tau; a run may have none.
        runs: run -> where it stands now.
        colors: run -> colour; other runs are grey, and coloured when they are pointed at.
        ink: colour of names and rings.
    """
    lines = [_row(run, one, colors) for run, curve in curves.items() for one in curve]
    points = [_row(run, one, colors) for run, one in runs.items()]
    every = [*runs.values(), *(one for curve in curves.values() for one in curve)]
    best = [[*points, *lines][i] for i in front(every)]
    for row in points:  # a run's own point may equal one of its line's: by figures, not by place
        row["ring"] = any((row["x"], row["y"]) == (one["x"], one["y"]) for one in best)
    return {
        "height": 360,
        "encoding": _place([*points, *best]),
        "layer": [_front_layer(best), *_line_layers(lines), *_point_layers(points, colors, ink)],
    }


def _row(run: str, one: Tradeoff, colors: Mapping[str, str]) -> dict[str, Any]:
    return {
        "run": run, "tau": round(one.tau, 3), "x": one.balanced_accuracy, "y": one.accuracy,
        "color": colors.get(run, GREY),
    }  # fmt: skip


def _place(shown: Sequence[dict[str, Any]]) -> Spec:
    return {
        "x": _axis("x", "macro-recall", [row["x"] for row in shown]),
        "y": _axis("y", "accuracy", [row["y"] for row in shown]),
        "tooltip": [
            {"field": "run"}, {"field": "tau", "format": ".3~f"},
            {"field": "y", "title": "accuracy", "format": ".1%"},
            {"field": "x", "title": "macro-recall", "format": ".1%"},
        ],
    }  # fmt: skip


def _axis(field: str, title: str, values: Sequence[float]) -> Spec:
    low, high = min(values, default=0) - _ROOM, max(values, default=1) + _ROOM
    # Round numbers: the axes stay as they are while a slider moves a run a little.
    low, high = max(0.0, math.floor(low / _GRID) * _GRID), min(1.0, math.ceil(high / _GRID) * _GRID)
    scale = {"domain": [low, high], "zero": False, "nice": False}
    axis = WHOLE_PERCENT | {"tickCount": 8}
    return {"field": field, "type": "quantitative", "title": title, "scale": scale, "axis": axis}


def _front_layer(rows: Sequence[dict[str, Any]]) -> Spec:
    mark = {"type": "line", "strokeWidth": 14, "opacity": 0.3, "color": GREY, "strokeCap": "round", "tooltip": None}
    order = {"order": {"field": "x", "type": "quantitative"}}
    return {"name": "front", "data": {"values": list(rows)}, "mark": mark, "encoding": order}


def _line_layers(rows: Sequence[dict[str, Any]]) -> list[Spec]:
    pointed = {"param": "pointed", "empty": False}
    grey = f"datum.color === '{GREY}'"
    data = {"values": list(rows)}
    lines = {
        "data": data,
        "mark": {"type": "line", "clip": True},
        "encoding": {
            "detail": {"field": "run"},
            "order": {"field": "tau", "type": "quantitative"},
            "color": {
                "condition": {"test": {"and": [pointed, grey]}, "value": RUN_COLORS["B"]},
                "field": "color", "type": "nominal", "scale": None,
            },
            "strokeWidth": {"condition": {**pointed, "value": 3.5}, "value": 2},
        },
    }  # fmt: skip
    # Points that cannot be seen are what the mouse hits: a line alone is too thin to be pointed at.
    hit = {
        "data": data,
        "params": [{"name": "pointed", "select": {
            "type": "point", "fields": ["run"], "on": "pointerover", "nearest": True, "clear": "pointerout",
        }}],
        "mark": {"type": "point", "opacity": 0, "size": 60, "clip": True},
    }  # fmt: skip
    return [lines, hit]


def _point_layers(rows: Sequence[dict[str, Any]], colors: Mapping[str, str], ink: str) -> list[Spec]:
    fill = {"color": {"field": "color", "type": "nominal", "scale": None}}
    dots = {"name": "runs", "data": {"values": list(rows)}, "mark": {"type": "point", "filled": True, "size": 110,
            "opacity": 1}, "encoding": fill}  # fmt: skip
    rings = {
        "name": "on the front",
        "data": {"values": [row for row in rows if row["ring"]]},
        "mark": {"type": "point", "size": 260, "strokeWidth": 1.5, "color": ink, "opacity": 1},
    }
    # Of the coloured runs alone, above and below by turns: many names would lie on one another.
    named = [row for row in rows if row["run"] in colors]
    names = [
        {
            "data": {"values": some},
            "mark": {"type": "text", "align": "center", "dy": dy, "color": ink, "fontSize": 11},
            "encoding": {"text": {"field": "run"}},
        }
        for some, dy in ((named[::2], -15), (named[1::2], 17))
    ]
    return [dots, rings, *names]
