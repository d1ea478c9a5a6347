"""Buttons that put a face on the review list, and take it off again."""

from collections.abc import Callable

import streamlit as st

from fer_core.catalog import VERDICTS
from fer_core.errors import FerError
from fer_core.labels import EMOTIONS
from fer_core.review import Mark, ReviewList

_ICONS = {"wrong label": ":material/label_off:", "unclear": ":material/help:", "not a face": ":material/no_accounts:"}
_SHORTCUTS = {"wrong label": "W", "unclear": "U", "not a face": "N"}


def marking(face: str, label: str, said: str, split: str) -> None:
    """What to say of a face: its label is wrong, it is unclear, it is none; and which emotion would be right.

    Args:
        face: 16 hex digits of its pixels.
        label, said: the emotion that it is labelled with, and what the model says.
    """
    try:
        marks = {(one.hash, one.label): one for one in ReviewList().marks()}
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        return
    now = marks.get((face, label))
    others = [name for name in EMOTIONS if name != label]
    key = f"proposed {face}"
    if key not in st.session_state:
        st.session_state[key] = now.proposed if now else said if said in others else None
    with st.container(horizontal=True, gap="small"):
        for verdict in VERDICTS:
            st.button(
                verdict.capitalize(), icon=_ICONS[verdict], shortcut=_SHORTCUTS[verdict], key=f"mark {verdict}",
                type="primary" if now and now.verdict == verdict else "secondary",
                on_click=_mark, args=[face, label, split, verdict, key],
            )  # fmt: skip
    st.selectbox("It would be", others, index=None, key=key, placeholder="no emotion proposed",
                 on_change=_propose, args=[face, label, split, key, now])  # fmt: skip
    if now:
        st.button(
            "Undo",
            icon=":material/undo:",
            shortcut="Z",
            on_click=_undo,
            args=[now.id],
            help="Take this mark off again.",
        )


def _mark(face: str, label: str, split: str, verdict: str, key: str) -> None:
    proposed = st.session_state.get(key) if verdict == "wrong label" else None
    _kept(lambda: ReviewList().mark(face, label, split, verdict, proposed=proposed))


def _propose(face: str, label: str, split: str, key: str, now: Mark | None) -> None:
    """Another emotion for a face that is marked already is on disk at once; else it waits for the mark."""
    if now and now.verdict == "wrong label":
        _mark(face, label, split, "wrong label", key)


def _undo(mark: str) -> None:
    _kept(lambda: ReviewList().undo(mark))


def _kept(change: Callable[[], object]) -> None:
    try:
        change()
    except FerError as error:
        st.toast(str(error), icon=":material/error:")
