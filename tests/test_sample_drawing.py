"""The drawn sample: its counts, its reproducibility, and that action units move what they are named after."""

from functools import cache

import numpy as np
import pytest

from fer_core.data.drawing import ACTION_UNITS, SIDE, draw_faces
from fer_core.data.sample import (
    PROTOTYPES,
    SAMPLE_SEED,
    SAMPLE_SIZES,
    TAGGERS,
    Blend,
    class_counts,
    draw_blend,
    draw_sample,
    draw_votes,
    express,
)  # fmt: skip
from fer_core.labels import EMOTIONS, FER2013_TRAIN_COUNTS, FERPLUS_COLUMNS, SPLITS

PEOPLE = 50


@pytest.fixture(scope="module")
def drawn():
    faces = draw_sample()
    return faces.images_NHW, faces.labels_N, faces.splits_N


@cache
def _people(row_U: tuple[float, ...]) -> np.ndarray:
    return draw_faces(np.tile(row_U, (PEOPLE, 1)), np.random.default_rng(0)) / 255.0


def _faces(units: dict[int, float]) -> np.ndarray:
    """The same people in the same light for every `units`, grey values 0..1."""
    return _people(tuple(units.get(unit, 0.0) for unit in ACTION_UNITS))


def _change(units: dict[int, float]) -> np.ndarray:
    """Mean absolute change of each picture row against the relaxed face, shape (H,)."""
    return np.abs(_faces(units) - _faces({})).mean(axis=(0, 2))


def test_shapes_and_types(drawn):
    images_NHW, labels_N, splits_N = drawn
    total = sum(SAMPLE_SIZES.values())
    assert (images_NHW.shape, images_NHW.dtype) == ((total, SIDE, SIDE), np.uint8)
    assert (labels_N.shape, labels_N.dtype) == ((total,), np.int64)
    assert (splits_N.shape, splits_N.dtype) == ((total,), np.int8)


@pytest.mark.parametrize("split", SPLITS)
def test_counts_are_exact_in_each_split(drawn, split):
    _, labels_N, splits_N = drawn
    counts = np.bincount(labels_N[splits_N == SPLITS.index(split)], minlength=len(EMOTIONS))
    assert dict(zip(EMOTIONS, counts.tolist(), strict=True)) == class_counts(SAMPLE_SIZES[split])


def test_class_counts_by_largest_remainder():
    # By hand: 1000 * count / 28,709 is 139.16, 15.19, 142.71, 251.32, 168.24, 110.45, 172.94; floors sum to 997,
    # so the three largest remainders (neutral .94, fear .71, surprise .45) get one more.
    assert list(class_counts(1000).values()) == [139, 15, 143, 251, 168, 111, 173]
    assert class_counts(4000)["disgust"] == 61
    assert class_counts(sum(FER2013_TRAIN_COUNTS.values())) == FER2013_TRAIN_COUNTS


def test_rows_are_not_sorted_by_emotion(drawn):
    _, labels_N, splits_N = drawn
    for code in range(len(SPLITS)):
        assert (np.diff(labels_N[splits_N == code]) < 0).sum() > 100


def test_same_seed_same_bytes_other_seed_other_faces(drawn):
    again, other = draw_sample(SAMPLE_SEED), draw_sample(SAMPLE_SEED + 1)
    same = (again.images_NHW, again.labels_N, again.splits_N)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(drawn, same, strict=True))
    assert (drawn[0] == other.images_NHW).all(axis=(1, 2)).sum() == 0


def test_every_face_is_a_picture_and_none_is_twice(drawn):
    images_NHW = drawn[0]
    assert images_NHW.std(axis=(1, 2)).min() > 5, "a face is almost one grey"
    assert 90 < images_NHW.mean() < 165
    assert len({image.tobytes() for image in images_NHW}) == len(images_NHW)


@pytest.mark.parametrize("unit", ACTION_UNITS)
def test_every_action_unit_changes_the_picture(unit):
    # 25 parts the lips by a pixel and a half: the least of them. The same people, so an unused unit changes nothing.
    assert _change({unit: 1.0}).max() > 0.004


@pytest.mark.parametrize(
    ("unit", "upper"), [(1, True), (2, True), (4, True), (5, True), (12, False), (15, False), (26, False)]
)
def test_an_action_unit_moves_its_own_half_of_the_face(unit, upper):
    change_H = _change({unit: 1.0})
    top, bottom = change_H[: SIDE // 2].sum(), change_H[SIDE // 2 :].sum()
    assert (top > 2 * bottom) if upper else (bottom > 2 * top)


def test_surprise_opens_a_dark_mouth():
    lower_middle = (slice(None), slice(30, 44), slice(16, 32))
    dark = [(_faces(units)[lower_middle] < 0.2).mean() for units in ({}, PROTOTYPES["surprise"])]
    assert dark[1] > 1.5 * dark[0]


def test_smile_and_frown_bend_the_mouth_opposite_ways():
    smile, frown, relaxed = (_faces(units).mean(axis=0) for units in ({12: 1.0}, {15: 1.0}, {}))
    left_corner_above = (slice(31, 35), slice(13, 18))
    assert (smile - relaxed)[left_corner_above].mean() < -0.01 < (frown - relaxed)[left_corner_above].mean()


def test_action_units_stay_in_bounds_and_neutral_is_the_calmest():
    rng = np.random.default_rng(0)
    mean_activity = []
    for index in range(len(EMOTIONS)):
        emotions = np.full(300, index)
        units_NU = express(emotions, draw_blend(emotions, rng), rng)
        assert units_NU.shape == (300, len(ACTION_UNITS)) and units_NU.min() >= 0 and units_NU.max() <= 1
        mean_activity.append(units_NU.mean())
    assert EMOTIONS[int(np.argmin(mean_activity))] == "neutral"


def test_disgust_resembles_anger_most():
    """What makes the rare class hard: its nearest prototype is a class nine times as frequent."""
    proto_KU = np.array([[PROTOTYPES[name].get(unit, 0.0) for unit in ACTION_UNITS] for name in EMOTIONS])
    distance_K = np.linalg.norm(proto_KU - proto_KU[EMOTIONS.index("disgust")], axis=1)
    assert EMOTIONS[int(np.argsort(distance_K)[1])] == "angry"


def test_ten_taggers_vote_on_each_face():
    votes = draw_sample().votes_NV
    assert votes is not None and votes.dtype == np.uint8
    assert (votes.sum(axis=1) == TAGGERS).all()


def test_taggers_see_a_strong_pure_face_as_what_it_is_and_a_weak_one_as_neutral():
    count, happy = 20_000, EMOTIONS.index("happy")
    emotions = np.full(count, happy)
    rng = np.random.default_rng(0)

    def share_of(column: str, strength: float, mix: float) -> float:
        blend = Blend(np.full((count, 1), strength), np.full((count, 1), mix), np.full(count, EMOTIONS.index("sad")))
        return draw_votes(emotions, blend, rng)[:, FERPLUS_COLUMNS.index(column)].mean() / TAGGERS

    # By hand, strong and pure: 1.05 of 1.05 + 0.08 + 0.04 = 0.897; half blended: 0.55 and 0.58 of 1.17.
    assert share_of("happiness", 1.0, 0.0) == pytest.approx(1.05 / 1.17, abs=0.005)
    assert share_of("sadness", 1.0, 0.5) == pytest.approx(0.58 / 1.17, abs=0.005)
    assert share_of("neutral", 0.2, 0.0) == pytest.approx(0.4 / 1.17, abs=0.005)
