"""Faces a second in predicting, and how many are right: ours, exported, and the package `fer`, taking turns in one run.

    python -m benchmarks.predict_speed --data fer2013.csv [--run fer2013-small] [--onnx FILE ...] [--fer-python PYTHON]

All of them get the same crops of private, 48 x 48, as they are, and give probabilities or names; one by one means a
call for each face. `ratio` is the median over the rounds of how many times as fast as fer's bundled Keras model on
whole batches. Then from the bytes of a photo of 1280 x 720 with three faces (of public) to the answer, and how much
memory a thousand pictures of several sizes in a row take. Accuracy is measured here and chosen by nowhere.

fer brings TensorFlow and an old torch, so it has an environment of its own; without --fer-python its rows are missing:
    python3.11 -m venv fer-env && fer-env/bin/pip install fer==25.10.3 "setuptools<81"
Shapes: N faces, K classes.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.photo_speed import a_photo, from_photo, memory
from benchmarks.predict_ways import BASELINE, Way, fer_process, fer_ways, onnx_ways, our_ways
from fer_core.data import open_store
from fer_core.environment import code_of, describe_environment
from fer_core.errors import FerError
from fer_core.evaluate import wilson_interval
from fer_core.predict import DEFAULT_RUN, Predictor

SPLIT = "private"


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 2 after one line for wrong input."""
    args = _arguments(arguments)
    try:
        values = measure(args)
    except FerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(values, indent=1) if args.json else speed_text(values))
    return 0


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, in one process but for fer's. Raises: FerError: no such data, run or file, or fer does not start."""
    store = open_store(args.data)
    predictor = Predictor.load(args.run)
    rows = store.rows(SPLIT)
    faces_NHW = np.array(store.images_NHW[rows])
    labels = [store.classes[label] for label in store.labels_N[rows]]
    photo = a_photo(predictor, store)
    ways = our_ways(predictor, faces_NHW)
    for path in args.onnx:
        ways += onnx_ways(path, predictor, faces_NHW)
    with fer_process(args.fer_python, faces_NHW, photo) as fer:
        ways += [] if fer is None else fer_ways(fer)
        return {
            "run": predictor.name,
            "split": SPLIT,
            "n": len(faces_NHW),
            "rounds": args.rounds,
            "threads": torch.get_num_threads(),
            "load": list(os.getloadavg()),
            **describe_environment(),
            "fer": None if fer is None else fer("about", 0),
            "ways": timed(ways, labels, args.rounds, args.one_by_one),
            "photo": from_photo(predictor, photo, args.photos, fer),
            "memory": memory(predictor, store, args.pictures),
        }


def timed(ways: Sequence[Way], labels: Sequence[str], rounds: int, one_by_one: int) -> list[dict[str, Any]]:
    """Accuracy of each way on all faces, which warms it up; then their turns, and medians over the rounds.

    Args: one_by_one: faces that a turn counts where each has a call of its own; else a turn counts all.
    """
    counts = [min(one_by_one, len(labels)) if way.one_by_one else len(labels) for way in ways]
    answers = [way.turn(len(labels))[1] for way in ways]
    rates = np.array(
        [[count / way.turn(count)[0] for way, count in zip(ways, counts, strict=True)] for _ in range(rounds)]
    )
    base = next((place for place, way in enumerate(ways) if way.name == BASELINE), None)
    return [
        {
            "name": way.name,
            "faces_per_s": statistics.median(rates[:, place].tolist()),
            "ratio": None if base is None else statistics.median((rates[:, place] / rates[:, base]).tolist()),
            "all_rounds": rates[:, place].round(1).tolist(),
            **right_share(answers[place], labels),
        }
        for place, way in enumerate(ways)
    ]


def right_share(answers: Sequence[str], labels: Sequence[str]) -> dict[str, Any]:
    """Accuracy with its 95% interval (Wilson)."""
    right = sum(said == label for said, label in zip(answers, labels, strict=True))
    return {"accuracy": right / len(labels), "accuracy_ci95": wilson_interval(right, len(labels))}


def speed_text(values: Mapping[str, Any]) -> str:
    """What the command prints."""
    fer, photo, held = (values[name] for name in ("fer", "photo", "memory"))
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in photo["parts_ms"].items())
    beside = "" if photo["fer_ms"] is None else f"; fer {photo['fer_ms']:.1f} ms, {photo['fer_faces']} faces"
    width, height = photo["pixels"]
    lines = [
        f"{values['run']} on {values['n']:,} crops of {values['split']}, medians of {values['rounds']} rounds; "
        f"{values['machine']}, {values['cores']} cores, {values['threads']} threads, load {values['load'][0]:.1f}; "
        f"code {code_of(values)}" + (f"; fer {fer['fer']}" if fer else ""),
        f"{'':60}{'faces/s':>10}{'ms a face':>11}{'of fer':>8}{'right':>8}",
        *map(_line, values["ways"]),
        f"a JPEG of {width} x {height}, {photo['faces']} faces, to the answer: {photo['ms']:.1f} ms ({parts}){beside}",
        f"memory after {held['early']:,} pictures {held['early_mb']:.0f} MB, after {held['pictures']:,} "
        f"{held['late_mb']:.0f} MB",
    ]
    return "\n".join(
        lines if fer else [*lines, 'for fer: pip install fer==25.10.3 "setuptools<81" in a venv of its own']
    )


def _line(one: Mapping[str, Any]) -> str:
    ratio, rate = "" if one["ratio"] is None else f"{one['ratio']:.2f}", one["faces_per_s"]
    return f"{one['name']:60}{rate:>10,.0f}{1000 / rate:>11.2f}{ratio:>8}{one['accuracy']:>8.1%}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--run", default=DEFAULT_RUN, help="a finished run, or its folder")
    parser.add_argument("--onnx", type=Path, nargs="+", default=[], metavar="FILE", help="exports of that run")
    parser.add_argument("--fer-python", type=Path, metavar="PYTHON", help="the python of an environment with fer")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one-by-one", type=int, default=400, metavar="N", help="faces of a turn that calls for each")
    parser.add_argument("--photos", type=int, default=30, metavar="N", help="how often the photo is predicted")
    parser.add_argument("--pictures", type=int, default=1000, metavar="N", help="in a row, for memory")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
