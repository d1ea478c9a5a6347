"""The leaderboard: finished runs, measured from the answers they have stored, beside the published figures.

    python -m benchmarks.leaderboard add RUN [RUN ...] [--title T] [--note TEXT] [--negative WHY]
    python -m benchmarks.leaderboard render
    python -m benchmarks.leaderboard anchors

`add` measures runs (names in the runs folder, or folders) and writes `leaderboard.json` and `leaderboard.md`; a run
that is there already is measured again in its place. Runs that differ only in their seed are one line, with mean and
spread; those that are given together also make an ensemble by their mean softmax. What failed is marked (`--negative`)
and stays.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.anchors import anchors
from benchmarks.leaderboard_text import render
from benchmarks.measured import ensemble_figures, measure
from fer_core.errors import DataError, FerError, RunError
from fer_core.files import write_json, write_text
from fer_core.runs import Run, find_run

FORMAT = 1
"""Format number of `leaderboard.json`."""
FOLDER = Path(__file__).parent

Board = dict[str, Any]
"""`runs` and `ensembles`, lists of rows in the order in which they were added."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or 2 after one line on standard error for wrong input."""
    args = _arguments(arguments)
    try:
        if args.command == "anchors":
            for one in anchors():
                print(f"{one.accuracy:7.2%}  {one.title} ({one.judged_by}): {one.protocol}")
            return 0
        board = read_board(args.out)
        if args.command == "add":
            runs = [find_run(reference) for reference in args.runs]
            add(board, runs, title=args.title, note=args.note, negative=args.negative)
        print(write_board(args.out, board))
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def read_board(folder: Path) -> Board:
    """The board in a folder, an empty one where there is none. Raises: DataError: damaged, or of another format."""
    values = _read_json(folder / "leaderboard.json")
    if values is None:
        return {"runs": [], "ensembles": []}
    if values.pop("format", None) != FORMAT:
        raise DataError(f"{folder / 'leaderboard.json'}: another format than {FORMAT}; add its runs to a new one.")
    return values


def write_board(folder: Path, board: Board) -> Path:
    """Write the board and its text, each whole or not at all. Returns: the text's path."""
    text = render(board, [vars(one) for one in anchors()], _read_json(folder / "ablation.json"))
    write_json(folder / "leaderboard.json", {"format": FORMAT, **board})
    path = folder / "leaderboard.md"
    write_text(path, text)
    return path


def add(board: Board, runs: Sequence[Run], *, title: str = "", note: str = "", negative: str = "") -> None:
    """Measure runs and put them on the board, all of them or none; those on one setting also as an ensemble.

    Args: title, note, negative: of these runs; left empty, a run that is there already keeps what it has.
    Raises: RunError: a run cannot be measured, has not come to its end (unless it is negative), or its name belongs to
        a run of another setting or seed.
    """
    if len({run.name for run in runs}) < len(runs):
        raise RunError("a run is named twice; name each once.")
    words = {"title": title, "note": note, "negative": negative}
    rows = [_row(board, run, words) for run in runs]
    ensembles = _ensembles(rows, runs)
    for row in rows:
        _put(board["runs"], row, ("name",))
    for ensemble in ensembles:
        _put(board["ensembles"], ensemble, ("group",))


def _row(board: Board, run: Run, words: Mapping[str, str]) -> dict[str, Any]:
    row = measure(run)
    row["group"] = group_of(row)
    before = next((one for one in board["runs"] if one["name"] == run.name), None)
    if before and (before["setting"], before["seed"]) != (row["setting"], row["seed"]):
        raise RunError(
            f"a run named {run.name!r} with another setting or seed is on the board, and what is there stays: give the "
            "folder of this one another name."
        )
    row |= {name: text or (before or {}).get(name, "") for name, text in words.items()}
    if not row["negative"] and "private" not in row["figures"]:
        raise RunError(
            f"run {run.name!r} is {row['state']} and has no figures on private: train it to its end, or say by "
            "--negative why it stands there."
        )
    return row


def group_of(row: Mapping[str, Any]) -> str:
    """Equal for runs that differ in their seed alone: one setting, one path on one machine, one version of the code."""
    names = ("recipe", "model", "setting", "machine", "train_faces", "judged_by")
    return json.dumps([*(row[name] for name in names), row["code"].get("version")], sort_keys=True)


def _ensembles(rows: Sequence[Mapping[str, Any]], runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Of each setting that has been given with at least two seeds; a seed that stands twice counts once."""
    pairs = [pair for pair in zip(rows, runs, strict=True) if not pair[0]["negative"]]
    pairs.sort(key=lambda pair: (pair[0]["group"], pair[0]["seed"]))
    found = []
    for group, some in groupby(pairs, key=lambda pair: pair[0]["group"]):
        by_seed = {row["seed"]: (row, run) for row, run in some}
        if len(by_seed) > 1:
            members = [row for row, _ in by_seed.values()]
            figures = ensemble_figures([run for _, run in by_seed.values()])
            names = [row["name"] for row in members]
            found.append({"group": group, "members": names, "seeds": list(by_seed), "figures": figures})
    return found


def _put(rows: list[dict[str, Any]], row: dict[str, Any], keys: Sequence[str]) -> None:
    """Replace the row with the same keys, or append."""
    same = [place for place, one in enumerate(rows) if all(one[key] == row[key] for key in keys)]
    if same:
        rows[same[0]] = row
    else:
        rows.append(row)


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged ({error}). Put back the last good one.") from None
    if not isinstance(values, dict):
        raise DataError(f"{path}: damaged (a JSON object is expected). Put back the last good one.")
    return values


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", help="measure runs and put them on the board")
    adding.add_argument("runs", nargs="+", metavar="RUN", help="name or folder of a finished run")
    adding.add_argument("--title", default="", help="what the system is called; left out, its recipe or net")
    adding.add_argument("--note", default="", help="one sentence that stands beside it")
    adding.add_argument("--negative", default="", metavar="WHY", help="why this did not work; it stands apart")
    rendering = commands.add_parser("render", help="write leaderboard.md from leaderboard.json")
    commands.add_parser("anchors", help="print the published figures and their protocols")
    for one in (adding, rendering):
        one.add_argument("--out", type=Path, default=FOLDER, help="folder of leaderboard.json, .md and ablation.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
