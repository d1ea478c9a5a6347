"""What the data knows of one face: light, flags, ten taggers' votes, its copies and its near copies."""

from collections.abc import Callable

import numpy as np
import streamlit as st

from fer_core import data_charts
from fer_core.browse import copies_of, near_copies_of
from fer_core.catalog import FLAGS
from fer_core.data import FaceStore
from fer_core.data.quality import Quality
from fer_core.labels import SPLITS
from ui.chart import draw
from ui.gallery import face_gallery
from ui.theme import ink

OnPick = Callable[[int], None]
"""Told the row of a face that is clicked."""
_MOST_COPIES = 12


def face_facts(view: FaceStore, quality: Quality, row: int, on_pick: OnPick | None = None) -> None:
    """Everything but the picture itself, below one another."""
    st.caption(f"brightness {view.brightness_N[row]:.0f}, contrast {view.contrast_N[row]:.0f}")
    for name in quality.flags_of(row):
        st.badge(FLAGS[name].title, icon=":material/flag:", color="orange", help=FLAGS[name].text)
    if view.votes_NV is not None and view.votes_NV[row].any():
        st.markdown("What ten taggers said")
        draw(data_charts.votes(view.votes_NV[row], ink=ink()), key="votes")
    copies, near = copies_of(view, row), near_copies_of(view, row)
    if len(copies) > 1:
        faces_in_a_row(view, copies, row, f"**{len(copies)} copies**, pixel for pixel", "copies", on_pick)
    if len(near):
        title = f"**{len(near)} near {'copy' if len(near) == 1 else 'copies'}**"
        faces_in_a_row(view, near, row, title, "near", on_pick)


def faces_in_a_row(
    view: FaceStore,
    rows: np.ndarray,
    row: int,
    title: str,
    key: str,
    on_pick: OnPick | None,
    lines: list[str] | None = None,
) -> None:
    """Some faces with their label, split and row (or a line of one's own below the label); at most twelve."""
    st.markdown(title)
    kept = rows[:_MOST_COPIES]
    second = lines or [f"{split_of(view, one)}, row {one:,}" for one in kept]
    captions = [f"{label_of(view, one)}\n{line}" for one, line in zip(kept, second, strict=False)]
    pickable_faces(view, kept, captions, row, key, face_px=72, on_pick=on_pick)
    if len(rows) > len(kept):
        st.caption(f"and {len(rows) - len(kept)} more")


def pickable_faces(
    view: FaceStore, rows: np.ndarray, captions: list[str], row: int, key: str, *, face_px: int,
    on_pick: OnPick | None, reveal: int = 0,
) -> None:  # fmt: skip
    """Faces of which `row` is marked, and of which a click selects another one."""
    places = np.flatnonzero(rows == row)
    face_gallery(
        view.images_NHW[rows],
        captions,
        key=key,
        face_px=face_px,
        selected=int(places[0]) if len(places) else None,
        reveal=reveal,
        on_pick=(lambda place: on_pick(int(rows[place]))) if on_pick else None,
    )


def label_of(view: FaceStore, row: int) -> str:
    """The emotion that a row is labelled with."""
    return view.classes[view.labels_N[row]] if view.splits_N[row] >= 0 else "no label"


def split_of(view: FaceStore, row: int) -> str:
    """The split that a row stands in."""
    code = int(view.splits_N[row])
    return SPLITS[code] if code >= 0 else "left out"
