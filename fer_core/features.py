"""What a run's net makes of every face before its last linear layer decides: computed once, kept on disk.

Shapes: N faces, B batch, C channels, H x W pixels, D features.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core.augment import to_floats
from fer_core.data import FaceStore
from fer_core.errors import RunError
from fer_core.feature_file import Features, read_features, write_features
from fer_core.models import FaceClassifier
from fer_core.run_model import load_model
from fer_core.runs import Run
from fer_core.train.placement import choose_placement

_BATCH = 512

OnProgress = Callable[[int, int], bool | None]


def compute_features(run: Run, store: FaceStore, on_progress: OnProgress = lambda done, total: None) -> Features | None:
    """The features of every row of a store by a run's net: read where they were kept, else computed and kept.

    A net computes in bf16 where the processor does so in hardware.

    Args: on_progress: called after each batch with faces done and faces to do; True asks to stop.
    Returns: None where it was asked to stop; then nothing is kept.
    Raises: FerError: the run has no weights, or its net no linear layer; the cache cannot be written.
    """
    kept = read_features(run, store)
    if kept is not None:
        return kept
    placement = choose_placement("auto", "auto")
    model = load_model(run).to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    layer = last_layer(model)
    parts: list[NDArray[np.float32]] = []
    done, total = 0, len(store.hashes_N)
    for start in range(0, total, _BATCH):
        images = torch.from_numpy(np.array(store.images_NHW[start : start + _BATCH])).to(placement.device)
        with placement.autocast():
            parts.append(features_of(model, layer, images).cpu().numpy())
        done += len(images)
        store.let_go()
        if on_progress(done, total):
            return None
    return write_features(run, store, np.concatenate(parts))


def last_layer(model: FaceClassifier) -> nn.Linear:
    """The linear layer that gives the logits: the last one of the head. Raises: RunError: the net has none."""
    layers = [module for module in (model.head or nn.Identity()).modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise RunError("this net has no linear layer, so that there are no features before it.")
    return layers[-1]


def features_of(model: nn.Module, layer: nn.Module, images_NHW: Tensor) -> Tensor:
    """What goes into `layer` for uint8 faces on the model's device; the model is in evaluation mode.

    Returns: float32 (N, D).
    Raises: RunError: the layer does not take one row of numbers for each face.
    """
    with _noted_inputs(layer) as given, torch.inference_mode():
        model(to_floats(images_NHW).contiguous(memory_format=torch.channels_last))
    if len(given) != 1 or given[0].ndim != 2 or len(given[0]) != len(images_NHW):
        raise RunError("this net's last linear layer does not take one row of features for each face.")
    return given[0].float()


@contextmanager
def _noted_inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    given: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].detach().clone()))
    try:
        yield given
    finally:
        hook.remove()
