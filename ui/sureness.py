"""How sure one or two runs are, and what each emotion's probability is worth."""

from collections.abc import Mapping

import streamlit as st

from fer_core.calibration import precision_recall_of, reliability_of
from fer_core.calibration_charts import precision_recall_chart, reliability_chart
from fer_core.palette import RUN_COLORS
from fer_core.predictions import SplitPredictions
from ui.chart import draw


@st.fragment  # the choice of an emotion draws this part anew, not the page
def how_sure(answers: Mapping[str, SplitPredictions]) -> None:
    """Reliability of each run beside precision against recall of one emotion."""
    colors = dict(zip(answers, RUN_COLORS.values(), strict=False))
    left, right = st.columns(2, gap="large")
    with left:
        st.markdown("**How often right, by how sure**")
        bins = {name: reliability_of(one) for name, one in answers.items()}
        draw(reliability_chart(bins, colors), key="reliability")
        st.caption("On the dotted line a run is as often right as it is sure; below it, it is too sure.")
    with right:
        classes = next(iter(answers.values())).classes
        place, title = st.columns([1, 1.2], vertical_alignment="center")
        with place:
            emotion = st.selectbox("Emotion", classes, key="pr", bind="query-params", label_visibility="collapsed")
        title.markdown("**Precision against recall**")
        curves = {name: precision_recall_of(one, emotion) for name, one in answers.items()}
        draw(precision_recall_chart(curves, colors), key="precision_recall")
        found = [f"{name} {one.average_precision:.3f}" for name, one in curves.items() if one is not None]
        st.caption(f"Average precision: {', '.join(found) or 'no face of it here'}.")
