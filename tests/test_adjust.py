"""Adjusted logits, curves and choices: by hand, beside `evaluate` and scipy, and on problems with a known best rule."""

import math
import time
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fer_core.adjust import (
    AS_IS,
    METRICS,
    TAUS,
    TEMPERATURES,
    Adjustment,
    Tradeoff,
    adjust_logits,
    adjusted,
    best_tau,
    best_temperature,
    front,
    tradeoff_curve,
)
from fer_core.errors import ConfigError, RunError
from fer_core.evaluate import log_loss, softmax
from fer_core.labels import FER2013_TRAIN_COUNTS
from fer_core.predictions import report_on
from tests.faces import make_predictions, random_predictions

PRIOR = np.array(list(FER2013_TRAIN_COUNTS.values())) / 28_709
ABC = ("a", "b", "c")


def seen_often(seed, cells=60, k=3, shares=(30, 9, 2)):
    """A problem that is known whole: faces of so many looks, each look so often of each class. (looks, classes)."""
    rng = np.random.default_rng(seed)
    return rng.poisson(rng.dirichlet(np.full(k, 0.7), cells) * np.array(shares)) + 1


def all_faces(counts_LK, logits_LK, classes=ABC):
    """One row for each face of the problem; each look gets its logits."""
    looks, labels = np.indices(counts_LK.shape)
    looks, labels = np.repeat(looks.ravel(), counts_LK.ravel()), np.repeat(labels.ravel(), counts_LK.ravel())
    made = make_predictions(labels, logits=logits_LK[looks], classes=classes)
    return replace(made, logits_NK=logits_LK[looks])  # in float64: these logits are exact


def calibrated(seed):
    """All faces of a problem, with the logarithms of the true probabilities as logits, and the problem's prior."""
    counts = seen_often(seed)
    return all_faces(counts, np.log(counts / counts.sum(axis=1, keepdims=True))), counts.sum(axis=0) / counts.sum()


# --- adjusted logits


def test_temperature_then_prior_then_offsets_by_hand():
    logits = np.array([[4.0, 2.0, -1.0]])
    one = Adjustment(tau=2, temperature=2, offsets_K=(0.5, 0, -3))
    log2 = math.log(2)
    expected = [[2 + 2 * log2 + 0.5, 1 + 4 * log2, -0.5 + 4 * log2 - 3]]
    np.testing.assert_allclose(adjust_logits(logits, [0.5, 0.25, 0.25], one), expected)
    np.testing.assert_allclose(adjust_logits(logits, [200, 100, 100], one), expected)  # counts are a prior too


def test_as_created_an_adjustment_changes_nothing():
    a = random_predictions(300, seed=1)
    np.testing.assert_array_equal(adjusted(a, PRIOR, AS_IS).logits_NK, a.logits_NK)
    assert report_on(adjusted(a, PRIOR, AS_IS)).to_json() == report_on(a).to_json()


@pytest.mark.parametrize("temperature", [TEMPERATURES[0], 0.7, 3.0, TEMPERATURES[1]])
def test_temperature_changes_how_sure_an_answer_is_and_never_the_answer(temperature):
    a = random_predictions(500, seed=1)
    near = a.logits_NK[:, 0].copy()
    near[near != 0] = np.nextafter(near[near != 0], np.float32(np.inf))
    logits = np.column_stack([a.logits_NK, near])  # an eighth class that is a hair above the first
    moved = adjust_logits(logits, np.ones(8), Adjustment(temperature=temperature))
    np.testing.assert_array_equal(moved.argmax(axis=1), logits.argmax(axis=1))
    surer = softmax(moved).max(axis=1) > softmax(logits).max(axis=1)
    assert surer.all() if temperature < 1 else not surer.any()


def test_more_tau_calls_fewer_faces_frequent_and_more_rare():
    a = random_predictions(2000, seed=1)
    called = np.array(
        [
            np.bincount(adjust_logits(a.logits_NK, PRIOR, Adjustment(tau)).argmax(axis=1), minlength=7)
            for tau in (-1, 0, 1)
        ]
    )
    happy, disgust = called[:, 3], called[:, 1]
    assert happy[0] > happy[1] > happy[2] and disgust[0] < disgust[1] < disgust[2]


def test_an_offset_moves_its_own_emotion_alone():
    a = random_predictions(50, seed=1)
    moved = adjust_logits(a.logits_NK, PRIOR, Adjustment(offsets_K=(0, 1.5, 0, 0, 0, 0, 0)))
    np.testing.assert_allclose(moved - a.logits_NK, np.tile([0, 1.5, 0, 0, 0, 0, 0], (50, 1)), atol=1e-6)


def test_a_class_that_was_never_trained_gains_nothing_from_tau():
    moved = adjust_logits(np.zeros((1, 3)), [0.5, 0, 0.5], Adjustment(tau=1))
    np.testing.assert_allclose(moved, [[math.log(2), 0, math.log(2)]])


