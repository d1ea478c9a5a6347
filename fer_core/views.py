"""Showing a face to a finished net: whole, mirrored too, or in ten windows, and the mean of what the net says.

Shapes: N faces, B batch, H x W pixels, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fer_core.affine import resample, resize, shrink, window
from fer_core.augment import to_floats
from fer_core.catalog import VIEWS, check_name

BATCH = 64
"""Small, so that activations stay in the processor's cache: 344 ms against 540 ms for 512 on 1,000 faces, two cores."""

LEAST_CROP = 1 / 12
"""What ten crops cut off of a side at the least: 44 of 48 pixels remain. A net trained with larger crops gets those."""


def shown(images_B1HW: Tensor, view: str, crop: float = 0.0, size: int | None = None) -> Iterator[Tensor]:
    """What a net sees of faces, one view of all of them after the other, so that only one is in memory.

    "none": the window in the middle; "flip": that, then its mirror image; "ten-crop": the windows at the upper left,
    upper right, lower left, lower right and in the middle, then the same windows of the mirror image.

    Args:
        images_B1HW: floats in 0..1.
        view: one of `catalog.VIEWS`.
        crop: by what share the window's sides are smaller than the picture's, as the augmentation step `crop` has it.
        size: side of the result in pixels; None: the sides stay.
    Yields: floats in 0..1, (B, 1, size, size); the input itself where there is nothing to do.
    Raises: ConfigError: no such view.
    """
    check_name("view", view, VIEWS)
    height, width = images_B1HW.shape[2:] if size is None else (size, size)
    corners = view == "ten-crop"
    crop = max(crop, LEAST_CROP) if corners else crop
    places = ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)) if corners else ((0.5, 0.5),)
    return _windows(images_B1HW, view != "none", crop, places, (height, width))


def _windows(
    images_B1HW: Tensor, mirrored: bool, crop: float, places: tuple[tuple[float, float], ...], sides: tuple[int, int]
) -> Iterator[Tensor]:
    """places: x and y of a window; 0 is at the left or upper border, 1 at the other."""
    images_B1HW = shrink(images_B1HW, *sides, 1 - crop)
    for pictures in (images_B1HW, images_B1HW.flip(3)) if mirrored else (images_B1HW,):
        for x, y in places:
            yield _window(pictures, crop, x, y, sides) if crop else resize(pictures, *sides)


def _window(images_B1HW: Tensor, crop: float, x: float, y: float, sides: tuple[int, int]) -> Tensor:
    left, top, side = (images_B1HW.new_full((1,), value) for value in (crop * x, crop * y, 1 - crop))
    return resample(images_B1HW, window(left, top, side, side), *sides)


def predict_logits(
    model: nn.Module,
    images_NHW: Tensor,
    view: str = "none",
    crop: float | None = None,
    size: int | None = None,
    batch: int = BATCH,
    on_look: Callable[[], object] = lambda: None,
) -> Tensor:
    """Logits of faces, the mean over their views. In evaluation mode; the modes of all modules are put back.

    Args:
        images_NHW: uint8, on the model's device.
        view, crop, size: as in `shown`; crop None: the model's own, where it has one.
        batch: faces that go through the net at once.
        on_look: called after each batch and view; a large net takes many minutes for a split.
    Returns: (N, K), float32.
    Raises: ConfigError: no such view.
    """
    with _in_evaluation(model) as own_crop, torch.inference_mode():
        cut = own_crop if crop is None else crop
        return torch.cat([_mean_logits(model, part, view, cut, size, on_look) for part in images_NHW.split(batch)])


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[float]:
    """Put the model into evaluation mode and its own crop aside, for views cut their windows themselves; gives it."""
    in_training = [module for module in model.modules() if module.training]
    own_crop = getattr(model, "crop", 0.0)
    model.eval()
    setattr(model, "crop", 0.0)  # noqa: B010  # an attribute that a net of another kind does not have
    try:
        yield own_crop
    finally:
        setattr(model, "crop", own_crop)  # noqa: B010
        for module in in_training:
            module.training = True


def _mean_logits(
    model: nn.Module, images_BHW: Tensor, view: str, crop: float, size: int | None, on_look: Callable[[], object]
) -> Tensor:
    logits: list[Tensor] = []
    for images in shown(to_floats(images_BHW), view, crop, size):
        logits.append(model(images).float())
        on_look()
    return logits[0] if len(logits) == 1 else torch.stack(logits).mean(0)
