"""Groups of weights with rates and decay of their own, and one step of each optimizer worked out by hand."""

import copy

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW

from fer_core import catalog
from fer_core.models import create_model
from fer_core.train.optimizer import make_optimizer
from tests.toy import ToyNet, toy_classifier, toy_config

pytestmark = pytest.mark.usefixtures("one_thread")


def groups(model: nn.Module, **config):
    """Name of each group -> its settings, with the names of its weights."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, toy_config(**config))
    found = {
        group["name"]: {**group, "params": [names[id(p)] for p in group["params"]]} for group in optimizer.param_groups
    }
    assert len(found) == len(optimizer.param_groups), "every group has a name of its own"
    return found


def held(found) -> list[str]:
    return sorted(name for group in found.values() for name in group["params"])


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", catalog.OPTIMIZERS)
@pytest.mark.parametrize("name", ["small", "cnn6", "resnet18", "mobilenet-v3-small"])
def test_every_weight_stands_in_one_group_and_no_weight_in_two(name, optimizer):
    model = create_model(name, head_hidden=8, head_batch_norm=True)
    found = groups(model, optimizer=optimizer)
    assert held(found) == sorted(name for name, _ in model.named_parameters())
    head = {f"net.{model.head_name}.{name}" for name, _ in model.head.named_parameters()}
    assert {*found["head"]["params"], *found["head, no decay"]["params"]} == head


@pytest.mark.parametrize("optimizer", catalog.OPTIMIZERS)
def test_head_and_backbone_have_their_own_rates_and_matrices_alone_decay(optimizer):
    found = groups(toy_classifier(), optimizer=optimizer, lr=0.02, backbone_lr=0.25, weight_decay=0.5)
    assert {name: (group["lr"], group["weight_decay"]) for name, group in found.items()} == {
        "head": (0.02, 0.5),
        "head, no decay": (0.02, 0.0),
        "backbone": (0.005, 0.5),
        "backbone, no decay": (0.005, 0.0),
    }
    assert found["head"]["params"] == ["net.head.0.weight", "net.head.3.weight"]
    assert found["backbone"]["params"] == ["net.block1.0.weight", "net.block2.0.weight"]
    assert set(found["backbone, no decay"]["params"]) == {
        f"net.block{k}.{name}" for k in (1, 2) for name in ("0.bias", "1.weight", "1.bias")
    }


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_backbone_may_stand_still_or_learn_like_the_head(share):
    found = groups(toy_classifier(), lr=0.1, backbone_lr=share)
    assert found["backbone"]["lr"] == pytest.approx(0.1 * share) and found["head"]["lr"] == 0.1


def test_a_net_that_does_not_tell_its_head_is_all_head():
    assert set(groups(ToyNet(), backbone_lr=0.1)) == {"head", "head, no decay"}


@pytest.mark.parametrize("optimizer", catalog.OPTIMIZERS)
def test_frozen_weights_stand_in_no_group(optimizer):
    found = groups(toy_classifier("block2"), optimizer=optimizer)
    assert held(found) == sorted(
        name for name, _ in toy_classifier().named_parameters() if not name.startswith("net.block1.")
    )


def test_a_backbone_that_is_frozen_whole_has_no_group():
    assert set(groups(toy_classifier("dropout"))) == {"head", "head, no decay"}


def test_held_weights_are_let_go_before_they_are_trained():
    model = toy_classifier("block2")
    made_free = groups(model)
    model.hold_backbone(True)
    assert not model.net.block2[0].weight.requires_grad
    model.hold_backbone(False)
    assert groups(model) == made_free and "net.block2.0.weight" in made_free["backbone"]["params"]


# --- steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalog.OPTIMIZERS)
def test_biases_and_norms_are_not_decayed_and_everything_else_is(name):
    model = create_model("small")
    optimizer = make_optimizer(model, toy_config(optimizer=name, lr=1e-4, weight_decay=0.5))
    for p in model.parameters():
        p.data.add_(0.01)  # decay could not move the biases from the zero that some of them start with
        p.grad = torch.zeros_like(p)
    before = {key: p.detach().clone() for key, p in model.named_parameters()}
    optimizer.step()  # without a gradient, only decay moves a weight
    shrunk = {key for key, p in model.named_parameters() if p.abs().sum() < before[key].abs().sum()}
    kept = {key for key, p in model.named_parameters() if torch.equal(p, before[key])}
    assert shrunk | kept == before.keys()
    modules = dict(model.named_modules())
    no_scale = {k for k in before if k.endswith("bias") or isinstance(modules[k.rpartition(".")[0]], nn.BatchNorm2d)}
    assert kept == no_scale and len(no_scale) > 10


def test_sgd_takes_the_steps_of_nesterov_momentum():
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = make_optimizer(model, toy_config(optimizer="sgd", lr=0.1, weight_decay=0.0))
    places = []
    for _ in range(2):
        model.weight.grad = torch.ones(1, 1)
        optimizer.step()
        places.append(model.weight.item())
    # velocity 1, then 1.9; each step is lr * (gradient + 0.9 * velocity)
    assert places == pytest.approx([-0.19, -0.19 - 0.1 * (1 + 0.9 * 1.9)])


def one_step(optimizer: str, weight: float, gradient: float, decay: float) -> float:
    """Where a single weight is after the first step at rate 0.1."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, weight)
    made = make_optimizer(model, toy_config(optimizer=optimizer, lr=0.1, weight_decay=decay))
    model.weight.grad = torch.full((1, 1), gradient)
    made.step()
    return model.weight.item()


def test_sgd_adds_the_decay_to_the_gradient():
    # gradient 7 + 0.5 * 1; Nesterov's first step is 1.9 of it
    assert one_step("sgd", weight=1.0, gradient=7.0, decay=0.5) == pytest.approx(1 - 0.1 * 1.9 * 7.5, abs=1e-5)


def test_adam_adds_the_decay_to_the_gradient():
    # Adam's first step is the rate times the sign of what it is given: -0.3 + 0.5 * 1 is positive, -0.7 + 0.5 is not.
    assert one_step("adam", weight=1.0, gradient=-0.3, decay=0.5) == pytest.approx(0.9, abs=1e-5)
    assert one_step("adam", weight=1.0, gradient=-0.7, decay=0.5) == pytest.approx(1.1, abs=1e-5)


def test_adamw_takes_steps_of_the_learning_rate_and_decays_apart_from_them():
    assert one_step("adamw", weight=1.0, gradient=7.0, decay=0.5) == pytest.approx(1 - 0.1 * 0.5 - 0.1, abs=1e-5)
    assert one_step("adamw", weight=1.0, gradient=-0.3, decay=0.5) == pytest.approx(1 - 0.1 * 0.5 + 0.1, abs=1e-5)


@pytest.mark.parametrize(("name", "plain"), [("sgd", SGD), ("adam", Adam), ("adamw", AdamW)])
def test_one_pass_over_the_weights_takes_the_plain_step_whatever_their_layout(name, plain):
    ours = create_model("small").to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    more = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    one = make_optimizer(ours, toy_config(optimizer=name, lr=0.01, weight_decay=0.0))
    other = plain(theirs.parameters(), lr=0.01, foreach=False, fused=False, weight_decay=0.0, **more)
    faces = torch.rand(8, 1, 48, 48, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        ours(faces).square().sum().backward()
        for p, own in zip(theirs.parameters(), ours.parameters(), strict=True):
            p.grad = own.grad.clone()
        one.step()
        other.step()
        one.zero_grad()
    for p, own in zip(theirs.parameters(), ours.parameters(), strict=True):
        assert torch.allclose(p, own, rtol=1e-5, atol=1e-6)
