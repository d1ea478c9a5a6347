"""Two runs face by face: joined on pixels whatever their order, B minus A, and refused where it would mislead."""

import json
import math
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from fer_core.compare import compare, holm, joined_rows, mcnemar_exact, paired_difference_interval, shared_rows
from fer_core.errors import RunError
from fer_core.evaluate import evaluate
from tests.faces import make_predictions, random_predictions

KEYS = [
    "n", "classes", "accuracy_delta", "accuracy_delta_ci95", "mcnemar_p", "recall_delta", "confusion_delta",
    "macro_f1_delta", "balanced_accuracy_delta", "emotion_tests", "intervals",
]  # fmt: skip


def take(predictions, order):
    """The same answers, these rows in this order."""
    order = np.asarray(order)
    return replace(
        predictions,
        rows_N=predictions.rows_N[order],
        hashes_N=predictions.hashes_N[order],
        labels_N=predictions.labels_N[order],
        logits_NK=predictions.logits_NK[order],
    )


def refusal(a, b):
    with pytest.raises(RunError) as caught:
        compare(a, b)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_eight_faces_by_hand():
    labels = [0, 0, 0, 0, 3, 3, 3, 3]
    a = make_predictions(labels, [0, 3, 3, 3, 3, 3, 3, 0])  # 1 of 4 angry, 3 of 4 happy
    b = make_predictions(labels, [0, 0, 0, 3, 3, 3, 0, 0])  # 3 of 4 angry, 2 of 4 happy
    found = compare(a, b)
    assert (found.fixed, found.broken) == (2, 1)
    assert (found.a.accuracy, found.b.accuracy) == (4 / 8, 5 / 8)
    assert found.accuracy_delta == 1 / 8
    assert found.recall_delta["angry"] == 2 / 4
    assert found.recall_delta["happy"] == -1 / 4
    assert found.recall_delta["sad"] == 0
    delta = found.confusion_delta_KK
    assert (delta[0, 0], delta[0, 3], delta[3, 0], delta[3, 3]) == (2, -2, 1, -1)
    assert np.abs(delta).sum() == 6
    assert found.mcnemar_p == 1  # two against one
    assert (found.n_a, found.n_b, found.a.n) == (8, 8, 8)


def test_b_minus_a_turns_its_sign_when_the_runs_are_exchanged():
    a, b = random_predictions(200, seed=1), random_predictions(200, seed=2)
    one, other = compare(a, b), compare(b, a)
    assert one.accuracy_delta == one.b.accuracy - one.a.accuracy != 0
    assert other.accuracy_delta == -one.accuracy_delta
    assert other.recall_delta == {name: -delta for name, delta in one.recall_delta.items()}
    np.testing.assert_array_equal(other.confusion_delta_KK, -one.confusion_delta_KK)
    assert other.accuracy_delta_ci95 == pytest.approx((-one.accuracy_delta_ci95[1], -one.accuracy_delta_ci95[0]))
    assert other.mcnemar_p == one.mcnemar_p
    assert (other.fixed, other.broken) == (one.broken, one.fixed)


def test_a_run_beside_itself_differs_nowhere():
    a = random_predictions(100, seed=1)
    found = compare(a, a)
    assert (found.accuracy_delta, found.mcnemar_p, found.fixed, found.broken) == (0, 1, 0, 0)
    assert set(found.recall_delta.values()) == {0}
    assert not found.confusion_delta_KK.any()
    low, high = found.accuracy_delta_ci95
    assert low == -high < 0


def test_the_reports_are_those_of_each_run_alone():
    a, b = random_predictions(100, seed=1), random_predictions(100, seed=2)
    found = compare(a, b)
    for report, alone in ((found.a, a), (found.b, b)):
        assert report.to_json() == evaluate(alone.logits_NK, alone.labels_N, alone.classes).to_json()


# --- which faces


