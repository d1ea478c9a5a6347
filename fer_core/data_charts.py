"""Charts of the data: counts, light, votes, and where two kinds of label part ways. Nothing here knows Streamlit."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from fer_core.chart_parts import MARGIN, Spec, bars, emotion_colors, matrix
from fer_core.labels import FERPLUS_COLUMNS, FERPLUS_TO_EMOTION
from fer_core.palette import RIGHT_COLOR, WRONG_COLOR

_SPLIT_COLORS = {"train": "#3b7dd8", "public": "#c26a1b", "private": "#8a5cc2"}


def label_histogram(counts: Mapping[str, Mapping[str, int]], *, as_share: bool) -> go.Figure:
    """Bars of faces per emotion, one panel a split; the number stands at each bar's end."""
    figure = make_subplots(1, len(counts), shared_yaxes=True, subplot_titles=list(counts), horizontal_spacing=0.04)
    for column, by_emotion in enumerate(counts.values(), 1):
        total = max(1, sum(by_emotion.values()))
        values = [n / total if as_share else n for n in by_emotion.values()]
        texts = [f"{n / total:.1%}" if as_share else f"{n:,}" for n in by_emotion.values()]
        own = bars(list(by_emotion), values, texts, emotion_colors(list(by_emotion)))
        figure.add_trace(own, 1, column)
        figure.update_xaxes(range=[0, max(values) * 1.25], showticklabels=False, row=1, col=column)
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(height=270, margin=MARGIN, showlegend=False, bargap=0.25)


def light(centres: NDArray[np.float64], shares: Mapping[str, NDArray], title: str) -> go.Figure:
    """How brightness or contrast is spread, a line a split."""
    figure = go.Figure()
    for split, share in shares.items():
        figure.add_trace(go.Scatter(
            x=centres, y=share, name=split, mode="lines", line={"color": _SPLIT_COLORS[split], "width": 2},
            hovertemplate=f"{split}: %{{y:.1%}} of the faces near %{{x:.0f}}<extra></extra>",
        ))  # fmt: skip
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", nticks=4)
    figure.update_xaxes(title=title)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return figure.update_layout(height=220, margin=MARGIN | {"b": 40}, legend=legend)


def votes(votes_V: Sequence[int] | NDArray) -> go.Figure:
    """What the taggers said of one face."""
    values = [int(n) for n in votes_V]
    colors = emotion_colors([FERPLUS_TO_EMOTION.get(column, column) for column in FERPLUS_COLUMNS])
    figure = go.Figure(bars(FERPLUS_COLUMNS, values, [str(n) if n else "" for n in values], colors))
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, max(10, *values) * 1.15], showticklabels=False)
    return figure.update_layout(height=250, margin=MARGIN | {"t": 5}, showlegend=False, bargap=0.25)


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
