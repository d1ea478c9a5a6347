"""Before training: what a balancing strategy will do to an epoch, to the loss and to the gradient, at once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.balance import plan_balance
from fer_core.balance_charts import QUANTITIES, mix_chart
from fer_core.balance_preview import Preview, preview
from fer_core.catalog import BALANCE_PRESETS
from fer_core.config import RunConfig
from fer_core.data import FaceStore
from fer_core.data.views import training_view
from fer_core.errors import FerError
from fer_core.labels import SPLITS
from fer_core.runs import Run, known_runs
from ui.answers import stored_answers
from ui.chart import draw
from ui.config_form import as_widget, setting
from ui.run_picker import is_judged
from ui.theme import ink
from ui.train_form import balance_settings

_SHOWN = ("mix", "repeats", "loss", "gradient")


def before_training(store: FaceStore) -> None:
    """Presets and sliders on the left, what they do to each emotion on the right."""
    _presets()
    form, picture = st.columns([1, 1.9], gap="large")
    with form:
        values: dict[str, Any] = {"balance": setting("balance", placeholder="as is")}
        values |= balance_settings(values["balance"])
        run = _run_for_gradients(store.classes)
    try:
        config = RunConfig.parse(values)
        view = training_view(store, config)
        counts = view.counts_SK[SPLITS.index("train")]
        answers = None if run is None else stored_answers(run, "public")
        before = preview(counts, plan_balance(counts, RunConfig()), answers)
        after = preview(counts, plan_balance(counts, config), answers)
    except FerError as error:
        picture.error(str(error), icon=":material/error:")
        return
    with form:
        for line in config.warnings():
            st.warning(line, icon=":material/warning:")
        if st.button("Train this", type="primary", icon=":material/model_training:"):
            st.switch_page("pages/train.py")  # the settings are bound there too, and travel in the address
    with picture:
        _in_words(before, after, counts, view.classes)
        _charts(before, after, view.classes)
        if config.balance_defer_epochs:
            st.caption(f"From epoch {config.balance_defer_epochs + 1} on; before that, an epoch is as is.")


def _presets() -> None:
    with st.container(horizontal=True, gap="small"):
        for name, settings in BALANCE_PRESETS.items():
            st.button(name, key=f"preset {name}", on_click=_use, args=[settings])


def _use(settings: Mapping[str, Any]) -> None:
    plain = RunConfig()
    for name in RunConfig.model_fields:
        if name.startswith("balance"):
            st.session_state[name] = as_widget(name, settings.get(name, getattr(plain, name)))


def _run_for_gradients(classes: tuple[str, ...]) -> Run | None:
    judged = [run for run in known_runs() if is_judged(run) and "public" in run.splits()]
    runs = {run.name: run for run in judged if stored_answers(run, "public").classes == classes}
    tip = "Loss and gradient of each emotion are those of a net that answers as this run does, on public."
    chosen = st.selectbox(
        "As seen by", list(runs), index=0 if runs else None, key="seen_by", bind="query-params", help=tip,
        placeholder="no finished run",
    )  # fmt: skip
    return runs.get(chosen) if chosen else None


def _in_words(before: Preview, after: Preview, counts_K: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    there = [k for k in range(len(classes)) if counts_K[k]]
    rare = min(there, key=lambda k: counts_K[k])
    often = max(there, key=lambda k: counts_K[k])
    tiles = st.columns(3)
    tiles[0].metric(
        f"A {classes[rare]} face, shown", f"{after.repeats_K[rare]:.1f} ×",
        f"{counts_K[rare]:,} of {counts_K.sum():,} faces", delta_color="off", delta_arrow="off",
        help="Times an epoch.",
    )  # fmt: skip
    tiles[1].metric(
        f"{classes[rare].capitalize()} in the loss", f"{after.loss_share_K[rare]:.1%}",
        f"{100 * (after.loss_share_K[rare] - before.loss_share_K[rare]):+z.1f} points", delta_color="off",
        delta_arrow="off",
    )  # fmt: skip
    tiles[2].metric(
        f"{classes[often].capitalize()} faces not seen", f"{after.unseen_K[often]:.0%}",
        "in one epoch", delta_color="off", delta_arrow="off",
    )  # fmt: skip


def _charts(before: Preview, after: Preview, classes: tuple[str, ...]) -> None:
    columns = st.columns(2)
    for place, quantity in enumerate(_SHOWN):
        with columns[place % 2]:
            if quantity == "gradient" and after.gradient_share_K is None:
                st.caption(f"{QUANTITIES[quantity][0]}: known once a run is finished.")
                continue
            draw(mix_chart(before, after, classes, quantity, ink=ink()), key=f"chart {quantity}")
