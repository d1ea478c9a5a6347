"""A report's figures: beside sklearn's on random answers, and worked out by hand where sklearn has none."""

import json
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn import metrics

from fer_core.errors import RunError
from fer_core.evaluate import (
    confusion_matrix,
    evaluate,
    expected_calibration_error,
    log_loss,
    softmax,
    wilson_interval,
)
from fer_core.labels import EMOTIONS
from fer_core.predictions import report_on
from tests.faces import make_predictions, random_predictions

KEYS = [
    "n", "classes", "accuracy", "accuracy_ci95", "macro_f1", "balanced_accuracy", "log_loss", "ece", "dedup",
    "per_class", "confusion",
]  # fmt: skip


def judge(predictions):
    return evaluate(predictions.logits_NK, predictions.labels_N, predictions.classes)


def few_classes(seed):
    """20 faces in 7 classes: some class without a face, some without a prediction, some without either."""
    rng = np.random.default_rng(seed)
    return make_predictions(rng.choice([0, 1, 3], 20), rng.choice([0, 3, 5], 20))


CASES = {
    "many": random_predictions(500, seed=1),
    "one": random_predictions(1, seed=2),
    "two classes": random_predictions(50, seed=3, classes=("no", "yes")),
    "all right": make_predictions([0, 1, 2, 3, 4, 5, 6]),
    "all wrong": make_predictions([0, 1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 0]),
    "always happy": make_predictions([0, 1, 2, 3, 3, 3, 6], [3] * 7),
    **{f"few classes {seed}": few_classes(seed) for seed in range(3)},
}


@pytest.mark.parametrize("predictions", CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_the_figures_are_sklearns(predictions):
    report = judge(predictions)
    true, called = predictions.labels_N, predictions.logits_NK.argmax(axis=1)
    k = len(predictions.classes)
    every = list(range(k))
    assert report.n == len(true)
    assert report.accuracy == pytest.approx(metrics.accuracy_score(true, called))
    assert report.macro_f1 == pytest.approx(metrics.f1_score(true, called, average="macro"))
    assert report.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(true, called))
    probabilities = softmax(predictions.logits_NK)
    assert report.log_loss == pytest.approx(metrics.log_loss(true, probabilities, labels=every), rel=1e-6)
    np.testing.assert_array_equal(report.confusion_KK, metrics.confusion_matrix(true, called, labels=every))
    expected = metrics.precision_recall_fscore_support(true, called, labels=every, zero_division=0)
    found = [(one.precision, one.recall, one.f1, one.support) for one in report.per_class.values()]
    np.testing.assert_allclose(np.array(found).T, np.array(expected))
    assert list(report.per_class) == list(predictions.classes)


def test_six_faces_by_hand():
    # true:    angry angry happy happy happy sad
    # called:  angry happy happy happy sad   happy
    report = judge(make_predictions([0, 0, 3, 3, 3, 4], [0, 3, 3, 3, 4, 3]))
    assert report.accuracy == 3 / 6
    angry, happy, sad = (report.per_class[name] for name in ("angry", "happy", "sad"))
    assert (angry.precision, angry.recall, angry.f1, angry.support) == (1, 1 / 2, 2 / 3, 2)
    assert (happy.precision, happy.recall, happy.f1, happy.support) == (2 / 4, 2 / 3, pytest.approx(4 / 7), 3)
    assert (sad.precision, sad.recall, sad.f1, sad.support) == (0, 0, 0, 1)
    assert report.macro_f1 == pytest.approx((2 / 3 + 4 / 7 + 0) / 3)
    assert report.balanced_accuracy == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert report.confusion_KK[0].tolist() == [1, 0, 0, 1, 0, 0, 0]  # rows true, columns called
    assert report.confusion_KK[3].tolist() == [0, 0, 0, 2, 1, 0, 0]
    assert report.confusion_KK[4].tolist() == [0, 0, 0, 1, 0, 0, 0]


def test_a_class_without_a_face_has_zeros_and_no_say_in_the_means():
    report = judge(make_predictions([0, 0], [0, 0]))
    disgust = report.per_class["disgust"]
    assert (disgust.precision, disgust.recall, disgust.f1, disgust.support) == (0, 0, 0, 0)
    assert (report.macro_f1, report.balanced_accuracy) == (1, 1)


