"""torchvision's residual nets, taught grey faces. He et al., CVPR 2016, arXiv 1512.03385."""

from torch import nn


def resnet18(in_channels: int, num_classes: int) -> nn.Module:
    """ResNet-18 from scratch: the published net, its first convolution turned to `in_channels`, a K-way head."""
    from torchvision.models import resnet18 as published  # takes a second to import, and most runs do not need it

    net = published(num_classes=num_classes)
    net.conv1 = nn.Conv2d(in_channels, net.conv1.out_channels, 7, 2, 3, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    return net
