"""Face detectors whose model comes in a registry package, each as a function from a grey picture to boxes.

Shapes: G found faces, H x W pixels. Only the benchmark needs OpenCV and scikit-image.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fer_core.catalog import SMALLEST_FACE
from fer_core.detect import find_faces
from fer_core.errors import RunError
from fer_core.pyramid import Pyramid

Finder = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""uint8 (H, W) -> (G, 4): left, top, right, bottom in pixels."""

OURS = "MTCNN"
PACKAGES = ("opencv-python-headless", "scikit-image")
_INSTALL = 'pip install "opencv-python-headless>=4.14,<5" "scikit-image>=0.26,<1"'
_STEP = 1.1
_LEAST_PX = 24
"""The windows on which the cascades were trained have 20 and 24 pixels."""


def finders() -> dict[str, Finder]:
    """Name -> detector, ours first; each looks for faces from the same size on.

    Raises: RunError: a package is missing.
    """
    try:
        import cv2
        import skimage
    except ImportError as error:
        raise RunError(f"{error.name} is missing, which only this benchmark needs: {_INSTALL}") from None
    haar, data = Path(cv2.data.haarcascades), Path(skimage.__file__).parent / "data"
    return {
        OURS: ours,
        "Haar, default": _opencv(haar / "haarcascade_frontalface_default.xml"),
        "Haar, alt2": _opencv(haar / "haarcascade_frontalface_alt2.xml"),
        "LBP": _skimage(data / "lbpcascade_frontalface_opencv.xml"),
    }


def versions() -> dict[str, str]:
    return {name: _version(name) for name in (*PACKAGES, "mtcnn")}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def ours(picture_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    return find_faces(Pyramid(torch.from_numpy(picture_HW)).spread()).boxes_F4


def _smallest(picture_HW: NDArray[np.uint8]) -> int:
    return max(_LEAST_PX, round(SMALLEST_FACE * min(picture_HW.shape)))


def _opencv(path: Path) -> Finder:
    import cv2

    cascade = cv2.CascadeClassifier(str(path))

    def find(picture_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
        side = _smallest(picture_HW)
        found = np.array(cascade.detectMultiScale(picture_HW, _STEP, minNeighbors=3, minSize=(side, side)))
        boxes = found.reshape(-1, 4).astype(np.float32)
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)

    return find


def _skimage(path: Path) -> Finder:
    from skimage.feature import Cascade

    cascade = Cascade(str(path))

    def find(picture_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
        least, most = _smallest(picture_HW), min(picture_HW.shape)
        found = cascade.detect_multi_scale(picture_HW, _STEP, 1, (least, least), (most, most))
        edges = [(one["c"], one["r"], one["c"] + one["width"], one["r"] + one["height"]) for one in found]
        return np.array(edges, dtype=np.float32).reshape(-1, 4)

    return find
