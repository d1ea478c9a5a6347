"""Charts of model or label, and the map: who is drawn where, by hand; what a browser says is trusted for nothing."""

import altair
import numpy as np
import pytest

from fer_core.label_charts import accuracy_chart, pairs_chart, sides_chart
from fer_core.label_sides import LabelSides
from fer_core.labels import EMOTIONS
from fer_core.map_chart import groups_of, map_figure, places_of

ANGRY, DISGUST, HAPPY = 0, 1, 3
# angry called happy three times (FER+ says happy, angry, nothing), happy called angry once (FER+: disgust), one right.
SIDES = LabelSides(
    np.array([ANGRY, ANGRY, ANGRY, HAPPY, HAPPY]),
    np.array([HAPPY, HAPPY, HAPPY, ANGRY, HAPPY]),
    np.array([HAPPY, ANGRY, -1, DISGUST, HAPPY]),
)


def check(spec):
    altair.Chart.from_dict({"data": {"values": []}, **spec})


def test_the_four_sides_are_shares_of_the_mistakes():
    spec = sides_chart(SIDES, ink="black")
    assert [(row["name"], row["value"], row["text"]) for row in spec["data"]["values"]] == [
        ("model", 0.25, "25%  (1)"), ("label", 0.25, "25%  (1)"), ("neither", 0.25, "25%  (1)"),
        ("no majority", 0.25, "25%  (1)"),
    ]  # fmt: skip
    check(spec)


def test_pairs_are_split_by_side_and_empty_parts_left_out():
    spec = pairs_chart(SIDES.pairs(), ink="black")
    assert [(row["pair"], row["side"], row["faces"], row["n"]) for row in spec["data"]["values"]] == [
        ("angry → happy", "model", 1, 3), ("angry → happy", "label", 1, 3), ("angry → happy", "no majority", 1, 3),
        ("happy → angry", "neither", 1, 1),
    ]  # fmt: skip
    assert spec["encoding"]["y"]["sort"] == ["angry → happy", "happy → angry"]
    check(spec)


def test_both_accuracies_are_on_the_same_faces():
    spec = accuracy_chart(SIDES, ink="black")
    # Four faces have a majority: by FER2013's label one of them is right, by FER+'s two.
    assert [row["value"] for row in spec["data"]["values"]] == [0.25, 0.5]
    check(spec)


LABELS, SAID = np.array([0, 1, 1, -1, 0]), np.array([0, 0, -1, -1, -1])


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("true emotion", {"in no split": [3], "angry": [0, 4], "disgust": [1, 2]}),
        ("predicted", {"not asked about": [2, 3, 4], "angry": [0, 1]}),
        ("mistake", {"not asked about": [2, 3, 4], "right": [0], "wrong": [1]}),
    ],
)
def test_every_face_is_in_one_group(by, expected):
    groups = groups_of(by, LABELS, SAID, EMOTIONS)
    assert {one.name: one.places_M.tolist() for one in groups} == expected
    assert sorted(np.concatenate([one.places_M for one in groups])) == list(range(5))
    assert [one.pale for one in groups] == [one.name in ("in no split", "not asked about") for one in groups]


def test_a_figure_has_a_trace_a_group():
    xy = np.arange(10, dtype=np.float32).reshape(5, 2)
    groups = groups_of("mistake", LABELS, SAID, EMOTIONS)
    figure = map_figure(xy, groups)
    assert [trace.name for trace in figure.data] == ["not asked about", "right", "wrong"]
    assert figure.data[0].x.tolist() == [4, 6, 8] and figure.data[2].y.tolist() == [3]


def test_lassoed_points_are_found_and_strange_ones_passed_over():
    groups = groups_of("mistake", LABELS, SAID, EMOTIONS)
    said = ((0, 2), (2, 0), (0, 2), (9, 0), (1, 5))
    points = [{"curve_number": curve, "point_index": index} for curve, index in said]
    points += [{"curve_number": "0"}, {}]
    assert places_of(points, groups).tolist() == [1, 4]
    assert places_of([], groups).tolist() == []
