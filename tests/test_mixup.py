"""Mixup: pairs and shares by seed, images and losses by hand, and a training with and without it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from fer_core import catalog
from fer_core.losses import OBJECTIVES, weighted_cross_entropy
from fer_core.train import loop
from fer_core.train.loop import FaceTensors
from fer_core.train.mixup import Mix, draw_mix
from tests.toy import CPU_BF16, CPU_FP32, everything, run_epochs, toy_config, toy_tensors, toy_trainer

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = toy_tensors([6] * 7)
PUBLIC = toy_tensors([2] * 7, seed=1)
SOFT = sorted({*catalog.LABELS} - {"fer", "majority", "probability"})


def drawn(alpha: float = 0.4, faces: int = 10, seed: int = 3) -> Mix:
    return draw_mix(alpha, faces, torch.Generator().manual_seed(seed), seed)


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_equal_seeds_draw_equal_pairs_and_shares_and_other_seeds_others():
    first, again, other = drawn(), drawn(), drawn(seed=4)
    assert first.share == again.share != other.share
    assert first.partner_B.tolist() == again.partner_B.tolist() != other.partner_B.tolist()


def test_every_face_is_one_faces_partner():
    assert sorted(drawn(faces=50).partner_B.tolist()) == list(range(50))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_drawn_from_beta(alpha):
    shares = np.array([drawn(alpha, 2, seed).share for seed in range(2000)])
    assert ((shares >= 0) & (shares <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha), whose mean is a half
    assert shares.mean() == pytest.approx(0.5, abs=4 * (variance / 2000) ** 0.5)
    assert shares.var() == pytest.approx(variance, rel=0.1)


# --- what is mixed --------------------------------------------------------------------------------------------------


def test_images_are_mixed_by_hand():
    images = torch.tensor([[0.0, 1.0], [0.4, 0.2], [0.8, 0.6]]).reshape(3, 1, 1, 2)
    mixed = Mix(torch.tensor([1, 2, 0]), 0.75).images(images)
    # row 0: 3/4 of (0, 1) and 1/4 of (0.4, 0.2); row 1 with row 2; row 2 with row 0
    expected = [[0.1, 0.8], [0.5, 0.3], [0.6, 0.7]]
    torch.testing.assert_close(mixed.reshape(3, 2), torch.tensor(expected))


def test_losses_are_mixed_by_hand():
    mix = Mix(torch.tensor([1, 0]), 0.75)
    assert mix.loss(torch.tensor(2.0), torch.tensor(6.0)).item() == pytest.approx(3.0)


def trainer_losses(mix: Mix | None, labels: str = "fer", smoothing: float = 0.1, targets: Tensor | None = None):
    """The loss that the trainer takes of some logits, and these logits and targets."""
    torch.manual_seed(5)
    logits, labels_B = torch.randn(6, 7), torch.tensor([0, 3, 3, 6, 1, 2])
    targets = labels_B if targets is None else targets
    trainer = toy_trainer(toy_config(labels=labels, label_smoothing=smoothing), TRAIN)
    return trainer._loss(logits, targets, mix), logits, targets


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_the_cross_entropy_towards_mixed_targets(smoothing):
    mix = Mix(torch.tensor([4, 2, 0, 5, 1, 3]), 0.3)
    loss, logits, labels = trainer_losses(mix, smoothing=smoothing)
    one_hot = F.one_hot(labels, 7).float()
    mixed = 0.3 * one_hot + 0.7 * one_hot[mix.partner_B]
    torch.testing.assert_close(loss, F.cross_entropy(logits, mixed, label_smoothing=smoothing))


def test_soft_targets_are_mixed_like_labels():
    shares = torch.softmax(torch.randn(6, 7, generator=torch.Generator().manual_seed(1)), 1)
    mix = Mix(torch.tensor([4, 2, 0, 5, 1, 3]), 0.3)
    loss, logits, _ = trainer_losses(mix, "crossentropy", 0.0, shares)
    torch.testing.assert_close(loss, F.cross_entropy(logits, 0.3 * shares + 0.7 * shares[mix.partner_B]))


def test_images_and_targets_are_mixed_with_the_same_partners(monkeypatch):
    """Each face is one grey level, a hundred times its class: a mixed face tells whose share it has."""
    levels = torch.arange(7, dtype=torch.uint8).repeat_interleave(6) * 30
    faces = FaceTensors(levels.reshape(-1, 1, 1).repeat(1, 12, 12), levels.long() // 30)
    mixes, inputs, targets = [], [], []
    monkeypatch.setattr(loop, "draw_mix", lambda *a: mixes.append(draw_mix(*a)) or mixes[-1])
    monkeypatch.setitem(OBJECTIVES, "fer", lambda *a: targets.append(a[1]) or weighted_cross_entropy(*a))
    trainer = toy_trainer(toy_config(epochs=1, mixup=1.0, augment="none", ema_decay=0.0), faces)
    trainer.model.register_forward_pre_hook(
        lambda module, images: inputs.append(images[0]) if module.training else None
    )
    run_epochs(trainer, PUBLIC)
    assert len(mixes) == len(inputs) == 3 and len(targets) == 6
    for mix, images, own, partners in zip(mixes, inputs, targets[::2], targets[1::2], strict=True):
        classes = (mix.share * own + (1 - mix.share) * partners).float()
        torch.testing.assert_close(images[:, 0, 0, 0], classes * 30 / 255)
        assert partners.tolist() == own[mix.partner_B].tolist()


# --- a training -----------------------------------------------------------------------------------------------------


def trained(placement=CPU_FP32, faces=TRAIN, **config):
    trainer = toy_trainer(toy_config(**config), faces, placement)
    return everything(trainer, run_epochs(trainer, PUBLIC))


def test_without_mixup_nothing_is_drawn_for_it(monkeypatch):
    monkeypatch.setattr(loop, "draw_mix", None)
    calls = []
    monkeypatch.setitem(OBJECTIVES, "fer", lambda *a: calls.append(a) or weighted_cross_entropy(*a))
    assert trained(mixup=0.0) and len(calls) == 6, "one loss a step"


@pytest.mark.parametrize("placement", [CPU_FP32, CPU_BF16], ids=str)
def test_a_whole_share_of_its_own_leaves_a_training_bit_for_bit_as_it_was(monkeypatch, placement):
    plain = trained(placement, mixup=0.0)
    assert trained(placement, mixup=1.0) != plain
    monkeypatch.setattr(loop, "draw_mix", lambda *a: replace(draw_mix(*a), share=1.0))
    assert trained(placement, mixup=1.0) == plain


def test_equal_seeds_mix_alike():
    assert trained(mixup=0.5, seed=1) == trained(mixup=0.5, seed=1) != trained(mixup=0.5, seed=2)


@pytest.mark.parametrize("labels", catalog.LABELS)
def test_every_label_mode_trains_with_mixup(labels):
    own = F.one_hot(TRAIN.labels_N, 7).float()
    faces = replace(TRAIN, targets_NK=0.6 * own + 0.4 * own.roll(1, 1))
    trainer = toy_trainer(toy_config(labels=labels, mixup=0.4, epochs=6, augment="none", ema_decay=0.0), faces)
    records = run_epochs(trainer, PUBLIC)
    assert records[-1].train_loss < records[0].train_loss
    assert (labels in SOFT) == (trainer._targets(torch.arange(4)).ndim == 2)


@pytest.mark.parametrize("balance", ["sampler", "weights"])
def test_balancing_goes_with_mixup(balance):
    records = trained(mixup=0.4, balance=balance, faces=toy_tensors([12, 5, 5, 5, 5, 5, 5]))["records"]
    assert all(np.isfinite(record["train_loss"]) for record in records)
