from ui.navigation import guard

guard()

import streamlit as st

from fer_core.run_charts import accuracies
from fer_core.run_table import best_first, in_common, kinds_of, published
from ui.chart import draw
from ui.empty import empty_state
from ui.ensemble_form import ensemble_menu
from ui.run_list import all_facts, choose, chosen_among, curves, figures, filters, table
from ui.run_notes import bin_menu, delete_button, note_editor, tag_all, undo_bar
from ui.run_picker import shipped_note
from ui.theme import ink

MOST_DOTS = 30

st.title("Runs", anchor=False)
facts, damaged = all_facts()
undo_bar()
for line in damaged:
    st.warning(line, icon=":material/broken_image:")
if not facts:
    empty_state(
        "No run yet",
        "Each training gets a row here: its settings, its figures, its time. Train two with a single click.",
        page="pages/train.py",
        label="Go to Train",
        icon=":material/model_training:",
    )
    bin_menu()
    st.stop()

with st.container(horizontal=True, vertical_alignment="center"):
    listed = sorted(best_first(filters(facts)), key=lambda one: one.run.shipped)  # the user's own stand first
    quoted = st.toggle("Published figures", True, key="published", bind="query-params")
    bin_menu()
chosen = chosen_among(best_first(facts))
others = published(kinds_of(listed)) if quoted else []
if not listed:
    st.info("No run fits the filter. Widen it.", icon=":material/filter_alt_off:")
else:
    table(listed, others, chosen)
    same = in_common(listed)
    st.caption(
        f"{len(listed)} of {len(facts)} runs, the best on public first."
        + (f" Set alike in all of them: {same}." if same else "")
        + (" ◇: published by others." if others else "")
        + " Choose between runs by public: private is what the chosen one then gives."
    )
for one in facts:
    if one.problem and one in (chosen or listed):
        st.warning(f"{one.name}: {one.problem}", icon=":material/broken_image:")

if chosen:
    names, own = [one.name for one in chosen], [one for one in chosen if not one.run.shipped]
    tags = sorted({tag for one in facts for tag in one.notes.tags if not one.run.shipped})
    st.subheader(names[0] if len(names) == 1 else f"{len(names)} runs chosen", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        judged = all(one.splits for one in chosen)
        if len(names) == 2 and st.button(
            "Compare", icon=":material/compare_arrows:", type="primary", disabled=not judged
        ):
            a, b = sorted(chosen, key=lambda one: one.status.created)
            st.switch_page("pages/compare.py", query_params={"a": a.name, "b": b.name})
        if len(names) == 1 and st.button("Its mistakes", icon=":material/search:", type="primary", disabled=not judged):
            st.switch_page("pages/mistakes.py", query_params={"run": names[0]})
        if len(names) > 1:
            ensemble_menu([one.run for one in chosen])
        delete_button(own)
        st.button("Choose none", icon=":material/close:", on_click=choose)
        if len(own) > 1:
            tag_all(own, tags)
    shipped_note(one.run for one in chosen)
    if len(names) == 1 and own:
        note_editor(own[0], tags)
    if len(kinds_of(chosen)) > 1:
        st.info(
            "These runs were judged on different faces or labels: compare figures only where Judged on is the same."
        )

shown = chosen or listed
for kind in kinds_of(shown):
    rows = [one for one in shown if one.kind == kind]
    few = f", the best {MOST_DOTS} of {len(rows)} on public" if len(rows) > MOST_DOTS else ""
    st.markdown(f"**Accuracy with its 95% interval**, judged on {kind.title}{few}")
    spec = accuracies(rows[:MOST_DOTS], published([kind]) if quoted else [], ink=ink())
    draw(spec, key=f"dots:{kind.title}")
if kinds_of(shown):
    st.caption("Full dot: private. Hollow dot: public, where there is no private figure yet. ◇: published by others.")
if chosen:
    st.markdown("**Figures**")
    figures(chosen, published(kinds_of(chosen)) if quoted else [])
    curves([one.run for one in chosen])
