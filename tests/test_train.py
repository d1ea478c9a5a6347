"""The loop and its parts: loss, placement, weight averaging, the best epoch, the ends of a training, checkpoints."""

import copy
import itertools
import math
import os
import pickle
import platform
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_core.balance import Balance
from fer_core.errors import ConfigError, RunError
from fer_core.evaluate import Report, evaluate
from fer_core.labels import EMOTIONS
from fer_core.losses import OBJECTIVES, weighted_cross_entropy
from fer_core.models import FaceClassifier
from fer_core.models.residual import FaceResNet
from fer_core.train import loop
from fer_core.train import placement as placement_module
from fer_core.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from fer_core.train.loop import FaceTensors, Trainer, predict_logits, to_floats
from fer_core.train.optimizer import make_average
from fer_core.train.placement import Placement, choose_placement, keep_depthwise_in_float32, keep_freed_memory
from tests.toy import (
    CPU_BF16,
    CPU_FP32,
    ToyNet,
    bits,
    never,
    run_epochs,
    stop_at,
    through_disk,
    toy_config,
    toy_tensors,
    toy_trainer,
)

EVEN = [6] * 7
TRAIN = toy_tensors(EVEN)
"""42 faces: batches of 16, 16 and 10."""
PUBLIC = toy_tensors([2] * 7, seed=1)
PLAIN = {"augment": "none", "ema_decay": 0.0}


pytestmark = pytest.mark.usefixtures("one_thread")


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_the_loss_of_an_undecided_net_is_log_k():
    loss = weighted_cross_entropy(torch.zeros(3, 7), torch.tensor([0, 3, 6]), torch.ones(7), 0.0)
    assert loss.item() == pytest.approx(math.log(7))


def test_smoothing_spreads_its_share_of_the_target_over_all_classes():
    logits = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/4 and 3/4
    loss = weighted_cross_entropy(logits, torch.tensor([1]), torch.ones(2), 0.1)
    assert loss.item() == pytest.approx(-(0.05 * math.log(0.25) + 0.95 * math.log(0.75)))


def test_a_class_weight_counts_its_faces_that_often():
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, math.log(3.0)]])
    loss = weighted_cross_entropy(logits, torch.tensor([0, 1]), torch.tensor([3.0, 1.0]), 0.0)
    assert loss.item() == pytest.approx(-(3 * math.log(0.25) + math.log(0.75)) / 4)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_agrees_with_the_formula(smoothing):
    rng = np.random.default_rng(0)
    logits, labels, weights = rng.normal(size=(20, 7)), rng.integers(0, 7, 20), rng.uniform(0.2, 3, 7)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    own = -log_p[np.arange(20), labels] * weights[labels]
    spread = -(log_p * weights).mean(1)
    expected = ((1 - smoothing) * own + smoothing * spread).sum() / weights[labels].sum()
    found = weighted_cross_entropy(torch.tensor(logits), torch.tensor(labels), torch.tensor(weights).float(), smoothing)
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_bf16_logits_is_computed_in_float32():
    logits = torch.tensor([[0.0, 4.0], [3.0, 0.0]], dtype=torch.bfloat16)
    labels = torch.tensor([0, 0])
    loss = weighted_cross_entropy(logits, labels, torch.ones(2), 0.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx((math.log(1 + math.exp(4)) + math.log(1 + math.exp(-3))) / 2, rel=1e-6)


# --- placement --------------------------------------------------------------------------------------------------------


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, bf16: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: bf16, raising=False)


@pytest.mark.parametrize("cuda", [True, False])
@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16"])
def test_placement_takes_what_was_asked_for_or_the_best_there_is(monkeypatch, cuda, device, bf16, precision):
    pretend(monkeypatch, cuda=cuda, bf16=bf16)
    if device == "cuda" and not cuda:
        with pytest.raises(ConfigError) as caught:
            choose_placement(device, precision)
        assert str(caught.value) == (
            "--device cuda: this machine has no CUDA device that torch can use; leave --device out."
        )
        return
    placement = choose_placement(device, precision)
    expected_device = "cuda" if cuda and device != "cpu" else "cpu"
    expected_bf16 = {"auto": bf16, "fp32": False, "bf16": True}[precision]
    assert (placement.device.type, placement.bf16) == (expected_device, expected_bf16)
    unit = "tensor cores" if expected_device == "cuda" else "AMX"
    paths = {
        (True, True): f"bf16 ({unit})", (True, False): "bf16 (emulated)",
        (False, True): "fp32", (False, False): "fp32 (no bf16 unit)",
    }  # fmt: skip
    assert str(placement) == f"{expected_device} {paths[expected_bf16, bf16]}"


