"""A picture with several faces in known places, made of faces like FER2013's: to try detection on, and to show it.

Shapes: F faces, S x S pixels, H x W pixels of the picture.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Place = tuple[int, int, int]
"""Left, top and side of a face, in pixels."""

_SOFT = 0.08
"""Share of a face's side over which it fades into the ground."""


def group_photo(
    faces_FSS: NDArray[np.uint8], places: Sequence[Place], height: int, width: int, seed: int = 0
) -> NDArray[np.uint8]:
    """The faces, resized to their places, on a ground of soft blotches: uint8 (H, W)."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(125, 22, (max(2, height // 60), max(2, width // 60))).clip(0, 255).astype(np.uint8)
    ground = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    photo_HW = np.asarray(ground, dtype=np.float32) + rng.normal(0, 3, (height, width))
    for face_SS, (left, top, side) in zip(faces_FSS, places, strict=True):
        large = np.asarray(Image.fromarray(face_SS).resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
        part = photo_HW[top : top + side, left : left + side]
        part += _fading(side) * (large - part)
    return photo_HW.clip(0, 255).astype(np.uint8)


def in_a_row(faces: int, side: int = 150, gap: int = 50) -> tuple[list[Place], int, int]:
    """Places beside one another, up and down by turns, and the height and width that they need."""
    places = [(gap + place * (side + gap), gap + (place % 2) * gap, side) for place in range(faces)]
    return places, side + 3 * gap, gap + faces * (side + gap)


def _fading(side: int) -> NDArray[np.float32]:
    """1 within, 0 at the border."""
    inwards = np.minimum(np.arange(side), np.arange(side)[::-1]) / (_SOFT * side)
    return np.minimum.outer(inwards, inwards).clip(0, 1).astype(np.float32)
