"""A run's net: what it costs, how it is made from a configuration, and how it is restored."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fer_core.config import RunConfig
from fer_core.data import FaceStore
from fer_core.ensemble_file import refuse_ensemble
from fer_core.errors import ConfigError, RunError
from fer_core.models import FaceClassifier, ModelCost, create_model, model_cost
from fer_core.plugins import require_plugin
from fer_core.recipes import from_scratch
from fer_core.runs import Run, find_run
from fer_core.train.checkpoint import load_checkpoint, load_weights

_UNSET = (0.5, 0.25)
"""Mean and spread of a `FaceClassifier` that nobody has set. A run's weights bring theirs, ImageNet's bring none."""


def architecture(config: RunConfig, classes: int, image_size: tuple[int, int]) -> dict[str, Any]:
    """What `create_model` takes, weights left out; plain values, kept beside the weights.

    Args: image_size: height and width of the faces, for a configuration that names no size of its own.
    """
    return {
        "name": config.model,
        "in_channels": config.channels,
        "num_classes": classes,
        "image_size": config.image_size or max(image_size),
        "freeze_until": None if config.freeze_until == "none" else config.freeze_until,
        "head_hidden": config.head_hidden,
        "head_batch_norm": config.head_batch_norm,
        "head_dropout": config.head_dropout,
        "normalisation": config.normalisation,
        "crop": config.augmentation().strength("crop"),
    }


def cost_of(config: RunConfig, store: FaceStore) -> ModelCost:
    """Parameters, multiply-adds and frozen share of the net of a training on these faces.

    Raises: ConfigError: there is no such net.
    """
    _use_plugin(config)
    return model_cost(**architecture(config, len(store.classes), store.image_size))


def make_model(config: RunConfig, store: FaceStore, images_NHW: Tensor) -> FaceClassifier:
    """The net at the start of a training, its fresh weights drawn from torch's global random state.

    Args: images_NHW: uint8, the training faces; by them the grey levels are normalised.
    Raises: ConfigError: no such net, or its weights cannot be had; the message names what can be trained instead.
    """
    _use_plugin(config)
    try:
        model = create_model(
            **architecture(config, len(store.classes), store.image_size), weights=_weights(config.weights)
        )
    except ConfigError as error:
        raise ConfigError(_with_way_out(str(error), config)) from None
    if config.normalisation == "data" and (model.mean.item(), model.std.item()) == _UNSET:
        model.normalise_by(*grey_statistics(images_NHW))
    return model


def load_model(run: Run) -> FaceClassifier:
    """The run's net with the weights that `public` chose, in evaluation mode, on the CPU. Raises: FerError."""
    refuse_ensemble(run)
    if not run.best.exists():
        raise RunError(f"run {run.name!r} has no weights; it is {run.status().state}. Train or resume it first.")
    config = run.config()
    _use_plugin(config)
    saved = load_checkpoint(run.best).get("architecture")
    model = _old_model(run) if saved is None else create_model(**saved)
    load_weights(run.best, model)
    return model.eval()


def trained_classes(run: Run) -> tuple[str, ...]:
    """The emotions that the run's net tells apart, in the order of its logits.

    Raises: RunError: the run does not record them.
    """
    try:
        return tuple(run.environment()["data"]["classes"])
    except (KeyError, TypeError):
        raise RunError(f"run {run.name!r} does not record its emotions; train it again.") from None


def _old_model(run: Run) -> FaceClassifier:
    """The net of a run of version 0.2 or older: it has no options, and takes a face in the size that it has."""
    model = create_model(run.config().model, num_classes=len(trained_classes(run)))
    model.image_size = None
    return model


def grey_statistics(images_NHW: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, in 0..1 units; from a histogram, so exact and without a float copy."""
    parts = (torch.bincount(part.flatten(), minlength=256) for part in images_NHW.split(4096))
    counts = torch.stack(list(parts)).sum(0).double()
    levels = torch.arange(256, device=counts.device) / 255
    mean = (counts * levels).sum() / counts.sum()
    variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
    return mean.item(), max(variance.sqrt().item(), 1 / 255)  # a store of one grey level must not divide by zero


def _use_plugin(config: RunConfig) -> None:
    if config.plugin:
        require_plugin(config.plugin)


def _weights(name: str) -> str:
    """`none`, `imagenet`, a file, or the file with a run's best weights."""
    if name in ("none", "imagenet") or Path(name).is_file():
        return name
    try:
        run = find_run(name)
        refuse_ensemble(run)
        return str(run.best)
    except RunError as error:
        raise ConfigError(f"--weights {name}: neither none, imagenet nor a file, and {error}") from None


def _with_way_out(message: str, config: RunConfig) -> str:
    """Of a recipe whose weights cannot be had: its own variant, for without weights it would freeze random ones."""
    other = from_scratch(config.recipe) if config.weights == "imagenet" else None
    return message.replace("with --weights none", f"with --recipe {other}") if other else message
