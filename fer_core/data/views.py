"""What a run trains on and what judges it: the store under the run's label mode, without what it leaves out."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fer_core.config import RunConfig
from fer_core.data.folds import fold_rows
from fer_core.data.labelling import judged_by, labelled
from fer_core.data.quality import leave_out
from fer_core.data.store import OUT, FaceStore
from fer_core.errors import DataError
from fer_core.review import Mark, ReviewList, digest_of


@dataclass(frozen=True)
class AppliedReview:
    """What a review list did to the faces that a run trains on: its record of them."""

    file: str
    """Name of the list's file, without its folder."""
    digest: str
    """Of all that the list said (`review.digest_of`), whether it is of training faces or not."""
    action: str
    """One of `catalog.REVIEW_ACTIONS`."""
    dropped: int
    """Training rows."""
    relabelled: int


def training_view(store: FaceStore, config: RunConfig) -> FaceStore:
    """The faces that `config` trains on, in split `train`, under its label mode and without its flagged rows.

    A fold that is held out is in no split; rows of a review list are dropped or have another label. What is marked or
    flagged is told without the fold that is held out.
    Raises: DataError: the mode or a flag needs votes that the store does not have, there is no such review list, or
    nothing is left to train on.
    """
    return reviewed_view(store, config)[0]


def reviewed_view(store: FaceStore, config: RunConfig) -> tuple[FaceStore, AppliedReview | None]:
    """`training_view`, and what the run's review list did to it; None without one. The list is read once for both.

    Raises: DataError: as `training_view`.
    """
    store, applied = _without(store, held_out_rows(store, config)), None
    if config.review is not None:
        marks = _marks(Path(config.review))
        before = store
        store = apply_marks(store, marks, relabel=config.review_action == "relabel")
        dropped = int((before.splits_N != store.splits_N).sum())
        relabelled = int((before.labels_N != store.labels_N).sum())
        name = Path(config.review).name
        applied = AppliedReview(name, digest_of(marks), config.review_action, dropped, relabelled)
    if config.leave_out or config.min_vote_share:
        store = leave_out(store, config.leave_out, config.min_vote_share)
    return labelled(store, config.labels, contempt=config.contempt), applied


def judged_view(store: FaceStore, config: RunConfig) -> FaceStore:
    """The faces of `public` and `private` that judge the run: no flag touches them, and FER+ figures are on majorities.

    Neither does a review list; the fold that a run holds out is in `train` here, with the labels that it came with.
    Raises: DataError: the mode needs votes that the store does not have.
    """
    return labelled(store, judged_by(config.labels), contempt=config.contempt)


def held_out_rows(store: FaceStore, config: RunConfig) -> NDArray[np.int64]:
    """Rows of `train` that a run with folds does not train on, ascending int64; none without folds.

    Args: store: as it was opened. Raises: DataError: too few faces for so many folds.
    """
    return fold_rows(store, config.folds, config.fold) if config.folds else np.zeros(0, dtype=np.int64)


def apply_marks(store: FaceStore, marks: Iterable[Mark], *, relabel: bool) -> FaceStore:
    """The store with its marked training rows dropped or relabelled; public and private stay as they are.

    A mark is of these pixels under this label: it holds for every copy of them in `train` under that label, and for no
    copy under another. It does not matter on which split the face was looked at: a mark made on private acts on a
    training row that is the same picture with the same label, and on no other.

    Args: relabel: True gives a row the proposed emotion and drops those without one; False drops all.
    Raises: DataError: no training row is left.
    """
    becomes = {
        (int(one.hash, 16), store.classes.index(one.label)): store.classes.index(one.proposed)
        if relabel and one.proposed
        else OUT
        for one in marks
        if one.label in store.classes
    }
    train = store.rows("train")
    hashes = np.fromiter((pixels for pixels, _ in becomes), dtype=np.uint64, count=len(becomes))
    rows = train[np.isin(store.hashes_N[train], hashes)]
    cases = zip(store.hashes_N[rows].tolist(), store.labels_N[rows].tolist(), strict=True)
    labels_M = np.array([becomes.get(case, case[1]) for case in cases], dtype=np.int64)
    if not len(rows) or np.array_equal(labels_M, store.labels_N[rows]):
        return store
    labels_N = np.array(store.labels_N)
    kept = labels_M != OUT
    labels_N[rows[kept]] = labels_M[kept]
    if kept.sum() + len(train) - len(rows) == 0:
        raise DataError(f"{store.source}: no train face is left without those of the review list; mark fewer.")
    fingerprint = hashlib.sha256(f"{store.fingerprint}:labels".encode() + labels_N.tobytes()).hexdigest()[:16]
    return _without(replace(store, labels_N=labels_N, fingerprint=fingerprint), rows[~kept])


def _without(store: FaceStore, rows: NDArray[np.int64]) -> FaceStore:
    """The store with these rows in no split; the store itself where there are none."""
    if not len(rows):
        return store
    splits_N = np.array(store.splits_N)
    splits_N[rows] = OUT
    digest = hashlib.sha256(f"{store.fingerprint}:out".encode() + np.packbits(splits_N == OUT).tobytes())
    return replace(store, splits_N=splits_N, fingerprint=digest.hexdigest()[:16])


def _marks(path: Path) -> list[Mark]:
    if not path.is_file():
        raise DataError(f"{path}: no such review list. Mark faces on the Mistakes page, or leave --review out.")
    return ReviewList(path).marks()
