"""Is it the model or the label? With whom FER+'s taggers side, in total and by pair of emotions."""

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.errors import FerError
from fer_core.label_charts import ARROW, accuracy_chart, pairs_chart, sides_chart
from fer_core.label_sides import SIDES, LabelSides, accuracy_sentence, label_sides, sides_sentence, votes_of
from ui.chart import draw, draw_to_click
from ui.faces_and_detail import faces_and_detail
from ui.looked import Looked
from ui.theme import ink

_PAIRS = 12


@st.fragment
def model_or_label(looked: Looked) -> None:
    """Totals, each pair of emotions, accuracy by either label set; a click on a part of a bar shows its faces."""
    sides = _sides(looked)
    if sides is None:
        return
    st.markdown(f"**{sides_sentence(sides, looked.split)}**")
    left, right = st.columns([1.2, 1], gap="large")
    with left:
        pairs = sides.pairs()
        st.markdown(f"**Each pair of emotions**, label{ARROW}model")
        picked = draw_to_click(pairs_chart(pairs[:_PAIRS], ink=ink()), key="pairs")
        if len(pairs) > _PAIRS:
            st.caption(f"The {_PAIRS} commonest of {len(pairs)} pairs. Click a part of a bar for its faces.")
    with right:
        st.markdown("**With whom FER+'s taggers side**")
        draw(sides_chart(sides, ink=ink()), key="sides")
        st.markdown("**Accuracy by either label**, on the same faces")
        draw(accuracy_chart(sides, ink=ink()), key="accuracies")
        st.caption(accuracy_sentence(sides))
    faces_and_detail(looked, _faces_of(looked, sides, picked[0] if picked else None))


def _sides(looked: Looked) -> LabelSides | None:
    """Where this cannot be told, the page says why."""
    if looked.faces is None:
        return None
    try:
        return label_sides(looked.predictions, votes_of(looked.faces.store, looked.faces.rows_N))
    except FerError as error:
        st.info(str(error), icon=":material/how_to_vote:")
        return None


def _faces_of(looked: Looked, sides: LabelSides, part: dict[str, str] | None) -> NDArray[np.int64]:
    """Of the part that is clicked; before that, the mistakes in which FER+ sides with the model."""
    side = part["side"] if part else next(iter(SIDES))
    rows = sides.where(side)
    if part:
        true, predicted = (looked.found.classes.index(name) for name in part["pair"].split(ARROW))
        rows = rows[(looked.found.labels_N[rows] == true) & (looked.found.predicted_N[rows] == predicted)]
        st.markdown(f"**{part['pair']}**: {SIDES[side]}")
    else:
        st.markdown(f"**{SIDES[side]}** Click a part of a bar for others.")
    return rows[np.argsort(-looked.found.confidence_N[rows], kind="stable")]
