"""The same nets by two sets of labels: FER2013's own, and what the majority of FER+'s taggers sees in the same faces.

    python -m benchmarks.label_sets RUN RUN ... --data fer2013.csv [--view flip] [--json]

The first run is the one that the others stand beside. A net that learns train by heart gains by FER2013's labels, by
those of copies and by the habits of whoever labelled them; what people see tells the two apart. Needs FER+'s votes
beside the data; writes `label_sets.json` and `label_sets.md`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.label_errors import by_majority
from benchmarks.markdown import source_line, table, with_difference
from benchmarks.measured import SPLITS, made_on
from fer_core.catalog import VIEWS, check_name
from fer_core.compare import compare
from fer_core.data import FaceStore, open_store
from fer_core.errors import FerError, RunError
from fer_core.files import write_json, write_text
from fer_core.label_errors import out_of_sample
from fer_core.predictions import SplitPredictions
from fer_core.runs import Run, find_run

FORMAT = 1
"""Format number of `label_sets.json`."""
FOLDER = Path(__file__).parent
LABEL_SETS = ("FER2013's labels", "without copies", "FER+'s majority, without copies")
"""Copies are the faces whose very pixels also stand in train."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write. Returns the exit code: 0, or 2 after one line for wrong input."""
    args = _arguments(arguments)
    try:
        check_name("view", args.view, VIEWS)
        if len(set(args.runs)) < max(2, len(args.runs)):
            raise RunError("name at least two runs, each of them once: the first is what the others stand beside.")
        store = open_store(args.data, ferplus=args.ferplus)
        values = measured([find_run(reference) for reference in args.runs], store, args.view)
        text = label_sets_text(values)
        write_json(args.out / "label_sets.json", values)
        write_text(args.out / "label_sets.md", text)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(values, indent=1) if args.json else text)
    return 0


def measured(runs: Sequence[Run], store: FaceStore, view: str) -> dict[str, Any]:
    """Accuracy of each run by each set of labels, with the paired difference to the first.

    Raises: FerError: a run lacks the view or a split, there are no votes, or the runs judged other faces.
    """
    splits = {}
    for split in SPLITS:
        sets = [_by_each_set(run, split, view, store) for run in runs]
        splits[split] = [
            {"run": run.name, **{name: _beside(sets[0][name], one[name]) for name in LABEL_SETS}}
            for run, one in zip(runs, sets, strict=True)
        ]
    return {"format": FORMAT, "view": view, **made_on(runs), "splits": splits}


def _by_each_set(run: Run, split: str, view: str, store: FaceStore) -> dict[str, SplitPredictions]:
    unseen = out_of_sample(run, split, view)
    sets = (run.predictions(split, view), unseen, by_majority(store, unseen))
    return dict(zip(LABEL_SETS, sets, strict=True))


def _beside(first: SplitPredictions, other: SplitPredictions) -> dict[str, Any]:
    found = compare(first, other)
    delta, ci95 = (None, None) if other is first else (found.accuracy_delta, found.accuracy_delta_ci95)
    figures = {"n": found.b.n, "accuracy": found.b.accuracy, "accuracy_ci95": found.b.accuracy_ci95}
    return {**figures, "delta": delta, "delta_ci95": ci95}


def label_sets_text(values: Mapping[str, Any]) -> str:
    """A table a split."""
    parts = [
        "# By FER2013's labels, and by what people see\n\n"
        "Written by `python -m benchmarks.label_sets`. Accuracy in percent; in brackets the difference to the first "
        "run in points, with its 95% interval, paired face by face, over other faces; each run is one seed. *Without "
        "copies* leaves out the faces whose very pixels also stand in train; *FER+'s majority* is what more than half "
        "of ten taggers see, on the faces where that is one of the seven emotions. `public` chose the runs' epochs, by "
        f"FER2013's labels. View {values['view']}. {source_line(values)}\n"
    ]
    for split, rows in values["splits"].items():
        head = ("run", *(f"{name}, n = {rows[0][name]['n']:,}" for name in LABEL_SETS))
        parts.append(f"## {split.capitalize()}\n\n{table(head, [_line(row) for row in rows])}")
    return "\n".join(parts)


def _line(row: Mapping[str, Any]) -> list[str]:
    return [row["run"], *(_cell(row[name]) for name in LABEL_SETS)]


def _cell(one: Mapping[str, Any]) -> str:
    text = f"{100 * one['accuracy']:.2f}"
    return text if one["delta"] is None else with_difference(text, one["delta"], one["delta_ci95"], digits=2)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="names or folders of finished runs")
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--ferplus", help="FER+'s fer2013new.csv; left out, the one beside the data")
    parser.add_argument("--view", default="flip", help=f"test-time view: {', '.join(VIEWS)}")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of label_sets.json and label_sets.md")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
