"""Optimizer, learning-rate schedule and weight averaging, from a resolved `RunConfig`."""

from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel

from fer_core.config import RunConfig

_MOMENTUM = 0.9
_WARM_SHARE = 0.25
"""Share of the steps over which one-cycle's rate rises."""
_PLATEAU_EPOCHS = 2
"""So many epochs without a lower public loss halve the rate (torch's `patience` is what it lets pass before that)."""


def make_optimizer(model: nn.Module, config: RunConfig) -> Optimizer:
    """SGD with Nesterov momentum, or AdamW; biases and norm weights are not decayed, they have no scale to lose."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    assert config.lr is not None, "the configuration is resolved"
    if config.optimizer == "sgd":
        return SGD(groups, lr=config.lr, momentum=_MOMENTUM, nesterov=True, foreach=True)
    return AdamW(groups, lr=config.lr, foreach=True)


class Schedule:
    """One-cycle moves at each step, plateau at each epoch's end; the loop tells both and need not know which it is."""

    def __init__(self, optimizer: Optimizer, config: RunConfig, total_steps: int) -> None:
        self.inner: OneCycleLR | ReduceLROnPlateau
        if config.schedule == "onecycle":
            assert config.lr is not None, "the configuration is resolved"
            steps = max(2, total_steps)
            # torch divides by the warm-up's steps less one, which would be 0 in a training of four steps.
            warm = 0.3 if _WARM_SHARE * steps == 1 else _WARM_SHARE
            self.inner = OneCycleLR(optimizer, config.lr, steps, pct_start=warm, cycle_momentum=False)
        else:
            self.inner = ReduceLROnPlateau(optimizer, factor=0.5, patience=_PLATEAU_EPOCHS - 1)

    def after_step(self) -> None:
        if isinstance(self.inner, OneCycleLR) and self.inner.last_epoch + 1 < self.inner.total_steps:
            self.inner.step()

    def after_epoch(self, public_loss: float) -> None:
        if isinstance(self.inner, ReduceLROnPlateau):
            self.inner.step(public_loss)


def make_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of weights and buffers, or None for decay 0.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)) after t steps, so that the average forgets the random start
    even in a training of a few hundred steps.
    """
    if decay == 0:
        return None

    def update(averaged: Any, current: Any, steps: Any) -> None:  # one group of tensors, all of one dtype
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)  # BatchNorm's count of batches
            return
        warmed = min(decay, (1 + float(steps)) / (10 + float(steps)))
        torch._foreach_lerp_(averaged, current, 1 - warmed)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)
