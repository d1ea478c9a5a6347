from ui.navigation import guard

guard()

import streamlit as st

from fer_core import charts
from fer_core.errors import FerError
from fer_core.mistakes import answers
from fer_core.run_adjustment import decided
from ui.decision import decision_note, pick_decision
from ui.gallery import face_gallery
from ui.gallery_faces import answer_table, pictures
from ui.paging import page_of
from ui.report import label_note
from ui.run_picker import pick_run, pick_split, runs_or_empty_state, shipped_note
from ui.theme import ink

PER_PAGE = 120

st.title("Mistakes", anchor=False)
runs = runs_or_empty_state("A look at mistakes")
top = st.columns([1.5, 1, 1, 1.4])
with top[0]:
    run = pick_run("Run", runs, key="run")
    assert run is not None, "there is at least one run"
kind, moved, sure = st.columns([1, 1, 2.4], vertical_alignment="bottom")
with moved:
    tau = pick_decision(run, key="mistakes_tau")
with top[3]:
    split = pick_split([run], key="mistakes_on")
try:
    found = answers(decided(run, split, tau=tau))
except FerError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()
shipped_note([run])
label_note([run])
decision_note(split, [tau])
emotions = ["any", *found.classes]
with top[1]:
    true = st.selectbox("True emotion", emotions, key="true", bind="query-params")
with top[2]:
    predicted = st.selectbox("Taken for", emotions, key="predicted", bind="query-params")
with kind:
    show = st.segmented_control(
        "Show", ["mistakes", "all"], default="mistakes", required=True, key="show", bind="query-params"
    )
with sure:
    confidence = st.slider("How sure the model was", 0.0, 1.0, (0.0, 1.0), 0.01, key="sure", bind="query-params")
rows = found.select(
    true=None if true == "any" else true,
    predicted=None if predicted == "any" else predicted,
    confidence=confidence,
    only_wrong=show == "mistakes",
)
st.caption(f"{len(rows):,} of {len(found.labels_N):,} faces, the surest first. Click one for its probabilities.")
if not len(rows):
    st.info("No face fits these filters. Widen one of them.", icon=":material/filter_alt_off:")
    st.stop()

shown = page_of(rows, PER_PAGE, key="mistakes_page")
images = pictures(run, found.hashes_N, shown)
trues = [found.classes[label] for label in found.labels_N[shown]]
saids = [found.classes[label] for label in found.predicted_N[shown]]
captions = [
    f"{true} → {said}\n{share:.0%}" for true, said, share in zip(trues, saids, found.confidence_N[shown], strict=True)
]
tones = ["right" if true == said else "wrong" for true, said in zip(trues, saids, strict=True)]
gallery, detail = st.columns([2.6, 1])
if images is None:
    with gallery:
        picked = answer_table(trues, saids, found.confidence_N[shown], key="answers")
else:
    with gallery.container(height=640, border=False):
        picked = face_gallery(images, captions, key="mistakes", tones=tones)
with detail:
    place = picked or 0
    if images is not None:
        st.image(images[place], width=220)
    st.markdown(f"labelled **{trues[place]}**, taken for **{saids[place]}**")
    st.vega_lite_chart(
        charts.probabilities(found.probabilities_NK[shown[place]], found.classes, ink=ink()), key="shares"
    )
