from ui.navigation import guard

guard()

import streamlit as st

from fer_core.compare import compare
from fer_core.errors import FerError
from fer_core.predictions import report_on
from fer_core.run_adjustment import called, decided
from fer_core.runs import Run
from ui.decision import decision_note, pick_decision, to_mistakes
from ui.report import (
    confusion_matrices,
    difference_in_words,
    differences,
    export,
    figures_of_one,
    figures_of_two,
    forget_clicks,
    label_note,
    run_curves,
    settings_that_differ,
)
from ui.run_picker import offer_second, pick_run, pick_split, pick_view, runs_or_empty_state, shipped_note
from ui.sureness import how_sure

PARTS = ("emotions", "how sure", "how they learned", "settings")

st.title("Compare", anchor=False)
runs = runs_or_empty_state("A comparison")
offer_second(runs, a="a", b="b")
left, right = st.columns(2)
chosen: list[Run] = []
taus: list[float | None] = []
for column, label, key in ((left, "Run A", "a"), (right, "Run B, to compare with", "b")):
    with column:
        run = pick_run(label, runs, key=key, index=None if chosen else 0)
        if run:
            chosen.append(run)
            taus.append(pick_decision(run, key=f"tau_{key}"))
with st.container(horizontal=True, gap="large"):
    split = pick_split(chosen, key="on")
    view = pick_view(chosen, split, key="view")
try:
    names = [called(run, tau) for run, tau in zip(chosen, taus, strict=True)]
    predictions = [decided(run, split, view, tau) for run, tau in zip(chosen, taus, strict=True)]
    comparison = compare(*predictions) if len(predictions) == 2 else None
    if comparison:
        reports = [comparison.a, comparison.b]
    else:
        reports = [report_on(one) for one in predictions]
except FerError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()
with st.container():  # a note that comes or goes would move what stands below, and every chart be built anew
    shipped_note(chosen)
    label_note(chosen)
    decision_note(split, taus)
if len(set(names)) < len(names):
    st.info("A and B are the same. Move the decision of one of them, or choose another run.", icon=":material/tune:")
    st.stop()
labels = dict(zip(names, reports, strict=True))
in_words = st.container()

if comparison:
    figures_of_two(labels, comparison)
    export(chosen, names, predictions, comparison, f"{split}, view: {view}")
else:
    figures_of_one(reports[0])
part = st.segmented_control(
    "Look at", PARTS if comparison else PARTS[:-1], default=PARTS[0], required=True, key="part", bind="query-params",
    label_visibility="collapsed",
)  # fmt: skip
if part != PARTS[0]:
    forget_clicks()
if part == "how sure":
    how_sure(dict(zip(labels, predictions, strict=True)))
elif part == "how they learned":
    run_curves(chosen)
elif part == "settings":
    settings_that_differ(*chosen)
else:
    confusion_matrices(labels, to_mistakes(chosen[0], split, taus[0]), chosen, predictions)
    if comparison:
        differences(labels, comparison)
if comparison:
    with in_words:  # last, while the browser draws the rest
        difference_in_words(names, comparison)
