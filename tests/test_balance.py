"""What balancing does to an epoch and to the loss: figures worked out by hand."""

import math

import numpy as np
import pytest

from fer_core.balance import STRATEGIES, plan_balance, row_probabilities
from fer_core.catalog import BALANCING, WEIGHTINGS
from fer_core.config import RunConfig
from fer_core.errors import ConfigError
from fer_core.labels import FER2013_TRAIN_COUNTS

COUNTS = [1, 4, 16]


def plan(counts=COUNTS, **values):
    return plan_balance(counts, RunConfig(**values))


def test_as_is_shows_every_face_once_and_weighs_all_mistakes_alike():
    found = plan(balance="none", balance_alpha=1.0)
    np.testing.assert_allclose(found.epoch_mix_K, [1 / 21, 4 / 21, 16 / 21])
    np.testing.assert_array_equal(found.loss_weights_K, [1, 1, 1])
    np.testing.assert_allclose(found.visits_K(COUNTS), [1, 1, 1])
    assert not found.resampled


@pytest.mark.parametrize(
    ("alpha", "mix", "visits"),
    [
        (0.0, [1 / 21, 4 / 21, 16 / 21], [1, 1, 1]),
        (0.5, [1 / 7, 2 / 7, 4 / 7], [3, 1.5, 0.75]),  # square roots 1, 2, 4 of 7; times 21 faces, by 1, 4, 16
        (1.0, [1 / 3, 1 / 3, 1 / 3], [7, 1.75, 0.4375]),
    ],
)
def test_the_sampler_draws_by_a_power_of_the_count(alpha, mix, visits):
    found = plan(balance="sampler", balance_alpha=alpha)
    np.testing.assert_allclose(found.epoch_mix_K, mix)
    np.testing.assert_allclose(found.visits_K(COUNTS), visits)
    np.testing.assert_array_equal(found.loss_weights_K, [1, 1, 1])
    np.testing.assert_allclose(found.loss_share_K, mix)
    assert found.resampled


@pytest.mark.parametrize(
    ("alpha", "weights"),
    [
        (0.0, [1, 1, 1]),
        (0.5, [12 / 7, 6 / 7, 3 / 7]),  # 1, 1/2, 1/4, whose mean is 7/12
        (1.0, [16 / 7, 4 / 7, 1 / 7]),  # 1, 1/4, 1/16, whose mean is 7/16
    ],
)
def test_inverse_weights_are_a_power_of_the_count_with_mean_1(alpha, weights):
    found = plan(balance="weights", balance_alpha=alpha)
    np.testing.assert_allclose(found.loss_weights_K, weights)
    np.testing.assert_allclose(found.epoch_mix_K, [1 / 21, 4 / 21, 16 / 21])
    np.testing.assert_allclose(found.visits_K(COUNTS), [1, 1, 1])
    assert not found.resampled


def test_full_inverse_weights_give_each_class_the_same_share_of_the_loss():
    np.testing.assert_allclose(plan(balance="weights", balance_alpha=1.0).loss_share_K, [1 / 3] * 3)


def test_effective_weights_by_hand():
    # (1 - 1/2) / (1 - (1/2)^n) for n = 1, 2, 3: 1, 2/3, 4/7; their mean is 47/63
    found = plan([1, 2, 3], balance="weights", balance_weighting="effective", balance_beta=0.5)
    np.testing.assert_allclose(found.loss_weights_K, np.array([1, 2 / 3, 4 / 7]) * 63 / 47)


def test_beta_0_weighs_all_alike_and_beta_near_1_is_inverse_frequency():
    def effective(beta):
        return plan(balance="weights", balance_weighting="effective", balance_beta=beta).loss_weights_K

    np.testing.assert_allclose(effective(0.0), [1, 1, 1])
    np.testing.assert_allclose(
        effective(1 - 1e-9), plan(balance="weights", balance_alpha=1.0).loss_weights_K, rtol=1e-5
    )


def test_on_fer2013_the_full_sampler_shows_disgust_16_times_as_often_as_happy():
    counts = list(FER2013_TRAIN_COUNTS.values())
    visits = dict(
        zip(FER2013_TRAIN_COUNTS, plan(counts, balance="sampler", balance_alpha=1.0).visits_K(counts), strict=True)
    )
    assert visits["disgust"] == pytest.approx(28_709 / 7 / 436)
    assert visits["disgust"] / visits["happy"] == pytest.approx(7215 / 436)


