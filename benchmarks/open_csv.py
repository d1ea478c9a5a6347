"""How much faster the CSV opens than with what most notebooks do: pandas, then each row's numbers.

    python -m benchmarks.open_csv --data fer2013.csv [--rounds 3] [--json]

Every way parses the same file in turn, several times; a ratio is the median over the rounds. Also: the peak memory of a
process that does nothing but `read_csv`, the first `open_store` (parse, hash, write the cache), and a later one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fer_core.data import find_source
from fer_core.data.csv_source import SIDE, read_csv
from fer_core.environment import processor_name

LATER_OPENS = 7

_READ = """
import resource, sys
from pathlib import Path
from fer_core.data.csv_source import read_csv
read_csv(Path(sys.argv[1]), lambda done, total: None)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(peak * (1 if sys.platform == "darwin" else 1024))
"""
_OPEN = """
import sys, time
from fer_core.data.source import open_store
started = time.perf_counter()
open_store(sys.argv[1])
print(time.perf_counter() - started)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="?", help="the same as --data")
    parser.add_argument("--data", help="a fer2013.csv; left out, $FER_DATA or data/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    source = find_source(args.data or args.csv)
    if source.kind != "csv" or source.path is None:
        parser.error(f"{source.title} is no CSV: give --data fer2013.csv")
    values = measure(source.path, args.rounds)
    if args.json:
        print(json.dumps(values))
        return
    print(f"{source.path}, {values['machine']}, medians of {args.rounds} rounds")
    print(f"  pandas and split       {values['baseline_s']:6.2f} s")
    print(f"  pandas and fromstring  {values['fromstring_s']:6.2f} s")
    print(f"  ours, parsed           {values['ours_s']:6.2f} s: {values['ratio']:.1f} times as fast as split,", end=" ")
    print(f"{values['fromstring_ratio']:.1f} times as fast as fromstring; peak memory {values['peak_mb']:.0f} MB")
    print(f"  ours, first open       {values['first_open_s']:6.2f} s: ", end="")
    print(f"{values['first_open_ratio']:.1f} times as fast as split, with the cache written")
    print(f"  ours, later open       {values['later_open_ms']:6.1f} ms (median of {LATER_OPENS} processes)")


def measure(csv: Path, rounds: int) -> dict[str, str | int | float]:
    """Every figure by name: seconds `_s`, milliseconds `_ms`, 10^6 bytes `_mb`; ratios say how often as fast as."""
    # First of all: on Linux a process starts with the peak memory of the one that started it.
    peak = _child(_READ, csv)
    ways: dict[str, Callable[[Path], object]] = {
        "baseline_s": split_way,
        "fromstring_s": fromstring_way,
        "ours_s": lambda path: read_csv(path, lambda done, total: None),
    }
    times: dict[str, list[float]] = {name: [] for name in (*ways, "first_open_s")}
    for _ in range(rounds):
        for name, way in ways.items():
            times[name].append(_seconds(way, csv))
        with tempfile.TemporaryDirectory() as cache:
            times["first_open_s"].append(_child(_OPEN, csv, cache))
            later = [_child(_OPEN, csv, cache) for _ in range(LATER_OPENS)]
    return {
        "machine": processor_name(),
        "rounds": rounds,
        **{name: statistics.median(seconds) for name, seconds in times.items()},
        "ratio": _ratio(times, "baseline_s", "ours_s"),
        "fromstring_ratio": _ratio(times, "fromstring_s", "ours_s"),
        "first_open_ratio": _ratio(times, "baseline_s", "first_open_s"),
        "later_open_ms": statistics.median(later) * 1000,
        "peak_mb": peak / 1e6,
    }


def split_way(path: Path) -> np.ndarray:
    """uint8 (N, 48, 48): `pandas.read_csv`, then `np.array(pixels.split())` for each row."""
    rows = [np.array(pixels.split(), dtype=np.uint8) for pixels in pd.read_csv(path)["pixels"]]
    return np.stack(rows).reshape(-1, SIDE, SIDE)


def fromstring_way(path: Path) -> np.ndarray:
    """uint8 (N, 48, 48): `pandas.read_csv`, then `np.fromstring` for each row."""
    rows = [np.fromstring(pixels, dtype=np.uint8, sep=" ") for pixels in pd.read_csv(path)["pixels"]]
    return np.stack(rows).reshape(-1, SIDE, SIDE)


def _ratio(times: dict[str, list[float]], slow: str, fast: str) -> float:
    return statistics.median(a / b for a, b in zip(times[slow], times[fast], strict=True))


def _seconds(way: Callable[[Path], object], path: Path) -> float:
    started = time.perf_counter()
    way(path)
    return time.perf_counter() - started


def _child(code: str, csv: Path, cache: str = "") -> float:
    """What a fresh process that runs this code prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(csv)],
        cwd=Path(__file__).parents[1],
        env={**os.environ, **({"FER_CACHE": cache} if cache else {})},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


if __name__ == "__main__":
    main()
