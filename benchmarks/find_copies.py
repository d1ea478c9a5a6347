"""How fast copies are found, beside what a notebook would do: sets of pixel tuples, and a matrix of all pairs.

    python -m benchmarks.find_copies --data fer2013.csv [--faces 4000] [--json]

The notebook's ways are measured on a subsample in the same run and extrapolated: tuples grow with the number of faces,
all pairs with its square (the matrix itself would take 5 GB). It is also told how many of the subsample's pairs are
found.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fer_core.data import FaceStore, open_store
from fer_core.data.near import CORRELATION, NearPairs, near_pairs
from fer_core.data.quality import check, summary
from fer_core.environment import processor_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--faces", type=int, default=4000, help="size of the subsample")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    values = measure(open_store(args.data), args.faces)
    if args.json:
        print(json.dumps(values))
        return
    exact, near = values["exact"], values["near"]
    print(f"{values['n']:,} faces, {values['machine']}")
    print(f"exact: {exact['ours_s']:.2f} s, tuples of pixels {exact['baseline_s']:.1f} s: {exact['ratio']:.0f} times")
    print(f"near: {near['ours_s']:.1f} s, all pairs {near['baseline_s']:.1f} s: {near['ratio']:.1f} times")
    print(
        f"near: {near['pairs']} pairs; {near['found']} of {near['wanted']} that all pairs find in {args.faces:,} faces"
    )


def measure(store: FaceStore, faces: int) -> dict[str, Any]:
    """Seconds of both ways for the whole store, and how complete the near pairs of the subsample are."""
    n = len(store.labels_N)
    different = np.unique(store.hashes_N, return_index=True)[1]
    rows = np.sort(np.random.default_rng(0).permutation(different)[:faces])
    some, more = np.asarray(store.images_NHW[rows]), n / len(rows)
    tuples_s, _ = _timed(lambda: tuples_of_pixels(some))
    exact_s, _ = _timed(lambda: summary(check(store), None))
    vectors, mirrored = compared(some), compared(some[:, :, ::-1])
    pairs_s, wanted = _timed(lambda: all_pairs(vectors, vectors))
    mirrored_s, _ = _timed(lambda: all_pairs(vectors, mirrored))
    near_s, near = _timed(lambda: near_pairs(store.images_NHW, np.asarray(store.hashes_N)))
    found = near_pairs(some, store.hashes_N[rows])
    missing = wanted - _unmirrored(found)
    return {
        "machine": processor_name(),
        "n": n,
        "exact": _ratio(exact_s, tuples_s * more),
        "near": {
            **_ratio(near_s, (pairs_s + mirrored_s) * more**2),
            "pairs": len(near),
            "wanted": len(wanted),
            "found": len(wanted) - len(missing),
        },
    }


def tuples_of_pixels(images_NHW: NDArray[np.uint8]) -> int:
    """Faces that are a further copy, by pandas' `duplicated` on one tuple of pixels a face."""
    return int(pd.Series([tuple(image.ravel().tolist()) for image in images_NHW]).duplicated().sum())


def compared(images_NHW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `near_pairs` compares (cosines of 16 x 16 block means, weighted by frequency), by scipy's transform."""
    from scipy.fft import dctn

    n, height, width = images_NHW.shape
    means = images_NHW.reshape(n, 16, height // 16, 16, width // 16).mean(axis=(2, 4), dtype=np.float32)
    radius = np.hypot(*np.mgrid[:16, :16])
    inside = (radius > 0) & (radius <= 8)
    cosines = dctn(means, axes=(1, 2), norm="ortho")[:, inside]
    vectors = cosines * radius[inside]
    clear = np.linalg.norm(cosines, axis=1, keepdims=True) >= 32
    return np.where(clear, vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6), 0).astype("f4")


def all_pairs(vectors_NF: NDArray[np.float32], others_NF: NDArray[np.float32]) -> set[tuple[int, int]]:
    """Pairs a < b above the near copies' correlation, each compared with each, by one matrix over all faces."""
    a, b = np.nonzero(vectors_NF @ others_NF.T >= CORRELATION)
    return {(one, other) for one, other in zip(a.tolist(), b.tolist(), strict=True) if one < other}


def _unmirrored(near: NearPairs) -> set[tuple[int, int]]:
    plain = ~near.mirrored_M
    return set(zip(near.rows_a_M[plain].tolist(), near.rows_b_M[plain].tolist(), strict=True))


def _ratio(ours_s: float, baseline_s: float) -> dict[str, float]:
    return {"ours_s": ours_s, "baseline_s": baseline_s, "ratio": baseline_s / ours_s}


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    main()
