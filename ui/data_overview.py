"""The data at a glance: how many of each emotion, what each looks like on average, how bright the pictures are."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core import data_charts
from fer_core.browse import light_histograms, mean_faces
from fer_core.data import FaceStore
from ui.gallery import face_gallery
from ui.theme import plot


@st.fragment  # the toggle draws the bars anew, not the page
def counts(view: FaceStore) -> None:
    """Faces per emotion and split, and the imbalance in words."""
    st.subheader("How many of each", anchor=False)
    unit = st.segmented_control(
        "Show",
        ["count", "share"],
        default="count",
        required=True,
        key="unit",
        bind="query-params",
        label_visibility="collapsed",
    )
    plot(data_charts.label_histogram(view.counts(), as_share=unit == "share"), "histogram")
    rarest, commonest, ratio = view.imbalance("train")
    if ratio >= 1.5:
        st.caption(f"Imbalance ratio: in train there are {ratio:.1f} {commonest} faces for each {rarest} face.")
    else:
        st.caption("In train all emotions are about equally frequent.")


def looks(view: FaceStore) -> None:
    """Mean face of each emotion, and how brightness and contrast are spread."""
    faces, light = st.columns([1.25, 1], gap="large")
    with faces:
        st.subheader("The mean face of each", anchor=False)
        face_gallery(_mean_faces(view.fingerprint, view), list(view.classes), key="mean_faces", face_px=68)
        st.caption("The mean of up to 2,000 training faces each. What stays visible is what they have in common.")
    with light:
        st.subheader("Brightness and contrast", anchor=False)
        for column, title in (("brightness", "mean grey, 0 to 255"), ("contrast", "standard deviation of the grey")):
            centres, shares = _light(view.fingerprint, column, view)
            plot(data_charts.light(centres, shares, title), column)


@st.cache_resource(show_spinner=False, max_entries=16)
def _mean_faces(fingerprint: str, _view: FaceStore) -> NDArray[np.uint8]:
    return mean_faces(_view)


@st.cache_resource(show_spinner=False, max_entries=32)
def _light(fingerprint: str, column: str, _view: FaceStore) -> tuple[NDArray[np.float64], dict[str, NDArray]]:
    return light_histograms(_view, column)
