"""The command that trains a shipped net again from the user's FER2013 and shows both side by side."""

import sys
from contextlib import nullcontext, redirect_stdout
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field
from pydantic_settings import CliPositionalArg

from fer_core import launcher
from fer_core.bootstrap import intervals_of_one
from fer_core.catalog import VIEWS, check_name
from fer_core.cli_parts import Command, Json, config_flag, print_notes, print_result
from fer_core.cli_train import train_runs
from fer_core.config import RunConfig
from fer_core.console import progress
from fer_core.data import FaceStore, open_store, resolve_config
from fer_core.data.known import find_faces
from fer_core.data.views import judged_view, training_view
from fer_core.ensemble_file import refuse_ensemble
from fer_core.environment import code_of, describe_environment
from fer_core.errors import DataError, RunError
from fer_core.evaluate import Interval, Report, wilson_interval
from fer_core.labels import SPLITS
from fer_core.predictions import report_on
from fer_core.runs import Run, create_run, find_run, free_name, shipped_runs

SHIPPED = {"small": "fer2013-small", "small/balanced": "fer2013-small-balanced"}
"""What can be trained again -> the shipped run that it is measured against."""

_ITS_OWN = ("data", "ferplus", "seed", "device", "precision")
"""What a reproduction may choose for itself."""
_FOUND_SHARE = 0.99
"""A copy of FER2013 has nearly all of the shipped run's faces; re-compression loses a few flat ones."""
_ROUNDING = 1e-9
"""An interval that ends at 0 or 1 may miss it by a rounding."""


class Reproduce(Command):
    """Train a shipped net again from your FER2013, and show its figures beside the shipped ones."""

    net: CliPositionalArg[str] = Field(description=f"What to train again: {', '.join(SHIPPED)}.")
    data: str | None = config_flag("data")
    seed: int | None = Field(None, ge=0, lt=2**31, description="Another seed than the shipped net's.")
    device: str = config_flag("device")
    precision: str = config_flag("precision")
    name: str | None = Field(None, description="Name of the run: letters, digits, _ and -. Left out: a free one.")
    resume: str | None = Field(None, description="Go on with this reproduction, or show it if it is done.")
    view: str = Field("none", description=f"The test-time view to compare by: {', '.join(VIEWS)}.")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        shipped = _shipped(check_name("shipped net", self.net, SHIPPED))
        check_name("view", self.view, shipped.views("private"))
        run = self._begun(shipped) if self.resume else self._create(shipped)
        if run.status().state != "done":
            with redirect_stdout(sys.stderr) if self.as_json else nullcontext():
                train_runs([run], queue=False)
        if run.status().state != "done":
            print_notes([f"stopped. Go on with: python -m fer_core reproduce {self.net} --resume {run.name}"])
            return
        values = beside(shipped, run, self.view)
        print_result(values, self.as_json, partial(_show, values))

    def _create(self, shipped: Run) -> Run:
        seed = shipped.config().seed if self.seed is None else self.seed
        own = {"data": self.data, "ferplus": None, "seed": seed, "device": self.device, "precision": self.precision}
        config = resolve_config(shipped.config().changed(**own))
        with progress("reading") as reading:
            store = open_store(config.data, reading)
        notes = check_data(store, config, shipped)
        from fer_core.experiment import check_trainable  # torch comes with it

        check_trainable(config, store)
        print_notes([*notes, *_other_code(shipped)])
        return create_run(config, self.name or free_name(config))

    def _begun(self, shipped: Run) -> Run:
        given = sorted(self.model_fields_set & {"data", "seed", "device", "precision", "name"})
        if given:
            raise RunError(f"--{given[0]} does not go with --resume: a run keeps the configuration it has.")
        run = find_run(self.resume or "")
        refuse_ensemble(run)
        other = [name for name in run.config().differences_from(shipped.config()) if name not in _ITS_OWN]
        if run.shipped or other:
            why = f"it differs in {', '.join(other)}" if other else "it is the shipped one itself"
            raise RunError(f"run {run.name!r} does not reproduce {shipped.name}: {why}. Leave --resume out.")
        if run.status().state != "done":
            launcher.make_ready(run)
        return run


