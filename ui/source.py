"""The open data source: which one is chosen, for every page; opened once, shared by all sessions, read-only."""

import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import streamlit as st
from streamlit.errors import StreamlitAPIException

from fer_core.data import FaceStore, find_source, open_store
from fer_core.data.quality import Quality, check
from fer_core.data.source import SAMPLE
from fer_core.data.uploads import SUFFIXES, keep_upload, list_sources
from fer_core.errors import FerError
from fer_core.settings import settings

_KEY = "source"


def title_with_source(title: str) -> FaceStore:
    """The page's title, beside it the switch between sources, and the store that is chosen."""
    left, right = st.columns([2.2, 1], vertical_alignment="bottom")
    with left:
        st.title(title, anchor=False)
    with right, st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        _switch()
    return current_store()


def current_source() -> str | None:
    """What `open_store` finds the chosen source by; None: the one that the app was started with."""
    return st.session_state.get("source_name")


def current_store() -> FaceStore:
    """The chosen source, or an error on the page that says what is wrong with it."""
    try:
        return store_of(current_source())
    except FerError as error:
        st.error(f"The data cannot be opened. {error}", icon=":material/folder_off:")
        st.caption(
            "Choose another source above; or set `FER_DATA` to a fer2013.csv, an image folder, or `sample`, and start "
            "the app again."
        )
        st.stop()


def quality_of(store: FaceStore) -> Quality:
    """Copies, conflicts and flags of a store, looked for once."""
    return _quality(key_of(store), store)


def key_of(store: FaceStore) -> str:
    """A cache's name for what is found in a store: of its content, its votes, and the folder of what is kept with it.

    The fingerprint alone will not do: the same CSV may be open with votes and, uploaded, without.
    """
    votes = "" if store.votes_NV is None else f"{zlib.crc32(np.ascontiguousarray(store.votes_NV).data):x}"
    return f"{store.fingerprint}:{votes}:{store.folder}"


def store_of(data: str | None) -> FaceStore:
    """A source by its name, opened once for all sessions; None: the one that the app was started with.

    Raises: FerError: it is not there, or damaged.
    """
    source = find_source(data)
    return _open_cached(source.name, source.full_signature)


def _switch() -> None:
    sources, whole = _sources()
    if new := st.session_state.pop("uploaded", None):
        st.session_state[_KEY] = new
    else:
        _remember(sources)
    chosen = st.selectbox("Source", list(sources), key=_KEY, bind="query-params", persist_state="session")
    first = next(iter(sources))
    st.session_state["source_name"] = None if chosen in (first, None) else sources[chosen]
    st.session_state["source_title"] = chosen
    if whole:
        # A new key after an upload: the menu is drawn closed, and without the file.
        with st.popover("", icon=":material/upload:", help="Add a source", key=f"upload_{_uploads()}"):
            _upload()


def _remember(sources: dict[str, str]) -> None:
    """Say again what is chosen: on the next page Streamlit forgets a value that came with the address."""
    title = st.session_state.get(_KEY) or st.session_state.get("source_title")
    if title not in sources:
        return
    st.session_state[_KEY] = title
    if title != next(iter(sources)) and _KEY not in st.query_params:
        with suppress(StreamlitAPIException):  # drawn on this page before: then the widget itself sees to the address
            st.query_params[_KEY] = title


def _sources() -> tuple[dict[str, str], bool]:
    """The sources to choose from; False: the app's own is not there, and only the sample can be offered."""
    try:
        return list_sources(), True
    except FerError:  # the page says what is wrong with it
        own = settings().data or ""
        return {Path(own).name or own: own, SAMPLE: SAMPLE}, False


def _upload() -> None:
    st.markdown("**Add a source**")
    st.caption(
        "A fer2013.csv, an archive of it, or a zip of image folders named after emotions. It stays on this machine."
    )
    types = [suffix.lstrip(".") for suffix in SUFFIXES]
    file = st.file_uploader("File", type=types, label_visibility="collapsed", key=f"file_{_uploads()}")
    if file and st.button("Open it", type="primary"):
        try:
            with st.spinner("Reading"):
                st.session_state["uploaded"] = keep_upload(file.name, file)
        except FerError as error:
            st.error(str(error), icon=":material/error:")
            return
        st.session_state["uploads"] = _uploads() + 1
        st.rerun()


def _uploads() -> int:
    return st.session_state.get("uploads", 0)


# The signature is in the cache's key: a file that has changed is read again.
@st.cache_resource(
    show_spinner="Opening the data. The first time it is read and kept; later times are instant.", max_entries=4
)
def _open_cached(name: str, signature: str) -> FaceStore:
    return open_store(name)


@st.cache_resource(show_spinner=False, max_entries=4)
def _quality(key: str, _store: FaceStore) -> Quality:
    return check(_store)
