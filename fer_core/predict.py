"""Photos in, faces with their emotions out: the library's face for programs.

    predictor = Predictor.load()                    # a run's name or folder; left out: the one that comes along
    for face in predictor.predict("photo.jpg").faces:
        print(face.box, face.emotion, face.probability)

Shapes: N faces, F faces of one picture, K classes, H x W pixels.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fer_core.catalog import SMALLEST_FACE
from fer_core.data.image_file import decode_photo, plain_photo
from fer_core.detect import FoundFaces, find_faces
from fer_core.errors import DataError
from fer_core.face_crop import cut_faces, cut_whole, roll_degrees
from fer_core.pipeline import Pipeline, load_pipeline
from fer_core.pyramid import Pyramid
from fer_core.runs import Run, find_run
from fer_core.shipped import DEFAULT_RUN

Picture = str | Path | BinaryIO | Image.Image | NDArray[np.uint8]
"""A file, a file that is open, a picture of Pillow's, or pixels: uint8 (H, W), (H, W, 3) or (H, W, 4)."""
Pictures = list[Picture] | tuple[Picture, ...]


@dataclass(frozen=True)
class Face:
    """One face and what the net says of it."""

    classes: tuple[str, ...]
    probabilities_K: NDArray[np.float32]
    """In the order of `classes`; they sum to 1."""
    image_SS: NDArray[np.uint8]
    """What the net saw: grey, upright, with FER2013's margin, 48 x 48."""
    box: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom in the picture's pixels; None: the picture was taken whole."""
    score: float | None = None
    """How sure the detector is that this is a face, 0..1; None: it was not asked."""
    roll: float | None = None
    """By how many degrees the head is turned in the picture's plane, with the clock; None: it was not asked."""

    @property
    def emotion(self) -> str:
        """The likeliest."""
        return self.classes[int(self.probabilities_K.argmax())]

    @property
    def probability(self) -> float:
        """Of the likeliest emotion."""
        return float(self.probabilities_K.max())

    def said(self, threshold: float = 0.0) -> str:
        """The likeliest emotion, or "not sure" where its probability is below the threshold."""
        return self.emotion if self.probability >= threshold else NOT_SURE

    def to_json(self) -> dict[str, Any]:
        by_name = dict(zip(self.classes, self.probabilities_K.tolist(), strict=True))
        box = None if self.box is None else [round(edge, 1) for edge in self.box]
        own = {"box": box, "score": self.score, "roll": self.roll}
        return {**own, "emotion": self.emotion, "probability": self.probability, "probabilities": by_name}


NOT_SURE = "not sure"


@dataclass(frozen=True)
class Prediction:
    """What was found in one picture."""

    name: str
    width: int
    height: int
    """Pixels of the picture as a viewer shows it: upright."""
    faces: tuple[Face, ...]
    """From left to right; empty where no face was found."""
    whole: bool
    """Whether the picture was taken for one face, because none was found in it and that was asked for."""
    seconds: float
    """From the file to the answer."""

    def to_json(self) -> dict[str, Any]:
        faces = [face.to_json() for face in self.faces]
        place = {"name": self.name, "width": self.width, "height": self.height}
        return {**place, "whole": self.whole, "ms": round(self.seconds * 1000, 2), "faces": faces}


