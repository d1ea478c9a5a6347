"""One face of a run's answers, large: what the runs make of it, what people say, what it looks like to the net."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core import charts
from fer_core.chart_parts import grouped_bars
from fer_core.data import FaceStore
from fer_core.errors import FerError
from fer_core.feature_file import FILE, Features, features_folder, nearest_faces, read_features
from fer_core.palette import RUN_COLORS
from fer_core.review import face_hash
from fer_core.runs import Run
from ui.attention import attention
from ui.chart import draw
from ui.face_facts import face_facts, faces_in_a_row
from ui.looked import Looked
from ui.marking import marking
from ui.theme import ink

_NEAREST = 6


def face_detail(looked: Looked, place: int) -> None:
    """The picture, its marks, and everything that is known of it."""
    found, row = looked.found, looked.row(place)
    label, said = (found.classes[one[place]] for one in (found.labels_N, found.predicted_N))
    if row is not None and looked.faces is not None:
        kinds = [int(one[place]) for one in (found.predicted_N, found.labels_N)]
        attention(looked.run, found.classes, kinds, looked.faces.images(np.array([place]))[0])
    words = f"taken for **{said}**" if label != said else "and called so"
    st.markdown(f"labelled **{label}**, {words}")
    marking(face_hash(found.hashes_N[place]), label, said, looked.split)
    _probabilities(looked, place)
    if row is None or looked.store is None or looked.quality is None:
        return
    _nearest(looked, row)
    face_facts(looked.store, looked.quality, row)


def _probabilities(looked: Looked, place: int) -> None:
    """Of one run as bars in the emotions' colours, of two as bars side by side."""
    found = looked.found
    other = _beside(looked, place)
    if other is None:
        spec = charts.probabilities(found.probabilities_NK[place], found.classes, ink=ink())
    else:
        name, shares = other
        values = {looked.run.name: found.probabilities_NK[place], name: shares}
        spec = grouped_bars(found.classes, values, list(RUN_COLORS.values()), "{:.0%}", ink=ink(), most=1.0)
    draw(spec, key="shares")


def _beside(looked: Looked, place: int) -> tuple[str, NDArray[np.float64]] | None:
    if looked.beside is None:
        return None
    name, answers, places_N = looked.beside
    if places_N[place] < 0:
        st.caption(f"{name} was not asked about this face.")
        return None
    return name, answers.probabilities_NK[places_N[place]]


def _nearest(looked: Looked, row: int) -> None:
    """The training faces that the net takes for the most similar ones."""
    assert looked.store is not None
    try:
        features = _features(looked.run, looked.store)
    except FerError:
        return  # a run without weights has no features, and the Map says so
    if features is None:
        st.caption("Its nearest training faces are known once the run's faces are mapped: see Map.")
        return
    rows, cosines = nearest_faces(features, row, _NEAREST, looked.store.rows("train"))
    lines = [f"{cosine:.2f}" for cosine in cosines]
    faces_in_a_row(looked.store, rows, row, "**Nearest in train**, to this net", "nearest", None, lines)


def _features(run: Run, store: FaceStore) -> Features | None:
    file = features_folder(run, store) / FILE
    return _read(str(file), file.stat().st_mtime_ns if file.exists() else 0, run, store)


@st.cache_resource(show_spinner=False, max_entries=2)  # read and widened once: half a second, at each click
def _read(file: str, changed_ns: int, _run: Run, _store: FaceStore) -> Features | None:
    return read_features(_run, _store)
