"""The colours of the theme that the browser shows."""

import streamlit as st


def ink() -> str:
    """The colour of text on the page, for charts that draw their own numbers."""
    return "#e6e8ec" if st.context.theme.type == "dark" else "#1f2530"
