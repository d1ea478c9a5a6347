"""Near copies: the same picture re-compressed, made brighter, cropped or scaled a little, or mirrored.

Each face becomes a unit vector of its coarse structure, so that a product of two vectors is a correlation and
distance^2 = 2 - 2 * correlation. Pairs are looked for in buckets of equal hash keys, never in an N x N matrix.
Shapes: N faces, H x W pixels, D dimensions of a descriptor, F of a whole vector, M pairs, Q faces to look up.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Progress = Callable[[int, int], object]

CORRELATION = 0.92
# Looked at on FER2013, up to 40 pairs of each band; "same" is how many show one and the same photograph:
#   0.98 up 40/40, 0.96 40/40, 0.94 40/40, 0.93 39/40, 0.92 39/40, 0.91 34/40, 0.90 28/40
"""Two faces that correlate by this much are near copies: of what is found above it, 99% is one photograph."""

MIRRORED_CORRELATION = 0.95
# All pairs of each band: 0.95 up 33/33, 0.94 6/9, 0.93 18/20, 0.92 14/26. True ones are a hundred times rarer than
# unmirrored ones, while two strangers' faces are as alike as ever: the same trust takes more correlation.
"""The same for a face and the mirror image of another."""

LOWEST_CORRELATION = 0.85
"""Below it two strangers' frontal faces are alike by the thousands, and there is nothing to find."""

SAME_FACE_DISTANCE = 0.08
# 2,000 FER2013 faces saved as JPEG lie at most 0.020 (quality 75) or 0.012 (quality 90) from their original, 0.063
# where they are enlarged to 224 pixels before, 0.001 more where the originals are rounded to 1/127. Of 15,967 faces
# without a near copy in the reference none came nearer to any face than 0.119.
"""Descriptors no further apart than this are one picture, re-compressed."""

_SIDE = 16  # block means of the picture: finer detail moves with every crop
_HIGHEST = 8  # cosines above it (12 pixels of 48 a wave) change with compression and small shifts
_DIMENSIONS = 24
_FLAT = 2.0  # grey levels: a picture with less coarse structure has no direction, only noise
_BLOCK = 1024  # faces turned to float32 at once
_PAIRS = 1 << 16  # candidates verified at once: what is gathered for them stays within 30 MB
_SEED = 2013
_EXHAUSTIVE = 512  # so few faces share one bucket: all pairs are compared
_MOST_TABLES = 1000
_MOST_PARTNERS = 64  # of one face in one table: a video's thousand frames would make half a million pairs
_MOST_BITS = 24  # a key is exact in float32
_MISSED = 0.001  # chance that a pair that only just correlates enough shares no bucket; closer ones are far safer


@dataclass(frozen=True)
class NearPairs:
    """Pairs of near copies, sorted, rows_a_M < rows_b_M; of exact copies only the first row stands in a pair."""

    rows_a_M: Rows
    rows_b_M: Rows
    correlation_M: NDArray[np.float32]
    mirrored_M: NDArray[np.bool_]
    """Whether one is like the mirror image of the other, and not like the other as it is."""

    def __len__(self) -> int:
        return len(self.rows_a_M)


def near_pairs(
    images_NHW: NDArray[np.uint8],
    hashes_N: NDArray[np.uint64],
    *,
    correlation: float = CORRELATION,
    mirrored_correlation: float = MIRRORED_CORRELATION,
    progress: Progress = lambda done, total: None,
) -> NearPairs:
    """Every two different pictures that are near copies; equal input gives equal output.

    The search is by random hyperplanes (locality-sensitive hashing): faces that lie close fall on the same side of
    nearly all of them. A pair right at `correlation` is missed about once in a thousand, a closer one hardly ever;
    among 512 faces or fewer none is. Near-constant pictures are left out. Of a face with very many near copies, such as
    the frames of a video, not every pair is named, but every such face stands in pairs.

    Args:
        hashes_N: equal where pixels are equal; one row of each picture is compared.
        progress: called with tables searched, and how many there are.
    Raises: ValueError: a correlation outside 0.85 to 1.
    Source: Charikar 2002, "Similarity estimation techniques from rounding algorithms".
    """
    if not all(LOWEST_CORRELATION <= value <= 1 for value in (correlation, mirrored_correlation)):
        raise ValueError(f"a correlation must be between {LOWEST_CORRELATION} and 1")
    rows = np.sort(np.unique(hashes_N, return_index=True)[1]).astype(np.int64)
    vectors = _vectors(images_NHW, rows)
    some = vectors.any(axis=1)
    rows, vectors = rows[some], vectors[some]
    flipped = vectors * _MIRROR
    found, found_mirrored = _search(vectors, flipped, (correlation, mirrored_correlation), progress)
    found_mirrored = np.setdiff1d(found_mirrored, found)  # a symmetric face is like both
    a, b = np.divmod(np.concatenate([found, found_mirrored]), max(len(rows), 1))
    mirrored = np.arange(len(a)) >= len(found)
    alike = np.concatenate([_products(vectors, vectors, a, b, ~mirrored), _products(flipped, vectors, a, b, mirrored)])
    order = np.lexsort((b, a))
    return NearPairs(rows[a][order], rows[b][order], alike[order], mirrored[order])


