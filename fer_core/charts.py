"""Figures and their data, ready to draw: Plotly for bars, Vega-Lite for curves and for matrices that can be clicked.

Nothing here knows Streamlit. Vega-Lite charts are plain dicts: they are drawn again every second while a run trains,
and a dict costs the server almost nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike, NDArray
from plotly.subplots import make_subplots

from fer_core.catalog import Reference
from fer_core.chart_parts import GREY, Spec, curve_axes, curve_tip, emotion_colors, matrix
from fer_core.compare import Comparison
from fer_core.evaluate import Report
from fer_core.palette import RIGHT_COLOR, RUN_COLORS, WRONG_COLOR
from fer_core.runs import EpochRecord

_MARGIN = {"l": 0, "r": 10, "t": 30, "b": 0}
_RUN_CYCLE = (*RUN_COLORS.values(), "#8a5cc2", "#1f8f6b", "#c2487f", "#777075")


def per_class(reports: Mapping[str, Report], figure_name: str) -> go.Figure:
    """Recall, precision or F1 of each emotion, one bar a run."""
    figure = go.Figure()
    for color, (run, report) in zip(_RUN_CYCLE, reports.items(), strict=False):
        values = [getattr(one, figure_name) for one in report.per_class.values()]
        figure.add_trace(_bars(report.classes, values, [f"{v:.0%}" for v in values], color, run))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, 1.12], tickformat=".0%", dtick=0.25)
    return figure.update_layout(height=110 + 130 * len(reports), margin=_MARGIN, bargap=0.25, legend=_LEGEND)


def accuracy_intervals(reports: Mapping[str, Report], comparison: Comparison) -> go.Figure:
    """Accuracy of both runs with its 95% interval, and beside it B minus A with its own."""
    figure = make_subplots(1, 2, subplot_titles=["accuracy", "B minus A"])
    for color, (run, report) in zip(_RUN_CYCLE, reports.items(), strict=False):
        figure.add_trace(_dot(run, report.accuracy, report.accuracy_ci95, color, "{:.1%}"), 1, 1)
    figure.update_xaxes(tickformat=".0%", row=1, col=1)
    delta = _dot("B - A", comparison.accuracy_delta, comparison.accuracy_delta_ci95, RUN_COLORS["B"], "{:+.1%}")
    figure.add_trace(delta, 1, 2)
    figure.add_vline(0, line_color=GREY, line_dash="dot", row=1, col=2)
    figure.update_xaxes(tickformat="+.1%", row=1, col=2)
    figure.update_yaxes(showticklabels=False, row=1, col=2)
    figure.update_yaxes(range=[len(reports) - 0.6, -0.75])  # upside down, with room for the numbers above the dots
    return figure.update_layout(height=110 + 45 * len(reports), margin=_MARGIN, showlegend=False)


def probabilities(shares_K: ArrayLike, classes: Sequence[str]) -> go.Figure:
    """The seven probabilities of one face."""
    values = np.asarray(shares_K, dtype=float)
    figure = go.Figure(_bars(classes, values, [f"{v:.0%}" for v in values], emotion_colors(classes)))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, 1.15], showticklabels=False)
    return figure.update_layout(height=240, margin=_MARGIN | {"t": 5}, showlegend=False, bargap=0.25)


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


def _bars(names: Any, values: Any, texts: Sequence[str], color: Any, label: str = "") -> go.Bar:
    return go.Bar(
        y=list(names), x=list(values), text=list(texts), textposition="outside", cliponaxis=False, orientation="h",
        marker_color=color, name=label, hovertemplate="%{y}: %{text}<extra></extra>",
    )  # fmt: skip


_LEGEND = {"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0, "traceorder": "normal"}


def _dot(name: str, value: float, interval: tuple[float, float], color: str, form: str) -> go.Scatter:
    low, high = interval
    error = {"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "width": 6}
    text = f"{form.format(value)}  ({form.format(low)} to {form.format(high)})"
    return go.Scatter(
        x=[value], y=[name], error_x=error, mode="markers+text", marker={"color": color, "size": 11},
        text=[form.format(value)], textposition="top center", hovertemplate=text + "<extra></extra>",
    )  # fmt: skip


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
