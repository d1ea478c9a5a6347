"""A run's answers as columns: how sure, how close, how costly; filters and orders worked out by hand."""

import numpy as np
import pytest

from fer_core.errors import ConfigError
from fer_core.evaluate import evaluate
from fer_core.mistakes import SORTS, MistakeFilters, answers
from tests.faces import make_predictions, random_predictions

CLASSES = ("angry", "happy", "sad")
SHARES = np.array(
    [
        [0.7, 0.2, 0.1],  # angry, right
        [0.5, 0.4, 0.1],  # happy, taken for angry
        [0.1, 0.8, 0.1],  # sad, taken for happy
        [0.3, 0.31, 0.39],  # angry, taken for sad
        [0.05, 0.9, 0.05],  # happy, right
    ]
)
FOUND = answers(make_predictions([0, 1, 2, 0, 1], logits=np.log(SHARES), classes=CLASSES))


def test_columns_by_hand():
    np.testing.assert_allclose(FOUND.confidence_N, [0.7, 0.5, 0.8, 0.39, 0.9])
    np.testing.assert_allclose(FOUND.margin_N, [0.5, 0.1, 0.7, 0.08, 0.85], atol=1e-7)
    np.testing.assert_allclose(FOUND.loss_N, -np.log([0.7, 0.4, 0.1, 0.3, 0.9]), atol=1e-6)


def test_the_mean_loss_is_the_reports():
    many = random_predictions(300, seed=1)
    assert answers(many).loss_N.mean() == pytest.approx(evaluate(many.logits_NK, many.labels_N, many.classes).log_loss)


def test_a_probability_of_0_has_a_loss_that_is_a_number():
    sure = answers(make_predictions([0], logits=[[-3000.0, 0.0, 0.0]], classes=CLASSES))
    assert sure.loss_N[0] == pytest.approx(700)


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, [2, 1, 3]),
        ({"only_wrong": False}, [4, 2, 0, 1, 3]),
        ({"true": "angry", "only_wrong": False}, [0, 3]),
        ({"true": "happy"}, [1]),
        ({"predicted": "happy"}, [2]),
        ({"true": "sad", "predicted": "angry"}, []),
        ({"confidence": (0.4, 0.81)}, [2, 1]),
        ({"margin": (0.0, 0.11)}, [1, 3]),
        ({"sort": "least sure"}, [3, 1, 2]),
        ({"sort": "highest loss"}, [2, 3, 1]),
        ({"sort": "closest call"}, [3, 1, 2]),
    ],
)
def test_filters_and_orders(wanted, rows):
    assert FOUND.select(MistakeFilters(**wanted)).tolist() == rows


def test_agreement_of_the_taggers_filters_and_sorts():
    agreement = np.array([1.0, 0.9, 0.4, np.nan, 0.2])
    wanted = MistakeFilters(sort="most disputed", only_wrong=False)
    assert FOUND.select(wanted, agreement_N=agreement).tolist() == [4, 2, 1, 0, 3]
    assert FOUND.select(MistakeFilters(agreement=(0.5, 1.0)), agreement_N=agreement).tolist() == [1]
    assert FOUND.select(MistakeFilters(), agreement_N=agreement).tolist() == [2, 1, 3]


def test_only_flagged_faces_and_the_mask_stays_as_it_was():
    flagged = np.array([True, True, False, True, False])
    assert FOUND.select(MistakeFilters(), flagged_N=flagged).tolist() == [1, 3]
    assert flagged.tolist() == [True, True, False, True, False]


def test_an_order_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="order"):
        FOUND.select(MistakeFilters(sort="prettiest"))
    assert len(SORTS) == 5
