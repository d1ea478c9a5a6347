from ui.navigation import guard

guard()

import shlex

import streamlit as st

from fer_core import charts, launcher
from fer_core.balance import plan_balance
from fer_core.config import RunConfig
from fer_core.data import resolve_config
from fer_core.data.views import training_view
from fer_core.errors import FerError
from fer_core.labels import SPLITS
from fer_core.recipes import find_recipe
from fer_core.runs import free_name
from ui.live import live_runs
from ui.net_cost import net_cost
from ui.source import title_with_source
from ui.steps import in_words
from ui.theme import plot
from ui.train_form import changes, train_form


def start(*configs: RunConfig) -> None:
    """Start one worker for these configurations, each under a name that is free."""
    taken: set[str] = set()
    named = []
    try:
        for config in map(resolve_config, configs):
            name = free_name(config, frozenset(taken))
            taken.add(name)
            named.append((name, config))
        launcher.start(named)
    except FerError as error:
        st.error(str(error), icon=":material/error:")


store = title_with_source("Train")
form, picture = st.columns([1, 1.3], gap="large")
with form:
    values = train_form(store)
try:
    config = RunConfig.parse(values)
    resolved = resolve_config(config)
    view = training_view(store, config)
    counts = view.counts_SK[SPLITS.index("train")]
    balance = plan_balance(counts, config)
except FerError as error:
    st.error(str(error), icon=":material/error:")
    st.stop()

with picture:
    changes(config)
    size = st.empty()
    for line in config.warnings():
        st.warning(line, icon=":material/warning:")
    st.markdown("**What an epoch shows**")
    plot(charts.class_mix(counts, balance, view.classes), "class_mix")
    rarest = view.imbalance("train")[0]
    visits = balance.visits_K(counts)[view.classes.index(rarest)]
    left = len(store.rows("train")) - int(counts.sum())
    st.caption(
        f"Each {rarest} face is shown {visits:.1f} times an epoch."
        + (f" {left:,} training faces are left out by their labels or flags." if left else "")
    )

seconds = launcher.estimate_s(resolved, int(counts.sum()))
balanced = config if config.balance != "none" else config.changed(balance="sampler")
both = st.session_state.pop("start_twins", False)
with st.container(horizontal=True, vertical_alignment="center"):
    text = f"Train as-is and {balanced.balance}, about {in_words(2 * seconds)}"
    if st.button(text, type="primary", icon=":material/difference:", help="One after the other, in the background."):
        both = True
    if st.button(f"Train this one, about {in_words(seconds)}", icon=":material/play_arrow:"):
        start(config)
    if variants := find_recipe(config.recipe).swept if config.recipe else ():
        text = f"Train all {len(variants)} variants, about {in_words(len(variants) * seconds)}"
        if st.button(text, icon=":material/table_rows:"):
            start(*config.variants())
    with st.popover("Copy as command", icon=":material/terminal:"):
        st.code(shlex.join(config.changed(data=resolved.data).command()), language="bash")
if both:
    start(config.changed(balance="none"), balanced)

st.subheader("Runs", anchor=False)
st.caption("Training goes on when you close this page or restart the app.")
live_runs()
net_cost(size, config, view)
