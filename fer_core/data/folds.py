"""Folds of the training faces, so that each of them can be answered by a net that has not learned from it.

Shapes: N training faces, K classes, F folds, G groups of equal pixels.
"""

import numpy as np
from numpy.typing import NDArray

from fer_core.data.store import FaceStore
from fer_core.errors import DataError


def fold_rows(store: FaceStore, folds: int, fold: int) -> NDArray[np.int64]:
    """Rows of `train` in one of so many folds, ascending int64; together the folds are `train`, and no two overlap.

    Args: store: as it was opened: a view that leaves rows out would have other folds.
    Raises: DataError: there are fewer different faces than folds.
    """
    rows = store.rows("train")
    found = rows[assign_folds(store.labels_N[rows], store.hashes_N[rows], folds) == fold]
    if not len(found):
        raise DataError(f"{store.source}: too few different training faces for {folds} folds; give a lower --folds.")
    return found


def assign_folds(labels_N: NDArray[np.int64], hashes_N: NDArray[np.uint64], folds: int) -> NDArray[np.int64]:
    """The fold of each face, int64 (N,) in 0..F-1: all copies of the same pixels in one, each label spread evenly.

    The faces are dealt in the order of their hashes, which is as good as chance and the same in every copy of the data:
    neither a seed nor the order of the rows changes a face's fold. What has copies is dealt first, the most of them
    before the others, each to the fold that has the fewest of its labels; single faces then even the folds out.
    Near copies (re-compressed, cropped, mirrored) may stand in different folds: `leave_out` knows those.
    """
    _, group_N, sizes_G = np.unique(hashes_N, return_inverse=True, return_counts=True)
    order_N = np.argsort(group_N, kind="stable")
    labels_of = np.split(np.asarray(labels_N)[order_N], np.cumsum(sizes_G)[:-1])
    counts = [[0] * (int(np.max(labels_N, initial=0)) + 1) for _ in range(folds)]
    totals = [0] * folds
    fold_G = np.zeros(len(sizes_G), dtype=np.int64)
    for group in np.argsort(-sizes_G, kind="stable").tolist():
        labels = labels_of[group].tolist()
        chosen = min(range(folds), key=lambda f: (sum(counts[f][label] for label in labels), totals[f], f))
        fold_G[group] = chosen
        totals[chosen] += len(labels)
        for label in labels:
            counts[chosen][label] += 1
    return fold_G[group_N]