def test_what_a_gpu_still_computes_after_the_last_step_counts_as_the_epochs_time(monkeypatch):
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: time.sleep(0.2))
    assert CPU_FP32.wait() == 0.0
    assert Placement(torch.device("cuda"), bf16=True).wait() >= 0.2

    class Waited(Placement):
        def wait(self) -> float:
            return 1000.0

    trainer = toy_trainer(toy_config(), TRAIN, Waited(torch.device("cpu"), bf16=False))
    first, second = run_epochs(trainer, PUBLIC)
    assert 1000 <= first.wall_s < 1500 and 2000 <= second.wall_s < 2500
    assert second.images_per_s == pytest.approx(len(TRAIN) / 1000, rel=0.4)


_BORROWED_AGAIN = """
import resource, sys
import numpy as np
from fer_core.train.placement import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
np.ones(64 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(64 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_memory_that_is_freed_is_used_again_without_asking_the_system():
    """Ten blocks of 64 MB, one after the other: each page that the system hands out is a fault."""

    def faults(how: str) -> int:
        command = [sys.executable, "-c", _BORROWED_AGAIN, how]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("kept") * 10 < faults("given back")


def test_elsewhere_keeping_memory_does_nothing(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(placement_module, "ctypes", None)
    keep_freed_memory()


@pytest.mark.parametrize(("placement", "dtype"), [(CPU_FP32, torch.float32), (CPU_BF16, torch.bfloat16)])
def test_autocast_computes_in_the_placements_precision(placement, dtype):
    with placement.autocast():
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


def test_training_runs_in_bf16_and_evaluation_in_float32():
    dtypes: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    trainer = toy_trainer(toy_config(epochs=1, ema_decay=0.0), TRAIN, CPU_BF16)
    trainer.model.head.register_forward_hook(lambda module, inputs, output: dtypes[module.training].add(output.dtype))
    run_epochs(trainer, PUBLIC)
    assert dtypes == {True: {torch.bfloat16}, False: {torch.float32}}


# --- depthwise convolutions -----------------------------------------------------------------------------------------


class Depthwise(nn.Module):
    """A depthwise convolution between two others, one of them grouped; a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.head = nn.Linear(8, 7)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.grouped(self.deep(self.first(x_BCHW).relu())).mean((2, 3)))


def depthwise(placement: Placement) -> Depthwise:
    torch.manual_seed(3)
    net = Depthwise()
    keep_depthwise_in_float32(net, placement)
    return net


def dtypes_in_bf16(net: nn.Module) -> dict[str, torch.dtype]:
    found: dict[str, torch.dtype] = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda module, inputs, output, name=name: found.update({name: output.dtype}))
    with CPU_BF16.autocast():
        net(torch.rand(2, 1, 12, 12))
    return found


def test_in_bf16_depthwise_convolutions_alone_are_computed_in_float32():
    bf16, fp32 = torch.bfloat16, torch.float32
    assert dtypes_in_bf16(depthwise(CPU_FP32)) == dict.fromkeys(("first", "deep", "grouped", "head"), bf16)
    assert dtypes_in_bf16(depthwise(CPU_BF16)) == {"first": bf16, "deep": fp32, "grouped": bf16, "head": bf16}


@pytest.mark.parametrize("placement", [CPU_FP32, Placement(torch.device("cuda"), bf16=True)], ids=str)
def test_elsewhere_nothing_changes(placement):
    assert {type(module) for module in depthwise(placement).children()} == {nn.Conv2d, nn.Linear}


