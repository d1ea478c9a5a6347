"""How much faster the CSV opens than with what most notebooks do: pandas, then a split of each row.

    python -m benchmarks.open_csv fer2013.csv [--rounds 3] [--json]

Both parse the same file in turn, several times; the ratio is the median of the pairs.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fer_core.data.csv_source import SIDE, read_csv
from fer_core.environment import processor_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    ours, theirs = [], []
    for _ in range(args.rounds):
        theirs.append(_seconds(lambda: notebook_way(args.csv)))
        ours.append(_seconds(lambda: read_csv(args.csv, lambda done, total: None).images_NHW))
    values = {
        "machine": processor_name(),
        "rounds": args.rounds,
        "baseline_s": statistics.median(theirs),
        "ours_s": statistics.median(ours),
        "ratio": statistics.median(a / b for a, b in zip(theirs, ours, strict=True)),
    }
    if args.json:
        print(json.dumps(values))
    else:
        print(f"{args.csv}: pandas and split {values['baseline_s']:.1f} s, ours {values['ours_s']:.1f} s")
        print(f"{values['ratio']:.1f} times as fast, median of {args.rounds} pairs, {values['machine']}")


def notebook_way(path: Path) -> np.ndarray:
    """uint8 (N, 48, 48): `pandas.read_csv`, then `np.array(pixels.split())` for each row."""
    frame = pd.read_csv(path)
    rows = [np.array(pixels.split(), dtype=np.uint8) for pixels in frame["pixels"]]
    return np.stack(rows).reshape(-1, SIDE, SIDE)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
