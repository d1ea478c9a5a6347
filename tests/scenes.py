"""Pictures with drawn faces in known places."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core.data.drawing import draw_faces
from fer_core.data.group_photo import Place, group_photo, in_a_row
from fer_core.data.sample import draw_blend, express
from fer_core.labels import EMOTIONS

SHIPPED = str(Path(__file__).resolve().parent.parent / "fer_core" / "weights")
"""For $FER_SHIPPED: the runs that really come along."""


@cache
def drawn_faces() -> NDArray[np.uint8]:
    """Six faces, happy and surprised by turns, (6, 48, 48)."""
    rng = np.random.default_rng(8)
    emotions_N = np.array([EMOTIONS.index("happy"), EMOTIONS.index("surprise")] * 3)
    return draw_faces(express(emotions_N, draw_blend(emotions_N, rng), rng), rng)


def scene(faces: int = 3, side: int = 150) -> tuple[NDArray[np.uint8], list[Place]]:
    """Faces beside one another: uint8 (H, W), and their places."""
    places, height, width = in_a_row(faces, side)
    return group_photo(drawn_faces()[:faces], places, height, width), places
