"""The map of all faces: made in the background, coloured by what is asked; a lasso opens the faces."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.data import FaceStore
from fer_core.errors import FerError
from fer_core.face_map import MapSettings, estimate_s, read_map
from fer_core.feature_file import features_folder
from fer_core.map_chart import COLOURED_BY, groups_of, map_figure, places_of
from fer_core.map_job import ACTIVE, MapStatus, map_status, start_map, stop_map
from ui.face_detail import face_detail
from ui.face_facts import face_facts, label_of, pickable_faces, split_of
from ui.looked import Looked
from ui.paging import page_of
from ui.steps import in_words

_PER_PAGE = 200
_QUICK = 5000
_ROW = "map_row"


def map_view(looked: Looked) -> None:
    """The map where there is one, else the button that makes it, or how far it is."""
    store = looked.store
    if store is None:
        return
    try:
        status = map_status(looked.run, store)
        if status.state in ACTIVE:
            st.fragment(_progress, run_every=1.0)(looked, store)
            return
        found = read_map(features_folder(looked.run, store))
    except FerError as error:
        st.info(str(error), icon=":material/info:")
        return
    if found is None:
        _offer(looked, store, status)
        return
    _map(looked, store, found.rows_M, found.xy_M2)
    st.caption(
        f"{len(found.rows_M):,} faces by t-SNE; the components before it hold {found.explained:.0%} of the variance. "
        "Neighbours are faces that the net takes for similar; distances between far groups mean nothing."
    )
    if found.settings.faces is not None and st.button("Map all faces", icon=":material/map:"):
        _start(looked, store, MapSettings())


def _offer(looked: Looked, store: FaceStore, status: MapStatus) -> None:
    """Begin a map, of all faces or of some; what went wrong last time stands above."""
    if status.state in ("failed", "lost"):
        st.error(status.message or "The last map was lost; begin it again.", icon=":material/error:")
    st.markdown("**Where the net puts every face**: those that it takes for similar lie together.")
    n = len(store.hashes_N)
    with st.container(horizontal=True):
        label = f"Map all {n:,} faces, about {in_words(estimate_s(n))}"
        if st.button(label, type="primary", icon=":material/map:"):
            _start(looked, store, MapSettings())
        if n > _QUICK and st.button(f"{_QUICK:,} of them, about {in_words(estimate_s(_QUICK))}"):
            _start(looked, store, MapSettings(faces=_QUICK))
    st.caption("It is made in the background: close the page, come back. Nearest faces are known with it.")


def _start(looked: Looked, store: FaceStore, settings: MapSettings) -> None:
    start_map(looked.run, store, settings)
    st.rerun(scope="app")


def _progress(looked: Looked, store: FaceStore) -> None:
    status = map_status(looked.run, store)
    if status.state not in ACTIVE:
        st.rerun(scope="app")
    st.progress(status.share, f"{status.step or 'starting'}: {status.message}")
    if st.button("Stop", icon=":material/stop:", disabled=status.state == "stopping"):
        stop_map(looked.run, store)


@st.fragment  # a lasso draws the faces anew, not the page
def _map(looked: Looked, store: FaceStore, rows_M: NDArray[np.int64], xy_M2: NDArray[np.float32]) -> None:
    by = st.segmented_control(
        "Coloured by", COLOURED_BY, default=COLOURED_BY[0], required=True, key="coloured_by", bind="query-params"
    )
    labels_M = np.where(store.splits_N[rows_M] >= 0, store.labels_N[rows_M], -1)
    groups = groups_of(by, labels_M, _predicted(looked, len(store.hashes_N))[rows_M], looked.found.classes)
    event = st.plotly_chart(
        map_figure(xy_M2, groups), key="face_map", on_select="rerun", selection_mode=("lasso", "box"),
        config={"displayModeBar": False, "scrollZoom": True},
    )  # fmt: skip
    picked = rows_M[places_of(event.selection.points, groups)]
    if not len(picked):
        st.caption("Draw a line around some points to see their faces. Scroll to zoom, double-click to begin again.")
        return
    _faces(looked, store, picked)


def _predicted(looked: Looked, n: int) -> NDArray[np.int64]:
    """What the run says of each row of the store; -1 of those that it was not asked about on this split."""
    assert looked.faces is not None
    predicted = np.full(n, -1)
    there = looked.faces.rows_N >= 0
    predicted[looked.faces.rows_N[there]] = looked.found.predicted_N[there]
    return predicted


def _faces(looked: Looked, store: FaceStore, picked: NDArray[np.int64]) -> None:
    assert looked.faces is not None
    chosen = int(st.session_state.get(_ROW, -1))
    row = chosen if chosen in picked else int(picked[0])
    gallery, detail = st.columns([2.6, 1])
    with gallery:
        st.markdown(f"**{len(picked):,} faces**")
        shown = page_of(picked, _PER_PAGE, key="map_page")
        captions = [f"{label_of(store, one)}\n{split_of(store, one)}" for one in shown]
        with st.container(height=900, border=False):
            pickable_faces(store, shown, captions, row, "lassoed", face_px=84, on_pick=_pick)
    with detail:
        places = np.flatnonzero(looked.faces.rows_N == row)
        if len(places):
            face_detail(looked, int(places[0]))
        else:
            st.image(store.images_NHW[row], width=220)
            st.markdown(f"**{label_of(store, row)}**, {split_of(store, row)}, row {row:,}")
            assert looked.quality is not None
            face_facts(store, looked.quality, row)


def _pick(row: int) -> None:
    st.session_state[_ROW] = row
