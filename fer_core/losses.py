"""What a wrong answer costs. Shapes: B faces of a batch, K classes."""

import torch.nn.functional as F
from torch import Tensor


def weighted_cross_entropy(logits_BK: Tensor, labels_B: Tensor, weights_K: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with label smoothing and a weight for each class; the mean over the batch, a scalar, in nats.

    Computed in float32 whatever the logits are. The sum is divided by the batch's sum of weights, so that a batch of
    rare faces takes no longer step than another. All weights 1: plain cross-entropy.
    """
    return F.cross_entropy(logits_BK.float(), labels_B, weight=weights_K, label_smoothing=smoothing)