def test_an_even_prior_leaves_tau_nothing_to_move():
    a = random_predictions(200, seed=1)
    moved = adjusted(a, np.ones(7), Adjustment(tau=1.7))
    np.testing.assert_allclose(softmax(moved.logits_NK), softmax(a.logits_NK))


def test_the_other_views_move_too_and_the_faces_stay():
    a = random_predictions(20, seed=1)
    both = replace(a, more_NK={"flip": a.logits_NK + 1}, in_train_N=np.arange(20) < 3)
    moved = adjusted(both, PRIOR, Adjustment(tau=1))
    np.testing.assert_allclose(moved.more_NK["flip"], moved.logits_NK + 1, atol=1e-6)
    assert moved.hashes_N is a.hashes_N and moved.classes == a.classes
    assert report_on(moved).dedup.n == 17


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"tau": math.nan}, "tau is nan; it should be from -10 to 10."),
        ({"tau": 10.1}, "tau is 10.1; it should be from -10 to 10."),
        ({"temperature": 0.0}, "the temperature is 0.0; it should be from 0.05 to 20."),
        ({"temperature": math.inf}, "the temperature is inf; it should be from 0.05 to 20."),
        ({"offsets_K": (0.0, -11.0)}, "an emotion's offset should be from -10 to 10."),
    ],
)
def test_values_out_of_bounds_are_refused(values, text):
    with pytest.raises(ConfigError) as caught:
        Adjustment(**values)
    assert str(caught.value) == text


def test_offsets_of_another_number_of_emotions_are_refused():
    with pytest.raises(ConfigError, match="there are 2 offsets for 3 emotions; give one each, or none."):
        adjust_logits(np.zeros((1, 3)), np.ones(3), Adjustment(offsets_K=(1.0, 2.0)))


# --- the curve


@pytest.mark.parametrize("given", [AS_IS, Adjustment(0.3, 1.7, (0.1, 0.9, 0, -0.5, 0, 0, 0.2))])
@pytest.mark.parametrize("labels", ["all", "some"])
def test_the_curve_is_the_report_of_adjusted_logits_at_each_tau(given, labels):
    a = random_predictions(400, seed=1)
    if labels == "some":  # no face is a disgust, and at some tau none is called so
        rows = a.labels_N != 1
        a = replace(a, **{n: getattr(a, n)[rows] for n in ("rows_N", "hashes_N", "labels_N", "logits_NK")})
    for point in tradeoff_curve(a, PRIOR, TAUS[::8], given):
        report = report_on(adjusted(a, PRIOR, replace(given, tau=point.tau)))
        assert point.accuracy == pytest.approx(report.accuracy, abs=1e-12)
        assert point.balanced_accuracy == pytest.approx(report.balanced_accuracy, abs=1e-12)
        assert point.macro_f1 == pytest.approx(report.macro_f1, abs=1e-12)


def test_of_equal_logits_the_first_class_is_called_as_in_a_report():
    a = make_predictions([0, 0, 0, 1, 2, 2], logits=np.zeros((6, 3)), classes=ABC)
    [point] = tradeoff_curve(a, np.ones(3), [0.0])
    assert point.accuracy == report_on(a).accuracy == 3 / 6
    assert report_on(a).per_class["a"].recall == 1


def test_the_grid_holds_0_and_1_exactly():
    assert {0.0, 1.0, -1.0, 2.0} < set(TAUS)
    assert len(TAUS) == 121 and list(TAUS) == sorted(TAUS)


def test_what_cannot_be_judged_has_no_curve():
    with pytest.raises(RunError, match="no predictions to judge"):
        tradeoff_curve(make_predictions([], logits=np.zeros((0, 7))), PRIOR)
    with pytest.raises(RunError, match="not finite"):
        tradeoff_curve(make_predictions([0], logits=np.full((1, 7), np.nan)), PRIOR)


def test_a_slider_is_answered_at_once():
    a = random_predictions(3589, seed=1)
    one = Adjustment(0.7, 1.2, (0.1,) * 7)

    def fastest(call):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            call()
            times.append(time.perf_counter() - started)
        return min(times)

    assert fastest(lambda: (report_on(a), report_on(adjusted(a, PRIOR, one)))) < 0.1
    assert fastest(lambda: tradeoff_curve(a, PRIOR)) < 0.1


# --- the front


def points_of(*pairs):
    return [Tradeoff(float(i), accuracy, macro, 0.0) for i, (accuracy, macro) in enumerate(pairs)]


def test_the_front_by_hand():
    points = points_of((0.5, 0.6), (0.7, 0.4), (0.6, 0.5), (0.6, 0.4), (0.5, 0.5), (0.7, 0.3), (0.7, 0.4))
    assert front(points) == [1, 2, 0]
    assert front([]) == []
    assert front(points_of((0.5, 0.5), (0.5, 0.5))) == [0]


