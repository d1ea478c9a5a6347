"""The editor of an augmentation recipe. What differs from the named recipe lives in the address; widgets show it.

`?augment=standard&augment_steps=flip@0.5,rotate:30&augment_share=0.5`: a reload, a bookmark and the browser's Back
button all find the recipe as it was edited, and the Train page reads the same three.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from math import isclose

import numpy as np
import streamlit as st
from numpy.typing import NDArray
from PIL import Image

from fer_core import augmentations
from fer_core.augmentations import Augmentation, Step
from fer_core.catalog import AUGMENT_OPERATIONS
from fer_core.config import RunConfig
from fer_core.data import FaceStore
from fer_core.errors import ConfigError, FerError
from fer_core.mosaic import face_grid
from ui.source import key_of

NAME, STEPS, SHARE = "augment", "augment_steps", "augment_share"
"""Query parameters, named as the fields of `RunConfig`."""
MOST_STEPS = 24
"""What an address may ask for: every step is a row of the page."""

_SHARE_SLIDER, _ADD, _SAVE_AS, _SAVE_ERROR = "share_of_faces", "add_step", "save_as", "save_as_error"
_KEPT = "augment_as_left"
_SHARP = 96
"""Pixels of a face in a picture, at least: about as wide as it is shown."""


def choose_recipe() -> Augmentation:
    """A select box of all recipes, and a button that undoes edits; gives the recipe as the address has edited it."""
    recipes = augmentations.all_recipes()
    _recall()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        default = list(recipes).index(RunConfig.model_fields[NAME].default)
        name = st.selectbox("Recipe", list(recipes), default, key=NAME, bind="query-params", on_change=_reset)
        augmentation, problem = current(name)
        st.session_state[_KEPT] = name, differences(name, augmentation)
        edited = augmentation != recipes[name].augmentation
        tip = "Back to the recipe as it is."
        st.button(
            "Reset", icon=":material/undo:", key="reset", disabled=not (edited or problem), on_click=_reset, help=tip
        )
    if problem:
        st.error(f"The address cannot be read: {problem}", icon=":material/error:")
    about = f"{recipes[name].title}. {recipes[name].text}"
    st.caption(f":orange-badge[edited] {about}" if edited else about)
    return augmentation


def share_slider(augmentation: Augmentation) -> None:
    """How many faces go through the recipe at all."""
    _slider("Share of faces that are augmented", _SHARE_SLIDER, augmentation.share, 1.0, 0.05)


def step_controls(augmentation: Augmentation, place: int) -> None:
    """One step: its title, its sliders, a step up, away with it."""
    step = augmentation.steps[place]
    spec, strength, probability = step.spec, *_keys(place, step)
    title, left, right, buttons = st.columns([1.5, 2, 2, 0.8], vertical_alignment="center")
    off = "" if step in augmentation.active() else " :gray-badge[off]"
    title.markdown(f"**{spec.title}**{off}")
    if spec.high:
        with left:
            label = f"Up to ({spec.unit})" if spec.unit else "Up to"
            _slider(label, strength, step.strength, spec.high, spec.step, spec.text)
    with right:
        _slider("Probability", probability, step.probability, 1.0, 0.05, None if spec.high else spec.text)
    with buttons, st.container(horizontal=True, gap="xxsmall", horizontal_alignment="right", wrap=False):
        _icon_button("arrow_upward", "Do it earlier", f"up{place}", place, _move_up, disabled=place == 0)
        _icon_button("close", "Remove this step", f"remove{place}", place, _remove)


def add_step(augmentation: Augmentation) -> None:
    """A select box that puts one more step at the end."""
    full = len(augmentation.steps) >= MOST_STEPS
    st.selectbox(
        "Add a step", list(AUGMENT_OPERATIONS), index=None, key=_ADD, on_change=_add, disabled=full,
        format_func=lambda name: AUGMENT_OPERATIONS[name].title, placeholder="Choose a step",
    )  # fmt: skip


def save_as() -> None:
    """A name and a button; the recipe that was saved is then the chosen one."""
    with st.container(horizontal=True, vertical_alignment="bottom", wrap=False):
        st.text_input("Save as", key=_SAVE_AS, max_chars=40, placeholder="a name", width="stretch")
        st.button("Save", icon=":material/save:", key="save", on_click=_save)
    if problem := st.session_state.pop(_SAVE_ERROR, None):
        st.error(problem, icon=":material/error:")


def current(name: str) -> tuple[Augmentation, str]:
    """A recipe as the address has edited it, checked as a training checks it.

    Returns: the augmentation, and "" or what is wrong with the address; then the recipe is as it is.
    """
    values: dict[str, object] = {NAME: name}
    if STEPS in st.query_params:
        values[STEPS] = st.query_params[STEPS].split(",")
    if SHARE in st.query_params:
        values[SHARE] = st.query_params[SHARE]
    try:
        augmentation = RunConfig.parse(values).augmentation()
        if STEPS in values and len(augmentation.steps) > MOST_STEPS:
            raise ConfigError(f"{len(augmentation.steps)} steps; at most {MOST_STEPS} are shown.")
    except ConfigError as error:
        return augmentations.find(name).augmentation, str(error).replace("--augment-", "augment_")
    return augmentation, ""


def differences(name: str, augmentation: Augmentation) -> dict[str, str]:
    """The query parameters that make `augmentation` of the named recipe; none where it is that recipe."""
    own = augmentations.find(name).augmentation
    if augmentation == own:
        return {}
    values = {} if augmentation.steps == own.steps else {STEPS: ",".join(augmentation.texts()) or "none"}
    # Which share a recipe with other steps starts from is for `RunConfig` to say.
    start = RunConfig.parse({NAME: name} | {key: value.split(",") for key, value in values.items()}).augmentation()
    return values if start.share == augmentation.share else {**values, SHARE: f"{augmentation.share:g}"}


def picture(
    store: FaceStore, rows: tuple[int, ...], augmentation: Augmentation, seed: int, times: int, size: int | None
) -> bytes:
    """`draws` of these rows of the store as one PNG, a row of faces for each time."""
    return _picture(key_of(store), rows, str(augmentation), seed, times, size, store, augmentation)


def draws(
    faces_NHW: NDArray[np.uint8], augmentation: Augmentation, seed: int, times: int = 1, size: int | None = None
) -> NDArray[np.uint8]:
    """What `augment`, the function that training calls, makes of these faces: uint8 (times, N, size, size).

    Equal arguments give equal pixels.
    """
    import torch

    from fer_core.augment import augment_bytes
    from fer_core.one_thread import one_thread

    generator = torch.Generator().manual_seed(seed)
    with one_thread():
        changed_MHW = augment_bytes(np.tile(faces_NHW, (times, 1, 1)), augmentation, generator, size)
    return changed_MHW.reshape(times, len(faces_NHW), *changed_MHW.shape[1:])


# A slider changes its own step's picture and the whole recipe's; the others are taken from here.
@st.cache_resource(show_spinner=False, max_entries=256)
def _picture(
    key: str, rows: tuple[int, ...], text: str, seed: int, times: int, size: int | None,
    _store: FaceStore, _augmentation: Augmentation,
) -> bytes:  # fmt: skip
    faces_RCHW = draws(_store.images_NHW[list(rows)], _augmentation, seed, times, size)
    grid = face_grid(faces_RCHW, zoom=max(1, _SHARP // faces_RCHW.shape[-1]))
    png = io.BytesIO()
    Image.fromarray(grid).save(png, "PNG", compress_level=1)  # a fifth of the default's time
    return png.getvalue()


def _slider(label: str, key: str, value: float, high: float, step: float, tip: str | None = None) -> None:
    # Said again only where it differs: a slider in the user's hand is not to be pushed back.
    if not isclose(st.session_state.get(key, -1.0), value, abs_tol=1e-9):
        st.session_state[key] = value
    st.slider(label, 0.0, high, step=step, format="%.3g", key=key, on_change=_slid, help=tip)


def _icon_button(
    icon: str, tip: str, key: str, place: int, action: Callable[[int], None], disabled: bool = False
) -> None:
    st.button(
        "", icon=f":material/{icon}:", type="tertiary", key=key, help=tip, on_click=action, args=(place,),
        disabled=disabled,
    )  # fmt: skip


def _keys(place: int, step: Step) -> tuple[str, str]:
    """Of a step's two sliders: by place, because an operation may be there twice; its bounds are the operation's."""
    return f"step{place}_{step.operation}_strength", f"step{place}_{step.operation}_probability"


def _recall() -> None:
    """On coming back from another page: the recipe as it was left here, or as the Train page's form has it.

    Streamlit empties the address on the way, and keeps the form's values for this one run.
    """
    state = st.session_state
    if _SHARE_SLIDER in state or STEPS in st.query_params or SHARE in st.query_params:
        return
    name, kept = state.get(_KEPT, (None, {}))
    if NAME not in state and NAME not in st.query_params and name:
        state[NAME] = name
    values = {key: str(state[key]) for key in (STEPS, SHARE) if state.get(key) not in (None, "")}
    if not values and state.get(NAME) == name:
        values = kept
    for key, value in values.items():
        st.query_params[key] = value


# --- what happens on a click: read what is shown, change it, write it into the address --------------------------------


def _shown() -> Augmentation:
    """The recipe as its sliders stand: of two quick changes the browser's address may not know the first one yet."""

    def value(key: str, otherwise: float) -> float:
        return float(f"{st.session_state.get(key, otherwise):g}")  # 0.3, not 0.30000000000000004

    augmentation, _ = current(_chosen())
    steps = []
    for place, step in enumerate(augmentation.steps):
        strength, probability = _keys(place, step)
        amounts = value(strength, step.strength), value(probability, step.probability)
        steps.append(Step(step.operation, *amounts))
    return Augmentation(tuple(steps), value(_SHARE_SLIDER, augmentation.share))


