"""How large a net is, before anybody trains it."""

from collections.abc import Callable
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fer_core.catalog import Reference
from fer_core.config import RunConfig
from fer_core.data import FaceStore
from fer_core.errors import FerError

_SHAPE = (
    "model", "plugin", "image_size", "channels", "freeze_until", "head_hidden", "head_batch_norm", "head_dropout",
    "normalisation",
)  # fmt: skip
"""The settings that a net's size depends on: a change to any other one shows the same figures."""
_NETS_FAULTS = (RuntimeError, TypeError, ValueError, ArithmeticError, AttributeError, LookupError, AssertionError)
"""What a net of a user's own may raise when it is given a face."""
_NOTHING_FROZEN = "0%"
_TITLES = {
    "Parameters": "Numbers that training finds.",
    "Multiply-adds": "Of one pass forward over one face; training on it costs about three times as many.",
    "Frozen": "Share of the parameters that stay as the starting weights have them.",
}


def net_cost(config: RunConfig, store: FaceStore, published: Reference | None) -> Callable[[], None]:
    """Show what a recipe's author reports, and the net's parameters, multiply-adds and frozen share, in large figures.

    torch takes two seconds to load: a net that has not been seen before stands as dots until the function that is
    returned is called, at the end of the page, when everything else is on the screen.
    """
    key = _key(config, store)
    place = st.empty()
    if key in _known():
        _draw(place, _known()[key], published)
        return lambda: None
    _draw(place, ("...", "...", _NOTHING_FROZEN if config.freeze_until == "none" else "..."), published)

    def fill_in() -> None:
        try:
            _known()[key] = _texts(config, store)
        except FerError as error:
            place.error(str(error), icon=":material/error:")
        except _NETS_FAULTS as error:
            if not config.plugin:
                raise
            reason = next(iter(str(error).splitlines()), "")
            place.error(
                f"{config.model} cannot take these faces ({type(error).__name__}: {reason}). Correct {config.plugin}.",
                icon=":material/extension_off:",
            )
        else:
            _draw(place, _known()[key], published)

    return fill_in


def _draw(place: DeltaGenerator, texts: tuple[str, str, str], published: Reference | None) -> None:
    with place.container(horizontal=True, gap="medium"):
        if published:
            tip = "Accuracy on public or private that its author reports."
            st.metric("Published", f"{published.accuracy:.1%}", width="content", help=tip)
        for (title, tip), text in zip(_TITLES.items(), texts, strict=True):
            if text != _NOTHING_FROZEN:
                st.metric(title, text, width="content", help=tip)


def _texts(config: RunConfig, store: FaceStore) -> tuple[str, str, str]:
    from fer_core.run_model import cost_of

    cost = cost_of(config, store)
    return _millions(cost.parameters), _millions(cost.multiply_adds), f"{cost.frozen_share:.0%}"


def _key(config: RunConfig, store: FaceStore) -> str:
    plugin = Path(config.plugin) if config.plugin else None
    edited = plugin.stat().st_mtime_ns if plugin and plugin.exists() else 0
    return f"{[getattr(config, name) for name in _SHAPE]} {len(store.classes)} {store.image_size} {edited}"


@st.cache_resource(max_entries=1)
def _known() -> dict[str, tuple[str, str, str]]:
    """All sessions' sizes so far: some tens of bytes each."""
    return {}


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count < 1e9 else f"{count / 1e9:.1f}G"
