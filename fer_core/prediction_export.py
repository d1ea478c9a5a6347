"""Predictions as a table, and drawn into their pictures."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from fer_core.palette import EMOTION_COLORS
from fer_core.predict import NOT_SURE, Face, Prediction

_UNSURE_COLOR = "#8a8a8a"
_LINE = 1 / 250
_TEXT = 1 / 36
"""Of a picture's longer side."""
_LEAST_TEXT_PX = 12


def predictions_csv(predictions: Iterable[Prediction], classes: Sequence[str], threshold: float = 0.0) -> str:
    """One line a face: picture, place, what the detector says, the emotion, and each emotion's probability.

    A picture without a face has one line, with nothing but its name and size.
    """
    columns = ("picture", "width", "height", "face", "left", "top", "right", "bottom", "score", "roll", "emotion")
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([*columns, *classes])
    for one in predictions:
        place = (one.name, one.width, one.height)
        faces = enumerate(one.faces, 1)
        rows = [[*place, number, *_cells(face, threshold)] for number, face in faces]
        table.writerows(rows or [[*place, *[""] * (len(columns) - 3 + len(classes))]])
    return out.getvalue()


def annotated(
    photo: Image.Image, prediction: Prediction, threshold: float = 0.0, chosen: int | None = None
) -> Image.Image:
    """A copy of the picture in colour, with a box around each face, its number, emotion and probability.

    Args:
        photo: the picture, or a smaller copy of it.
        chosen: position of the face whose box is drawn twice as thick.
    """
    drawn = photo.convert("RGB")
    pen = ImageDraw.Draw(drawn)
    longer, share = max(drawn.size), drawn.width / prediction.width
    width = max(2, round(longer * _LINE))
    font = ImageFont.load_default(max(_LEAST_TEXT_PX, longer * _TEXT))
    for place, face in enumerate(prediction.faces):
        whole = (0.0, 0.0, float(prediction.width - 1), float(prediction.height - 1))
        left, top, right, bottom = (edge * share for edge in face.box or whole)
        color = emotion_color(face.said(threshold))
        pen.rectangle((left, top, right, bottom), outline=color, width=width * (1 + (place == chosen)))
        text = face_label(face, place + 1, len(prediction.faces), threshold)
        _label(pen, (left, top), text, font, color, drawn.size)
    return drawn


def face_label(face: Face, number: int, of: int, threshold: float = 0.0) -> str:
    """What stands at a face: "2 happy 91%"; the number only where there are several."""
    said = f"{face.said(threshold)} {face.probability:.0%}"
    return f"{number} {said}" if of > 1 else said


def emotion_color(said: str) -> str:
    """The emotion's colour on every page; grey for "not sure" and for classes that are no emotions of ours."""
    return _UNSURE_COLOR if said == NOT_SURE else EMOTION_COLORS.get(said, _UNSURE_COLOR)


def _cells(face: Face, threshold: float) -> list[Any]:
    box = [""] * 4 if face.box is None else [f"{edge:.1f}" for edge in face.box]
    own = ["" if value is None else f"{value:.4g}" for value in (face.score, face.roll)]
    return [*box, *own, face.said(threshold), *(f"{value:.6f}" for value in face.probabilities_K.tolist())]


def _label(
    pen: ImageDraw.ImageDraw, corner: tuple[float, float], text: str, font: Any, color: str, size: tuple[int, int]
) -> None:  # fmt: skip
    """Above the box, or where there is no room, within it; never beyond the picture's border."""
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = round(font.size / 5)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0.0, corner[0]), max(0, size[0] - width))
    y = corner[1] - height if corner[1] >= height else max(0.0, corner[1])
    pen.rectangle((x, y, x + width, y + height), fill=color)
    pen.text((x + pad - left, y + pad - top), text, fill="white", font=font)
