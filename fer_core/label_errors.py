"""Likely label errors, ranked: which faces of a split most probably carry the wrong label, and how often that is true.

Every probability here is out of sample: from a net that has not been trained on the face. `out_of_sample` and
`gather_folds` see to that, and refuse what is not.
Shapes: N faces, K classes, V = 10 vote columns.
"""

import csv
import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fer_core.catalog import HELD_OUT
from fer_core.config import RunConfig
from fer_core.data.labelling import FERPLUS_CLASSES, majority_labels
from fer_core.ensemble_file import is_ensemble
from fer_core.errors import RunError
from fer_core.evaluate import Floats, softmax
from fer_core.label_sides import Share, refuse_other_labels
from fer_core.predictions import SplitPredictions
from fer_core.registry import registrar
from fer_core.review import face_hash
from fer_core.runs import Run, free_names

Ranking = Callable[[NDArray[np.int64], Floats, int], NDArray[np.int64]]
"""Labels (N,), probabilities (N, K) and a seed -> every position once, the likeliest label error first, int64 (N,)."""
METHODS: dict[str, Ranking] = {}
register = registrar(METHODS)

_MAY_DIFFER = frozenset({"fold", "data", "ferplus", "tensorboard"})
"""Settings in which the folds of one setting may differ: where the data lies is told by its fingerprint."""
_STARTS = ("none", "imagenet")
"""Weights of which it is known that no face of train has gone into them."""


@dataclass(frozen=True)
class Precision:
    """Of the first faces of a ranking whose answer is known: how many are label errors."""

    k: int
    """So many were asked for; `found.n` is smaller where fewer are known."""
    found: Share

    def to_json(self) -> dict[str, Any]:
        return {"k": self.k, **self.found.to_json()}


def rank_label_errors(
    labels_N: NDArray[np.int64], probabilities_NK: Floats, method: str = "confident", *, seed: int = 0
) -> NDArray[np.int64]:
    """Every position once, the likeliest label error first, int64 (N,); of equals the first comes first.

    Args:
        probabilities_NK: out of sample, rows sum to 1.
        method: one of `METHODS`: `confident`, `loss` or `random` (what the others have to beat).
        seed: of the random ranking.
    Raises: RunError: no such method, no faces, or probabilities that are not finite or of another number of faces.
    """
    if method not in METHODS:
        raise RunError(f"no ranking named {method!r}. Known: {', '.join(METHODS)}.")
    if not len(labels_N) or len(labels_N) != len(probabilities_NK):
        raise RunError(f"{len(labels_N):,} labels and {len(probabilities_NK):,} answers; one of each a face is needed.")
    if not np.isfinite(probabilities_NK).all():
        raise RunError("the probabilities hold values that are not finite; the training diverged. Try a lower --lr.")
    return METHODS[method](labels_N, probabilities_NK, seed)


@register("confident")
def by_confident_learning(labels_N: NDArray[np.int64], probabilities_NK: Floats, seed: int = 0) -> NDArray[np.int64]:
    """Confident learning's label errors first, then all others, both by the margin of the label.

    cleanlab finds the errors by `prune_by_noise_rate`: it estimates how many faces labelled i are j, counting those
    whose probability of j is above what is usual for faces labelled j, and takes as many of the largest margins from
    each pair. That allows for emotions of which the net is never sure. They and the rest stand in the order of the
    normalized margin, p(label) - the largest other p: it is the order in which that method itself prunes. Ordering by
    p(label) alone (self-confidence) would be the ranking by loss again.

    Raises: RunError: all labels are the same, of which confident learning can say nothing.
    Source: Northcutt, Jiang, Chuang, JAIR 70 (2021) 1373, arXiv 1911.00068.
    """
    if len(np.unique(labels_N)) < 2:
        raise RunError("all these faces have one label; confident learning needs at least two. Rank by loss instead.")
    import torch  # noqa: F401  # SciPy, below cleanlab, looks into any torch that is loaded, and breaks on half of one
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues")  # in an emotion that has no face, or one
        found_N = find_label_issues(labels_N, probabilities_NK, filter_by="prune_by_noise_rate", n_jobs=1)
    margin_N = get_label_quality_scores(labels_N, probabilities_NK, method="normalized_margin")
    return np.lexsort((margin_N, ~found_N))


@register("loss")
def by_loss(labels_N: NDArray[np.int64], probabilities_NK: Floats, seed: int = 0) -> NDArray[np.int64]:
    """The largest loss first, which is the smallest probability of the label."""
    return np.argsort(label_probability(labels_N, probabilities_NK), kind="stable")


