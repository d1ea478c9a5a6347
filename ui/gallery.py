"""One gallery for every page that shows faces: a sprite, drawn and clicked in the browser.

Shapes: N faces, H and W pixels.
"""

import base64
import hashlib
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

TONES = ("", "right", "wrong")
"""What a caption's colour and mark can say: nothing, a right answer (tick), a wrong one (cross)."""

_JPEG_BLOCK = 8
_HERE = Path(__file__).resolve().parent
_component = st.components.v2.component(
    "fer_face_gallery",
    html='<div class="gallery" role="listbox"></div>',
    css=(_HERE / "gallery.css").read_text(encoding="utf-8"),
    js=(_HERE / "gallery.js").read_text(encoding="utf-8"),
)


def face_gallery(
    images_NHW: np.ndarray,
    captions: Sequence[str],
    *,
    key: str,
    face_px: int = 96,
    tones: Sequence[str] | None = None,
    selected: int | None = None,
    alt: Sequence[str] | None = None,
    reveal: int = 0,
    on_pick: Callable[[int], None] | None = None,
) -> int | None:
    """Draw N grey faces in a grid as wide as its container, and say which one is selected.

    A face is selected with a click, or with the arrow keys and Enter or Space; that reruns the app (or the fragment
    around the gallery). A click counts until other images, or another `selected`, are passed. Nothing is drawn when
    N is 0.

    Args:
        images_NHW: uint8, shape (N, H, W).
        captions: one per face, plain text (never read as HTML). "\\n" starts a second, fainter line; the tone
            colours the first. "" for every face leaves the captions out.
        key: unique on the page.
        face_px: smallest width of a face on screen, in CSS pixels; faces grow until the row is full.
        tones: one of `TONES` per face.
        selected: the face that is selected until one is clicked, for example from the address.
        alt: what a screen reader says for each face; its number and caption when left out.
        reveal: a higher number than before scrolls the gallery into view, once.
        on_pick: told the position of a clicked face before the rerun, when widgets' state may still be set. The
            gallery then keeps no click of its own: `selected` alone says what is selected.
    Returns: position 0..N-1 of the selected face, or None.
    Raises: ValueError: not uint8 (N, H, W), a list of another length, an unknown tone, or `selected` outside 0..N-1.
    """
    count = _check(images_NHW, captions, tones, selected, alt)
    selected = None if selected is None else int(selected)  # a NumPy integer is no JSON
    if count == 0:
        return None
    stamp, sheet_id = _stamp(key, images_NHW, selected)
    before = None if on_pick else st.session_state.get(key, {}).get("picked")

    def heard() -> None:
        place = _picked(st.session_state[key].get("picked"), stamp, count, None)
        if on_pick and place is not None:
            _forget_shown(key)  # the mark goes back to `selected`, also where that stays the same
            on_pick(place)

    result = _component(
        key=key,
        data={
            "stamp": stamp,
            "selected": _picked(before, stamp, count, selected),
            "sheet": _sheet(images_NHW) | {"id": sheet_id},
            "face_px": face_px,
            "captions": list(captions),
            "tones": list(tones or [""] * count),
            "alt": list(alt or _spoken(captions, tones)),
            "reveal": [key, reveal],
        },
        on_picked_change=heard,  # also makes `result.picked` exist before the first click
    )
    return selected if on_pick else _picked(result.picked, stamp, count, selected)


def sprite_jpeg(images_NHW: np.ndarray, columns: int) -> bytes:
    """Lay faces out row by row on one grey sheet and encode it as JPEG, quality 90.

    Each face sits in the middle of a cell of `cell_side(H)` by `cell_side(W)` pixels; the margin repeats the face's
    edge, so that neither JPEG blocks nor smooth scaling mix two neighbours.

    Args:
        images_NHW: uint8, shape (N, H, W), N at least 1.
        columns: faces per row of the sheet.
    Returns: a JPEG file of ceil(N / columns) rows; cells after the last face are black.
    """
    count, *sides = images_NHW.shape
    rows = math.ceil(count / columns)
    cells_NHW = np.pad(images_NHW, [(0, rows * columns - count), *map(_margins, sides)], mode="constant")
    cells_NHW[:count] = np.pad(images_NHW, [(0, 0), *map(_margins, sides)], mode="edge")
    height, width = cells_NHW.shape[1:]
    sheet_HW = cells_NHW.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)
    file = io.BytesIO()
    Image.fromarray(sheet_HW).save(file, "JPEG", quality=90)
    return file.getvalue()