def test_no_point_of_the_front_is_dominated_and_every_other_one_is():
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = points_of(*(rng.integers(0, 8, (40, 2)) / 8).tolist())
        found = front(points)

        def beaten(i, points=points):
            own = points[i]
            return any(
                (one.accuracy >= own.accuracy and one.balanced_accuracy >= own.balanced_accuracy)
                and (one.accuracy, one.balanced_accuracy) != (own.accuracy, own.balanced_accuracy)
                for one in points
            )

        best = {(points[i].accuracy, points[i].balanced_accuracy) for i in found}
        assert len(best) == len(found)
        for i, one in enumerate(points):
            assert ((one.accuracy, one.balanced_accuracy) in best) == (not beaten(i))


# --- choosing


@pytest.mark.parametrize("seed", range(4))
def test_on_calibrated_answers_tau_1_has_the_best_macro_recall_and_tau_0_the_best_accuracy(seed):
    a, prior = calibrated(seed)
    by_tau = {point.tau: point for point in tradeoff_curve(a, prior)}
    assert by_tau[1.0].balanced_accuracy == pytest.approx(max(one.balanced_accuracy for one in by_tau.values()))
    assert by_tau[0.0].accuracy == pytest.approx(max(one.accuracy for one in by_tau.values()))
    assert by_tau[1.0].balanced_accuracy > by_tau[0.0].balanced_accuracy
    for extra in np.random.default_rng(seed).normal(0, 0.5, (20, 3)):  # no offsets do better either
        [other] = tradeoff_curve(a, prior, [1.0], Adjustment(offsets_K=tuple(extra)))
        assert other.balanced_accuracy <= by_tau[1.0].balanced_accuracy + 1e-12


@pytest.mark.parametrize("metric", METRICS)
def test_the_best_tau_is_the_highest_of_the_grid_and_of_equals_the_nearest_to_0(metric):
    a = random_predictions(300, seed=3)
    values = {tau: getattr(report_on(adjusted(a, PRIOR, Adjustment(tau))), metric) for tau in TAUS}
    most = max(values.values())
    among = [tau for tau, value in values.items() if value > most - 1e-12]
    found = best_tau(a, PRIOR, metric, split="public")
    assert found in among and abs(found) == min(map(abs, among))
    assert best_tau(a, np.ones(7), metric, split="public") == 0  # an even prior: all are equal


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_best_temperature_undoes_the_factor_on_calibrated_logits(factor):
    a, prior = calibrated(seed=1)
    louder = replace(a, logits_NK=a.logits_NK * factor)
    assert best_temperature(louder, prior, split="public") == pytest.approx(factor, abs=2e-3)


@pytest.mark.parametrize("given", [AS_IS, Adjustment(tau=0.8, offsets_K=(0.2, 1, 0, 0, 0, 0, -0.4))])
def test_the_best_temperature_is_scipys(given):
    a = random_predictions(400, seed=2)

    def loss(temperature):
        return log_loss(adjust_logits(a.logits_NK, PRIOR, replace(given, temperature=temperature)), a.labels_N)

    expected = minimize_scalar(loss, bounds=TEMPERATURES, method="bounded", options={"xatol": 1e-6})
    found = best_temperature(a, PRIOR, split="public", given=given)
    assert found == pytest.approx(expected.x, abs=1.5e-3)
    assert found == best_temperature(a, PRIOR, split="public", given=given)


def test_the_best_temperature_at_the_ends():
    right = make_predictions([0, 1, 2], classes=ABC)
    assert best_temperature(right, np.ones(3), split="public") == TEMPERATURES[0]
    wrong = make_predictions([0, 1, 2], [1, 2, 0], classes=ABC)
    assert best_temperature(wrong, np.ones(3), split="public") == TEMPERATURES[1]
    no_idea = make_predictions([0, 1, 2], logits=np.zeros((3, 3)), classes=ABC)
    assert best_temperature(no_idea, np.ones(3), split="public") == 1


@pytest.mark.parametrize("split", ["private", "train", ""])
def test_nothing_is_chosen_on_any_split_but_public(split):
    a = random_predictions(20, seed=1)
    expected = f"an adjustment is chosen on public, not on {split!r}: private only shows what it gives."
    for choose in (
        lambda: best_tau(a, PRIOR, "accuracy", split=split),
        lambda: best_temperature(a, PRIOR, split=split),
    ):
        with pytest.raises(RunError) as caught:
            choose()
        assert str(caught.value) == expected


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no metric named 'acuracy'. Did you mean 'accuracy'\? Known: accuracy, bal"):
        best_tau(random_predictions(20, seed=1), PRIOR, "acuracy", split="public")
