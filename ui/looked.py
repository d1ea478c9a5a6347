"""What the Mistakes page looks at: a run's answers on a split, the faces behind them, and another run beside it."""

from dataclasses import dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.data import FaceStore
from fer_core.data.quality import Quality
from fer_core.mistakes import Answers
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run
from ui.gallery_faces import DataFaces
from ui.source import quality_of

_AT = "at"


@dataclass(frozen=True)
class Looked:
    """Shapes: N faces of the split."""

    run: Run
    split: str
    found: Answers
    predictions: SplitPredictions
    """What `found` was made of."""
    faces: DataFaces | None
    """None where the faces are not in the data that is open."""
    beside: tuple[str, Answers, NDArray[np.int64]] | None = None
    """Another run's name, its answers, and where each of the N faces stands among them; -1 where it is not."""

    @property
    def store(self) -> FaceStore | None:
        return None if self.faces is None else self.faces.store

    @property
    def quality(self) -> Quality | None:
        return None if self.faces is None else quality_of(self.faces.store)

    def row(self, place: int) -> int | None:
        """Row in the store of a face; None where it is not there."""
        row = -1 if self.faces is None else int(self.faces.rows_N[place])
        return row if row >= 0 else None

    def of_faces(self, values_of_store: NDArray, missing: float | bool) -> NDArray:
        """A column of the store, face by face; `missing` where a face is not there."""
        assert self.faces is not None
        rows_N = self.faces.rows_N
        found = values_of_store[rows_N]
        return np.where(rows_N >= 0, found, missing)


def place_in_address(n: int) -> int | None:
    """The face that the address names, a position among n; None where it names none that there is."""
    text = st.query_params.get(_AT, "")
    return int(text) if text.isdecimal() and int(text) < n else None


def look_at(place: int) -> None:
    """Put a face into the address, so that the link shows it large."""
    st.query_params[_AT] = str(place)
