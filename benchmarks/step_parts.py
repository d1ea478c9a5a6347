"""Where a training step's time goes: clocks around the trainer's parts, and torch.profiler for the matrix work."""

import functools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.trainer_steps import WARM_UP, has_cuda, replaced, train_steps, wait_for_device
from fer_core.config import RunConfig

PARTS = ("gather", "augment", "forward", "backward", "optimizer", "average")
_LOOKED_AT, _PROFILED = 10, 3
"""Steps with clocks in them, then steps under the profiler."""
_MATMUL = re.compile(r"^aten::(\w*convolution\w*|\w*conv2d\w*|(mkldnn_)?linear\w*|matmul|_?(add|b|badd)?mm)$")


class PartsClock:
    """Adds up the seconds of each part of a step. What runs inside a part belongs to that part."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._inside = False

    def around(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            if self._inside:
                return function(*arguments, **named)
            self._inside = True
            started = self._now()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds[part] += self._now() - started
                self._inside = False

        return timed

    def shares(self, total_s: float) -> dict[str, float]:
        """Of the total, with what no part accounts for as `rest`; together 1."""
        shares = {part: seconds / total_s for part, seconds in self.seconds.items()}
        return shares | {"rest": 1 - sum(shares.values())}

    @staticmethod
    def _now() -> float:
        wait_for_device()
        return time.perf_counter()


def look_inside(config: RunConfig, steps: int = _LOOKED_AT, profiled: int = _PROFILED) -> dict[str, Any]:
    """`step_share`, `augment_share` and `matmul_share` of our trainer's steps."""
    from torch.profiler import ProfilerActivity, profile

    clock, marks = PartsClock(), dict[int, float]()
    shares: dict[str, float] = {}
    profiler = profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if has_cuda() else [])])

    def on_step(done: int) -> None:
        marks[done] = PartsClock._now()
        if done == WARM_UP:
            clock.seconds = dict.fromkeys(PARTS, 0.0)
        elif done == WARM_UP + steps:
            shares.update(clock.shares(marks[done] - marks[WARM_UP]))
            profiler.start()
            marks[done] = PartsClock._now()
        elif done == WARM_UP + steps + profiled:
            profiler.stop()

    with _clocked(clock):
        train_steps(config, WARM_UP + steps + profiled, on_step)
    wall_s = marks[WARM_UP + steps + profiled] - marks[WARM_UP + steps]
    return {
        "step_share": shares,
        "augment_share": shares["augment"],
        "matmul_share": matmul_share(profiler.key_averages(), wall_s),
    }


@contextmanager
def _clocked(clock: PartsClock) -> Iterator[None]:
    """The trainer's parts with a clock around each."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    from fer_core.models import FaceClassifier
    from fer_core.train import loop

    seams: list[tuple[str, Any, str]] = [
        ("gather", loop.FaceTensors, "batch"),
        ("augment", loop, "augment"),
        ("forward", FaceClassifier, "forward"),
        ("backward", torch.Tensor, "backward"),
        ("optimizer", torch.optim.SGD, "step"),
        ("average", AveragedModel, "update_parameters"),
    ]
    with ExitStack() as stack:
        for part, owner, name in seams:
            stack.enter_context(replaced(owner, name, functools.partial(clock.around, part)))
        yield


def matmul_share(events: Any, wall_s: float) -> float:
    """Share of the time spent in convolutions and matrix products themselves: of the wall's, on a GPU of its kernels'.

    Args: events: the profiler's `key_averages()`, times in microseconds.
    """
    own = [event for event in events if not str(event.device_type).endswith("CUDA")]  # kernels are listed once more
    on_device = sum(event.self_device_time_total for event in own)
    found = [event for event in own if _MATMUL.match(event.key)]
    if on_device:
        return sum(event.self_device_time_total for event in found) / on_device
    return sum(event.self_cpu_time_total for event in found) / (1e6 * wall_s)
