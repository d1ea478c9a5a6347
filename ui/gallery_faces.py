"""The pictures that go with a run's answers, found in the data that is open, and a word on those that are not there.

Shapes: N faces of a split, M of them shown, H x W pixels.
"""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.data import FaceStore, open_store
from fer_core.data.known import find_faces
from fer_core.errors import FerError
from fer_core.runs import Run
from ui.source import current_source, faces_of, key_of

_GREY = 128


def pictures(run: Run, hashes_N: NDArray[np.uint64], shown_M: NDArray[np.int64]) -> NDArray[np.uint8] | None:
    """Pictures of the shown faces, uint8 (M, H, W), plain grey where there is none; says how many that are.

    A run of the user's is looked up in the source that it was trained on. A shipped one has no source here: its faces
    are looked for in the one that is open, by their pixels, else by a near copy.

    Args:
        hashes_N: of all faces of the split.
        shown_M: positions among them.
    Returns: None where none of the N faces is in the data.
    """
    if not run.shipped:
        images, missing = faces_of(run, hashes_N[shown_M])
        if missing:
            few = f"{missing} of these {len(shown_M)} faces"
            st.warning(f"{few} are not in the data that is open; they are shown grey.")
        return images
    store = _open_source()
    rows_N = np.full(len(hashes_N), -1) if store is None else _rows(key_of(store), hashes_N, store)
    missing = int((rows_N < 0).sum())
    if store is None or missing == len(rows_N):
        st.info(
            f"The {len(rows_N):,} faces are FER2013's, which is not the data that is open. To see them, choose your "
            "FER2013 as the source on the Data page, or start the app with `FER_DATA` set to it.",
            icon=":material/image_not_supported:",
        )
        return None
    if missing:
        st.caption(f"{missing:,} of {len(rows_N):,} faces are not in your data and shown without a picture.")
    rows_M = rows_N[shown_M]
    images = np.full((len(rows_M), *store.image_size), _GREY, dtype=np.uint8)
    images[rows_M >= 0] = store.images_NHW[rows_M[rows_M >= 0]]
    return images


def answer_table(
    trues: Sequence[str], saids: Sequence[str], confidence_M: NDArray[np.float64], *, key: str
) -> int | None:
    """Answers without pictures, one a row, under the emotions' names; the position of the row that is chosen."""
    rows = [
        {"labelled": true, "taken for": said, "sure": float(share)}
        for true, said, share in zip(trues, saids, confidence_M, strict=True)
    ]
    sure = st.column_config.ProgressColumn("How sure", format="percent", min_value=0, max_value=1)
    event = st.dataframe(
        rows, key=key, on_select="rerun", selection_mode="single-row", hide_index=True, height=640,
        column_config={"labelled": "Labelled", "taken for": "Taken for", "sure": sure},
    )  # fmt: skip
    chosen = [place for place in event.selection.rows if place < len(rows)]  # of a longer table, before it was filtered
    return chosen[0] if chosen else None


def _open_source() -> FaceStore | None:
    """The source that is chosen; None where it cannot be opened, which the Data page says more of."""
    try:
        with st.spinner("Opening the data"):
            return open_store(current_source())
    except FerError:
        return None


@st.cache_data(show_spinner="Looking for these faces in your data", max_entries=16)
def _rows(key: str, hashes_N: NDArray[np.uint64], _store: FaceStore) -> NDArray[np.int64]:
    return find_faces(_store, hashes_N)
