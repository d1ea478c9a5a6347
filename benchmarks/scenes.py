"""Pictures with known faces: faces of FER2013, enlarged, on a textured ground.

Shapes: F known faces, G found ones, S x S pixels of a face, H x W of a picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from fer_core.data import FaceStore
from fer_core.labels import FERPLUS_COLUMNS

HEIGHT, WIDTH = 720, 1280
_SOFT = 0.08
"""A face fades into its ground over this share of its side."""
_TRIES = 200
LEAST_IOU = 0.3


@dataclass(frozen=True)
class Kind:
    """How the faces of a picture look."""

    sides: tuple[int, int] = (100, 220)
    """Least and largest side of FER2013's frame in the picture, in pixels."""
    degrees: float = 0.0
    """By how much each face is turned, one way or the other."""
    gain: float = 1.0
    lift: float = 0.0
    """Grey levels of the finished picture: times `gain`, plus `lift`."""


KINDS = {
    "large": Kind((220, 260)),
    "middle": Kind((130, 150)),
    "small": Kind((74, 86)),
    "tiny": Kind((48, 56)),
    "turned 15": Kind(degrees=15),
    "turned 30": Kind(degrees=30),
    "turned 45": Kind(degrees=45),
    "dark": Kind(gain=0.25),
    "bright": Kind(lift=70),
}


@dataclass(frozen=True)
class Scene:
    picture_HW: NDArray[np.uint8]
    boxes_F4: NDArray[np.float32]
    """Left, top, right, bottom of FER2013's frame, before it was turned about its middle."""


def clear_rows(store: FaceStore, split: str) -> NDArray[np.int64]:
    """The rows of a split that do show a face: none of FER+'s ten taggers, where known, said that it is no face."""
    rows = store.rows(split)
    if store.votes_NV is None:
        return rows
    return rows[store.votes_NV[rows][:, FERPLUS_COLUMNS.index("NF")] == 0]


def make_scene(
    faces_FSS: NDArray[np.uint8], kind: Kind, rng: Generator, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> Scene:
    """One picture with all of these faces, none over another. Equal generators, equal pictures."""
    picture = ground(size, rng)
    boxes: list[tuple[int, int, int, int]] = []
    for face_SS in faces_FSS:
        side = int(rng.integers(kind.sides[0], kind.sides[1] + 1))
        left, top = _free_place(boxes, side, size, rng)
        face = enlarged(face_SS, side, kind.degrees * float(rng.choice([-1, 1])))
        soft = _softness(side)
        part = picture[top : top + side, left : left + side]
        part[:] = part * (1 - soft) + face * soft
        boxes.append((left, top, left + side, top + side))
    lit = np.clip(picture * kind.gain + kind.lift, 0, 255).round().astype(np.uint8)
    return Scene(lit, np.array(boxes, dtype=np.float32).reshape(-1, 4))


def ground(size: tuple[int, int], rng: Generator) -> NDArray[np.float32]:
    """Soft light, rectangles in the place of furniture, grain: float32, about 0..255."""
    height, width = size
    coarse = rng.normal(120, 25, (height // 40 + 2, width // 40 + 2)).astype(np.float32)
    picture = np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    for _ in range(round(25 * height * width / (HEIGHT * WIDTH))):
        left, top = rng.integers(0, width), rng.integers(0, height)
        across, down = rng.integers(20, 220, 2)
        part = picture[top : top + down, left : left + across]
        part[:] = (part + rng.integers(20, 230)) / 2
    return picture + rng.normal(0, 6, (height, width)).astype(np.float32)


def enlarged(face_SS: NDArray[np.uint8], side: int, degrees: float = 0.0, reach: float = 0.0) -> NDArray[np.uint8]:
    """A face at another size, turned with the clock; beyond its frame its last pixels go on.

    Args: reach: how much of that to show on each side, as a share of the side; at most 0.5.
    """
    wide = Image.fromarray(np.pad(face_SS, len(face_SS), mode="edge"))
    turned = wide.resize((3 * side, 3 * side), Image.Resampling.BICUBIC).rotate(-degrees, Image.Resampling.BICUBIC)
    start, length = side - round(reach * side), side + 2 * round(reach * side)
    return np.array(turned.crop((start, start, start + length, start + length)))


def _softness(side: int) -> NDArray[np.float32]:
    """How much of each pixel is the face's: 0 at its border, 1 inside."""
    inwards = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    return np.clip(np.minimum(inwards[:, None], inwards[None]) / (side * _SOFT), 0, 1)


def _free_place(
    boxes: Sequence[tuple[int, int, int, int]], side: int, size: tuple[int, int], rng: Generator
) -> tuple[int, int]:
    for _ in range(_TRIES):
        left, top = int(rng.integers(0, size[1] - side + 1)), int(rng.integers(0, size[0] - side + 1))
        if all(left >= right or left + side <= x or top >= bottom or top + side <= y for x, y, right, bottom in boxes):
            return left, top
    raise AssertionError(f"no room for a face of {side} pixels beside {len(boxes)} others")


def matched(found_G4: NDArray[np.float32], boxes_F4: NDArray[np.float32]) -> tuple[int, int]:
    """How many known faces were found, and how many finds are false alarms.

    A face is found where a find has its centre in the face's box and shares more than 0.3 of their union. A find whose
    centre lies in no box is a false alarm, and so is each find but one in a box.
    """
    left_top = np.maximum(boxes_F4[:, None, :2], found_G4[None, :, :2])
    right_bottom = np.minimum(boxes_F4[:, None, 2:], found_G4[None, :, 2:])
    both_FG = (right_bottom - left_top).clip(0).prod(axis=2)
    iou_FG = both_FG / (_areas(boxes_F4)[:, None] + _areas(found_G4) - both_FG)
    centres_G2 = (found_G4[:, :2] + found_G4[:, 2:]) / 2
    inside_FG = ((centres_G2 > boxes_F4[:, None, :2]) & (centres_G2 < boxes_F4[:, None, 2:])).all(axis=2)
    found = int(np.any(inside_FG & (iou_FG > LEAST_IOU), axis=1).sum())
    return found, len(found_G4) - int(np.any(inside_FG, axis=1).sum())


def _areas(boxes_F4: NDArray[np.float32]) -> NDArray[np.float32]:
    return (boxes_F4[:, 2:] - boxes_F4[:, :2]).prod(1)
