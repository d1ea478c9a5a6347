"""Charts of how sure runs are: reliability diagrams, and precision against recall for each emotion (Vega-Lite)."""

from collections.abc import Mapping, Sequence
from typing import Any

from fer_core.calibration import Bin, PrecisionRecall
from fer_core.chart_parts import GREY, IN_PLACE, Spec

_SHARE = {"type": "quantitative", "axis": {"format": ".0%"}, "scale": {"domain": [0, 1]}}
_MOST_POINTS = 200
"""Of one curve: more cannot be seen, and each is sent to the browser."""


def reliability_chart(bins: Mapping[str, Sequence[Bin]], colors: Mapping[str, str]) -> Spec:
    """Accuracy against mean confidence in each bin, a line a run, its points as large as their share of the faces.

    On the dotted diagonal a run is as often right as it is sure; below it, it is too sure.
    """
    rows: list[dict[str, Any]] = []
    for nth, (run, found) in enumerate(bins.items()):
        total = sum(one.faces for one in found)
        rows += [
            {
                "run": run, "place": nth, "confidence": one.confidence, "accuracy": one.accuracy,
                "share": one.faces / total, "low": one.ci95[0], "high": one.ci95[1], "faces": one.faces,
            }
            for one in found
        ]  # fmt: skip
    tips = [
        {"field": "run"}, {"field": "confidence", "format": ".1%"}, {"field": "accuracy", "format": ".1%"},
        {"field": "faces", "format": ","},
    ]  # fmt: skip
    place = {
        "x": {"field": "confidence", "title": "how sure", **_SHARE},
        "y": {"field": "accuracy", "title": "how often right", **_SHARE},
        "color": _color([colors[run] for run in bins]),
        "tooltip": tips,
    }
    intervals = {"y": {"field": "low", "title": "how often right", **_SHARE}, "y2": {"field": "high"}}
    size = {"field": "share", "type": "quantitative", "legend": None, "scale": {"range": [20, 500]}}
    return {
        "height": 300,
        "layer": [
            _diagonal(),
            {"data": {"values": rows}, "mark": {"type": "rule", "opacity": 0.5}, "encoding": {**place, **intervals}},
            {"data": {"values": rows}, "mark": {"type": "line", "strokeWidth": 1.5}, "encoding": place},
            {"data": {"values": rows}, "mark": {"type": "point", "filled": True, "opacity": 0.9},
             "encoding": {**place, "size": size}},
        ],
    }  # fmt: skip


def precision_recall_chart(curves: Mapping[str, PrecisionRecall | None], colors: Mapping[str, str]) -> Spec:
    """Precision against recall of one emotion, a line a run; a run without a curve is left out."""
    rows = [
        {"run": run, "place": nth, "recall": float(recall), "precision": float(precision)}
        for nth, (run, curve) in enumerate(curves.items())
        if curve is not None
        for recall, precision in _thinned(curve)
    ]
    place = {
        "x": {"field": "recall", "title": "found (recall)", **_SHARE},
        "y": {"field": "precision", "title": "right (precision)", **_SHARE},
        "order": {"field": "recall", "type": "quantitative"},
        "color": _color([colors[run] for run, curve in curves.items() if curve is not None]),
        "tooltip": [{"field": "run"}, {"field": "recall", "format": ".1%"}, {"field": "precision", "format": ".1%"}],
    }
    return {"height": 300, "data": {"values": rows}, "mark": {"type": "line", "strokeWidth": 1.5}, "encoding": place}


def _thinned(curve: PrecisionRecall) -> list[tuple[float, float]]:
    """Evenly over the points, the last one among them."""
    n = len(curve.recall_T)
    step = max(1, n // _MOST_POINTS)
    places = sorted({*range(0, n, step), n - 1})
    return [(curve.recall_T[i], curve.precision_T[i]) for i in places]


def _color(colors: Sequence[str]) -> Spec:
    return {
        "field": "run", "type": "nominal", "sort": IN_PLACE, "scale": {"range": list(colors)},
        "legend": {"orient": "bottom", "title": None, "labelLimit": 260},
    }  # fmt: skip


def _diagonal() -> Spec:
    mark = {"type": "line", "strokeDash": [2, 4], "color": GREY}
    ends = [{"x": 0, "y": 0}, {"x": 1, "y": 1}]
    place = {"x": {"field": "x", "type": "quantitative"}, "y": {"field": "y", "type": "quantitative"}}
    return {"data": {"values": ends}, "mark": mark, "encoding": place}
