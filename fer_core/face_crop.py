"""A face that was found -> the 48 x 48 pixels that FER2013 would show of it.

The frame is laid so that the face's five points come as near as they can to where they lie in FER2013's own faces:
medians over those of `public`, measured by `python -m benchmarks.detectors`. FER2013's faces are turned by 9.5 degrees
(standard deviation); what is cut here is upright.
Shapes: F faces, S x S pixels.
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fer_core.detect import FoundFaces
from fer_core.pyramid import Pyramid

SIDE = 48
_POINTS = ((0.313, 0.387), (0.687, 0.387), (0.500, 0.602), (0.346, 0.783), (0.654, 0.783))
"""x and y of the eyes, the nose and the corners of the mouth in shares of FER2013's frame, made symmetric."""
_FINER = 2
"""Samples a pixel in each direction, then their mean."""


def roll_degrees(found: FoundFaces) -> NDArray[np.float32]:
    """By how much each head is turned in the picture's plane, with the clock, from its five points: (F,)."""
    return np.degrees(_frames(found)[2].numpy())


@torch.inference_mode()
def cut_faces(picture: Pyramid, found: FoundFaces) -> NDArray[np.uint8]:
    """The faces, upright, with FER2013's margin: uint8 (F, 48, 48). Beyond the border, the picture's last pixels."""
    fine = picture.windows(*_frames(found), SIDE * _FINER)
    faces_FSS = F.avg_pool2d(fine, _FINER)[:, 0]
    return (faces_FSS * 255).round().to(torch.uint8).numpy()


def _frames(found: FoundFaces) -> tuple[Tensor, Tensor, Tensor]:
    """Centres (F, 2) and sides (F,) of FER2013's frames in pixels, and by how many radians (F,) they are turned.

    Those that bring the mean points nearest to each face's own, by least squares: Umeyama, PAMI 13 (1991) 376-380.
    """
    points_F5 = torch.complex(*torch.from_numpy(found.points_F52).unbind(2))  # x + iy: one factor turns and scales
    mean_5 = torch.complex(*torch.tensor(_POINTS).unbind(1))
    middle_F, middle = points_F5.mean(1), mean_5.mean()
    off_5 = mean_5 - middle
    turn_F = (points_F5 - middle_F[:, None]) @ off_5.conj() / off_5.abs().square().sum()
    centres_F = middle_F + turn_F * (0.5 + 0.5j - middle)
    return torch.view_as_real(centres_F), turn_F.abs().clamp(min=1), turn_F.angle()


@torch.inference_mode()
def cut_whole(picture: Pyramid) -> NDArray[np.uint8]:
    """The largest square in the picture's middle as one face: uint8 (1, 48, 48); 48 x 48 pixels stay what they are."""
    side = min(picture.height, picture.width)
    centre_12 = torch.tensor([[picture.width / 2, picture.height / 2]])
    finer = 1 if side <= SIDE else _FINER
    fine = picture.windows(centre_12, torch.tensor([float(side)]), torch.zeros(1), SIDE * finer)
    face_1SS = F.avg_pool2d(fine, finer)[:, 0]
    return (face_1SS * 255).round().to(torch.uint8).numpy()
