"""Augmentation of whole batches on the model's device, with its own randomness for each image.

The Augment page and the training loop call the same `augment`. Shapes: B images, C channels, H x W pixels; values are
floats in 0..1. The geometric operations are multiplied into one matrix per image, so that each image is resampled once.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor

from fer_core.registry import registrar

Geometric = Callable[[Tensor, float, Generator], Tensor]
"""(images, strength, generator) -> (B, 3, 3) matrices from output to input coordinates, in -1..1."""
Photometric = Callable[[Tensor, float, Generator], Tensor]
"""(images, strength, generator) -> images."""

GEOMETRIC: dict[str, Geometric] = {}
PHOTOMETRIC: dict[str, Photometric] = {}
_geometric = registrar(GEOMETRIC)
_photometric = registrar(PHOTOMETRIC)


def augment(images_BCHW: Tensor, strengths: Mapping[str, float], generator: Generator) -> Tensor:
    """Change each image at random, by operations named in `catalog.AUGMENT_OPERATIONS`.

    Args:
        images_BCHW: floats in 0..1.
        strengths: operation -> strength; 0 leaves it out. What a strength means stands in the catalog.
        generator: on the images' device; equal states give equal images.
    Returns: floats in 0..1, same shape; the input itself where every strength is 0.
    """
    matrices = [GEOMETRIC[name](images_BCHW, s, generator) for name, s in strengths.items() if s and name in GEOMETRIC]
    if matrices:
        images_BCHW = _resample(images_BCHW, matrices)
    for name, strength in strengths.items():
        if strength and name in PHOTOMETRIC:
            images_BCHW = PHOTOMETRIC[name](images_BCHW, strength, generator)
    return images_BCHW


def to_floats(images_NHW: Tensor) -> Tensor:
    """uint8 (N, H, W) in 0..255 -> float32 (N, 1, H, W) in 0..1: the only place where grey levels are scaled."""
    return images_NHW.unsqueeze(1).float() / 255


def augment_bytes(
    images_NHW: NDArray[np.uint8], strengths: Mapping[str, float], generator: Generator
) -> NDArray[np.uint8]:
    """`augment` for faces as the store holds them, uint8 (N, H, W), to look at."""
    changed = augment(to_floats(torch.from_numpy(images_NHW)), strengths, generator).squeeze(1)
    return (changed * 255).round().to(torch.uint8).numpy()


@_geometric("flip")
def flip(images_BCHW: Tensor, probability: float, generator: Generator) -> Tensor:
    """Mirror left and right with this probability."""
    mirrored = _uniform(images_BCHW, generator) < probability
    return _matrices(images_BCHW, m00=torch.where(mirrored, -1.0, 1.0))


@_geometric("rotate")
def rotate(images_BCHW: Tensor, degrees: float, generator: Generator) -> Tensor:
    """Turn about the centre by an angle drawn evenly from -degrees..degrees."""
    angle = _signed(images_BCHW, generator) * math.radians(degrees)
    # Coordinates run from -1 to 1 on both sides, whatever their length.
    aspect = images_BCHW.shape[2] / images_BCHW.shape[3]
    sine, cosine = angle.sin(), angle.cos()
    return _matrices(images_BCHW, m00=cosine, m01=-sine * aspect, m10=sine / aspect, m11=cosine)


@_geometric("shift")
def shift(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """Move by up to this share of the width and, apart from that, of the height."""
    # Coordinates run from -1 to 1, so that a share of the side is twice that number.
    moves = [2 * share * _signed(images_BCHW, generator) for _ in range(2)]
    return _matrices(images_BCHW, m02=moves[0], m12=moves[1])


@_geometric("scale")
def scale(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """Enlarge or shrink by a factor drawn evenly from 1 - share..1 + share."""
    factor = 1 + share * _signed(images_BCHW, generator)
    return _matrices(images_BCHW, m00=1 / factor, m11=1 / factor)


@_photometric("brightness")
def brightness(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """Multiply all pixels of an image by a factor drawn evenly from 1 - share..1 + share."""
    factor = 1 + share * _signed(images_BCHW, generator)
    return (images_BCHW * factor.view(-1, 1, 1, 1)).clamp(0, 1)


@_photometric("erase")
def erase(images_BCHW: Tensor, probability: float, generator: Generator) -> Tensor:
    """Cover a rectangle of 15 to 45% of each side with the image's mean grey, with this probability.

    Source: random erasing, Zhong et al., AAAI 2020, arXiv 1708.04896.
    """
    rows, columns = (_inside_span(images_BCHW, images_BCHW.shape[axis], generator) for axis in (2, 3))
    chosen = (_uniform(images_BCHW, generator) < probability).view(-1, 1, 1, 1)
    covered = chosen & rows.view(len(rows), 1, -1, 1) & columns.view(len(columns), 1, 1, -1)
    return torch.where(covered, images_BCHW.mean(dim=(2, 3), keepdim=True), images_BCHW)


def _inside_span(images_BCHW: Tensor, length: int, generator: Generator) -> Tensor:
    """(B, length) booleans: the pixels of one side that a random span covers."""
    size = 0.15 + 0.3 * _uniform(images_BCHW, generator)
    start = _uniform(images_BCHW, generator) * (1 - size)
    place = (torch.arange(length, device=images_BCHW.device) + 0.5) / length
    return (place >= start[:, None]) & (place < (start + size)[:, None])


def _resample(images_BCHW: Tensor, matrices: list[Tensor]) -> Tensor:
    total = matrices[0]
    for matrix in matrices[1:]:
        total = total @ matrix
    grid = F.affine_grid(total[:, :2], list(images_BCHW.shape), align_corners=False)
    return F.grid_sample(images_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _matrices(images_BCHW: Tensor, **entries: Tensor) -> Tensor:
    """Identity matrices (B, 3, 3) with some entries replaced: m02 is row 0, column 2."""
    matrices = torch.eye(3, device=images_BCHW.device).repeat(len(images_BCHW), 1, 1)
    for name, values in entries.items():
        matrices[:, int(name[1]), int(name[2])] = values
    return matrices


def _uniform(images_BCHW: Tensor, generator: Generator) -> Tensor:
    return torch.rand(len(images_BCHW), generator=generator, device=images_BCHW.device)


def _signed(images_BCHW: Tensor, generator: Generator) -> Tensor:
    return _uniform(images_BCHW, generator) * 2 - 1
