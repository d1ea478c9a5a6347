"""Faces a second in training: the notebook's way and ours, the same net and the same work, taking turns.

    python -m benchmarks.train_speed --data fer2013.csv [--only small_48] [--rounds 3] [--faces N] [--json]
    python -m benchmarks.train_speed --data fer2013.csv --compile [--only small_48]

The notebook's way is `benchmarks.notebook_way`; ours is the real trainer with its default augmentation and weight
average. Each turn has a process of its own, its first steps are a warm-up and do not count. `ratio` is the median of
the rounds' ratios. Where a step's time goes is measured in one more process, so that looking slows nothing down:
`step_share` by clocks around the trainer's parts, `matmul_share` (convolutions and matrix products) by torch.profiler.
`--compile` compares the trainer with itself under torch.compile instead.
"""

import argparse
import json
import math
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.processes import output_of
from benchmarks.step_parts import PARTS, look_inside
from benchmarks.trainer_steps import WARM_UP, has_cuda, replaced, train_steps, wait_for_device
from fer_core.config import RunConfig
from fer_core.environment import processor_name

_SPARE = 6
"""More batches than a DataLoader of two workers reads ahead."""
_WAYS = {False: ("baseline", "ours"), True: ("ours", "compiled")}
"""What takes turns, without --compile and with it."""


@dataclass(frozen=True)
class Case:
    """What is trained, and how many faces a turn counts by default."""

    model: str
    size: int
    batch: int
    faces: int

    def steps(self, faces: int | None) -> int:
        return max(1, math.ceil((faces or self.faces) / self.batch))

    def folder_size(self, faces: int | None) -> int:
        """Faces for the notebook's way, with batches to spare: its workers are as busy at the end as before."""
        return (WARM_UP + self.steps(faces) + _SPARE) * self.batch

    def config(self, data: str) -> RunConfig:
        return RunConfig(
            data=data, model=self.model, image_size=self.size, batch_size=self.batch, epochs=1, tensorboard=False
        )


CASES = {
    "resnet18_48": Case("resnet18", 48, 128, 2560),
    "resnet18_224": Case("resnet18", 224, 32, 480),
    "small_48": Case("small", 48, 128, 5120),
}


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(_turn(arguments.one, CASES[arguments.case], arguments)))
        return
    values = compare(arguments)
    if arguments.json:
        print(json.dumps(values, indent=1))
    else:
        print_table(values, _WAYS[bool(arguments.compile)])


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every case that is asked for: the two ways in turns, then a look into ours."""
    names, ways = arguments.only or list(CASES), _WAYS[bool(arguments.compile)]
    values: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="fer-speed-") as folder:
        arguments.folder = folder
        if "baseline" in ways:
            _in_a_process("write", max(names, key=lambda name: CASES[name].folder_size(arguments.faces)), arguments)
        for name in names:
            turns: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
            for place in range(arguments.rounds):
                for way in ways:
                    turns[way].append(_in_a_process(way, name, arguments))
                speeds = ", ".join(f"{way} {turns[way][-1]['images_per_s']:.1f}" for way in ways)
                print(f"{name}, round {place + 1} of {arguments.rounds}: {speeds} faces/s", file=sys.stderr)
            look = {} if arguments.compile else _in_a_process("look", name, arguments)
            values[name] = summary(turns) | look | {"faces": CASES[name].steps(arguments.faces) * CASES[name].batch}
            path = turns["ours"][0]["path"]
    machine = {"machine": processor_name(), "cores": os.cpu_count(), "rounds": arguments.rounds, "path": path}
    return values | machine | ({"compile": arguments.compile} if arguments.compile else {})


def summary(turns: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Medians of two ways' rounds. `ratio`: how many times as fast the second is, the median over the rounds."""
    first, second = turns
    prefixes = {way: "" if way == "ours" else f"{way}_" for way in turns}
    found: dict[str, Any] = {}
    for way, rounds in turns.items():
        for key in sorted(set(rounds[0]) - {"path"}):
            found[prefixes[way] + key] = statistics.median(one[key] for one in rounds)
    speeds = {way: [one["images_per_s"] for one in rounds] for way, rounds in turns.items()}
    found["ratio"] = statistics.median(b / a for a, b in zip(speeds[first], speeds[second], strict=True))
    if second == "compiled":
        found["pays_after_faces"] = _break_even(found)
    return found | {"all_rounds": speeds}


