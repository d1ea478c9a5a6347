"""How charts are put on a page: without tool bars, in the colours of the theme that the browser shows."""

import plotly.graph_objects as go
import streamlit as st


def ink() -> str:
    """The colour of text on the page, for charts that draw their own numbers."""
    return "#e6e8ec" if st.context.theme.type == "dark" else "#1f2530"


def plot(figure: go.Figure, key: str) -> None:
    """Draw a Plotly figure as wide as its container, without the tool bar that covers its title."""
    st.plotly_chart(figure, key=key, config={"displayModeBar": False})
