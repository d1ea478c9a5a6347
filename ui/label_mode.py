"""Which labels a page shows: FER2013's, or what FER+'s ten taggers say, in one of its modes."""

import streamlit as st

from fer_core.catalog import LABELS
from fer_core.data import FaceStore
from fer_core.data.labelling import labelled
from ui.source import key_of


def choose_labels(store: FaceStore) -> FaceStore:
    """The store under the chosen label mode; without votes there is nothing to choose."""
    if store.votes_NV is None:
        if store.is_fer2013:
            st.caption("Put FER+'s `fer2013new.csv` beside this data to see what ten taggers say of each face.")
        return store
    with st.container(horizontal=True, vertical_alignment="bottom"):
        mode = st.segmented_control(
            "Labels", list(LABELS), default="fer", required=True, key="labels", bind="query-params", help=_help()
        )
        contempt = True
        if mode != "fer":
            contempt = st.toggle("With contempt, FER+'s eighth emotion", True, key="contempt", bind="query-params")
    view = _view(key_of(store), mode, contempt, store)
    out = len(store) - len(view)
    st.caption(f"{LABELS[mode].text}" + (f" {out:,} of {len(store):,} faces are left out." if out else ""))
    return view


def _help() -> str:
    return "\n".join(f"- **{name}**, {entry.title}: {entry.text}" for name, entry in LABELS.items())


# A view shares the store's pixels; only labels, splits and targets are its own.
@st.cache_resource(show_spinner=False, max_entries=16)
def _view(key: str, mode: str, contempt: bool, _store: FaceStore) -> FaceStore:
    return labelled(_store, mode, contempt=contempt)
