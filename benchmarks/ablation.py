"""What each trick of a recipe is worth: the recipe, and beside it the recipe with one thing changed, at few epochs.

    python -m benchmarks.ablation --data fer2013.csv [--epochs 6] [--seeds 0 1] [--only NAME ...] [--runs FOLDER]

Every variant is trained by the same code as a whole training, into a runs folder of its own; what is finished there is
not trained again, what was stopped goes on. Judged on `public` alone: a training also writes its answers on `private`
at its end; they are dropped here unread, so that no choice of a trick can have seen them.
Shapes: N faces.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation_text import ablation_table
from benchmarks.measured import made_on
from fer_core.catalog import check_name
from fer_core.compare import compare, shared_rows
from fer_core.config import RunConfig
from fer_core.data import resolve_config
from fer_core.errors import FerError, RunError
from fer_core.evaluate import Z95, Interval
from fer_core.files import write_json
from fer_core.plugins import load_plugin
from fer_core.predictions import SplitPredictions, report_on
from fer_core.runs import Run, create_run, find_run

FORMAT = 1
"""Format number of `ablation.json`."""
FOLDER = Path(__file__).parent
REFERENCE = "reference"


@dataclass(frozen=True)
class Variant:
    """One thing taken away from the recipe, or added to it."""

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `RunConfig`."""
    without: str = ""
    """An augmentation step that is taken out."""
    in_turn: bool = False
    """Whether faces are mirrored in turn, by `benchmarks.flips`, which no setting names."""


_OTHER_STEPS = {"augment_steps": None, "augment_share": None}
_TRICKS = str(FOLDER / "tricks.py")


def _net(name: str) -> dict[str, Any]:
    return {"plugin": _TRICKS, "model": name}


