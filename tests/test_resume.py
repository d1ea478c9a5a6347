"""Stop and resume: weights, average and history are, bit for bit, those of a training that was never interrupted."""

import functools
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fer_core import catalog
from fer_core.errors import RunError
from fer_core.labels import EMOTIONS
from fer_core.models import create_model
from fer_core.runs import EpochRecord
from fer_core.train.loop import FaceTensors, Trainer
from fer_core.train.placement import Placement, keep_depthwise_in_float32
from tests.toy import (
    CPU_BF16,
    CPU_FP32,
    bits,
    everything,
    never,
    run_epochs,
    stop_at,
    through_disk,
    toy_classifier,
    toy_config,
    toy_tensors,
    toy_trainer,
)

pytestmark = pytest.mark.usefixtures("one_thread")

_PLAIN_FACES = toy_tensors([6] * 7)
_OWN = F.one_hot(_PLAIN_FACES.labels_N, 7).float()
TRAIN = FaceTensors(_PLAIN_FACES.images_NHW, _PLAIN_FACES.labels_N, 0.6 * _OWN + 0.4 * _OWN.roll(1, 1))
"""42 faces: batches of 16, 16 and 10. Three epochs are nine steps."""
PUBLIC = toy_tensors([2] * 7, seed=1)

EVERY_OPERATION = ",".join(
    name + (f":{entry.default}" if entry.high else "") + "@0.6" for name, entry in catalog.AUGMENT_OPERATIONS.items()
).split(",")
PARTS: dict[str, dict[str, Any]] = {
    f"{optimizer}-{schedule}": {"optimizer": optimizer, "schedule": schedule, "lr": 0.01, "warmup_epochs": 1.3}
    for optimizer in catalog.OPTIMIZERS
    for schedule in catalog.SCHEDULES
}
VARIANTS: dict[str, dict[str, Any]] = PARTS | {
    "mixup": {"mixup": 0.4},
    "no average": {"ema_decay": 0.0},
    "head first": {"head_first_epochs": 2, "optimizer": "adamw", "backbone_lr": 0.1},
    "head first, frozen": {"head_first_epochs": 1, "freeze_until": "block2", "optimizer": "adam"},
    "frozen": {"freeze_until": "block2"},
    "frozen whole": {"freeze_until": "dropout", "backbone_lr": 0.1},
    "sampler": {"balance": "sampler"},
    "loss weights": {"balance": "weights", "clip_norm": 0.5},
    "every operation": {"augment_steps": EVERY_OPERATION, "augment_share": 0.8, "image_size": 24},
    "drawn labels": {"labels": "probability"},
    "all at once": {
        "mixup": 0.4, "head_first_epochs": 1, "freeze_until": "block1.1", "optimizer": "adamw", "schedule": "cosine",
        "warmup_epochs": 0.5, "balance": "sampler", "augment_steps": EVERY_OPERATION, "clip_norm": 1.0,
        "labels": "crossentropy", "backbone_lr": 0.3, "lr": 0.01,
    },
}  # fmt: skip
STOPS = {
    "mid-epoch": [5],
    "before the evaluation": [3],
    "between epochs": [-1],
    "often": [1, 3, 4, -2, 8],
}
"""Steps after which it stops; -n: after the evaluation of epoch n, as a killed training goes on."""


def made(config: Any, placement: Placement) -> Trainer:
    freeze = None if config.freeze_until == "none" else config.freeze_until
    return toy_trainer(config, TRAIN, placement, net=lambda: toy_classifier(freeze))


@functools.cache
def uninterrupted(variant: str, placement: Placement) -> dict[str, Any]:
    trainer = made(toy_config(epochs=3, **VARIANTS[variant]), placement)
    return everything(trainer, run_epochs(trainer, PUBLIC))


def until(trainer: Trainer, stop: int) -> Iterator[EpochRecord]:
    """The records up to a stop of `STOPS`."""
    if stop < 0:
        yield from islice(trainer.epochs(PUBLIC, EMOTIONS, never), -stop - trainer.epochs_done)
        return
    yield from trainer.epochs(PUBLIC, EMOTIONS, stop_at(trainer, stop))
    assert trainer.stopped and trainer.step == stop


