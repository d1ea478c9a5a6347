from ui.navigation import guard

guard()

import streamlit as st

from ui.browse import browse, take_choice
from ui.data_overview import counts, looks
from ui.label_mode import choose_labels
from ui.quality import quality_summary
from ui.source import title_with_source
from ui.steps import step_strip

store = title_with_source("Data")
take_choice(store)
height, width = store.image_size
st.markdown(f"**{len(store):,} faces** of {width} x {height} grey pixels · source: `{store.source}`")
for note in store.notes:
    st.info(note, icon=":material/info:")
if store.kind == "sample":
    st.caption(
        "These are drawn sample faces with made-up votes, so that everything works without a download. "
        "They are not people."
    )
step_strip(store)
view = choose_labels(store)
counts(view)
looks(view)
quality_summary(store)
browse(view)
