"""The rate of every step: by hand, against torch's own schedules, with a warm-up, and on from a saved state."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau

from fer_core import catalog
from fer_core.train.optimizer import make_optimizer
from fer_core.train.schedule import Schedule
from tests.toy import toy_classifier, toy_config

pytestmark = pytest.mark.usefixtures("one_thread")

RATE = 0.1
LOSSES = (2.0, 1.5, 1.5, 1.6, 1.4, 1.7, 1.7, 1.7)
"""Of the public split, an epoch each."""


def start(net: nn.Module | None = None, *, steps: int = 4, epochs: int = 4, **config) -> Schedule:
    """A schedule of so many steps an epoch, at its first step; the highest rate is 0.1."""
    values = toy_config(lr=RATE, epochs=epochs, **config)
    return Schedule(make_optimizer(net or nn.Linear(1, 1), values), values, steps, epochs)


def follow(schedule: Schedule, *, steps: int = 4, epochs=range(4)) -> list[list[float]]:
    """The rates of every group at each step of these epochs."""
    used = []
    for epoch in epochs:
        for _ in range(steps):
            used.append([group["lr"] for group in schedule.optimizer.param_groups])
            schedule.optimizer.step()
            schedule.after_step()
        schedule.after_epoch(LOSSES[epoch])
    return used


def rates(*, steps: int = 4, epochs: int = 4, **config) -> list[float]:
    """The rate of each step of a whole training."""
    used = follow(start(steps=steps, epochs=epochs, **config), steps=steps, epochs=range(epochs))
    assert all(len(set(groups)) == 1 for groups in used)
    return [groups[0] for groups in used]


# --- each one by hand -----------------------------------------------------------------------------------------------


def test_every_schedule_of_the_catalog_can_be_made():
    for name in catalog.SCHEDULES:
        assert len(rates(schedule=name)) == 16


def test_constant_stays():
    assert rates(schedule="constant") == [RATE] * 16


def test_cosine_falls_to_nothing_along_half_a_cosine():
    used = rates(schedule="cosine")
    assert used[0] == RATE and used[8] == pytest.approx(RATE / 2)
    assert used[4] == pytest.approx(RATE * (1 + math.sqrt(0.5)) / 2)  # a quarter of the way: cos 45 degrees
    assert used[-1] == pytest.approx(RATE * (1 + math.cos(math.pi * 15 / 16)) / 2) and used[-1] < 0.001
    assert all(a > b for a, b in itertools.pairwise(used))


@pytest.mark.parametrize(("epochs", "drops"), [(4, (8, 12)), (8, (16, 24)), (6, (12, 18)), (3, (6, 9))])
def test_step_divides_by_ten_after_half_and_three_quarters(epochs, drops):
    used = rates(schedule="step", epochs=epochs)
    expected = [RATE * 0.1 ** sum(step >= drop for drop in drops) for step in range(4 * epochs)]
    assert used == pytest.approx(expected)


def test_one_cycle_rises_for_a_quarter_then_falls_to_nothing():
    used = rates(schedule="onecycle", steps=10)
    peak = used.index(max(used))
    assert peak == 9 and used[peak] == pytest.approx(RATE)
    assert all(a < b for a, b in itertools.pairwise(used[: peak + 1]))
    assert all(a > b for a, b in itertools.pairwise(used[peak:]))
    assert used[0] == pytest.approx(RATE / 25) and used[-1] < 1e-5


@pytest.mark.parametrize("total", range(1, 13))
@pytest.mark.parametrize("name", catalog.SCHEDULES)
def test_every_schedule_fits_a_training_of_any_length(name, total):
    used = rates(schedule=name, steps=total, epochs=1)
    assert all(0 < rate <= RATE + 1e-9 for rate in used)
    assert max(used) > 0.07
    assert name != "onecycle" or total == 1 or used[-1] < 1e-5


@pytest.mark.parametrize("name", sorted({*catalog.SCHEDULES} - {"plateau"}))
def test_only_plateau_listens_to_the_public_loss(name):
    schedule = start(schedule=name)
    for _ in range(10):
        schedule.after_epoch(2.0)
    assert schedule.optimizer.param_groups[0]["lr"] == start(schedule=name).optimizer.param_groups[0]["lr"]


def test_plateau_halves_the_rate_after_two_epochs_in_which_the_loss_has_not_fallen():
    used = rates(schedule="plateau", epochs=8)
    # losses 2.0, 1.5, 1.5, 1.6: halved; 1.4, 1.7, 1.7: halved again
    assert used[::4] == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025])
    assert all(len({*used[k : k + 4]}) == 1 for k in range(0, 32, 4)), "within an epoch it stays"


# --- against torch's own --------------------------------------------------------------------------------------------


def torchs(make, *, epochs: int = 4) -> list[float]:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    schedule, used = make(optimizer), []
    for epoch in range(epochs):
        for _ in range(4):
            used.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if not isinstance(schedule, ReduceLROnPlateau) and len(used) < 4 * epochs:
                schedule.step()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(LOSSES[epoch])
    return used


def test_they_are_torchs_own_where_torch_has_one():
    assert rates(schedule="cosine") == pytest.approx(torchs(lambda o: CosineAnnealingLR(o, 16)), rel=1e-6)
    own = torchs(lambda o: OneCycleLR(o, RATE, 16, pct_start=0.25, cycle_momentum=False))
    assert rates(schedule="onecycle") == pytest.approx(own)
    halving = torchs(lambda o: ReduceLROnPlateau(o, factor=0.5, patience=1), epochs=8)
    assert rates(schedule="plateau", epochs=8) == pytest.approx(halving)


# --- warm-up --------------------------------------------------------------------------------------------------------


def test_a_warm_up_rises_evenly_and_ends_at_the_highest_rate():
    used = rates(schedule="constant", warmup_epochs=1)
    assert used == pytest.approx([0.02, 0.04, 0.06, 0.08, *[0.1] * 12])


def test_a_warm_up_may_be_a_part_of_an_epoch():
    assert rates(schedule="constant", warmup_epochs=0.5)[:3] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])


def test_after_the_warm_up_the_schedule_has_the_steps_that_are_left():
    cosine, step = (rates(schedule=name, warmup_epochs=1) for name in ("cosine", "step"))
    assert cosine[:4] == pytest.approx([0.02, 0.04, 0.06, 0.08])
    assert cosine[4:] == pytest.approx([RATE * (1 + math.cos(math.pi * k / 12)) / 2 for k in range(12)])
    assert step[4:] == pytest.approx([0.1] * 6 + [0.01] * 3 + [0.001] * 3)


def test_plateau_warms_up_too_and_listens_only_afterwards():
    used = rates(schedule="plateau", warmup_epochs=2, epochs=8)
    assert used[:8] == pytest.approx([RATE * k / 9 for k in range(1, 9)])
    # the loss is heard from epoch 2 on: 1.5, 1.5, 1.6: halved after epoch 3; 1.4; 1.7, 1.7: halved after epoch 6
    assert used[8::4] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.05, 0.025])


@pytest.mark.parametrize("name", sorted({*catalog.SCHEDULES} - {"onecycle"}))
def test_a_warm_up_longer_than_the_training_rises_to_its_end(name):
    used = rates(schedule=name, warmup_epochs=9, epochs=2)
    assert used == pytest.approx([RATE * k / 9 for k in range(1, 9)])


def test_one_cycle_has_a_warm_up_of_its_own():
    assert rates(schedule="onecycle", warmup_epochs=2) == rates(schedule="onecycle")


# --- several groups, and a state ------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [0, 1.5])
@pytest.mark.parametrize("name", catalog.SCHEDULES)
def test_head_and_backbone_keep_their_ratio(name, warm):
    schedule = start(toy_classifier(), schedule=name, warmup_epochs=warm, backbone_lr=0.2)
    names = [group["name"] for group in schedule.optimizer.param_groups]
    assert names == ["head", "head, no decay", "backbone", "backbone, no decay"]
    for head, head_too, backbone, backbone_too in follow(schedule):
        assert head == head_too and backbone == backbone_too == pytest.approx(0.2 * head, rel=1e-6)


@pytest.mark.parametrize("warm", [0, 1.5])
@pytest.mark.parametrize("epochs_done", [1, 2])
@pytest.mark.parametrize("name", catalog.SCHEDULES)
def test_a_schedule_goes_on_from_its_state(name, epochs_done, warm):
    config = {"schedule": name, "warmup_epochs": warm, "backbone_lr": 0.5, "epochs": 8}
    whole = follow(start(toy_classifier(), **config), epochs=range(8))
    first = start(toy_classifier(), **config)
    used = follow(first, epochs=range(epochs_done))
    second = start(toy_classifier(), **config)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state(first.state())
    assert used + follow(second, epochs=range(epochs_done, 8)) == whole


@pytest.mark.parametrize("steps_done", [1, 5, 7])
@pytest.mark.parametrize("name", catalog.SCHEDULES)
def test_a_schedule_goes_on_in_the_middle_of_an_epoch(name, steps_done):
    config = {"schedule": name, "warmup_epochs": 1.5, "steps": 8, "epochs": 1}
    whole = follow(start(**config), steps=8, epochs=[0])
    first = start(**config)
    used = []
    for _ in range(steps_done):
        used.append([group["lr"] for group in first.optimizer.param_groups])
        first.optimizer.step()
        first.after_step()
    second = start(**config)
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state(first.state())
    assert used + follow(second, steps=8 - steps_done, epochs=[0]) == whole


def test_a_state_of_another_kind_is_refused():
    with pytest.raises((KeyError, TypeError)):
        start(schedule="onecycle").load_state({})