def _break_even(found: dict[str, Any]) -> float | None:
    """Faces after which the longer warm-up has paid for itself; None where it never does."""
    saved_s = 1 / found["images_per_s"] - 1 / found["compiled_images_per_s"]
    return max(0.0, found["compiled_warm_up_s"] - found["warm_up_s"]) / saved_s if saved_s > 0 else None


def print_table(values: dict[str, Any], ways: tuple[str, str]) -> None:
    cases = {name: values[name] for name in CASES if name in values}
    print(f"{values['machine']}, {values['cores']} cores; ours: {values['path']}; medians of {values['rounds']} rounds")
    print(f"{'faces a second':16}" + "".join(f"{title:>12}" for title in (*ways, "ratio", "matmul", "peak MB")))
    for name, row in cases.items():
        speeds = (row[("" if way == "ours" else f"{way}_") + "images_per_s"] for way in ways)
        matmul = f"{row['matmul_share']:.0%}" if "matmul_share" in row else ""
        print(f"{name:16}" + "".join(f"{speed:>12.1f}" for speed in speeds), end="")
        print(f"{row['ratio']:>12.2f}{matmul:>12}{row['peak_mb']:>12.0f}")
    for name, row in cases.items():
        if "compiled_warm_up_s" in row:
            faces = row["pays_after_faces"]
            pays = "it does not pay" if faces is None else f"it pays after {faces:,.0f} faces"
            print(f"{name}: warm-up {row['warm_up_s']:.1f} s, compiled {row['compiled_warm_up_s']:.1f} s; {pays}")
        for part, share in row.get("step_share", {}).items():
            print(f"{name if part == PARTS[0] else '':16}{part:>12}{share:>8.1%}  {bar(share)}")


def bar(share: float, width: int = 50) -> str:
    """A share as a bar of text, at least a dot."""
    return "#" * round(share * width) or "."


# --- one turn, in a process of its own ------------------------------------------------------------------------------


def _turn(way: str, case: Case, arguments: argparse.Namespace) -> dict[str, Any]:
    config, steps = case.config(arguments.data), case.steps(arguments.faces)
    if way in ("write", "baseline"):
        from benchmarks import notebook_way
        from fer_core.data import resolve_config

        grey, folder = Path(arguments.folder) / "grey.json", Path(arguments.folder) / "faces"
        if way == "write":
            written = notebook_way.write_folder(arguments.data, folder, case.folder_size(arguments.faces))
            grey.write_text(json.dumps(written))
            return {}
        return notebook_way.train(resolve_config(config), folder, json.loads(grey.read_text()), steps, WARM_UP)
    if way == "look":
        return look_inside(config)
    return train_ours(config, steps, arguments.compile if way == "compiled" else None)


def train_ours(config: RunConfig, steps: int, compile_mode: str | None = None) -> dict[str, Any]:
    """Train for so many steps after the warm-up through the real trainer.

    Args: compile_mode: of torch.compile; None does not compile.
    """
    from fer_core import experiment

    marks: list[float] = []

    def on_step(done: int) -> None:
        if done in (0, WARM_UP, WARM_UP + steps):
            wait_for_device()
            marks.append(time.perf_counter())

    def compiled(make_model: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any) -> Any:
            model = make_model(*arguments)
            model.compile(mode=compile_mode)
            return model

        return make

    with ExitStack() as stack:
        if compile_mode:
            stack.enter_context(replaced(experiment, "make_model", compiled))
        path = train_steps(config, WARM_UP + steps, on_step)
    return {
        "images_per_s": steps * config.batch_size / (marks[2] - marks[1]),
        "warm_up_s": marks[1] - marks[0],
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **_peak_on_device(),
        "path": path,
    }


def _peak_on_device() -> dict[str, float]:
    if not has_cuda():
        return {}
    import torch

    return {"peak_device_mb": torch.cuda.max_memory_reserved() / 2**20}


def _in_a_process(way: str, case: str, arguments: argparse.Namespace) -> dict[str, Any]:
    words = ["--one", way, "--case", case, "--data", arguments.data, "--folder", arguments.folder]
    words += ["--faces", str(arguments.faces)] if arguments.faces else []
    words += ["--compile", arguments.compile] if arguments.compile else []
    return json.loads(output_of("benchmarks.train_speed", *words, about=f"{case}, {way}: ").splitlines()[-1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--faces", type=int, help="counted in each turn; left out, as many as suit the case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(CASES), help="these cases alone")
    modes = ("default", "reduce-overhead", "max-autotune-no-cudagraphs")
    parser.add_argument("--compile", nargs="?", const="default", choices=modes, help="torch.compile's mode")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
