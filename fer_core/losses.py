"""What a wrong answer costs, by label mode. Shapes: B faces of a batch, K classes.

Each loss takes `gamma`, which makes it a focal one: a face's cost is multiplied by (1 - p)^gamma, where p is what the
net gives the right answer, so that faces which it knows count less. 0 is the plain loss. Source: Lin et al., ICCV 2017,
arXiv 1708.02002.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_core.registry import registrar

_FLOOR = 0.001
"""Share that FER+ gives the classes that are not right in `multi`, so that no logarithm is infinite."""

Objective = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
OBJECTIVES: dict[str, Objective] = {}
"""Label mode -> loss of logits (B, K), targets (labels (B,) or shares (B, K)), class weights (K,), smoothing, gamma."""
register = registrar(OBJECTIVES)


@register("fer")
@register("majority")
@register("probability")
def weighted_cross_entropy(
    logits_BK: Tensor, labels_B: Tensor, weights_K: Tensor, smoothing: float, gamma: float = 0.0
) -> Tensor:
    """Cross-entropy with label smoothing and a weight for each class; the mean over the batch, a scalar, in nats.

    Computed in float32 whatever the logits are. The sum is divided by the batch's sum of weights, so that a batch of
    rare faces takes no longer step than another. All weights 1: plain cross-entropy.
    """
    logits_BK = logits_BK.float()
    if not gamma:
        return F.cross_entropy(logits_BK, labels_B, weight=weights_K, label_smoothing=smoothing)
    costs_B = F.cross_entropy(logits_BK, labels_B, weight=weights_K, label_smoothing=smoothing, reduction="none")
    right_B = logits_BK.softmax(dim=1).gather(1, labels_B[:, None]).squeeze(1)
    return (_focus(right_B, gamma) * costs_B).sum() / weights_K[labels_B].sum()


@register("crossentropy")
def soft_cross_entropy(
    logits_BK: Tensor, shares_BK: Tensor, weights_K: Tensor, smoothing: float, gamma: float = 0.0
) -> Tensor:
    """`weighted_cross_entropy` towards a share of each class; where a row has one class alone, the two are equal.

    The right answer's p is the mean of the classes' probabilities, by their shares.
    """
    logs_BK = F.log_softmax(logits_BK.float(), dim=1)
    costs_BK = -logs_BK * weights_K
    costs_B = (1 - smoothing) * (shares_BK * costs_BK).sum(dim=1) + smoothing * costs_BK.mean(dim=1)
    if gamma:
        costs_B = _focus((shares_BK * logs_BK.exp()).sum(dim=1), gamma) * costs_B
    return costs_B.sum() / (shares_BK * weights_K).sum()


@register("multi")
def any_of(logits_BK: Tensor, shares_BK: Tensor, weights_K: Tensor, smoothing: float, gamma: float = 0.0) -> Tensor:
    """Minus the logarithm of the likeliest class among those that count as right; mean over the batch, in nats.

    Each row weighs as much as its leading class. `smoothing` has no place here and is not used.
    Source: the multi-target loss of Barsoum et al., ICMI 2016, arXiv 1608.01041, as in the project's `train.py`.
    """
    right_BK = torch.where(shares_BK > 0, 1.0, _FLOOR)
    likeliest_B = (F.log_softmax(logits_BK.float(), dim=1) + right_BK.log()).amax(dim=1)
    weights_B = weights_K[shares_BK.argmax(dim=1)]
    costs_B = -likeliest_B * weights_B
    if gamma:
        costs_B = _focus(likeliest_B.exp(), gamma) * costs_B
    return costs_B.sum() / weights_B.sum()


def _focus(right_B: Tensor, gamma: float) -> Tensor:
    # Just above 1 a probability may round; and at 1 the power's gradient is infinite for a gamma below 1.
    return (1 - right_B).clamp(min=1e-6) ** gamma
