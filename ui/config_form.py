"""Widgets for `RunConfig`: label, bounds, help and default come from its fields."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from fer_core import catalog
from fer_core.config import NAMED, RunConfig, bounds, is_whole

_SLIDERS: Mapping[str, float] = {"balance_alpha": 0.05, "label_smoothing": 0.01}
"""Fields that are tuned by eye, and their step; the others are typed."""


def setting(field: str, **options: Any) -> Any:
    """Draw the widget of a field and return its value; bound to the address under the field's name."""
    info = RunConfig.model_fields[field]
    label = info.title or field.replace("_", " ").capitalize()
    common = {"help": info.description, "key": field, "bind": "query-params"} | options
    if field in NAMED:
        return _choice(label, field, common)
    if field == "leave_out":
        return _flags(label, common)
    if isinstance(info.default, bool):
        return st.toggle(label, info.default, **common)
    if field in _SLIDERS:
        low, high = bounds(field)
        return st.slider(label, low, high, info.default, _SLIDERS[field], **common)
    return _number(label, field, common)


def strength(operation: str, default: float, recipe: str) -> float:
    """A slider for one augmentation step, from 0 (left out) to the catalog's bound; another recipe starts it anew."""
    spec = catalog.AUGMENT_OPERATIONS[operation]
    unit = f" ({spec.unit})" if spec.unit else ""
    key = f"{recipe}_{operation}"
    return st.slider(
        f"{spec.title}{unit}", 0.0, spec.high, default, spec.step, help=spec.text, key=key, bind="query-params"
    )


def _choice(label: str, field: str, common: Mapping[str, Any]) -> str:
    (_, known), default = NAMED[field], RunConfig.model_fields[field].default
    # The names themselves are shown: the address and the command line speak of them too.
    chosen = st.selectbox(label, list(known), index=list(known).index(default), **common)
    if isinstance(known, Mapping) and chosen in known:
        st.caption(f"{known[chosen].title}. {known[chosen].text}")
    return chosen


def _flags(label: str, common: Mapping[str, Any]) -> list[str]:
    chosen = st.multiselect(label, list(catalog.FLAGS), **common)
    for name in chosen:
        st.caption(f"{name}: {catalog.FLAGS[name].text}")
    return chosen


def _number(label: str, field: str, common: Mapping[str, Any]) -> int | float | None:
    default = RunConfig.model_fields[field].default
    low, high = bounds(field)
    options: dict[str, Any] = {"min_value": low, "max_value": high, "value": default, **common}
    options |= {"step": 1} if is_whole(field) else {"format": "%g", "step": _step(default)}
    return st.number_input(label, **options)


def _step(default: float | None) -> float:
    """What one press of + adds: a tenth of the default, or 0.05 where there is none."""
    return default / 10 if default else 0.05
