"""What it costs that a face has to be found and cut: emotions of found faces, beside those of the same faces given.

Shapes: N faces, S x S pixels of a face, K classes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.scenes import clear_rows, enlarged
from benchmarks.trainer_steps import replaced
from fer_core import face_crop
from fer_core.compare import paired_difference_interval
from fer_core.data import FaceStore
from fer_core.detect import FoundFaces, find_faces
from fer_core.face_crop import cut_faces, roll_degrees
from fer_core.predict import Predictor
from fer_core.pyramid import Pyramid

SIDE = 144
"""FER2013's frame in the picture, in pixels: three for one."""
_REACH = 0.5
_SMALLEST = 0.15
POINTS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")


@dataclass(frozen=True)
class Case:
    """How the faces are shown: turned by so many degrees, one way or the other, at this share of their light."""

    name: str
    degrees: float = 0.0
    light: float = 1.0


CASES = (
    Case("as in FER2013"), Case("turned 15", 15), Case("turned 30", 30), Case("turned 45", 45), Case("dark", light=0.25)
)  # fmt: skip
UPRIGHT, NOT_TURNED, NOT_SPREAD = "as we do it", "not turned upright", "dim ones left dim"


def crops(store: FaceStore, run: str, count: int, seed: int) -> dict[str, Any]:
    """Where points and boxes lie in FER2013's frame, and accuracies by case, on faces of public.

    Raises: FerError: no such run.
    """
    rng = np.random.default_rng(seed)
    known = clear_rows(store, "public")
    rows = np.sort(rng.choice(known, min(count, len(known)), replace=False))
    faces_NSS, labels_N = np.array(store.images_NHW[rows]), np.array(store.labels_N[rows])
    predictor = Predictor.load(run)
    given_N = predictor.predict_faces(faces_NSS).argmax(1)
    frame: dict[str, Any] = {}
    cases = {}
    for case in CASES:
        found = _found_once(_pictures(faces_NSS, case, rng))
        frame = frame or frame_of([one for _, _, one in found])
        cases[case.name] = _accuracies(predictor, case, found, given_N, labels_N)
    return {"run": predictor.name, "faces": len(rows), "frame": frame, "cases": cases}


_Found = Sequence[tuple[int, NDArray[np.uint8], FoundFaces]]
"""Place of the face, its picture, and the one find in it."""


def _pictures(faces_NSS: NDArray[np.uint8], case: Case, rng: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    for face_SS in faces_NSS:
        picture = enlarged(face_SS, SIDE, case.degrees * float(rng.choice([-1, 1])), _REACH)
        yield (picture * case.light).round().astype(np.uint8)


def _found_once(pictures: Iterable[NDArray[np.uint8]]) -> _Found:
    found = (
        (place, picture, find_faces(_pyramid(picture).spread(), _SMALLEST)) for place, picture in enumerate(pictures)
    )
    return [one for one in found if len(one[2]) == 1]


def _pyramid(picture_HW: NDArray[np.uint8]) -> Pyramid:
    return Pyramid(torch.from_numpy(picture_HW))


def frame_of(found: Sequence[FoundFaces]) -> dict[str, Any]:
    """Medians in shares of FER2013's frame, and how the faces are turned in it."""
    start = SIDE * _REACH
    points_N52 = (np.concatenate([one.points_F52 for one in found]) - start) / SIDE
    boxes_N4 = (np.concatenate([one.boxes_F4 for one in found]) - start) / SIDE
    rolls_N = np.concatenate([roll_degrees(one) for one in found])
    return {
        "n": len(found),
        "points": dict(zip(POINTS, np.median(points_N52, axis=0).tolist(), strict=True)),
        "symmetric": symmetric(np.median(points_N52, axis=0)).tolist(),
        "box": np.median(boxes_N4, axis=0).tolist(),
        "roll_sd": float(rolls_N.std()),
        "roll_5_95": np.percentile(rolls_N, (5, 95)).tolist(),
    }


def symmetric(points_52: NDArray[np.floating]) -> NDArray[np.floating]:
    """The mean of five points and of those in the mirror image of their frame."""
    mirrored_52 = points_52[[1, 0, 2, 4, 3]] * (-1, 1) + (1, 0)
    return (points_52 + mirrored_52) / 2


def _accuracies(
    predictor: Predictor, case: Case, found: _Found, given_N: NDArray[np.int64], labels_N: NDArray[np.int64]
) -> dict[str, Any]:
    """Of the faces that were found, by what the net is shown."""
    places_N = np.array([place for place, _, _ in found], dtype=np.int64)
    given_N, labels_N = given_N[places_N], labels_N[places_N]
    cut = {UPRIGHT: [cut_faces(_pyramid(picture).spread(), one) for _, picture, one in found]}
    if case.degrees or case.light == 1:
        with replaced(face_crop, "_frames", _not_turned):
            cut[NOT_TURNED] = [cut_faces(_pyramid(picture), one) for _, picture, one in found]
    if case.light < 1:
        cut[NOT_SPREAD] = [cut_faces(_pyramid(picture), one) for _, picture, one in found]
    answers = {name: predictor.predict_faces(np.concatenate(faces)).argmax(1) for name, faces in cut.items()}
    return {
        "found": len(found),
        "given": float((given_N == labels_N).mean()),
        "ways": {name: beside(answers_N, given_N, labels_N) for name, answers_N in answers.items()},
    }


def _not_turned(frames: Any) -> Any:
    def level(found: FoundFaces) -> Any:
        centres_F2, sides_F, radians_F = frames(found)
        return centres_F2, sides_F, torch.zeros_like(radians_F)

    return level


def beside(answers_N: NDArray[np.int64], given_N: NDArray[np.int64], labels_N: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy, its difference to that of the given ones with its paired 95% interval, and how often both agree."""
    right_N, before_N = answers_N == labels_N, given_N == labels_N
    fixed, broken = int((right_N & ~before_N).sum()), int((before_N & ~right_N).sum())
    return {
        "accuracy": float(right_N.mean()),
        "delta": (fixed - broken) / len(labels_N),
        "delta_ci95": paired_difference_interval(fixed, broken, len(labels_N)),
        "agree": float((answers_N == given_N).mean()),
    }