def test_a_net_kept_in_float32_answers_and_learns_as_before():
    faces = torch.rand(4, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    kept, plain = depthwise(CPU_BF16), depthwise(CPU_FP32)
    assert torch.equal(kept(faces), plain(faces)), "outside of autocast nothing is another"
    for net in (kept, plain):
        with CPU_BF16.autocast():
            net(faces).float().square().mean().backward()
    with CPU_BF16.autocast():
        torch.testing.assert_close(kept(faces), plain(faces), atol=0.02, rtol=0.02)
    for kept_p, plain_p in zip(kept.parameters(), plain.parameters(), strict=True):
        assert kept_p.grad.dtype == torch.float32
        assert (kept_p.grad - plain_p.grad).norm() <= 0.05 * plain_p.grad.norm() + 1e-4


def test_a_net_kept_in_float32_can_be_copied_saved_and_restored():
    kept, plain = depthwise(CPU_BF16), Depthwise()
    plain.load_state_dict(kept.state_dict())
    assert bits(plain.state_dict()) == bits(kept.state_dict()) and isinstance(kept.deep, nn.Conv2d)
    average = make_average(kept, 0.9)
    average.update_parameters(kept)
    assert dtypes_in_bf16(average.module)["deep"] == torch.float32
    again = copy.deepcopy(kept)
    assert bits(again.state_dict()) == bits(kept.state_dict()) and again.deep.weight is not kept.deep.weight
    assert type(again.deep) is type(kept.deep)


# --- weight averaging -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [0.998, 0.25])
def test_the_average_equals_one_made_by_hand(decay):
    trainer = toy_trainer(toy_config(epochs=3, ema_decay=decay), TRAIN)
    expected: dict[str, Tensor] = {}

    def follow(share: float) -> bool:
        t = trainer.step - 1  # updates before this one
        weight = min(decay, (1 + t) / (10 + t)) if t else 0.0  # the first update copies
        for key, now in trainer.model.state_dict().items():
            value = now.double() if now.is_floating_point() else now.clone()
            mixes = t and now.is_floating_point()
            expected[key] = weight * expected[key] + (1 - weight) * value if mixes else value
        return False

    run_epochs(trainer, PUBLIC, follow)
    averaged = trainer.evaluated_model.state_dict()
    assert averaged.keys() == expected.keys() and "norm.running_var" in expected
    assert all((averaged[key] - expected[key]).abs().max() < 1e-5 for key in expected)
    assert averaged["norm.num_batches_tracked"].item() == 9
    assert not torch.equal(averaged["head.weight"], trainer.model.head.weight)


def test_averaging_reads_nothing_back_from_the_device():
    """On `meta` tensors have no values: to ask for one is an error, as on a GPU it would be a wait."""
    model = ToyNet().to("meta")
    average = make_average(model, 0.9)
    for _ in range(3):
        average.update_parameters(model)
    assert average.n_averaged.item() == 3


def test_without_a_decay_there_is_no_average():
    trainer = toy_trainer(toy_config(ema_decay=0.0), TRAIN)
    assert trainer.evaluated_model is trainer.model and make_average(trainer.model, 0.0) is None


# --- the loop ---------------------------------------------------------------------------------------------------------


def test_one_record_an_epoch_with_every_field_in_its_place():
    config = toy_config(epochs=4, augment="none", ema_decay=0.3)
    trainer = toy_trainer(config, TRAIN)
    judged = []
    for record in trainer.epochs(PUBLIC, EMOTIONS, never):
        logits = predict_logits(trainer.evaluated_model, PUBLIC.images_NHW).numpy()
        report = evaluate(logits, PUBLIC.labels_N.numpy(), EMOTIONS)
        judged.append((report.log_loss, report.accuracy, report.macro_f1))
        assert record.lr == trainer.optimizer.param_groups[0]["lr"]
        assert record.epoch == trainer.epochs_done
    records = run_epochs(toy_trainer(config, TRAIN), PUBLIC)
    assert [r.epoch for r in records] == [1, 2, 3, 4]
    assert [(r.public_loss, r.public_accuracy, r.public_macro_f1) for r in records] == judged
    assert all(0 < r.train_loss < 5 and 0 <= r.train_accuracy <= 1 and r.images_per_s > 0 for r in records)
    assert 0 < records[0].wall_s < records[1].wall_s < records[2].wall_s < records[3].wall_s
    assert records[-1].lr < 1e-4 and trainer.step == 12 and not trainer.stopped


def test_it_learns_what_is_easy():
    trainer = toy_trainer(toy_config(epochs=8, **PLAIN), TRAIN)
    first, *_, last = run_epochs(trainer, PUBLIC)
    assert last.train_loss < 0.8 * first.train_loss and last.public_accuracy > 0.9 and last.train_accuracy > 0.9


def test_train_loss_and_accuracy_are_means_over_faces_not_over_batches():
    # The weights stand still, so that every face costs the same at any time: the mean over all 42 at once.
    config = toy_config(epochs=1, lr=1e-30, weight_decay=0.0, label_smoothing=0.1, **PLAIN)
    trainer = toy_trainer(config, TRAIN, net=lambda: ToyNet(plain=True))
    (record,) = run_epochs(trainer, PUBLIC)
    with torch.no_grad():
        logits = trainer.model(to_floats(TRAIN.images_NHW))
    expected = F.cross_entropy(logits, TRAIN.labels_N, label_smoothing=0.1).item()
    assert record.train_loss == pytest.approx(expected, rel=1e-5)
    assert record.train_accuracy == pytest.approx((logits.argmax(1) == TRAIN.labels_N).float().mean().item())
    batches = [
        F.cross_entropy(logits[rows], TRAIN.labels_N[rows], label_smoothing=0.1).item() for rows in orders(config)
    ]
    assert abs(np.mean(batches) - expected) > 1e-4 * expected, "the check could not tell the two means apart"


def orders(config: Any, epochs: int = 1) -> list[Tensor]:
    """The rows of each batch, as a training asks for them."""
    faces = Spied(TRAIN.images_NHW, TRAIN.labels_N)
    run_epochs(toy_trainer(config, faces, net=lambda: ToyNet(plain=True)), PUBLIC)
    return faces.asked


@dataclass(frozen=True)
class Spied(FaceTensors):
    """Faces that remember which rows were asked for."""

    asked: list[Tensor] = field(default_factory=list)

    def batch(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        self.asked.append(rows_B)
        return super().batch(rows_B)


def test_without_balancing_each_row_is_visited_once_an_epoch_in_an_order_of_its_own():
    batches = orders(toy_config(epochs=2, **PLAIN))
    assert [len(rows) for rows in batches] == [16, 16, 10] * 2
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(42))
    assert first.tolist() != second.tolist() and first.tolist() != list(range(42))


def test_the_order_depends_on_the_seed_alone():
    order = [torch.cat(orders(toy_config(seed=seed, lr=lr))).tolist() for seed, lr in ((1, 0.1), (1, 0.01), (2, 0.1))]
    assert order[0] == order[1] != order[2]


@pytest.mark.parametrize(("alpha", "rare_share"), [(0.0, 0.2), (0.5, 1 / 3), (1.0, 0.5)])
def test_the_sampler_draws_classes_by_their_mix_and_rows_of_a_class_evenly(alpha, rare_share):
    # 80 and 20 faces: the mix is n^(1 - alpha), so 80 : 20, then sqrt 2 : 1, then 1 : 1.
    source = toy_tensors([80, 20], side=4)
    faces = Spied(source.images_NHW, source.labels_N)
    config = toy_config(epochs=40, balance="sampler", balance_alpha=alpha, batch_size=50, **PLAIN)
    run_epochs(toy_trainer(config, faces, net=lambda: ToyNet(2, 4, plain=True)), toy_tensors([2, 2], side=4))
    drawn = torch.cat(faces.asked)
    assert len(drawn) == 4000
    share = (drawn >= 80).float().mean().item()
    assert abs(share - rare_share) < 5 * math.sqrt(rare_share * (1 - rare_share) / 4000)
    for rows in (range(80), range(80, 100)):
        visits = torch.bincount(drawn, minlength=100)[rows.start : rows.stop].double()
        assert (visits - visits.mean()).abs().max() < 5 * visits.mean().sqrt()


@pytest.mark.parametrize("balance", ["none", "weights"])
def test_class_weights_reach_the_loss(monkeypatch, balance):
    seen = []
    monkeypatch.setitem(loop.OBJECTIVES, "fer", lambda *a: seen.append((a[2], a[3])) or weighted_cross_entropy(*a))
    counts = [16, 4, 4, 4, 4, 4, 4]
    run_epochs(toy_trainer(toy_config(epochs=1, balance=balance, label_smoothing=0.3), toy_tensors(counts)), PUBLIC)
    raw = [1 / 4, *[1 / 2] * 6]  # n^-0.5
    expected = [w / np.mean(raw) for w in raw] if balance == "weights" else [1.0] * 7
    assert all(weights.tolist() == pytest.approx(expected) and smoothing == 0.3 for weights, smoothing in seen)
    assert len(seen) == 3


def inputs_by_mode(config: Any) -> dict[bool, list[Tensor]]:
    """What the model was given in training mode and in evaluation mode."""
    seen: dict[bool, list[Tensor]] = {True: [], False: []}
    trainer = toy_trainer(config, TRAIN)
    trainer.model.register_forward_pre_hook(lambda module, inputs: seen[module.training].append(inputs[0].clone()))
    run_epochs(trainer, PUBLIC)
    return seen


def test_training_augments_and_evaluation_does_not():
    seen = inputs_by_mode(toy_config(epochs=2, augment="standard", ema_decay=0.0))
    clean = to_floats(PUBLIC.images_NHW)
    assert len(seen[False]) == 2 and all(torch.equal(images, clean) for images in seen[False])
    originals = {image.numpy().tobytes() for image in to_floats(TRAIN.images_NHW)}
    fed = [image.contiguous().numpy().tobytes() for batch in seen[True] for image in batch]
    assert len(fed) == 84 and len(set(fed)) == 84 and not originals & set(fed)


def test_without_augmentation_training_sees_each_face_as_it_is():
    seen = inputs_by_mode(toy_config(epochs=1, **PLAIN))
    fed = {image.contiguous().numpy().tobytes() for batch in seen[True] for image in batch}
    assert fed == {image.numpy().tobytes() for image in to_floats(TRAIN.images_NHW)}


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_clipping_bounds_the_norm_of_the_gradient(clip):
    norms = []
    trainer = toy_trainer(toy_config(epochs=1, clip_norm=clip), TRAIN)

    def measure(*_: Any) -> None:
        norms.append(torch.stack([p.grad.norm() for p in trainer.model.parameters()]).norm().item())

    trainer.optimizer.register_step_pre_hook(measure)
    run_epochs(trainer, PUBLIC)
    assert len(norms) == 3
    assert all(n == pytest.approx(0.01, rel=1e-3) for n in norms) if clip else min(norms) > 0.1


def test_each_step_starts_from_its_own_gradient_alone():
    config = toy_config(epochs=1, weight_decay=0.0, label_smoothing=0.0, **PLAIN)
    trainer = toy_trainer(config, TRAIN, net=lambda: ToyNet(plain=True))
    found = []
    trainer.optimizer.register_step_pre_hook(lambda *_: found.append(trainer.model.head.bias.grad.clone()))
    before = [{k: v.clone() for k, v in trainer.model.state_dict().items()}]
    run_epochs(
        trainer,
        PUBLIC,
        lambda share: before.append({k: v.clone() for k, v in trainer.model.state_dict().items()}) or False,
    )
    for weights, rows, gradient in zip(before[:-1], orders(config), found, strict=True):
        net = ToyNet(plain=True)
        net.load_state_dict(weights)
        F.cross_entropy(net(to_floats(TRAIN.images_NHW[rows])), TRAIN.labels_N[rows]).backward()
        assert torch.allclose(net.head.bias.grad, gradient, atol=1e-5)


def test_equal_seeds_give_equal_trainings_and_another_seed_another():
    def trained(seed: int) -> Tensor:
        trainer = toy_trainer(toy_config(seed=seed), TRAIN)
        run_epochs(trainer, PUBLIC)
        return trainer.evaluated_model.head.weight.detach()

    assert torch.equal(trained(1), trained(1))
    assert not torch.equal(trained(1), trained(2))


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("broken", ["loss", "public"])
def test_a_training_that_diverges_says_so(monkeypatch, decay, broken):
    trainer = toy_trainer(toy_config(epochs=3, ema_decay=decay, lr=1e-30), TRAIN)
    if broken == "loss":  # one step of the second epoch
        spoilt = lambda *a: weighted_cross_entropy(*a) * (math.nan if trainer.step == 4 else 1)  # noqa: E731
        monkeypatch.setitem(loop.OBJECTIVES, "fer", spoilt)
        # The weights stay finite, so that only the loss can tell.
        trainer.optimizer.register_step_pre_hook(
            lambda *_: [p.grad.zero_() for p in trainer.model.parameters()] and None
        )
    records = []
    with pytest.raises(RunError) as caught:
        for record in trainer.epochs(PUBLIC, EMOTIONS, never):
            records.append(record)
            if broken == "public":
                trainer.evaluated_model.norm.running_var.fill_(math.nan)
                trainer.model.norm.running_var.fill_(math.nan)
    assert len(records) == 1
    assert str(caught.value) == "the training diverged in epoch 2: the loss is no longer finite. Try a lower --lr."


def test_a_rate_far_too_high_diverges():
    config = toy_config(epochs=20, lr=10.0, schedule="plateau", clip_norm=0.0, **PLAIN)
    trainer = toy_trainer(config, TRAIN, net=lambda: nn.Sequential(nn.Flatten(), Cube(), nn.Linear(144, 7), Cube()))
    with pytest.raises(RunError, match="diverged in epoch"):
        run_epochs(trainer, PUBLIC)


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


# --- best epoch and early stopping ------------------------------------------------------------------------------------


def judge_as(monkeypatch: pytest.MonkeyPatch, *figures: tuple[float, float, float]) -> None:
    """Let the epochs be judged with these (accuracy, macro-F1, loss)."""
    report = evaluate(np.eye(7)[PUBLIC.labels_N.numpy()], PUBLIC.labels_N.numpy(), EMOTIONS)
    stream = iter(figures)

    def judged(*_: Any) -> Report:
        accuracy, macro_f1, loss = next(stream)
        return replace(report, accuracy=accuracy, macro_f1=macro_f1, log_loss=loss)

    monkeypatch.setattr(loop, "evaluate", judged)


def improvements(**config: Any) -> list[bool]:
    trainer = toy_trainer(toy_config(**config), TRAIN)
    return [trainer.improved for _ in trainer.epochs(PUBLIC, EMOTIONS, never)]


@pytest.mark.parametrize(("select_by", "expected"), [
    ("accuracy", [True, True, False, False]),
    ("macro_f1", [True, False, True, False]),
    ("loss", [True, False, False, True]),
])  # fmt: skip
def test_the_best_epoch_is_the_one_that_select_by_says(monkeypatch, select_by, expected):
    judge_as(monkeypatch, (0.4, 0.4, 1.5), (0.6, 0.3, 1.6), (0.6, 0.5, 1.5), (0.5, 0.5, 1.4))
    assert improvements(epochs=4, select_by=select_by) == expected


def test_early_stopping_waits_for_patience_epochs_without_a_better_one(monkeypatch):
    judge_as(monkeypatch, *[(a, a, 1.0) for a in (0.5, 0.4, 0.6, 0.6, 0.6, 0.9)])
    assert improvements(epochs=6, patience=2) == [True, False, True, False, False]


@pytest.mark.parametrize(("select_by", "epochs"), [("accuracy", 4), ("macro_f1", 5), ("loss", 3)])
def test_early_stopping_goes_by_the_metric_that_selects(monkeypatch, select_by, epochs):
    # The best one is epoch 2 by accuracy, 3 by macro-F1, 1 by loss; two epochs more, and it stops.
    figures = [(0.5, 0.3, 1.0), (0.6, 0.3, 1.1), (0.5, 0.4, 1.2), (0.5, 0.4, 1.3), (0.5, 0.4, 1.4), (0.9, 0.9, 0.1)]
    judge_as(monkeypatch, *figures)
    assert len(improvements(epochs=6, patience=2, select_by=select_by)) == epochs


def test_patience_0_never_stops(monkeypatch):
    judge_as(monkeypatch, *[(0.5, 0.5, 1.0)] * 6)
    assert len(improvements(epochs=6, patience=0)) == 6


def test_early_stopping_is_not_a_stop_and_does_not_go_on(monkeypatch):
    judge_as(monkeypatch, *[(0.5, 0.5, 1.0)] * 6)
    trainer = toy_trainer(toy_config(epochs=6, patience=1), TRAIN)
    assert len(run_epochs(trainer, PUBLIC)) == 2 and not trainer.stopped
    assert run_epochs(trainer, PUBLIC) == []


def test_patience_is_counted_across_a_resume(monkeypatch, tmp_path):
    judge_as(monkeypatch, *[(0.5, 0.5, 1.0)] * 6)
    config = toy_config(epochs=6, patience=3)
    first = toy_trainer(config, TRAIN)
    records = run_epochs(first, PUBLIC, stop_at(first, 7))
    records += run_epochs(through_disk(first, config, tmp_path), PUBLIC)
    assert [record.epoch for record in records] == [1, 2, 3, 4]


# --- a time limit ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes a second and each evaluation one: an epoch of three steps takes four."""
    seconds = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))