def descriptors(images_NHW: NDArray[np.uint8]) -> Vectors:
    """A face's coarse structure in 24 numbers, each from -1 to 1, whatever its size. float32 (N, 24).

    They are the lowest frequencies of the unit vectors that `near_pairs` compares, so two descriptors are never
    further apart than the vectors. All zero for a near-constant picture.
    """
    return _vectors(images_NHW, np.arange(len(images_NHW)))[:, :_DIMENSIONS].copy()


def nearest(
    queries_QD: Vectors, reference_ND: Vectors, *, within: float = math.inf
) -> tuple[Rows, NDArray[np.float32]]:
    """The closest reference of each query and how far it is: int64 rows (Q,), float32 distances (Q,).

    Up to `SAME_FACE_DISTANCE` the two are one picture. A near-constant picture is like no other: its row is -1 and
    its distance infinite, and so it is where no reference lies nearer than `within`.
    """
    from scipy.spatial import cKDTree

    rows = np.full(len(queries_QD), -1, dtype=np.int64)
    distances = np.full(len(queries_QD), np.inf, dtype=np.float32)
    known, asked = (np.flatnonzero(some.any(axis=1)) for some in (reference_ND, queries_QD))
    if len(known) and len(asked):
        tree = cKDTree(reference_ND[known])
        distances[asked], places = tree.query(queries_QD[asked], distance_upper_bound=within)
        rows[asked] = np.append(known, -1)[places]  # scipy's answer for none is the number of references
    return rows, distances


def _frequencies() -> tuple[Rows, Rows]:
    """Vertical and horizontal frequency of each dimension, lowest first; the mean grey (0, 0) is none of them."""
    v, u = np.divmod(np.arange((_HIGHEST + 1) ** 2), _HIGHEST + 1)
    square = u * u + v * v
    order = np.lexsort((u, v, square))
    order = order[(square[order] > 0) & (square[order] <= _HIGHEST**2)]
    return v[order], u[order]


_DOWN, _ACROSS = _frequencies()
# Pictures hold less the finer it gets, about as 1 / frequency. Weighted by it every scale counts alike; unweighted,
# the bright oval before a dark ground decides, and strangers correlate by 0.94.
_WEIGHTS = np.hypot(_DOWN, _ACROSS).astype(np.float32)
_MIRROR = np.where(_ACROSS % 2, -1, 1).astype(np.float32)
"""Mirroring turns the sign of every odd cosine across, and leaves the rest."""


def _cosines(pixels: int) -> NDArray[np.float32]:
    """(frequencies, pixels): block means along one axis, then their orthonormal cosine transform."""
    edges = np.linspace(0, pixels, _SIDE + 1)[:, None]
    inside = np.minimum(edges[1:], np.arange(1, pixels + 1)) - np.maximum(edges[:-1], np.arange(pixels))
    means = np.maximum(inside, 0) * _SIDE / pixels
    angles = np.pi * np.outer(np.arange(_HIGHEST + 1), np.arange(_SIDE) + 0.5) / _SIDE
    basis = np.cos(angles) * math.sqrt(2 / _SIDE)
    basis[0] /= math.sqrt(2)
    return (basis @ means).astype(np.float32)


def _vectors(images_NHW: NDArray[np.uint8], rows_M: Rows) -> Vectors:
    """Unit vectors of these rows, (M, F); zero where a picture is near-constant."""
    down, across = (_cosines(pixels) for pixels in images_NHW.shape[1:])
    vectors = np.zeros((len(rows_M), len(_WEIGHTS)), dtype=np.float32)
    for start in range(0, len(rows_M), _BLOCK):
        part = slice(start, start + _BLOCK)
        pixels = np.asarray(images_NHW[rows_M[part]], dtype=np.float32)
        coarse = (down @ (pixels @ across.T))[:, _DOWN, _ACROSS]
        clear = np.linalg.norm(coarse, axis=1) >= _FLAT * _SIDE
        weighted = coarse[clear] * _WEIGHTS
        vectors[part][clear] = weighted / np.linalg.norm(weighted, axis=1, keepdims=True)
    return vectors