def check_data(store: FaceStore, config: RunConfig, shipped: Run) -> list[str]:
    """Make sure that these are the faces which the shipped run was trained on.

    Returns: what a person must be told where they are the same pictures, but not bit for bit.
    Raises: DataError: other faces: other counts of an emotion in a split, or other pictures.
    """
    theirs = shipped.environment().get("data", {})
    train, judged = training_view(store, config), judged_view(store, config)
    if train.fingerprint == theirs.get("fingerprint"):
        return []
    advice = "Give your FER2013 by --data, a fer2013.csv or its folder."
    for split, expected in theirs["counts"].items():
        found = (train if split == "train" else judged).counts()[split]
        if found != expected:
            n, wanted = sum(found.values()), sum(expected.values())
            raise DataError(
                f"{store.source}: {n:,} faces in {split}, and {shipped.name} was trained on FER2013 with {wanted:,}"
                f"{' in other shares of the emotions' if n == wanted else ''}. {advice}"
            )
    hashes = np.concatenate([shipped.predictions(split).hashes_N for split in shipped.splits()])
    share = float(np.mean(find_faces(store, hashes) >= 0))
    if share < _FOUND_SHARE:
        raise DataError(f"{store.source}: only {share:.0%} of FER2013's public and private faces are there. {advice}")
    exact = float(np.mean(np.isin(hashes, store.hashes_N)))
    same = "in another order" if exact == 1 else f"of which {1 - exact:.0%} are re-compressed"
    return [f"{store.source} holds the faces that {shipped.name} was trained on, {same}: the figures will differ."]


def beside(shipped: Run, run: Run, view: str = "none") -> dict[str, Any]:
    """Figures of both runs on public and private: `rows` of split, figure, shipped, new, difference, interval, inside.

    `shipped_ci95` says how far the faces alone move the shipped figure: Wilson's for accuracy and recall, for macro-F1
    and balanced accuracy the percentiles of faces drawn again.
    Raises: RunError: a run has no such answers.
    """
    rows = []
    for split in SPLITS[1:]:
        old, new = (report_on(one.predictions(split, view)) for one in (shipped, run))
        before, after = _figures(old), _figures(new)
        intervals = _intervals(old)
        for name, value in before.items():
            low, high = intervals[name]
            rows.append(
                {
                    "split": split,
                    "figure": name,
                    "shipped": value,
                    "new": after[name],
                    "difference": after[name] - value,
                    "shipped_ci95": (low, high),
                    "inside": low - _ROUNDING <= after[name] <= high + _ROUNDING,
                }
            )
    seeds = {"shipped_seed": shipped.config().seed, "seed": run.config().seed}
    return {"shipped": shipped.name, "run": run.name, "view": view, **seeds, "n": _sizes(run, view), "rows": rows}


def _figures(report: Report) -> dict[str, float]:
    recalls = {f"recall {name}": one.recall for name, one in report.per_class.items()}
    headline = {"accuracy": report.accuracy, "macro_f1": report.macro_f1}
    return {**headline, "balanced_accuracy": report.balanced_accuracy, **recalls}


def _intervals(report: Report) -> dict[str, Interval]:
    recalls = {
        f"recall {name}": wilson_interval(round(one.recall * one.support), one.support) if one.support else (0.0, 1.0)
        for name, one in report.per_class.items()
    }
    drawn = intervals_of_one(report.confusion_KK)
    return {**drawn, "accuracy": report.accuracy_ci95, **recalls}


def _sizes(run: Run, view: str) -> dict[str, int]:
    return {split: len(run.predictions(split, view).labels_N) for split in SPLITS[1:]}


def _shipped(net: str) -> Run:
    name = SHIPPED[net]
    found = [run for run in shipped_runs() if run.name == name]
    if not found:
        raise RunError(f"the shipped run {name} is not there; install the explorer again.")
    return found[0]


def _other_code(shipped: Run) -> list[str]:
    """What to know where the shipped net was trained by another version of the code."""
    theirs, ours = shipped.environment(), describe_environment()
    if theirs.get("code", {}).get("source_hash") == ours["code"]["source_hash"]:
        return []
    before = code_of(theirs) if "code" in theirs else "that is not known"
    return [f"{shipped.name} was trained by code {before}, this is {code_of(ours)}."]


def _show(values: dict[str, Any]) -> None:
    n = ", ".join(f"{count:,} faces of {split}" for split, count in values["n"].items())
    print(f"{values['run']} (seed {values['seed']}) beside {values['shipped']} (seed {values['shipped_seed']})")
    print(f"{n}, view {values['view']}; inside: within the shipped figure's 95% interval")
    print(f"{'split':<9}{'figure':<20}{'shipped':>9}{'new':>9}{'new - old':>11}{'95% interval':>20}  inside")
    for row in values["rows"]:
        low, high = row["shipped_ci95"]
        cells = [f"{value:.2%}" for value in (row["shipped"], row["new"], low, high)]
        name, points = _in_words(row["figure"]), f"{100 * row['difference']:+z.2f}"
        print(
            f"{row['split']:<9}{name:<20}{cells[0]:>9}{cells[1]:>9}{points:>11}"
            f"{f'{cells[2]} to {cells[3]}':>20}  {'yes' if row['inside'] else 'no'}"
        )
    inside = sum(row["inside"] for row in values["rows"])
    print(f"{inside} of {len(values['rows'])} figures lie inside")


def _in_words(figure: str) -> str:
    return {"macro_f1": "macro-F1"}.get(figure, figure.replace("_", " "))
