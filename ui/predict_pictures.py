"""Pictures that are dropped or taken: their faces found, named, looked at closely, and exported.

What is shown here stays in the memory of the session: nothing of it is written to disk.
"""

import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from PIL import Image

from fer_core.data.group_photo import group_photo, in_a_row
from fer_core.data.image_file import FORMATS
from fer_core.data.source import SAMPLE
from fer_core.errors import FerError, first_few
from ui.predict_results import Answers, Photo, show_answers
from ui.predictors import Chosen
from ui.source import store_of

if TYPE_CHECKING:  # torch comes with it
    from fer_core.predict import Prediction

_DRAWN = "drawn"
_MOST_MB = 60
"""A photo of the largest that are read is smaller, unless it is stored without any packing."""
_PREDICTED = "predicted"


def drop_pictures(chosen: Chosen) -> None:
    """The place to drop pictures on, and what is found in them."""
    files = st.file_uploader(
        "Drop pictures with faces", type=[suffix[1:] for suffix in FORMATS], accept_multiple_files=True, key="photos",
        max_upload_size=_MOST_MB,
        help="They stay in this machine's memory, and are gone with this tab.",
    )  # fmt: skip
    photos = [_photo(file.name, file.getvalue()) for file in files]
    if not photos and st.query_params.get("try") != _DRAWN:
        st.button("Try it with drawn faces", icon=":material/draw:", type="primary", on_click=_draw)
        return
    _look_at(photos or [_drawn_photo()], chosen)


def camera(chosen: Chosen) -> None:
    """The camera, for one picture."""
    middle, _ = st.columns([2, 1])
    with middle:
        file = st.camera_input("Take a picture", key="taken")
    if file is None:
        st.caption("Your browser asks whether this page may use the camera. The picture is not written to disk.")
        return
    _look_at([_photo("camera.jpg", file.getvalue())], chosen)


def _look_at(photos: Sequence[Photo], chosen: Chosen) -> None:
    whole = st.toggle(
        "Where no face is found, take the whole picture for one", key="whole", bind="query-params",
        help="For pictures that are cut to a face already, as FER2013's are.",
    )  # fmt: skip
    try:
        answers, errors = _predicted(photos, chosen, whole)
    except FerError as error:
        st.error(str(error), icon=":material/error:")
        return
    if errors:
        st.error(f"{first_few(errors, 'pictures')}.", icon=":material/broken_image:")
    if answers.predictions:
        show_answers(answers, chosen)


def _predicted(photos: Sequence[Photo], chosen: Chosen, whole: bool) -> tuple[Answers, list[str]]:
    """The answers, and a line for each picture that has none. What was answered before is not asked again."""
    before = st.session_state.get(_PREDICTED, {})
    keys = [(photo.id, chosen.state, whole) for photo in photos]
    known = {key: before[key] for key in keys if key in before}  # what is no longer shown is let go
    st.session_state[_PREDICTED] = known
    missing = sum(key not in known for key in keys)
    bar = st.progress(0.0, "Looking for faces") if missing > 1 else None
    for key, photo in zip(keys, photos, strict=True):
        if key not in known:
            known[key] = _predict(photo, chosen, whole)
            missing -= 1
            if bar is not None:
                bar.progress(1 - missing / len(keys), f"Looking for faces: {missing:,} pictures to go")
    if bar is not None:
        bar.empty()
    found = [(photo, known[key]) for key, photo in zip(keys, photos, strict=True)]
    good = [(photo, one) for photo, one in found if not isinstance(one, str)]
    return Answers([photo for photo, _ in good], [one for _, one in good]), [
        one for _, one in found if isinstance(one, str)
    ]


def _predict(photo: Photo, chosen: Chosen, whole: bool) -> "Prediction | str":
    """Or a line that says what is wrong with the picture."""
    from fer_core.one_thread import one_thread  # torch comes with it

    predictor = chosen.load()
    file = io.BytesIO(photo.data)
    file.name = photo.name
    try:
        with one_thread():  # a training may run beside
            return predictor.predict(file, whole=whole)
    except FerError as error:
        return str(error)


def _photo(name: str, data: bytes) -> Photo:
    return Photo(hashlib.blake2b(data, digest_size=12).hexdigest() + name, name, data)


def _draw() -> None:
    st.query_params["try"] = _DRAWN


def _drawn_photo() -> Photo:
    """Three of the sample's faces, side by side."""
    store = store_of(SAMPLE)
    wanted = [store.classes.index(name) for name in ("happy", "surprise", "angry")]
    rows = store.rows("public")
    chosen = [int(rows[np.flatnonzero(store.labels_N[rows] == kind)[0]]) for kind in wanted]
    places, height, width = in_a_row(len(chosen))
    file = io.BytesIO()
    Image.fromarray(group_photo(store.images_NHW[chosen], places, height, width)).save(file, "PNG")
    return _photo("drawn faces.png", file.getvalue())
