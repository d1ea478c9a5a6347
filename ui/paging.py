"""Pages of a long list of faces."""

import math

import numpy as np
import streamlit as st


def page_of(rows: np.ndarray, per_page: int, *, key: str) -> np.ndarray:
    """The part of `rows` that is shown now, with page buttons where there is more than one page.

    The page lives in the address under `key`; a page that a new filter has left empty falls back to the first.
    """
    pages = math.ceil(len(rows) / per_page)
    if pages <= 1:
        return rows
    if not 1 <= st.session_state.get(key, 1) <= pages:
        st.session_state[key] = 1
    page = st.pagination(pages, key=key, bind="query-params")
    return rows[(page - 1) * per_page : page * per_page]
