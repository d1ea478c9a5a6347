"""A run's or two runs' figures as charts in Vega-Lite; nothing here knows Streamlit.

The charts are plain dicts: they are drawn again every second while a run trains and with each move of a slider, and a
dict costs the server almost nothing. Plotly costs forty times as much, and its code takes a page's first second.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_core.catalog import Reference
from fer_core.chart_parts import (
    GREY,
    IN_PLACE,
    WHOLE_PERCENT,
    Spec,
    bar_spec,
    curve_axes,
    curve_tip,
    emotion_colors,
    grouped_bars,
    matrix,
)
from fer_core.compare import Comparison
from fer_core.evaluate import Interval, Report
from fer_core.palette import RIGHT_COLOR, RUN_COLORS, WRONG_COLOR
from fer_core.runs import EpochRecord

_RUN_CYCLE = (*RUN_COLORS.values(), "#8a5cc2", "#1f8f6b", "#c2487f", "#777075")


def per_class(
    reports: Mapping[str, Report], quantity: str, *, ink: str, colors: Sequence[str] = _RUN_CYCLE, row_px: int = 38,
    title: str = "",
) -> Spec:  # fmt: skip
    """`recall`, `precision` or `f1` of each emotion, one bar a report, in this order."""
    values = {name: [getattr(one, quantity) for one in report.per_class.values()] for name, report in reports.items()}
    classes = next(iter(reports.values())).classes
    return grouped_bars(classes, values, colors[: len(values)], "{:.0%}", ink=ink, most=1.0, row_px=row_px, title=title)


def accuracy_intervals(reports: Mapping[str, Report], *, ink: str) -> Spec:
    """Accuracy of each run with its 95% interval."""
    rows = [
        _dot(run, report.accuracy, report.accuracy_ci95, color, "{:.1%}")
        for color, (run, report) in zip(_RUN_CYCLE, reports.items(), strict=False)
    ]
    return _dots(rows, "accuracy", WHOLE_PERCENT, ink)


def accuracy_delta(comparison: Comparison, *, ink: str) -> Spec:
    """B's accuracy minus A's with its 95% interval, and where 0 is."""
    row = _dot("B minus A", comparison.accuracy_delta, comparison.accuracy_delta_ci95, RUN_COLORS["B"], "{:+z.1%}")
    spec = _dots([row], "difference", {"format": "+.1%", "tickMinStep": 0.001}, ink)
    zero = {
        "data": {"values": [{"value": 0}]},
        "mark": {"type": "rule", "strokeDash": [2, 4], "color": GREY},
        "encoding": {
            "x": spec["layer"][1]["encoding"]["x"],  # the dot's: one axis, one title
            "y": {"value": 0},
            "y2": {"value": {"expr": "height"}},
            "tooltip": {"value": None},
        },
    }
    return spec | {"layer": [zero, *spec["layer"]]}


def probabilities(shares_K: ArrayLike, classes: Sequence[str], *, ink: str) -> Spec:
    """The seven probabilities of one face."""
    values = np.asarray(shares_K, dtype=float).tolist()
    texts = [f"{value:.0%}" for value in values]
    return bar_spec(classes, values, texts, emotion_colors(classes), ink=ink, height=230, most=1.0)


def curves(
    histories: Mapping[str, Sequence[EpochRecord]], quantity: str, epochs: int, references: Sequence[Reference] = ()
) -> Spec:
    """Loss or accuracy by epoch: solid on `public`, dashed on the augmented training faces; one colour a run.

    Args:
        histories: run -> its records.
        quantity: `accuracy` or `loss`.
        epochs: right end of the axis.
        references: drawn as labelled lines.
    """
    rows = [
        {"run": run, "epoch": one.epoch, "on": on, "value": getattr(one, f"{split}_{quantity}")}
        for run, records in histories.items()
        for one in records
        for on, split in (("public", "public"), ("train, augmented", "train"))
    ]
    lines = {"mark": {"type": "line", "point": {"size": 25}}, "encoding": _curve_encoding(histories, quantity, epochs)}
    layers = [{"data": {"values": rows}, **lines}]
    if references:
        layers += _reference_layers(references)
    return {"height": 340, "layer": layers}


def confusion(
    matrix_KK: NDArray[np.int64], classes: Sequence[str], *, ink: str, as_share: bool, top_share: float
) -> Spec:
    """A confusion matrix to click: rows true, columns predicted, green where right, red where wrong.

    Args:
        ink: colour of text on the page's background.
        as_share: numbers are shares of the row instead of counts. The colour always is: FER2013's rows differ 16-fold.
        top_share: share of the row that gets the full colour; give two matrices the same, and they can be compared.
    """
    shares = _row_shares(matrix_KK)
    texts = [
        [f"{s:.0%}" if as_share else str(n) for s, n in zip(*pair, strict=True)]
        for pair in zip(shares, matrix_KK, strict=True)
    ]
    colors = np.where(np.eye(len(classes), dtype=bool), RIGHT_COLOR, WRONG_COLOR)
    tips = [
        [f"{n} of {row.sum()} ({s:.1%})" for s, n in zip(pair, row, strict=True)]
        for pair, row in zip(shares, matrix_KK, strict=True)
    ]
    return matrix(classes, classes, np.minimum(shares / top_share, 1), texts, colors, tips, ink=ink)


def top_share(matrices: Iterable[NDArray[np.int64]]) -> float:
    """The largest share of a row in any of these matrices: give it to each of them, and they have one colour scale."""
    return max(float(_row_shares(matrix_KK).max()) for matrix_KK in matrices) or 1.0


def confusion_difference(comparison: Comparison, classes: Sequence[str], *, ink: str) -> Spec:
    """B's counts minus A's: green where that is for the better, red where it is for the worse."""
    delta = comparison.confusion_delta_KK
    better = (delta > 0) == np.eye(len(classes), dtype=bool)
    support = np.maximum(comparison.a.confusion_KK.sum(axis=1, keepdims=True), 1)
    strength = np.minimum(np.abs(delta) / support / 0.2, 1)  # a shift of a fifth of the row gets the full colour
    texts = [[f"{n:+d}" if n else "0" for n in row] for row in delta]
    colors = np.where(better, RIGHT_COLOR, WRONG_COLOR)
    tips = [[f"{n:+d} of {support[i, 0]} faces" for n in row] for i, row in enumerate(delta)]
    return matrix(classes, classes, strength, texts, colors, tips, ink=ink)


def _row_shares(matrix_KK: NDArray[np.int64]) -> NDArray[np.float64]:
    return matrix_KK / np.maximum(matrix_KK.sum(axis=1, keepdims=True), 1)


def _dot(name: str, value: float, interval: Interval, color: str, form: str) -> dict[str, Any]:
    low, high = interval
    return {
        "name": name, "value": value, "low": low, "high": high, "color": color, "text": form.format(value),
        "interval": f"{form.format(low)} to {form.format(high)}",
    }  # fmt: skip


def _dots(rows: Sequence[dict[str, Any]], title: str, axis: Spec, ink: str) -> Spec:
    """A dot with its interval a row, its number above it."""
    x = {
        "field": "value", "type": "quantitative", "title": title, "scale": {"zero": False},
        "axis": axis | {"tickCount": 5},
    }  # fmt: skip
    y = {
        "field": "name", "type": "nominal", "sort": IN_PLACE, "title": None,
        "axis": {"domain": False, "ticks": False, "labelLimit": 220},
    }  # fmt: skip
    color = {"color": {"field": "color", "type": "nominal", "scale": None}}
    ends = {"x": x | {"field": "low"}, "x2": {"field": "high"}}
    number = {"type": "text", "dy": -12, "color": ink, "fontSize": 12}
    return {
        "height": 44 * len(rows) + 70,
        "data": {"values": [row | {"place": place} for place, row in enumerate(rows)]},
        "encoding": {"y": y, "tooltip": [{"field": "name", "title": " "}, {"field": "text", "title": title},
                                         {"field": "interval", "title": "95% interval"}]},
        "layer": [
            {"mark": {"type": "rule", "strokeWidth": 2}, "encoding": ends | color},
            {"mark": {"type": "point", "filled": True, "size": 110, "opacity": 1}, "encoding": {"x": x, **color}},
            {"mark": number, "encoding": {"x": x, "text": {"field": "text"}}},
        ],
    }  # fmt: skip


def _curve_encoding(histories: Mapping[str, Any], quantity: str, epochs: int) -> Spec:
    many = len(histories) > 1
    runs = list(histories)
    colors = [_RUN_CYCLE[i % len(_RUN_CYCLE)] for i in range(len(runs))]
    legend = {"orient": "bottom", "title": None, "columns": 2, "labelLimit": 260}
    return {
        **curve_axes(quantity, epochs),
        "color": {
            "field": "run", "type": "nominal", "scale": {"domain": runs, "range": colors},
            "legend": legend if many else None,
        },
        "strokeDash": {
            "field": "on", "type": "nominal", "legend": None,
            "scale": {"domain": ["public", "train, augmented"], "range": [[1, 0], [4, 3]]},
        },
        "tooltip": [{"field": "run"}, {"field": "on"}, {"field": "epoch"}, curve_tip(quantity)],
    }  # fmt: skip


def _reference_layers(references: Sequence[Reference]) -> list[Spec]:
    y = {"field": "value", "type": "quantitative"}
    rule = {"mark": {"type": "rule", "strokeDash": [2, 4], "color": GREY}, "encoding": {"y": y}}
    layers = [{"data": {"values": [{"value": one.accuracy} for one in references]}, **rule}]
    for below in (False, True):
        labelled = [one for one in references if one.below is below]
        rows = [{"title": one.title if one.label is None else one.label, "value": one.accuracy} for one in labelled]
        # On the left: good runs end where most published figures lie, and none begins there.
        mark = {"type": "text", "align": "left", "dx": 4, "dy": 7 if below else -6, "fontSize": 10, "color": GREY}
        place = {"y": y, "x": {"value": 0}, "text": {"field": "title"}}
        layers.append({"data": {"values": rows}, "mark": mark, "encoding": place})
    return layers
