"""The one wrapper around every net: sizes, channels and normalisation on the way in, head and backbone told apart.

Shapes: B batch, C channels, H x W pixels, S x S the net's own size, K classes.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from fer_core.affine import resize
from fer_core.errors import ConfigError
from fer_core.models.parts import BATCH_NORMS, is_frozen, last_linear, parameters_before
from fer_core.views import shown

Preset = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Mean and spread of red, green and blue in 0..1, which torchvision's weights expect."""


class FaceClassifier(nn.Module):
    """A net with its input's preparation inside, so that no caller can forget it or do it twice.

    Input (B, 1, H, W) floats in 0..1; output (B, K) logits. An image of another size than `image_size` is resized
    (bilinear, with antialiasing where it shrinks), repeated to `in_channels`, and normalised by the buffers `mean`
    and `std`, which travel in the `state_dict`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        in_channels: int = 1,
        image_size: int | None = None,
        normalisation: str = "data",
        preset: Preset = (IMAGENET_MEAN, IMAGENET_STD),
        head: str | None = None,
        crop: float = 0.0,
    ) -> None:
        """Args:
        image_size: side in pixels of what the net sees; None leaves an image as it comes.
        normalisation: "data": what `normalise_by` sets, the same for all channels. "preset": that of the pretrained
            weights, for each channel, or with one channel the mean of the three.
        preset: mean and spread of red, green and blue.
        head: name of the module within `net` that is its head; None: the last linear layer.
        crop: by what share the sides of the middle window are smaller than the face's that the net sees in evaluation
            mode. A net that was trained on windows is judged by one. In training mode, augmentation has cut them.
        """
        super().__init__()
        self.net = net
        self.in_channels = in_channels
        self.image_size = image_size
        self.normalisation = normalisation
        self.crop = crop
        self.training_size: int | None = None
        """Side in pixels of what the net sees in training mode, where that is another one for the time being."""
        self.loaded = "fresh weights"
        """Where the weights come from, in a few words, such as "imagenet, fresh head"."""
        self._head = last_linear(net) if head is None else head
        self._held: list[str] | None = None
        mean, std = (
            _of_channels(preset, in_channels) if normalisation == "preset" else (torch.tensor(0.5), torch.tensor(0.25))
        )
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def normalise_by(self, mean: float, std: float) -> None:
        """Set the grey level that becomes 0, and the spread that becomes 1 (both in 0..1 units).

        Does nothing where the normalisation is "preset".
        """
        if self.normalisation == "data":
            self.mean.fill_(mean)
            self.std.fill_(std)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        if self.crop and not self.training:
            [images_BCHW] = shown(images_BCHW, "none", self.crop, self.image_size)
        return self.net((self._resized(images_BCHW) - self.mean) / self.std)

    def train(self, mode: bool = True) -> "FaceClassifier":
        """As in every module, but batch norms that are frozen keep their running statistics too."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, BATCH_NORMS) and is_frozen(module):
                module.eval()
        return self

    @property
    def head(self) -> nn.Module | None:
        """The module that turns features into logits; None for a net without a linear layer."""
        return None if self._head is None else self.net.get_submodule(self._head)

    @property
    def head_name(self) -> str | None:
        """The head's name within `net`."""
        return self._head

    def head_parameters(self) -> Iterator[nn.Parameter]:
        return iter(()) if self.head is None else self.head.parameters()

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """Every parameter that is not the head's."""
        in_head = {id(parameter) for parameter in self.head_parameters()}
        return (parameter for parameter in self.parameters() if id(parameter) not in in_head)

    @property
    def frozen_share(self) -> float:
        """Share of the parameters that are not trained, 0..1."""
        total = sum(parameter.numel() for parameter in self.parameters())
        return sum(p.numel() for p in self.parameters() if not p.requires_grad) / max(1, total)

    def freeze_until(self, layer: str, model: str = "this net") -> None:
        """Stop training every module of `net` that is registered before `layer`; it and what follows is trained.

        Raises: ConfigError: the net has no such layer.
        """
        for parameter in list(parameters_before(self.net, layer, model)):
            parameter.requires_grad_(False)
        if all(not parameter.requires_grad for parameter in self.parameters()):
            raise ConfigError(f"freeze_until: from {layer!r} on {model} has nothing to train. Name an earlier layer.")
        self.train(self.training)

    def hold_backbone(self, held: bool) -> None:
        """Train the head alone for a while (True), then again exactly what was trained before (False).

        Raises: ConfigError: the net has no linear layer, so that there is no head to train.
        """
        if held == (self._held is not None):
            return
        if held:
            if self.head is None:
                raise ConfigError("this net has no linear layer, so it has no head that could be trained first.")
            backbone = {id(parameter) for parameter in self.backbone_parameters()}
            trained = [name for name, p in self.named_parameters() if p.requires_grad and id(p) in backbone]
            self._held = trained
        else:
            assert self._held is not None
            trained, self._held = self._held, None
        for name in trained:
            self.get_parameter(name).requires_grad_(not held)
        self.train(self.training)

    def _resized(self, images_BCHW: Tensor) -> Tensor:
        size = self.training_size if self.training and self.training_size else self.image_size
        if size is not None:
            images_BCHW = resize(images_BCHW, size, size)
        if images_BCHW.shape[1] != self.in_channels:
            images_BCHW = images_BCHW.expand(-1, self.in_channels, -1, -1)
        return images_BCHW


def _of_channels(preset: Preset, in_channels: int) -> tuple[Tensor, Tensor]:
    """Mean and spread: (3, 1, 1) for three channels, the mean of the three for one."""
    mean, std = (torch.tensor(values) for values in preset)
    return (mean.view(3, 1, 1), std.view(3, 1, 1)) if in_channels == 3 else (mean.mean(), std.mean())
