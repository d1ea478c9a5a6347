"""Mixup: faces and what is learned of them are mixed in pairs. Zhang et al., ICLR 2018, arXiv 1710.09412.

Shapes: B batch, C channels, H x W pixels.
"""

from dataclasses import dataclass

import numpy as np
from torch import Generator, Tensor, randperm


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed: face i with face `partner_B[i]`, which has 1 - `share` of it."""

    partner_B: Tensor
    share: float

    def images(self, images_BCHW: Tensor) -> Tensor:
        return self.share * images_BCHW + (1 - self.share) * images_BCHW[self.partner_B]

    def loss(self, own: Tensor, partners: Tensor) -> Tensor:
        """Of the losses towards the faces' own targets and towards their partners'."""
        return self.share * own + (1 - self.share) * partners


def draw_mix(alpha: float, faces: int, generator: Generator, seed: int) -> Mix:
    """Draw pairs, and one share from Beta(alpha, alpha) for the whole batch, as the paper's code does.

    Args: generator: on the faces' device, for the pairs. seed: for the share; torch has no Beta with a generator.
    """
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    return Mix(randperm(faces, generator=generator, device=generator.device), share)
