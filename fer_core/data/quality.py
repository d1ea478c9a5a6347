"""What is wrong with the rows: exact and near copies, leaks between splits, label conflicts, no faces, disputed ones.

A row that a view leaves out (`store.OUT`) is neither flagged nor counted, and is no one's earlier copy.
Shapes: N rows, G different pictures, M pairs, V = 10 vote columns, E = 8 emotions of FER+.
"""

import hashlib
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.catalog import FLAGS, VOTED_FLAGS, check_name
from fer_core.data.labelling import majority_labels, needed_votes
from fer_core.data.near import CORRELATION, MIRRORED_CORRELATION, NearPairs, Progress, near_pairs
from fer_core.data.store import OUT, FaceStore, cache_error
from fer_core.errors import DataError
from fer_core.files import write_atomic
from fer_core.labels import CONTEMPT, FERPLUS_COLUMNS, SPLITS

Mask = NDArray[np.bool_]

LEAK_BITS: dict[str, int] = {"public": 1, "private": 2}
"""Bits of `Quality.leaks_into_N`."""

CONSTANT_CONTRAST = 6.0
# FER2013's darkest and dullest: twelve black pictures (contrast 0), one plain grey (0.7) and a lamp in the dark (4.1);
# from 9.1 on there are faces to see.
"""Pictures with less contrast than this, in grey levels, show nothing."""

LOW_AGREEMENT = 0.5
_NEAR = ("near_copy_of", "near_leaks_into")
_NEAR_FILE = "near.npz"
_NEAR_FORMAT = 1
_ARRAYS = ("rows_a_M", "rows_b_M", "correlation_M", "mirrored_M")


@dataclass(frozen=True)
class Quality:
    """Findings for each row of a store. Near copies are looked up when asked for: they may be found later."""

    duplicate_of_N: NDArray[np.int64]
    """First row with the same pixels; -1 for that row itself, and for a picture that is there once."""
    leaks_into_N: NDArray[np.uint8]
    """Of a train row: 1 if its pixels stand in public too, 2 if in private, 3 if in both. Else 0."""
    label_conflict_N: Mask
    constant_N: Mask
    not_a_face_N: Mask
    vote_share_N: NDArray[np.float32]
    """Votes of the emotion with the most, as a share of all ten columns; NaN where nobody voted."""
    majority_N: NDArray[np.int64]
    """FER+'s majority, an index into `labelling.FERPLUS_CLASSES`; -1 where there is none."""
    store: FaceStore = field(repr=False)
    groups: "_Groups" = field(repr=False)

    def flag(self, name: str) -> Mask:
        """The rows that this flag marks. Without votes nothing is marked by the flags that need them.

        Raises: ConfigError: no such flag. DataError: near copies have not been looked for (`near_copies`).
        """
        exact = check_name("flag", name, FLAGS) not in _NEAR
        return self._exact[name] if exact else self._near[name]

    @property
    def known_flags(self) -> tuple[str, ...]:
        """The flags that can be told: those of votes where there are votes, those of near copies once looked for."""
        try:
            near = tuple(self._near)
        except DataError:
            near = ()
        voted = VOTED_FLAGS if self.store.votes_NV is not None else ()
        return tuple(name for name in FLAGS if name not in (*VOTED_FLAGS, *_NEAR) or name in (*voted, *near))

    def flags_of(self, row: int) -> list[str]:
        """Names of the flags that mark this row."""
        return [name for name in self.known_flags if self.flag(name)[row]]

    @cached_property
    def _near(self) -> dict[str, Mask]:
        near = cached_near_copies(self.store)
        if near is None:
            raise DataError(
                f"{self.store.source}: near copies have not been looked for, which this flag needs. "
                "Run: python -m fer_core data check"
            )
        return {name: _near_flag(self, near, name) for name in _NEAR}

    @cached_property
    def _exact(self) -> dict[str, Mask]:
        return {
            "duplicate_of": self.duplicate_of_N >= 0,
            "leaks_into": self.leaks_into_N > 0,
            "label_conflict": self.label_conflict_N,
            "constant": self.constant_N,
            "not_a_face": self.not_a_face_N,
            "low_agreement": self.vote_share_N < LOW_AGREEMENT,  # NaN is not below
        }


