"""What several charts are made of, in Vega-Lite: bars with their numbers, matrices to click; and their colours."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fer_core.palette import EMOTION_COLORS

Spec = dict[str, Any]
"""A Vega-Lite chart, data included."""

SELECTION = "cell"
"""Name of a matrix's selection; its fields are `true` and `predicted`: the cell's row and column."""

GREY = "#9aa1ab"

WHOLE_PERCENT: Spec = {"format": ".0%", "tickMinStep": 0.01}
"""An axis of shares; with finer ticks, two neighbours would read the same."""

IN_PLACE = {"field": "place", "op": "min"}
"""Order of names by their rows' `place`: a chart whose names change in the browser keeps the order of old ones else."""

_AXIS_PX = 40
_LEGEND_LINE = 30
"""Letters of a legend that stand beside one another in a chart a third of a narrow page wide."""
_STEPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12)
"""The last one is for a value that rounding has put a hair above a power of ten."""
_HEADROOM = 1.4
"""Of the longest bar; the rest is for its number, which takes a third of a chart half a narrow page wide."""


def curve_axes(quantity: str, epochs: int) -> Spec:
    """x and y of a chart of `accuracy` or `loss` by epoch; epochs: right end of the axis."""
    return {
        "x": {
            "field": "epoch", "type": "quantitative", "title": "epoch",
            "scale": {"domain": [1, max(2, epochs)]}, "axis": {"tickMinStep": 1, "format": "d"},
        },
        "y": {
            "field": "value", "type": "quantitative", "title": None, "scale": {"zero": False},
            "axis": WHOLE_PERCENT if quantity == "accuracy" else {},
        },
    }  # fmt: skip


def curve_tip(quantity: str) -> Spec:
    """The value of a point of such a chart, as its tooltip says it."""
    return {"field": "value", "format": ".1%" if quantity == "accuracy" else ".3f"}


def emotion_colors(classes: Sequence[str]) -> list[str]:
    """One colour a class, grey for what is no emotion."""
    return [EMOTION_COLORS.get(name, GREY) for name in classes]


def bar_spec(
    names: Sequence[str],
    values: Sequence[float],
    texts: Sequence[str],
    colors: Sequence[str],
    *,
    ink: str,
    height: int,
    most: float | None = None,
) -> Spec:
    """Horizontal bars, each with its number at its end.

    Args:
        ink: colour of the numbers.
        most: what a bar of full length stands for; left out, the largest value.
    """
    rows = [
        {"name": name, "value": value, "text": text, "color": color}
        for name, value, text, color in zip(names, values, texts, colors, strict=True)
    ]
    full = most if most is not None else max(values, default=0)
    place = {
        "y": {
            "field": "name", "type": "nominal", "sort": list(names), "title": None,
            "axis": {"domain": False, "ticks": False, "labelLimit": 80},
        },
        "x": {"field": "value", "type": "quantitative", "axis": None, "scale": {"domain": [0, 1.25 * (full or 1)]}},
        "tooltip": [{"field": "name", "title": " "}, {"field": "text", "title": "  "}],
    }  # fmt: skip
    color = {"color": {"field": "color", "type": "nominal", "scale": None}}
    bars = {"mark": {"type": "bar", "height": {"band": 0.75}}, "encoding": color}
    number = {"type": "text", "align": "left", "dx": 4, "color": ink, "fontSize": 11}
    numbers = {"mark": number, "encoding": {"text": {"field": "text"}}}
    return {"height": height, "data": {"values": rows}, "encoding": place, "layer": [bars, numbers]}


