from ui.navigation import guard

guard()

import streamlit as st

from fer_core.cell_groups import places_in
from fer_core.errors import FerError
from fer_core.mistakes import answers
from fer_core.run_adjustment import decided
from ui.attention import mean_attention, warm_up
from ui.decision import decision_note, pick_decision
from ui.error_view import likely_errors
from ui.gallery_faces import faces_in_data
from ui.label_view import model_or_label
from ui.looked import Looked
from ui.map_view import map_view
from ui.mistake_faces import mistake_faces
from ui.report import label_note
from ui.review_view import review_view
from ui.run_picker import pick_run, pick_split, runs_or_empty_state, shipped_note

LOOKS = ("faces", "model or label", "label errors", "where it looks", "map", "review list")

st.title("Mistakes", anchor=False)
warm_up()
runs = runs_or_empty_state("A look at mistakes")
top = st.columns([1.5, 1.5, 1.2, 1], vertical_alignment="bottom")
with top[0]:
    run = pick_run("Run", runs, key="run")
    assert run is not None, "there is at least one run"
with top[1]:
    other = pick_run("Beside it", {name: one for name, one in runs.items() if one != run}, key="beside", index=None)
with top[2]:
    split = pick_split([run], key="mistakes_on")
with top[3]:
    tau = pick_decision(run, key="mistakes_tau")
look = st.segmented_control(
    "Look at", LOOKS, default=LOOKS[0], required=True, key="look", bind="query-params", label_visibility="collapsed"
)
try:
    predictions = decided(run, split, tau=tau)
    found = answers(predictions)
except FerError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()
beside = None
if other:
    try:
        theirs = decided(other, split)
        beside = (other.name, answers(theirs), places_in(predictions, theirs))
    except FerError as error:
        st.caption(f":material/info: {other.name} cannot stand beside it: {error}")
shipped_note([run])
label_note([run])
decision_note(split, [tau])
looked = Looked(run, split, found, predictions, faces_in_data(run, predictions), beside)
if look == "model or label":
    model_or_label(looked)
elif look == "label errors":
    likely_errors(looked)
elif look == "where it looks":
    mean_attention(looked)
elif look == "map":
    map_view(looked)
elif look == "review list":
    review_view(looked.store)
else:
    mistake_faces(looked)
