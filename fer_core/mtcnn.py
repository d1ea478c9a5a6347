"""The three nets of MTCNN, each on grey pictures, with the weights that the package `mtcnn` brings.

Zhang et al., IEEE Signal Processing Letters 2016, arXiv 1604.02878. The package itself wants TensorFlow; only its
arrays are read. Shapes: B windows, H x W pixels.
"""

import hashlib
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import joblib  # type: ignore[import-untyped]
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core.errors import FerError

_DIGESTS = {
    "pnet": "ea6b0c3e685ebee3165326ad6484acc95f2ef78f1c94fbf40a55704fa989f7b5",
    "rnet": "cb00e6460f3c98b0bfafaba3c0a0ded4bdf6e62cee7174d969e8670d7e757fee",
    "onet": "94f6ea2f4cf985275ee958cdd762d17b6009348a4fb9d8c6be39ba73ffd22ca3",
}
"""SHA-256 of each file of mtcnn 1.0.0. They are pickles, which can hold code: others than these are not opened."""

_PACKAGE = "mtcnn>=1.0,<2"

Layer = TypeVar("Layer", bound=nn.Module)


class _Net(nn.Module):
    """A body and what is read off it: (B, 4) how the box moves, (B, 10) where five points lie, (B,) is it a face."""

    def __init__(self, body: nn.Module, box: nn.Module, points: nn.Module | None, face: nn.Module) -> None:
        super().__init__()
        self.body, self.box, self.points, self.face = body, box, points, face
        self.eval().requires_grad_(False)

    def forward(self, images_B1HW: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Args: images_B1HW: in 0..1. For the first net, which looks everywhere, (B) is followed by rows, columns."""
        features = self.body((images_B1HW * 255 - 127.5) / 128)
        points = None if self.points is None else self.points(features)
        other, face = self.face(features).unbind(1)
        return self.box(features), points, (face - other).sigmoid()  # softmax of two


@dataclass(frozen=True)
class Networks:
    """`propose` looks at 12 x 12 windows, everywhere; `refine` at 24 x 24; `output` at 48 x 48."""

    propose: _Net
    refine: _Net
    output: _Net


@cache
def load_networks() -> Networks:
    """Raises: FerError: the package is not there, or its arrays are others than those that are known."""
    propose, refine, output = _propose(_Arrays("pnet")), _refine(_Arrays("rnet")), _output(_Arrays("onet"))
    # Channels last: torch pools their many channels at once, which takes a third of the time of these two nets.
    last = torch.channels_last
    return Networks(propose, refine.to(memory_format=last), output.to(memory_format=last))


def _propose(take: "_Arrays") -> _Net:
    body = nn.Sequential(
        take.conv(grey=True), take.prelu(), _PairPool(), take.conv(), take.prelu(), take.conv(), take.prelu(),
    )  # fmt: skip
    return _Net(body, take.conv(), None, take.conv())


def _refine(take: "_Arrays") -> _Net:
    body = nn.Sequential(
        take.conv(grey=True), take.prelu(), nn.MaxPool2d(3, 2, ceil_mode=True), take.conv(), take.prelu(),
        nn.MaxPool2d(3, 2), take.conv(), take.prelu(), _Flatten(), take.linear(), take.prelu(),
    )  # fmt: skip
    return _Net(body, take.linear(), None, take.linear())


def _output(take: "_Arrays") -> _Net:
    body = nn.Sequential(
        take.conv(grey=True), take.prelu(), nn.MaxPool2d(3, 2, ceil_mode=True), take.conv(), take.prelu(),
        nn.MaxPool2d(3, 2), take.conv(), take.prelu(), nn.MaxPool2d(2, 2, ceil_mode=True), take.conv(), take.prelu(),
        _Flatten(), take.linear(), take.prelu(),
    )  # fmt: skip
    return _Net(body, take.linear(), take.linear(), take.linear())


class _PairPool(nn.Module):
    """`nn.MaxPool2d(2, 2, ceil_mode=True)` for few channels and many pixels, in an eighth of its time."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        height, width = x_BCHW.shape[2:]
        if height % 2 or width % 2:
            x_BCHW = F.pad(x_BCHW, (0, width % 2, 0, height % 2), value=float("-inf"))
        rows = torch.maximum(x_BCHW[:, :, ::2], x_BCHW[:, :, 1::2])
        return torch.maximum(rows[..., ::2], rows[..., 1::2])


class _Flatten(nn.Module):
    """Columns, then rows, then channels: the order in which the original lays them out."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW.permute(0, 3, 2, 1).flatten(1)


class _Arrays:
    """The arrays of one net, taken in their order as layers."""

    def __init__(self, name: str) -> None:
        self.arrays: Iterator[NDArray[np.float32]] = iter(_read(name))

    def conv(self, grey: bool = False) -> nn.Conv2d:
        """grey: the filters' three colours become one; for R = G = B the answer is the same, at a third of the work."""
        kernel = self._next().permute(3, 2, 0, 1)
        if grey:
            kernel = kernel.sum(1, keepdim=True)
        layer = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2:])  # type: ignore[arg-type]
        return _filled(layer, kernel, self._next())

    def linear(self) -> nn.Linear:
        weight = self._next()
        return _filled(nn.Linear(*weight.shape), weight.T, self._next())

    def prelu(self) -> nn.PReLU:
        slopes = self._next().flatten()
        return _filled(nn.PReLU(len(slopes)), slopes)

    def _next(self) -> Tensor:
        return torch.from_numpy(next(self.arrays))


def _filled(layer: Layer, *values: Tensor) -> Layer:
    for parameter, value in zip(layer.parameters(), values, strict=True):
        parameter.data.copy_(value)
    return layer


def _read(name: str) -> list[NDArray[np.float32]]:
    found = importlib.util.find_spec("mtcnn")  # found, not imported: importing it would ask for TensorFlow
    if found is None or not found.submodule_search_locations:
        raise FerError(f'faces are found by the nets of the package mtcnn, which is missing: pip install "{_PACKAGE}"')
    path = Path(found.submodule_search_locations[0]) / "assets" / "weights" / f"{name}.lz4"
    data = path.read_bytes() if path.is_file() else b""
    if hashlib.sha256(data).hexdigest() != _DIGESTS[name]:
        raise FerError(f'{path}: not the weights of mtcnn 1.0; install them again: pip install "mtcnn==1.0.0"')
    return joblib.load(io.BytesIO(data))
