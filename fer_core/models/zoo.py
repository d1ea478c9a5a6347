"""The registry of nets, and `create_model`, which gives any of them with a head, weights and frozen layers."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from fer_core import catalog
from fer_core.catalog import check_name
from fer_core.errors import ConfigError
from fer_core.models.classifier import IMAGENET_MEAN, IMAGENET_STD, FaceClassifier, Preset
from fer_core.models.cnn import FerPlusVgg, SixLayerCnn
from fer_core.models.efficientnet_lite import EfficientNetLite0
from fer_core.models.parts import last_linear, make_head
from fer_core.models.published import TORCHVISION, build_published, use_one_cell_pooling
from fer_core.models.residual import base, small
from fer_core.models.weights import Weights, fit_weights, read_weights, split_wrapper
from fer_core.registry import registrar

Builder = Callable[..., nn.Module]
"""(in_channels, num_classes) -> net with fresh weights. A builder that also has a parameter `image_size` gets that.

The net takes (B, in_channels, S, S) normalised floats and returns (B, num_classes) logits. Its last linear layer is
its head, and layers are frozen in the order in which the net registers them.
"""
MODELS: dict[str, Builder] = {}
register = registrar(MODELS)
register("small")(small)
register("base")(base)
register("cnn6")(SixLayerCnn)
register("ferplus-vgg")(FerPlusVgg)
register("efficientnet-lite0")(EfficientNetLite0)
for _name in TORCHVISION:
    register(_name)(partial(build_published, _name))

_PRESETS: dict[str, Preset] = {"efficientnet-lite0": ((127 / 255,) * 3, (128 / 255,) * 3)}
"""Nets whose weights were trained with another normalisation than torchvision's: TensorFlow's for mobile devices."""
_POOLED = frozenset({"vgg11", "vgg13", "vgg16"})
"""Nets of which a head of our own replaces the whole classifier."""


def create_model(
    name: str,
    *,
    in_channels: int = 1,
    num_classes: int = 7,
    image_size: int = 48,
    weights: Weights = "none",
    freeze_until: str | None = None,
    head_hidden: int | None = None,
    head_batch_norm: bool = False,
    head_dropout: float = 0.0,
    normalisation: str = "data",
    crop: float = 0.0,
) -> FaceClassifier:
    """Build a net that takes grey faces in 0..1 of any size and returns logits.

    Args:
        in_channels: 1, or 3: the grey image three times, for weights that were trained on colours.
        num_classes: K, the length of an answer.
        image_size: side in pixels to which faces are resized.
        weights: "none": fresh, drawn from torch's global random state. "imagenet": torchvision's IMAGENET1K_V1. Or
            the path of a file with a `state_dict` (also of one of our checkpoints), or a `state_dict`. Everything but
            the head must fit; three-channel weights are summed where the net has one channel.
        freeze_until: name of a layer within the net; what is registered before it is not trained.
        head_hidden: None: the published classifier with K outputs. 0: features, (dropout), a K-way linear layer.
            n: features, linear to n, (batch norm), LeakyReLU, (dropout), linear to K. 0 and n replace a VGG's whole
            classifier and pool its features to 512; elsewhere the last linear layer is replaced.
        normalisation: "data" or "preset", see `FaceClassifier`.
        crop: what is cut off a face's sides in evaluation, see `FaceClassifier`.

    Raises: ConfigError: no such name, or an argument that does not fit the model or the others; one line.
    """
    builder = MODELS[check_name("model", name, MODELS)]
    _check_input(name, in_channels, num_classes, image_size, normalisation)
    _check_head(head_hidden, head_batch_norm, head_dropout)
    net = _build(builder, in_channels, num_classes, image_size)
    if name in _POOLED and head_hidden is not None:
        use_one_cell_pooling(net, num_classes)
    head = last_linear(net)
    if head_hidden or head_dropout:
        _replace_head(net, head, name, num_classes, head_hidden or 0, head_batch_norm, head_dropout)
    preset = _PRESETS.get(name, (IMAGENET_MEAN, IMAGENET_STD))
    sizes = {"in_channels": in_channels, "image_size": image_size}
    model = FaceClassifier(net, **sizes, normalisation=normalisation, preset=preset, head=head, crop=crop)
    if not isinstance(weights, str) or weights != "none":
        _load(model, weights, name)
    if freeze_until:
        model.freeze_until(freeze_until, name)
    return model


def parameter_count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _build(builder: Builder, in_channels: int, num_classes: int, image_size: int) -> nn.Module:
    sized: dict[str, Any] = {"image_size": image_size} if "image_size" in inspect.signature(builder).parameters else {}
    return builder(in_channels, num_classes, **sized)


def _replace_head(
    net: nn.Module, head: str | None, name: str, num_classes: int, hidden: int, batch_norm: bool, dropout: float
) -> None:
    if head is None:
        raise ConfigError(f"head_hidden: {name} has no linear layer that a head could replace. Leave it empty.")
    last = net.get_submodule(head)
    assert isinstance(last, nn.Linear), "`last_linear` finds linear layers"
    net.set_submodule(head, make_head(last.in_features, num_classes, hidden, batch_norm, dropout))


def _load(model: FaceClassifier, weights: Weights, name: str) -> None:
    state, label = read_weights(weights, name)
    inner, buffers = split_wrapper(model.net, state)
    changes = fit_weights(model.net, model.head_name, inner, label)
    own = model.state_dict()
    if model.normalisation == "data" and all(buffers[key].shape == own[key].shape for key in buffers):
        model.load_state_dict(buffers, strict=False)  # "preset" stays what it says
    model.loaded = ", ".join((label, *changes))


def _check_input(name: str, in_channels: int, num_classes: int, image_size: int, normalisation: str) -> None:
    if in_channels not in (1, 3):
        raise ConfigError(f"in_channels is 1 (grey) or 3 (grey three times), not {in_channels}.")
    if num_classes < 1:
        raise ConfigError(f"num_classes is 1 or more, not {num_classes}.")
    if normalisation not in catalog.NORMALISATIONS:
        raise ConfigError(f"normalisation is {' or '.join(catalog.NORMALISATIONS)}, not {normalisation!r}.")
    if name in catalog.MODELS:
        catalog.check_size(name, image_size)


def _check_head(hidden: int | None, batch_norm: bool, dropout: float) -> None:
    if hidden is not None and hidden < 0:
        raise ConfigError(f"head_hidden is 0 or more units, or empty for the published classifier; not {hidden}.")
    if not 0 <= dropout < 1:
        raise ConfigError(f"head_dropout is at least 0 and below 1, not {dropout}.")
    if batch_norm and not hidden:
        raise ConfigError("head_batch_norm belongs to a hidden layer. Set head_hidden to its units, such as 256.")
    if dropout and hidden is None:
        raise ConfigError("head_dropout belongs to a head of your own. Set head_hidden: 0, or a hidden layer's units.")