def check(store: FaceStore) -> Quality:
    """Everything that hashes, contrast and votes tell; no pixel is read."""
    groups = _Groups(store)
    n, inside, of = len(store.labels_N), groups.inside, groups.of
    first = inside[groups.first[of]]
    duplicate_of = np.full(n, -1, dtype=np.int64)
    duplicate_of[inside] = np.where(first == inside, -1, first)
    leaks = np.zeros(n, dtype=np.uint8)
    leaks[inside] = np.where(store.splits_N[inside] == SPLITS.index("train"), groups.splits[of] >> 1, 0)
    conflict = np.zeros(n, dtype=bool)
    conflict[inside] = groups.conflicting[of]
    constant = (store.contrast_N < CONSTANT_CONTRAST) & (store.splits_N != OUT)
    return Quality(duplicate_of, leaks, conflict, constant, *_votes(store), store, groups)


def near_copies(store: FaceStore, progress: Progress = lambda done, total: None) -> NearPairs:
    """Every pair of near copies among all rows of the store, kept beside it. Progress: steps done, and of how many.

    Raises: DataError: the disk is full.
    """
    if (kept := cached_near_copies(store)) is not None:
        return kept
    near = near_pairs(store.images_NHW, np.asarray(store.hashes_N), progress=progress)
    if store.folder is not None:
        arrays = {name: getattr(near, name) for name in _ARRAYS}
        try:
            write_atomic(
                store.folder / _NEAR_FILE, lambda file: np.savez_compressed(file, made_by=_made_by(store), **arrays)
            )
        except OSError as error:
            raise cache_error(store.folder, error) from None
    return near


def cached_near_copies(store: FaceStore) -> NearPairs | None:
    """The near copies that `near_copies` kept; None where it has not run, or its file is damaged or out of date."""
    return None if store.folder is None else _read_near(store.folder / _NEAR_FILE, _made_by(store))


def summary(found: Quality, near: NearPairs | None) -> dict[str, Any]:
    """The findings in numbers, ready for JSON.

    `rows_in_train` counts rows of public and private whose pixels stand in train, under `near` those of which only a
    near copy does; `images_in_public_and_private` and `unique` count different pictures. Counts that need votes are
    None without them, and `near` is None where near copies were not looked for.
    """
    store, groups = found.store, found.groups
    sizes = np.bincount(groups.of, minlength=groups.n)
    both = LEAK_BITS["public"] | LEAK_BITS["private"]
    known = found.known_flags
    voted = {n: int(found.flag(n).sum()) if n in known else None for n in FLAGS if n in VOTED_FLAGS}
    return {
        "n": len(groups.inside),
        "unique": groups.n,
        "duplicate_groups": int((sizes > 1).sum()),
        "redundant": len(groups.inside) - groups.n,
        "rows_in_train": _count(store, groups, groups.has("train")),
        "images_in_public_and_private": int((groups.splits >> 1 == both).sum()),
        "conflicting_groups": int(groups.conflicting.sum()),
        "constant": int(found.constant_N.sum()),
        **voted,
        "near": None if near is None else _near_summary(store, groups, near),
    }


def leave_out(store: FaceStore, flags: Sequence[str], min_vote_share: float) -> FaceStore:
    """The store without the train rows that a flag marks, or on whose top emotion too small a share of taggers agree.

    Rows without votes are not judged by them; public and private stay whole. `near_*` looks for near copies first.

    Raises: ConfigError: no such flag. DataError: the votes that this needs are missing, or no train row is left.
    """
    for name in flags:
        if check_name("flag", name, FLAGS) in VOTED_FLAGS:
            needed_votes(store, f"leaving out {name}")
    found = check(store)
    out = np.zeros(len(store.labels_N), dtype=bool)
    for name in flags:
        out |= _near_flag(found, near_copies(store), name) if name in _NEAR else found.flag(name)
    if min_vote_share > 0:
        needed_votes(store, "a smallest vote share")
        out |= found.vote_share_N < min_vote_share
    train = store.splits_N == SPLITS.index("train")
    out &= train
    if not out.any():
        return store
    if not (train & ~out).any():
        what = ", ".join([*flags, *([f"vote shares below {min_vote_share:g}"] if min_vote_share > 0 else [])])
        raise DataError(f"{store.source}: no train face is left without {what}; leave out less.")
    digest = hashlib.sha256(store.fingerprint.encode() + np.packbits(out).tobytes())
    splits = np.where(out, OUT, store.splits_N).astype(np.int8)
    return replace(store, splits_N=splits, fingerprint=digest.hexdigest()[:16])


