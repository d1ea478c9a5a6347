"""Under which tau a run's stored answers are read: the net's own decision, the one kept with the run, or a slider's."""

import streamlit as st

from fer_core.adjust import TAUS
from fer_core.errors import FerError
from fer_core.run_adjustment import decision_words
from fer_core.runs import Run


def pick_decision(run: Run, *, key: str) -> float | None:
    """A button that opens a slider of tau; the value lives in the address under `key`.

    Returns: tau; None for the adjustment that is kept with the run, which is what a run that has one begins with.
    Where that is damaged, the page says so and ends.
    """
    try:
        kept = decision_words(run)
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()
    with st.popover("Decision", icon=":material/tune:", help="Move what the run says towards rare emotions, or back."):
        if kept and st.toggle(
            f"As kept with the run ({kept})", value=True, key=f"{key}_kept",
            bind="query-params",
        ):  # fmt: skip
            return None
        return st.slider(
            "Rare emotions (tau)", TAUS[0], TAUS[-1], 0.0, 0.025, key=key, bind="query-params",
            help="0 is the net's own decision, 1 takes out how common each emotion was in training.",
        )  # fmt: skip


def to_mistakes(run: Run, split: str, tau: float | None) -> dict[str, str]:
    """Address parameters that open the Mistakes page on this run, by this decision."""
    by = {} if tau is None else {"mistakes_tau": f"{tau:g}", "mistakes_tau_kept": "false"}
    return {"run": run.name, "mistakes_on": split, **by}


def decision_note(split: str, taus: list[float | None]) -> None:
    """Where a slider moves a decision on private, say what that is not for."""
    if split == "private" and any(taus):
        st.caption(
            ":material/warning: Decisions are moved while private is shown. That shows what a value gives; to choose "
            "one, look at public."
        )