@pytest.mark.parametrize(
    ("limit_s", "epochs"), [(0, 6), (1, 1), (4, 1), (7.9, 1), (8.1, 2), (11, 2), (12.1, 3), (23, 5), (24.1, 6), (99, 6)]
)
@pytest.mark.usefixtures("clock")
def test_no_epoch_is_begun_that_would_end_after_the_limit(limit_s, epochs):
    trainer = toy_trainer(toy_config(epochs=6, time_limit_min=limit_s / 60), TRAIN)
    records = run_epochs(trainer, PUBLIC)
    assert [record.wall_s for record in records] == [4.0 * (k + 1) for k in range(epochs)]
    assert not trainer.stopped and run_epochs(trainer, PUBLIC) == []


@pytest.mark.usefixtures("clock")
def test_the_time_before_a_stop_counts_towards_the_limit(tmp_path):
    config = toy_config(epochs=6, time_limit_min=13 / 60)
    first = toy_trainer(config, TRAIN)
    records = run_epochs(first, PUBLIC, stop_at(first, 4))
    records += run_epochs(through_disk(first, config, tmp_path), PUBLIC)
    assert [record.wall_s for record in records] == [4.0, 8.0, 12.0]


@pytest.mark.usefixtures("clock")
def test_an_epoch_that_was_begun_is_ended_whatever_the_limit(tmp_path):
    config = toy_config(epochs=6, time_limit_min=8.1 / 60)
    first = toy_trainer(config, TRAIN)
    run_epochs(first, PUBLIC, stop_at(first, 4))
    first.wall_s += 1000
    assert len(run_epochs(through_disk(first, config, tmp_path), PUBLIC)) == 1


