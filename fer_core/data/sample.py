"""Drawn sample faces: a data set with FER2013's shape, made from a seed, so that the app works before any download.

6,000 drawn faces in FER2013's proportions. Hard on purpose: weak and mixed expressions, confusable wrong labels, and
disgust both rare and close to anger, so that balancing has something to find.
Ten made-up taggers vote on each face, so that the label modes of FER+ have something to work on too.
Shapes: N faces, U action units, H x W pixels, V vote columns (`labels.FERPLUS_COLUMNS`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fer_core.data.drawing import ACTION_UNITS, draw_faces
from fer_core.data.store import Faces
from fer_core.labels import EMOTIONS, FER2013_TRAIN_COUNTS, FERPLUS_COLUMNS, FERPLUS_TO_EMOTION, SPLITS

SAMPLE_SEED: int = 2013

SAMPLE_SIZES: dict[str, int] = {"train": 4000, "public": 1000, "private": 1000}
"""Faces per split: small enough to train in a minute on two cores, large enough for 15 disgust in each test split."""

PROTOTYPES: dict[str, dict[int, float]] = {
    "angry": {4: 1.0, 7: 0.8, 5: 0.3, 23: 0.7, 10: 0.15, 25: 0.25, 17: 0.3, 9: 0.15},
    "disgust": {9: 1.0, 10: 1.0, 15: 0.4, 4: 0.7, 7: 0.6, 25: 0.4, 17: 0.3},
    "fear": {1: 0.9, 2: 0.55, 4: 0.5, 5: 0.8, 20: 0.8, 25: 0.6, 26: 0.35},
    "happy": {6: 0.8, 12: 1.0, 25: 0.6},
    "sad": {1: 0.9, 4: 0.45, 15: 0.9, 17: 0.5},
    "surprise": {1: 0.9, 2: 1.0, 5: 0.8, 26: 0.9, 25: 0.5},
    "neutral": {},
}
"""Full-strength action units of each emotion (EMFACS: Friesen and Ekman, 1983), with the common optional ones."""

CONFUSABLE: dict[str, tuple[str, ...]] = {
    "angry": ("disgust", "sad", "neutral"), "disgust": ("angry",), "fear": ("surprise", "sad"),
    "happy": ("neutral", "surprise"), "sad": ("neutral", "fear", "angry"), "surprise": ("fear", "happy"),
    "neutral": ("sad", "angry", "happy"),
}  # fmt: skip
"""Which emotions annotators confuse with which; blends and wrong labels stay within it."""

AMBIGUOUS_SHARE = 0.18
"""Faces that blend their emotion with one it is confused with."""

WRONG_LABEL_SHARE = 0.05
"""Faces that carry a confusable wrong label: with the blends, they keep any model well under 100%."""


TAGGERS = 10
STRAY_VOTES: dict[str, float] = {"unknown": 0.02, "NF": 0.005, "contempt": 0.015}
"""Shares of votes that have nothing to do with what the face shows."""


class Blend(NamedTuple):
    """What each face shows beside its emotion: how strongly it shows it, and how much of which other one."""

    strength_N1: NDArray[np.float64]
    mix_N1: NDArray[np.float64]
    other_N: NDArray[np.int64]


def draw_sample(seed: int = SAMPLE_SEED) -> Faces:
    """Draw the whole sample data set; the same seed gives the same bytes.

    Returns: 6,000 faces of 48 x 48 pixels with labels, splits and votes. Rows are grouped by split and shuffled within.
    """
    rng = np.random.default_rng(seed)
    labels_N = np.concatenate([rng.permutation(_split_labels(SAMPLE_SIZES[split])) for split in SPLITS])
    splits_N = np.repeat(np.arange(len(SPLITS), dtype=np.int8), [SAMPLE_SIZES[split] for split in SPLITS])
    shown_N = _mislabel(labels_N, rng)
    blend = draw_blend(shown_N, rng)
    images_NHW = draw_faces(express(shown_N, blend, rng), rng)
    votes_NV = draw_votes(shown_N, blend, np.random.default_rng([seed, TAGGERS]))
    return Faces(images_NHW, labels_N, splits_N, votes_NV=votes_NV)


def class_counts(total: int) -> dict[str, int]:
    """Share `total` faces among the emotions as FER2013's training split does, by largest remainder."""
    exact = {name: total * FER2013_TRAIN_COUNTS[name] / sum(FER2013_TRAIN_COUNTS.values()) for name in EMOTIONS}
    counts = {name: int(share) for name, share in exact.items()}
    by_remainder = sorted(EMOTIONS, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def draw_blend(emotions_N: NDArray[np.int64], rng: np.random.Generator) -> Blend:
    """How strongly each face shows its emotion, and for `AMBIGUOUS_SHARE` of them, what it shows beside it."""
    count = len(emotions_N)
    strength_N1 = rng.beta(5.0, 1.4, (count, 1))
    ambiguous_N1 = rng.random((count, 1)) < AMBIGUOUS_SHARE
    mix_N1 = ambiguous_N1 * rng.uniform(0.25, 0.55, (count, 1))
    return Blend(strength_N1, mix_N1, _confused(emotions_N, rng))


def express(emotions_N: NDArray[np.int64], blend: Blend, rng: np.random.Generator) -> NDArray[np.float64]:
    """Action units of one face per emotion index: its prototype at a random strength, each unit varied, some blended.

    Returns: intensities 0..1, shape (N, len(ACTION_UNITS)), as `drawing.draw_faces` takes them.
    """
    strength_N1, mix_N1, other_N = blend
    units_NU = (1 - mix_N1) * _prototypes()[emotions_N] * strength_N1
    units_NU += mix_N1 * strength_N1 * _prototypes()[other_N]
    units_NU *= rng.uniform(0.55, 1.25, units_NU.shape) * (rng.random(units_NU.shape) > 0.10)
    units_NU += 0.06 * np.abs(rng.standard_normal(units_NU.shape))  # nobody's face is ever quite at rest
    return units_NU.clip(0, 1)


def draw_votes(emotions_N: NDArray[np.int64], blend: Blend, rng: np.random.Generator) -> NDArray[np.uint8]:
    """What ten taggers say of each face, uint8 (N, V): mostly what it shows, neutral the weaker it shows it."""
    rows, columns = np.arange(len(emotions_N)), _vote_columns()
    mix_N, weak_N = blend.mix_N1[:, 0], 0.5 * (1 - blend.strength_N1[:, 0])
    shares_NV = np.zeros((len(rows), len(FERPLUS_COLUMNS)))
    shares_NV[rows, columns[emotions_N]] += (1 - mix_N) * (1 - weak_N) + 0.05
    shares_NV[rows, columns[blend.other_N]] += mix_N * (1 - weak_N) + 0.08
    shares_NV[:, FERPLUS_COLUMNS.index("neutral")] += weak_N
    for name, share in STRAY_VOTES.items():
        shares_NV[:, FERPLUS_COLUMNS.index(name)] += share
    return rng.multinomial(TAGGERS, shares_NV / shares_NV.sum(axis=1, keepdims=True)).astype(np.uint8)


def _vote_columns() -> NDArray[np.int64]:
    """The vote column of each emotion, in the order of `EMOTIONS`."""
    by_emotion = {emotion: FERPLUS_COLUMNS.index(column) for column, emotion in FERPLUS_TO_EMOTION.items()}
    return np.array([by_emotion[name] for name in EMOTIONS])


def _split_labels(total: int) -> NDArray[np.int64]:
    counts = class_counts(total)
    return np.repeat(np.arange(len(EMOTIONS), dtype=np.int64), [counts[name] for name in EMOTIONS])


def _prototypes() -> NDArray[np.float64]:
    return np.array([[PROTOTYPES[name].get(unit, 0.0) for unit in ACTION_UNITS] for name in EMOTIONS])


def _confused(emotions_N: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each emotion, one that it is confused with."""
    draws_N = rng.random(len(emotions_N))
    others = [[EMOTIONS.index(other) for other in CONFUSABLE[name]] for name in EMOTIONS]
    return np.array([others[e][int(d * len(others[e]))] for e, d in zip(emotions_N, draws_N, strict=True)])


def _mislabel(labels_N: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """The emotion that each face really shows: a few differ from the label they carry."""
    wrong_N = rng.random(len(labels_N)) < WRONG_LABEL_SHARE
    return np.where(wrong_N, _confused(labels_N, rng), labels_N)
