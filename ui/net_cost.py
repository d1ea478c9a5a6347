"""How large a net is, before anybody trains it."""

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from fer_core.config import RunConfig
from fer_core.data import FaceStore
from fer_core.errors import FerError


def net_cost(place: DeltaGenerator, config: RunConfig, store: FaceStore) -> None:
    """Write parameters, multiply-adds and frozen share into `place`.

    Called at the end of a page: torch takes two seconds to load, and everything else is on the screen by then.
    """
    try:
        parameters, multiply_adds, frozen = _cost(
            f"{config.to_json()} {len(store.classes)} {store.image_size}", config, store
        )
    except FerError as error:
        place.error(str(error), icon=":material/error:")
        return
    share = f", {frozen:.0%} of them frozen" if frozen else ""
    work = f"{_millions(multiply_adds)} multiply-adds a face"
    place.caption(f"**{config.model}**: {_millions(parameters)} parameters{share}; {work}.")


@st.cache_data(show_spinner=False, max_entries=200)
def _cost(key: str, _config: RunConfig, _store: FaceStore) -> tuple[int, int, float]:
    from fer_core.run_model import cost_of

    cost = cost_of(_config, _store)
    return cost.parameters, cost.multiply_adds, cost.frozen_share


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}M" if count < 1e9 else f"{count / 1e9:.1f}G"
