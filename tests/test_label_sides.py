"""Model or label: with whom FER+'s taggers side, worked out by hand on a few faces."""

from dataclasses import replace

import numpy as np
import pytest

from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.errors import DataError, RunError
from fer_core.evaluate import wilson_interval
from fer_core.label_sides import (
    SIDES,
    Pair,
    Share,
    accuracy_sentence,
    label_sides,
    rows_in,
    sides_sentence,
    votes_of,
)
from fer_core.labels import CONTEMPT, EMOTIONS, FERPLUS_COLUMNS, FERPLUS_TO_EMOTION
from tests.faces import make_faces, make_predictions, store_of

ANGRY, FEAR, HAPPY, SAD, NEUTRAL = (EMOTIONS.index(name) for name in ("angry", "fear", "happy", "sad", "neutral"))
COLUMN = {FERPLUS_TO_EMOTION.get(column, column): place for place, column in enumerate(FERPLUS_COLUMNS)}


def votes(*rows):
    """Votes of each face, given as emotion or column -> taggers."""
    found = np.zeros((len(rows), len(FERPLUS_COLUMNS)), dtype=np.uint8)
    for row, said in zip(found, rows, strict=True):
        for name, taggers in said.items():
            row[COLUMN[name]] = taggers
    return found


FACES = [
    # label, answer, votes, side
    (SAD, NEUTRAL, {"neutral": 8, "sad": 2}, "model"),
    (SAD, NEUTRAL, {"neutral": 3, "sad": 7}, "label"),
    (SAD, NEUTRAL, {"angry": 9}, "neither"),
    (SAD, NEUTRAL, {CONTEMPT: 9}, "neither"),
    (SAD, NEUTRAL, {"neutral": 5, "sad": 5}, "no majority"),
    (SAD, NEUTRAL, {"NF": 10}, "no majority"),
    (FEAR, SAD, {}, "no majority"),
    (FEAR, SAD, {"sad": 10}, "model"),
    (HAPPY, HAPPY, {"happy": 10}, None),
    (HAPPY, HAPPY, {"angry": 10}, None),
    (HAPPY, HAPPY, {}, None),
]
PREDICTIONS = make_predictions([face[0] for face in FACES], [face[1] for face in FACES])
SAID = votes(*(face[2] for face in FACES))
FOUND = label_sides(PREDICTIONS, SAID)


@pytest.mark.parametrize("place", range(len(FACES)))
def test_each_mistake_has_its_side_and_a_right_answer_none(place):
    side = FACES[place][3]
    assert FOUND.side_N[place] == (-1 if side is None else list(SIDES).index(side))


def test_totals_add_up_to_all_mistakes():
    totals = FOUND.totals()
    assert {side: one.count for side, one in totals.items()} == {"model": 2, "label": 1, "neither": 2, "no majority": 3}
    assert FOUND.mistakes == 8 and all(one.n == 8 for one in totals.values())
    assert totals["model"].share == 0.25 and totals["model"].ci95 == wilson_interval(2, 8)
    assert FOUND.where("neither").tolist() == [2, 3]


def test_pairs_come_with_the_commonest_first():
    assert FOUND.pairs() == [
        Pair("sad", "neutral", 6, {"model": 1, "label": 1, "neither": 2, "no majority": 2}),
        Pair("fear", "sad", 2, {"model": 1, "label": 0, "neither": 0, "no majority": 1}),
    ]
    assert FOUND.pairs()[1].share("model") == Share(1, 2)


def test_accuracy_by_each_label_set_on_the_same_faces_and_on_its_own():
    accuracies = FOUND.accuracies()
    # A majority within the seven: faces 0, 1, 2, 7, 8, 9. By label 8 and 9 are right, by majority 0, 7 and 8.
    assert accuracies.fer2013_same == Share(2, 6)
    assert accuracies.ferplus_same == Share(3, 6)
    assert accuracies.fer2013_own == Share(3, 11)
    assert accuracies.ferplus_own == Share(3, 7)  # the face of contempt as well
    assert FOUND.to_json()["accuracy"]["ferplus_same"]["ci95"] == wilson_interval(3, 6)


def test_the_sentences_say_shares_and_what_they_are_of():
    assert sides_sentence(FOUND, "private") == (
        "Of 8 mistakes on private, the majority of FER+'s ten taggers sides with the model in 25%, with the label in "
        "12% and with neither in 25%; in 38% they have no majority."
    )
    low, high = wilson_interval(3, 6)
    assert accuracy_sentence(FOUND).startswith(
        "On the 6 faces that both label sets speak of, the model is right in 33.3%"
    )
    assert accuracy_sentence(FOUND).endswith(f"and in 50.0% ({low:.1%} to {high:.1%}) by FER+'s majority.")


def test_a_run_without_a_mistake_and_faces_without_votes_have_sentences_too():
    right = label_sides(make_predictions([SAD, HAPPY]), votes({}, {}))
    assert right.pairs() == [] and right.totals()["model"].share is None and right.totals()["model"].ci95 is None
    assert sides_sentence(right, "public").startswith("There is no mistake on public")
    assert accuracy_sentence(right).startswith("No face has a FER+ majority")


def test_a_run_judged_by_eight_classes_is_one_line():
    eight = make_predictions([0, 7], classes=FERPLUS_CLASSES)
    with pytest.raises(RunError, match="answers in 8 classes .*contempt.*Choose a run of --labels fer"):
        label_sides(eight, votes({}, {}))


def test_votes_of_other_faces_are_refused():
    with pytest.raises(RunError, match=r"votes of shape \(2, 10\) for 11 answers"):
        label_sides(PREDICTIONS, SAID[:2])


def test_votes_are_found_by_row_and_a_face_that_is_not_there_has_none():
    faces = make_faces()
    some = np.arange(100, dtype=np.uint8).reshape(10, 10)
    store = store_of(faces.images_NHW, faces.labels_N, faces.splits_N, votes_NV=some)
    assert votes_of(store, np.array([3, -1, 0])).tolist() == [some[3].tolist(), [0] * 10, some[0].tolist()]
    assert some[9].any()  # row -1 would have read these
    with pytest.raises(DataError, match=r"no FER\+ votes, which telling model from label needs"):
        votes_of(replace(store, votes_NV=None), np.array([0]))


def test_copies_keep_their_own_rows_in_the_runs_own_store_and_are_found_by_pixels_elsewhere():
    faces = make_faces()
    images = faces.images_NHW[[0, 1, 0]]
    store = store_of(images, faces.labels_N[:3], [2, 2, 2])
    own = replace(make_predictions(faces.labels_N[:3], hashes=store.hashes_N), fingerprint=store.fingerprint)
    assert rows_in(store, own).tolist() == [0, 1, 2]
    other = replace(own, fingerprint="fedcba9876543210")
    assert rows_in(store, other).tolist() == [0, 1, 0]
    turned = store_of(images[::-1], faces.labels_N[:3], [2, 2, 2])
    assert rows_in(turned, other).tolist() == [0, 1, 0]
