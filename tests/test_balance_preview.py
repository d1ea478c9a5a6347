"""What balancing does before a training: figures worked out by hand, and simulation where rows are drawn."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fer_core.balance import (
    cap_weights,
    focal_factor,
    focal_gradient_factor,
    logit_offsets,
    plan_balance,
    row_probabilities,
)
from fer_core.balance_preview import lesson_of, preview
from fer_core.config import RunConfig
from fer_core.errors import ConfigError, RunError
from fer_core.labels import FER2013_TRAIN_COUNTS
from tests.faces import make_predictions, random_predictions

FER2013 = list(FER2013_TRAIN_COUNTS.values())
COUNTS = [1, 4, 16]
ABC = ("a", "b", "c")


AS_IS = plan_balance(COUNTS, RunConfig())


def previewed(counts=COUNTS, answers=None, **values):
    return preview(counts, plan_balance(counts, RunConfig(**values)), answers)


def sure_of_the_truth(*probabilities):
    """One answer a class, with this probability for the true one and the rest spread evenly."""
    p_K = np.array(probabilities)
    shares = np.where(np.eye(3, dtype=bool), p_K[:, None], (1 - p_K[:, None]) / 2)
    return make_predictions([0, 1, 2], logits=np.log(shares), classes=ABC)


def softmax_loss(logits_K, label, gamma):
    """Focal loss of one face, written out; gamma 0 is cross-entropy."""
    p = math.exp(logits_K[label]) / sum(map(math.exp, logits_K))
    return -((1 - p) ** gamma) * math.log(p)


def slope(logits_K, label, gamma, step=1e-6):
    """The gradient of `softmax_loss` by central differences."""
    ends = [[logits_K + sign * step * axis for axis in np.eye(len(logits_K))] for sign in (1, -1)]
    high, low = (np.array([softmax_loss(one, label, gamma) for one in side]) for side in ends)
    return (high - low) / (2 * step)


# --- an epoch


def test_as_is_each_face_is_shown_once_and_none_is_left_out():
    found = previewed(balance="none")
    np.testing.assert_allclose(found.mix_K, [1 / 21, 4 / 21, 16 / 21])
    np.testing.assert_allclose(found.repeats_K, [1, 1, 1])
    np.testing.assert_array_equal(found.unseen_K, [0, 0, 0])
    np.testing.assert_allclose(found.loss_share_K, found.mix_K)
    assert found.gradient_share_K is None


def test_a_disgust_face_of_fer2013_is_drawn_nine_times_an_epoch_by_the_full_sampler():
    found = previewed(FER2013, balance="sampler", balance_alpha=1.0)
    assert found.repeats_K[1] == pytest.approx(28_709 / 7 / 436)  # 9.4
    assert found.repeats_K[3] == pytest.approx(28_709 / 7 / 7215)  # happy: 0.57
    assert found.unseen_K[1] == pytest.approx(math.exp(-28_709 / 7 / 436), rel=1e-2)
    assert found.unseen_K[3] == pytest.approx(math.exp(-28_709 / 7 / 7215), rel=1e-3)  # 57% of the happy faces


def test_repeats_and_faces_never_shown_are_those_of_a_drawn_epoch():
    counts = np.array([5, 20, 80])
    balance = plan_balance(counts, RunConfig(balance="sampler", balance_alpha=0.7))
    found = preview(counts, balance)
    labels = np.repeat(np.arange(3), counts)
    rng = np.random.default_rng(0)
    p = row_probabilities(labels, balance.epoch_mix_K)
    shown = np.stack([np.bincount(rng.choice(105, 105, p=p), minlength=105) for _ in range(2000)])
    for k in range(3):
        of_class = shown[:, labels == k]
        assert of_class.mean() == pytest.approx(found.repeats_K[k], rel=0.03)
        assert (of_class == 0).mean() == pytest.approx(found.unseen_K[k], abs=0.01)


def test_a_class_without_a_face_repeats_nothing_and_misses_nothing():
    found = previewed([5, 0, 3], balance="sampler")
    assert (found.mix_K[1], found.repeats_K[1], found.unseen_K[1], found.loss_share_K[1]) == (0, 0, 0, 0)


# --- the loss


def test_shares_of_loss_and_gradient_by_hand():
    # losses log 2, log 4, log 8; gradients 1 - p times the same length: 4, 6 and 7 eighths
    answers = sure_of_the_truth(1 / 2, 1 / 4, 1 / 8)
    even = previewed(answers=answers, balance="weights", balance_alpha=1.0)  # mix x weight is the same for each class
    np.testing.assert_allclose(even.loss_share_K, [1 / 6, 2 / 6, 3 / 6], rtol=1e-6)
    np.testing.assert_allclose(even.gradient_share_K, [4 / 17, 6 / 17, 7 / 17], rtol=1e-6)
    plain = previewed(answers=answers, balance="none")  # 1, 4 and 16 faces
    np.testing.assert_allclose(plain.loss_share_K, [1 / 57, 8 / 57, 48 / 57], rtol=1e-6)
    np.testing.assert_allclose(plain.gradient_share_K, [4 / 140, 24 / 140, 112 / 140], rtol=1e-6)


@pytest.mark.parametrize("balance", ["none", "sampler", "weights", "focal"])
def test_with_equal_answers_the_share_is_the_balances_own(balance):
    answers = sure_of_the_truth(0.4, 0.4, 0.4)
    with_answers, without = (previewed(answers=one, balance=balance) for one in (answers, None))
    np.testing.assert_allclose(with_answers.loss_share_K, without.loss_share_K, rtol=1e-5)
    np.testing.assert_allclose(with_answers.gradient_share_K, without.loss_share_K, rtol=1e-5)
    assert with_answers.loss_share_K.sum() == pytest.approx(1)


def test_where_nothing_is_left_to_learn_the_share_is_that_of_equal_losses():
    found = previewed(answers=make_predictions([0, 1, 2], logits=2000 * np.eye(3), classes=ABC))
    np.testing.assert_allclose(found.loss_share_K, [1 / 21, 4 / 21, 16 / 21])
    np.testing.assert_allclose(found.gradient_share_K, [1 / 21, 4 / 21, 16 / 21])


def test_the_logit_adjusted_loss_gives_rare_classes_more_of_the_gradient():
    answers = random_predictions(60, seed=1, classes=ABC)
    plain, margin = (previewed(answers=answers, balance=one) for one in ("none", "logit_adjusted"))
    assert margin.gradient_share_K[0] > 1.2 * plain.gradient_share_K[0]
    np.testing.assert_allclose(margin.mix_K, plain.mix_K)


def test_answers_of_other_classes_are_refused():
    with pytest.raises(RunError) as caught:
        previewed(answers=random_predictions(9, seed=1))
    assert str(caught.value) == "the run has 7 classes and the data 3; choose a run with the data's labels."


# --- what a stored run teaches


def test_losses_and_gradients_of_three_faces_by_hand():
    # p of the true class: 1/2 and 1/4 of a, 2/3 of b
    logits = np.log([[2, 1, 1], [1, 2, 1], [1, 4, 1]])
    found = lesson_of(make_predictions([0, 0, 1], logits=logits, classes=ABC), AS_IS)
    own = [(math.log(2) + math.log(4)) / 2, math.log(3 / 2)]
    np.testing.assert_allclose(found.loss_K, [*own, (math.log(2) + math.log(4) + math.log(3 / 2)) / 3], rtol=1e-6)
    lengths = [math.sqrt(6) / 4, math.sqrt(9 + 4 + 1) / 4, math.sqrt(1 + 4 + 1) / 6]
    expected = [(lengths[0] + lengths[1]) / 2, lengths[2], sum(lengths) / 3]  # of c, no face: the mean of all
    np.testing.assert_allclose(found.gradient_K, expected, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_losses_and_gradients_are_those_of_differences_of_the_loss(gamma):
    answers = random_predictions(12, seed=1, classes=ABC)
    found = lesson_of(answers, replace(AS_IS, gamma=gamma))
    for k in range(3):
        rows = np.flatnonzero(answers.labels_N == k)
        logits = answers.logits_NK[rows].astype(np.float64)
        assert found.loss_K[k] == pytest.approx(np.mean([softmax_loss(row, k, gamma) for row in logits]))
        lengths = [np.linalg.norm(slope(row, k, gamma)) for row in logits]
        assert found.gradient_K[k] == pytest.approx(np.mean(lengths), rel=1e-5)


def test_offsets_are_added_before_the_softmax():
    answers = random_predictions(30, seed=1, classes=ABC)
    offsets = logit_offsets(COUNTS, 1.0)
    moved = replace(answers, logits_NK=answers.logits_NK + offsets)
    found, expected = lesson_of(answers, replace(AS_IS, logit_offsets_K=offsets)), lesson_of(moved, AS_IS)
    np.testing.assert_allclose(found.loss_K, expected.loss_K)
    np.testing.assert_allclose(found.gradient_K, expected.gradient_K)


def test_focal_loss_leaves_the_lesson_to_the_faces_that_are_wrong():
    answers = make_predictions([0, 0, 1, 1], [0, 0, 2, 2], classes=ABC)  # a is known, b is not
    plain, focal = (previewed([50, 50, 50], answers, balance=one) for one in ("none", "focal"))
    assert focal.loss_share_K[0] < 0.1 * plain.loss_share_K[0]
    assert focal.gradient_share_K[0] < 0.1 * plain.gradient_share_K[0]


def test_a_probability_that_rounds_to_0_or_1_has_a_finite_lesson():
    answers = make_predictions([0, 1], logits=np.array([[2000.0, 0, 0], [2000, 0, 0]]), classes=ABC)
    for gamma in (0.0, 0.5, 2.0):
        found = lesson_of(answers, replace(AS_IS, gamma=gamma))
        assert np.isfinite(found.loss_K).all() and np.isfinite(found.gradient_K).all()
        assert found.gradient_K[:2] == pytest.approx([0, math.sqrt(2)])


def test_answers_that_teach_nothing_are_refused():
    diverged = make_predictions([0], logits=np.array([[np.nan, 0, 0]]), classes=ABC)
    for answers in (diverged, make_predictions([], logits=np.zeros((0, 3)), classes=ABC)):
        with pytest.raises(RunError, match="empty or not finite; choose another run"):
            lesson_of(answers, AS_IS)


# --- formulas that losses share


def test_the_cap_brings_down_the_largest_weights_alone():
    np.testing.assert_allclose(cap_weights([8, 2, 1], 4), np.array([4, 2, 1]) * 3 / 7)
    np.testing.assert_allclose(cap_weights([8, 2, 1], 1), [1, 1, 1])
    np.testing.assert_allclose(cap_weights([8, 2, 1], 8), np.array([8, 2, 1]) * 3 / 11)
    weights = plan_balance(FER2013, RunConfig(balance="weights", balance_alpha=1.0)).loss_weights_K
    capped = cap_weights(weights, 5)
    assert capped.max() / capped.min() == pytest.approx(5)
    assert capped.mean() == pytest.approx(1)


@pytest.mark.parametrize("cap", [0.9, -1.0, math.nan])
def test_a_cap_below_1_is_refused(cap):
    with pytest.raises(ConfigError, match="it should be 1 or more"):
        cap_weights([1, 2], cap)


def test_logit_offsets_by_hand():
    np.testing.assert_allclose(logit_offsets([1, 1, 2], 2), [-4 * math.log(2), -4 * math.log(2), -2 * math.log(2)])
    np.testing.assert_allclose(logit_offsets([0.25, 0.25, 0.5], 2), logit_offsets([1, 1, 2], 2))
    np.testing.assert_array_equal(logit_offsets([1, 5], 0), [0, 0])
    np.testing.assert_allclose(logit_offsets([1, 0, 1], 1), [-math.log(2), 0, -math.log(2)])


def test_focal_factors_by_hand():
    np.testing.assert_allclose(focal_factor([0, 0.5, 0.9, 1], 2), [1, 0.25, 0.01, 0])
    np.testing.assert_array_equal(focal_factor([0, 0.5, 1], 0), [1, 1, 1])
    np.testing.assert_array_equal(focal_gradient_factor([0, 0.5, 1], 0), [1, 1, 1])
    # (1/2)^2 + 2 x 1/2 x 1/2 x log 2
    np.testing.assert_allclose(focal_gradient_factor([0, 0.5, 1], 2), [1, 0.25 + math.log(2) / 2, 0])
    assert np.isfinite(focal_gradient_factor([0, 1e-300, 1 - 1e-16, 1], 0.5)).all()
