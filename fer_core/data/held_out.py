"""Splits for data that comes without them: a stratified part of the training faces is held out."""

import numpy as np
from numpy.typing import NDArray

from fer_core.labels import SPLITS

SEED = 2013
ONE_IN = 10
"""One in so many training faces of each emotion is held out for each split that is missing."""


def hold_out(labels_N: NDArray[np.int64], splits_N: NDArray[np.int8]) -> tuple[NDArray[np.int8], tuple[str, ...]]:
    """Give `public` and `private` faces of `train` where the data has none of its own.

    Returns: the split codes, and a sentence for each split that was made. Equal labels give equal splits.
    """
    rng, splits, notes = np.random.default_rng(SEED), splits_N.copy(), []
    sizes = np.bincount(labels_N[splits_N == SPLITS.index("train")])
    for split in ("public", "private"):
        if SPLITS.index(split) in splits_N:
            continue
        for label, size in enumerate(sizes):
            rows = np.flatnonzero((labels_N == label) & (splits == SPLITS.index("train")))
            splits[rng.permutation(rows)[: round(size / ONE_IN)]] = SPLITS.index(split)
        made = SPLITS.index(split) in splits
        notes.append(
            f"This data has no {split} split: a stratified tenth of its training faces (seed {SEED}) is held out as it."
            if made
            else f"This data has no {split} split, and too few training faces of any emotion to hold a tenth out as it."
        )
    return splits, tuple(notes)
