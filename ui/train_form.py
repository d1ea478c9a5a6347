"""The form of the Train page: a recipe, filled in, and everything about it that can be changed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fer_core import catalog
from fer_core.config import RunConfig
from fer_core.data import FaceStore, find_source
from fer_core.recipes import find_recipe, recipe_names
from fer_core.runs import known_runs
from fer_core.settings import settings
from ui.config_form import as_widget, label_of, setting
from ui.source import current_source

_FIRST = (
    "model", "balance", "balance_weighting", "balance_cap", "balance_beta", "balance_alpha", "balance_gamma",
    "balance_tau", "balance_defer_epochs", "epochs", "labels", "contempt",
)  # fmt: skip
"""What is seen without unfolding anything."""
_NET = (
    "image_size", "early_size", "early_share", "channels", "weights", "normalisation", "freeze_until", "head_hidden",
    "head_batch_norm", "head_dropout",
)  # fmt: skip
_LEARNING = (
    "optimizer", "lr", "backbone_lr", "schedule", "warmup_epochs", "head_first_epochs", "batch_size", "weight_decay",
    "label_smoothing", "mixup", "clip_norm", "ema_decay",
)  # fmt: skip
_END = ("select_by", "patience", "time_limit_min", "views")
_REST = ("leave_out", "min_vote_share", "tensorboard", "seed", "device", "precision")
_TABS = (
    ":material/hub: Net", ":material/auto_fix_high: Augmentation", ":material/trending_down: Learning",
    ":material/flag: End and judging", ":material/more_horiz: More",
)  # fmt: skip
_A_ROW = 4
_STEPS = "augment_steps"
_OWN = "none: settings of your own"


def train_form(store: FaceStore, first: DeltaGenerator, rest: DeltaGenerator) -> dict[str, Any]:
    """Draw the form: what most people change into `first`, all other settings, folded, into `rest`.

    Returns: field -> value, for `RunConfig.parse`.
    """
    with first:
        recipe = _choose_recipe()
        start = RunConfig(recipe=recipe)
        values: dict[str, Any] = {"recipe": recipe, "data": current_source()}
        values |= _main(start, store)
    with rest.expander("All settings: net, augmentation, learning, end", icon=":material/tune:"):
        net, augmentation, learning, end, more = st.tabs(_TABS)
    with net:
        values |= _net(start, values["model"])
    with augmentation:
        values |= _augmentation(start)
    with learning:
        values |= _grid(_LEARNING, start)
    with end:
        values |= _grid(_END, start)
    with more:
        values |= _grid([name for name in _REST if store.votes_NV is not None or name != "min_vote_share"], start)
        if values.get("labels", "fer") == "fer":
            values |= _review(start)
    return values


def _grid(names: Sequence[str], start: RunConfig, **options: dict[str, Any]) -> dict[str, Any]:
    """Settings side by side. Args: options: field -> what its widget takes besides."""
    values = {}
    for row in range(0, len(names), _A_ROW):
        for column, name in zip(st.columns(_A_ROW), names[row : row + _A_ROW], strict=False):
            with column:
                values[name] = setting(name, start, **options.get(name, {}))
    return values


def changes(config: RunConfig) -> None:
    """What differs from the recipe, and the way back; without a recipe, what differs among the folded settings."""
    start, found = config.baseline(), config.differences()
    whole = "recipe" if config.recipe else "default"
    aside = {"data", "plugin"} if config.recipe else {"data", "plugin", *_FIRST}
    found = {name: value for name, value in found.items() if name not in aside}
    if not found:
        if config.recipe:
            st.caption("All settings are the recipe's.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        for name, value in found.items():
            was = _short(getattr(start, name))
            text = Path(value).name if name == "review" else _short(value)
            st.badge(f"{label_of(name)}: {text} ({whole}: {was})", color="orange")
        back = "Back to the recipe" if config.recipe else "Back to the defaults"
        st.button(back, on_click=_fill_in, icon=":material/undo:", type="tertiary")


def _choose_recipe() -> str | None:
    chosen = st.selectbox(
        "Recipe",
        [_OWN, *recipe_names()],
        key="recipe",
        bind="query-params",
        on_change=_fill_in,
        help="A published system with all its settings. Everything below can be changed afterwards.",
    )
    if chosen == _OWN:
        return None
    recipe = find_recipe(chosen)
    claim = f" It reports {recipe.claim}." if recipe.claim else ""
    st.caption(f"{recipe.title}. {recipe.text} Source: {recipe.source}.{claim}")
    return chosen


def use_recipe(name: str) -> None:
    """Choose a recipe from elsewhere on the page, as its select box would: for a button's `on_click`."""
    st.session_state["recipe"] = name
    _fill_in()


