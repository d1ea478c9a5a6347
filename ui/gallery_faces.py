"""The faces that a run judged, found in the data that is open, and a word on those that are not there.

Shapes: N faces of a split, M of them shown, H x W pixels.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.data import FaceStore
from fer_core.errors import FerError
from fer_core.label_sides import rows_in
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run
from ui.source import current_source, key_of, store_of

GREY = 128


@dataclass(frozen=True)
class DataFaces:
    """A split's faces in an open store."""

    store: FaceStore
    rows_N: NDArray[np.int64]
    """Row in the store; -1 where the face is not in the data."""

    def images(self, shown_M: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pictures of these of the N faces, uint8 (M, H, W), plain grey where there is none."""
        rows_M = self.rows_N[shown_M]
        images = np.full((len(rows_M), *self.store.image_size), GREY, dtype=np.uint8)
        images[rows_M >= 0] = self.store.images_NHW[rows_M[rows_M >= 0]]
        return images


def faces_in_data(run: Run, predictions: SplitPredictions) -> DataFaces | None:
    """Where the faces are, and how many are not there; None, and how to see them, where none of them is.

    They are looked for in the source that the run was trained on, and where that is gone, or the run is a shipped one,
    in the source that is open (`label_sides.rows_in`).
    """
    store = _source_for(run)
    n = len(predictions.hashes_N)
    rows_N = np.full(n, -1) if store is None else _rows(
        key_of(store), predictions.fingerprint, predictions.hashes_N, predictions.rows_N, store, predictions
    )  # fmt: skip
    missing = int((rows_N < 0).sum())
    if store is None or missing == n:
        _say_how_to_see_them(run, missing)
        return None
    if missing:
        st.caption(f"{missing:,} of {n:,} faces are not in your data and shown without a picture.")
    return DataFaces(store, rows_N)


def _say_how_to_see_them(run: Run, faces: int) -> None:
    whose = "FER2013's, which is" if run.shipped else "those that the run was judged on, which are"
    st.info(
        f"The {faces:,} faces are {whose} not the data that is open. To see them, choose that data as the source on "
        "the Data page, or start the app with `FER_DATA` set to it.",
        icon=":material/image_not_supported:",
    )


def answer_table(
    trues: Sequence[str], saids: Sequence[str], confidence_M: NDArray[np.float64], *, key: str,
    on_pick: Callable[[int], None],
) -> None:  # fmt: skip
    """Answers without pictures, one a row, under the emotions' names; `on_pick` is told the position of a click."""

    def heard() -> None:
        for place in st.session_state[key].selection.rows:
            on_pick(place)

    rows = [
        {"labelled": true, "taken for": said, "sure": float(share)}
        for true, said, share in zip(trues, saids, confidence_M, strict=True)
    ]
    sure = st.column_config.ProgressColumn("How sure", format="percent", min_value=0, max_value=1)
    st.dataframe(
        rows, key=key, on_select=heard, selection_mode="single-row", hide_index=True, height=640,
        column_config={"labelled": "Labelled", "taken for": "Taken for", "sure": sure},
    )  # fmt: skip


def _source_for(run: Run) -> FaceStore | None:
    """The run's own source, else the one that is open; None where neither can be had: the Data page says why."""
    places = [] if run.shipped else [run.config().data]
    for place in [*places, current_source()]:
        with suppress(FerError):
            return store_of(place)
    return None


@st.cache_data(show_spinner="Looking for these faces in your data", max_entries=16)
def _rows(
    key: str,
    trained_on: str,
    hashes_N: NDArray[np.uint64],
    rows_N: NDArray[np.int64],
    _store: FaceStore,
    _predictions: SplitPredictions,
) -> NDArray[np.int64]:
    return rows_in(_store, _predictions)
