"""Optimizer and weight averaging, from a resolved `RunConfig`."""

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.swa_utils import AveragedModel

from fer_core.config import RunConfig
from fer_core.models import FaceClassifier
from fer_core.train.muon import Muon

_MOMENTUM = 0.9


def make_optimizer(model: nn.Module, config: RunConfig, *, bf16: bool = False) -> Optimizer:
    """SGD with Nesterov momentum, Adam, AdamW or Muon, with a rate of its own for the backbone.

    Biases and norm weights are not decayed, they have no scale to lose. A layer that is frozen has no group; one that
    is only held (head first) has, because it will be trained. Each group names itself: `head`, `head, no decay`, ...

    Args: bf16: whether Muon's matrix products are taken in bfloat16, as the net's are.
    """
    assert config.lr is not None, "the configuration is resolved"
    rates = {"head": config.lr, "backbone": config.lr * config.backbone_lr}
    groups: list[dict[str, Any]] = [group for part in rates for group in _groups(model, part, rates[part], config)]
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=_MOMENTUM, nesterov=True, fused=True)
    if config.optimizer == "muon":
        for group in groups:  # a head's rows are classes, which need not move equally far
            group["orthogonal"] = group["name"] == "backbone"
        return Muon(groups, config.lr, _MOMENTUM, dtype=torch.bfloat16 if bf16 else torch.float32)
    kinds: dict[str, type[Adam]] = {"adam": Adam, "adamw": AdamW}
    return kinds[config.optimizer](groups, lr=config.lr, fused=True)


def _groups(model: nn.Module, part: str, rate: float, config: RunConfig) -> list[dict[str, Any]]:
    trained = [p for p in _parameters(model, part) if p.requires_grad]
    matrices, vectors = [p for p in trained if p.ndim > 1], [p for p in trained if p.ndim <= 1]
    decayed = {"params": matrices, "lr": rate, "weight_decay": config.weight_decay, "name": part}
    others = {"params": vectors, "lr": rate, "weight_decay": 0.0, "name": f"{part}, no decay"}
    return [group for group in (decayed, others) if group["params"]]


def _parameters(model: nn.Module, part: str) -> list[nn.Parameter]:
    """A net that does not tell its head from the rest is all head."""
    if not isinstance(model, FaceClassifier):
        return list(model.parameters()) if part == "head" else []
    return list(model.head_parameters() if part == "head" else model.backbone_parameters())


def make_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of weights and buffers, or None for decay 0.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)) after t steps, so that the average forgets the random start
    even in a training of a few hundred steps.
    """
    if decay == 0:
        return None

    def update(averaged: Any, current: Any, _: Any) -> None:  # one group of tensors, all of one dtype
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)  # BatchNorm's count of batches
            return
        steps = float(average.n_averaged)  # the count on the CPU: to read the copy that is given would wait for a GPU
        warmed = min(decay, (1 + steps) / (10 + steps))
        torch._foreach_lerp_(averaged, current, 1 - warmed)

    average = AveragedModel(model, multi_avg_fn=update, use_buffers=True)
    return average
