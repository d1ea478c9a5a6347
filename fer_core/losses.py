"""What a wrong answer costs, by label mode. Shapes: B faces of a batch, K classes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_core.registry import registrar

_FLOOR = 0.001
"""Share that FER+ gives the classes that are not right in `multi`, so that no logarithm is infinite."""

Objective = Callable[[Tensor, Tensor, Tensor, float], Tensor]
OBJECTIVES: dict[str, Objective] = {}
"""Label mode -> loss of logits (B, K), targets (labels (B,) or shares (B, K)), class weights (K,) and smoothing."""
register = registrar(OBJECTIVES)


@register("fer")
@register("majority")
@register("probability")
def weighted_cross_entropy(logits_BK: Tensor, labels_B: Tensor, weights_K: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with label smoothing and a weight for each class; the mean over the batch, a scalar, in nats.

    Computed in float32 whatever the logits are. The sum is divided by the batch's sum of weights, so that a batch of
    rare faces takes no longer step than another. All weights 1: plain cross-entropy.
    """
    return F.cross_entropy(logits_BK.float(), labels_B, weight=weights_K, label_smoothing=smoothing)


@register("crossentropy")
def soft_cross_entropy(logits_BK: Tensor, shares_BK: Tensor, weights_K: Tensor, smoothing: float) -> Tensor:
    """`weighted_cross_entropy` towards a share of each class; where a row has one class alone, the two are equal."""
    costs_BK = -F.log_softmax(logits_BK.float(), dim=1) * weights_K
    towards = (shares_BK * costs_BK).sum()
    spread = costs_BK.mean(dim=1).sum()
    return ((1 - smoothing) * towards + smoothing * spread) / (shares_BK * weights_K).sum()


@register("multi")
def any_of(logits_BK: Tensor, shares_BK: Tensor, weights_K: Tensor, smoothing: float) -> Tensor:
    """Minus the logarithm of the likeliest class among those that count as right; mean over the batch, in nats.

    Each row weighs as much as its leading class. `smoothing` has no place here and is not used.
    Source: the multi-target loss of Barsoum et al., ICMI 2016, arXiv 1608.01041, as in the project's `train.py`.
    """
    right_BK = torch.where(shares_BK > 0, 1.0, _FLOOR)
    likeliest_B = (F.log_softmax(logits_BK.float(), dim=1) + right_BK.log()).amax(dim=1)
    weights_B = weights_K[shares_BK.argmax(dim=1)]
    return -(likeliest_B * weights_B).sum() / weights_B.sum()
