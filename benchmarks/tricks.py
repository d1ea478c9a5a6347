"""Tricks that were tried on our small net and are not in it, as nets of their own: `--plugin benchmarks/tricks.py`.

`benchmarks.ablation` trains each beside the recipe as it is. Shapes: B batch, C channels, H x W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fer_core.models import register
from fer_core.models.residual import FaceResNet, ResidualBlock, small


class Excited(nn.Module):
    """Channels weighed by what the whole picture holds. Source: Hu et al., CVPR 2018, arXiv 1709.01507."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Linear(channels, channels // 8), nn.Linear(channels // 8, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        weights_BC = torch.sigmoid(self.excite(F.relu(self.squeeze(x_BCHW.mean((2, 3))))))
        return x_BCHW * weights_BC[:, :, None, None]


class WhitenedStem(nn.Module):
    """A stem whose first filters are the patches' principal directions, each scaled to a spread of 1, and its negative.

    They are measured on the first training batch and stay. Source: hlb-CIFAR10; airbench, Jordan 2024, arXiv
    2404.00498.
    """

    measured: Tensor

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.white = nn.Conv2d(in_channels, 18 * in_channels, 3, 2, 1, bias=False).requires_grad_(False)
        self.mix = nn.Conv2d(18 * in_channels, out_channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)
        self.register_buffer("measured", torch.tensor(False))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self.training and not self.measured:
            with torch.autocast(x_BCHW.device.type, enabled=False):  # bf16 would make small spreads negative
                self._measure(x_BCHW.detach().float())
        return F.relu(self.norm(self.mix(F.relu(self.white(x_BCHW)))))

    def _measure(self, x_BCHW: Tensor) -> None:
        patches = F.unfold(x_BCHW, 3).transpose(1, 2).flatten(0, 1)
        spreads, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (directions / (spreads + 5e-4).sqrt()).T.view(-1, x_BCHW.shape[1], 3, 3)
        self.white.weight.copy_(torch.cat([filters, -filters]))
        self.measured.fill_(True)


@register("small-excited")
def small_excited(in_channels: int, num_classes: int) -> FaceResNet:
    """The small net with squeeze-and-excitation in each block."""
    net = small(in_channels, num_classes)
    for block in _blocks(net):
        block.body.append(Excited(block.body[-1].num_features))  # type: ignore[arg-type]
    return net


@register("small-whitened")
def small_whitened(in_channels: int, num_classes: int) -> FaceResNet:
    """The small net with a whitening stem."""
    net = small(in_channels, num_classes)
    net.stem = WhitenedStem(in_channels, 32)  # type: ignore[assignment]
    return net


@register("small-shortcut-start")
def small_shortcut_start(in_channels: int, num_classes: int) -> FaceResNet:
    """The small net whose blocks start as their shortcuts. Source: Goyal et al. 2017, arXiv 1706.02677."""
    net = small(in_channels, num_classes)
    for block in _blocks(net):
        nn.init.zeros_(block.body[-1].weight)  # type: ignore[arg-type]
    return net


@register("small-unshuffled")
def small_unshuffled(in_channels: int, num_classes: int) -> FaceResNet:
    """The small net whose stem sees 2 x 2 pixels as channels, so that none is skipped."""
    net = small(in_channels, num_classes)
    conv = nn.Conv2d(4 * in_channels, 32, 3, 1, 1, bias=False)
    net.stem = nn.Sequential(nn.PixelUnshuffle(2), conv, *list(net.stem)[1:])
    return net


def _blocks(net: FaceResNet) -> list[ResidualBlock]:
    return [block for block in net.modules() if isinstance(block, ResidualBlock)]
