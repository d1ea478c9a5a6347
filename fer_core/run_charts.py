"""Charts of any number of runs, in Vega-Lite: accuracy with its interval, and curves of more runs than colours."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_core.chart_parts import GREY, WHOLE_PERCENT, Spec, curve_axes, curve_tip
from fer_core.palette import RUN_COLORS
from fer_core.run_facts import Facts
from fer_core.run_table import Published
from fer_core.runs import EpochRecord

_ROW_PX, _AXIS_PX = 20, 80
_ROOM = 0.08
"""What the axis of accuracies shows on either side of the runs."""
_SPLIT_COLORS = {"private": RUN_COLORS["B"], "public": RUN_COLORS["A"]}


def accuracies(facts: Sequence[Facts], others: Sequence[Published], *, ink: str) -> Spec:
    """Each run's accuracy with its 95% interval, the highest on top; published ones are grey lines with their names.

    All of one kind. A run's dot is the private accuracy, or the public one (hollow) where there is no other.

    Args:
        facts: runs without any figure are left out.
        ink: colour of the numbers.
    """
    rows = sorted([_dot(one) for one in facts if one.best] + [_line(one) for one in others], key=lambda r: -r["value"])
    runs = [row for row in rows if row["on"] != "published"]
    lines = [row for row in rows if row["on"] == "published"]
    lows, highs = [row.get("low", row["value"]) for row in runs], [row.get("high", row["value"]) for row in runs]
    low, high = max(0.0, min(lows, default=0) - _ROOM), min(1.0, max(highs, default=1) + _ROOM)
    # A line far off would squeeze the dots together: it is left out, the table has it.
    lines = [row for row in lines if low <= row["value"] <= high]
    names = [row["name"] for row in rows if row in runs or row in lines]
    scale = {"domain": [low, high], "zero": False, "nice": False}
    axis = WHOLE_PERCENT | {"tickCount": 8}
    x = {"field": "value", "type": "quantitative", "title": "accuracy", "scale": scale, "axis": axis}
    y = {
        "field": "name", "type": "nominal", "sort": names, "title": None,
        "axis": {"domain": False, "ticks": False, "labelLimit": 260, "labelOverlap": False, "labelFlush": False},
    }  # fmt: skip
    return {
        "height": _ROW_PX * len(names) + _AXIS_PX,  # Streamlit fits the axis into it
        "encoding": {"y": y},
        "layer": [_rule(lines), *_intervals(runs, x), _numbers(runs, x, ink), _names_of(lines, x)],
    }


def many_curves(histories: Mapping[str, Sequence[EpochRecord]], quantity: str, epochs: int) -> Spec:
    """`accuracy` or `loss` on public by epoch, of more runs than there are colours: grey but for the one pointed at."""
    rows = [
        {"run": run, "epoch": one.epoch, "value": getattr(one, f"public_{quantity}")}
        for run, records in histories.items()
        for one in records
    ]
    pointed = {"param": "pointed", "empty": False}
    place = {
        **curve_axes(quantity, epochs),
        "detail": {"field": "run"},
        "tooltip": [{"field": "run"}, {"field": "epoch"}, curve_tip(quantity)],
    }
    lines = {
        "mark": {"type": "line"},
        "encoding": {
            "color": {"condition": {**pointed, "value": RUN_COLORS["B"]}, "value": GREY},
            "size": {"condition": {**pointed, "value": 3.5}, "value": 1.2},
            "opacity": {"condition": {**pointed, "value": 1}, "value": 0.55},
        },
    }
    # Points that cannot be seen are what the mouse hits: a line alone is too thin to be pointed at.
    hit = {
        "params": [{"name": "pointed", "select": {
            "type": "point", "fields": ["run"], "on": "pointerover", "nearest": True, "clear": "pointerout",
        }}],
        "mark": {"type": "point", "opacity": 0, "size": 60},
    }  # fmt: skip
    return {"height": 340, "data": {"values": rows}, "encoding": place, "layer": [lines, hit]}


def _dot(one: Facts) -> dict[str, Any]:
    assert one.best is not None
    on = "private" if one.private else "public"
    row: dict[str, Any] = {"name": one.name, "value": one.best.accuracy, "on": on, "text": f"{one.best.accuracy:.1%}"}
    if one.best.ci95:
        low, high = one.best.ci95
        row |= {"low": low, "high": high, "interval": f"{low:.1%} to {high:.1%} of {one.best.n:,} faces"}
    return row


def _line(one: Published) -> dict[str, Any]:
    return {"name": one.title, "value": one.accuracy, "on": "published", "text": f"{one.accuracy:.1%}"}


def _rule(lines: Sequence[dict[str, Any]]) -> Spec:
    """Without a row of its own on y, a rule is as tall as the chart."""
    y = {"y": None, "x": {"field": "value", "type": "quantitative", "scale": {"zero": False}}}
    return {
        "data": {"values": list(lines)},
        "mark": {"type": "rule", "strokeDash": [2, 4], "color": GREY},
        "encoding": y,
    }


def _intervals(runs: Sequence[dict[str, Any]], x: Spec) -> list[Spec]:
    color = {
        "field": "on", "type": "nominal", "title": None, "legend": None,
        "scale": {"domain": list(_SPLIT_COLORS), "range": list(_SPLIT_COLORS.values())},
    }  # fmt: skip
    ends = {"x": {**x, "field": "low"}, "x2": {"field": "high"}, "color": color}
    tip = [{"field": "name", "title": "run"}, {"field": "on"}, {"field": "text", "title": "accuracy"},
           {"field": "interval", "title": "95% interval"}]  # fmt: skip
    hollow = {"condition": {"test": "datum.on === 'public'", "value": 0}, "value": 1}
    dots = {"x": x, "color": color, "fill": color, "fillOpacity": hollow, "tooltip": tip}
    data = {"values": list(runs)}
    return [
        {"data": {"values": [row for row in runs if "low" in row]}, "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": ends},
        {"data": data, "mark": {"type": "point", "size": 70, "strokeWidth": 2, "opacity": 1}, "encoding": dots},
    ]  # fmt: skip


def _numbers(runs: Sequence[dict[str, Any]], x: Spec, ink: str) -> Spec:
    rows = [{**row, "end": row.get("high", row["value"])} for row in runs]
    mark = {"type": "text", "align": "left", "dx": 6, "color": ink, "fontSize": 11}
    return {"data": {"values": rows}, "mark": mark, "encoding": {"x": {**x, "field": "end"}, "text": {"field": "text"}}}


def _names_of(lines: Sequence[dict[str, Any]], x: Spec) -> Spec:
    """A grey diamond where a published line meets its row, with its figure."""
    tip = [{"field": "name", "title": "published"}, {"field": "text", "title": "accuracy"}]
    mark = {"type": "point", "shape": "diamond", "size": 60, "color": GREY, "filled": True, "opacity": 1}
    return {"data": {"values": list(lines)}, "mark": mark, "encoding": {"x": x, "tooltip": tip}}
