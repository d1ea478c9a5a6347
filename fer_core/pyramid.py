"""A grey picture at full size, half, a quarter, ...: windows of any size and turn are sampled from the one that suits.

Shapes: F windows, H x W pixels of the picture, S x S of a window.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_core.affine import resize

_LEAST_SIDE = 8
_DIM = 0.5
"""Pictures whose grey levels, all but 1% of them, span less than this share of all levels are dim."""
_MOST_GAIN = 8.0
_SAMPLES = 10_000


class Pyramid:
    """Sampled bilinearly from its full size, a large face would show stray pixels instead of means."""

    def __init__(self, grey_HW: Tensor) -> None:
        """Args: grey_HW: uint8."""
        self.height, self.width = grey_HW.shape
        self.levels = [grey_HW[None, None].float() / 255]
        while min(self.levels[-1].shape[2:]) >= 2 * _LEAST_SIDE:
            self.levels.append(_halved(self.levels[-1]))

    def spread(self) -> "Pyramid":
        """Itself; of a dim picture, one whose grey levels reach from black to white.

        At a quarter of the light, the detector misses a fifth of the faces that it finds by day, and of those that it
        finds, the net names a third wrong that it named right; spread, nearly none (`benchmarks/detectors.md`).
        """
        step = max(1, math.isqrt(self.height * self.width // _SAMPLES))
        values = self.levels[0][..., ::step, ::step].flatten()
        low, high = values.quantile(values.new_tensor([0.005, 0.995])).tolist()
        if high - low >= _DIM:
            return self
        gain = min(_MOST_GAIN, 1 / max(high - low, 1e-6))
        lit = copy.copy(self)
        lit.levels = [((level - low) * gain).clamp(0, 1) for level in self.levels]
        return lit

    def resized(self, share: float) -> Tensor:
        """The whole picture with sides of this share, 0 < share <= 1, in 0..1: (1, 1, H, W)."""
        level = self._level(1 / share)
        return resize(self.levels[level], max(1, round(self.height * share)), max(1, round(self.width * share)))

    def windows(self, centres_F2: Tensor, sides_F: Tensor, radians_F: Tensor, size: int) -> Tensor:
        """Square windows: (F, 1, size, size), in 0..1. Beyond its border the picture repeats its last pixel.

        Args:
            centres_F2: x and y in pixels; (0, 0) is the upper left corner of the upper left pixel.
            sides_F: in pixels.
            radians_F: by how much each window is turned, with the clock.
        """
        found = self.levels[0].new_empty(len(sides_F), 1, size, size)
        levels_F = torch.tensor([self._level(side / size) for side in sides_F.tolist()], dtype=torch.int64)
        for level in levels_F.unique().tolist():
            chosen = levels_F == level
            found[chosen] = self._sampled(level, centres_F2[chosen], sides_F[chosen], radians_F[chosen], size)
        return found

    def _level(self, shrinks_by: float) -> int:
        """The smallest picture that still has a pixel of its own for each that is asked for."""
        return min(int(math.log2(max(1.0, shrinks_by))), len(self.levels) - 1)

    def _sampled(self, level: int, centres_F2: Tensor, sides_F: Tensor, radians_F: Tensor, size: int) -> Tensor:
        picture = self.levels[level]
        steps_S = (torch.arange(size) + 0.5) / size - 0.5
        x_FS, y_FS = (sides_F[:, None] * steps_S / 2**level for _ in range(2))
        cosine, sine = radians_F.cos()[:, None, None], radians_F.sin()[:, None, None]
        x_FSS = cosine * x_FS[:, None, :] - sine * y_FS[:, :, None] + centres_F2[:, :1, None] / 2**level
        y_FSS = sine * x_FS[:, None, :] + cosine * y_FS[:, :, None] + centres_F2[:, 1:, None] / 2**level
        height, width = picture.shape[2:]
        grid = torch.stack([x_FSS * 2 / width - 1, y_FSS * 2 / height - 1], 3)
        return F.grid_sample(picture.expand(len(grid), -1, -1, -1), grid, "bilinear", "border", align_corners=False)


def _halved(image_11HW: Tensor) -> Tensor:
    """`F.avg_pool2d(image, 2)`, in a quarter of its time: sums of whole rows first."""
    height, width = (side // 2 * 2 for side in image_11HW.shape[2:])
    rows = image_11HW[:, :, :height:2] + image_11HW[:, :, 1:height:2]
    return (rows[..., :width:2] + rows[..., 1:width:2]) / 4
