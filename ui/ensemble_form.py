"""A menu that averages the chosen runs into one."""

from collections.abc import Sequence

import streamlit as st

from fer_core.catalog import AVERAGES
from fer_core.ensemble import create_ensemble
from fer_core.errors import FerError
from fer_core.runs import Run
from ui.run_list import choose

_HELP = "By logits, which is the geometric mean of the probabilities, a net that is very sure has more say."
_CHOOSE_HELP = (
    "The best run on public first, then each time the one that makes public better most, until none does. Its figure "
    "on public is then a little too good; private is not looked at."
)


def ensemble_menu(runs: Sequence[Run]) -> None:
    """A name, what to average, and a button; the ensemble is then the chosen run."""
    with (
        st.popover("Average them", icon=":material/groups:", help="Makes one run of the mean of their answers."),
        st.form("ensemble", border=False),
    ):
        name = st.text_input("Name", key="ensemble_name", placeholder="letters, digits, _ and -")
        average = st.segmented_control(
            "Mean of", AVERAGES, default=AVERAGES[0], required=True, key="ensemble_average", help=_HELP
        )
        only = st.toggle("Only those that make public better", key="ensemble_choose", help=_CHOOSE_HELP)
        if not st.form_submit_button("Make the ensemble", type="primary"):
            return
        try:
            made = create_ensemble(runs, name.strip(), average or AVERAGES[0], choose=only)
        except FerError as error:
            st.error(str(error), icon=":material/error:")
            return
    choose(made.name)
    st.rerun()
