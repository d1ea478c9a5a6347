"""What was found in pictures: the picture with boxes, each face, its probabilities, and a table to take along."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from PIL import Image

from fer_core import charts
from fer_core.data.image_file import decode_photo
from ui.attention import attention
from ui.chart import draw
from ui.gallery import face_gallery
from ui.paging import page_of
from ui.predictors import Chosen
from ui.theme import ink

if TYPE_CHECKING:  # torch comes with it
    from fer_core.predict import Face, Prediction

_LONGEST_PX = 1400
"""Of a picture on the page."""
_PER_PAGE = 120
_CHOSEN = "predicted_face"
_SHOWN = "shown_photo"


@dataclass(frozen=True)
class Photo:
    """A picture that somebody gave us, as its file's bytes."""

    id: str
    name: str
    data: bytes


@dataclass(frozen=True)
class Answers:
    """Pictures, and what was found in each."""

    photos: "list[Photo]"
    predictions: "list[Prediction]"

    @property
    def faces(self) -> "list[tuple[int, int, Face]]":
        """(picture, place in it, face) of every face."""
        return [
            (number, place, face) for number, one in enumerate(self.predictions) for place, face in enumerate(one.faces)
        ]


def show_answers(answers: Answers, chosen: Chosen) -> None:
    """One face large, with its picture; all of them as a gallery; all of it as a table."""
    faces = answers.faces
    _say_how_many(answers, len(faces))
    if not faces:
        _picture(answers, 0, None, chosen)
        return
    at = min(st.session_state.get(_CHOSEN, 0), len(faces) - 1)
    number, place, face = faces[at]
    left, right = st.columns([2, 1], gap="large")
    with right:
        _face(face, chosen)
    with left:
        _picture(answers, number, place, chosen)
        if len(faces) > 1:
            _gallery(faces, at, chosen)
    _table(answers, chosen)


def _say_how_many(answers: Answers, faces: int) -> None:
    pictures = len(answers.predictions)
    without = [one.name for one in answers.predictions if not one.faces]
    ms = float(np.median([one.seconds for one in answers.predictions])) * 1000
    each = "" if pictures == 1 else " each (median)"
    st.caption(f"{_count(faces, 'face')} in {_count(pictures, 'picture')}, {ms:,.0f} ms{each}.")
    if without:
        named = ", ".join(without[:3]) + (f" and {len(without) - 3} more" if len(without) > 3 else "")
        st.info(
            f"No face found in {named}. A face should be at least a twentieth of the picture's shorter side, and not "
            "be turned far. A picture that is nothing but a face is taken whole by the switch above.",
            icon=":material/face_retouching_off:",
        )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' * (n != 1)}"


def _face(face: "Face", chosen: Chosen) -> None:
    said = face.said(chosen.threshold)
    st.subheader(said.capitalize(), anchor=False)
    sure = (
        f"{face.probability:.0%} sure" if said == face.emotion else f"Likeliest: {face.emotion}, {face.probability:.0%}"
    )
    st.caption(f"{sure}. What the net saw:")
    attention(chosen.run, face.classes, [int(face.probabilities_K.argmax())], face.image_SS)
    draw(charts.probabilities(face.probabilities_K, face.classes, ink=ink()), key="predicted shares")


def _picture(answers: Answers, number: int, place: int | None, chosen: Chosen) -> None:
    from fer_core.prediction_export import annotated

    one = answers.predictions[number]
    drawn = annotated(_shrunk(answers.photos[number]), one, chosen.threshold, place)
    st.image(drawn, width="stretch", caption=one.name, output_format="JPEG")


def _shrunk(photo: Photo) -> Image.Image:
    """As large as the page shows it; the last one is kept, for a large photo takes a fifth of a second to decode."""
    kept = st.session_state.get(_SHOWN)
    if kept is None or kept[0] != photo.id:
        image = decode_photo(io.BytesIO(photo.data), photo.name)
        image.thumbnail((_LONGEST_PX, _LONGEST_PX))
        kept = st.session_state[_SHOWN] = (photo.id, image)
    return kept[1]


def _gallery(faces: "list[tuple[int, int, Face]]", at: int, chosen: Chosen) -> None:
    shown = page_of(np.arange(len(faces)), _PER_PAGE, key="predicted_page")
    images = np.stack([faces[one][2].image_SS for one in shown])
    captions = [f"{faces[one][2].said(chosen.threshold)}\n{faces[one][2].probability:.0%}" for one in shown]
    marked = np.flatnonzero(shown == at)

    def pick(where: int) -> None:
        st.session_state[_CHOSEN] = int(shown[where])

    face_gallery(
        images, captions, key="predicted_faces", face_px=84, on_pick=pick,
        selected=int(marked[0]) if len(marked) else None,
    )  # fmt: skip


def _table(answers: Answers, chosen: Chosen) -> None:
    from fer_core.prediction_export import predictions_csv

    classes = answers.faces[0][2].classes
    rows = [
        {
            "picture": answers.predictions[number].name, "face": place + 1, "emotion": face.said(chosen.threshold),
            **dict(zip(classes, (100 * face.probabilities_K).tolist(), strict=True)),
        }
        for number, place, face in answers.faces
    ]  # fmt: skip
    share = {
        name: st.column_config.ProgressColumn(name, format="%.0f%%", min_value=0, max_value=100, width="small")
        for name in classes
    }
    st.dataframe(rows, hide_index=True, column_config=share, height=min(400, 37 + 35 * len(rows)))
    st.download_button(
        "Download as CSV", lambda: predictions_csv(answers.predictions, classes, chosen.threshold), "emotions.csv",
        "text/csv", on_click="ignore", icon=":material/download:",
    )  # fmt: skip
