"""A comparison in plain sentences: the wording, word for word, and what counts as real."""

import re

import numpy as np

from fer_core.compare import compare
from fer_core.seeds import compare_seeds
from fer_core.verdict import verdict, verdict_of_seeds
from tests.faces import make_predictions, random_predictions

FACES = {0: 500, 1: 55, 3: 900, 6: 600}
"""angry, disgust, happy, neutral"""
LABELS = np.repeat(list(FACES), list(FACES.values()))


def finding(**found):
    """Answers that find so many faces of these emotions, the first ones, and call the others sad."""
    hits = [
        np.arange(n) < found[name]
        for name, n in zip(("angry", "disgust", "happy", "neutral"), FACES.values(), strict=True)
    ]
    return make_predictions(LABELS, np.where(np.concatenate(hits), LABELS, 4))


def points(text):
    """The text with each interval's numbers left out."""
    return re.sub(r"interval [+-]\d+\.\d to [+-]\d+\.\d", "interval", text)


AS_IS = finding(angry=250, disgust=12, happy=700, neutral=300)


def test_a_gain_that_costs_nothing_sure():
    b = finding(angry=246, disgust=24, happy=699, neutral=298)
    text = verdict(compare(AS_IS, b), "as-is", "balanced")
    assert points(text) == (
        "balanced finds 12 more of 55 disgust faces (22% to 44%, interval). "
        "It gains 0.2 points of accuracy (interval includes 0) and 5.1 points of macro-recall (interval)."
    )
    low, high = re.search(r"44%, interval \+(\d+\.\d) to \+(\d+\.\d)", text).groups()
    assert 9 < float(low) < 13 < 30 < float(high) < 35  # 12 of 55: 21.8 ± 1.96 · 5.6


def test_the_largest_gain_and_the_largest_loss():
    b = finding(angry=270, disgust=24, happy=660, neutral=290)
    assert points(verdict(compare(AS_IS, b), "as-is", "balanced")) == (
        "balanced finds 12 more of 55 disgust faces (22% to 44%, interval) and "
        "40 fewer of 900 happy faces (78% to 73%, interval). It loses 0.9 points of accuracy (interval includes 0) and "
        "gains 4.9 points of macro-recall (interval)."
    )


def test_exchanged_the_sentence_says_the_opposite():
    b = finding(angry=250, disgust=24, happy=700, neutral=300)
    assert points(verdict(compare(b, AS_IS), "balanced", "as-is")).startswith(
        "as-is finds 12 fewer of 55 disgust faces (44% to 22%, interval). It loses 0.6 points of accuracy"
    )


def test_nothing_that_is_more_than_chance_is_said_so():
    b = finding(angry=252, disgust=13, happy=698, neutral=299)
    assert points(verdict(compare(AS_IS, b))) == (
        "Nothing here is more than chance on these 2,055 faces: accuracy +0.0 points (interval includes 0), "
        "macro-recall +0.5 points (interval includes 0), and no emotion's recall after correction for 4 emotions."
    )


def test_runs_that_are_right_on_the_same_faces_are_not_told_apart():
    assert verdict(compare(AS_IS, AS_IS), "one", "two") == (
        "one and two are right and wrong on the same faces, all 2,055: nothing tells them apart."
    )


def test_a_change_of_all_that_is_none_of_one_emotion():
    b = finding(angry=254, disgust=12, happy=704, neutral=304)
    text = verdict(compare(AS_IS, b))
    assert points(text) == (
        "B gains 0.6 points of accuracy (interval) and 0.5 points of macro-recall (interval). "
        "No single emotion's recall differs by more than chance after correction for 4 emotions."
    )


def test_an_accuracy_that_stays_is_kept():
    b = finding(angry=250, disgust=24, happy=688, neutral=300)
    assert "It keeps its accuracy (interval includes 0) and gains 5.1 points" in points(verdict(compare(AS_IS, b)))


def test_an_emotion_without_faces_is_neither_named_nor_counted():
    a, b = make_predictions([0] * 30, [0] * 10 + [4] * 20), make_predictions([0] * 30, [0] * 22 + [4] * 8)
    assert points(verdict(compare(a, b))).startswith(
        "B finds 12 more of 30 angry faces (33% to 73%, interval). It gains"
    )
    b = make_predictions([0] * 30, [0] * 11 + [4] * 19)
    assert verdict(compare(a, b)).endswith("no emotion's recall after correction for 1 emotion.")


def test_of_equal_gains_the_first_emotion_is_named():
    labels = [0] * 100 + [3] * 100
    a = make_predictions(labels, [0] * 20 + [4] * 80 + [3] * 20 + [4] * 80)
    b = make_predictions(labels, [0] * 60 + [4] * 40 + [3] * 60 + [4] * 40)
    assert verdict(compare(a, b)).startswith("B finds 40 more of 100 angry faces (20% to 60%")


def test_seeds_are_told_as_means():
    a = [finding(angry=250 + i, disgust=12 + i, happy=700 - i, neutral=300) for i in (-1, 0, 1)]
    b = [finding(angry=250 - i, disgust=35 + i, happy=700, neutral=300 + i) for i in (-1, 0, 1)]
    text = verdict_of_seeds(compare_seeds(a, b), "as-is", "balanced")
    assert points(text) == (
        "balanced finds more of the 55 disgust faces (22% to 64%, interval). "
        "It gains 1.1 points of accuracy (interval) and 10.5 points of macro-recall (interval)."
    )
    assert points(verdict_of_seeds(compare_seeds(a[:1], b), "as-is", "balanced")).endswith(
        " One seed of as-is: the intervals do not say what another would give."
    )


def test_seeds_that_differ_by_chance_are_said_so():
    a, b = ([random_predictions(400, seed=seed) for seed in seeds] for seeds in ((1, 2, 3), (4, 5, 6)))
    text = points(verdict_of_seeds(compare_seeds(a, b)))
    assert text.startswith("Nothing here is more than chance over 3 and 3 seeds: accuracy ")
    assert text.endswith("and no emotion's recall after correction for 7 emotions.")