def cell_side(side: int) -> int:
    """Pixels from one face to the next on the sheet: whole JPEG blocks, with at least one pixel of margin each way."""
    return math.ceil((side + 2) / _JPEG_BLOCK) * _JPEG_BLOCK


def _margins(side: int) -> tuple[int, int]:
    spare = cell_side(side) - side
    return spare // 2, spare - spare // 2


def _sheet(images_NHW: np.ndarray) -> dict[str, Any]:
    count, height, width = images_NHW.shape
    columns = math.ceil(math.sqrt(count))
    return {
        "jpeg": base64.b64encode(sprite_jpeg(images_NHW, columns)).decode("ascii"),
        "columns": columns,
        "rows": math.ceil(count / columns),
        "face": [width, height],
        "cell": [cell_side(width), cell_side(height)],
        "margin": [_margins(width)[0], _margins(height)[0]],
    }


def _check(
    images_NHW: np.ndarray,
    captions: Sequence[str],
    tones: Sequence[str] | None,
    selected: int | None,
    alt: Sequence[str] | None,
) -> int:
    if images_NHW.ndim != 3 or images_NHW.dtype != np.uint8:
        raise ValueError(f"images are {images_NHW.dtype} {images_NHW.shape}; a gallery takes uint8 (N, H, W)")
    count = len(images_NHW)
    for name, values in (("captions", captions), ("tones", tones), ("alt", alt)):
        if values is not None and len(values) != count:
            raise ValueError(f"{len(values)} {name} for {count} images")
    if unknown := set(tones or ()) - set(TONES):
        raise ValueError(f"unknown tone {sorted(unknown)[0]!r}; known: {', '.join(map(repr, TONES))}")
    if selected is not None and not 0 <= selected < count:
        raise ValueError(f"selected face {selected} is not in 0..{count - 1}")
    return count


def _stamp(key: str, images_NHW: np.ndarray, selected: int | None) -> tuple[str, str]:
    """Name what is shown, so that a click on what was shown before counts for nothing, also after going back to it."""
    digest = hashlib.blake2b(repr(images_NHW.shape).encode(), digest_size=12)
    digest.update(np.ascontiguousarray(images_NHW).data)
    shown = (digest.hexdigest(), selected)  # a new `selected` also outdates a click: the newest choice wins
    slot = f"{key}:shown"
    last, turn = st.session_state.get(slot, (None, 0))
    if shown != last:
        turn += 1
        st.session_state[slot] = (shown, turn)
    return f"{shown[0]}-{turn}", shown[0]


def _forget_shown(key: str) -> None:
    """Outdate every click so far: the next stamp is another, whatever is shown."""
    _, turn = st.session_state.get(f"{key}:shown", (None, 0))
    st.session_state[f"{key}:shown"] = (None, turn)


def _picked(picked: Any, stamp: str, count: int, selected: int | None) -> int | None:
    """The click if it belongs to what is shown now. It comes from the browser: trusted for nothing."""
    match picked:
        case [str(seen), int(position)] if seen == stamp and 0 <= position < count:
            return position
    return selected


def _spoken(captions: Sequence[str], tones: Sequence[str] | None) -> list[str]:
    marks = tones or [""] * len(captions)
    return [
        f"Face {i}: " + ", ".join(filter(None, [*caption.split("\n"), mark]))
        for i, (caption, mark) in enumerate(zip(captions, marks, strict=True), start=1)
    ]
