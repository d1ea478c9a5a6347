"""The one way in which the pages draw a Vega-Lite chart."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import streamlit as st

from fer_core.chart_parts import SELECTION, Spec


def draw(spec: Spec, key: str) -> None:
    """Draw a chart; where only its numbers differ from what stands there, it moves and is not built anew."""
    st.vega_lite_chart(data_apart(spec), key=key)


def draw_to_click(spec: Spec, key: str) -> list[dict[str, Any]]:
    """Draw a matrix or bars to click; a click runs the page, or the fragment, again.

    Returns: the selected marks' fields, as its `SELECTION` names them; empty where none is.
    """
    event = st.vega_lite_chart(data_apart(spec), key=key, on_select="rerun", selection_mode=SELECTION)
    return event.selection.get(SELECTION) or [] if event else []


def data_apart(spec: Spec) -> Spec:
    """The same chart with its rows as named tables, which Streamlit sends apart from what the chart looks like.

    Rows inside a layer would make every change of a number another chart to the browser, which then compiles it and
    draws all of it: 40 to 80 ms, against 10 for other rows in the same chart.
    """
    tables: dict[str, pa.Table] = {}
    names: dict[int, str] = {}  # layers may share their rows
    return {**_named(spec, tables, names), "datasets": tables}


def _named(part: Mapping[str, Any], tables: dict[str, pa.Table], names: dict[int, str]) -> Spec:
    named = dict(part)
    if "data" in part:
        rows = part["data"]["values"]
        name = names.setdefault(id(rows), f"rows {len(names) + 1}")
        if name not in tables:
            columns = dict.fromkeys(column for row in rows for column in row)  # not every row has each of them
            tables[name] = pa.table({column: [row.get(column) for row in rows] for column in columns})
        named["data"] = {"name": name}
    if "layer" in part:
        named["layer"] = [_named(one, tables, names) for one in part["layer"]]
    return named