def test_a_class_that_is_only_called_counts_in_macro_f1_but_has_no_recall():
    report = judge(make_predictions([0, 0], [0, 5]))
    assert report.per_class["surprise"].support == 0
    assert report.macro_f1 == pytest.approx((2 / 3 + 0) / 2)
    assert report.balanced_accuracy == 1 / 2


def test_of_equal_logits_the_first_is_called():
    report = judge(make_predictions([2], logits=np.array([[0, 1, 1, 0, 1, 0, 0]])))
    assert report.confusion_KK[2].tolist() == [0, 1, 0, 0, 0, 0, 0]


def test_the_order_of_faces_does_not_matter():
    predictions = random_predictions(200, seed=4)
    order = np.random.default_rng(0).permutation(200)
    shuffled = make_predictions(predictions.labels_N[order], logits=predictions.logits_NK[order])
    a, b = judge(predictions).to_json(), judge(shuffled).to_json()
    assert a.pop("log_loss") == pytest.approx(b.pop("log_loss"))
    assert a.pop("ece") == pytest.approx(b.pop("ece"))
    assert a == b


def test_confusion_keeps_its_size_where_the_last_classes_are_missing():
    assert confusion_matrix(np.array([0, 0]), np.array([0, 1]), 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]


# --- probabilities


def test_softmax_by_hand():
    found = softmax(np.log(np.array([[1.0, 2.0, 5.0]])))
    np.testing.assert_allclose(found, [[1 / 8, 2 / 8, 5 / 8]])
    assert softmax(np.zeros((1, 4), dtype=np.float32)).dtype == np.float64