def _fill_in() -> None:
    """Put the chosen recipe's values into the form, whatever stood there."""
    chosen = st.session_state["recipe"]
    start = RunConfig(recipe=None if chosen == _OWN else chosen)
    for name in RunConfig.model_fields:
        if name in st.session_state and name not in ("recipe", "data"):
            st.session_state[name] = as_widget(name, _shown(start, name))


def _main(start: RunConfig, store: FaceStore) -> dict[str, Any]:
    values = {"model": setting("model", start), "balance": setting("balance", start, placeholder="as is")}
    values |= balance_settings(values["balance"], start)
    default = find_source(current_source()).default_epochs
    values["epochs"] = setting("epochs", start, placeholder=f"{default}, the default here")
    if store.votes_NV is not None:
        values["labels"] = setting("labels", start)
    if values.get("labels", "fer") != "fer":
        values["contempt"] = setting("contempt", start)
    plugin = catalog.MODELS[values["model"]].plugin
    return values | ({"plugin": plugin} if plugin else {})


def balance_settings(balance: str, start: RunConfig | None = None) -> dict[str, Any]:
    """What the chosen strategies can be tuned by, a widget each. Returns: field -> value."""
    strategies, values = balance.split(catalog.JOIN), {}
    if "weights" in strategies:
        values = {name: setting(name, start) for name in ("balance_weighting", "balance_cap")}
    if values.get("balance_weighting") == "effective":
        values["balance_beta"] = setting("balance_beta", start)
    if "sampler" in strategies or values.get("balance_weighting") == "inverse":
        values["balance_alpha"] = setting("balance_alpha", start)
    for strategy, field in (("focal", "balance_gamma"), ("logit_adjusted", "balance_tau")):
        if strategy in strategies:
            values[field] = setting(field, start)
    if balance != "none":
        values["balance_defer_epochs"] = setting("balance_defer_epochs", start)
    return values


def _net(start: RunConfig, model: str) -> dict[str, Any]:
    trained = [run.name for run in known_runs() if run.best.exists() and run.config().model == model]
    pretrained = ["imagenet"] if catalog.MODELS[model].imagenet else []
    return _grid(_NET, start, weights={"choices": ["none", *pretrained, *trained]}, channels={"choices": [1, 3]})


def _review(start: RunConfig) -> dict[str, Any]:
    """The review lists that there are, by their names, and what is done with the faces of one."""
    lists = {path.name: str(path) for path in sorted(settings().reviews.glob("[!.]*.jsonl"))}
    if not lists:
        return {}
    values = _grid(("review", "review_action"), start, review={"choices": list(lists), "placeholder": "none"})
    return values | {"review": lists.get(values["review"])}


def _augmentation(start: RunConfig) -> dict[str, Any]:
    named, steps, share = st.columns([1, 2, 1])
    with named:
        values: dict[str, Any] = {"augment": setting("augment", start)}
    own = RunConfig(augment=values["augment"]).augmentation()
    text = steps.text_input(
        "Steps",
        "",
        key=_STEPS,
        bind="query-params",
        placeholder=", ".join(own.texts()) or "none",
        help=RunConfig.model_fields[_STEPS].description,
    )
    if text.strip():
        values[_STEPS] = tuple(part.strip() for part in text.split(","))
    with share:
        values["augment_share"] = setting("augment_share", start, placeholder=f"{own.share:g}")
    st.page_link(
        "pages/augment.py",
        label="See what these do to faces, and edit them",
        icon=":material/auto_fix_high:",
        query_params={"augment": values["augment"], **({_STEPS: text} if text.strip() else {})},
    )
    return values


def _shown(start: RunConfig, name: str) -> Any:
    return "" if name == _STEPS else getattr(start, name)


def _short(value: Any) -> str:
    return "none" if value is None else ", ".join(value) if isinstance(value, tuple) else str(value)
