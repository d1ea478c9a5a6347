"""Likely label errors of FER2013, measured: how many FER+'s taggers confirm, and what leaving them out does to a net.

    python -m benchmarks.label_errors folds --data fer2013.csv [--epochs 8] [--folds 5] [--runs FOLDER]
    python -m benchmarks.label_errors rank --data fer2013.csv [--run fer2013-small] [--top 1000]
    python -m benchmarks.label_errors judge --data fer2013.csv [--run fer2013-small]
    python -m benchmarks.label_errors retrain --data fer2013.csv [--seeds 0 1]
    python -m benchmarks.label_errors report --data fer2013.csv [--json]

In this order. `folds` puts the nets that judge train into the trainings' own queue, `retrain` those that are trained
as is, without the likeliest errors, and with them relabelled; both return at once, and what is there already is not
trained again. `rank` ranks train by the folds, public and private by a finished run, measures every ranking against
FER+'s majority (which it needs beside the data), writes `label_errors.json` and `.md`, and the review list that
`retrain` uses into the runs folder. `judge` measures public and private alone again, by another run. `report` adds what
retraining gave, on public.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.label_errors_text import label_errors_text
from benchmarks.measured import finished, made_on
from benchmarks.queued import queue
from fer_core.catalog import HELD_OUT
from fer_core.config import RunConfig
from fer_core.data import FaceStore, open_store, resolve_config
from fer_core.data.labelling import majority_labels
from fer_core.environment import code_of
from fer_core.errors import FerError, RunError
from fer_core.evaluate import softmax
from fer_core.files import private_folder, write_json, write_text
from fer_core.label_errors import (
    METHODS,
    error_rows,
    ferplus_errors,
    gather_folds,
    out_of_sample,
    precision_at,
    rank_label_errors,
)
from fer_core.label_sides import label_sides, rows_in, votes_of
from fer_core.labels import EMOTIONS
from fer_core.predictions import SplitPredictions
from fer_core.review import ReviewList
from fer_core.runs import Run, find_run, list_runs
from fer_core.seeds import compare_seeds

FORMAT = 1
"""Format number of `label_errors.json`."""
FOLDER = Path(__file__).parent
KS = (100, 500, 1000)
AS_IS = "as-is"
ACTIONS = ("drop", "relabel")
"""What is done about the likeliest label errors, as `review_action` names it; one review list serves both."""
LIST = "likely-errors.jsonl"
"""That list's name in the runs folder."""
_Answers = Sequence[SplitPredictions]


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 after one line for wrong input."""
    args = _arguments(arguments)
    os.environ["FER_RUNS"] = str(args.runs.resolve())
    try:
        if args.step in ("folds", "retrain"):
            plans = fold_plans(args) if args.step == "folds" else retrain_plans(args)
            print(f"{queue(plans)} trainings in the queue of {args.runs}")
            return 0
        values = _STEPS[args.step](args)
        write_json(args.out / "label_errors.json", values)
        text = label_errors_text(values)
        write_text(args.out / "label_errors.md", text)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(values, indent=1) if args.json else text)
    return 0


def fold_plans(args: argparse.Namespace) -> list[tuple[str, RunConfig]]:
    """Name and configuration of the net of each fold."""
    return [(f"fold-{fold}", _config(args, folds=args.folds, fold=fold)) for fold in range(args.folds)]


def retrain_plans(args: argparse.Namespace) -> list[tuple[str, RunConfig]]:
    """Seed by seed, so that a queue that is cut short has whole seeds. Raises: RunError: there is no review list."""
    path = args.runs / LIST
    if not path.exists():
        raise RunError(f"{path} is not there. First: benchmarks.label_errors rank")
    changes: dict[str, dict[str, Any]] = {AS_IS: {}}
    changes |= {action: {"review": str(path.resolve()), "review_action": action} for action in ACTIONS}
    return [
        (f"{name}-s{seed}", _config(args, seed=seed, **change))
        for seed in args.seeds
        for name, change in changes.items()
    ]


def _config(args: argparse.Namespace, **changes: Any) -> RunConfig:
    base = RunConfig.parse({"recipe": args.recipe, "data": args.data, "ferplus": args.ferplus, "epochs": args.epochs})
    return resolve_config(base.changed(tensorboard=False, views=("none", "flip"), **changes))


def ranked(args: argparse.Namespace) -> dict[str, Any]:
    """Precision of every ranking on the three splits, and with whom FER+ sides in a run's mistakes on two of them.

    Writes the review list on the way. Raises: FerError: folds, votes or the run's answers are not there.
    """
    store = open_store(args.data, ferplus=args.ferplus)
    folds = _folds()
    train = gather_folds(folds, _view(folds, HELD_OUT))
    judge = _by_run(store, find_run(args.run))
    votes_NV = _votes(store, train)
    return {
        "format": FORMAT,
        "recipe": args.recipe,
        "epochs": folds[0].config().epochs,
        "folds": len(folds),
        **made_on(folds),
        **judge,
        "splits": {"train": precisions(train, votes_NV), **judge["splits"]},
        "listed": mark_likeliest(args.runs / LIST, train, votes_NV, args.top),
        "retrained": None,
    }


def judged(args: argparse.Namespace) -> dict[str, Any]:
    """What is written, with public and private by another run. Raises: FerError: nothing is, or as `ranked`."""
    values = _written(args.out)
    judge = _by_run(open_store(args.data, ferplus=args.ferplus), find_run(args.run))
    return {**values, **judge, "splits": values["splits"] | judge["splits"]}


def _by_run(store: FaceStore, run: Run) -> dict[str, Any]:
    """Of a run that was trained on train: its rankings of public and private, and FER+'s side in its mistakes."""
    view = _view([run], "private")
    tested = {split: out_of_sample(run, split, view) for split in ("public", "private")}
    environment = run.environment()
    return {
        "run": run.name,
        "run_code": code_of(environment) if environment else None,
        "splits": {split: precisions(one, _votes(store, one)) for split, one in tested.items()},
        "sides": {split: _sides(store, run.predictions(split, view)) for split in tested},
    }


