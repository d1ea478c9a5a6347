from ui.navigation import guard

guard()

import shlex

import streamlit as st

from fer_core import launcher
from fer_core.balance import plan_balance
from fer_core.balance_charts import mix_chart
from fer_core.balance_preview import preview
from fer_core.config import RunConfig
from fer_core.data import resolve_config
from fer_core.data.views import training_view
from fer_core.errors import FerError
from fer_core.labels import SPLITS
from fer_core.recipes import find_recipe
from fer_core.runs import free_names
from ui.chart import draw
from ui.live import live_runs
from ui.net_cost import net_cost
from ui.source import title_with_source
from ui.steps import in_words
from ui.theme import ink
from ui.train_form import changes, train_form


def start(*configs: RunConfig) -> None:
    """Start one worker for these configurations, each under a name that is free."""
    try:
        resolved = [resolve_config(config) for config in configs]
        named = list(zip(free_names(resolved), resolved, strict=True))
        launcher.start(named)
    except FerError as error:
        said.error(str(error), icon=":material/error:")
        return
    what = named[0][0] if len(named) == 1 else f"{len(named)} trainings"
    st.toast(f"Started {what}: see Runs, below.", icon=":material/play_arrow:")


store = title_with_source("Train")
form, picture = st.columns([1, 1.3], gap="large")
values = train_form(store, form, st.container())
try:
    config = RunConfig.parse(values)
    resolved = resolve_config(config)
    view = training_view(store, config)
    counts = view.counts_SK[SPLITS.index("train")]
    balance = plan_balance(counts, config)
except FerError as error:
    picture.error(str(error), icon=":material/error:")
    st.stop()

seconds = launcher.estimate_s(resolved, int(counts.sum()))
balanced = config if config.balance != "none" else config.changed(balance="sampler")
recipe = find_recipe(config.recipe) if config.recipe else None


def train_one() -> None:
    """A recipe is chosen to be trained, so there it comes first."""
    text = f"Train this one, about {in_words(seconds)}"
    if st.button(text, type="primary" if recipe else "secondary", icon=":material/play_arrow:"):
        start(config)


def train_variants() -> None:
    if recipe and recipe.swept:
        number = len(recipe.swept)
        text = f"Train all {number} variants, about {in_words(number * seconds)}"
        if st.button(
            text, icon=":material/table_rows:", help=f"In turn, in the background: {', '.join(recipe.swept)}."
        ):
            start(*config.variants())


def train_twins() -> None:
    tip = (
        f"Two trainings in turn, in the background, alike but for the balance: none, and {balanced.balance}. "
        "The Compare page then shows what balancing changes."
    )
    text = f"Train as is and balanced, about {in_words(2 * seconds)}"
    pressed = st.button(text, type="secondary" if recipe else "primary", icon=":material/difference:", help=tip)
    if pressed or st.session_state.pop("start_twins", False):
        start(config.changed(balance="none"), balanced)


with picture:
    show_cost = net_cost(config, view, recipe.published if recipe else None)
    changes(config)
    for line in config.warnings():
        st.warning(line, icon=":material/warning:")
    buttons, said = st.container(horizontal=True, vertical_alignment="center"), st.container()
    with buttons:
        for button in (train_one, train_variants, train_twins) if recipe else (train_twins, train_one):
            button()
        with st.popover("Copy as command", icon=":material/terminal:"):
            st.code(shlex.join(config.changed(data=resolved.data).command()), language="bash", wrap_lines=True)
    before, after = (preview(counts, one) for one in (plan_balance(counts, RunConfig()), balance))
    quantity = "loss" if balance.weighted else "mix"
    draw(mix_chart(before, after, view.classes, quantity, ink=ink()), key="class_mix")
    rarest = view.imbalance("train")[0]
    visits = after.repeats_K[view.classes.index(rarest)]
    left = len(store.rows("train")) - int(counts.sum())
    st.caption(
        f"Each {rarest} face is shown {visits:.1f} times an epoch."
        + (f" {left:,} training faces are left out by their labels or flags." if left else "")
    )

st.subheader("Runs", anchor=False)
st.caption("Training goes on when you close this page or restart the app.")
live_runs()
show_cost()