def interrupted(variant: str, placement: Placement, stops: list[int], folder: Path) -> dict[str, Any]:
    config = toy_config(epochs=3, **VARIANTS[variant])
    freeze = None if config.freeze_until == "none" else config.freeze_until
    trainer, records = made(config, placement), []
    for stop in stops:
        records += list(until(trainer, stop))
        trainer = through_disk(trainer, config, folder, net=lambda: toy_classifier(freeze))
    records += run_epochs(trainer, PUBLIC)
    assert not trainer.stopped and len(records) == 3
    return everything(trainer, records)


CASES = {
    f"{variant} {name}": (variant, stops)
    for variant in VARIANTS
    for name, stops in STOPS.items()
    if name == "often" or variant not in PARTS  # "often" has every kind of stop
}


@pytest.mark.parametrize(("variant", "stops"), CASES.values(), ids=CASES)
def test_a_stopped_and_resumed_training_is_bit_for_bit_the_uninterrupted_one(tmp_path, variant, stops):
    assert interrupted(variant, CPU_FP32, stops, tmp_path) == uninterrupted(variant, CPU_FP32)


@pytest.mark.parametrize("stops", STOPS.values(), ids=STOPS)
@pytest.mark.parametrize("variant", ["sgd-onecycle", "adamw-plateau", "all at once"])
def test_so_it_is_in_bf16(tmp_path, variant, stops):
    assert interrupted(variant, CPU_BF16, stops, tmp_path) == uninterrupted(variant, CPU_BF16)


def test_the_variants_are_different_trainings():
    variants = [name for name in VARIANTS if not name.endswith("-plateau")]  # which is constant for so few epochs
    weights = {str(uninterrupted(variant, CPU_FP32)["state"]["model"]) for variant in variants}
    assert len(weights) == len(variants)


@pytest.mark.parametrize("placement", [CPU_FP32, CPU_BF16], ids=str)
@pytest.mark.parametrize("name", ["small", "mobilenet-v3-small"])
def test_real_nets_resume_bit_for_bit_too(tmp_path, name, placement):
    config = toy_config(epochs=2, batch_size=8)
    side = 24 if name == "small" else 32
    faces, public = toy_tensors([2] * 7, side=side), toy_tensors([1] * 7, side=side, seed=1)

    def net() -> nn.Module:
        model = create_model(name, image_size=side)
        keep_depthwise_in_float32(model, placement)
        return model

    whole = toy_trainer(config, faces, placement, net=net)
    expected = everything(whole, run_epochs(whole, public))
    first = toy_trainer(config, faces, placement, net=net)
    records = run_epochs(first, public, stop_at(first, 1))
    second = through_disk(first, config, tmp_path, net=net)
    assert everything(second, records + run_epochs(second, public)) == expected


# --- head first -----------------------------------------------------------------------------------------------------


def moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """The parts of the net of which a weight or a running statistic changed."""
    return {key.split(".")[1] for key in before if bits(before[key]) != bits(after[key])}