@register("random")
def by_chance(labels_N: NDArray[np.int64], probabilities_NK: Floats, seed: int = 0) -> NDArray[np.int64]:
    """Any order; its precision is the share of label errors among all faces."""
    return np.random.default_rng(seed).permutation(len(labels_N))


def label_probability(labels_N: NDArray[np.int64], probabilities_NK: Floats) -> Floats:
    """Probability of each face's label, (N,)."""
    return probabilities_NK[np.arange(len(labels_N)), labels_N]


def out_of_sample(run: Run, split: str, view: str = "none") -> SplitPredictions:
    """A run's answers on the faces of a split that it has not been trained on.

    Faces whose very pixels also stand in train are left out, where the run has recorded them: their answers are
    learnt. On `public` the epoch was chosen, which weighs little beside training on it.

    Args: split: `public`, `private`, or `held_out` of a run that is one of several folds.
    Raises: RunError: the split is train, or the run has no answers on it.
    """
    if split == "train":
        raise RunError(
            f"run {run.name!r} was trained on train, so that its answers there say what it has learnt by heart. Train "
            "the folds of train instead (--folds 5 --fold 0, then 1 to 4), each of which leaves a part out."
        )
    predictions = run.predictions(split, view)
    seen_N = predictions.in_train_N
    return predictions if seen_N is None or not seen_N.any() else _taken(predictions, ~seen_N)


def gather_folds(runs: Sequence[Run], view: str = "none") -> SplitPredictions:
    """The answers of all folds of one setting on the parts of train that each left out, by row.

    Raises: RunError: a run is no fold or is not finished, folds are missing or twice there, or they are not of one
        setting, of the same data, or of one division of it.
    """
    folds = sorted(runs, key=lambda run: run.config().fold)
    _check_folds(folds)
    parts = [run.predictions(HELD_OUT, view) for run in folds]
    if len({(part.fingerprint, part.classes) for part in parts}) > 1:
        raise RunError(f"the folds {_names(folds)} were trained on different data; train all of them on the same.")
    _check_apart(parts, folds)
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    whole = SplitPredictions(**columns, classes=parts[0].classes, fingerprint=parts[0].fingerprint)
    return _taken(whole, np.argsort(whole.rows_N, kind="stable"))


def fold_plan(config: RunConfig, folds: int = 5) -> list[tuple[str, RunConfig]]:
    """Name and configuration of a training for each fold of this setting, for `launcher.start`."""
    configs = [config.changed(folds=folds, fold=fold) for fold in range(folds)]
    return list(zip(free_names(configs), configs, strict=True))


