"""Tricks that are not in the recipes: what the ablation compares must be what it says."""

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import ablation
from benchmarks.flips import MirroredInTurn, flips_in_turn
from fer_core import experiment
from fer_core.models import create_model
from fer_core.plugins import load_plugin
from fer_core.train.loop import to_floats
from tests.toy import run_epochs, toy_config, toy_tensors, toy_trainer

pytestmark = pytest.mark.usefixtures("one_thread", "no_plugins")


@pytest.fixture
def tricks():
    return load_plugin(Path(ablation.__file__).with_name("tricks.py"))


def test_every_net_among_the_variants_is_there_and_takes_faces(tricks):
    named = {one.changes["model"] for one in ablation.VARIANTS if "model" in one.changes}
    assert named == set(tricks)
    for name in tricks:
        torch.manual_seed(0)
        assert create_model(name)(torch.rand(2, 1, 48, 48)).shape == (2, 7)


def test_whitened_patches_have_spread_1_and_no_correlation(tricks):
    torch.manual_seed(0)
    stem = create_model("small-whitened").net.stem
    images = nn.functional.avg_pool2d(torch.randn(64, 1, 50, 50), 3, 1)  # neighbours alike, as in pictures
    stem.train()(images)
    answers = stem.white(images).transpose(0, 1).flatten(1)[:9]
    spread = answers @ answers.T / answers.shape[1]
    torch.testing.assert_close(spread, torch.eye(9), atol=0.15, rtol=0)
    before = stem.white.weight.clone()
    stem(torch.rand(8, 1, 50, 50))
    assert torch.equal(stem.white.weight, before) and not stem.white.weight.requires_grad


def test_whitening_is_measured_in_full_precision(tricks):
    torch.manual_seed(0)
    ramp = torch.linspace(-2, 2, 48).expand(64, 1, 48, 48) * torch.rand(64, 1, 1, 1)  # smooth: few directions vary
    exact, mixed = (create_model("small-whitened").net.stem.train() for _ in range(2))
    exact(ramp)
    with torch.autocast("cpu", torch.bfloat16):
        mixed(ramp)
    torch.testing.assert_close(mixed.white.weight, exact.white.weight)


def test_a_shortcut_start_passes_the_stem_on(tricks):
    torch.manual_seed(0)
    block = create_model("small-shortcut-start").net.blocks[0]
    features = torch.rand(2, 32, 6, 6)
    assert torch.equal(block(features), features)
    assert not torch.allclose(create_model("small").net.blocks[0](features), features)


def test_each_face_is_mirrored_in_every_second_epoch():
    faces = toy_tensors([6] * 7)
    rows = torch.arange(len(faces))
    plain = to_floats(faces.images_NHW)
    trainer = toy_trainer(toy_config(), faces)
    in_turn = MirroredInTurn(faces, trainer)
    shown = []
    for step in (0, trainer.steps_per_epoch, 2 * trainer.steps_per_epoch):
        trainer.step = step
        images, labels = in_turn.batch(rows)
        assert torch.equal(labels, faces.labels_N)
        is_plain, is_mirror = ((images == other).flatten(1).all(1) for other in (plain, plain.flip(3)))
        assert (is_plain | is_mirror).all()
        shown.append(is_mirror)
    assert torch.equal(shown[0], ~shown[1]) and torch.equal(shown[0], shown[2])
    assert 0 < shown[0].sum() < len(faces)


def test_trainings_mirror_in_turn_only_while_that_is_asked_for():
    before = experiment.Trainer
    with flips_in_turn():
        assert experiment.Trainer is not before
        faces, config = toy_tensors([6] * 7), toy_config()
        plain = toy_trainer(config, faces)
        trainer = experiment.Trainer(plain.model, faces, plain.balance, config, plain.placement)
        assert "flip" not in {step.operation for step in trainer.augmentation.steps}
        assert len(trainer.augmentation.steps) == len(plain.augmentation.steps) - 1
        assert run_epochs(trainer, toy_tensors([1] * 7))
    assert experiment.Trainer is before
