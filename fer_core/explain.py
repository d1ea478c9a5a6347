"""Where a net looks: Grad-CAM of one emotion over a face, and the mean of such maps over right and wrong answers.

Selvaraju et al., ICCV 2017, arXiv 1610.02391. Shapes: N faces, B batch, C channels, H x W pixels, K classes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core.augment import to_floats
from fer_core.errors import DataError, RunError
from fer_core.mistakes import Answers

Map = NDArray[np.float32]

_BATCH = 64
_MAPS_AT_MOST = 64
_STRENGTH = 0.65
"""How much of a face's grey the colour covers where the map is 1: the face stays visible."""
_INFERNO = (
    0x000004, 0x1B0C41, 0x4A0C6B, 0x781C6D, 0xA52C60, 0xCF4446, 0xED6925, 0xFB9B06, 0xF7D13D, 0xFCFFA4,
)  # fmt: skip
"""Ten even steps of the perceptually uniform map "inferno" (S. van der Walt and N. Smith, 2015), 0xRRGGBB."""
_POOLS_TO_SIZE = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


def grad_cam(model: nn.Module, images_NHW: NDArray[np.uint8], classes_N: NDArray[np.integer]) -> Map:
    """What in each face speaks for a class, by the gradient of its logit at the net's last feature map.

    The map is sum_c a_c A_c, where a_c is the mean over all positions of the logit's gradient by channel A_c; what is
    below 0 becomes 0. It is enlarged to the face (linear between the cells, each at the pixel on which its receptive
    field is centred), and divided by its own maximum. Where a net sees a window of the face only, the map is 0 outside
    of it. The model's modes, gradients and hooks stay as they were.

    Args:
        model: takes floats in 0..1, (B, 1, H, W), as `FaceClassifier` does; it is asked in evaluation mode.
        classes_N: the class to explain for each face. For two classes of one face, give the face twice.
    Returns: float32 (N, H, W), 0..1; all zero where nothing speaks for the class.
    Raises:
        DataError: the classes do not fit the faces or the model.
        RunError: the net has no feature map that a class could be located in, as a vision transformer has none.
    """
    classes_N = np.asarray(classes_N)
    if classes_N.shape != (len(images_NHW),):
        raise DataError(f"{len(images_NHW)} faces, but classes of shape {classes_N.shape}; give one for each face.")
    if not len(images_NHW):
        return np.zeros(images_NHW.shape, np.float32)
    device = next(model.parameters()).device
    with _in_evaluation(model), torch.inference_mode(False):
        images = to_floats(torch.from_numpy(np.array(images_NHW))).to(device)  # a store's own arrays are read-only
        found = find_feature_map(model, images[:1])
        if not 0 <= classes_N.min() <= classes_N.max() < found.classes:
            known = f"this net knows 0 to {found.classes - 1}"
            raise DataError(f"classes from {classes_N.min()} to {classes_N.max()}; {known}.")
        targets = torch.from_numpy(classes_N.astype(np.int64)).to(device)
        parts = zip(images.split(_BATCH), targets.split(_BATCH), strict=True)
        return np.concatenate([_maps_of_batch(model, found, *part) for part in parts])


@dataclass(frozen=True)
class FeatureMap:
    """A net's last feature map, h x w cells."""

    layer: nn.Module
    """The module whose output it is."""
    rows_h: tuple[float, ...]
    """Where the centre of each row's receptive fields lies in what the net sees; 0 is the upper border, 1 the lower."""
    columns_w: tuple[float, ...]
    classes: int


