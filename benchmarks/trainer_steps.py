"""The first steps of a training through the real trainer, for benchmarks that time them."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fer_core.config import RunConfig

WARM_UP = 2
"""Steps that are not counted: memory is asked for, kernels are chosen, a compiler compiles."""


def train_steps(config: RunConfig, steps: int, on_step: Callable[[int], None]) -> str:
    """Train the first steps of an epoch through the real trainer; gives its placement in words, such as "cpu bf16".

    Args: on_step: called with 0 before the first step, and after each step with how many there have been.
    Raises: ValueError: the epoch is shorter.
    """
    from fer_core.data import resolve_config
    from fer_core.experiment import train_run
    from fer_core.runs import create_run

    def begin(trainer: Any) -> None:
        if trainer.steps_per_epoch < steps or len(trainer.train) < steps * config.batch_size:
            raise ValueError(f"{steps} steps are needed, an epoch has {trainer.steps_per_epoch}: fewer --faces.")
        on_step(0)

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FER_RUNS"] = folder
        run = create_run(resolve_config(config), "one")
        done = 0

        def after(share: float) -> None:
            nonlocal done
            done += 1
            on_step(done)
            if done == steps:
                run.stop_file.touch()

        with at_the_first_epoch(begin):
            train_run(run, on_step=after)
        return run.environment()["placement"]


@contextmanager
def at_the_first_epoch(begin: Callable[[Any], None]) -> Iterator[None]:
    """While this is open, a trainer that is set up and about to begin its epochs is handed over first."""
    from fer_core.train.loop import Trainer

    def announced(epochs: Callable[..., Any]) -> Callable[..., Any]:
        def run(trainer: Any, *arguments: Any) -> Any:
            begin(trainer)
            return epochs(trainer, *arguments)

        return run

    with replaced(Trainer, "epochs", announced):
        yield


@contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """While this is open, `owner.name` is what `make` makes of it."""
    before = getattr(owner, name)
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def wait_for_device() -> None:
    if has_cuda():
        import torch

        torch.cuda.synchronize()
