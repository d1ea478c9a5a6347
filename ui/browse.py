"""The browser of faces: filters that live in the address, a page of faces, and all that is known of one of them."""

import numpy as np
import streamlit as st

from fer_core import data_charts
from fer_core.browse import NO_MAJORITY, SORTS, Filters, copies_of, faces_csv, find_faces, near_copies_of
from fer_core.catalog import FLAGS
from fer_core.data import FaceStore
from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.data.quality import Quality
from fer_core.labels import SPLITS
from ui.gallery import face_gallery
from ui.paging import page_of
from ui.source import quality_of
from ui.theme import plot

PER_PAGE = 200
_DEFAULTS = {"split": "train", "emotion": "all", "ferplus": "any", "flag": "any", "agreement": (0.0, 1.0), "page": 1}
_MOST_COPIES = 12


def show_in_browser(**filters: str) -> None:
    """Set the browser's filters, the others to their defaults, and draw the page anew."""
    st.session_state["browse_next"] = {**_DEFAULTS, **filters}
    st.session_state["browse_reveal"] = st.session_state.get("browse_reveal", 0) + 1
    st.rerun(scope="app")


@st.fragment  # a filter, a page or a click draws the faces anew, not the charts above them
def browse(view: FaceStore) -> None:
    """Filters, faces, and the one that is selected."""
    for key, value in st.session_state.pop("browse_next", {}).items():
        st.session_state[key] = value
    st.subheader("The faces", anchor=False)
    quality = quality_of(view)
    filters = _filters(view)
    rows = find_faces(view, quality, filters)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{len(rows):,} faces. Click one to see it large.", width="stretch")
        _export(view, quality, rows)
    if not len(rows):
        st.info("No face fits these filters. Widen one of them.", icon=":material/filter_alt_off:")
        return
    shown = page_of(rows, PER_PAGE, key="page")
    names = [view.classes[label] for label in view.labels_N[shown]]
    gallery, detail = st.columns([3, 1])
    with gallery.container(height=720, border=False):
        picked = face_gallery(
            view.images_NHW[shown], names, key="faces", face_px=72, reveal=st.session_state.get("browse_reveal", 0)
        )
    with detail:
        _detail(view, quality, int(shown[picked or 0]))


def _filters(view: FaceStore) -> Filters:
    voted = view.votes_NV is not None
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        split = st.segmented_control(
            "Split", ["all", *SPLITS], default="train", required=True, key="split", bind="query-params"
        )
        emotions = ["all", *view.classes]
        emotion = st.segmented_control(
            "Emotion", emotions, default="all", required=True, key="emotion", bind="query-params"
        )
    flag_names = [name for name in FLAGS if voted or name not in ("not_a_face", "low_agreement")]
    columns = st.columns(4 if voted else 2)
    with columns[0]:
        flag = st.selectbox("Quality", ["any", *flag_names], key="flag", bind="query-params")
    with columns[1]:
        sort = st.selectbox("Order", SORTS if voted else SORTS[:-1], key="sort", bind="query-params")
    ferplus, agreement = "any", (0.0, 1.0)
    if voted:
        with columns[2]:
            ferplus = st.selectbox(
                "FER+ majority", ["any", *FERPLUS_CLASSES, NO_MAJORITY], key="ferplus", bind="query-params"
            )
        with columns[3]:
            agreement = st.slider(
                "Agreement of the taggers", 0.0, 1.0, (0.0, 1.0), 0.1, key="agreement", bind="query-params"
            )
    if flag != "any":
        st.caption(f"{FLAGS[flag].title.capitalize()}: {FLAGS[flag].text}")
    return Filters(
        split=None if split == "all" else split,
        emotion=None if emotion == "all" else emotion,
        ferplus=None if ferplus == "any" else ferplus,
        agreement=agreement,
        flag=None if flag == "any" else flag,
        sort=sort,
    )


def _export(view: FaceStore, quality: Quality, rows: np.ndarray) -> None:
    st.download_button(
        "Export as CSV",
        lambda: faces_csv(view, quality, rows),
        "faces.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
        disabled=not len(rows),
    )


def _detail(view: FaceStore, quality: Quality, row: int) -> None:
    st.image(view.images_NHW[row], width=220)
    st.markdown(f"**{view.classes[view.labels_N[row]]}**, {SPLITS[view.splits_N[row]]}, row {row:,}")
    st.caption(f"brightness {view.brightness_N[row]:.0f}, contrast {view.contrast_N[row]:.0f}")
    for name in quality.flags_of(row):
        st.badge(FLAGS[name].title, icon=":material/flag:", color="orange", help=FLAGS[name].text)
    if view.votes_NV is not None and view.votes_NV[row].any():
        st.markdown("What ten taggers said")
        plot(data_charts.votes(view.votes_NV[row]), "votes")
    copies, near = copies_of(view, row), near_copies_of(view, row)
    if len(copies) > 1:
        _rows_side_by_side(view, copies, f"**{len(copies)} copies**, pixel for pixel", "copies")
    if len(near):
        _rows_side_by_side(view, near, f"**{len(near)} near {'copy' if len(near) == 1 else 'copies'}**", "near")


def _rows_side_by_side(view: FaceStore, rows: np.ndarray, title: str, key: str) -> None:
    st.markdown(title)
    kept = rows[:_MOST_COPIES]
    captions = [f"{view.classes[view.labels_N[one]]}\n{_split(view, one)}, row {one:,}" for one in kept]
    face_gallery(view.images_NHW[kept], captions, key=key, face_px=80)


def _split(view: FaceStore, row: int) -> str:
    code = int(view.splits_N[row])
    return SPLITS[code] if code >= 0 else "left out"
