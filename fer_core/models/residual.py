"""Our own residual nets for 48 x 48 grey faces: `small` in minutes on two cores, `base` in an hour.

Residual blocks: He et al., CVPR 2016, arXiv 1512.03385. The stride-2 stem quarters the work of every later layer.
"""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut; the shortcut is projected where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        same_shape = stride == 1 and in_channels == out_channels
        self.shortcut: nn.Module = (
            nn.Identity()
            if same_shape
            else nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.relu(self.body(x_BCHW) + self.shortcut(x_BCHW))


class FaceResNet(nn.Module):
    """Stride-2 stem, some residual blocks of each width, global average pooling, one linear layer.

    Input (B, in_channels, H, W) normalised floats, H and W at least 24; output (B, num_classes) logits.
    """

    def __init__(self, in_channels: int, num_classes: int, widths: tuple[int, ...], depths: tuple[int, ...]) -> None:
        """Args: widths, depths: channels and number of blocks of each stage; a stage after the first halves H and W."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        before = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for place in range(depth):
                blocks.append(ResidualBlock(before, width, 2 if stage and not place else 1))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(before, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(x_BCHW))).flatten(1))


def small(in_channels: int, num_classes: int) -> FaceResNet:
    """0.9M parameters, 32M multiply-adds on 48 x 48 pixels."""
    return FaceResNet(in_channels, num_classes, (32, 64, 128, 192), (1, 1, 1, 1))


def base(in_channels: int, num_classes: int) -> FaceResNet:
    """3.5M parameters, 130M multiply-adds on 48 x 48 pixels: wide rather than deep, which two cores compute faster."""
    return FaceResNet(in_channels, num_classes, (64, 128, 256, 384), (1, 1, 1, 1))
