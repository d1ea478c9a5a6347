"""From class counts to what an epoch shows and what a mistake costs: the strategies against FER2013's imbalance.

Shapes: N training faces, K classes. Plain numpy: the Balance sliders call this on every move.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
    balance = STRATEGIES[config.balance](counts[there], config)
    mix, weights = np.zeros_like(counts), np.ones_like(counts)
    mix[there], weights[there] = balance.epoch_mix_K, balance.loss_weights_K
    return Balance(mix, weights, balance.resampled)


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


def class_weights(counts_K: Floats, config: RunConfig) -> Floats:
    """Weights of K classes, mean 1, so that the strength of balancing does not change the scale of the loss.

    inverse: n_c^-alpha (King & Zeng 2001). effective: (1 - beta) / (1 - beta^n_c), the inverse of the effective number
    of samples; beta 0 weighs all classes alike (Cui et al., CVPR 2019, arXiv 1901.05555).
    """
    if config.balance_weighting == "inverse":
        raw = counts_K**-config.balance_alpha
    else:
        raw = (1 - config.balance_beta) / (1 - config.balance_beta**counts_K)
    return raw / raw.mean()


def row_probabilities(labels_N: NDArray[np.int64], epoch_mix_K: Floats) -> Floats:
    """Probability of each row in one draw: its class's share, spread evenly over the class's rows. Sums to 1."""
    counts = np.bincount(labels_N, minlength=len(epoch_mix_K))
    per_row = epoch_mix_K / np.maximum(counts, 1)
    return per_row[labels_N] / per_row[labels_N].sum()
