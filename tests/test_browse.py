"""Finding faces: every filter and order on ten faces whose light, copies and votes are worked out by hand."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from fer_core import browse
from fer_core.browse import (
    Filters,
    copies_of,
    faces_csv,
    find_faces,
    light_histograms,
    mean_faces,
    near_copies_of,
)
from fer_core.data.labelling import FERPLUS_CLASSES, labelled
from fer_core.data.quality import check, near_copies
from fer_core.data.store import OUT, FaceStore
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS
from tests.faces import store_of
from tests.test_near import jpeg, pictures


def votes(**named: int) -> list[int]:
    return [named.get(column, 0) for column in FERPLUS_COLUMNS]


# Brightness, contrast, emotion, split code, votes. Rows 0, 2 and 6 are one picture, 1 and 8 another.
FACES = [
    (100, 10, "happy", 0, votes(happiness=10)),
    (50, 30, "angry", 0, votes(anger=4, disgust=4, unknown=2)),
    (100, 10, "happy", 0, votes(happiness=6, neutral=4)),
    (200, 5, "sad", 0, votes()),
    (50, 20, "happy", 0, votes(contempt=8, neutral=2)),
    (150, 40, "neutral", 0, votes(NF=10)),
    (100, 10, "happy", 1, votes(happiness=5, neutral=5)),
    (80, 25, "sad", 1, votes(sadness=9, fear=1)),
    (50, 30, "disgust", 2, votes(disgust=7, anger=3)),
    (20, 12, "happy", 2, votes(happiness=8, surprise=2)),
]


@pytest.fixture
def store() -> FaceStore:
    """Each face is half its brightness less its contrast, half its brightness and its contrast."""
    images = np.empty((len(FACES), 4, 6), dtype=np.uint8)
    for image, (brightness, contrast, *_) in zip(images, FACES, strict=True):
        image[:2], image[2:] = brightness - contrast, brightness + contrast
    votes_NV = np.array([row[4] for row in FACES], dtype=np.uint8)
    return store_of(images, [EMOTIONS.index(row[2]) for row in FACES], [row[3] for row in FACES], votes_NV=votes_NV)


def found(view: FaceStore, **filters) -> list[int]:
    rows = find_faces(view, check(view), Filters(**filters))
    assert rows.dtype == np.int64
    return rows.tolist()


# --- filters


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"split": "train"}, [0, 1, 2, 3, 4, 5]),
        ({"split": "public"}, [6, 7]),
        ({"emotion": "happy"}, [0, 2, 4, 6, 9]),
        ({"emotion": "surprise"}, []),
        ({"ferplus": "happy"}, [0, 2, 9]),
        ({"ferplus": "contempt"}, [4]),
        ({"ferplus": "none"}, [1, 3, 5, 6]),
        ({"agreement": (0.0, 1.0)}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"agreement": (0.0, 0.5)}, [1, 5, 6]),
        ({"agreement": (0.4, 0.6)}, [1, 2, 6]),
        ({"agreement": (1.0, 1.0)}, [0]),
        ({"agreement": (0.01, 1.0)}, [0, 1, 2, 4, 6, 7, 8, 9]),
        ({"flag": "duplicate_of"}, [2, 6, 8]),
        ({"flag": "leaks_into"}, [0, 1, 2]),
        ({"flag": "label_conflict"}, [1, 8]),
        ({"flag": "constant"}, [3]),
        ({"flag": "not_a_face"}, [5]),
        ({"flag": "low_agreement"}, [1, 5]),
        ({"flag": "duplicate_of", "split": "private"}, [8]),
        ({"emotion": "happy", "ferplus": "happy", "split": "train", "agreement": (0.0, 0.9)}, [2]),
        ({"emotion": "happy", "flag": "duplicate_of", "split": "private"}, []),
    ],
    ids=str,
)
def test_filters_find_what_fits_all_of_them(store, filters, rows):
    assert found(store, **filters) == rows


def test_what_a_view_leaves_out_is_not_found(store):
    splits = store.splits_N.copy()
    splits[[2, 9]] = OUT
    view = replace(store, splits_N=splits)
    assert found(view) == [0, 1, 3, 4, 5, 6, 7, 8]
    assert found(view, emotion="happy") == [0, 4, 6]


def test_emotions_are_those_of_the_views_label_mode(store):
    view = labelled(store, "majority")
    assert found(view) == [0, 2, 4, 7, 8, 9]
    assert found(view, emotion="contempt") == [4]
    assert found(view, emotion="happy") == [0, 2, 9]


def test_without_votes_no_face_has_a_majority_or_an_agreement(store):
    view = replace(store, votes_NV=None)
    assert found(view, ferplus="none") == list(range(10))
    assert found(view, ferplus="happy") == found(view, agreement=(0.0, 0.9)) == []


def test_an_unknown_split_and_a_flag_not_looked_for_are_said(store):
    with pytest.raises(DataError, match=r"^no split named 'test'. Known: train, public, private.$"):
        found(store, split="test")
    with pytest.raises(DataError, match="near copies have not been looked for"):
        found(store, flag="near_copy_of")


# --- orders


@pytest.mark.parametrize(
    ("sort", "rows"),
    [
        ("row order", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("darkest", [9, 1, 4, 8, 7, 0, 2, 6, 5, 3]),
        ("brightest", [3, 5, 0, 2, 6, 7, 1, 4, 8, 9]),
        ("least contrast", [3, 0, 2, 6, 9, 4, 7, 1, 8, 5]),
        ("most disputed", [5, 1, 6, 2, 8, 4, 9, 7, 0, 3]),  # row 3 has no votes, and comes last
    ],
)
def test_equal_faces_of_an_order_stay_in_row_order(store, sort, rows):
    assert found(store, sort=sort) == rows


def test_every_order_has_a_test_and_sorts_only_what_was_found(store):
    assert browse.SORTS == ("row order", "darkest", "brightest", "least contrast", "most disputed")
    assert found(store, split="train", emotion="happy", sort="darkest") == [4, 0, 2]
    assert found(store, split="private", sort="most disputed") == [8, 9]


# --- mean faces and light


def test_mean_faces_by_hand(store):
    means = mean_faces(store)
    assert (means.shape, means.dtype) == ((7, 4, 6), np.uint8)
    halves = {name: (int(face[0, 0]), int(face[3, 5])) for name, face in zip(EMOTIONS, means, strict=True)}
    assert halves == {
        "angry": (20, 80),
        "disgust": (128, 128),  # there is none in train
        "fear": (128, 128),
        "happy": (70, 97),  # (90 + 90 + 30) / 3 and (110 + 110 + 70) / 3
        "sad": (195, 205),
        "surprise": (128, 128),
        "neutral": (110, 190),
    }
    assert all((face[:2] == face[0, 0]).all() and (face[2:] == face[3, 5]).all() for face in means)
    assert mean_faces(store, "private")[EMOTIONS.index("disgust"), 0, 0] == 20


def test_a_mean_face_of_many_takes_evenly_spaced_ones(store, monkeypatch):
    monkeypatch.setattr(browse, "_MEAN_OF", 2)  # of the rows 0, 2 and 4: every second
    happy = mean_faces(store)[EMOTIONS.index("happy")]
    assert (happy[0, 0], happy[3, 5]) == (60, 90)


def test_a_label_mode_has_a_mean_face_for_each_of_its_classes(store):
    means = mean_faces(labelled(store, "majority"))
    assert means.shape == (8, 4, 6)
    assert means[FERPLUS_CLASSES.index("contempt"), 0, 0] == 30


@pytest.mark.parametrize(
    ("column", "width", "shares"),
    [
        ("brightness", 255 / 40, {7: 2 / 6, 15: 2 / 6, 23: 1 / 6, 31: 1 / 6}),  # 50 / 6.375 = 7.8, 100 / 6.375 = 15.7
        ("contrast", 127.5 / 40, {1: 1 / 6, 3: 2 / 6, 6: 1 / 6, 9: 1 / 6, 12: 1 / 6}),  # 5 / 3.1875 = 1.6
    ],
)
def test_how_light_is_spread_by_hand(store, column, width, shares):
    centres, spread = light_histograms(store, column)
    np.testing.assert_allclose(centres, width * (np.arange(40) + 0.5))
    assert list(spread) == ["train", "public", "private"]
    assert {place: share for place, share in enumerate(spread["train"]) if share} == pytest.approx(shares)
    assert all(one.sum() == pytest.approx(1) for one in spread.values())


def test_black_white_and_half_white_faces_are_counted_and_an_empty_split_is_zero():
    images = np.zeros((3, 48, 48), dtype=np.uint8)
    images[1], images[2, :24] = 255, 255
    store = store_of(images, [0, 0, 0], [0, 0, 0])
    for column in ("brightness", "contrast"):
        _, spread = light_histograms(store, column, bins=4)
        assert spread["train"].sum() == pytest.approx(1)
        assert spread["public"].tolist() == [0, 0, 0, 0]
    assert light_histograms(store, "contrast", bins=4)[1]["train"].tolist() == pytest.approx([2 / 3, 0, 0, 1 / 3])


def test_a_mean_that_float32_rounds_above_the_range_is_counted_in_the_last_bin(store):
    white = np.full(10, 255.00002, dtype=np.float32)  # what it makes of a white picture of 333 x 333 pixels
    _, spread = light_histograms(replace(store, brightness_N=white), "brightness")
    assert [one[-1] for one in spread.values()] == [1, 1, 1]


# --- one face


def test_copies_of_a_face_are_all_rows_with_its_pixels(store):
    assert [copies_of(store, row).tolist() for row in (0, 6, 8, 5)] == [[0, 2, 6], [0, 2, 6], [1, 8], [5]]


def test_near_copies_of_a_face_are_those_of_its_exact_copies(tmp_path):
    a, b = pictures(2)
    images = np.stack([a, b, a, jpeg(a, 80)])
    store = store_of(images, [0, 1, 0, 0], [0, 0, 1, 2], folder=tmp_path / "store")
    assert near_copies_of(store, 0).tolist() == []  # not looked for yet
    near_copies(store)
    assert [near_copies_of(store, row).tolist() for row in range(4)] == [[3], [], [3], [0]]


# --- as CSV


def test_the_found_faces_as_csv_by_hand(store):
    rows = np.array([8, 2])
    assert faces_csv(store, check(store), rows) == (
        "row,split,emotion,brightness,contrast,duplicate_of,flags,"
        "vote_share,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
        "8,private,disgust,50.0,30.0,1,duplicate_of label_conflict,0.70,0,0,0,0,3,7,0,0,0,0\n"
        "2,train,happy,100.0,10.0,0,duplicate_of leaks_into,0.60,4,6,0,0,0,0,0,0,0,0\n"
    )


def test_csv_of_a_store_without_votes_has_no_vote_columns(store):
    view = replace(store, votes_NV=None)
    rows = list(csv.reader(io.StringIO(faces_csv(view, check(view), np.arange(10)))))
    assert {len(row) for row in rows} == {7}
    assert rows[1] == ["0", "train", "happy", "100.0", "10.0", "", "leaks_into"]
    assert faces_csv(view, check(view), np.arange(0)).count("\n") == 1


def test_csv_of_a_label_mode_has_its_labels(store):
    view = labelled(store, "majority")
    assert faces_csv(view, check(view), np.array([4])).splitlines()[1].startswith("4,train,contempt,")