def snapshot(trainer: Trainer) -> dict[str, Any]:
    return {key: value.clone() for key, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize("optimizer", catalog.OPTIMIZERS)
def test_head_first_holds_the_backbone_with_its_statistics_and_then_lets_it_go(optimizer):
    config = toy_config(epochs=4, head_first_epochs=2, optimizer=optimizer, schedule="constant", weight_decay=0.1)
    trainer = toy_trainer(config, TRAIN, net=toy_classifier)
    places = [snapshot(trainer)]
    for _ in trainer.epochs(PUBLIC, EMOTIONS, never):
        places.append(snapshot(trainer))
    first, second, third, fourth = (moved(*pair) for pair in pairwise(places))
    assert first == second == {"head"}
    assert third == fourth == {"head", "block1", "block2"}


def test_the_backbone_is_let_go_at_the_very_epoch_also_after_a_resume(tmp_path):
    config = toy_config(epochs=3, head_first_epochs=1)
    first = toy_trainer(config, TRAIN, net=toy_classifier)
    start = snapshot(first)
    run_epochs(first, PUBLIC, stop_at(first, 3))
    assert moved(start, snapshot(first)) == {"head"}
    second = through_disk(first, config, tmp_path, net=toy_classifier)
    run_epochs(second, PUBLIC, stop_at(second, 4))
    assert moved(start, snapshot(second)) == {"head", "block1", "block2"}


@pytest.mark.parametrize("head_first", [0, 1])
def test_what_is_frozen_stays_so_with_its_statistics_before_and_after_head_first(head_first):
    config = toy_config(epochs=3, head_first_epochs=head_first, weight_decay=0.1)
    trainer = toy_trainer(config, TRAIN, net=lambda: toy_classifier("block2"))
    start = snapshot(trainer)
    run_epochs(trainer, PUBLIC)
    assert moved(start, snapshot(trainer)) == {"head", "block2"}
    assert not trainer.model.net.block1[1].training and trainer.model.net.block2[1].training


# --- where it goes on -----------------------------------------------------------------------------------------------


def test_a_training_goes_on_from_the_checkpoint_of_its_last_epoch_when_it_was_killed(tmp_path):
    config = toy_config(epochs=3)
    whole = toy_trainer(config, TRAIN)
    expected = everything(whole, run_epochs(whole, PUBLIC))
    killed, records = toy_trainer(config, TRAIN), []
    epochs = killed.epochs(PUBLIC, EMOTIONS, lambda share: killed.step == 8)
    records.append(next(epochs))
    survivor = through_disk(killed, config, tmp_path)
    assert list(epochs) != [], "the killed one was in its third epoch"
    assert everything(survivor, records + run_epochs(survivor, PUBLIC)) == expected


def test_a_stop_after_the_very_last_batch_is_the_end_of_the_training():
    trainer = toy_trainer(toy_config(epochs=2), TRAIN)
    assert len(run_epochs(trainer, PUBLIC, stop_at(trainer, 6))) == 2 and not trainer.stopped


def test_a_stop_is_heard_at_the_next_batch_and_the_share_done_is_told():
    trainer, shares = toy_trainer(toy_config(epochs=2), TRAIN), []
    assert run_epochs(trainer, PUBLIC, lambda share: shares.append(share) or len(shares) == 2) == []
    assert trainer.stopped and trainer.step == 2 and shares == pytest.approx([1 / 6, 2 / 6])


def test_time_counts_on_after_a_resume(tmp_path):
    config = toy_config(epochs=2)
    first = toy_trainer(config, TRAIN)
    (before,) = run_epochs(first, PUBLIC, stop_at(first, 4))
    first.wall_s += 1000
    (after,) = run_epochs(through_disk(first, config, tmp_path), PUBLIC)
    assert after.wall_s > before.wall_s + 1000


# --- what does not fit ----------------------------------------------------------------------------------------------


def test_a_checkpoint_of_version_0_2_is_refused():
    trainer = toy_trainer(toy_config(), TRAIN)
    state = trainer.state()
    del state["plan"]["groups"]
    with pytest.raises(RunError) as caught:
        toy_trainer(toy_config(), TRAIN).load_state(state)
    assert str(caught.value) == "the checkpoint was written by version 0.2 or older; train the run anew."


def test_a_checkpoint_of_other_groups_is_refused_by_their_names():
    state = toy_trainer(toy_config(), TRAIN, net=toy_classifier).state()
    with pytest.raises(RunError) as caught:
        toy_trainer(toy_config(), TRAIN, net=lambda: toy_classifier("dropout")).load_state(state)
    assert str(caught.value) == (
        "the checkpoint belongs to another configuration (groups is "
        "['head', 'head, no decay', 'backbone', 'backbone, no decay'], expected ['head', 'head, no decay'])."
    )


def test_resuming_draws_what_it_draws_from_the_seed_and_the_step_alone(tmp_path):
    config = toy_config(epochs=3, mixup=0.4)
    whole = toy_trainer(config, TRAIN, net=toy_classifier)
    expected = everything(whole, run_epochs(whole, PUBLIC))
    first = toy_trainer(config, TRAIN, net=toy_classifier)
    records = run_epochs(first, PUBLIC, stop_at(first, 4))
    second = through_disk(first, config, tmp_path, net=toy_classifier)
    torch.manual_seed(123456)  # what the process drew meanwhile
    second._generator.manual_seed(654321)
    assert everything(second, records + run_epochs(second, PUBLIC)) == expected