def precisions(answers: SplitPredictions, votes_NV: NDArray[np.uint8]) -> dict[str, Any]:
    """Of each ranking of these faces, the share of its first k labels that FER+'s majority calls wrong."""
    wrong_N, known_N = ferplus_errors(answers, votes_NV)
    probabilities_NK = softmax(answers.logits_NK)
    methods = {
        name: [
            one.to_json()
            for one in precision_at(rank_label_errors(answers.labels_N, probabilities_NK, name), wrong_N, known_N, KS)
        ]
        for name in METHODS
    }
    return {"n": len(known_N), "known": int(known_N.sum()), "wrong": int(wrong_N.sum()), "methods": methods}


def mark_likeliest(path: Path, train: SplitPredictions, votes_NV: NDArray[np.uint8], top: int) -> dict[str, Any]:
    """Write a review list of the likeliest label errors, whole, in the place of an older one.

    Marked as wrong labels are the first so many faces on which the nets say another emotion; that one is proposed.
    Returns: how many they are, and what FER+'s majority says of them.
    Raises: RunError: there is no such face.
    """
    rows = [row for row in error_rows(train, votes_NV=votes_NV) if row["proposed"] != row["label"]][:top]
    if not rows:
        raise RunError("the folds' nets say what the label says of every face: there is no label error to list.")
    with private_folder(path.parent, "list") as folder:
        fresh = ReviewList(folder / path.name)
        for row in rows:
            fresh.mark(row["hash"], row["label"], "train", "wrong label", proposed=row["proposed"])
        fresh.path.replace(path)
    known = [row for row in rows if row["ferplus"]]
    return {
        "faces": len(rows),
        "known": len(known),
        "wrong": sum(row["ferplus_says_wrong"] for row in known),
        "proposed_right": sum(row["proposed"] == row["ferplus"] for row in known),
        "digest": ReviewList(path).digest(),
    }


def _sides(store: FaceStore, answers: SplitPredictions) -> dict[str, Any]:
    return label_sides(answers, _votes(store, answers)).to_json()


def with_retrained(args: argparse.Namespace) -> dict[str, Any]:
    """What is written, and what its list did. Raises: FerError: nothing is, or as `retrained`."""
    values = _written(args.out)
    return {**values, "retrained": retrained(args, values["listed"]["digest"])}


