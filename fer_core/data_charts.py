"""Charts of the data: counts, light, votes, and where two kinds of label part ways. Nothing here knows Streamlit.

All of them are Vega-Lite: the Data page is the first that opens, and Plotly's code alone takes a browser a second.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fer_core.chart_parts import Spec, bar_spec, emotion_colors, matrix
from fer_core.labels import FERPLUS_COLUMNS, FERPLUS_TO_EMOTION
from fer_core.palette import RIGHT_COLOR, WRONG_COLOR

_NO_FACE = "no face"
_SPLIT_COLORS = {"train": "#3b7dd8", "public": "#c26a1b", "private": "#8a5cc2"}


def label_histogram(by_emotion: Mapping[str, int], *, as_share: bool, ink: str) -> Spec:
    """Bars of one split's faces per emotion; the number stands at each bar's end."""
    total = max(1, sum(by_emotion.values()))
    values = [n / total if as_share else n for n in by_emotion.values()]
    texts = [f"{n / total:.1%}" if as_share else f"{n:,}" for n in by_emotion.values()]
    return bar_spec(list(by_emotion), values, texts, emotion_colors(list(by_emotion)), ink=ink, height=230)


def light(centres: NDArray[np.float64], shares: Mapping[str, NDArray], title: str) -> Spec:
    """How brightness or contrast is spread, a line a split."""
    rows = [
        {"grey": round(float(x), 1), "share": float(y), "split": split}
        for split, share in shares.items()
        for x, y in zip(centres, share, strict=True)
    ]
    colors = {"domain": list(shares), "range": [_SPLIT_COLORS[split] for split in shares]}
    encoding = {
        "x": {"field": "grey", "type": "quantitative", "title": title, "axis": {"grid": False}},
        "y": {"field": "share", "type": "quantitative", "title": None, "axis": {"format": ".0%", "tickCount": 3}},
        "color": {
            "field": "split", "type": "nominal", "scale": colors, "legend": {"orient": "top", "title": None},
        },
        "tooltip": [{"field": "split"}, {"field": "grey"}, {"field": "share", "format": ".1%", "title": "faces"}],
    }  # fmt: skip
    return {"height": 230, "data": {"values": rows}, "mark": {"type": "line", "strokeWidth": 2}, "encoding": encoding}


def votes(votes_V: Sequence[int] | NDArray, *, ink: str) -> Spec:
    """What the taggers said of one face."""
    values = [int(n) for n in votes_V]
    colors = emotion_colors([FERPLUS_TO_EMOTION.get(column, column) for column in FERPLUS_COLUMNS])
    names = [_NO_FACE if column == "NF" else column for column in FERPLUS_COLUMNS]
    texts = [str(n) if n else "" for n in values]
    return bar_spec(names, values, texts, colors, ink=ink, height=230, most=max(10, *values))


def label_agreement(counts_RC: NDArray[np.int64], rows: Sequence[str], columns: Sequence[str], *, ink: str) -> Spec:
    """FER2013's label against FER+'s majority: a matrix to click, colour by the share of the row."""
    totals = np.maximum(counts_RC.sum(axis=1, keepdims=True), 1)
    shares = counts_RC / totals
    same = np.array([[row == column for column in columns] for row in rows])
    colors = np.where(same, RIGHT_COLOR, WRONG_COLOR)
    texts = [[f"{share:.0%}" for share in row] for row in shares]
    tips = [[f"{n:,} of {totals[i, 0]:,}" for n in row] for i, row in enumerate(counts_RC)]
    titles = ("FER2013", "FER+ majority")
    return matrix(rows, columns, shares, texts, colors, tips, ink=ink, titles=titles)
