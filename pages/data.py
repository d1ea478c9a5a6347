from ui.navigation import guard

guard()

import streamlit as st

from fer_core import charts
from fer_core.labels import SPLITS
from ui.gallery import face_gallery
from ui.paging import page_of
from ui.source import current_store
from ui.steps import step_strip
from ui.theme import plot

PER_PAGE = 120

st.title("Data", anchor=False)
store = current_store()
height, width = store.image_size
st.markdown(f"**{len(store):,} faces** of {width} x {height} grey pixels · source: `{store.source}`")
for note in store.notes:
    st.info(note, icon=":material/info:")
if store.kind == "sample":
    st.caption("These are drawn sample faces, so that everything works without a download. They are not people.")
step_strip(store)

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
plot(charts.label_histogram(store.counts(), as_share=unit == "share"), "histogram")
rarest, commonest, ratio = store.imbalance("train")
if ratio >= 1.5:
    st.caption(f"In train there are {ratio:.0f} {commonest} faces for each {rarest} face.")
else:
    st.caption("In train all emotions are about equally frequent.")

st.subheader("The faces", anchor=False)


@st.fragment  # a filter, a page or a click draws the gallery anew, not the charts above it
def browse() -> None:
    with st.container(horizontal=True, gap="small"):
        split = st.segmented_control("Split", SPLITS, default="train", required=True, key="split", bind="query-params")
        emotions = ["all", *store.classes]
        emotion = st.segmented_control(
            "Emotion", emotions, default="all", required=True, key="emotion", bind="query-params"
        )
    rows = store.rows(split)
    if emotion != "all":
        rows = rows[store.labels_N[rows] == store.classes.index(emotion)]
    st.caption(f"{len(rows):,} faces. Click one to see it large.")
    shown = page_of(rows, PER_PAGE, key="page")
    names = [store.classes[label] for label in store.labels_N[shown]]
    gallery, detail = st.columns([3.4, 1])
    with gallery.container(height=640, border=False):
        picked = face_gallery(store.images_NHW[shown], names, key="faces", face_px=80)
    with detail:
        place = picked or 0
        st.image(store.images_NHW[shown[place]], width=220)
        st.markdown(f"**{names[place]}**, {split}, row {shown[place]:,}")


browse()
