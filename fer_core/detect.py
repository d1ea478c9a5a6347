"""Finding faces: a box, five points and a score each, by MTCNN's three nets on grey pixels.

Zhang et al. 2016, arXiv 1604.02878; why this detector, `benchmarks/detectors.md`. Shapes: F faces, H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou, nms

from fer_core.catalog import SMALLEST_FACE
from fer_core.errors import ConfigError
from fer_core.mtcnn import load_networks
from fer_core.pyramid import Pyramid

_CELL, _STRIDE = 12, 2
"""What the first net looks at, and how far apart, in pixels."""
_STEP = 0.709
"""From one size of the picture to the next: half the area."""
_LEAST_SCORES = (0.5, 0.6, 0.7)
"""Of the three nets. The authors' are 0.6, 0.7 and 0.7; these find more faces, mostly turned ones, at the same cost."""
_MOST_WINDOWS = 1000
"""The first net's best; a texture has it propose thousands."""
_LEAST_FACE_PX = 16


@dataclass(frozen=True)
class FoundFaces:
    """The faces of a picture, from left to right."""

    boxes_F4: NDArray[np.float32]
    """Left, top, right, bottom in pixels, from the forehead to the chin; may reach beyond the picture."""
    scores_F: NDArray[np.float32]
    """How sure the detector is, 0..1."""
    points_F52: NDArray[np.float32]
    """x and y in pixels of the left eye, the right eye (as seen), the nose and the corners of the mouth."""

    def __len__(self) -> int:
        return len(self.scores_F)


@torch.inference_mode()
def find_faces(picture: Pyramid, smallest: float = SMALLEST_FACE) -> FoundFaces:
    """Every face of the picture.

    Args: smallest: side of the smallest face that is looked for, as a share of the picture's shorter side: with it the
        work stays the same however large the picture is. Faces below 16 pixels are not found in any picture.
    Raises: ConfigError: `smallest` is not in 0.01..1. FerError: the detector's weights are missing.
    """
    if not 0.01 <= smallest <= 1:
        raise ConfigError(f"the smallest face is {smallest:g} of the picture's shorter side; give 0.01 to 1.")
    boxes_F4 = _proposed(picture, smallest)
    boxes_F4 = _refined(picture, boxes_F4)
    boxes_F4, scores_F, points_F52 = _output(picture, boxes_F4)
    order_F = boxes_F4[:, 0].argsort()
    return FoundFaces(*(values[order_F].numpy() for values in (boxes_F4, scores_F, points_F52)))


def _proposed(picture: Pyramid, smallest: float) -> Tensor:
    """Windows that may hold a face, found at every size."""
    shorter = min(picture.height, picture.width)
    share = _CELL / max(smallest * shorter, _LEAST_FACE_PX)
    found = [(torch.zeros(0, 4), torch.zeros(0))]
    while shorter * share >= _CELL:
        found.append(_proposed_at(picture, min(share, 1.0)))
        share *= _STEP
    boxes_F4, scores_F = torch.cat([boxes for boxes, _ in found]), torch.cat([scores for _, scores in found])
    return boxes_F4[nms(boxes_F4, scores_F, 0.7)[:_MOST_WINDOWS]]


def _proposed_at(picture: Pyramid, share: float) -> tuple[Tensor, Tensor]:
    image = picture.resized(share)
    moves, _, scores = load_networks().propose(image)
    rows, columns = torch.where(scores[0] > _LEAST_SCORES[0])
    corners = torch.stack([columns, rows], 1).float() * _STRIDE
    boxes_F4 = torch.cat([corners, corners + _CELL], 1) + moves[0, :, rows, columns].T * _CELL
    scores_F = scores[0, rows, columns]
    kept = nms(boxes_F4, scores_F, 0.5)
    across = boxes_F4.new_tensor([picture.width / image.shape[3], picture.height / image.shape[2]]).repeat(2)
    return boxes_F4[kept] * across, scores_F[kept]


def _refined(picture: Pyramid, boxes_F4: Tensor) -> Tensor:
    if not len(boxes_F4):
        return boxes_F4
    windows_F4 = _squares(boxes_F4)
    moves_F4, _, scores_F = load_networks().refine(_cut(picture, windows_F4, 24))
    sure = scores_F > _LEAST_SCORES[1]
    boxes_F4 = _moved(windows_F4[sure], moves_F4[sure])
    return boxes_F4[nms(boxes_F4, scores_F[sure], 0.7)]


def _output(picture: Pyramid, boxes_F4: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if not len(boxes_F4):
        return boxes_F4, torch.zeros(0), torch.zeros(0, 5, 2)
    windows_F4 = _squares(boxes_F4)
    moves_F4, points_F10, scores_F = load_networks().output(_cut(picture, windows_F4, 48))
    assert points_F10 is not None
    sure = scores_F > _LEAST_SCORES[2]
    windows_F4, scores_F = windows_F4[sure], scores_F[sure]
    points_F52 = points_F10[sure].view(-1, 2, 5).transpose(1, 2)
    points_F52 = windows_F4[:, None, :2] + points_F52 * (windows_F4[:, 2:] - windows_F4[:, :2])[:, None]
    boxes_F4 = _moved(windows_F4, moves_F4[sure])
    kept = _apart(boxes_F4, scores_F)
    return boxes_F4[kept], scores_F[kept], points_F52[kept]


def _cut(picture: Pyramid, windows_F4: Tensor, size: int) -> Tensor:
    sides_F = windows_F4[:, 2] - windows_F4[:, 0]
    return picture.windows((windows_F4[:, :2] + windows_F4[:, 2:]) / 2, sides_F, torch.zeros_like(sides_F), size)


def _squares(boxes_F4: Tensor) -> Tensor:
    """About the same centres, with the longer side."""
    centres_F2 = (boxes_F4[:, :2] + boxes_F4[:, 2:]) / 2
    halves_F1 = (boxes_F4[:, 2:] - boxes_F4[:, :2]).amax(1, keepdim=True) / 2
    return torch.cat([centres_F2 - halves_F1, centres_F2 + halves_F1], 1)


def _moved(boxes_F4: Tensor, moves_F4: Tensor) -> Tensor:
    """Each edge by this share of the side that it crosses."""
    return boxes_F4 + moves_F4 * (boxes_F4[:, 2:] - boxes_F4[:, :2]).repeat(1, 2)


def _apart(boxes_F4: Tensor, scores_F: Tensor) -> list[int]:
    """The surest of those that are one face: one box within another is, though their union is far larger."""
    kept: list[int] = []
    areas_F = (boxes_F4[:, 2:] - boxes_F4[:, :2]).prod(1)
    iou_FF = box_iou(boxes_F4, boxes_F4)
    both_FF = iou_FF * (areas_F[:, None] + areas_F) / (1 + iou_FF)
    for place in scores_F.argsort(descending=True).tolist():
        if not any(both_FF[place, one] > 0.6 * min(areas_F[place], areas_F[one]) for one in kept):
            kept.append(place)
    return kept