VARIANTS: tuple[Variant, ...] = (
    Variant("sgd", {"optimizer": "sgd", "lr": 0.4, "weight_decay": 5e-4}),
    Variant("small-batches", {"batch_size": 128}),
    Variant("no-ema", {"ema_decay": 0.0}),
    Variant("no-label-smoothing", {"label_smoothing": 0.0}),
    Variant("smaller-faces-first", {"early_size": 32, "early_share": 0.4}),
    Variant("no-augmentation", {"augment": "none", **_OTHER_STEPS}),
    Variant("standard-augmentation", {"augment": "standard", **_OTHER_STEPS}),
    Variant("no-mirror", without="flip"),
    Variant("no-rotation", without="rotate"),
    Variant("weight-decay", {"weight_decay": 0.05}),
    Variant("constant-rate", {"schedule": "constant"}),
    Variant("low-rate", {"lr": 0.02}),
    Variant("mixup", {"mixup": 0.2}),
    Variant("dropout", {"head_hidden": 0, "head_dropout": 0.2}),
    Variant("fp32", {"precision": "fp32"}),
    Variant("shortcut-start", _net("small-shortcut-start")),
    Variant("squeeze-excitation", _net("small-excited")),
    Variant("whitening-stem", _net("small-whitened")),
    Variant("unshuffled-stem", _net("small-unshuffled")),
    Variant("alternating-flip", in_turn=True),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing, measure, write. Returns the exit code: 0, or 2 after one line for wrong input."""
    args = _arguments(arguments)
    os.environ["FER_RUNS"] = str(args.runs.resolve())
    try:
        chosen = [_variant(name) for name in args.only] if args.only else list(VARIANTS)
        reference = reference_config(args.recipe, args.data, args.epochs)
        load_plugin(_TRICKS)
        plans = {variant.name: changed_by(reference, variant) for variant in chosen}  # wrong ones, before any training
        values: dict[str, Any] = {}
        for so_far in range(len(chosen) + 1):  # written after each, so that hours are not lost with the last one
            values = measure(args.recipe, reference, dict(list(plans.items())[:so_far]), args.seeds)
            write_json(args.out / "ablation.json", {"format": FORMAT, **values})
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(values, indent=1) if args.json else ablation_table(values))
    return 0


def reference_config(recipe: str, data: str | None, epochs: int) -> RunConfig:
    """The recipe at so many epochs, every default filled in. Raises: FerError: no such recipe, no such data."""
    config = RunConfig.parse({"recipe": recipe, "data": data, "epochs": epochs})
    return resolve_config(config.changed(tensorboard=False, views=("none", "flip")))


def changed_by(reference: RunConfig, variant: Variant) -> RunConfig:
    """The reference with the variant's one change. Raises: ConfigError: a bad setting, or nothing to take away."""
    steps = reference.augmentation().texts()
    changes = dict(variant.changes)
    if variant.without:
        kept = tuple(step for step in steps if step.replace("@", ":").split(":")[0] != variant.without)
        changes["augment_steps"] = kept
    config = resolve_config(reference.changed(**changes))
    if config == reference and not variant.in_turn:
        raise RunError(f"variant {variant.name} changes nothing of recipe {reference.recipe}; take it off the list.")
    return config


def measure(recipe: str, reference: RunConfig, plans: Mapping[str, RunConfig], seeds: Sequence[int]) -> dict[str, Any]:
    """Train what is missing of the reference and the variants, and judge all of it on public."""
    base = [_trained(REFERENCE, reference.changed(seed=seed)) for seed in seeds]
    rows = [_row(REFERENCE, "", base, None)]
    runs = list(base)
    for name, config in plans.items():
        in_turn = _variant(name).in_turn
        others = [_trained(name, config.changed(seed=seed), in_turn) for seed in seeds]
        setting = "each face every second epoch" if in_turn else described(reference, config)
        rows.append(_row(name, setting, others, base))
        runs += others
    return {
        "recipe": recipe,
        "epochs": reference.epochs,
        "seeds": list(seeds),
        "judged_on": "public",
        "n": len(base[0].predictions("public").labels_N),
        **made_on(runs),
        "rows": rows,
    }


def described(reference: RunConfig, config: RunConfig) -> str:
    """`ema_decay 0.998 -> 0.0`: every field that a variant changes; of the augmentation, its steps alone; no files."""
    before, after = reference.model_dump(), config.differences_from(reference)
    skipped = {"plugin"} | ({"augment", "augment_share"} if "augment_steps" in after else set())
    return "; ".join(f"{k} {_plain(before[k])} -> {_plain(v)}" for k, v in after.items() if k not in skipped)


def _row(name: str, setting: str, runs: Sequence[Run], base: Sequence[Run] | None) -> dict[str, Any]:
    """Means over the seeds; the difference to the reference, paired face by face."""
    reports = {view: [report_on(run.predictions("public", view)) for run in runs] for view in ("none", "flip")}
    speeds = [one.images_per_s for run in runs for one in run.history()]
    delta, low_high = (None, None) if base is None else paired(_public(base), _public(runs))
    return {
        "trick": name,
        "setting": setting,
        "accuracy": {view: statistics.mean(one.accuracy for one in some) for view, some in reports.items()},
        "log_loss": statistics.mean(one.log_loss for one in reports["none"]),
        "delta": delta,
        "delta_ci95": low_high,
        "faces_per_s": statistics.median(speeds),
        "threads": runs[0].environment()["threads"],  # a variant may be trained beside another, on a core of its own
    }


def paired(base: Sequence[SplitPredictions], other: Sequence[SplitPredictions]) -> tuple[float, Interval]:
    """Difference of the accuracies, other minus base, with a 95% interval that is paired face by face.

    One pair of runs: the interval of `compare.paired_difference_interval`. Several seeds: of each face the mean
    difference over the seeds, and the normal interval of its mean over the faces.
    Raises: RunError: the runs cannot be compared.
    """
    if len(base) == 1:
        found = compare(base[0], other[0])
        return found.accuracy_delta, found.accuracy_delta_ci95
    first = base[0]
    rows = [shared_rows(first, one)[1] for one in (*base, *other)]
    hits = [_hits(one)[places] for one, places in zip((*base, *other), rows, strict=True)]
    difference_N = np.mean(hits[len(base) :], axis=0) - np.mean(hits[: len(base)], axis=0)
    mean = float(difference_N.mean())
    half = Z95 * float(difference_N.std(ddof=1)) / len(difference_N) ** 0.5
    return mean, (mean - half, mean + half)


def _hits(answers: SplitPredictions) -> Any:
    return (answers.logits_NK.argmax(axis=1) == answers.labels_N).astype(np.float64)


def _public(runs: Sequence[Run]) -> list[SplitPredictions]:
    return [run.predictions("public") for run in runs]


def _trained(name: str, config: RunConfig, in_turn: bool = False) -> Run:
    """The finished run of a variant and seed: the one that is there, or it is trained now. Without private answers.

    Raises: RunError: a run of that name has another configuration.
    """
    full = f"{name}-e{config.epochs}-s{config.seed}"
    folder = Path(os.environ["FER_RUNS"]) / full
    run = find_run(full) if folder.exists() else create_run(config, full)
    if run.config() != config:
        other = ", ".join(run.config().differences_from(config)) or "its recipe"
        raise RunError(f"{full} was trained with another configuration ({other}); name another --runs folder.")
    if run.status().state != "done":
        _train(run, in_turn)
    if "private" in run.splits():
        _drop_private(run)
    return run


def _train(run: Run, in_turn: bool) -> None:
    from benchmarks.flips import flips_in_turn  # torch comes with it
    from fer_core.experiment import train_run

    print(f"training {run.name}", file=sys.stderr, flush=True)
    with flips_in_turn() if in_turn else nullcontext():
        train_run(run)
    if run.status().state != "done":
        raise RunError(f"{run.name} was stopped; the same command goes on with it.")


def _drop_private(run: Run) -> None:
    """Keep the answers on public alone, by every view."""
    more = {view: run.predictions("public", view).logits_NK for view in run.views("public") if view != "none"}
    run.write_predictions({"public": replace(run.predictions("public"), more_NK=more)})


def _variant(name: str) -> Variant:
    known = {variant.name: variant for variant in VARIANTS}
    return known[check_name("variant", name, known)]


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--recipe", default="small/fast")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these variants alone; the reference is always there")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="folder of the variants' runs")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of ablation.json")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