# --- checkpoints ------------------------------------------------------------------------------------------------------


def one_line_error(path: Path) -> str:
    with pytest.raises(RunError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert "\n" not in text and str(path) in text
    return text


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trainer = toy_trainer(toy_config(optimizer="adamw", schedule="plateau"), TRAIN)
    run_epochs(trainer, PUBLIC, stop_at(trainer, 4))
    save_checkpoint(tmp_path / "last.pt", trainer.state())
    return tmp_path / "last.pt"


VARIANTS: dict[str, dict[str, Any]] = {
    "sgd": {"balance": "sampler"},
    "adam-cosine": {"optimizer": "adam", "schedule": "cosine", "warmup_epochs": 0.5},
    "adamw-plateau": {"optimizer": "adamw", "schedule": "plateau", "lr": 0.01, "clip_norm": 0.5},
    "no-average": {"ema_decay": 0.0, "schedule": "step"},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_checkpoint_holds_nothing_that_needs_a_pickle(tmp_path, variant):
    trainer = toy_trainer(toy_config(**variant), TRAIN)
    run_epochs(trainer, PUBLIC, stop_at(trainer, 4))
    save_checkpoint(tmp_path / "last.pt", trainer.state())
    leaves = list(flat(torch.load(tmp_path / "last.pt", weights_only=True)))
    assert {type(leaf) for leaf in leaves} <= {Tensor, int, float, bool, str, type(None)}
    assert sum(isinstance(leaf, Tensor) for leaf in leaves) > 10


def flat(value: Any) -> Any:
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(flat(item) for pair in value.items() for item in pair)
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(flat(item) for item in value)
    else:
        yield value


def test_a_missing_checkpoint_says_that_no_epoch_was_finished(tmp_path):
    path = tmp_path / "last.pt"
    assert one_line_error(path) == f"{path}: no such checkpoint; the run has not finished an epoch."


@pytest.mark.parametrize("keep", [0, 1, 10, 1000, -1, -100])
def test_a_checkpoint_that_was_cut_off_is_one_line(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    assert "not a checkpoint that can be read safely (" in one_line_error(saved)


@pytest.mark.parametrize(
    "content", [b"hello", b"\x80\x02", b"{}", b"PK\x03\x04 and so on", b"\n\n", bytes(range(256)), b"(lp0\n", b"c"]
)
def test_a_file_of_something_else_is_one_line(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    assert "not a checkpoint that can be read safely (" in one_line_error(tmp_path / "last.pt")


def test_a_folder_in_the_checkpoints_place_is_one_line(tmp_path):
    assert "Is a directory" in one_line_error(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("echo gotcha > gotcha",)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))])
def test_a_checkpoint_that_would_run_code_is_refused(tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    save({"format": 1, "model": Evil()}, tmp_path / "last.pt")
    assert "not a checkpoint that can be read safely (" in one_line_error(tmp_path / "last.pt")
    assert not (tmp_path / "gotcha").exists()


@pytest.mark.parametrize("value", [{"format": 2, "model": {}}, {"model": {}}, [1, 2], torch.zeros(3)])
def test_a_checkpoint_of_another_format_is_refused(tmp_path, value):
    path = tmp_path / "last.pt"
    torch.save(value, path)
    assert one_line_error(path) == f"{path}: not a checkpoint of format 1."


def test_what_was_saved_comes_back(saved):
    state = load_checkpoint(saved)
    assert state["step"] == 4 and state["epochs_done"] == 1 and "format" not in state
    assert state["average"]["n_averaged"].item() == 4


def test_a_save_that_fails_leaves_the_old_checkpoint(saved, monkeypatch):
    before = saved.read_bytes()

    def half(value: Any, file: Any) -> None:
        file.write(b"half a checkpoint")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(saved, {"model": {}})
    assert saved.read_bytes() == before and [path.name for path in saved.parent.iterdir()] == ["last.pt"]


OTHERS: dict[str, dict[str, Any]] = {
    "optimizer": {"optimizer": "adamw"},
    "schedule": {"schedule": "plateau"},
    "no average": {"ema_decay": 0.0},
    "epochs": {"epochs": 5},
    "batch size": {"batch_size": 8},
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("reverse", [False, True], ids=["there", "back"])
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, other, reverse):
    configs = [toy_config(), toy_config(**other)]
    source, target = reversed(configs) if reverse else configs
    trainer = toy_trainer(source, TRAIN)
    run_epochs(trainer, PUBLIC, stop_at(trainer, 1))
    with pytest.raises(RunError, match=r"^the checkpoint belongs to another configuration \(.*\)\.$"):
        through_disk(trainer, target, tmp_path)


def test_a_checkpoint_of_another_net_is_refused(tmp_path):
    trainer = toy_trainer(toy_config(), TRAIN)
    with pytest.raises(RunError, match=r"^the checkpoint belongs to another configuration \(.*\)\.$"):
        through_disk(trainer, toy_config(), tmp_path, net=lambda: ToyNet(plain=True))


def test_weights_come_back_with_their_epoch(tmp_path):
    source, target = ToyNet(), ToyNet()
    save_weights(tmp_path / "best.pt", source, 7, {"name": "small"})
    assert load_weights(tmp_path / "best.pt", target) == 7
    assert bits(target.state_dict()) == bits(source.state_dict())


def test_weights_of_another_net_are_refused_in_one_line(tmp_path):
    save_weights(tmp_path / "best.pt", ToyNet(), 1, {})
    with pytest.raises(RunError) as caught:
        load_weights(tmp_path / "best.pt", ToyNet(num_classes=8))
    assert str(caught.value).startswith(f"{tmp_path / 'best.pt'}: weights of another net (")
    assert "\n" not in str(caught.value)


def test_a_balance_may_be_made_by_hand():
    """The trainer takes a `Balance`, whoever planned it: here one that shows class 6 alone."""
    faces = Spied(TRAIN.images_NHW, TRAIN.labels_N)
    config = toy_config(epochs=1)
    only_neutral = Balance(np.eye(7)[6], np.ones(7), resampled=True)
    torch.manual_seed(0)
    trainer = Trainer(ToyNet(), faces, only_neutral, config, Placement(torch.device("cpu"), bf16=False))
    list(trainer.epochs(PUBLIC, EMOTIONS, never))
    assert set(TRAIN.labels_N[torch.cat(faces.asked)].tolist()) == {6}


class SizesSeen(nn.Module):
    """A small net that notes the side of what it is shown, training apart from judging."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = FaceResNet(1, 7, (4, 8), (1, 1))
        self.sides: dict[bool, list[int]] = {True: [], False: []}

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.sides[self.training].append(images_BCHW.shape[-1])
        return self.inner(images_BCHW)


@pytest.mark.parametrize(("share", "small"), [(0.5, 2), (0.25, 1), (0.0, 0)])
def test_faces_are_smaller_in_the_first_epochs_and_whole_where_they_are_judged(share, small):
    torch.manual_seed(0)
    net = SizesSeen()
    config = toy_config(epochs=4, image_size=48, early_size=32, early_share=share)
    trainer = toy_trainer(config, toy_tensors(EVEN, side=48), net=lambda: FaceClassifier(net, image_size=48))
    run_epochs(trainer, toy_tensors([1] * 7, side=48))
    judging = [trainer.evaluated_model.net.sides[False], net.sides[False]]
    assert net.sides[True] == [32] * 3 * small + [48] * 3 * (4 - small)
    assert {side for sides in judging for side in sides} == {48}


def test_an_early_part_resumed_is_bit_for_bit_the_same(tmp_path):
    config = toy_config(epochs=4, image_size=32, early_size=24, early_share=0.5)
    faces, public = toy_tensors(EVEN, side=32), toy_tensors([1] * 7, side=32)

    def net() -> nn.Module:
        return FaceClassifier(FaceResNet(1, 7, (4, 8), (1, 1)), image_size=32)

    whole, stopped = (toy_trainer(config, faces, net=net) for _ in range(2))
    run_epochs(whole, public)
    run_epochs(stopped, public, stop_at(stopped, 4))
    resumed = through_disk(stopped, config, tmp_path, net=net)
    run_epochs(resumed, public)
    assert bits(resumed.model.state_dict()) == bits(whole.model.state_dict())


def losses_seen(monkeypatch, **values):
    """(epoch, logits that the loss is given, its class weights and gamma) of each step."""
    seen, objective = [], OBJECTIVES["fer"]

    def spy(logits, targets, weights, smoothing, gamma):
        seen.append((trainer.step // trainer.steps_per_epoch, logits.detach(), weights, gamma))
        return objective(logits, targets, weights, smoothing, gamma)

    trainer = toy_trainer(toy_config(epochs=3, **values), toy_tensors([2, 4, 6, 6, 6, 6, 12]))
    with monkeypatch.context() as patch:
        patch.setitem(OBJECTIVES, "fer", spy)
        run_epochs(trainer, PUBLIC)
    return seen


def test_a_deferred_strategy_begins_after_its_epochs(monkeypatch):
    strategies = {"balance": "weights+focal", "balance_gamma": 2.0, "balance_alpha": 1.0}
    for defer in (0, 2):
        for epoch, _, weights, gamma in losses_seen(monkeypatch, balance_defer_epochs=defer, **strategies):
            begun = epoch >= defer
            assert gamma == (2.0 if begun else 0.0)
            assert (weights.max() > weights.min()) == begun


def test_a_deferred_sampler_shows_every_face_once_until_it_begins():
    few = toy_tensors([2, 40])
    faces = Spied(few.images_NHW, few.labels_N)
    config = toy_config(epochs=2, balance="sampler", balance_alpha=1.0, balance_defer_epochs=1)
    run_epochs(toy_trainer(config, faces, net=lambda: ToyNet(num_classes=2)), toy_tensors([2, 2]))
    first, second = (torch.cat(part) for part in (faces.asked[:3], faces.asked[3:]))
    assert sorted(first.tolist()) == list(range(42))
    assert 10 < (second < 2).sum() < 32  # half of 42 draws, instead of 2


def test_logit_adjustment_moves_the_logits_of_the_loss_and_not_those_that_are_judged(monkeypatch):
    plain = losses_seen(monkeypatch)[0][1]
    moved = losses_seen(monkeypatch, balance="logit_adjusted", balance_tau=0.5)[0][1]
    counts = torch.tensor([2.0, 4, 6, 6, 6, 6, 12])
    torch.testing.assert_close(moved, plain + 0.5 * (counts / counts.sum()).log())
    trainer = toy_trainer(toy_config(balance="logit_adjusted"), TRAIN)
    torch.testing.assert_close(
        trainer.predict(PUBLIC.images_NHW), toy_trainer(toy_config(), TRAIN).predict(PUBLIC.images_NHW)
    )


def test_a_deferred_balance_is_resumed_bit_for_bit(tmp_path):
    config = toy_config(epochs=3, balance="sampler+logit_adjusted+focal", balance_defer_epochs=1)
    whole, stopped = toy_trainer(config, TRAIN), toy_trainer(config, TRAIN)
    run_epochs(whole, PUBLIC)
    run_epochs(stopped, PUBLIC, stop_at(stopped, 5))
    resumed = through_disk(stopped, config, tmp_path)
    run_epochs(resumed, PUBLIC)
    assert bits(resumed.model.state_dict()) == bits(whole.model.state_dict())
