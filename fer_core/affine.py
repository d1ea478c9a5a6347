"""The geometric half of augmentation: each step is a matrix per image, and a picture is resampled once, by all of them.

A matrix leads from a point of the result to the point of the picture that is seen there. Coordinates run from -1 to 1
along both sides, whatever their length. Shapes: B images, C channels, H x W pixels.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from fer_core.registry import registrar

Geometric = Callable[[Tensor, float, Generator], Tensor]
"""(images, strength, generator) -> matrices (B, 3, 3); of the images only shape and device are asked."""

GEOMETRIC: dict[str, Geometric] = {}
_geometric = registrar(GEOMETRIC)


def resample(images_BCHW: Tensor, matrices_B33: Tensor, height: int, width: int) -> Tensor:
    """Pictures of height x width pixels, seen through matrices (B, 3, 3), or one (1, 3, 3) for all of them.

    Bilinear; beyond its border a picture repeats its last pixel. Values stay within 0..1.
    """
    x_W, y_H1 = _centres(width, images_BCHW), _centres(height, images_BCHW).view(-1, 1)
    m = matrices_B33[:, :, :, None, None]
    # Not by `affine_grid`: it multiplies matrices, which a GPU may round to ten bits, a tenth of a pixel.
    grid = m.new_empty(len(m), height, width, 2)
    for row in range(2):  # into place: ten times as fast as stacking the two
        torch.add(m[:, row, 0] * x_W, m[:, row, 1] * y_H1 + m[:, row, 2], out=grid[..., row])
    # `shape[0]`, not `len`: an export keeps the one open, and would fix the other to the faces that it was shown.
    grid = grid.expand(images_BCHW.shape[0], -1, -1, -1)
    return F.grid_sample(images_BCHW, grid, "bilinear", "border", align_corners=False).clamp_(0, 1)


def resize(images_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, where it shrinks with a filter as wide as a new pixel; the input itself where nothing changes."""
    before = images_BCHW.shape[2:]
    if before == (height, width):
        return images_BCHW
    shrinks = height < before[0] or width < before[1]
    return F.interpolate(images_BCHW, (height, width), mode="bilinear", antialias=shrinks).clamp_(0, 1)


def shrink(images_BCHW: Tensor, height: int, width: int, window: float = 1.0) -> Tensor:
    """As many pixels as are needed for a window, its sides this share of the picture's, to have height x width.

    Sampled bilinearly, a larger picture would show stray pixels instead of means. Sides that are shorter stay.
    """
    most = (round(height / window), round(width / window))
    return resize(images_BCHW, min(images_BCHW.shape[2], most[0]), min(images_BCHW.shape[3], most[1]))


def product(matrices: list[Tensor]) -> Tensor:
    """One matrix per image that does what these do, the first of them first."""
    total = matrices[0]
    for matrix in matrices[1:]:
        total = (total[:, :, :, None] * matrix[:, None]).sum(2)  # exact on every device, unlike `@`
    return total


# --- what each step draws -------------------------------------------------------------------------------------------


@_geometric("flip")
def flip(images_BCHW: Tensor, strength: float, generator: Generator) -> Tensor:
    """Left becomes right. No strength; nothing is drawn."""
    return mirror(images_BCHW.new_ones(len(images_BCHW)))


@_geometric("rotate")
def rotate(images_BCHW: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Turn about the centre by an angle drawn evenly from -degrees..degrees."""
    return rotation(signed(images_BCHW, generator) * math.radians(degrees), _aspect(images_BCHW))


@_geometric("shift")
def shift(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """Move by up to this share of the width and, apart from that, of the height."""
    left, up = (share * signed(images_BCHW, generator) for _ in range(2))
    return translation(left, up)


@_geometric("scale")
def scale(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """Enlarge or shrink by a factor drawn evenly from 1 - share..1 + share."""
    return enlargement(1 + share * signed(images_BCHW, generator))


@_geometric("shear")
def shear(images_BCHW: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Slant sideways by an angle drawn evenly from -degrees..degrees."""
    return shearing(signed(images_BCHW, generator) * math.radians(degrees), _aspect(images_BCHW))


@_geometric("crop")
def crop(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """A window anywhere in the picture, its sides smaller by this share."""
    return _window_anywhere(images_BCHW.new_full((len(images_BCHW),), 1 - share), generator)


@_geometric("resized_crop")
def resized_crop(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """A window anywhere in the picture, in proportion, its area drawn evenly from 1 - share..1 of the picture's."""
    return _window_anywhere((1 - share * uniform(images_BCHW, generator)).sqrt(), generator)


def _window_anywhere(side_B: Tensor, generator: Generator) -> Tensor:
    left, top = ((1 - side_B) * uniform(side_B, generator) for _ in range(2))
    return window(left, top, side_B, side_B)


# --- the same with parameters that are given ------------------------------------------------------------------------


def mirror(mirrored_B: Tensor) -> Tensor:
    """Left becomes right where `mirrored_B` is not 0."""
    return _matrices(mirrored_B, m00=torch.where(mirrored_B != 0, -1.0, 1.0))


def rotation(radians_B: Tensor, aspect: float) -> Tensor:
    """About the centre, against the clock. aspect: height / width of the picture, whose pixels are square."""
    sine, cosine = radians_B.sin(), radians_B.cos()
    return _matrices(radians_B, m00=cosine, m01=-sine * aspect, m10=sine / aspect, m11=cosine)


def translation(left_B: Tensor, up_B: Tensor) -> Tensor:
    """By shares of the width and the height."""
    return _matrices(left_B, m02=2 * left_B, m12=2 * up_B)  # a side is 2 long


def enlargement(factor_B: Tensor) -> Tensor:
    """About the centre; the picture's sides become `factor_B` times as long."""
    return _matrices(factor_B, m00=1 / factor_B, m11=1 / factor_B)


def shearing(radians_B: Tensor, aspect: float) -> Tensor:
    """Along the width, about the centre: what lies below it moves left, what lies above it right."""
    return _matrices(radians_B, m01=radians_B.tan() * aspect)


def window(left_B: Tensor, top_B: Tensor, width_B: Tensor, height_B: Tensor) -> Tensor:
    """A part of the picture fills the result. All in shares of the picture's sides, from its upper left corner."""
    return _matrices(left_B, m00=width_B, m02=2 * left_B + width_B - 1, m11=height_B, m12=2 * top_B + height_B - 1)


# --- parts ----------------------------------------------------------------------------------------------------------


def uniform(images: Tensor, generator: Generator) -> Tensor:
    """One number in 0..1 for each image, (B,), on its device."""
    return torch.rand(len(images), generator=generator, device=images.device)


def signed(images: Tensor, generator: Generator) -> Tensor:
    """One number in -1..1 for each image, (B,), on its device."""
    return uniform(images, generator) * 2 - 1


def _aspect(images_BCHW: Tensor) -> float:
    return images_BCHW.shape[2] / images_BCHW.shape[3]


def _centres(length: int, images: Tensor) -> Tensor:
    """Coordinates of the middles of a side's pixels."""
    return (torch.arange(length, device=images.device) * 2 + 1) / length - 1


def _matrices(like_B: Tensor, **entries: Tensor) -> Tensor:
    """Identity matrices (B, 3, 3) with some entries replaced: m02 is row 0, column 2."""
    matrices = torch.eye(3, device=like_B.device).repeat(len(like_B), 1, 1)
    for name, values in entries.items():
        matrices[:, int(name[1]), int(name[2])] = values
    return matrices
