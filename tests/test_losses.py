"""Losses of the label modes: by hand, against torch's own, and in the trainer."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_core import catalog
from fer_core.losses import OBJECTIVES, any_of, soft_cross_entropy, weighted_cross_entropy
from fer_core.train.loop import FaceTensors
from tests.toy import run_epochs, toy_config, toy_tensors, toy_trainer

WEIGHTS = torch.tensor([0.5, 1.0, 1.5])


def random_logits(rows=6, seed=0):
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))


def test_every_label_mode_has_its_loss():
    assert set(OBJECTIVES) == set(catalog.LABELS)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [torch.ones(3), WEIGHTS], ids=["alike", "weighted"])
def test_a_soft_target_of_one_class_costs_what_its_label_costs(smoothing, weights):
    logits, labels = random_logits(), torch.tensor([0, 1, 2, 2, 1, 0])
    soft = soft_cross_entropy(logits, F.one_hot(labels, 3).float(), weights, smoothing)
    torch.testing.assert_close(soft, weighted_cross_entropy(logits, labels, weights, smoothing))


def test_soft_targets_without_weights_are_torchs_own():
    logits, shares = random_logits(), torch.softmax(random_logits(seed=1), dim=1)
    torch.testing.assert_close(
        soft_cross_entropy(logits, shares, torch.ones(3), 0.1), F.cross_entropy(logits, shares, label_smoothing=0.1)
    )


def test_any_of_takes_the_likeliest_right_class_by_hand():
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]))
    shares = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    assert any_of(logits, shares, torch.ones(3), 0.0).item() == pytest.approx(-(math.log(0.3) + math.log(0.3)) / 2)
    # The leading class of row 0 is class 1, of row 1 class 0: weights 1.0 and 0.5; both rows cost the same.
    assert any_of(logits, shares, WEIGHTS, 0.0).item() == pytest.approx(-math.log(0.3))


def test_any_of_is_finite_where_the_right_class_is_all_but_impossible():
    loss = any_of(torch.tensor([[100.0, 0.0, 0.0]]), torch.tensor([[0.0, 1.0, 0.0]]), torch.ones(3), 0.0)
    assert loss.item() == pytest.approx(-math.log(0.001))


def with_targets(faces: FaceTensors, share: float = 0.4) -> FaceTensors:
    """Every face's target holds this share of the class after its own."""
    own, other = (F.one_hot(labels, 7).float() for labels in (faces.labels_N, (faces.labels_N + 1) % 7))
    return FaceTensors(faces.images_NHW, faces.labels_N, (1 - share) * own + share * other)


@pytest.mark.parametrize("labels", catalog.LABELS)
def test_every_label_mode_trains_and_learns(labels):
    faces = with_targets(toy_tensors([20] * 7))
    history = run_epochs(toy_trainer(toy_config(labels=labels, epochs=6, augment="none"), faces), toy_tensors([5] * 7))
    assert history[-1].train_loss < history[0].train_loss
    if labels != "multi":  # where two classes count as right, a net may choose the other one
        assert history[-1].public_accuracy > 0.5


def seen_targets(labels: str, faces: FaceTensors, monkeypatch) -> torch.Tensor:
    """What the loss is given in an epoch, in the order of the faces."""
    seen, objective = [], OBJECTIVES[labels]

    def spy(logits, targets, *rest):
        seen.append(targets)
        return objective(logits, targets, *rest)

    trainer = toy_trainer(toy_config(labels=labels, epochs=1), faces)
    with monkeypatch.context() as patch:
        patch.setitem(OBJECTIVES, labels, spy)
        run_epochs(trainer, toy_tensors([2] * 7))
    return torch.cat(seen)[np.argsort(trainer._epoch_order(0))]


def test_probability_draws_a_label_at_each_visit_by_its_share(monkeypatch):
    faces = with_targets(toy_tensors([60] * 7), share=0.3)
    drawn = seen_targets("probability", faces, monkeypatch)
    away = (drawn - faces.labels_N) % 7
    assert drawn.dtype == torch.int64 and set(away.tolist()) == {0, 1}
    assert away.float().mean().item() == pytest.approx(0.3, abs=0.07)  # three standard deviations of 420 draws
    assert drawn.tolist() == seen_targets("probability", faces, monkeypatch).tolist()  # the seed decides


@pytest.mark.parametrize("labels", ["crossentropy", "multi"])
def test_soft_modes_see_the_shares(labels, monkeypatch):
    faces = with_targets(toy_tensors([5] * 7), share=0.3)
    torch.testing.assert_close(seen_targets(labels, faces, monkeypatch), faces.targets_NK)


@pytest.mark.parametrize("labels", ["fer", "majority"])
def test_hard_modes_see_the_label(labels, monkeypatch):
    faces = with_targets(toy_tensors([5] * 7), share=0.3)
    assert seen_targets(labels, faces, monkeypatch).tolist() == faces.labels_N.tolist()


# --- focal: what the net knows counts less ----------------------------------------------------------------------------


@pytest.mark.parametrize("labels", catalog.LABELS)
def test_focal_losses_by_hand(labels):
    """Two faces, the right answer's probability 0.6 and 0.5; gamma 2 multiplies their costs by 0.16 and 0.25."""
    logits = torch.log(torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.5, 0.3]]))
    own = torch.tensor([0, 1])
    soft = labels in ("crossentropy", "multi")
    loss = OBJECTIVES[labels](logits, F.one_hot(own, 3).float() if soft else own, WEIGHTS, 0.0, 2.0)
    costs = 0.5 * 0.16 * -math.log(0.6), 1.0 * 0.25 * -math.log(0.5)
    assert loss.item() == pytest.approx(sum(costs) / 1.5)


def test_of_a_soft_target_the_right_answers_probability_is_the_mean_by_shares():
    logits, shares = torch.log(torch.tensor([[0.6, 0.3, 0.1]])), torch.tensor([[0.5, 0.5, 0.0]])
    plain = -(0.5 * math.log(0.6) + 0.5 * math.log(0.3))
    assert soft_cross_entropy(logits, shares, torch.ones(3), 0.0, 1.0).item() == pytest.approx((1 - 0.45) * plain)


@pytest.mark.parametrize("labels", catalog.LABELS)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_stay_finite_where_the_net_is_certain(labels, gamma):
    logits = torch.tensor([[1e4, 0.0, 0.0], [0.0, 0.0, 1e4]], requires_grad=True)
    own = torch.tensor([0, 1])
    soft = labels in ("crossentropy", "multi")
    loss = OBJECTIVES[labels](logits, F.one_hot(own, 3).float() if soft else own, WEIGHTS, 0.1, gamma)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("labels", catalog.LABELS)
def test_gamma_0_is_the_plain_loss_and_its_limit(labels):
    logits, own = random_logits(), torch.tensor([0, 1, 2, 2, 1, 0])
    targets = F.one_hot(own, 3).float() if labels in ("crossentropy", "multi") else own
    plain, focal = (OBJECTIVES[labels](logits, targets, WEIGHTS, 0.1, gamma) for gamma in (0.0, 1e-7))
    torch.testing.assert_close(focal, plain, atol=1e-5, rtol=0)
