"""Finished runs as plain values: figures from the answers that they have stored, size, time, machine and code.

Nothing here holds a machine's path: what is returned is written into files that travel with the code.
Shapes: N faces, K classes.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from fer_core.config import RunConfig
from fer_core.ensemble import averaged
from fer_core.ensemble_file import Ensemble, read_ensemble
from fer_core.environment import code_of
from fer_core.errors import RunError
from fer_core.evaluate import Report
from fer_core.predictions import SplitPredictions, report_on
from fer_core.runs import EpochRecord, Run
from fer_core.seeds import setting_of

SPLITS = ("public", "private")


def measure(run: Run) -> dict[str, Any]:
    """A run as the leaderboard keeps it; shares in 0..1, times in seconds or minutes as their names say.

    Raises: RunError: it is damaged, has not looked at its data yet, or its data is not FER2013.
    """
    config, environment, history = run.config(), run.environment(), run.history()
    data = environment.get("data", {})
    if not data.get("is_fer2013"):
        source = Path(str(data.get("source", config.data))).name
        raise RunError(f"run {run.name!r} was not trained on FER2013 but on {source}: it has no place here.")
    return {
        "name": run.name,
        "state": run.status().state,
        "recipe": config.recipe,
        "model": config.model,
        "setting": setting_of(config),
        "seed": config.seed,
        "labels": config.labels,
        "judged_by": data.get("judged_by", "fer"),
        "classes": len(data["classes"]),
        "train_faces": sum(data["counts"]["train"].values()),
        "selected_by": config.select_by,
        "parameters": environment.get("parameters"),
        "multiply_adds": environment.get("multiply_adds"),
        **_time_of(history, config),
        "machine": _machine(environment),
        "code": environment.get("code", {}),
        "figures": figures(run),
        **_made_of(read_ensemble(run)),
    }


def _made_of(ensemble: Ensemble | None) -> dict[str, Any]:
    """An ensemble's members in the place of the settings of one of them; nothing for a trained run."""
    if ensemble is None:
        return {}
    setting = {"members": list(ensemble.members), "average": ensemble.average}
    return {"recipe": None, "model": ensemble.title, "setting": setting}


def made_on(runs: Sequence[Run]) -> dict[str, Any]:
    """What runs of a study were trained on, and by which code; each of them once."""
    abouts = [about for run in runs if (about := run.environment())]
    machines = [f"{one['machine']}, {one['cores']} cores, {one['placement']}" for one in abouts]
    codes = [code_of(one) for one in abouts]
    return {"machine": "; ".join(dict.fromkeys(machines)), "codes": list(dict.fromkeys(codes))}


def finished(runs: Iterable[Run], name: str) -> list[Run]:
    """The finished runs of a study's setting, which are named NAME-sSEED, by seed."""
    known = [run for run in runs if run.name.rpartition("-s")[0] == name and run.status().state == "done"]
    return sorted(known, key=lambda run: run.config().seed)


def figures(run: Run) -> dict[str, dict[str, dict[str, Any]]]:
    """Split -> test-time view -> figures, for what the run has stored. Raises: RunError: damaged, or not finite."""
    return {
        split: {view: report_values(report_on(run.predictions(split, view))) for view in run.views(split)}
        for split in run.splits()
    }


def report_values(report: Report) -> dict[str, Any]:
    """The headline figures of a report, unrounded; `without_copies` leaves out the faces that also stand in train."""
    names = ("n", "accuracy", "accuracy_ci95", "macro_f1", "balanced_accuracy", "log_loss", "ece")
    return {
        **{name: getattr(report, name) for name in names},
        "without_copies": None if report.dedup is None else dict(vars(report.dedup)),
    }


def ensemble_figures(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, Any]]]:
    """The figures of the mean softmax of several runs, for every split and view that all of them have.

    Raises: RunError: they were not judged on the same faces in the same order.
    """
    found = averaged(runs, "probabilities")
    return {split: _by_view(found[split]) for split in SPLITS if split in found}


def _by_view(answers: SplitPredictions) -> dict[str, dict[str, Any]]:
    logits = {"none": answers.logits_NK, **answers.more_NK}
    return {view: report_values(report_on(replace(answers, logits_NK=some))) for view, some in logits.items()}


def epoch_seconds(history: Sequence[EpochRecord]) -> list[float]:
    """How long each epoch took, judging on public included. `wall_s` counts from the training's start."""
    return [after - before for before, after in pairwise([0.0, *(one.wall_s for one in history)])]


def _time_of(history: Sequence[EpochRecord], config: RunConfig) -> dict[str, Any]:
    """Minutes are epochs times the median epoch: on a machine with other work, the wall time says more of that work.

    Epochs on smaller faces and on whole ones have medians of their own.
    """
    if not history:
        return {"epochs": 0, "epoch_s": None, "minutes": None, "wall_minutes": None, "images_per_s": None}
    seconds, early = epoch_seconds(history), round(config.early_share * (config.epochs or len(history)))
    parts = [part for part in (seconds[:early], seconds[early:]) if part]
    return {
        "epochs": len(history),
        "epoch_s": statistics.median(seconds),
        "minutes": sum(len(part) * statistics.median(part) for part in parts) / 60,
        "wall_minutes": history[-1].wall_s / 60,
        "images_per_s": statistics.median(one.images_per_s for one in history),
    }


def _machine(environment: Mapping[str, Any]) -> dict[str, Any]:
    names = {"machine": "processor", "cores": "cores", "threads": "threads", "placement": "path"}
    found = {ours: environment.get(theirs) for theirs, ours in names.items()}
    return found | {"accelerator": environment.get("accelerator")}
