"""Occurrences of equal rows: by hand, and as a dictionary would count them."""

from collections import Counter

import numpy as np

from fer_core.copies import occurrences


def test_by_hand():
    assert occurrences(np.array([5, 7, 5, 5, 7])).tolist() == [0, 0, 1, 2, 1]
    assert occurrences(np.array([5, 5, 5]), np.array([0, 1, 0])).tolist() == [0, 0, 1]
    assert occurrences(np.array([], dtype=np.uint64)).tolist() == []


def test_as_a_dictionary_counts():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 20, 500).astype(np.uint64), rng.integers(0, 3, 500).astype(np.int8)
    seen: Counter = Counter()
    expected = []
    for pair in zip(a.tolist(), b.tolist(), strict=True):
        expected.append(seen[pair])
        seen[pair] += 1
    assert occurrences(a, b).tolist() == expected
