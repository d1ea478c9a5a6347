"""What balancing does to an epoch and to the lesson in it, before anything is trained.

Shapes: N faces of a stored run's answers, K classes. Plain numpy: the Balance sliders call this on every move.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_core.balance import Balance, Floats, focal_factor, focal_gradient_factor
from fer_core.errors import RunError
from fer_core.evaluate import softmax
from fer_core.predictions import SplitPredictions


@dataclass(frozen=True)
class Lesson:
    """How much one face of each class teaches, on average, before any weight; from a stored run's answers."""

    loss_K: Floats
    """Mean loss of a face, in nats."""
    gradient_K: Floats
    """Mean Euclidean length of the loss's gradient by the logits."""


@dataclass(frozen=True)
class Preview:
    """One balancing, class by class. Shares sum to 1."""

    mix_K: Floats
    """Share of the faces that an epoch shows."""
    repeats_K: Floats
    """How often an epoch shows one face of the class: exactly, or where rows are drawn, on average."""
    unseen_K: Floats
    """Share of the class's faces that an epoch never shows, expected; 0 where each row comes once."""
    loss_share_K: Floats
    """Share of the weighted loss of an epoch."""
    gradient_share_K: Floats | None
    """Share of the weighted lengths of the faces' gradients; None where no run's answers were given."""


def preview(counts_K: ArrayLike, balance: Balance, answers: SplitPredictions | None = None) -> Preview:
    """What `balance` does to classes with these many training faces.

    Without answers each face has the same loss, so that focal loss and logit adjustment show nothing, and nothing is
    known of gradients. With a stored run's (`lesson_of`), a class that it has answered badly takes a larger share:
    where that run stands now, not where the next one will end.

    Raises: RunError: the answers are of another number of classes, none, or not finite.
    """
    counts = np.asarray(counts_K, dtype=np.float64)
    if answers is not None and (k := len(answers.classes)) != len(counts):
        raise RunError(f"the run has {k} classes and the data {len(counts)}; choose a run with the data's labels.")
    lesson = None if answers is None else lesson_of(answers, balance)
    visits = balance.visits_K(counts)
    return Preview(
        mix_K=balance.epoch_mix_K,
        repeats_K=visits,
        unseen_K=_unseen(counts, visits, balance.resampled),
        loss_share_K=_share(balance, np.ones_like(counts) if lesson is None else lesson.loss_K),
        gradient_share_K=None if lesson is None else _share(balance, lesson.gradient_K),
    )


def lesson_of(answers: SplitPredictions, balance: Balance) -> Lesson:
    """How much a face of each class would teach a net that answers as this stored run does.

    By the loss that `balance` trains with: its offsets are added to the logits, and focal loss has its gamma; its class
    weights are not in yet. The answers are on a split that was not trained on, mostly public: a run stores none on its
    training faces, where a net that over-fits has smaller losses. Label smoothing is left out. A class without an
    answered face counts with the mean of all faces.

    Raises: RunError: there are no answers, or they are not finite.
    """
    if not len(answers.labels_N) or not np.isfinite(answers.logits_NK).all():
        raise RunError("the run's answers are empty or not finite; choose another run to preview with.")
    offsets = 0.0 if balance.logit_offsets_K is None else balance.logit_offsets_K
    probabilities = softmax(answers.logits_NK + offsets)
    true_N = probabilities[np.arange(len(probabilities)), answers.labels_N]
    # A probability that rounds to 0 has a loss all the same: the smallest float's, 708 nats.
    losses = -np.log(np.maximum(true_N, np.finfo(np.float64).tiny)) * focal_factor(true_N, balance.gamma)
    gradients = _gradient_lengths(probabilities, true_N) * focal_gradient_factor(true_N, balance.gamma)
    k = len(answers.classes)
    return Lesson(_class_means(losses, answers.labels_N, k), _class_means(gradients, answers.labels_N, k))


def _gradient_lengths(probabilities_NK: Floats, true_N: Floats) -> Floats:
    """Length of softmax minus one-hot label: sum of p^2 over all classes, with (1 - p)^2 for the true one."""
    squares = np.einsum("nk,nk->n", probabilities_NK, probabilities_NK)
    return np.sqrt(np.maximum(squares + 1 - 2 * true_N, 0))


def _class_means(values_N: Floats, labels_N: NDArray[np.int64], k: int) -> Floats:
    counts = np.bincount(labels_N, minlength=k)
    sums = np.bincount(labels_N, weights=values_N, minlength=k)
    return np.where(counts > 0, sums / np.maximum(counts, 1), values_N.mean())


def _unseen(counts_K: Floats, visits_K: Floats, resampled: bool) -> Floats:
    """(1 - p)^n for n draws that each take a face with probability p; a class without faces has none to miss."""
    if not resampled:
        return np.zeros_like(visits_K)
    n = counts_K.sum()
    return np.where(counts_K > 0, (1 - visits_K / n) ** n, 0.0)


def _share(balance: Balance, per_face_K: Floats) -> Floats:
    parts = balance.epoch_mix_K * balance.loss_weights_K * per_face_K
    return parts / parts.sum() if parts.sum() > 0 else balance.loss_share_K
