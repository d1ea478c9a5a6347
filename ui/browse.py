"""The browser of faces: filters that live in the address, a page of faces, and all that is known of one of them."""

import numpy as np
import streamlit as st

from fer_core.browse import NO_MAJORITY, SORTS, Filters, faces_csv, find_faces
from fer_core.catalog import FLAGS, VOTED_FLAGS
from fer_core.data import FaceStore
from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.data.quality import Quality, near_copies
from fer_core.labels import SPLITS
from ui.face_facts import face_facts, label_of, pickable_faces, split_of
from ui.paging import page_of
from ui.source import quality_of
from ui.steps import in_words

PER_PAGE = 200
_DEFAULTS = {
    "split": "train", "emotion": "all", "ferplus": "any", "flag": "any", "agreement": (0.0, 1.0), "sort": SORTS[0],
    "page": 1, "face": None,
}  # fmt: skip
_NEAR_FACES_PER_S = 4000
"""About what one core compares; more faces take a little longer each."""


def choose_faces(**filters: str) -> None:
    """Set the browser's filters for the next run, the others to their defaults, and let it scroll into view."""
    st.session_state["browse_next"] = {**_DEFAULTS, **filters}
    st.session_state["browse_reveal"] = st.session_state.get("browse_reveal", 0) + 1


def show_in_browser(**filters: str) -> None:
    """`choose_faces`, and draw the page anew at once."""
    choose_faces(**filters)
    st.rerun(scope="app")


def take_choice(store: FaceStore) -> None:
    """Put into the widgets what `choose_faces` asked for; the page calls it before it draws any of them."""
    choice = st.session_state.pop("browse_next", {})
    if st.session_state.get("browse_of", store.source) != store.source:
        choice = {"page": 1, "face": None, **choice}  # a row of another source is another face
    st.session_state["browse_of"] = store.source
    for key, value in choice.items():
        st.session_state[key] = value


@st.fragment  # a filter, a page or a click draws the faces anew, not the charts above them
def browse(view: FaceStore) -> None:
    """Filters, faces, and the one that is selected."""
    st.subheader("The faces", anchor=False)
    quality = quality_of(view)
    filters = _filters(view)
    if filters.flag is not None and filters.flag not in quality.known_flags:
        st.info("Near copies have not been looked for in this data yet.", icon=":material/image_search:")
        offer_near_copies(view, key="near_in_browser")
        return
    rows = find_faces(view, quality, filters)
    with st.container(horizontal=True, vertical_alignment="center"):
        found = "1 face" if len(rows) == 1 else f"{len(rows):,} faces"
        st.caption(f"{found}. Click one to see it large." if len(rows) else found, width="stretch")
        row = _row_input(len(view.labels_N) - 1)
        _export(view, quality, rows)
    if not len(rows):
        st.info("No face fits these filters. Widen one of them.", icon=":material/filter_alt_off:")
        return
    shown = page_of(rows, PER_PAGE, key="page")
    row = int(shown[0]) if row is None else row
    gallery, detail = st.columns([3, 1])
    with gallery.container(height=720, border=False, key="browser_faces"):
        names = [view.classes[label] for label in view.labels_N[shown]]
        reveal = st.session_state.get("browse_reveal", 0)
        pickable_faces(view, shown, names, row, "faces", face_px=72, on_pick=_pick, reveal=reveal)
    with detail:
        _detail(view, quality, row, missing=row not in rows)


def offer_near_copies(store: FaceStore, *, key: str) -> None:
    """A button that looks for near copies, which takes a while, and draws the page anew once they are known."""
    seconds = in_words(len(store.hashes_N) / _NEAR_FACES_PER_S)
    if st.button(f"Look for near copies, about {seconds}", icon=":material/image_search:", key=key):
        bar = st.progress(0.0, "Comparing faces")
        near_copies(store, lambda done, total: bar.progress(min(1.0, done / max(1, total)), "Comparing faces"))
        st.rerun(scope="app")


def _filters(view: FaceStore) -> Filters:
    voted = view.votes_NV is not None
    emotions = ["all", *view.classes]
    flags = ["any", *(name for name in FLAGS if voted or name not in VOTED_FLAGS)]
    sorts = SORTS if voted else SORTS[:-1]
    for key, options in (("emotion", emotions), ("flag", flags), ("sort", sorts)):
        if st.session_state.get(key, options[0]) not in options:  # gone with the votes or the eighth emotion
            st.session_state[key] = options[0]
    with st.container(horizontal=True, gap="small", vertical_alignment="bottom"):
        split = st.segmented_control(
            "Split", ["all", *SPLITS], default="train", required=True, key="split", bind="query-params"
        )
        emotion = st.segmented_control(
            "Emotion", emotions, default="all", required=True, key="emotion", bind="query-params"
        )
    columns = st.columns(4 if voted else 2)
    with columns[0]:
        flag = st.selectbox("Quality", flags, format_func=_title, key="flag", bind="query-params")
    with columns[1]:
        sort = st.selectbox("Order", sorts, key="sort", bind="query-params")
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


def _title(flag: str) -> str:
    return FLAGS[flag].title if flag in FLAGS else flag


def _row_input(last: int) -> int | None:
    """The selected face by its row: set by a click, or typed; None at first."""
    return st.number_input(
        "Row", 0, last, None, key="face", bind="query-params", placeholder="Row", width=165,
        icon=":material/tag:",
        label_visibility="collapsed", help="Show the face of this row of the data.",
    )  # fmt: skip


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


def _pick(row: int) -> None:
    st.session_state["face"] = row


def _detail(view: FaceStore, quality: Quality, row: int, *, missing: bool) -> None:
    st.image(view.images_NHW[row], width=220)
    st.markdown(f"**{label_of(view, row)}**, {split_of(view, row)}, row {row:,}")
    if missing:
        st.caption(":material/filter_alt_off: Not among the faces that the filters leave.")
    face_facts(view, quality, row, _pick)
