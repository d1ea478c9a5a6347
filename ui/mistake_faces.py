"""A run's answers as faces, by filters that live in the address."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.catalog import FLAGS
from fer_core.mistakes import SORTS, MistakeFilters
from ui.faces_and_detail import faces_and_detail
from ui.looked import Looked

_WHOLE = (0.0, 1.0)


@st.fragment  # a filter, a page or a click draws the faces anew, not the page
def mistake_faces(looked: Looked) -> None:
    """Filters, faces, and the one that is looked at."""
    faces_and_detail(looked, _chosen(looked))


def _chosen(looked: Looked) -> NDArray[np.int64]:
    """Positions of the faces that the filters leave."""
    emotions = ["any", *looked.found.classes]
    quality = looked.quality
    voted = quality is not None and quality.store.votes_NV is not None
    for key in ("true", "predicted"):
        if st.session_state.get(key, "any") not in emotions:  # of a run with other emotions
            st.session_state[key] = "any"
    first = st.columns([1, 1, 1.2, 1.2])
    true = first[0].selectbox("True emotion", emotions, key="true", bind="query-params")
    predicted = first[1].selectbox("Taken for", emotions, key="predicted", bind="query-params")
    with first[2]:
        show = st.segmented_control(
            "Show", ["mistakes", "all"], default="mistakes", required=True, key="show", bind="query-params"
        )
    sort = first[3].selectbox("Order", SORTS if voted else SORTS[:-1], key="order", bind="query-params")
    second = st.columns(4 if voted else 3)
    confidence = _range(second[0], "How sure", "sure", "Probability of what the model said.")
    margin = _range(second[1], "Margin", "margin", "That probability minus the next one's: small is a close call.")
    flagged, agreement = None, _WHOLE
    if quality is not None:
        flags = ["any", *quality.known_flags]
        flag = second[2].selectbox("Quality", flags, format_func=_title, key="mistakes_flag", bind="query-params")
        flagged = None if flag == "any" else looked.of_faces(quality.flag(flag), False).astype(bool)
    if voted:
        agreement = _range(second[3], "Agreement of the taggers", "agreed", "Share of the votes behind the top one.")
    filters = MistakeFilters(
        None if true == "any" else true, None if predicted == "any" else predicted, show == "mistakes",
        confidence, margin, agreement, sort,
    )  # fmt: skip
    known = looked.of_faces(quality.vote_share_N, np.nan) if voted and quality is not None else None
    return looked.found.select(filters, agreement_N=known, flagged_N=flagged)


def _range(column: st.delta_generator.DeltaGenerator, label: str, key: str, tip: str) -> tuple[float, float]:
    return column.slider(label, 0.0, 1.0, _WHOLE, 0.01, key=key, bind="query-params", help=tip)


def _title(flag: str) -> str:
    return FLAGS[flag].title if flag in FLAGS else flag
