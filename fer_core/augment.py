"""Augmentation of whole batches on the model's device, with its own randomness for each image.

The Augment page and the training loop call the same `augment`. Shapes: B images, C channels, H x W pixels; values are
floats in 0..1. The geometric steps (`affine`) are one resampling; here are the others, and the order of all.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from fer_core.affine import GEOMETRIC, product, resample, resize, shrink, signed, uniform
from fer_core.augmentations import Augmentation, Step
from fer_core.registry import registrar

Photometric = Callable[[Tensor, float, Generator], Tensor]
"""(images, strength, generator) -> images."""

PHOTOMETRIC: dict[str, Photometric] = {}
_photometric = registrar(PHOTOMETRIC)

__all__ = ["GEOMETRIC", "PHOTOMETRIC", "augment", "augment_bytes", "to_floats"]


def augment(images_B1HW: Tensor, augmentation: Augmentation, generator: Generator, size: int | None = None) -> Tensor:
    """Change each image at random and bring it to the size that the net takes.

    First the geometric steps in the recipe's order, then the others in theirs, at the final size.

    Args:
        images_B1HW: floats in 0..1.
        augmentation: what the strengths mean stands in `catalog.AUGMENT_OPERATIONS`.
        generator: on the images' device; equal states give equal images.
        size: side in pixels of what is returned; None: the sides stay.
    Returns: floats in 0..1, (B, 1, size, size); the input itself where there is nothing to do.
    """
    steps = augmentation.active()
    height, width = images_B1HW.shape[2:] if size is None else (size, size)
    if not steps:
        return resize(images_B1HW, height, width)
    share_B = _coin(images_B1HW, augmentation.share, generator)
    geometric = [step for step in steps if step.operation in GEOMETRIC]
    if geometric:
        matrices = product([_matrices(images_B1HW, step, share_B, generator) for step in geometric])
        images_B1HW = shrink(images_B1HW, height, width, _window(geometric, augmentation.share))
        images_B1HW = resample(images_B1HW, matrices, height, width)
    else:
        images_B1HW = resize(images_B1HW, height, width)
    for step in steps:
        if step.operation in PHOTOMETRIC:
            changed = PHOTOMETRIC[step.operation](images_B1HW, step.strength, generator)
            chosen_B = share_B & _coin(images_B1HW, step.probability, generator)
            images_B1HW = torch.where(_each(chosen_B), changed, images_B1HW)
    return images_B1HW


def to_floats(images_NHW: Tensor) -> Tensor:
    """uint8 (N, H, W) in 0..255 -> float32 (N, 1, H, W) in 0..1: the only place where grey levels are scaled."""
    return images_NHW.unsqueeze(1).float() / 255


def augment_bytes(
    images_NHW: NDArray[np.uint8], augmentation: Augmentation, generator: Generator, size: int | None = None
) -> NDArray[np.uint8]:
    """`augment` for faces as the store holds them, uint8 (N, H, W), to look at: uint8 (N, size, size)."""
    changed = augment(to_floats(torch.from_numpy(images_NHW)), augmentation, generator, size).squeeze(1)
    return (changed * 255).round().to(torch.uint8).numpy()


def _matrices(images_B1HW: Tensor, step: Step, share_B: Tensor, generator: Generator) -> Tensor:
    """The step's matrices, and the identity for the images that it leaves out."""
    matrices = GEOMETRIC[step.operation](images_B1HW, step.strength, generator)
    chosen_B = share_B & _coin(images_B1HW, step.probability, generator)
    return torch.where(chosen_B.view(-1, 1, 1), matrices, torch.eye(3, device=matrices.device))


def _coin(images_B1HW: Tensor, probability: float, generator: Generator) -> Tensor:
    """(B,) booleans; a number is drawn only where there is a choice."""
    if probability == 1:
        return images_B1HW.new_ones(len(images_B1HW), dtype=torch.bool)
    return uniform(images_B1HW, generator) < probability


def _window(geometric: Sequence[Step], share: float) -> float:
    """What a side of every image is certain to be cut down to, as a share: so much more has to be kept for it."""
    certain = [1 - s.strength for s in geometric if s.operation == "crop" and s.probability == share == 1]
    return float(np.prod(certain))


# --- what each step draws -------------------------------------------------------------------------------------------