def _chosen() -> str:
    """The recipe's name; the default's where its file has been deleted meanwhile, as the select box will show it."""
    name = st.session_state[NAME]
    return name if name in augmentations.all_recipes() else RunConfig.model_fields[NAME].default


def _write(augmentation: Augmentation) -> None:
    values = differences(_chosen(), augmentation)
    for key in {STEPS, SHARE} - values.keys():
        st.query_params.pop(key, None)
    if any(st.query_params.get(key) != value for key, value in values.items()):
        st.query_params.update(values)  # at once: one step of the Back button


def _reset() -> None:
    _write(augmentations.find(_chosen()).augmentation)


def _slid() -> None:
    _write(_shown())


def _move_up(place: int) -> None:
    shown = _shown()
    steps = list(shown.steps)
    steps[place - 1 : place + 1] = steps[place - 1 : place + 1][::-1]
    _write(replace(shown, steps=tuple(steps)))


def _remove(place: int) -> None:
    shown = _shown()
    _write(replace(shown, steps=shown.steps[:place] + shown.steps[place + 1 :]))


def _add() -> None:
    if name := st.session_state[_ADD]:
        shown, spec = _shown(), AUGMENT_OPERATIONS[name]
        _write(replace(shown, steps=(*shown.steps, Step(name, spec.default, spec.probability))))
    st.session_state[_ADD] = None


def _save() -> None:
    name = st.session_state[_SAVE_AS].strip()
    try:
        augmentations.save(name, _shown())
    except FerError as error:
        st.session_state[_SAVE_ERROR] = str(error)
        return
    st.session_state[NAME], st.session_state[_SAVE_AS] = name, ""
    _reset()
    st.toast(f"Saved as {name}.", icon=":material/save:")
