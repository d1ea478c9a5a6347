"""torchvision's nets, taught grey faces. Each entry of the catalog names the paper.

torchvision takes a second to import, and our own nets do not need it: it is imported inside the functions.
"""

import torch
from torch import nn

TORCHVISION: dict[str, str] = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "vgg11": "vgg11",
    "vgg13": "vgg13",
    "vgg16": "vgg16",
    "densenet121": "densenet121",
    "efficientnet-b0": "efficientnet_b0",
    "mobilenet-v3-small": "mobilenet_v3_small",
    "mobilenet-v3-large": "mobilenet_v3_large",
    "convnext-tiny": "convnext_tiny",
    "swin-tiny": "swin_t",
    "vit-b16": "vit_b_16",
}
"""Our name -> torchvision's."""
_SIZED = frozenset({"vit-b16"})
"""Nets with one position embedding for each patch: they are built for one image size."""
_SPREAD_BY_INPUTS = frozenset({"densenet121", "swin-tiny", "vit-b16"})
"""Nets whose first layer starts with a spread that falls with the number of its inputs."""
_SPREAD_FIXED = frozenset({"convnext-tiny"})
"""Nets whose first layer starts with one spread, however many inputs it has. In all the others outputs decide."""


def build_published(name: str, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    """torchvision's net with fresh weights, its first convolution turned to `in_channels`, a K-way last layer."""
    from torchvision.models import get_model

    sized = {"image_size": image_size} if name in _SIZED else {}
    net = get_model(TORCHVISION[name], weights=None, num_classes=num_classes, **sized)
    if in_channels != 3:
        _replace_stem(net, name, in_channels)
    return net


def stem(net: nn.Module) -> tuple[str, nn.Conv2d] | None:
    """Name and module of the convolution that was registered first: the one that sees the image."""
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    return None


def use_one_cell_pooling(net: nn.Module, num_classes: int) -> None:
    """Give a VGG one linear layer on 512 averages in place of its 7 x 7 cells and 120M weights.

    A face of 48 px leaves a single cell, which the published net repeats 49 times.
    """
    net.avgpool = nn.AdaptiveAvgPool2d(1)
    net.classifier = nn.Linear(512, num_classes)


def _replace_stem(net: nn.Module, name: str, in_channels: int) -> None:
    """A first convolution of `in_channels`, started with the spread that the net's own rule gives so many inputs."""
    found = stem(net)
    assert found is not None, "a published net sees its image by a convolution"
    path, old = found
    new = nn.Conv2d(in_channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)  # type: ignore[arg-type]
    with torch.no_grad():
        if name in _SPREAD_BY_INPUTS:
            new.weight.copy_(old.weight.sum(1, keepdim=True))  # three draws of a third of the variance each
        elif name in _SPREAD_FIXED:
            new.weight.copy_(old.weight[:, :in_channels])
        else:
            nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        if old.bias is not None and new.bias is not None:
            new.bias.copy_(old.bias)
    net.set_submodule(path, new)
