"""Widgets for `RunConfig`: label, bounds and help come from its fields, the default from what the form starts from."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from fer_core import augmentations, catalog
from fer_core.config import NAMED, RunConfig, bounds, is_whole

_SLIDERS: Mapping[str, float] = {
    "balance_alpha": 0.05, "balance_gamma": 0.25, "balance_tau": 0.05, "label_smoothing": 0.01,
}  # fmt: skip
"""Fields that are tuned by eye, and their step; the others are typed."""
_STRATEGIES = {name: entry for name, entry in catalog.BALANCING.items() if name != "none"}
_LISTS: Mapping[str, Mapping[str, catalog.Entry]] = {
    "leave_out": catalog.FLAGS, "views": catalog.VIEWS, "balance": _STRATEGIES,
}  # fmt: skip
"""Fields that hold several names, and what there is to choose from."""


def setting(field: str, start: RunConfig | None = None, **options: Any) -> Any:
    """Draw the widget of a field and return its value; bound to the address under the field's name.

    Args:
        start: whose value the widget begins with, and which the address need not name. Left out: the defaults.
        options: passed on to the widget; `choices` are what a text may be.
    """
    info = RunConfig.model_fields[field]
    default = getattr(start or RunConfig(), field)
    label = label_of(field)
    common = {"help": info.description, "key": field, "bind": "query-params"} | options
    if field in _LISTS:
        chosen = _several(label, _LISTS[field], as_widget(field, default), common)
        return (catalog.JOIN.join(chosen) or "none") if field == "balance" else chosen
    if field in NAMED or field == "augment" or "choices" in common:
        return _choice(label, field, default, common)
    if isinstance(default, bool):
        return st.toggle(label, default, **common)
    if isinstance(default, str):
        return st.text_input(label, default, **common)
    if field in _SLIDERS:
        low, high = bounds(field)
        return st.slider(label, low, high, default, _SLIDERS[field], **common)
    return _number(label, field, default, common)


def label_of(field: str) -> str:
    """What the form calls a field, so that a page speaks of it by the same words."""
    return RunConfig.model_fields[field].title or field.replace("_", " ").capitalize()


def as_widget(field: str, value: Any) -> Any:
    """A field's value as its widget holds it in the session's state."""
    if field == "balance":
        return [name for name in value.split(catalog.JOIN) if name in _STRATEGIES]
    return list(value) if field in _LISTS else value


def _choice(label: str, field: str, default: Any, common: dict[str, Any]) -> Any:
    known: Mapping[str, catalog.Entry] | Sequence[Any] = common.pop("choices", None) or _known(field)
    names = list(known)
    # The names themselves are shown: the address and the command line speak of them too.
    index = names.index(default) if default in names else None if default is None else 0
    chosen = st.selectbox(label, names, index=index, **common)
    if isinstance(known, Mapping) and chosen in known:
        st.caption(f"{known[chosen].title}. {known[chosen].text}")
    return chosen


def _known(field: str) -> Any:
    return augmentations.all_recipes() if field == "augment" else NAMED[field][1]


def _several(
    label: str, known: Mapping[str, catalog.Entry], default: Sequence[str], common: Mapping[str, Any]
) -> list[str]:
    chosen = st.multiselect(label, list(known), list(default), **common)
    for name in [name for name in chosen if name not in default]:
        st.caption(f"{name}: {known[name].text}")
    return chosen


def _number(label: str, field: str, default: float | None, common: Mapping[str, Any]) -> int | float | None:
    low, high = bounds(field)
    options: dict[str, Any] = {"min_value": low, "max_value": high, "value": default, **common}
    options |= {"step": 1} if is_whole(field) else {"format": "%g", "step": _step(field)}
    return st.number_input(label, **options)


def _step(field: str) -> float:
    """What one press of + adds: a tenth of the default, or 0.05 where there is none."""
    return (RunConfig.model_fields[field].default or 0.5) / 10