def test_the_order_of_rows_does_not_matter():
    a, b = random_predictions(100, seed=1), random_predictions(100, seed=2)
    expected = compare(a, b).to_json()
    rng = np.random.default_rng(0)
    for _ in range(3):
        shuffled = compare(take(a, rng.permutation(100)), take(b, rng.permutation(100)))
        assert shuffled.to_json() == expected
        assert shuffled.a.log_loss == pytest.approx(compare(a, b).a.log_loss)


def test_only_the_shared_faces_are_compared_and_counted():
    a, b = random_predictions(100, seed=1), random_predictions(100, seed=2)
    found = compare(take(a, range(70)), take(b, range(40, 100)))
    assert (found.n_a, found.n_b, found.a.n, found.b.n) == (70, 60, 30, 30)
    assert found.to_json() == compare(take(a, range(40, 70)), take(b, range(40, 70))).to_json()
    assert found.to_json()["n"] == 30


def test_shared_rows_pair_equal_hashes():
    a = make_predictions([0, 1, 2, 3], hashes=[10, 20, 30, 2**64 - 1])
    b = make_predictions([3, 4, 1], hashes=[2**64 - 1, 40, 20])
    rows_a, rows_b = shared_rows(a, b)
    assert rows_a.tolist() == [1, 3]
    assert rows_b.tolist() == [2, 0]


def test_a_face_that_stands_twice_is_paired_as_often_as_both_have_it():
    a = make_predictions([3, 3, 3, 0], hashes=[7, 7, 7, 1])
    b = make_predictions([3, 0, 3], hashes=[7, 1, 7])
    rows_a, rows_b = shared_rows(a, b)
    assert len(rows_a) == len(set(rows_a.tolist())) == len(set(rows_b.tolist())) == 3
    assert a.hashes_N[rows_a].tolist() == b.hashes_N[rows_b].tolist()


def test_the_same_face_under_two_labels_is_joined_label_by_label_in_any_order():
    a = make_predictions([0, 3, 4], [0, 0, 4], hashes=[7, 7, 1])
    b = make_predictions([0, 3, 4], [3, 3, 4], hashes=[7, 7, 1])
    for order in ([0, 1, 2], [1, 0, 2], [2, 1, 0]):
        found = compare(a, take(b, order))
        assert (found.a.n, found.fixed, found.broken) == (3, 1, 1)
        assert found.recall_delta["angry"] == -1
        assert found.recall_delta["happy"] == 1


def test_the_same_face_under_two_labels_is_joined_where_one_run_has_only_one_of_them():
    a = make_predictions([0, 3, 4], hashes=[7, 7, 1])
    b = make_predictions([3, 4], hashes=[7, 1])
    found = compare(a, b)
    assert found.a.n == 2
    assert found.a.per_class["happy"].support == 1


def test_other_labels_on_the_same_faces_are_refused_with_their_number():
    a = make_predictions([0, 1, 2, 3])
    assert refusal(a, make_predictions([0, 1, 4, 5])) == (
        "the runs label 2 of 4 shared faces differently. Train both on the same labels."
    )


def test_runs_without_a_shared_face_are_refused():
    a = make_predictions([0, 1], hashes=[1, 2])
    assert refusal(a, make_predictions([0, 1], hashes=[3, 4])) == (
        "the runs share no face in this split. Train both on the same data."
    )
    empty = make_predictions([], logits=np.zeros((0, 7)))
    assert "share no face" in refusal(a, empty)


def test_runs_with_other_emotions_are_refused():
    a = make_predictions([0, 1], classes=("angry", "happy"))
    b = make_predictions([0, 1], classes=("happy", "angry"))
    assert refusal(a, b) == (
        "the runs have different label sets: angry, happy and happy, angry. "
        "Only runs with the same emotions can be compared."
    )


def test_a_diverged_run_is_refused():
    a = random_predictions(10, seed=1)
    logits = a.logits_NK.copy()
    logits[3, 2] = np.nan
    assert "not finite" in refusal(a, replace(a, logits_NK=logits))


# --- chance


