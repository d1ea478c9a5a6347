"""Small FER2013 sources and made-up runs for tests: a few random faces, as arrays, as `fer2013.csv`, as a folder.

Shapes: N faces, H x W pixels, K classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fer_core.config import RunConfig
from fer_core.data.store import Faces, FaceStore, pixel_hashes
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS, FERPLUS_TO_EMOTION, SPLITS, USAGE_TO_SPLIT
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run, create_run

USAGES: tuple[str, ...] = tuple(USAGE_TO_SPLIT)
"""The challenge's names of the splits, in the order of `labels.SPLITS`."""

Counts = Mapping[str, Mapping[str, int]]
"""Split -> emotion -> faces; what is left out has none."""

FEW: Counts = {
    "train": {"angry": 2, "happy": 3, "neutral": 1},
    "public": {"happy": 1, "sad": 1},
    "private": {"disgust": 1, "happy": 1},
}
"""Ten faces: enough for every reader, small enough for every test."""


def make_faces(counts: Counts = FEW, side: int = 48, seed: int = 0) -> Faces:
    """Random grey faces, the rows grouped by split and emotion in the order of `labels`. Equal seeds, equal pixels."""
    cells = [
        (s, k, counts.get(split, {}).get(name, 0)) for s, split in enumerate(SPLITS) for k, name in enumerate(EMOTIONS)
    ]
    sizes = [n for _, _, n in cells]
    labels = np.repeat(np.array([k for _, k, _ in cells], dtype=np.int64), sizes)
    splits = np.repeat(np.array([s for s, _, _ in cells], dtype=np.int8), sizes)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), side, side), dtype=np.uint8)
    return Faces(images, labels, splits)


def csv_rows(faces: Faces) -> list[list[str]]:
    """Each face's emotion, pixels and Usage, as `fer2013.csv` writes them."""
    return [
        [str(label), " ".join(map(str, image.ravel().tolist())), USAGES[split]]
        for image, label, split in zip(faces.images_NHW, faces.labels_N.tolist(), faces.splits_N.tolist(), strict=True)
    ]


def write_rows(path: Path, rows: Sequence[Sequence[str]], header: str = "emotion,pixels,Usage") -> Path:
    """Write these fields under this header, whatever is in them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(row) + "\n" for row in [header.split(","), *rows]), encoding="utf-8", newline="")
    return path


def write_csv(path: Path, faces: Faces | None = None) -> Path:
    """Write a `fer2013.csv` without a flaw."""
    return write_rows(path, csv_rows(faces or make_faces()))


def write_folder(path: Path, faces: Faces | None = None, *, prefixes: bool = True, suffix: str = ".png") -> Path:
    """Write `{train,test}/<emotion>/*`, with the challenge's split in each file's name or without it."""
    for part in ("train", "test"):
        (path / part).mkdir(parents=True, exist_ok=True)
    faces = faces or make_faces()
    for row, (image, label, split) in enumerate(zip(faces.images_NHW, faces.labels_N, faces.splits_N, strict=True)):
        folder = path / ("train" if split == 0 else "test") / EMOTIONS[label]
        folder.mkdir(exist_ok=True)
        name = f"{USAGES[split]}_{row:05d}" if prefixes else f"{row:05d}"
        Image.fromarray(image).save(folder / f"{name}{suffix}")
    return path


def votes_for(majority: Sequence[str | None]) -> NDArray[np.uint8]:
    """Votes (N, V) where all ten taggers say this emotion, or contempt; None: nobody says anything."""
    columns = {emotion: FERPLUS_COLUMNS.index(column) for column, emotion in FERPLUS_TO_EMOTION.items()}
    columns["contempt"] = FERPLUS_COLUMNS.index("contempt")
    found = np.zeros((len(majority), 10), dtype=np.uint8)
    for row, name in zip(found, majority, strict=True):
        if name is not None:
            row[columns[name]] = 10
    return found


def write_votes(path: Path, faces: Faces | None = None, votes_NV: NDArray[np.uint8] | None = None) -> Path:
    """Write FER+'s `fer2013new.csv` for these faces; left out, all ten taggers say what the label says."""
    faces = faces or make_faces()
    if votes_NV is None:
        votes_NV = votes_for([EMOTIONS[k] for k in faces.labels_N])
    rows = [
        [USAGES[split], f"fer{row:07d}.png", *map(str, votes)]
        for row, (split, votes) in enumerate(zip(faces.splits_N, votes_NV.tolist(), strict=True))
    ]
    return write_rows(path, rows, ",".join(("Usage", "Image name", *FERPLUS_COLUMNS)))


def store_of(images_NHW: NDArray[np.uint8], labels: Sequence[int], splits: Sequence[int], **more: Any) -> FaceStore:
    """A store in memory, hashed and measured as a written one is; `more` are further fields."""
    return FaceStore(
        images_NHW,
        np.array(labels, dtype=np.int64),
        np.array(splits, dtype=np.int8),
        pixel_hashes(images_NHW),
        images_NHW.mean(axis=(1, 2), dtype=np.float32),
        images_NHW.std(axis=(1, 2), dtype=np.float32),
        source="faces.csv",
        kind="csv",
        fingerprint="0123456789abcdef",
        **more,
    )


def make_predictions(
    labels: Sequence[int] | NDArray[np.int64],
    predicted: Sequence[int] | NDArray[np.int64] | None = None,
    *,
    logits: NDArray[np.floating] | None = None,
    hashes: Sequence[int] | NDArray[np.uint64] | None = None,
    classes: tuple[str, ...] = EMOTIONS,
) -> SplitPredictions:
    """Made-up answers: `predicted` gets logit 4 and the others 0, unless `logits` are given. Hashes: 1, 2, 3, ..."""
    labels_N = np.asarray(labels, dtype=np.int64)
    if logits is None:
        logits = 4.0 * np.eye(len(classes))[np.asarray(labels if predicted is None else predicted, dtype=np.int64)]
    hashes_N = np.arange(1, len(labels_N) + 1) if hashes is None else hashes
    return SplitPredictions(
        rows_N=np.arange(len(labels_N)),
        hashes_N=np.asarray(hashes_N, dtype=np.uint64),
        labels_N=labels_N,
        logits_NK=np.asarray(logits, dtype=np.float32).reshape(len(labels_N), len(classes)),
        classes=classes,
        fingerprint="0123456789abcdef",
    )


def random_predictions(
    n: int, seed: int, *, label_seed: int = 0, classes: tuple[str, ...] = EMOTIONS
) -> SplitPredictions:
    """Answers that are right now and then, about labels that depend on `label_seed` alone."""
    labels = np.random.default_rng(label_seed).integers(0, len(classes), n)
    logits = np.random.default_rng(seed).normal(size=(n, len(classes))) + 1.5 * np.eye(len(classes))[labels]
    return make_predictions(labels, logits=logits, classes=classes)


def write_run(name: str, *, state: str = "done", **predictions: SplitPredictions) -> Run:
    """A run in the runs folder, without a training: `write_run("a", private=make_predictions([0, 3]))`."""
    run = create_run(RunConfig(data="sample", epochs=3), name)
    if predictions:
        run.write_predictions(predictions)
    run.update_status(state=state)
    return run


def no_progress(done: int, total: int) -> None:
    """For readers that want to tell how far they are."""
