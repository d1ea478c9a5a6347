"""From a photo's bytes to the answer: how long, where the time goes, and what a thousand in a row leave behind."""

import io
import statistics
import time
from typing import Any

import numpy as np
import psutil
import torch
from PIL import Image

from benchmarks.predict_ways import Fer
from benchmarks.scenes import KINDS, Scene, clear_rows, make_scene
from fer_core.data import FaceStore
from fer_core.detect import find_faces
from fer_core.face_crop import cut_faces
from fer_core.predict import Predictor, grey_pixels
from fer_core.pyramid import Pyramid

_SIZES = ((480, 640), (720, 1280), (1080, 1920))
"""Height and width of the pictures by which memory is measured."""


def from_photo(predictor: Predictor, photo: bytes, times: int, fer: Fer | None) -> dict[str, Any]:
    """Milliseconds from a JPEG's bytes to the answer, medians; its parts, and fer's own way beside it."""
    predictor.predict(io.BytesIO(photo))
    whole, parts, others = [], [], []
    for _ in range(times):
        start = time.perf_counter()
        found = predictor.predict(io.BytesIO(photo))
        whole.append(time.perf_counter() - start)
        parts.append(_parts(predictor, photo))
        others += [] if fer is None else [fer("from_photo", 0)]
    values = {name: statistics.median(1000 * one[name] for one in parts) for name in parts[0]}
    return {
        "pixels": [found.width, found.height],
        "faces": len(found.faces),
        "times": times,
        "ms": 1000 * statistics.median(whole),
        "parts_ms": values,
        "fer_ms": 1000 * statistics.median(one["seconds"] for one in others) if others else None,
        "fer_faces": others[0]["faces"] if others else None,
    }


def _parts(predictor: Predictor, photo: bytes) -> dict[str, float]:
    """What `Predictor.predict` does, with a clock after each step."""
    marks = [time.perf_counter()]
    grey_HW = grey_pixels(io.BytesIO(photo))
    marks.append(time.perf_counter())
    picture = Pyramid(torch.from_numpy(grey_HW)).spread()
    found = find_faces(picture, predictor.smallest)
    marks.append(time.perf_counter())
    faces_FSS = cut_faces(picture, found)
    marks.append(time.perf_counter())
    predictor.predict_faces(faces_FSS)
    marks.append(time.perf_counter())
    return dict(zip(("decode", "detect", "cut", "predict"), np.diff(marks).tolist(), strict=True))


def memory(predictor: Predictor, store: FaceStore, pictures: int) -> dict[str, Any]:
    """Resident megabytes after a tenth of so many pictures, and after all of them."""
    photos = [as_jpeg(_scene(store, size, seed)) for seed, size in enumerate(_SIZES * 4)]
    marks = {max(1, pictures // 10): "early_mb", pictures: "late_mb"}
    values: dict[str, Any] = {"pictures": pictures, "early": min(marks)}
    for done in range(1, pictures + 1):
        predictor.predict(io.BytesIO(photos[done % len(photos)]))
        if done in marks:
            values[marks[done]] = psutil.Process().memory_info().rss / 2**20
    return values


def a_photo(predictor: Predictor, store: FaceStore) -> bytes:
    """A JPEG of 1280 x 720 with three faces, all of which are found."""
    photos = (as_jpeg(_scene(store, (720, 1280), seed)) for seed in range(100))
    return next(photo for photo in photos if len(predictor.predict(io.BytesIO(photo)).faces) == 3)


def _scene(store: FaceStore, size: tuple[int, int], seed: int) -> Scene:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(clear_rows(store, "public"), 3, replace=False))
    return make_scene(store.images_NHW[rows], KINDS["middle"], rng, size)


def as_jpeg(scene: Scene) -> bytes:
    """In colour, as cameras write it."""
    file = io.BytesIO()
    Image.fromarray(scene.picture_HW).convert("RGB").save(file, "JPEG", quality=90)
    return file.getvalue()
