"""Put a finished run among those that come with the explorer, with nothing of the machine that it was trained on.

    python -m benchmarks.ship RUN NAME

What is kept: configuration (without its data's place), environment, history, status, the weights that public chose, and
the answers on public and private by the views none and flip.
"""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fer_core.config import RunConfig
from fer_core.data.known import load_known
from fer_core.ensemble_file import refuse_ensemble
from fer_core.errors import FerError, RunError
from fer_core.files import folder_atomic, refuse_existing
from fer_core.predictions import SplitPredictions, report_on
from fer_core.runs import NAME, Run, find_run
from fer_core.settings import settings

MOST_BYTES = 4_000_000
"""Of each file."""
_VIEWS = ("none", "flip")
# A slash that begins a word: /home/..., ~/..., C:\..., and not the one in "accuracy/loss" or "and/or".
_PATH = re.compile(r"(?<![\w.:/\\~])(?:~?/|[A-Za-z]:[\\/]|\\\\)[^\s'\",;:()]+")


def main() -> None:
    parser = argparse.ArgumentParser(description="Put a finished run among those that come with the explorer.")
    parser.add_argument("run", help="name or folder of a run that is done")
    parser.add_argument("name", help="its name from then on, such as fer2013-small")
    arguments = parser.parse_args()
    try:
        folder = ship(find_run(arguments.run), arguments.name)
    except FerError as error:
        sys.exit(f"error: {error}")
    for path in sorted(folder.iterdir()):
        print(f"{path.name:20}{path.stat().st_size:>10,} bytes")
    for split in ("public", "private"):
        figures = [f"{view} {report_on(Run(folder).predictions(split, view)).accuracy:.2%}" for view in _VIEWS]
        print(f"{split:20}{', '.join(figures)}")
    print(folder)


def ship(run: Run, name: str) -> Path:
    """Copy what is needed of a run to the shipped ones, whole or not at all.

    Returns: its new folder.
    Raises: FerError: the name is taken or not allowed, the run is not done, was trained on other faces than FER2013's
        or on what only one machine has, lacks the answers of a view, or has a file that is too large.
    """
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} cannot name a run: use 1 to 64 letters, digits, '_' and '-'.")
    target = settings().shipped / name
    refuse_existing(target)
    refuse_ensemble(run)
    if run.status().state != "done":
        raise RunError(f"run {run.name!r} is {run.status().state}; only one that is done can be shipped.")
    config, predictions = _portable(run), {split: _answers(run, split) for split in ("public", "private")}
    with folder_atomic(target) as folder:
        copy = Run(folder)
        (folder / "config.json").write_text(config.to_json(), encoding="utf-8")
        copy.write_environment(without_paths(run.environment()))
        copy.write_history(run.history())
        copy.write_status(replace(run.status(), message="", pid=None, process_started=None))
        copy.write_predictions(predictions)
        _write_weights(run, copy)
        _check(folder)
    return target


def _portable(run: Run) -> RunConfig:
    config = run.config()
    foreign = {
        "plugin": config.plugin,
        "review": config.review,
        "weights": _PATH.search(config.weights) and config.weights,
    }
    if named := next((name for name, value in foreign.items() if value), None):
        what = f"--{named} {foreign[named]}"
        raise RunError(f"run {run.name!r} was trained with {what}, which others do not have; it cannot be shipped.")
    assert config.epochs is not None, "a run's configuration is resolved"
    return config.changed(data=None, ferplus=None).resolved(config.epochs)


def _answers(run: Run, split: str) -> SplitPredictions:
    plain, *more = (run.predictions(split, view) for view in _VIEWS)
    strange = int((~np.isin(plain.hashes_N, load_known().hashes_M)).sum())
    if strange:
        raise RunError(
            f"{strange:,} of the {len(plain.labels_N):,} {split} faces of run {run.name!r} are not FER2013's as it was "
            "published; train it on fer2013.csv, so that its faces can be found in any copy."
        )
    return replace(plain, more_NK={view: one.logits_NK for view, one in zip(_VIEWS[1:], more, strict=True)})


def _write_weights(run: Run, copy: Run) -> None:
    import torch

    from fer_core.train.checkpoint import load_checkpoint, save_checkpoint

    saved = load_checkpoint(run.best)
    saved["model"] = {
        name: tensor.detach().clone().to(torch.float32 if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in saved["model"].items()
    }
    save_checkpoint(copy.best, {key: saved[key] for key in ("model", "epoch", "architecture") if key in saved})


def without_paths(value: Any) -> Any:
    """The same JSON value; of each path in its texts, the last part alone is left."""
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_paths(item) for item in value]
    return _PATH.sub(lambda found: re.split(r"[\\/]", found[0])[-1], value) if isinstance(value, str) else value


def _check(folder: Path) -> None:
    for path in folder.iterdir():
        size = path.stat().st_size
        if size >= MOST_BYTES:
            raise RunError(f"{path.name} has {size:,} bytes; a shipped file has less than {MOST_BYTES:,}.")
        if path.suffix in (".json", ".jsonl") and (found := _PATH.search(path.read_text(encoding="utf-8"))):
            raise RunError(f"{path.name} names {found[0]!r}, a place on one machine; it cannot be shipped.")


if __name__ == "__main__":
    main()