class Predictor:
    """Finds faces and names their emotions, by the net, or the ensemble, of a run."""

    def __init__(self, pipeline: Pipeline, *, name: str = "", smallest: float = SMALLEST_FACE) -> None:
        """Args: as `load`; name: what the answers are said to come from."""
        self.pipeline = pipeline
        self.name = name
        self.smallest = smallest

    @classmethod
    def load(cls, run: str | Run = DEFAULT_RUN, *, view: str = "none", smallest: float = SMALLEST_FACE) -> "Predictor":
        """The predictor of a run, deciding by the adjustment that was saved with it.

        Args:
            run: a run, its name or its folder; an ensemble predicts by all its members.
            view: a test-time view of `catalog.VIEWS`; "flip" takes twice as long and is a little better.
            smallest: side of the smallest face that is looked for, as a share of the picture's shorter side.
        Raises: FerError: no such run or view, or the run has no weights.
        """
        found = run if isinstance(run, Run) else find_run(run)
        return cls(load_pipeline(found, view), name=found.name, smallest=smallest)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.pipeline.classes

    @overload
    def predict(self, pictures: Picture, *, whole: bool = False) -> Prediction: ...
    @overload
    def predict(self, pictures: Pictures, *, whole: bool = False) -> list[Prediction]: ...
    def predict(self, pictures: Picture | Pictures, *, whole: bool = False) -> Prediction | list[Prediction]:
        """Find the faces of a picture, or of each of several, and say which emotion each of them shows.

        Args:
            pictures: one, or a list or tuple of them.
            whole: where no face is found, take the square in the picture's middle for one.
        Raises: DataError: a file is unreadable, damaged or giant, or an array is no picture; one line.
        """
        if isinstance(pictures, list | tuple):
            return [self._predict(picture, whole) for picture in pictures]
        return self._predict(pictures, whole)

    def predict_faces(self, images_NHW: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of faces that are cut already, as FER2013's are: (N, K), rows that sum to 1.

        One by one or all at once, the answers are the same within 1e-5.
        Args: images_NHW: uint8; of any size, they are brought to the net's own.
        Raises: DataError: of another shape or type.
        """
        images = np.asarray(images_NHW)
        if images.ndim != 3 or images.dtype != np.uint8 or 0 in images.shape[1:]:
            raise DataError(f"faces are uint8 of shape (N, height, width); these are {_described(images)}.")
        return self.pipeline.in_batches(torch.from_numpy(np.array(images))).numpy()

    def _predict(self, picture: Picture, whole: bool) -> Prediction:
        start = time.perf_counter()
        grey_HW = grey_pixels(picture)
        pyramid = Pyramid(torch.from_numpy(grey_HW))
        lit = pyramid.spread()
        found = find_faces(lit, self.smallest)
        alone = whole and not len(found)
        images_FSS = cut_whole(pyramid) if alone else cut_faces(lit, found)
        probabilities_FK = self.predict_faces(images_FSS)
        faces = _faces(self.classes, probabilities_FK, images_FSS, None if alone else found)
        seconds = time.perf_counter() - start
        height, width = grey_HW.shape
        return Prediction(_name(picture), width, height, faces, alone, seconds)


def grey_pixels(picture: Picture) -> NDArray[np.uint8]:
    """Any picture in grey: uint8 (H, W). Raises: DataError: a file that cannot be read, or an array that is none."""
    if isinstance(picture, str):
        picture = Path(picture)
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or 0 in picture.shape or (picture.shape[2:] or (3,)) not in ((3,), (4,)):
            raise DataError(
                "a picture is uint8 of shape (height, width), (height, width, 3) or (height, width, 4); this is "
                f"{_described(picture)}. Several pictures are a list of them; faces that are cut go to predict_faces."
            )
        picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        return np.array(plain_photo(picture).convert("L"))
    return np.array(decode_photo(picture, _name(picture)).convert("L"))


def _name(picture: Picture) -> str:
    if isinstance(picture, str | Path):
        return str(picture)
    return str(getattr(picture, "name", None) or getattr(picture, "filename", None) or "the picture")


def _described(array: NDArray) -> str:
    return f"{array.dtype} of shape {array.shape}"


def _faces(
    classes: tuple[str, ...], probabilities_FK: NDArray[np.float32], images_FSS: NDArray[np.uint8],
    found: FoundFaces | None,
) -> tuple[Face, ...]:  # fmt: skip
    """found: None where the picture is the face."""
    seen = zip(probabilities_FK, images_FSS, strict=True)
    if found is None:
        return tuple(Face(classes, *one) for one in seen)
    places = zip(found.boxes_F4.tolist(), found.scores_F.tolist(), roll_degrees(found).tolist(), strict=True)
    return tuple(Face(classes, *one, tuple(box), *rest) for one, (box, *rest) in zip(seen, places, strict=True))
