"""Telling equal rows apart by counting them: the second copy of a face is not its first."""

import numpy as np
from numpy.typing import NDArray


def occurrences(*columns_N: NDArray) -> NDArray[np.int64]:
    """How many earlier rows are equal to each row in all of these columns, int64 (N,): 0 for the first, 1, 2, ..."""
    order = np.lexsort(columns_N)  # stable: equal rows keep their order
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = False
    for column in columns_N:
        ordered = np.asarray(column)[order]
        begins[1:] |= ordered[1:] != ordered[:-1]
    first = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.arange(len(order)) - first
    return found