def retrained(args: argparse.Namespace, digest: str) -> dict[str, Any]:
    """Accuracy on public of each setting, and differences to as-is, by FER2013's labels and by FER+'s majority.

    Args: digest: of the review list that they have to have used.
    Raises: FerError: nothing is retrained yet or by another list, or there are no votes.
    """
    runs = {name: finished(list_runs(), name) for name in (AS_IS, *ACTIONS)}
    if not runs[AS_IS] or not any(runs[action] for action in ACTIONS):
        raise RunError("no as-is run and retrained run is finished here. First: benchmarks.label_errors retrain")
    faces = {action: _reviewed(runs[action], digest) for action in ACTIONS if runs[action]}
    store = open_store(args.data, ferplus=args.ferplus)
    answers = {name: [run.predictions("public", "flip") for run in some] for name, some in runs.items() if some}
    by_ferplus = {name: [by_majority(store, one) for one in some] for name, some in answers.items()}
    return {
        **made_on([run for some in runs.values() for run in some]),
        "faces": faces,
        "by": {"FER2013's labels": _compared(answers), "FER+'s majority": _compared(by_ferplus)},
    }


def _reviewed(runs: Sequence[Run], digest: str) -> dict[str, int]:
    """How many training rows the list dropped and relabelled. Raises: RunError: a run used another list."""
    records = [run.environment().get("review") or {} for run in runs]
    other = next((run.name for run, one in zip(runs, records, strict=True) if one.get("digest") != digest), None)
    if other is not None:
        raise RunError(
            f"{other} was trained by another list than {LIST}, which has been written again since. Remove the "
            "retrained runs, then: benchmarks.label_errors retrain"
        )
    return {name: records[0][name] for name in ("dropped", "relabelled")}


def _compared(answers: Mapping[str, _Answers]) -> list[dict[str, Any]]:
    """A row a setting, as-is first, against itself."""
    rows = []
    for name, some in answers.items():
        found = compare_seeds(answers[AS_IS], some)
        one = found.to_json()
        rows.append({"name": name, "seeds": len(some), "n": found.n, **{k: one[k] for k in ("accuracy", "macro_f1")}})
    return rows


def by_majority(store: FaceStore, answers: SplitPredictions) -> SplitPredictions:
    """The answers on faces with a FER+ majority among the seven emotions, which stands in the label's place."""
    majority_N = majority_labels(_votes(store, answers))
    at = np.flatnonzero((majority_N >= 0) & (majority_N < len(EMOTIONS)))
    columns = {name: getattr(answers, name)[at] for name in ("rows_N", "hashes_N", "logits_NK")}
    return replace(answers, **columns, labels_N=majority_N[at], in_train_N=None, more_NK={})


def _votes(store: FaceStore, answers: SplitPredictions) -> NDArray[np.uint8]:
    return votes_of(store, rows_in(store, answers))


def _folds() -> list[Run]:
    return [run for run in list_runs() if run.name.startswith("fold-") and run.status().state == "done"]


def _view(runs: Sequence[Run], split: str) -> str:
    """Averaged with the mirror image where every run was judged so."""
    return "flip" if runs and all("flip" in run.views(split) for run in runs) else "none"


def _written(folder: Path) -> dict[str, Any]:
    path = folder / "label_errors.json"
    if not path.exists():
        raise RunError(f"{path} is not there. First: benchmarks.label_errors rank")
    return json.loads(path.read_text())


_STEPS = {"rank": ranked, "judge": judged, "report": with_retrained}
"""The steps that write the study's files."""


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("folds", "rank", "judge", "retrain", "report"))
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--ferplus", help="FER+'s fer2013new.csv; left out, the one beside the data")
    parser.add_argument("--recipe", default="small")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--run", default="fer2013-small", help="trained on train; ranks public and private")
    parser.add_argument("--top", type=int, default=1000, help="so many faces are dropped or relabelled")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--runs", type=Path, default=Path("runs/label_errors"), help="folder of the trainings")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of label_errors.json and label_errors.md")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
