"""The open data source, shared by all sessions and read-only."""

import numpy as np
import streamlit as st

from fer_core.data import FaceStore, find_source, open_store
from fer_core.errors import FerError
from fer_core.runs import Run


def current_store() -> FaceStore:
    """The source that the app was started with, or an error on the page that says what is wrong with it."""
    try:
        return _open(None)
    except FerError as error:
        st.error(f"The data cannot be opened. {error}", icon=":material/folder_off:")
        st.caption("Set `FER_DATA` to a fer2013.csv, an image folder, or `sample`, and start the app again.")
        st.stop()


def faces_of(run: Run, hashes_N: np.ndarray) -> tuple[np.ndarray, int]:
    """Pictures of faces known by their hash: uint8 (N, H, W), and how many were not found (they are plain grey).

    They are looked for in the run's own source, and in the app's where that one is gone.
    """
    try:
        store = _open(run.config().data)
    except FerError:
        store = current_store()
    rows = store.find(hashes_N)
    images = np.full((len(rows), *store.image_size), 128, dtype=np.uint8)
    images[rows >= 0] = store.images_NHW[rows[rows >= 0]]
    return images, int((rows < 0).sum())


def _open(data: str | None) -> FaceStore:
    source = find_source(data)
    return _open_cached(source.name, source.signature)


# The signature is in the cache's key: a file that has changed is read again.
@st.cache_resource(
    show_spinner="Opening the data. The first time it is read and kept; later times are instant.", max_entries=4
)
def _open_cached(name: str, signature: str) -> FaceStore:
    return open_store(name)
