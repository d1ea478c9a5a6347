"""A face that was found -> the 48 x 48 pixels that FER2013 would show of it.

FER2013's margin, measured: of 400 faces of public, enlarged on a grey ground, our detector found 361 once. Its boxes
reach from 0.097 to 0.900 of FER2013's frame across, and from -0.025 to 1.033 down (medians). FER2013's own faces are
turned by 9.6 degrees (standard deviation); what is cut here is upright by the eyes.
Shapes: F faces, S x S pixels.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from fer_core.detect import FoundFaces
from fer_core.pyramid import Pyramid

SIDE = 48
_BOX = (0.097, -0.025, 0.900, 1.033)
"""Left, top, right, bottom of a detector's box, in shares of FER2013's frame."""
_FINER = 2
"""Samples a pixel in each direction, then their mean."""


def roll_degrees(found: FoundFaces) -> NDArray[np.float32]:
    """By how much each head is turned in the picture's plane, with the clock, from its eyes: (F,)."""
    across_F2 = found.points_F52[:, 1] - found.points_F52[:, 0]
    return np.degrees(np.arctan2(across_F2[:, 1], across_F2[:, 0]))


@torch.inference_mode()
def cut_faces(picture: Pyramid, found: FoundFaces) -> NDArray[np.uint8]:
    """The faces, upright, with FER2013's margin: uint8 (F, 48, 48). Beyond the border, the picture's last pixels."""
    boxes_F4 = torch.from_numpy(found.boxes_F4)
    left, top, right, bottom = _BOX
    size_F2 = (boxes_F4[:, 2:] - boxes_F4[:, :2]) / torch.tensor([right - left, bottom - top])
    sides_F = size_F2.clamp(min=1).prod(1).sqrt()  # a head that looks aside has a narrow box
    radians_F = torch.from_numpy(roll_degrees(found)) * (math.pi / 180)
    off_F2 = sides_F[:, None] * (0.5 - torch.tensor([left + right, top + bottom]) / 2)
    cosine_F, sine_F = radians_F.cos(), radians_F.sin()
    turned_F2 = torch.stack(
        [cosine_F * off_F2[:, 0] - sine_F * off_F2[:, 1], sine_F * off_F2[:, 0] + cosine_F * off_F2[:, 1]], 1
    )
    centres_F2 = (boxes_F4[:, :2] + boxes_F4[:, 2:]) / 2 + turned_F2
    fine = picture.windows(centres_F2, sides_F, radians_F, SIDE * _FINER)
    faces_FSS = F.avg_pool2d(fine, _FINER)[:, 0]
    return (faces_FSS * 255).round().to(torch.uint8).numpy()


@torch.inference_mode()
def cut_whole(picture: Pyramid) -> NDArray[np.uint8]:
    """The largest square in the picture's middle as one face: uint8 (1, 48, 48); 48 x 48 pixels stay what they are."""
    side = min(picture.height, picture.width)
    centre_12 = torch.tensor([[picture.width / 2, picture.height / 2]])
    finer = 1 if side <= SIDE else _FINER
    fine = picture.windows(centre_12, torch.tensor([float(side)]), torch.zeros(1), SIDE * finer)
    face_1SS = F.avg_pool2d(fine, finer)[:, 0]
    return (face_1SS * 255).round().to(torch.uint8).numpy()
