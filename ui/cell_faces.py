"""The faces behind a clicked cell of two runs' matrices, grouped by what the other run makes of them."""

import streamlit as st

from fer_core.cell_groups import GROUPS, BothAnswers
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run
from ui.gallery import face_gallery
from ui.gallery_faces import faces_in_data
from ui.paging import page_of

Cell = tuple[str, str, str]
"""Whose matrix ("A" or "B"), the true emotion, and what that run said."""
_PARAMETER = "cell"
_PER_PAGE = 60
_TONES = {"fixed": "right", "right in both": "right", "broken": "wrong", "still wrong": "wrong"}


def cell_in_address(classes: tuple[str, ...]) -> Cell | None:
    """The cell that the address names, as in `cell=A.fear.sad`; None where it names none that there is."""
    parts = tuple(st.query_params.get(_PARAMETER, "").split("."))
    if len(parts) != 3 or parts[0] not in ("A", "B") or not {*parts[1:]} <= {*classes}:
        return None
    return parts


def remember(cell: Cell | None) -> None:
    """Put the cell into the address, so that the link shows the same faces."""
    if cell is None:
        st.query_params.pop(_PARAMETER, None)
    elif st.query_params.get(_PARAMETER) != ".".join(cell):
        st.query_params[_PARAMETER] = ".".join(cell)


def cell_faces(run_a: Run, answers_a: SplitPredictions, both: BothAnswers, cell: Cell) -> None:
    """A switch between the groups, and the faces of one of them.

    Args: answers_a: all of A's on the split; the faces are found by them.
    """
    letter, true, predicted = cell
    groups = both.in_cell(letter, true, predicted)
    if not groups:
        st.caption(f"No {true} face was called {predicted} by {letter}.")
        return
    names = {name: f"{name} ({len(rows):,})" for name, rows in groups.items()}
    total = sum(map(len, groups.values()))
    st.markdown(f"**{total:,} {true} faces that {letter} calls {predicted}**")
    group = st.segmented_control("Group", list(groups), default=next(iter(groups)), required=True, key="group",
                                 bind="query-params", label_visibility="collapsed")  # fmt: skip
    group = group if group in groups else next(iter(groups))
    st.caption(f"{'; '.join(names.values())}. {GROUPS[group]}")
    rows = page_of(groups[group], _PER_PAGE, key="cell_page")
    faces = faces_in_data(run_a, answers_a)
    if faces is None:
        return
    said = [(both.classes[both.said_a_N[row]], both.classes[both.said_b_N[row]]) for row in rows]
    captions = [f"{true}\nA {a}, B {b}" for a, b in said]
    face_gallery(
        faces.images(both.rows_a_N[rows]), captions, key="cell_gallery", tones=[_TONES[group]] * len(rows), face_px=84
    )