class _Groups:
    """Rows of equal pixels: `inside` (rows in a split), `of` (the group of each), and what holds for each group."""

    def __init__(self, store: FaceStore) -> None:
        self.inside = np.flatnonzero(store.splits_N != OUT)
        hashes = store.hashes_N[self.inside]
        self.hashes, self.first, self.of = np.unique(hashes, return_index=True, return_inverse=True)
        self.n = len(self.hashes)
        self.splits = np.zeros(self.n, dtype=np.uint8)
        for code in range(len(SPLITS)):
            there = self.of[store.splits_N[self.inside] == code]
            self.splits |= (np.bincount(there, minlength=self.n) > 0).astype(np.uint8) << code
        labels = store.labels_N[self.inside]
        differs = self.of[labels != labels[self.first[self.of]]]
        self.conflicting = np.bincount(differs, minlength=self.n) > 0

    def has(self, *splits: str) -> Mask:
        """The groups with a row in any of these splits."""
        return (self.splits & sum(1 << SPLITS.index(split) for split in splits)) > 0

    def pairs(self, store: FaceStore, near: NearPairs) -> NDArray[np.int64]:
        """The two groups of each near pair, (2, M): a pair of which one is left out is dropped."""
        if not self.n:
            return np.zeros((2, 0), dtype=np.int64)
        hashes = store.hashes_N[np.stack([near.rows_a_M, near.rows_b_M])]
        places = np.searchsorted(self.hashes, hashes).clip(max=self.n - 1)
        return places[:, (self.hashes[places] == hashes).all(axis=0)]


def _votes(store: FaceStore) -> tuple[Mask, NDArray[np.float32], NDArray[np.int64]]:
    """No face, share of the top emotion, and majority of each row."""
    n = len(store.labels_N)
    if store.votes_NV is None:
        return np.zeros(n, dtype=bool), np.full(n, np.nan, dtype=np.float32), np.full(n, -1)
    votes = np.asarray(store.votes_NV)
    total = votes.sum(axis=1, dtype=np.int64)
    top = votes[:, : FERPLUS_COLUMNS.index(CONTEMPT) + 1].max(axis=1)
    share = np.where(total > 0, top / np.maximum(total, 1), np.nan).astype(np.float32)
    inside = store.splits_N != OUT
    no_face = (votes[:, FERPLUS_COLUMNS.index("NF")] == total) & (total > 0) & inside
    return no_face, np.where(inside, share, np.float32(np.nan)), np.where(inside, majority_labels(votes), -1)


def _near_flag(found: Quality, near: NearPairs, name: str) -> Mask:
    """Rows with a near copy in an earlier row, or train rows with one in public or private."""
    store, groups = found.store, found.groups
    pairs = groups.pairs(store, near)
    marked = np.zeros(groups.n, dtype=bool)
    if name == "near_copy_of":
        later = np.where(groups.first[pairs[0]] > groups.first[pairs[1]], pairs[0], pairs[1])
        marked[later] = True
        rows = groups.inside[marked[groups.of]]
    else:
        marked = _partners_of(groups.has("public", "private"), pairs)
        rows = groups.inside[marked[groups.of]]
        rows = rows[store.splits_N[rows] == SPLITS.index("train")]
    mask = np.zeros(len(store.labels_N), dtype=bool)
    mask[rows] = True
    return mask


def _partners_of(wanted_G: Mask, pairs_2M: NDArray[np.int64]) -> Mask:
    """The groups that are paired with a wanted one."""
    partners = np.zeros(len(wanted_G), dtype=bool)
    for one, other in (pairs_2M, pairs_2M[::-1]):
        partners[other[wanted_G[one]]] = True
    return partners


def _near_summary(store: FaceStore, groups: _Groups, near: NearPairs) -> dict[str, Any]:
    pairs = groups.pairs(store, near)
    only_near = _partners_of(groups.has("train"), pairs) & ~groups.has("train")
    return {
        "pairs": len(near),
        "mirrored": int(near.mirrored_M.sum()),
        "rows": int(np.isin(groups.of, pairs).sum()),
        "rows_in_train": _count(store, groups, only_near),
        "correlation": CORRELATION,
    }


def _count(store: FaceStore, groups: _Groups, wanted_G: Mask) -> dict[str, int]:
    """Rows of public and of private that are in these groups."""
    splits = store.splits_N[groups.inside[wanted_G[groups.of]]]
    return {split: int((splits == SPLITS.index(split)).sum()) for split in LEAK_BITS}


def _made_by(store: FaceStore) -> NDArray[np.float64]:
    """What the kept pairs depend on beside the pixels, which the folder stands for."""
    return np.array([_NEAR_FORMAT, len(store.hashes_N), CORRELATION, MIRRORED_CORRELATION])


def _read_near(path: Path, made_by: NDArray[np.float64]) -> NearPairs | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if not np.array_equal(file["made_by"], made_by):
                return None
            near = NearPairs(*(file[name] for name in _ARRAYS))
            rows = np.concatenate([near.rows_a_M, near.rows_b_M])
            return near if ((rows >= 0) & (rows < made_by[1])).all() else None
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