@pytest.mark.parametrize(
    ("fixed", "broken"), [(0, 0), (1, 0), (0, 1), (5, 0), (3, 3), (10, 4), (2, 15), (400, 350), (1000, 1200)]
)
def test_mcnemar_is_the_exact_binomial_test(fixed, broken):
    expected = binomtest(fixed, fixed + broken).pvalue if fixed + broken else 1.0
    assert mcnemar_exact(fixed, broken) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("fixed", "broken"), [(1, 0), (3, 3), (10, 4), (2, 15), (222, 249)])
def test_mcnemar_is_the_one_of_statsmodels(fixed, broken):
    expected = mcnemar([[50, fixed], [broken, 70]], exact=True).pvalue
    assert mcnemar_exact(fixed, broken) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_all_of_private_is_exact_and_at_once():
    started = time.process_time()
    assert mcnemar_exact(1600, 1900) == pytest.approx(binomtest(1600, 3500).pvalue, rel=1e-9)
    assert mcnemar_exact(0, 3589) == 0  # 2 / 2^3589 is below the smallest number
    assert time.process_time() - started < 0.1


def test_mcnemars_false_alarms_come_at_most_at_their_rate():
    """Runs that are equally good: how often p < 5%, against the exact chance of it."""
    rng = np.random.default_rng(0)
    discordant = rng.binomial(400, 0.2, size=4000)
    fixed = rng.binomial(discordant, 0.5)
    alarms = np.mean([mcnemar_exact(f, d - f) < 0.05 for f, d in zip(fixed.tolist(), discordant.tolist(), strict=True)])
    chance = np.mean([rate_of_alarms(d) for d in discordant.tolist()])
    assert 0.025 < chance <= 0.05  # an exact test of whole numbers stays below
    assert alarms == pytest.approx(chance, abs=3.5 * math.sqrt(chance / 4000))


@cache
def rate_of_alarms(discordant):
    ways = (math.comb(discordant, k) for k in range(discordant + 1) if mcnemar_exact(k, discordant - k) < 0.05)
    return sum(ways) / 2**discordant


def test_holm_by_hand():
    # 0.01 · 4, then 0.02 · 3 = 0.06; 0.03 · 2 = 0.06; 0.9 · 1
    assert holm([0.9, 0.02, 0.01, 0.03]) == pytest.approx([0.9, 0.06, 0.04, 0.06])
    assert holm([0.5, 0.4]) == [0.8, 0.8]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
    assert holm([1.0, 1.0]) == [1.0, 1.0]


def test_holm_is_the_one_of_statsmodels():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 8):
        p = (rng.random(size) ** 3).round(2)  # with ties
        assert holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1])


def test_any_false_alarm_of_seven_emotions_stays_below_5_percent():
    rng = np.random.default_rng(0)
    discordant = rng.binomial([491, 55, 528, 879, 594, 416, 626], 0.15, size=(1000, 7))
    fixed = rng.binomial(discordant, 0.5)
    p = [
        [mcnemar_exact(f, d - f) for f, d in zip(*row, strict=True)]
        for row in np.stack([fixed, discordant], 1).tolist()
    ]
    assert np.mean([min(row) < 0.05 for row in p]) > 0.15  # without the correction
    assert np.mean([min(holm(row)) < 0.05 for row in p]) < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_each_emotion_is_tested_on_its_own_faces_by_hand():
    labels = [0] * 8 + [3] * 4 + [4] * 2
    a = make_predictions(labels, [3] * 7 + [0] + [3, 3, 3, 0] + [4, 4])
    b = make_predictions(labels, [0] * 7 + [3] + [3, 3, 0, 3] + [4, 4])
    tests = compare(a, b).emotion_tests
    angry, happy, sad, fear = (tests[name] for name in ("angry", "happy", "sad", "fear"))
    assert (angry.faces, angry.fixed, angry.broken, angry.gain) == (8, 7, 1, 6)
    assert angry.p == 2 * (1 + 8) / 256
    assert (happy.faces, happy.fixed, happy.broken, happy.p) == (4, 1, 1, 1)
    assert (sad.faces, sad.fixed, sad.broken, sad.p) == (2, 0, 0, 1)
    assert angry.p_holm == pytest.approx(3 * angry.p)  # three emotions have faces
    assert not angry.real
    assert (fear.faces, fear.p, fear.p_holm, fear.real) == (0, None, None, False)


