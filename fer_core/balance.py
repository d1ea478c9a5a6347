"""From class counts to what an epoch shows and what a mistake costs: the strategies against FER2013's imbalance.

Shapes: N training faces, K classes. Plain numpy: the Balance sliders call this on every move.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fer_core.config import RunConfig
from fer_core.errors import ConfigError
from fer_core.registry import registrar

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Balance:
    """What a strategy does to K classes."""

    epoch_mix_K: Floats
    """Share of each class among the faces that an epoch shows; sums to 1."""
    loss_weights_K: Floats
    """Factor on the loss of each class, mean 1 over the classes that occur; all ones without weighting."""
    resampled: bool
    """True: rows are drawn with replacement, by `epoch_mix_K`. False: each row comes once an epoch."""
    logit_offsets_K: Floats | None = None
    """Added to the logits in the loss, in nats; None: nothing is."""
    gamma: float = 0.0
    """Of the focal loss; 0 is the plain one."""

    @property
    def weighted(self) -> bool:
        """Whether some class's mistakes cost more than another's."""
        return bool(np.ptp(self.loss_weights_K) > 0)

    @property
    def loss_share_K(self) -> Floats:
        """Share of each class in the loss, if every face had the same loss before weighting; sums to 1."""
        share = self.epoch_mix_K * self.loss_weights_K
        return share / share.sum()

    def visits_K(self, counts_K: ArrayLike) -> Floats:
        """How often an epoch shows one face of each class, on average; 0 for a class without faces."""
        counts = np.asarray(counts_K, dtype=np.float64)
        return self.epoch_mix_K * counts.sum() / np.maximum(counts, 1)


Strategy = Callable[[Floats, RunConfig], Balance]
STRATEGIES: dict[str, Strategy] = {}
register = registrar(STRATEGIES)


def plan_balance(counts_K: ArrayLike, config: RunConfig) -> Balance:
    """What `config`'s strategy does to classes with these many training faces.

    Balancing is among the classes that occur: one without a face (CK+ has no neutral) is never drawn, and its weight
    is 1. Raises: ConfigError: no class has a face.
    """
    counts = np.asarray(counts_K, dtype=np.float64)
    there = counts > 0
    if not there.any():
        raise ConfigError(f"--balance {config.balance}: there is no training face to balance.")
    found = reduce(_both, (STRATEGIES[name](counts[there], config) for name in config.strategies))
    mix, weights, offsets = np.zeros_like(counts), np.ones_like(counts), np.zeros_like(counts)
    mix[there], weights[there] = found.epoch_mix_K, found.loss_weights_K
    if found.logit_offsets_K is None:
        return replace(found, epoch_mix_K=mix, loss_weights_K=weights)
    offsets[there] = found.logit_offsets_K
    return replace(found, epoch_mix_K=mix, loss_weights_K=weights, logit_offsets_K=offsets)


def _both(one: Balance, other: Balance) -> Balance:
    """What two strategies do together; each changes something of its own."""
    return Balance(
        other.epoch_mix_K if other.resampled else one.epoch_mix_K,
        one.loss_weights_K * other.loss_weights_K,
        one.resampled or other.resampled,
        one.logit_offsets_K if other.logit_offsets_K is None else other.logit_offsets_K,
        max(one.gamma, other.gamma),
    )


@register("none")
def as_is(counts_K: Floats, config: RunConfig) -> Balance:
    """Each face once an epoch, each mistake at the same price."""
    return Balance(counts_K / counts_K.sum(), np.ones_like(counts_K), resampled=False)


@register("sampler")
def sampler(counts_K: Floats, config: RunConfig) -> Balance:
    """Draw a face of class c with probability proportional to n_c^-alpha.

    The epoch's share of class c is then proportional to n_c^(1 - alpha): alpha 0 is the data's own mix, 0.5 its square
    root, 1 the same share for each class. Source: Mahajan et al., ECCV 2018, arXiv 1805.00932.
    """
    mix = counts_K ** (1 - config.balance_alpha)
    return Balance(mix / mix.sum(), np.ones_like(counts_K), resampled=True)


@register("weights")
def weights(counts_K: Floats, config: RunConfig) -> Balance:
    """Each face once an epoch; the loss of class c is multiplied by its weight (`class_weights`)."""
    return Balance(counts_K / counts_K.sum(), class_weights(counts_K, config), resampled=False)


@register("focal")
def focal(counts_K: Floats, config: RunConfig) -> Balance:
    """Each face once an epoch, its loss multiplied by (1 - p)^gamma (`focal_factor`), whatever its class.

    Source: Lin et al., ICCV 2017, arXiv 1708.02002.
    """
    return replace(as_is(counts_K, config), gamma=config.balance_gamma)


@register("logit_adjusted")
def logit_adjusted(counts_K: Floats, config: RunConfig) -> Balance:
    """Each face once an epoch; tau * log(share of its class) is added to the logits in the loss, not in judging.

    The net then learns what would be likely if all classes were equally common (tau 1).
    Source: Menon et al., ICLR 2021, arXiv 2007.07314, equation 10.
    """
    return replace(as_is(counts_K, config), logit_offsets_K=logit_offsets(counts_K, config.balance_tau))


def class_weights(counts_K: Floats, config: RunConfig) -> Floats:
    """Weights of K classes, mean 1, so that the strength of balancing does not change the scale of the loss.

    inverse: n_c^-alpha (King & Zeng 2001). effective: (1 - beta) / (1 - beta^n_c), the inverse of the effective number
    of samples; beta 0 weighs all classes alike (Cui et al., CVPR 2019, arXiv 1901.05555). `cap_weights` bounds both.
    """
    if config.balance_weighting == "inverse":
        raw = counts_K**-config.balance_alpha
    else:
        raw = (1 - config.balance_beta) / (1 - config.balance_beta**counts_K)
    return cap_weights(raw, config.balance_cap) if config.balance_cap else raw / raw.mean()


def row_probabilities(labels_N: NDArray[np.int64], epoch_mix_K: Floats) -> Floats:
    """Probability of each row in one draw: its class's share, spread evenly over the class's rows. Sums to 1."""
    counts = np.bincount(labels_N, minlength=len(epoch_mix_K))
    per_row = epoch_mix_K / np.maximum(counts, 1)
    return per_row[labels_N] / per_row[labels_N].sum()


def cap_weights(weights_K: ArrayLike, cap: float) -> Floats:
    """Weights of which none is more than `cap` times the smallest; what is above comes down to that, the rest stays.

    Then rescaled to mean 1, as all weights here are. cap 1: all alike. Only of classes that occur.
    Raises: ConfigError: cap is below 1.
    """
    if not cap >= 1:
        raise ConfigError(f"the cap on class weights is {cap:g}; it should be 1 or more, the ratio to the smallest.")
    weights = np.asarray(weights_K, dtype=np.float64)
    capped = np.minimum(weights, cap * weights.min())
    return capped / capped.mean()


def logit_offsets(prior_K: ArrayLike, tau: float) -> Floats:
    """tau * log(prior), in nats: what logit adjustment takes off the logits of a net, or adds to them in its loss.

    A class with prior 0 has offset 0, so that no logit is infinite: it gains nothing while every other class does.
    The prior need not sum to 1. Source: Menon et al., ICLR 2021, arXiv 2007.07314, equations 9 and 10.
    """
    prior = np.asarray(prior_K, dtype=np.float64)
    there = prior > 0
    return tau * np.log(np.where(there, prior, 1.0) / prior.sum()) * there


def focal_factor(probabilities: ArrayLike, gamma: float) -> Floats:
    """(1 - p)^gamma: what focal loss multiplies the cross-entropy with, by the probability of the true class.

    gamma 0 is plain cross-entropy. Source: Lin et al., ICCV 2017, arXiv 1708.02002, equation 4.
    """
    return (1 - np.asarray(probabilities, dtype=np.float64)) ** gamma


def focal_gradient_factor(probabilities: ArrayLike, gamma: float) -> Floats:
    """(1 - p)^gamma - gamma p (1 - p)^(gamma - 1) log p: what focal loss multiplies the logits' gradient with.

    The gradient of plain cross-entropy is the softmax minus the one-hot label; that of focal loss is this factor times
    it, since its own factor (`focal_factor`) moves with p as well. Above 1 where p is small and gamma is.
    Source: the derivative of Lin et al., ICCV 2017, arXiv 1708.02002, equation 4.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    p_log_p = p * np.log(np.where(p > 0, p, 1.0))
    rest = np.where(p < 1, 1 - p, 1.0)  # at p = 1 the second term vanishes with log p, whatever the power
    return focal_factor(p, gamma) - gamma * p_log_p * rest ** (gamma - 1)
