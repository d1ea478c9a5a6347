"""A run's answers in one file, `predictions.npz`: enough to judge and compare it without data or model.

Shapes: N faces of a split, K classes.
"""

import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.catalog import HELD_OUT, JUDGED_SPLITS, VIEWS
from fer_core.errors import RunError
from fer_core.evaluate import Report, evaluate
from fer_core.files import write_atomic

FORMAT = 1
"""Format number of `predictions.npz`."""

_PER_SPLIT = {"rows": "rows_N", "hashes": "hashes_N", "labels": "labels_N", "logits": "logits_NK"}
"""Array `private_rows` and so on -> field of `SplitPredictions`."""


@dataclass(frozen=True)
class SplitPredictions:
    """A run's answers on one split; enough to judge and compare it without data or model."""

    rows_N: NDArray[np.int64]
    """Row of each face in the store that the run was trained on."""
    hashes_N: NDArray[np.uint64]
    labels_N: NDArray[np.int64]
    logits_NK: NDArray[np.float32]
    classes: tuple[str, ...]
    fingerprint: str
    in_train_N: NDArray[np.bool_] | None = None
    """Whether a face's very pixels also stand in the training split; None where an older run did not record it."""
    more_NK: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Logits by the other test-time views of `catalog.VIEWS`, by their names; `logits_NK` has the view "none"."""


def report_on(predictions: SplitPredictions) -> Report:
    """Judge a run's answers on a split. Raises: RunError: there are none, or they are not finite."""
    p = predictions
    return evaluate(p.logits_NK, p.labels_N, p.classes, p.in_train_N)


def write_predictions(path: Path, predictions: Mapping[str, SplitPredictions]) -> None:
    """Write the answers on each split, whole or not at all. All splits have the same classes and fingerprint."""
    first = next(iter(predictions.values()))
    arrays: dict[str, Any] = {
        "format": np.int64(FORMAT),
        "classes": np.array(first.classes),
        "fingerprint": np.array(first.fingerprint),
    }
    for split, one in predictions.items():
        arrays |= {f"{split}_{key}": getattr(one, attribute) for key, attribute in _PER_SPLIT.items()}
        arrays |= {f"{split}_logits_{view}": logits for view, logits in one.more_NK.items()}
        if one.in_train_N is not None:
            arrays[f"{split}_in_train"] = one.in_train_N
    write_atomic(path, lambda file: np.savez(file, **arrays))


def predicted_splits(path: Path) -> tuple[str, ...]:
    """The splits that the file holds. Raises: RunError: it is damaged."""
    with _opened(path) as file:
        return tuple(split for split in JUDGED_SPLITS if f"{split}_labels" in file)


def predicted_views(path: Path, split: str) -> tuple[str, ...]:
    """The test-time views that the file holds for a split, "none" first. Raises: RunError: it is damaged."""
    with _opened(path) as file:
        return tuple(view for view in VIEWS if _logits_key(split, view) in file)


def read_predictions(path: Path, split: str, view: str = "none") -> SplitPredictions:
    """The answers on a split, with the logits of one view.

    Raises: RunError: the file has no such split or view, is of another format, or is damaged.
    """
    with _opened(path) as file:
        if int(file["format"]) != FORMAT:
            raise RunError(f"{path}: format {int(file['format'])}; this version reads {FORMAT}.")
        if f"{split}_labels" not in file:
            raise RunError(_no_such_split(file, split, path.parent.name))
        if view != "none" and _logits_key(split, view) not in file:
            raise RunError(_no_such_view(file, split, view, path.parent.name))
        values = {attribute: file[f"{split}_{key}"] for key, attribute in _PER_SPLIT.items()}
        values["logits_NK"] = file[_logits_key(split, view)]
        classes, fingerprint = tuple(file["classes"].tolist()), str(file["fingerprint"])
        in_train = file.get(f"{split}_in_train")
        found = SplitPredictions(**values, classes=classes, fingerprint=fingerprint, in_train_N=in_train)
        _check(found)
        return found


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            yield file
    except RunError:
        raise
    except (OSError, EOFError, ValueError, KeyError, TypeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: damaged ({error}). Train the run again.") from None


def _no_such_split(file: Mapping[str, Any], split: str, run: str) -> str:
    has = ", ".join(name.removesuffix("_labels") for name in file if name.endswith("_labels"))
    if f"{HELD_OUT}_labels" in file:
        why = "A run with --folds answers the fold that it did not train on, and does not read private."
    elif split == HELD_OUT:
        why = "Only a run with --folds holds a fold out, and answers it when its training ends by itself."
    else:
        why = "private is read once, when a training ends by itself; resume a stopped run to get there."
    return f"run {run!r} has no predictions on {split!r} (it has: {has}). {why}"


def _logits_key(split: str, view: str) -> str:
    return f"{split}_logits" if view == "none" else f"{split}_logits_{view}"


def _no_such_view(file: Mapping[str, Any], split: str, view: str, run: str) -> str:
    has = ", ".join(name for name in VIEWS if _logits_key(split, name) in file)
    return f"run {run!r} was not judged by the view {view!r} (it has: {has}). Name it in --views when you train."


def _check(found: SplitPredictions) -> None:
    n, k = len(found.labels_N), len(found.classes)
    if found.logits_NK.shape != (n, k) or not len(found.hashes_N) == len(found.rows_N) == n:
        raise ValueError(f"{n} labels and {k} classes, but logits of shape {found.logits_NK.shape}")
    if found.in_train_N is not None and (found.in_train_N.shape, found.in_train_N.dtype) != ((n,), np.dtype(bool)):
        raise ValueError("the mark of faces that stand in train does not fit the labels")
    if n and not 0 <= found.labels_N.min() <= found.labels_N.max() < k:
        raise ValueError(f"labels outside 0 to {k - 1}")