def _search(
    vectors_NF: Vectors, flipped_NF: Vectors, limits: tuple[float, float], progress: Progress
) -> tuple[Rows, Rows]:
    """Unmirrored and mirrored pairs above their limits, each as a * N + b with a < b, sorted and unique."""
    n = len(vectors_NF)
    found, found_mirrored = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    if n < 2:
        return found, found_mirrored
    mean = vectors_NF.mean(axis=0)  # planes through the middle of all faces part them evenly
    bits, tables = _plan(np.linalg.norm(vectors_NF - mean, axis=1), min(limits))
    rng = np.random.default_rng(_SEED)
    for table in range(tables):
        planes = rng.standard_normal((len(mean), bits)).astype(np.float32)
        order, ordered = _sorted_keys(vectors_NF, mean, planes)
        ends = np.searchsorted(ordered, ordered, "right")
        here = _alike(vectors_NF, vectors_NF, order, np.arange(1, n + 1), ends, order, limits[0])
        found = np.union1d(found, here)
        asking, keys = _sorted_keys(flipped_NF, mean, planes)
        starts, ends = np.searchsorted(ordered, keys, "left"), np.searchsorted(ordered, keys, "right")
        here = _alike(flipped_NF, vectors_NF, asking, starts, ends, order, limits[1])
        found_mirrored = np.union1d(found_mirrored, here)
        progress(table + 1, tables)
    return found, found_mirrored


def _plan(norms_N: NDArray[np.float32], correlation: float) -> tuple[int, int]:
    """Bits of a key, and how many tables of keys it takes to miss few pairs of this correlation."""
    if len(norms_N) <= _EXHAUSTIVE:
        return 0, 1
    bits = min(round(math.log2(len(norms_N))), _MOST_BITS)  # about one face a bucket, were they spread evenly
    angle = 2 * math.asin(min(1.0, math.sqrt((1 - correlation) / 2) / max(float(np.median(norms_N)), 1e-6)))
    together = (1 - angle / math.pi) ** bits
    tables = math.ceil(math.log(_MISSED) / math.log1p(-together)) if 0 < together < 1 else _MOST_TABLES + 1
    # So many only where nearly all are alike, frames of one video: then whoever stands beside a face is a near copy.
    return (bits, tables) if tables <= _MOST_TABLES else (0, 1)


def _sorted_keys(vectors_NF: Vectors, mean_F: Vectors, planes_FB: Vectors) -> tuple[Rows, NDArray[np.int32]]:
    """On which side of each plane a face lies, read as one number: rows in the order of their keys, and the keys."""
    sides = ((vectors_NF @ planes_FB) > mean_F @ planes_FB).astype(np.float32)
    keys = (sides @ np.exp2(np.arange(planes_FB.shape[1], dtype=np.float32))).astype(np.int32)
    order = np.argsort(keys, kind="stable")
    return order, keys[order]


def _alike(
    left_NF: Vectors, right_NF: Vectors, rows: Rows, starts: Rows, ends: Rows, order: Rows, limit: float
) -> Rows:
    """Pairs that correlate by `limit` or more, as a * N + b with a < b: each row beside all of `order[start:end]`.

    First each with the first of them, then with the second, and so on; a row that has found enough looks no further.
    """
    kept, partners = [np.zeros(0, dtype=np.int64)], np.zeros(len(left_NF), dtype=np.int64)
    while (live := (starts < ends) & (partners[rows] < _MOST_PARTNERS)).any():
        rows, starts, ends = rows[live], starts[live], ends[live]
        a, b = rows, order[starts]
        if left_NF is not right_NF:  # mirroring either face comes to the same
            a, b = a[a < b], b[a < b]
        good = _products(left_NF, right_NF, a, b) >= limit
        a, b = a[good], b[good]
        kept.append(np.minimum(a, b) * len(left_NF) + np.maximum(a, b))
        partners[a] += 1
        starts = starts + 1
    return np.concatenate(kept)


def _products(
    left_NF: Vectors, right_NF: Vectors, a: Rows, b: Rows, chosen: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Correlation of each (or each chosen) pair, at most 1."""
    if chosen is not None:
        a, b = a[chosen], b[chosen]
    products = np.empty(len(a), dtype=np.float32)
    for start in range(0, len(a), _PAIRS):
        part = slice(start, start + _PAIRS)
        products[part] = np.einsum("nf,nf->n", left_NF[a[part]], right_NF[b[part]])
    return np.minimum(products, 1)