def find_feature_map(model: nn.Module, images_BCHW: Tensor) -> FeatureMap:
    """The output of the module that ran last of those that give a map of more than one position.

    Adaptive pooling is left out: it says nothing new about places, and a VGG repeats a single cell 49 times by it.

    Raises: RunError: there is none, or the net goes on with tokens, which mix all places.
    """
    seen: list[_Step] = []

    def note(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if isinstance(output, Tensor):
            first = inputs[0] if inputs else None
            seen.append(_Step(module, tuple(first.shape) if isinstance(first, Tensor) else (), tuple(output.shape)))

    hooks = [module.register_forward_hook(note) for module in model.modules() if module is not model]
    try:
        with torch.no_grad():
            logits = model(images_BCHW)
    finally:
        for hook in hooks:
            hook.remove()
    place = _last_map(seen)
    rows, columns = (_cell_centres(seen[: place + 1], axis) for axis in (0, 1))
    return FeatureMap(seen[place].module, rows, columns, logits.shape[1])


@dataclass(frozen=True)
class _Step:
    """A module that has run, and the shapes of what went in and came out."""

    module: nn.Module
    given: tuple[int, ...]
    made: tuple[int, ...]


def _last_map(seen: list[_Step]) -> int:
    for place, step in reversed(list(enumerate(seen))):
        shape = step.made
        if len(shape) == 3 and shape[1] > 1:
            raise RunError("this net ends in a sequence of tokens, not in a feature map; Grad-CAM needs one.")
        if len(shape) != 4 or isinstance(step.module, _POOLS_TO_SIZE):
            continue
        channels_last = shape[1] == shape[2] != shape[3]
        height, width = shape[1:3] if channels_last else shape[2:]
        if height * width == 1:
            continue
        if channels_last:
            raise RunError("this net's last feature map has its channels last; give it larger faces, or another net.")
        return place
    raise RunError("this net has no feature map of more than one position; Grad-CAM needs one.")


def _cell_centres(seen: list[_Step], axis: int) -> tuple[float, ...]:
    """Centres of the receptive fields of the last step's cells, as shares of the side that the net sees.

    A 3 x 3 convolution with stride 2 and padding 1 is centred on pixels 0, 2, 4, ...: after four of them a cell of a
    net for 48 pixels lies 8 pixels further up and left than an even spread over the face would put it. With it, maps of
    `small` correlate by 0.28 with what hiding 12 x 12 pixels costs the logit; spread evenly by 0.19 (means of 70 faces
    of private that the shipped run got right, one seed). Where a net
    changes the size of its maps by other means than convolution and pooling, the cells are spread evenly.
    """
    steps = [step for step in seen if isinstance(step.module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    cells = seen[-1].made[2 + axis]
    side = size = next(step.given[2 + axis] for step in seen if len(step.given) == 4)
    start, stride, sizes = 0.0, 1.0, {side}
    for step in steps:
        before, after = step.given[2 + axis], step.made[2 + axis]
        if before in sizes - {size} or before == after:  # a shortcut beside what shrank the map, or nothing shrinks
            continue
        shift, factor, expected = _window_of(step.module, axis, before)
        if before != size or after != expected:  # something else had a hand in it, such as padding by a function
            size = 0
            break
        start, stride, size = start + stride * shift, stride * factor, after
        sizes.add(after)
    if size != cells:
        return tuple((cell + 0.5) / cells for cell in range(cells))
    return tuple((start + stride * cell + 0.5) / side for cell in range(cells))


def _window_of(module: nn.Module, axis: int, size: int) -> tuple[float, int, int]:
    """Of a convolution or pooling: where the middle of its first window lies, in cells of its input; its stride; and
    how many cells it makes of so many."""
    values = (getattr(module, name, 1) for name in ("kernel_size", "stride", "padding", "dilation"))
    kernel, stride, padding, dilation = (value[axis] if isinstance(value, tuple) else value for value in values)
    padding, reach = (0 if padding == "valid" else padding), dilation * (kernel - 1)
    return reach / 2 - padding, stride, (size + 2 * padding - reach - 1) // stride + 1


def _maps_of_batch(model: nn.Module, found: FeatureMap, images_B1HW: Tensor, targets_B: Tensor) -> Map:
    from captum.attr import LayerGradCam  # takes seconds to import

    # Asked for the input's gradient, every layer has one, also where a backbone is frozen.
    images = images_B1HW.clone().requires_grad_()
    maps_B1hw = LayerGradCam(model, found.layer).attribute(images, targets_B, relu_attributions=True)
    crop = float(getattr(model, "crop", 0.0))
    height, width = images.shape[2:]
    rows_Hh, columns_Ww = _spread(found.rows_h, height, crop), _spread(found.columns_w, width, crop)
    maps_BHW = rows_Hh @ maps_B1hw.detach().squeeze(1).double().cpu().numpy() @ columns_Ww.T
    highest = maps_BHW.max(axis=(1, 2), keepdims=True)
    return (maps_BHW / np.where(highest > 0, highest, 1)).astype(np.float32)


def _spread(centres_h: tuple[float, ...], side: int, crop: float) -> NDArray[np.float64]:
    """Share of each cell in each pixel of a face's side, (side, h): linear between centres, constant beyond the ends.

    The net sees the middle window, whose sides are by the share `crop` smaller; outside of it, all shares are 0.
    """
    places = ((np.arange(side) + 0.5) / side - crop / 2) / (1 - crop)
    shares = np.stack([np.interp(places, centres_h, one) for one in np.eye(len(centres_h))], axis=1)
    return shares * ((places >= 0) & (places <= 1))[:, None]


def overlay(image_HW: NDArray[np.uint8], map_HW: Map, strength: float = _STRENGTH) -> NDArray[np.uint8]:
    """A face with a map over it in colour; where the map is 0, the face is as it was.

    Args:
        map_HW: 0..1.
        strength: 0..1, how much of the grey is covered where the map is 1.
    Returns: uint8, (H, W, 3), red, green and blue.
    """
    grey_HW1 = image_HW[..., None].astype(np.float32)
    cover_HW1 = strength * np.clip(map_HW, 0, 1)[..., None]
    return np.round(grey_HW1 + cover_HW1 * (colours(map_HW) - grey_HW1)).astype(np.uint8)


def colours(map_HW: Map) -> NDArray[np.float32]:
    """Red, green and blue (0..255) of values in 0..1, (H, W, 3): black for 0, over red, to a pale yellow for 1."""
    stops = np.array([(code >> 16, code >> 8 & 255, code & 255) for code in _INFERNO], np.float32)
    places = np.linspace(0, 1, len(stops))
    return np.stack([np.interp(map_HW, places, channel) for channel in stops.T], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class MeanMap:
    """Where the net looked, on average, at faces of one emotion that it got right, or wrong."""

    emotion: str
    """The faces' label."""
    right: bool
    n: int
    """Faces that were averaged."""
    of: int
    """Faces that there are."""
    map_HW: Map
    """0..1; all zero where there is no such face."""
    face_HW: NDArray[np.uint8]
    """The mean of the same faces."""


def mean_maps(
    model: nn.Module,
    images_NHW: NDArray[np.uint8],
    answers: Answers,
    *,
    of_label: bool = False,
    at_most: int = _MAPS_AT_MOST,
    seed: int = 0,
    on_progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[MeanMap]:
    """Average Grad-CAM maps for each emotion: over a run's right answers, and over its wrong ones.

    Args:
        images_NHW: the answered faces, in the order of the answers.
        of_label: False explains what the net said; True the emotion that the label names.
        at_most: so many faces of each group are drawn, by `seed`.
        on_progress: called with faces done and faces to do after each group.
    Returns: two for each emotion in the order of `answers.classes`, right answers first.
    Raises: DataError, RunError: as `grad_cam`.
    """
    if len(images_NHW) != len(answers.labels_N):
        raise DataError(f"{len(images_NHW)} faces, but {len(answers.labels_N)} answers; give the answered faces.")
    groups = [
        (k, right, np.flatnonzero((answers.labels_N == k) & (answers.wrong_N != right)))
        for k in range(len(answers.classes))
        for right in (True, False)
    ]
    rng = np.random.default_rng(seed)
    drawn = [np.sort(rng.permutation(rows)[:at_most]) for _, _, rows in groups]
    asked_N = answers.labels_N if of_label else answers.predicted_N
    found, done, total = [], 0, sum(map(len, drawn))
    for (k, right, rows), some in zip(groups, drawn, strict=True):
        faces = images_NHW[some]
        maps = grad_cam(model, faces, asked_N[some])
        found.append(MeanMap(answers.classes[k], right, len(some), len(rows), *_means(maps, faces)))
        done += len(some)
        on_progress(done, total)
    return found


def _means(maps_NHW: Map, faces_NHW: NDArray[np.uint8]) -> tuple[Map, NDArray[np.uint8]]:
    n = max(1, len(maps_NHW))
    mean_face = np.round(faces_NHW.sum(axis=0, dtype=np.float64) / n).astype(np.uint8)
    return (maps_NHW.sum(axis=0, dtype=np.float64) / n).astype(np.float32), mean_face


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    """Put all modules into evaluation mode, and back into what each of them was in."""
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in in_training:
            module.training = True
