"""What each way of balancing does on the real data: every preset with several seeds, against as-is.

    python -m benchmarks.balancing start --data fer2013.csv [--epochs 8] [--seeds 0 1 2] [--runs FOLDER]
    python -m benchmarks.balancing report [--runs FOLDER] [--json]

`start` puts what is missing into the trainings' own queue and returns; they go on detached, one after the other. What
was stopped or lost goes on.
`report` measures what is finished and writes `balancing.json` and `balancing.md`: differences to as-is with intervals
over seeds and faces (`fer_core.seeds`), on public and on private. To see what moving the decision of the as-is nets
after training gives instead, each with the tau that its own public answers name, those stand there as settings too.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.balancing_text import balancing_text
from benchmarks.measured import finished, made_on
from benchmarks.queued import queue
from fer_core.adjust import Adjustment, adjusted, best_tau
from fer_core.catalog import BALANCE_PRESETS
from fer_core.config import RunConfig
from fer_core.data import resolve_config
from fer_core.errors import FerError, RunError
from fer_core.files import write_json, write_text
from fer_core.predictions import SplitPredictions
from fer_core.run_adjustment import training_prior
from fer_core.runs import Run, list_runs
from fer_core.seeds import compare_seeds

FORMAT = 1
"""Format number of `balancing.json`."""
FOLDER = Path(__file__).parent
AS_IS = "As is"
PRESETS = (AS_IS, "Drawn by the root", "Effective number", "Logit-adjusted", "Weighted late")
"""Of `BALANCE_PRESETS`; the focal loss and the full sampler are left out of the queue for their time."""
MOVED = {"macro_f1": "As is, tau for macro-F1", "balanced_accuracy": "As is, tau for macro-recall"}
"""Metric on public -> what the as-is nets are called when their decision is moved for it."""
SPLITS = ("public", "private")
_Answers = Mapping[str, list[SplitPredictions]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 after one line for wrong input."""
    args = _arguments(arguments)
    os.environ["FER_RUNS"] = str(args.runs.resolve())
    try:
        if args.step == "start":
            named = plans(args.recipe, args.data, args.epochs, args.seeds)
            print(f"{queue(named)} trainings in the queue of {args.runs}")
            return 0
        values = measured(list_runs(), args.recipe)
        write_json(args.out / "balancing.json", values)
        text = balancing_text(values)
        write_text(args.out / "balancing.md", text)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(values, indent=1) if args.json else text)
    return 0


def plans(recipe: str, data: str | None, epochs: int, seeds: Sequence[int]) -> list[tuple[str, RunConfig]]:
    """Name and configuration of every training; seed by seed, so that a queue that is cut short has whole seeds."""
    base = RunConfig.parse({"recipe": recipe, "data": data, "epochs": epochs})
    base = base.changed(tensorboard=False, views=("none", "flip"))
    named = [(name, resolve_config(base.changed(**BALANCE_PRESETS[name]))) for name in PRESETS]
    return [(f"{_slug(name)}-s{seed}", config.changed(seed=seed)) for seed in seeds for name, config in named]


def measured(runs: Sequence[Run], recipe: str) -> dict[str, Any]:
    """Figures of each setting, means over its seeds, and its differences to as-is, on both splits.

    Raises: RunError: no as-is run is finished, or a run is not what its name says.
    """
    by_preset = {name: finished(runs, _slug(name)) for name in PRESETS}
    base = by_preset[AS_IS]
    if not base:
        raise RunError(f"there is no finished as-is run of recipe {recipe} here. First: benchmarks.balancing start")
    answers = {name: _stored(some) for name, some in by_preset.items() if some}
    answers |= {title: _moved(base, metric) for metric, title in MOVED.items()}
    return {
        "format": FORMAT,
        "recipe": recipe,
        "epochs": base[0].config().epochs,
        **made_on([run for some in by_preset.values() for run in some]),
        "taus": {title: _taus(base, metric) for metric, title in MOVED.items()},
        "settings": [_row(name, some, answers[AS_IS]) for name, some in answers.items()],
    }


def _row(name: str, answers: _Answers, base: _Answers) -> dict[str, Any]:
    """One setting. As-is stands against itself, with differences of 0."""
    values: dict[str, Any] = {"name": name, "seeds": len(answers["public"])}
    for split in SPLITS:
        found = compare_seeds(base[split], answers[split])
        one = found.to_json()
        values[split] = {
            "n": found.n,
            **{key: one[key] for key in ("accuracy", "balanced_accuracy", "macro_f1")},
            "recall": {emotion: one["recall"][emotion] for emotion in found.recall},
            "recall_p_holm": found.recall_p_holm,
            "faces": found.faces,
        }
    return values


def _stored(runs: Sequence[Run]) -> _Answers:
    return {split: [run.predictions(split, "flip") for run in runs] for split in SPLITS}


def _moved(runs: Sequence[Run], metric: str) -> _Answers:
    """The runs' answers, each by the tau that is best for the metric on its own public answers."""
    taus = _taus(runs, metric)
    return {
        split: [
            adjusted(run.predictions(split, "flip"), training_prior(run, _classes(run)), Adjustment(tau))
            for run, tau in zip(runs, taus, strict=True)
        ]
        for split in SPLITS
    }


def _taus(runs: Sequence[Run], metric: str) -> list[float]:
    return [
        best_tau(run.predictions("public", "flip"), training_prior(run, _classes(run)), metric, split="public")
        for run in runs
    ]


def _classes(run: Run) -> tuple[str, ...]:
    return run.predictions("public").classes


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("start", "report"))
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/balancing"), help="folder of the trainings")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of balancing.json and balancing.md")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