def test_huge_logits_overflow_nowhere():
    logits = np.array([[1e4, 0.0], [-1e4, 0.0], [3e38, -3e38]], dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(softmax(logits), [[1, 0], [0, 1], [1, 0]])
        assert log_loss(logits[:2], np.array([1, 1])) == pytest.approx(5e3)  # nats: 10,000 and 0


def test_log_loss_of_no_idea_is_the_log_of_the_number_of_classes():
    assert log_loss(np.zeros((3, 7)), np.array([0, 4, 6])) == pytest.approx(math.log(7))


def test_a_shift_of_all_logits_changes_nothing():
    predictions = random_predictions(50, seed=5)
    logits = predictions.logits_NK.astype(np.float64)
    assert log_loss(logits + 100, predictions.labels_N) == pytest.approx(log_loss(logits, predictions.labels_N))


# --- calibration


def test_calibration_error_by_hand():
    # Bins of 1/15: 0.62 and 0.66 fall into (9/15, 10/15], 0.9 into (13/15, 14/15], 1 into the last.
    probabilities = np.array([[0.62, 0.38], [0.66, 0.34], [0.1, 0.9], [1.0, 0.0]])
    labels = np.array([0, 1, 1, 0])  # right, wrong, right, right
    expected = 2 / 4 * abs(0.5 - 0.64) + 1 / 4 * abs(1 - 0.9) + 1 / 4 * 0
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_over_and_underconfidence_cancel_only_within_a_bin():
    same_bin = np.array([[0.63, 0.37], [0.63, 0.37]])
    assert expected_calibration_error(same_bin, np.array([0, 1])) == pytest.approx(0.13)
    two_bins = np.array([[0.55, 0.45], [0.95, 0.05]])
    assert expected_calibration_error(two_bins, np.array([0, 1])) == pytest.approx((0.45 + 0.95) / 2)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one():
    edge = np.array([[0.6, 0.4], [0.62, 0.38]])  # 9/15, and just above
    assert expected_calibration_error(edge, np.array([0, 1])) == pytest.approx((0.4 + 0.62) / 2)


def test_sure_and_right_is_calibrated_sure_and_wrong_is_the_worst():
    sure = np.array([[1.0, 0.0]] * 4)
    assert expected_calibration_error(sure, np.zeros(4, dtype=int)) == 0
    assert expected_calibration_error(sure, np.ones(4, dtype=int)) == 1


def test_calibration_error_beside_a_plain_reference():
    predictions = random_predictions(400, seed=6)
    probabilities = softmax(predictions.logits_NK)
    confidence, hits = probabilities.max(axis=1), probabilities.argmax(axis=1) == predictions.labels_N
    expected = 0.0
    for low in range(15):
        inside = (confidence > low / 15) & (confidence <= (low + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(hits[inside].mean() - confidence[inside].mean())
    assert judge(predictions).ece == pytest.approx(expected)


# --- interval


def test_wilson_8_of_10_by_hand():
    # z^2 = 3.8415: centre (8 + 1.92073) / 13.8415 = 0.71674,
    # half width 1.95996 * sqrt(10 * 0.8 * 0.2 + 0.96036) / 13.8415 = 0.22658
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)


def test_wilson_is_the_set_of_shares_that_the_score_test_keeps():
    for hits, n in ((1, 10), (263, 1000), (2153, 3589)):
        for bound in wilson_interval(hits, n):
            z = (hits / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert abs(z) == pytest.approx(1.959963984540054)


def test_wilson_at_the_ends():
    z2 = 1.959963984540054**2
    assert wilson_interval(0, 10) == pytest.approx((0, z2 / (10 + z2)))
    assert wilson_interval(10, 10) == pytest.approx((10 / (10 + z2), 1))
    assert wilson_interval(0, 10)[0] >= 0
    assert wilson_interval(10, 10)[1] <= 1


def test_a_report_carries_the_interval_of_its_accuracy():
    report = judge(make_predictions([3] * 10, [3] * 8 + [0, 1]))
    assert report.accuracy == 0.8
    assert report.accuracy_ci95 == wilson_interval(8, 10)


# --- what is refused, what is promised


def test_no_face_cannot_be_judged():
    with pytest.raises(RunError, match=r"^there are no predictions to judge\.$"):
        judge(make_predictions([], logits=np.zeros((0, 7))))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_cannot_be_judged(value):
    logits = np.zeros((3, 7))
    logits[1, 6] = value
    with pytest.raises(RunError) as caught:
        judge(make_predictions([0, 1, 2], logits=logits))
    assert str(caught.value) == (
        "the predictions hold values that are not finite; the training diverged. Try a lower --lr."
    )


def test_json_has_exactly_the_promised_keys_and_is_json():
    values = judge(random_predictions(30, seed=7)).to_json()
    assert list(values) == KEYS
    read = json.loads(json.dumps(values, allow_nan=False))
    assert read["classes"] == list(EMOTIONS)
    assert list(read["per_class"]) == list(EMOTIONS)
    assert all(list(one) == ["precision", "recall", "f1", "support"] for one in read["per_class"].values())
    assert sum(map(sum, read["confusion"])) == read["n"] == 30
    assert [sum(row) for row in read["confusion"]] == [one["support"] for one in read["per_class"].values()]
    assert read["accuracy"] == values["accuracy"]  # unrounded


def test_figures_without_copies_are_those_of_the_rest_alone():
    whole, in_train = random_predictions(200, seed=3), np.random.default_rng(4).random(200) < 0.3
    marked = replace(whole, in_train_N=in_train)
    dedup = report_on(marked).dedup
    rest = evaluate(whole.logits_NK[~in_train], whole.labels_N[~in_train], whole.classes)
    assert (dedup.n, dedup.accuracy, dedup.macro_f1) == (rest.n, rest.accuracy, rest.macro_f1)
    assert report_on(marked).to_json()["dedup"] == {"n": rest.n, "accuracy": rest.accuracy, "macro_f1": rest.macro_f1}


def test_figures_without_copies_by_hand():
    # Faces 0 and 1 also stand in train; of the other three, two are right: happy, happy, and sad taken for happy.
    p = make_predictions([0, 0, 3, 3, 4], [0, 0, 3, 3, 3])
    report = report_on(replace(p, in_train_N=np.array([True, True, False, False, False])))
    assert (report.n, report.accuracy) == (5, 0.8)
    assert (report.dedup.n, report.dedup.accuracy) == (3, 2 / 3)
    assert report.dedup.macro_f1 == pytest.approx((0.8 + 0.0) / 2)


def test_where_nothing_is_known_of_copies_or_all_are_there_is_no_second_figure():
    p = make_predictions([0, 1, 2])
    assert report_on(p).dedup is None
    assert report_on(replace(p, in_train_N=np.ones(3, dtype=bool))).dedup is None
