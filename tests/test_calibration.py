"""Reliability and precision-recall: by hand, and against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from fer_core.calibration import precision_recall, precision_recall_of, reliability, reliability_of
from fer_core.evaluate import expected_calibration_error, softmax, wilson_interval
from tests.faces import make_predictions


def random_answers(seed=0, n=500, k=7):
    rng = np.random.default_rng(seed)
    return softmax(2 * rng.normal(size=(n, k))), rng.integers(0, k, n)


def test_bins_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.85, 0.15], [0.4, 0.6], [0.0, 1.0]])
    low, high, top = reliability(probabilities, np.array([0, 1, 1, 0]), bins=10)
    assert (low.faces, low.confidence, low.accuracy) == (1, 0.6, 1.0)
    assert (high.faces, high.confidence, high.accuracy) == (2, pytest.approx(0.875), 0.5)
    assert (top.faces, top.confidence, top.accuracy) == (1, 1.0, 0.0)
    assert high.ci95 == wilson_interval(1, 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_bins_distances_are_the_calibration_error(seed):
    probabilities, labels = random_answers(seed)
    found = reliability(probabilities, labels)
    assert sum(one.faces for one in found) == len(labels)
    error = sum(one.faces * abs(one.accuracy - one.confidence) for one in found) / len(labels)
    assert error == pytest.approx(expected_calibration_error(probabilities, labels))


@pytest.mark.parametrize("seed", range(5))
def test_precision_and_recall_are_scikit_learns(seed):
    probabilities, labels = random_answers(seed)
    shares = np.round(probabilities[:, 2], 2)  # with ties
    found = precision_recall(shares, labels == 2)
    precision, recall, _ = precision_recall_curve(labels == 2, shares)
    np.testing.assert_allclose(found.recall_T, recall[:-1][::-1])
    np.testing.assert_allclose(found.precision_T, precision[:-1][::-1])
    assert found.average_precision == pytest.approx(average_precision_score(labels == 2, shares))


def test_an_emotion_without_a_face_has_no_curve():
    assert precision_recall(np.array([0.2, 0.7]), np.array([False, False])) is None


def test_stored_answers_are_read_by_their_probabilities():
    _, labels = random_answers()
    logits = np.random.default_rng(1).normal(size=(len(labels), 7)).astype(np.float32)
    answers, probabilities = make_predictions(labels, logits=logits), softmax(logits)
    assert reliability_of(answers) == reliability(probabilities, labels)
    found, wanted = precision_recall_of(answers, "happy"), precision_recall(probabilities[:, 3], labels == 3)
    assert found.average_precision == wanted.average_precision