@_photometric("brightness")
def brightness(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """By a factor drawn evenly from 1 - share..1 + share."""
    return adjust_brightness(images_BCHW, 1 + share * signed(images_BCHW, generator))


@_photometric("contrast")
def contrast(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """By a factor drawn evenly from 1 - share..1 + share."""
    return adjust_contrast(images_BCHW, 1 + share * signed(images_BCHW, generator))


@_photometric("sharpness")
def sharpness(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """By a factor drawn evenly from 1 - share..1 + share."""
    return adjust_sharpness(images_BCHW, 1 + share * signed(images_BCHW, generator))


@_photometric("autocontrast")
def autocontrast(images_BCHW: Tensor, strength: float, generator: Generator) -> Tensor:
    """No strength; nothing is drawn."""
    return stretch_contrast(images_BCHW)


@_photometric("coarse")
def coarse(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """Sides smaller by this very share; nothing is drawn."""
    return coarsen(images_BCHW, share)


@_photometric("erase")
def erase(images_BCHW: Tensor, share: float, generator: Generator) -> Tensor:
    """A rectangle anywhere in the picture, each side drawn evenly from share / 3..share of the picture's.

    Source: random erasing, Zhong et al., AAAI 2020, arXiv 1708.04896.
    """
    spans = []
    for _ in range(2):
        length = share / 3 + share * 2 / 3 * uniform(images_BCHW, generator)
        spans += [uniform(images_BCHW, generator) * (1 - length), length]
    return cover(images_BCHW, *spans)


# --- the same with parameters that are given ------------------------------------------------------------------------


def adjust_brightness(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """All grey levels times this."""
    return (images_BCHW * _each(factor_B)).clamp_(0, 1)


def adjust_contrast(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Differences from the image's mean grey times this."""
    return _blend(images_BCHW, images_BCHW.mean(dim=(1, 2, 3), keepdim=True), factor_B)


def adjust_sharpness(images_BCHW: Tensor, factor_B: Tensor) -> Tensor:
    """Differences from a smoothed image times this: 0 is smoothed, 1 as it was, 2 sharpened.

    Smoothing is PIL's: a pixel weighs 5 of 13, its eight neighbours 1 each; the border stays.
    """
    if min(images_BCHW.shape[2:]) < 3:
        return images_BCHW
    rows = images_BCHW[:, :, :-2] + images_BCHW[:, :, 1:-1] + images_BCHW[:, :, 2:]
    blocks = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # sums of 3 x 3; `avg_pool2d` takes ten times as long
    smooth = images_BCHW.clone()
    smooth[:, :, 1:-1, 1:-1] = (blocks + 4 * images_BCHW[:, :, 1:-1, 1:-1]) / 13
    return _blend(images_BCHW, smooth, factor_B)


def stretch_contrast(images_BCHW: Tensor) -> Tensor:
    """The darkest pixel of each image becomes 0, the brightest 1; an image of one grey stays as it is."""
    dark, bright = images_BCHW.amin((2, 3), keepdim=True), images_BCHW.amax((2, 3), keepdim=True)
    flat = dark == bright
    return ((images_BCHW - torch.where(flat, 0, dark)) / torch.where(flat, 1, bright - dark)).clamp_(0, 1)


def coarsen(images_BCHW: Tensor, share: float) -> Tensor:
    """Sides made smaller by this share, and as large again."""
    height, width = images_BCHW.shape[2:]
    small = resize(images_BCHW, max(1, round(height * (1 - share))), max(1, round(width * (1 - share))))
    return resize(small, height, width)


def cover(images_BCHW: Tensor, top_B: Tensor, height_B: Tensor, left_B: Tensor, width_B: Tensor) -> Tensor:
    """A rectangle becomes the image's mean grey: the pixels whose middle lies in it. All in shares of the sides."""
    rows = _span(images_BCHW.shape[2], top_B, height_B)[:, None, :, None]
    columns = _span(images_BCHW.shape[3], left_B, width_B)[:, None, None, :]
    return torch.where(rows & columns, images_BCHW.mean(dim=(2, 3), keepdim=True), images_BCHW)


def _span(length: int, start_B: Tensor, share_B: Tensor) -> Tensor:
    """(B, length) booleans: the pixels of one side that a span covers."""
    place = (torch.arange(length, device=start_B.device) + 0.5) / length
    return (place >= start_B[:, None]) & (place < (start_B + share_B)[:, None])


def _blend(images_BCHW: Tensor, plain: Tensor, factor_B: Tensor) -> Tensor:
    return torch.lerp(plain, images_BCHW, _each(factor_B)).clamp_(0, 1)


def _each(values_B: Tensor) -> Tensor:
    return values_B.view(-1, 1, 1, 1)
