"""What an epoch costs as the data grows: its time should be a straight line, memory beyond the faces flat.

    python -m benchmarks.growth [--faces 10000,36000,100000,1000000] [--epoch-limit-s 240] [--json]

Made-up faces are trained through the real trainer, each size in a process of its own, with a cheap setting (`small` at
24 pixels), because what grows is not the net. `public` and `private` have 1,000 faces each whatever the size. An epoch
that is not over after the limit is stopped there, and the rest of its time is extrapolated; the output says so.

`epoch_s` runs from the epoch's order to its checkpoint: `start_s` (order, warm-up of the first step), the steps, and
`judge_s`. `setup_s` is everything before, such as copying the faces into memory. `beyond_mb` is the process's peak
less the training faces themselves (2,304 bytes each).
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import output_of
from fer_core.config import RunConfig
from fer_core.environment import processor_name

SIDE = 48
JUDGED = 1000
"""Faces of `public`, and as many of `private`."""
_SETTING: dict[str, Any] = {"model": "small", "image_size": 24, "batch_size": 256}
STRAIGHT = 0.1
"""A line is called straight where no size lies further from it than this share of its own time."""
FLAT = 0.1
"""Memory is called flat where a face costs no more than this share of its own pixels on top of them."""


def main() -> None:
    arguments = _arguments()
    if arguments.make:
        make_faces(Path(arguments.source), arguments.make)
        return
    if arguments.source:
        print(json.dumps(measure(arguments.source, arguments.epoch_limit_s, arguments.size)))
        return
    rows = [_size(faces, arguments) for faces in sorted(arguments.faces)]
    fill_in(rows)
    machine = {"machine": processor_name(), "cores": os.cpu_count()}
    values = {**machine, "setting": _SETTING | {"image_size": arguments.size}, "sizes": rows, **growth(rows)}
    if arguments.json:
        print(json.dumps(values, indent=1))
    else:
        print_table(values)


def make_faces(source: Path, faces: int) -> None:
    """Put a store of so many training faces, and `JUDGED` of each other split, into the cache of `source`."""
    from benchmarks.big_store import make_store
    from fer_core.data.source import _cache_folder, find_source

    source.write_bytes(b"stands for a file that has been read before")
    make_store(source, faces + 2 * JUDGED)
    splits = np.repeat(np.arange(3, dtype=np.int8), (faces, JUDGED, JUDGED))
    np.save(_cache_folder(find_source(str(source))) / "splits.npy", splits)


def measure(source: str, limit_s: float, size: int) -> dict[str, Any]:
    """Train one epoch, or as much of it as the limit allows. `epoch_s` and `judge_s` are None where it was stopped."""
    from benchmarks.trainer_steps import at_the_first_epoch
    from fer_core.data import resolve_config
    from fer_core.experiment import train_run
    from fer_core.runs import create_run

    plan: dict[str, int] = {}
    marks = [time.perf_counter()]  # the start, the epoch's begin, then the end of each step
    over: list[float] = []

    def begin(trainer: Any) -> None:
        plan.update(faces=len(trainer.train), steps=trainer.total_steps)
        marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FER_RUNS"] = folder
        config = RunConfig(data=source, epochs=1, tensorboard=False, views=("none",), **_SETTING | {"image_size": size})
        run = create_run(resolve_config(config), "one")

        def on_step(share: float) -> None:
            marks.append(time.perf_counter())
            if marks[-1] - marks[1] > limit_s:
                run.stop_file.touch()

        with at_the_first_epoch(begin):
            train_run(run, on_step=on_step, on_epoch=lambda record: over.append(time.perf_counter()))
        path = run.environment()["placement"]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {**plan, **timings(marks, over[0] if over else None), "peak_mb": peak_mb, "path": path}


def timings(marks: Sequence[float], over: float | None) -> dict[str, float | None]:
    """From the times of the start, the epoch's begin and the end of each step, and of the epoch's end, if it had one.

    `step_s` is the mean of all steps but the first, whose warm-up stands in `start_s`.
    """
    ends = marks[2:]
    steps = [after - before for before, after in pairwise(ends)] or [ends[0] - marks[1]]
    return {
        "steps_done": len(ends),
        "setup_s": marks[1] - marks[0],
        "start_s": max(0.0, ends[0] - marks[1] - statistics.median(steps)),
        "step_s": statistics.fmean(steps),
        "judge_s": None if over is None else over - ends[-1],
        "epoch_s": None if over is None else over - marks[1],
    }


def fill_in(rows: list[dict[str, Any]]) -> None:
    """Add what follows from the measured: faces a second, memory beyond the faces, and times of stopped epochs.

    A stopped epoch is its start, its steps at the measured mean, and the others' judging, which has a fixed size.
    """
    judging = [row["judge_s"] for row in rows if row["judge_s"] is not None]
    for row in rows:
        row["extrapolated"] = row["epoch_s"] is None
        if row["extrapolated"]:
            row["judge_s"] = statistics.median(judging) if judging else 0.0
            row["epoch_s"] = row["start_s"] + row["steps"] * row["step_s"] + row["judge_s"]
        row["faces_per_s"] = row["faces"] / row["epoch_s"]
        row["data_mb"] = row["faces"] * SIDE * SIDE / 2**20
        row["beyond_mb"] = row["peak_mb"] - row["data_mb"]


def growth(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The line through the epochs' times and the slope of the memory; None with a single size.

    The fit weighs each size by its time, so that the largest does not decide alone: `worst_residual` is the largest
    distance from the line as a share of a size's own time. `bytes_per_face` is memory beyond the faces themselves.
    """
    if len(rows) < 2:
        return {"line": None, "memory": None}
    faces, seconds = (np.array([row[key] for row in rows], dtype=np.float64) for key in ("faces", "epoch_s"))
    slope, fixed_s = np.polyfit(faces, seconds, 1, w=1 / seconds)
    worst = float(np.abs((slope * faces + fixed_s) / seconds - 1).max())
    first, last = rows[0], rows[-1]
    per_face = (last["beyond_mb"] - first["beyond_mb"]) * 2**20 / (last["faces"] - first["faces"])
    line = {
        "us_per_face": slope * 1e6,
        "fixed_s": float(fixed_s),
        "worst_residual": worst,
        "seconds_per_face_ratio": float((seconds / faces)[-1] / (seconds / faces)[0]),
        "step_ratio": last["step_s"] / first["step_s"],
        "straight": worst <= STRAIGHT,
    }
    return {"line": line, "memory": {"bytes_per_face": per_face, "flat": per_face <= FLAT * SIDE * SIDE}}