def test_emotions_add_up_to_the_whole():
    found = compare(random_predictions(300, seed=1), random_predictions(300, seed=2))
    tests = found.emotion_tests.values()
    assert (sum(one.fixed for one in tests), sum(one.broken for one in tests)) == (found.fixed, found.broken)
    assert {name: one.gain / one.faces for name, one in found.emotion_tests.items()} == pytest.approx(
        found.recall_delta
    )
    np.testing.assert_array_equal(found.joint_KKK.sum(axis=2), found.a.confusion_KK)
    np.testing.assert_array_equal(found.joint_KKK.sum(axis=1), found.b.confusion_KK)


def test_every_difference_lies_in_its_interval():
    found = compare(random_predictions(300, seed=1), random_predictions(300, seed=2))
    for name in ("accuracy", "macro_f1", "balanced_accuracy"):
        low, high = getattr(found.intervals, name).delta
        assert low < getattr(found, f"{name}_delta") < high
        assert getattr(found.intervals, name).a[0] < getattr(found.a, name) < getattr(found.intervals, name).a[1]
    for name, delta in found.recall_delta.items():
        assert found.intervals.recall[name].delta[0] < delta < found.intervals.recall[name].delta[1]
    assert found.intervals.accuracy.delta == pytest.approx(found.accuracy_delta_ci95, abs=0.015)


def test_three_runs_are_joined_on_what_all_of_them_have():
    runs = [random_predictions(60, seed=seed) for seed in (1, 2, 3)]
    some = take(runs[0], range(40)), take(runs[1], range(59, 19, -1)), take(runs[2], range(10, 30))
    rows = joined_rows(*some)
    assert [one.hashes_N[at].tolist() for one, at in zip(some, rows, strict=True)] == [list(range(21, 31))] * 3


def test_mcnemar_by_hand():
    assert mcnemar_exact(5, 0) == 2 / 32
    assert mcnemar_exact(4, 1) == 2 * (1 + 5) / 32
    assert mcnemar_exact(0, 10) == 2 / 1024


def test_the_interval_by_hand():
    # fixed 10, broken 4, n 98: gain 0.11, loss 0.05; 0.06 +- z * sqrt((0.16 - 0.0036) / 100)
    half = 1.959963984540054 * math.sqrt(0.1564 / 100)
    assert paired_difference_interval(10, 4, 98) == pytest.approx((0.06 - half, 0.06 + half))


def test_the_interval_stays_within_possible_differences():
    assert paired_difference_interval(1, 0, 1)[1] == 1
    assert paired_difference_interval(0, 1, 1)[0] == -1


def test_the_interval_covers_the_true_difference_about_95_times_in_100():
    rng = np.random.default_rng(0)
    n, gain, loss = 200, 0.12, 0.06
    draws = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=2000)
    intervals = [paired_difference_interval(int(fixed), int(broken), n) for fixed, broken, _ in draws]
    covered = np.mean([low <= gain - loss <= high for low, high in intervals])
    assert 0.935 < covered < 0.97


def test_a_comparison_carries_the_test_and_interval_of_its_pairs():
    found = compare(random_predictions(100, seed=1), random_predictions(100, seed=2))
    assert found.accuracy_delta == pytest.approx((found.fixed - found.broken) / 100)
    assert found.mcnemar_p == mcnemar_exact(found.fixed, found.broken)
    assert found.accuracy_delta_ci95 == paired_difference_interval(found.fixed, found.broken, 100)


def test_json_has_exactly_the_promised_keys_and_is_json():
    values = compare(random_predictions(40, seed=1), random_predictions(40, seed=2)).to_json()
    assert list(values) == KEYS
    read = json.loads(json.dumps(values, allow_nan=False))
    assert sum(map(sum, read["confusion_delta"])) == 0
    assert list(read["recall_delta"]) == read["classes"]
