"""The map of all faces as a Plotly figure to lasso: a point a face, coloured by what is asked.

Plotly draws ten thousands of points on the graphics card, and knows a lasso; its code loads on this chart alone.
Shapes: M faces on the map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fer_core.chart_parts import GREY, emotion_colors
from fer_core.palette import RIGHT_COLOR, WRONG_COLOR

if TYPE_CHECKING:  # a third of a second that only this chart needs
    import plotly.graph_objects as go

COLOURED_BY: tuple[str, ...] = ("true emotion", "predicted", "mistake")
_PALE = 0.25
_HEIGHT = 640


@dataclass(frozen=True)
class Group:
    """The points of one colour."""

    name: str
    color: str
    places_M: NDArray[np.int64]
    """Their positions on the map."""
    pale: bool = False
    """Drawn smaller and behind, as those are of which nothing is known."""


def groups_of(
    by: str, labels_M: NDArray[np.int64], predicted_M: NDArray[np.int64], classes: Sequence[str]
) -> list[Group]:
    """Who is drawn in which colour; every face is in one group.

    Args:
        by: one of `COLOURED_BY`.
        labels_M: index into `classes`; -1 for a face that stands in no split.
        predicted_M: what the run says; -1 of faces that it was not asked about.
    """
    if by == "mistake":
        asked = predicted_M >= 0
        wrong = asked & (predicted_M != labels_M)
        rest = Group("not asked about", GREY, np.flatnonzero(~asked), pale=True)
        named = [("right", RIGHT_COLOR, asked & ~wrong), ("wrong", WRONG_COLOR, wrong)]
    else:
        values = predicted_M if by == "predicted" else labels_M
        unknown = "not asked about" if by == "predicted" else "in no split"
        rest = Group(unknown, GREY, np.flatnonzero(values < 0), pale=True)
        colors = zip(classes, emotion_colors(classes), strict=True)
        named = [(name, color, values == k) for k, (name, color) in enumerate(colors)]
    groups = [rest, *(Group(name, color, np.flatnonzero(mask)) for name, color, mask in named)]
    return [one for one in groups if len(one.places_M)]


def map_figure(xy_M2: NDArray[np.float32], groups: Sequence[Group]) -> "go.Figure":
    """A trace a group, in their order."""
    import plotly.graph_objects as go

    figure = go.Figure(
        [
            go.Scattergl(
                x=xy_M2[one.places_M, 0], y=xy_M2[one.places_M, 1], mode="markers", name=one.name, hoverinfo="name",
                marker={"color": one.color, "size": 3 if one.pale else 4, "opacity": _PALE if one.pale else 0.75},
            )
            for one in groups
        ]
    )  # fmt: skip
    bare = {"visible": False}
    return figure.update_layout(
        height=_HEIGHT, margin={"l": 0, "r": 0, "t": 0, "b": 0}, dragmode="lasso", xaxis=bare,
        yaxis=bare | {"scaleanchor": "x"}, legend={"itemsizing": "constant", "orientation": "h", "y": 1.02},
        uirevision="map",
    )  # fmt: skip


def places_of(points: Sequence[Mapping[str, Any]], groups: Sequence[Group]) -> NDArray[np.int64]:
    """Positions on the map of the points that were lassoed, ascending; what fits no group is passed over.

    Args: points: as the browser says them, with `curve_number` (the group) and `point_index`.
    """
    found = [
        int(groups[curve].places_M[index])
        for curve, index in ((point.get("curve_number"), point.get("point_index")) for point in points)
        if isinstance(curve, int)
        and isinstance(index, int)
        and 0 <= curve < len(groups)
        and 0 <= index < len(groups[curve].places_M)
    ]
    return np.unique(np.array(found, dtype=np.int64))
