"""Where a net looks: Grad-CAM over one face when asked, and on average over a run's right and wrong answers."""

from collections.abc import Sequence
from importlib import import_module
from threading import Timer
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from fer_core.ensemble_file import refuse_ensemble
from fer_core.errors import FerError
from fer_core.runs import Run
from ui.looked import Looked

if TYPE_CHECKING:  # torch comes with them
    from fer_core.explain import MeanMap
    from fer_core.models import FaceClassifier

_WIDTH = 220
_WARM_UP_S = 2.0


def attention(run: Run, classes: Sequence[str], kinds: Sequence[int], image_HW: NDArray[np.uint8]) -> None:
    """The face; where the switch is on, what in it speaks for each of these classes to the run's net."""
    on = st.toggle("Where the net looks", key="cam", bind="query-params", help="Grad-CAM: what speaks for an emotion.")
    if not on:
        st.image(image_HW, width=_WIDTH)
        return
    kinds = tuple(dict.fromkeys(kinds))
    try:
        maps = _maps(run.name, _state(run), image_HW.tobytes(), kinds, run, image_HW)
    except FerError as error:
        st.image(image_HW, width=_WIDTH)
        st.caption(str(error))
        return
    for column, kind, map_HW in zip(st.columns(len(kinds)), kinds, maps, strict=True):
        column.image(_over(image_HW, map_HW), width=_WIDTH if len(kinds) == 1 else "stretch")
        column.caption(f"for {classes[kind]}")


@st.cache_resource(show_spinner=False)
def warm_up() -> Timer:
    """Load torch and captum while the page is looked at: the first map would wait seconds for them."""
    timer = Timer(_WARM_UP_S, _load)  # once the page is painted
    timer.daemon = True
    timer.start()
    return timer


def _load() -> None:
    for name in ("captum.attr", "fer_core.explain"):
        import_module(name)


def mean_attention(looked: Looked) -> None:
    """Average maps of each emotion: over its faces that the run got right, and over those it got wrong."""
    if looked.faces is None:
        return
    try:
        refuse_ensemble(looked.run)
    except FerError as error:
        st.info(str(error), icon=":material/info:")
        return
    st.caption(
        "On average over up to 64 faces of each emotion, drawn at random: what speaks for the emotion that the model "
        "named, over the mean of the same faces."
    )
    if st.session_state.get("asked_attention") != _key(looked):
        if not st.button("Look at them, some seconds", icon=":material/visibility:", type="primary"):
            return
        st.session_state["asked_attention"] = _key(looked)
    try:
        maps = _mean_maps(*_key(looked), looked)
    except FerError as error:
        st.info(str(error), icon=":material/info:")
        return
    for right, title in ((True, "Right answers"), (False, "Wrong answers")):
        st.markdown(f"**{title}**")
        some = [one for one in maps if one.right == right]
        for column, one in zip(st.columns(len(some)), some, strict=True):
            if one.n:
                column.image(_over(one.face_HW, one.map_HW), width="stretch")
            column.caption(f"{one.emotion}\n\n{one.of:,} faces" if one.n else f"{one.emotion}\n\nno face")


def _key(looked: Looked) -> tuple[str, str, str, bytes]:
    return looked.run.name, _state(looked.run), looked.split, looked.found.predicted_N.tobytes()


def _state(run: Run) -> str:
    """Another where the run's weights may have changed."""
    return f"{run.path}:{run.status().heartbeat}"


def _over(image_HW: NDArray[np.uint8], map_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    from fer_core.explain import overlay  # torch comes with it

    return overlay(image_HW, map_HW)


@st.cache_resource(show_spinner="Loading the net", max_entries=3)
def _net(name: str, state: str, _run: Run) -> "FaceClassifier":
    from fer_core.run_model import load_model

    return load_model(_run)


@st.cache_data(show_spinner=False, max_entries=2000)
def _maps(
    name: str, state: str, pixels: bytes, kinds: tuple[int, ...], _run: Run, _image_HW: NDArray[np.uint8]
) -> NDArray[np.float32]:
    from fer_core.explain import grad_cam

    return grad_cam(_net(name, state, _run), np.stack([_image_HW] * len(kinds)), np.array(kinds))


@st.cache_data(show_spinner=False, max_entries=8)
def _mean_maps(name: str, state: str, split: str, said: bytes, _looked: Looked) -> "list[MeanMap]":
    from fer_core.explain import mean_maps

    faces = _looked.faces
    assert faces is not None
    bar = st.progress(0.0, "Asking the net")
    images = faces.images(np.arange(len(faces.rows_N)))
    found = mean_maps(
        _net(name, state, _looked.run), images, _looked.found,
        on_progress=lambda done, total: bar.progress(done / max(1, total), "Asking the net"),
    )  # fmt: skip
    bar.empty()
    return found
