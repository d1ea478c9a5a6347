"""The review list: every face that somebody has marked, what was said of it, and the way into the next training."""

import numpy as np
import streamlit as st

from fer_core.data import FaceStore
from fer_core.data.known import find_faces
from fer_core.errors import FerError
from fer_core.review import Mark, ReviewList, to_csv
from ui.gallery import face_gallery
from ui.gallery_faces import GREY, DataFaces
from ui.paging import page_of

_PER_PAGE = 200


def review_view(store: FaceStore | None) -> None:
    """Faces with their marks, the newest first; the selected one can be taken off; the list as CSV."""
    reviews = ReviewList()
    try:
        marks = reviews.marks()[::-1]
        damaged = reviews.damaged
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        return
    if damaged:
        st.warning(f"{reviews.path.name}: {damaged:,} lines cannot be read and are passed over.")
    if not marks:
        st.info("Nothing is marked yet. Open a face, and say what is wrong with it.", icon=":material/rate_review:")
        return
    _totals(marks)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button("Export as CSV", to_csv(marks), "review.csv", "text/csv", icon=":material/download:",
                           on_click="ignore")  # fmt: skip
        st.button("Undo the last mark", icon=":material/undo:", on_click=_undo, args=[None])
    marks = [marks[place] for place in page_of(np.arange(len(marks)), _PER_PAGE, key="review_page")]
    captions = [
        f"{one.label}{f' → {one.proposed}' if one.proposed else ''}\n{one.verdict}, {one.split}" for one in marks
    ]
    picked = face_gallery(_pictures(store, marks), captions, key="reviewed")
    if picked is not None:
        one = marks[picked]
        st.button(f"Take the mark off this {one.label} face", icon=":material/delete:", on_click=_undo, args=[one.id])
    st.markdown("**Train without them, or with the labels that you propose**")
    st.code(f"python -m fer_core train --recipe small --review {reviews.path} --review-action relabel", language="bash")


def _labels(mark: Mark) -> str:
    return f"{mark.label} → {mark.proposed}" if mark.proposed else mark.label


def _totals(marks: list[Mark]) -> None:
    counts = {
        verdict: sum(one.verdict == verdict for one in marks) for verdict in dict.fromkeys(m.verdict for m in marks)
    }
    columns = st.columns(4)
    columns[0].metric("Marked", f"{len(marks):,}")
    for column, (verdict, n) in zip(columns[1:], counts.items(), strict=False):
        column.metric(str(verdict).capitalize(), f"{n:,}")


def _pictures(store: FaceStore | None, marks: list[Mark]) -> np.ndarray:
    """Grey where the open data does not have the face."""
    if store is None:
        return np.full((len(marks), 48, 48), GREY, dtype=np.uint8)
    hashes = np.array([int(one.hash, 16) for one in marks], dtype=np.uint64)
    return DataFaces(store, find_faces(store, hashes)).images(np.arange(len(marks)))


def _undo(mark: str | None) -> None:
    try:
        ReviewList().undo(mark)
    except FerError as error:
        st.toast(str(error), icon=":material/error:")
