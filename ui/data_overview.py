"""The data at a glance: how many of each emotion, what each looks like on average, how bright the pictures are."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core import data_charts
from fer_core.browse import light_histograms, mean_faces
from fer_core.data import FaceStore
from ui.browse import choose_faces
from ui.chart import draw
from ui.gallery import face_gallery
from ui.theme import ink


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
    for column, (split, by_emotion) in zip(st.columns(3), view.counts().items(), strict=True):
        with column:
            st.markdown(f"**{split}**, {sum(by_emotion.values()):,} faces")
            spec = data_charts.label_histogram(by_emotion, as_share=unit == "share", ink=ink())
            draw(spec, key=f"histogram_{split}")
    st.caption(_imbalance(view))


def _imbalance(view: FaceStore) -> str:
    by_emotion = view.counts()["train"]
    missing = [name for name, count in by_emotion.items() if not count]
    if len(missing) == len(by_emotion):
        return "No face is left in train."
    without = f" It has none of {', '.join(missing)}." if missing else ""
    rarest, commonest, ratio = view.imbalance("train")
    if ratio >= 1.5:
        words = f"Imbalance ratio: in train there are {ratio:.1f} {commonest} faces for each {rarest} face."
    else:
        words = f"In train all {'other ' if missing else ''}emotions are about equally frequent."
    return words + without


def looks(view: FaceStore) -> None:
    """Mean face of each emotion, and how brightness and contrast are spread."""
    faces, light = st.columns([1.25, 1], gap="large")
    with faces:
        st.subheader("The mean face of each", anchor=False)
        face_gallery(
            _mean_faces(view.fingerprint, view),
            list(view.classes),
            key="mean_faces",
            face_px=110,
            on_pick=lambda place: choose_faces(emotion=view.classes[place]),
        )
        st.caption(
            "The mean of up to 2,000 training faces each: what stays visible is what they have in common. "
            "Click one to see its faces."
        )
    with light:
        st.subheader("Brightness and contrast", anchor=False)
        for column, title in (("brightness", "mean grey, 0 to 255"), ("contrast", "standard deviation of the grey")):
            centres, shares = _light(view.fingerprint, column, view)
            draw(data_charts.light(centres, shares, title), key=column)


@st.cache_resource(show_spinner=False, max_entries=16)
def _mean_faces(fingerprint: str, _view: FaceStore) -> NDArray[np.uint8]:
    return mean_faces(_view)


@st.cache_resource(show_spinner=False, max_entries=32)
def _light(fingerprint: str, column: str, _view: FaceStore) -> tuple[NDArray[np.float64], dict[str, NDArray]]:
    return light_histograms(_view, column)
