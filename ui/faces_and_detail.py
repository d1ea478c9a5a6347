"""Some of a run's faces in an order, page by page, beside the one that is looked at."""

from collections.abc import Callable

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from ui.face_detail import face_detail
from ui.gallery import face_gallery
from ui.gallery_faces import answer_table
from ui.looked import Looked, look_at, place_in_address
from ui.paging import page_of

PER_PAGE = 200
_PAGE = "mistakes_page"

SecondLine = Callable[[NDArray[np.int64]], list[str]]
"""Places of the shown faces -> what stands below each pair of emotions."""


def faces_and_detail(looked: Looked, rows: NDArray[np.int64], second_line: SecondLine | None = None) -> None:
    """Gallery and large face; the arrow keys step through all pages.

    Args:
        rows: positions among the N faces, in the order to show them.
        second_line: left out, how sure the model was.
    """
    place = place_in_address(len(looked.found.labels_N))
    if not len(rows) and place is None:
        st.info("No face fits these filters. Widen one of them.", icon=":material/filter_alt_off:")
        return
    place = int(rows[0]) if place is None else place
    gallery, detail = st.columns([2.6, 1])
    with detail:
        _steps(rows, place)
        face_detail(looked, place)
    with gallery:
        st.caption(f"{len(rows):,} of {len(looked.found.labels_N):,} faces. Click one, or step with the arrow keys.")
        shown = page_of(rows, PER_PAGE, key=_PAGE)
        sure = looked.found.confidence_N
        lines = second_line(shown) if second_line else [f"{share:.0%}" for share in sure[shown]]
        _gallery(looked, shown, place, lines)


def _steps(rows: NDArray[np.int64], place: int) -> None:
    """Buttons to the faces before and after, for the arrow keys too."""
    found = np.flatnonzero(rows == place)
    at = int(found[0]) if len(found) else None
    with st.container(horizontal=True, gap="small"):
        for name, step, icon, key in (
            ("previous", -1, ":material/chevron_left:", "Left"), ("next", 1, ":material/chevron_right:", "Right"),
        ):  # fmt: skip
            to = 0 if at is None else at + step
            st.button(
                "", icon=icon, shortcut=key, disabled=not 0 <= to < len(rows), on_click=_go, args=[rows, to],
                key=f"step {name}", help=f"The {name} face.",
            )  # fmt: skip
    if at is None:
        st.caption(":material/filter_alt_off: Not among the faces that the filters leave.")


def _go(rows: NDArray[np.int64], to: int) -> None:
    look_at(int(rows[to]))
    if len(rows) > PER_PAGE:
        st.session_state[_PAGE] = to // PER_PAGE + 1


def _gallery(looked: Looked, shown: NDArray[np.int64], place: int, lines: list[str]) -> None:
    found = looked.found
    trues = [found.classes[label] for label in found.labels_N[shown]]
    saids = [found.classes[label] for label in found.predicted_N[shown]]

    def pick(at: int) -> None:
        look_at(int(shown[at]))

    if looked.faces is None:
        answer_table(trues, saids, found.confidence_N[shown], key="answers", on_pick=pick)
        return
    captions = [f"{true} → {said}\n{line}" for true, said, line in zip(trues, saids, lines, strict=True)]
    tones = ["right" if true == said else "wrong" for true, said in zip(trues, saids, strict=True)]
    marked = np.flatnonzero(shown == place)
    with st.container(height=900, border=False):
        face_gallery(
            looked.faces.images(shown), captions, key="mistakes", tones=tones,
            selected=int(marked[0]) if len(marked) else None, on_pick=pick,
        )  # fmt: skip
