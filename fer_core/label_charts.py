"""Charts of model or label, in Vega-Lite: with whom FER+ sides, over all mistakes and by pair of emotions."""

from collections.abc import Sequence

from fer_core.chart_parts import SELECTION, Spec, bar_spec
from fer_core.label_sides import SIDES, LabelSides, Pair
from fer_core.palette import RUN_COLORS

SIDE_COLORS: dict[str, str] = dict(zip(SIDES, (RUN_COLORS["B"], RUN_COLORS["A"], "#8a5cc2", "#9aa1ab"), strict=True))
_ROW_PX, _AXIS_PX = 26, 90
ARROW = " → "
"""Between the label and what the model says, in the name of a pair."""


def sides_chart(sides: LabelSides, *, ink: str) -> Spec:
    """Share of the mistakes on each side, with its number of faces."""
    totals = sides.totals()
    shares = [one.share or 0.0 for one in totals.values()]
    texts = [f"{one.share:.0%}  ({one.count:,})" if one.share is not None else "–" for one in totals.values()]
    return bar_spec(list(totals), shares, texts, list(SIDE_COLORS.values()), ink=ink, height=170)


def accuracy_chart(sides: LabelSides, *, ink: str) -> Spec:
    """Accuracy by each label set on the same faces."""
    found = sides.accuracies()
    named = {"FER2013's label": found.fer2013_same, "FER+ majority": found.ferplus_same}
    shares = [one.share or 0.0 for one in named.values()]
    texts = [f"{one.share:.1%}" if one.share is not None else "–" for one in named.values()]
    spec = bar_spec(list(named), shares, texts, [RUN_COLORS["A"], RUN_COLORS["B"]], ink=ink, height=100, most=1.0)
    spec["encoding"]["y"]["axis"]["labelLimit"] = 120
    return spec


def pairs_chart(pairs: Sequence[Pair], *, ink: str) -> Spec:
    """Mistakes by pair of emotions, each bar split by side; a part can be clicked (fields `pair` and `side`).

    Args: pairs: those to show, top to bottom.
    """
    rows = [
        {
            "pair": f"{one.true}{ARROW}{one.predicted}",
            "side": side,
            "order": place,
            "faces": one.sides[side],
            "n": one.n,
        }
        for one in pairs
        for place, side in enumerate(SIDES)
        if one.sides[side]
    ]
    names = [f"{one.true}{ARROW}{one.predicted}" for one in pairs]
    selected = {"condition": {"param": SELECTION, "empty": False, "value": 3}, "value": 0}
    return {
        "height": _ROW_PX * len(pairs) + _AXIS_PX,
        "data": {"values": rows},
        "params": [{"name": SELECTION, "select": {"type": "point", "fields": ["pair", "side"], "toggle": False}}],
        "mark": {"type": "bar", "cursor": "pointer", "stroke": ink, "height": {"band": 0.8}},
        "encoding": {
            "y": {"field": "pair", "type": "nominal", "sort": names, "title": None,
                  "axis": {"domain": False, "ticks": False, "labelLimit": 160}},
            "x": {"field": "faces", "type": "quantitative", "title": "mistakes", "axis": {"tickMinStep": 1}},
            "order": {"field": "order"},
            "color": {"field": "side", "type": "nominal", "title": "FER+ sides with",
                      "legend": {"orient": "top"},
                      "scale": {"domain": list(SIDE_COLORS), "range": list(SIDE_COLORS.values())}},
            "strokeWidth": selected,
            "tooltip": [{"field": "pair", "title": " "}, {"field": "side", "title": "FER+ sides with"},
                        {"field": "faces"}, {"field": "n", "title": "of"}],
        },
    }  # fmt: skip