def fold_sets(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """The folds of each setting of which all are finished; `gather_folds` takes such a set.

    Returns: a name -> one run a fold, of several the first in `runs`.
    """
    found: dict[str, dict[int, Run]] = {}
    for run in runs:
        config = run.config()
        trained = run.status().state == "done" and not is_ensemble(run)  # whose configuration is its first member's
        if config.folds and config.fold is not None and trained:
            found.setdefault(config.changed(fold=0).to_json(), {}).setdefault(config.fold, run)
    whole = [list(some.values()) for some in found.values() if len(some) == next(iter(some.values())).config().folds]
    return {_name_of(some[0]): some for some in whole}


def _name_of(run: Run) -> str:
    """A set's name by one of its runs: what stands before its fold, else what net it is."""
    return _FOLD.sub("", run.name) or run.config().recipe or run.config().model


def errors_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """`error_rows` as CSV text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


_FOLD = re.compile(r"-?fold-\d+(-of-\d+)?$")
_COLUMNS = ("rows_N", "hashes_N", "labels_N", "logits_NK")


def _check_folds(folds: Sequence[Run]) -> None:
    """That these are all the folds of one setting, by fold."""
    configs = [run.config() for run in folds]
    plain = next((run.name for run, config in zip(folds, configs, strict=True) if config.folds < 2), None)
    if not folds or plain is not None:
        what = f"run {plain!r} is no fold" if folds else "there are no folds"
        raise RunError(f"{what}: answers on train need runs of --folds 5, one for each --fold from 0 to 4.")
    for run, config in zip(folds[1:], configs[1:], strict=True):
        other = sorted(config.differences_from(configs[0]).keys() - _MAY_DIFFER)
        if other:
            raise RunError(
                f"{run.name!r} and {folds[0].name!r} are not folds of one setting: {', '.join(other)} differ."
            )
    found, wanted = [config.fold for config in configs], list(range(configs[0].folds))
    if found != wanted:
        missing = ", ".join(str(fold) for fold in wanted if fold not in found)
        what = f"fold {missing} is missing" if missing else "a fold stands there twice"
        raise RunError(f"{what} among {_names(folds)}; every fold from 0 to {wanted[-1]} is needed once.")
    if configs[0].weights not in _STARTS:
        raise RunError(
            f"the folds {_names(folds)} started from weights of {configs[0].weights!r}, which may have been trained on "
            f"the faces that they left out. Train them with --weights {' or '.join(_STARTS)}."
        )


def _check_apart(parts: Sequence[SplitPredictions], folds: Sequence[Run]) -> None:
    """That no row stands there twice, nor its very pixels in two folds: one of both nets would have learnt them."""
    pictures = [np.unique(part.hashes_N) for part in parts]
    for what, columns in (("rows", [part.rows_N for part in parts]), ("pictures", pictures)):
        twice = sum(map(len, columns)) - len(np.unique(np.concatenate(columns)))
        if twice:
            raise RunError(
                f"{twice:,} {what} were left out twice by {_names(folds)}, so that these are not the folds of one "
                "division of train. Train them again, all with the same version."
            )


def _names(runs: Sequence[Run]) -> str:
    return ", ".join(run.name for run in runs)


def _taken(predictions: SplitPredictions, which_N: NDArray[Any]) -> SplitPredictions:
    columns = {name: getattr(predictions, name)[which_N] for name in _COLUMNS}
    more = {view: logits[which_N] for view, logits in predictions.more_NK.items()}
    seen_N = predictions.in_train_N
    return replace(predictions, **columns, more_NK=more, in_train_N=None if seen_N is None else seen_N[which_N])


def ferplus_errors(
    predictions: SplitPredictions, votes_NV: NDArray[np.uint8]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether FER+'s majority calls each label wrong (N,), and whether it is known: whether there is a majority (N,).

    Raises: RunError: the labels are not FER2013's.
    """
    refuse_other_labels(predictions)
    majority_N = majority_labels(votes_NV)
    return (majority_N >= 0) & (majority_N != predictions.labels_N), majority_N >= 0


def precision_at(
    order_N: NDArray[np.int64], is_error_N: NDArray[np.bool_], known_N: NDArray[np.bool_], ks: Sequence[int]
) -> list[Precision]:
    """Of the first k faces of a ranking, those without a known answer passed over: how many labels are wrong.

    Args:
        order_N: positions, the likeliest label error first.
        is_error_N, known_N: whether each label is wrong, and whether that is known, by position.
    Raises: RunError: of no face it is known.
    """
    order = order_N[known_N[order_N]]
    if not len(order):
        raise RunError(
            "no face has a FER+ majority, so that no ranking can be measured. Give FER+'s votes (--ferplus)."
        )
    return [Precision(k, Share(int(is_error_N[order[:k]].sum()), min(k, len(order)))) for k in ks]


def error_rows(
    predictions: SplitPredictions,
    method: str = "confident",
    *,
    top: int | None = None,
    votes_NV: NDArray[np.uint8] | None = None,
) -> list[dict[str, Any]]:
    """The likeliest label errors as rows for CSV or JSON, the likeliest first.

    Each has its rank from 1, row and pixel hash, label and proposed emotion with their probabilities, and with votes
    FER+'s majority (None: there is none) and whether it differs from the label (None: not known).

    Args:
        predictions: out of sample (`out_of_sample`, `gather_folds`).
        votes_NV: of the same faces (`label_sides.votes_of`).
    Raises: RunError: as `rank_label_errors` and, with votes, as `ferplus_errors` do.
    """
    probabilities_NK = softmax(predictions.logits_NK)
    order = rank_label_errors(predictions.labels_N, probabilities_NK, method)[:top]
    by_votes = _votes_columns(predictions, votes_NV) if votes_NV is not None else None
    rows = []
    for rank, at in enumerate(order.tolist(), 1):
        label, proposed = int(predictions.labels_N[at]), int(predictions.logits_NK[at].argmax())
        row = {
            "rank": rank,
            "row": int(predictions.rows_N[at]),
            "hash": face_hash(predictions.hashes_N[at]),
            "label": predictions.classes[label],
            "label_probability": float(probabilities_NK[at, label]),
            "proposed": predictions.classes[proposed],
            "proposed_probability": float(probabilities_NK[at, proposed]),
        }
        rows.append(row | {name: column[at] for name, column in by_votes.items()} if by_votes else row)
    return rows


def _votes_columns(predictions: SplitPredictions, votes_NV: NDArray[np.uint8]) -> Mapping[str, list[Any]]:
    wrong_N, known_N = ferplus_errors(predictions, votes_NV)
    majority = [FERPLUS_CLASSES[k] if k >= 0 else None for k in majority_labels(votes_NV).tolist()]
    says_wrong = [wrong if known else None for wrong, known in zip(wrong_N.tolist(), known_N.tolist(), strict=True)]
    return {"ferplus": majority, "ferplus_says_wrong": says_wrong}
