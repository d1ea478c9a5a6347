"""What a model costs before it is built: parameters, and multiply-adds of one image, without its weights' memory."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from fer_core.errors import ConfigError
from fer_core.models.classifier import FaceClassifier
from fer_core.models.zoo import create_model, parameter_count


@dataclass(frozen=True)
class ModelCost:
    """The size of a model and the work of one image, forward, at the model's own size."""

    parameters: int
    multiply_adds: int
    """Of convolutions, linear layers and attention; norms, activations and pooling are a percent or so beside them."""
    frozen_share: float
    """Share of the parameters that are not trained, 0..1."""


def model_cost(name: str, **options: Any) -> ModelCost:
    """Cost of `create_model(name, **options)`, without `weights`. No weights are allocated or drawn.

    Raises: ConfigError: as `create_model`.
    """
    assert "weights" not in options, "weights change no cost"
    try:
        with torch.device("meta"):
            model = create_model(name, **options)
            return _measure(model)
    # A plugin may look at its weights' values, and here there are none. What is wrong with the options is raised again.
    except (ConfigError, RuntimeError):
        return _measure(create_model(name, **options))


def _measure(model: FaceClassifier) -> ModelCost:
    size = model.image_size
    assert size is not None, "`create_model` sets it"
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval()(torch.zeros(1, 1, size, size))
    return ModelCost(parameter_count(model), counter.get_total_flops() // 2, model.frozen_share)
