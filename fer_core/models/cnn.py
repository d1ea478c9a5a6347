"""Two plain convolutional nets made for FER2013: the six-layer CNN, and a VGG13 in the style of FER+'s paper.

Both take (B, in_channels, H, W) normalised floats and return (B, num_classes) logits. They are laid out for 48 px;
adaptive pooling keeps the linear layers' size at any other.
"""

from itertools import pairwise

from torch import Tensor, nn


class SixLayerCnn(nn.Module):
    """Six 3 x 3 convolutions with ReLU, max pooling after each pair, then three linear layers. No batch norm."""

    def __init__(self, in_channels: int, num_classes: int, widths: tuple[int, ...] = (32, 64, 128)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((in_channels, *widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * 6 * 6, 256),
            nn.ReLU(inplace=True),
            nn.Linear(256, 128),
            nn.ReLU(inplace=True),
            nn.Linear(128, num_classes),
        )
        _start_for_relu(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x_BCHW)).flatten(1))


class FerPlusVgg(nn.Module):
    """Ten 3 x 3 convolutions in four blocks with batch norm, max pooling and dropout, then two wide linear layers.

    After the VGG13 of Barsoum et al., ICMI 2016, arXiv 1608.01041, whose widths are 64, 128, 256, 256 and
    1024, 1024. Here the first three blocks and the linear layers are half as wide (32, 64, 128, 256 and 512, 512),
    so that two cores can train it, and dropout is 0.1 and 0.3 instead of 0.25 and 0.5: half as many channels, trained
    for a tenth of the epochs, do not need more. Batch norm after each convolution is ours.
    """

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        blocks = ((32, 32), (64, 64), (128, 128, 128), (256, 256, 256))
        inputs = (in_channels, *(widths[-1] for widths in blocks[:-1]))
        self.features = nn.Sequential(*(_block(before, after) for before, after in zip(inputs, blocks, strict=True)))
        self.pool = nn.AdaptiveAvgPool2d(3)
        self.classifier = nn.Sequential(
            nn.Linear(blocks[-1][-1] * 3 * 3, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(512, 512),
            nn.ReLU(inplace=True),
            nn.Dropout(0.3),
            nn.Linear(512, num_classes),
        )
        _start_for_relu(self)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x_BCHW)).flatten(1))


def _block(in_channels: int, widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise((in_channels, *widths)):
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.MaxPool2d(2), nn.Dropout(0.1))


def _start_for_relu(net: nn.Module) -> None:
    """Without this the signal shrinks from layer to layer, and a net without norms does not start to learn.

    Source: He et al., ICCV 2015, arXiv 1502.01852.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
