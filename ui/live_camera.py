"""The camera, read by the browser and answered frame by frame: boxes and emotions over it, a running chart beside it.

A frame comes as a trigger value: Streamlit forgets it after the run that it caused. Nothing is written anywhere.
"""

import base64
import binascii
import io
import time
from copy import copy
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import streamlit as st
from PIL import Image

from fer_core.data.image_file import decode_photo
from fer_core.errors import DataError, FerError
from fer_core.palette import EMOTION_COLORS
from fer_core.smoothing import Followed, Follower

if TYPE_CHECKING:  # torch comes with it
    from fer_core.predict import Predictor

SMALLEST_FACE = 0.1
"""Of the picture's shorter side. Whoever sits before a camera is larger, and half of the search for faces is saved."""
_MAX_BYTES = 1_000_000
_MAX_PIXELS = 1_000_000
_JPEG = b"\xff\xd8\xff"
_HELD_S = 0.3
"""A face that the detector misses for a moment keeps its box, so that the box does not flicker."""

_HERE = Path(__file__).resolve().parent
_component = st.components.v2.component(
    "fer_live_camera",
    html="""
<div class="live"><div class="parts">
  <div class="stage">
    <video class="video" muted playsinline aria-label="The camera's picture, as in a mirror"></video>
    <canvas class="over" aria-hidden="true"></canvas>
    <svg class="sign" viewBox="0 0 24 24" aria-hidden="true"><path d="M3 6h12v4l6-3v10l-6-3v4H3z"/></svg>
  </div>
  <div class="below">
    <button class="switch" type="button">Start the camera</button>
    <p class="status" role="status" aria-live="polite"></p>
    <p class="speed faint"></p>
    <p class="private faint">
      Pictures go to the computer that runs this app, are forgotten once they are answered, and are never stored.
    </p>
  </div>
  <div class="curves">
    <p class="faint">How sure the net is of each emotion, for the largest face</p>
    <figure class="chart"><svg role="img" aria-label="Each emotion's probability, the last 20 seconds"></svg></figure>
  </div>
</div></div>
""",
    css=(_HERE / "live_camera.css").read_text(encoding="utf-8"),
    js="\n".join((_HERE / name).read_text(encoding="utf-8") for name in ("live_camera.js", "live_chart.js")),
)


def live_view(predictor: "Predictor", threshold: float, *, key: str = "live") -> None:
    """Draw the camera with its Start and Stop. Each frame reruns this part of the page alone.

    Args:
        predictor: names the faces; another run's begins to smooth anew.
        threshold: below this probability a face's emotion is "not sure".
        key: unique on the page.
    """
    st.fragment(_draw)(predictor, threshold, key)


class _Session:
    """What is known of the camera of one browser, for one net.

    Not kept in `st.session_state` part by part: when the page is run again while a frame is being answered, Streamlit
    drops what the overtaken run writes there, but not what it changes in here.
    """

    def __init__(self, of: tuple[str, tuple[str, ...]]) -> None:
        self.of = of
        self.follower = Follower()
        self.answer: dict[str, Any] | None = None
        self._lock = Lock()  # the overtaken run may still be at work when the next frame comes

    def hear(self, sent: Any, predictor: "Predictor", threshold: float) -> None:
        with self._lock:
            answer = answer_frame(sent, predictor, threshold, self.follower, time.monotonic())
            self.answer = answer or self.answer


def _draw(predictor: "Predictor", threshold: float, key: str) -> None:
    session = _session(predictor, f"{key}:session")
    _component(
        key=key,
        data={
            "key": key,
            "classes": list(predictor.classes),
            "colors": [EMOTION_COLORS[name] for name in predictor.classes],
            "answer": session.answer,
        },
        on_frame_change=lambda: session.hear(st.session_state[key].get("frame"), predictor, threshold),
    )


def _session(predictor: "Predictor", slot: str) -> _Session:
    of = (predictor.name, predictor.classes)
    if slot not in st.session_state or st.session_state[slot].of != of:
        st.session_state[slot] = _Session(of)
    return st.session_state[slot]


def answer_frame(
    sent: Any, predictor: "Predictor", threshold: float, follower: Follower, time_s: float
) -> dict[str, Any] | None:
    """What the browser is told about a frame: JSON. None where it did not even send a frame's number.

    A frame that cannot be read, or a net that cannot answer, gives its reason as `problem` and no faces.

    Args:
        sent: from the browser, trusted for nothing: {"number": int, "jpeg": base64}.
        follower: changed by the faces of this frame.
        time_s: when the frame came, by a clock that does not go back.
    """
    match sent:
        case {"number": int(number), "jpeg": jpeg} if 0 <= number < 2**53:
            pass
        case _:
            return None
    told: dict[str, Any] = {"number": number, "size": [1, 1], "faces": [], "largest": None, "problem": ""}
    try:
        picture = read_frame(jpeg)
        followed = _follow(picture, predictor, follower, time_s)
    except FerError as error:
        return told | {"problem": str(error)}
    faces = [_told(one, predictor.classes, threshold) for one in followed]
    return told | {"size": list(picture.size), "faces": faces, "largest": _largest(followed)}


def read_frame(jpeg: Any) -> Image.Image:
    """The picture that a browser sent. Raises: DataError: not base64 of a JPEG, or too large; one line."""
    if not isinstance(jpeg, str):
        raise DataError("a frame is base64 text; this is none.")
    if len(jpeg) > _MAX_BYTES * 4 / 3:
        raise DataError(f"a frame has at most {_MAX_BYTES:,} bytes; this one has more.")
    try:
        data = base64.b64decode(jpeg, validate=True)
    except (binascii.Error, ValueError):
        raise DataError("a frame is base64 text; this is none.") from None
    if not data.startswith(_JPEG):
        raise DataError("a frame is a JPEG; this is none.")
    return decode_photo(io.BytesIO(data), "the frame", _MAX_PIXELS)


def _follow(picture: Image.Image, predictor: "Predictor", follower: Follower, time_s: float) -> list[Followed]:
    from fer_core.one_thread import one_thread

    quick = copy(predictor)
    quick.smallest = max(predictor.smallest, SMALLEST_FACE)
    with one_thread():
        faces = quick.predict(picture).faces
    boxes = [face.box for face in faces if face.box]  # each has one: no picture is taken whole here
    followed = follower.update(time_s, boxes, [face.probabilities_K for face in faces])
    return [one for one in followed if one.unseen_s <= _HELD_S]


def _told(face: Followed, classes: tuple[str, ...], threshold: float) -> dict[str, Any]:
    from fer_core.predict import NOT_SURE

    likeliest, probability = classes[int(face.probabilities_K.argmax())], float(face.probabilities_K.max())
    return {
        "number": face.number,
        "box": [round(edge, 1) for edge in face.box_4.tolist()],
        "said": likeliest if probability >= threshold else NOT_SURE,
        "likeliest": likeliest,
        "probability": round(probability, 4),
    }


def _largest(followed: list[Followed]) -> dict[str, Any] | None:
    """The face whose probabilities the chart shows: of those in this very frame."""
    seen = [one for one in followed if one.unseen_s == 0]
    if not seen:
        return None
    face = max(seen, key=lambda one: float((one.box_4[2:] - one.box_4[:2]).prod()))
    return {"face": face.number, "probabilities": [round(share, 4) for share in face.probabilities_K.tolist()]}
