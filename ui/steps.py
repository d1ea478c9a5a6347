"""The three steps that a newcomer takes, shown where the app opens."""

import streamlit as st

from fer_core import launcher
from fer_core.config import RunConfig
from fer_core.data import FaceStore, resolve_config
from ui.run_picker import judged_runs
from ui.source import current_source


def step_strip(store: FaceStore) -> None:
    """Look, train both, compare: one box and one click each."""
    look, train, compare = st.columns(3)
    with look.container(border=True, height="stretch"):
        st.markdown("**1 · Look**")
        st.caption("Scroll down: how many faces of each emotion, what is wrong with them, then the faces.")
    with train.container(border=True, height="stretch"):
        st.markdown("**2 · Train both**")
        st.caption(
            "One model on the faces as they are, one that sees rare emotions more often: "
            f"about {_both_in_words(store)} here."
        )
        if st.button("Train both", type="primary", icon=":material/play_arrow:"):
            st.session_state["start_twins"] = True
            st.switch_page("pages/train.py")
    with compare.container(border=True, height="stretch"):
        _compare_step()


def _compare_step() -> None:
    st.markdown("**3 · Compare**")
    st.caption("Their confusion matrices side by side, and the faces that each one got wrong.")
    runs = judged_runs()
    if st.button("Compare", icon=":material/compare_arrows:", disabled=len(runs) < 2, help=_why_not(len(runs))):
        newest, second = list(runs)[:2]
        st.switch_page("pages/compare.py", query_params={"a": second, "b": newest})


def _why_not(runs: int) -> str | None:
    return None if runs >= 2 else "Opens when two runs have finished."


def _both_in_words(store: FaceStore) -> str:
    config = resolve_config(RunConfig(data=current_source()))
    return in_words(2 * launcher.estimate_s(config, len(store.rows("train"))))


def in_words(seconds: float) -> str:
    """`40 seconds`, `7 minutes`, `2 hours`: as exact as an estimate deserves."""
    if seconds < 100:
        return f"{max(5, round(seconds / 5) * 5)} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
