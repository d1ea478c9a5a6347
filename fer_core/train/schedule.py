"""How the learning rate moves. The loop tells the schedule of each step and epoch and need not know which it is."""

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, OneCycleLR, ReduceLROnPlateau

from fer_core.config import RunConfig

_WARM_SHARE = 0.25
"""Share of the steps over which one-cycle's rate rises."""
_PLATEAU_EPOCHS = 2
"""So many epochs without a lower public loss halve the rate (torch's `patience` is what it lets pass before that)."""
_DROPS = (0.5, 0.75)
"""Shares of the training after which `step` divides the rate by ten."""

Inner = OneCycleLR | LambdaLR | ReduceLROnPlateau


class Schedule:
    """One-cycle, cosine, step and constant move at each step; plateau at each epoch's end; a warm-up before any."""

    def __init__(self, optimizer: Optimizer, config: RunConfig, steps_per_epoch: int, epochs: int) -> None:
        self.optimizer = optimizer
        self.total = max(1, steps_per_epoch * epochs)
        self.warm_steps = min(round(config.warmup_epochs * steps_per_epoch), self.total)
        self.inner = self._make(config.schedule)

    def after_step(self) -> None:
        """Set the rates of the next step."""
        if isinstance(self.inner, ReduceLROnPlateau):
            self._steps += 1
            if self._steps <= self.warm_steps:
                self._warm_up()
        elif not isinstance(self.inner, OneCycleLR) or self.inner.last_epoch + 1 < self.inner.total_steps:
            self.inner.step()

    def after_epoch(self, public_loss: float) -> None:
        if isinstance(self.inner, ReduceLROnPlateau) and self._steps >= self.warm_steps:
            self.inner.step(public_loss)

    def state(self) -> dict[str, Any]:
        return {"inner": self.inner.state_dict(), "steps": self._steps}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Raises: KeyError, TypeError: it belongs to another kind of schedule."""
        self.inner.load_state_dict(state["inner"])
        self._steps = state["steps"]

    def _make(self, name: str) -> Inner:
        self._steps = 0
        self._highest = [group["lr"] for group in self.optimizer.param_groups]
        if name == "onecycle":
            steps = max(2, self.total)
            # torch divides by the warm-up's steps less one, which would be 0 in a training of four steps.
            warm = 0.3 if _WARM_SHARE * steps == 1 else _WARM_SHARE
            return OneCycleLR(self.optimizer, self._highest, steps, pct_start=warm, cycle_momentum=False)
        if name == "plateau":
            inner = ReduceLROnPlateau(self.optimizer, factor=0.5, patience=_PLATEAU_EPOCHS - 1)
            if self.warm_steps:
                self._warm_up()
            return inner
        shape = _SHAPES[name]
        return LambdaLR(self.optimizer, lambda step: self._warmth(step) * shape(self._share(step)))

    def _warm_up(self) -> None:
        for group, highest in zip(self.optimizer.param_groups, self._highest, strict=True):
            group["lr"] = highest * self._warmth(self._steps)

    def _warmth(self, step: int) -> float:
        return min(1.0, (step + 1) / (self.warm_steps + 1))

    def _share(self, step: int) -> float:
        """How much of the training after the warm-up is done, 0..1."""
        return max(0.0, step - self.warm_steps) / max(1, self.total - self.warm_steps)


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * min(1.0, share))) / 2


def _step(share: float) -> float:
    return 0.1 ** sum(share >= drop for drop in _DROPS)


_SHAPES: dict[str, Callable[[float], float]] = {"cosine": _cosine, "step": _step, "constant": lambda share: 1.0}
"""Share of the training that is done -> share of the highest rate."""