def print_table(values: dict[str, Any]) -> None:
    setting, rows, line, memory = values["setting"], values["sizes"], values["line"], values["memory"]
    print(f"{values['machine']}, {values['cores']} cores, {rows[0]['path']}; ", end="")
    print(f"{setting['model']} at {setting['image_size']} px, batches of {setting['batch_size']}, one epoch each")
    columns = ("faces", "setup s", "epoch s", "faces/s", "ms a step", "judge s", "peak MB", "of it data", "beyond")
    print("".join(f"{title:>11}" for title in columns))
    for row in rows:
        print(f"{row['faces']:>11,}{row['setup_s']:>11.1f}{row['epoch_s']:>11.1f}{row['faces_per_s']:>11,.0f}", end="")
        print(f"{1000 * row['step_s']:>11.1f}{row['judge_s']:>11.2f}{row['peak_mb']:>11,.0f}", end="")
        print(f"{row['data_mb']:>11,.0f}{row['beyond_mb']:>11,.0f}", end="")
        print(f"  extrapolated from {row['steps_done']:,} of {row['steps']:,} steps" if row["extrapolated"] else "")
    if line:
        print(
            f"time: {line['us_per_face']:.1f} us a face and {line['fixed_s']:.1f} s; no size is further from ", end=""
        )
        print(f"that line than {line['worst_residual']:.1%}: {'straight' if line['straight'] else 'NOT straight'}")
        print(f"a face of the largest takes {line['seconds_per_face_ratio']:.2f} times as long as one of the smallest")
        print(f"memory: {memory['bytes_per_face']:,.0f} bytes a face beyond its own {SIDE * SIDE:,}: ", end="")
        print("flat" if memory["flat"] else "NOT flat")


def _size(faces: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the faces in one process and train on them in another: memory of the making must not count."""
    with tempfile.TemporaryDirectory(prefix="fer-growth-") as folder:
        os.environ["FER_CACHE"] = f"{folder}/cache"
        source = f"{folder}/faces.npz"
        _in_a_process("--source", source, "--make", str(faces))
        limits = ("--epoch-limit-s", str(arguments.epoch_limit_s), "--size", str(arguments.size))
        row = json.loads(_in_a_process("--source", source, *limits).splitlines()[-1])
    print(f"{faces:,} faces: {row['steps_done']:,} of {row['steps']:,} steps done", file=sys.stderr)
    return row


def _in_a_process(*words: str) -> str:
    return output_of("benchmarks.growth", *words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [10_000, 36_000, 100_000, 1_000_000]
    parser.add_argument("--faces", type=_sizes, default=sizes, help="training faces of each size, comma-separated")
    parser.add_argument("--epoch-limit-s", type=float, default=240.0, help="an epoch is stopped and extrapolated there")
    parser.add_argument("--size", type=int, default=_SETTING["image_size"], help="side that the net sees, in pixels")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--source", help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
