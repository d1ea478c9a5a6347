"""The registry of nets, and the one wrapper around each of them that normalises its input."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fer_core.catalog import check_name
from fer_core.models.resnet import resnet18
from fer_core.models.small import SmallResNet
from fer_core.registry import registrar

Builder = Callable[[int, int], nn.Module]
"""(in_channels, num_classes) -> net."""
MODELS: dict[str, Builder] = {}
register = registrar(MODELS)
register("small")(SmallResNet)
register("resnet18")(resnet18)


class FaceClassifier(nn.Module):
    """A net with its input normalisation inside, so that no caller can forget it or do it twice.

    Input (B, C, H, W) floats in 0..1; output (B, K) logits. `mean` and `std` are buffers: they travel in the
    `state_dict`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("mean", torch.tensor(0.5))
        self.register_buffer("std", torch.tensor(0.25))

    def normalise_by(self, mean: float, std: float) -> None:
        """Set the grey level that becomes 0, and the spread that becomes 1 (both in 0..1 units)."""
        self.mean.fill_(mean)
        self.std.fill_(std)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.net((images_BCHW - self.mean) / self.std)


def create_model(name: str, *, in_channels: int = 1, num_classes: int = 7) -> FaceClassifier:
    """Build a net with fresh weights, drawn from torch's global random state.

    Raises: ConfigError: no such name.
    """
    return FaceClassifier(MODELS[check_name("model", name, MODELS)](in_channels, num_classes))


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
