"""Every recipe for a few steps at its own image size: faces a second, and memory; small stands beside them as 1.

    python -m benchmarks.recipes --data fer2013.csv [--steps 4] [--only cnn6] [--json]

Each recipe trains in a process of its own, through the same code as a whole training. Weights that cannot be had
(torchvision's, without a network) are replaced by the recipe's from-scratch variant, and the table says so.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from itertools import pairwise
from typing import Any

from benchmarks.processes import output_of
from fer_core.config import RunConfig
from fer_core.recipes import RECIPES, from_scratch

BASELINE = "small"


def main() -> None:
    arguments = _arguments()
    if arguments.one:
        print(json.dumps(measure(arguments.one, arguments.data, arguments.steps)))
        return
    names = list(dict.fromkeys([BASELINE, *(arguments.only or RECIPES)]))
    rows = [_in_a_process(name, arguments) for name in names]
    for row in rows:
        row["ratio"] = row["images_per_s"] / rows[0]["images_per_s"]
    if arguments.json:
        print(json.dumps({"cores": os.cpu_count(), "steps": arguments.steps, "recipes": rows}, indent=1))
        return
    print(f"{'':32}{'px':>5}{'batch':>7}{'faces/s':>9}{'of small':>10}{'peak MB':>9}{'M param':>9}{'M mult-adds':>13}")
    for row in rows:
        print(
            f"{row['trained']:32}{row['image_size']:>5}{row['batch_size']:>7}{row['images_per_s']:>9.1f}"
            f"{row['ratio']:>10.3f}{row['peak_mb']:>9.0f}{row['parameters'] / 1e6:>9.1f}"
            f"{row['multiply_adds'] / 1e6:>13,.0f}"
        )


def measure(name: str, data: str, steps: int) -> dict[str, Any]:
    """Train so many steps and stop; the first is a warm-up and is not counted."""
    from fer_core.data import open_store, resolve_config
    from fer_core.errors import ConfigError
    from fer_core.experiment import check_trainable, train_run
    from fer_core.runs import create_run

    config = _config(name, data)
    store = open_store(data)
    try:
        cost = check_trainable(config, store)
    except ConfigError:
        if config.weights != "imagenet":
            raise
        config = _config(str(from_scratch(name)), data)
        cost = check_trainable(config, store)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FER_RUNS"] = folder
        run = create_run(resolve_config(config.changed(tensorboard=False)), "one")
        times = [time.perf_counter()]

        def on_step(share: float) -> None:
            times.append(time.perf_counter())
            if len(times) > steps:
                run.stop_file.touch()

        train_run(run, on_step=on_step)
    durations = [after - before for before, after in pairwise(times[1:])]
    return {
        "recipe": name,
        "trained": config.recipe or name,
        "image_size": config.image_size or max(store.image_size),
        "batch_size": config.batch_size,
        "images_per_s": config.batch_size / statistics.median(durations),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
    }


def _config(name: str, data: str) -> RunConfig:
    # Neither the head alone nor smaller faces are what is judged.
    whole = {"head_first_epochs": 0, "early_share": 0.0}
    return RunConfig(recipe=name, data=data, **whole)


def _in_a_process(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    words = ["--one", name, "--data", arguments.data, "--steps", str(arguments.steps)]
    return json.loads(output_of("benchmarks.recipes", *words, about=f"{name}: ").splitlines()[-1])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", nargs="*", choices=list(RECIPES), help="these recipes alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