def grouped_bars(
    names: Sequence[str],
    values: Mapping[str, Sequence[float]],
    colors: Sequence[str],
    form: str,
    *,
    ink: str,
    most: float | None = None,
    title: str = "",
    row_px: int = 38,
) -> Spec:
    """Some bars for each name, one below the other, each with its number, and a legend of what they are.

    Args:
        values: what a bar is called -> its length for each name.
        colors: of the bars, in their order.
        form: how a number is written, as in "{:.0%}".
        ink: colour of the numbers.
        most: what a bar of full length stands for; left out, the largest value, rounded up.
        row_px: height of a name's bars.
    """
    rows: list[dict[str, Any]] = [
        {"name": name, "bar": bar, "place": place, "value": float(value), "text": form.format(value)}
        for place, (bar, some) in enumerate(values.items())
        for name, value in zip(names, some, strict=True)
    ]
    full = most or _round_up(max((row["value"] for row in rows), default=0))
    place = {
        "y": {
            "field": "name", "type": "nominal", "sort": list(names), "title": None,
            "axis": {"domain": False, "ticks": False, "labelLimit": 80},
        },
        "yOffset": {"field": "bar", "sort": IN_PLACE},
        "x": {"field": "value", "type": "quantitative", "axis": None, "scale": {"domain": [0, _HEADROOM * full]}},
        "tooltip": [{"field": "name", "title": " "}, {"field": "bar", "title": "  "},
                    {"field": "text", "title": title or "   "}],
    }  # fmt: skip
    columns = 1 if sum(map(len, values)) > _LEGEND_LINE else len(values)
    color = {
        "field": "bar", "type": "nominal", "sort": IN_PLACE, "scale": {"range": list(colors)},
        "legend": {"orient": "top", "title": None, "labelLimit": 260, "labelFontSize": 12, "columns": columns},
    }  # fmt: skip
    number = {"type": "text", "align": "left", "dx": 4, "color": ink, "fontSize": 11}
    head = {"title": {"text": title, "anchor": "start", "fontSize": 13}} if title else {}
    return head | {
        "height": row_px * len(names) + _AXIS_PX,
        "data": {"values": rows},
        "encoding": place,
        "layer": [
            {"mark": {"type": "bar"}, "encoding": {"color": color}},
            {"mark": number, "encoding": {"text": {"field": "text"}}},
        ],
    }


def _round_up(value: float) -> float:
    """To a round number, so that an axis stays as it is while a slider moves its bars a little."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _STEPS if step * power >= value)


def matrix(
    rows: Sequence[str],
    columns: Sequence[str],
    strength_RC: Any,
    texts: Any,
    colors: Any,
    tips: Any,
    *,
    ink: str,
    titles: tuple[str, str] = ("true", "predicted"),
) -> Spec:
    """A matrix to click. Each cell has its colour, its strength of colour 0..1, its text and what the mouse is told."""
    cells = [
        {
            "true": true, "predicted": predicted, "text": texts[i][j], "strength": round(float(strength_RC[i, j]), 3),
            "color": str(colors[i, j]), "faces": tips[i][j],
        }
        for i, true in enumerate(rows)
        for j, predicted in enumerate(columns)
    ]  # fmt: skip
    axis = {"labelAngle": 0, "domain": False, "ticks": False, "labelLimit": 70}
    place = {
        "x": {
            "field": "predicted", "type": "nominal", "sort": list(columns), "title": titles[1],
            "axis": axis | {"orient": "top", "labelAngle": -90, "labelOverlap": False},
        },
        "y": {"field": "true", "type": "nominal", "sort": list(rows), "title": titles[0], "axis": axis},
        "tooltip": [
            {"field": "true", "title": titles[0]}, {"field": "predicted", "title": titles[1]}, {"field": "faces"},
        ],
    }  # fmt: skip
    selected = {"condition": {"param": SELECTION, "empty": False, "value": 3}, "value": 0}
    squares = {
        "params": [{"name": SELECTION, "select": {"type": "point", "fields": ["true", "predicted"], "toggle": False}}],
        "mark": {"type": "rect", "cursor": "pointer", "cornerRadius": 3, "stroke": ink},
        "encoding": {
            "color": {"field": "color", "type": "nominal", "scale": None},
            "fillOpacity": {"field": "strength", "type": "quantitative", "scale": None},
            "strokeWidth": selected,
        },
    }
    strong = {"condition": {"test": "datum.strength > 0.45", "value": "white"}, "value": ink}
    numbers = {
        "mark": {"type": "text", "cursor": "pointer", "fontSize": 12},
        "encoding": {"text": {"field": "text"}, "color": strong},
    }
    return {"height": 380, "data": {"values": cells}, "encoding": place, "layer": [squares, numbers]}