@pytest.mark.parametrize("balance", BALANCING)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_what_holds_for_every_strategy(balance, weighting):
    counts = list(FER2013_TRAIN_COUNTS.values())
    for alpha in (0.0, 0.3, 1.0):
        found = plan(counts, balance=balance, balance_weighting=weighting, balance_alpha=alpha)
        assert found.epoch_mix_K.sum() == pytest.approx(1)
        assert found.loss_share_K.sum() == pytest.approx(1)
        assert found.loss_weights_K.mean() == pytest.approx(1)
        assert found.visits_K(counts) @ counts == pytest.approx(sum(counts))  # an epoch has as many faces as the data
        assert (found.epoch_mix_K > 0).all()
        assert (found.loss_weights_K > 0).all()
        rare_first = np.argsort(counts)
        assert (np.diff(found.loss_weights_K[rare_first]) <= 1e-12).all()  # rarer never weighs less
        assert (np.diff(found.visits_K(counts)[rare_first]) <= 1e-12).all()


@pytest.mark.parametrize("balance", ["sampler", "weights"])
def test_a_class_without_a_face_is_left_out_of_the_balancing(balance):
    config = RunConfig(balance=balance)
    whole, rest = plan_balance([5, 0, 3], config), plan_balance([5, 3], config)
    assert whole.epoch_mix_K.tolist() == [rest.epoch_mix_K[0], 0, rest.epoch_mix_K[1]]
    assert whole.loss_weights_K.tolist() == [rest.loss_weights_K[0], 1, rest.loss_weights_K[1]]
    assert whole.visits_K([5, 0, 3])[1] == 0


def test_without_a_face_there_is_nothing_to_balance():
    with pytest.raises(ConfigError) as caught:
        plan_balance([0, 0], RunConfig(balance="sampler"))
    assert str(caught.value) == "--balance sampler: there is no training face to balance."


def test_every_strategy_of_the_catalog_is_there():
    assert set(STRATEGIES) == set(BALANCING)


def test_a_rows_probability_is_its_classes_share_spread_over_its_rows():
    labels = np.array([0, 2, 2, 1, 2, 2])
    found = row_probabilities(labels, np.array([0.5, 0.3, 0.2]))
    np.testing.assert_allclose(found, [0.5, 0.05, 0.05, 0.3, 0.05, 0.05])


def test_rows_of_the_classes_that_are_there_share_all_of_the_probability():
    found = row_probabilities(np.array([0, 2]), np.array([0.25, 0.5, 0.25]))
    np.testing.assert_allclose(found, [0.5, 0.5])


def test_draws_with_these_probabilities_have_the_planned_mix():
    labels = np.repeat([0, 1, 2], COUNTS)
    mix = plan(balance="sampler", balance_alpha=0.5).epoch_mix_K
    drawn = np.random.default_rng(0).choice(labels, 20_000, p=row_probabilities(labels, mix))
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, mix, atol=4 * math.sqrt(0.25 / 20_000))


def test_focal_changes_neither_what_is_shown_nor_a_classes_weight():
    found, plain = plan(balance="focal", balance_gamma=1.5), plan()
    np.testing.assert_array_equal(found.epoch_mix_K, plain.epoch_mix_K)
    np.testing.assert_array_equal(found.loss_weights_K, plain.loss_weights_K)
    assert (found.gamma, plain.gamma, found.logit_offsets_K) == (1.5, 0.0, None)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_logit_adjustment_adds_tau_times_the_log_of_each_classes_share(tau):
    found = plan(balance="logit_adjusted", balance_tau=tau)
    np.testing.assert_allclose(found.logit_offsets_K, tau * np.log([1 / 21, 4 / 21, 16 / 21]))
    np.testing.assert_array_equal(found.loss_weights_K, [1, 1, 1])
    assert not found.resampled and found.gamma == 0.0


def test_a_class_without_faces_has_no_offset():
    found = plan([4, 0, 4], balance="logit_adjusted")
    np.testing.assert_allclose(found.logit_offsets_K, [math.log(0.5), 0.0, math.log(0.5)])


def test_a_cap_brings_the_largest_weight_down_and_keeps_the_mean():
    found = plan(balance="weights", balance_alpha=1.0, balance_cap=8.0)  # 16 : 4 : 1 becomes 8 : 4 : 1
    np.testing.assert_allclose(found.loss_weights_K, np.array([8, 4, 1]) * 3 / 13)
    uncapped = plan(balance="weights", balance_alpha=1.0, balance_cap=16.0)
    np.testing.assert_allclose(uncapped.loss_weights_K, plan(balance="weights", balance_alpha=1.0).loss_weights_K)


def test_joined_strategies_do_what_each_does():
    values = {"balance_alpha": 0.5, "balance_gamma": 3.0, "balance_tau": 0.5}
    both = plan(balance="sampler+weights+focal+logit_adjusted", **values)
    alone = {name: plan(balance=name, **values) for name in ("sampler", "weights", "logit_adjusted")}
    np.testing.assert_array_equal(both.epoch_mix_K, alone["sampler"].epoch_mix_K)
    np.testing.assert_array_equal(both.loss_weights_K, alone["weights"].loss_weights_K)
    np.testing.assert_array_equal(both.logit_offsets_K, alone["logit_adjusted"].logit_offsets_K)
    assert both.resampled and both.gamma == 3.0
