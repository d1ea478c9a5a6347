"""Checkpoints: tensors, numbers and names in nested dicts, nothing that needs a pickle."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fer_core.errors import RunError
from fer_core.files import write_atomic

FORMAT = 1


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` whole or not at all."""
    write_atomic(path, lambda file: torch.save({"format": FORMAT, **state}, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, to the CPU. Raises: RunError: missing, damaged, or of another format."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{path}: no such checkpoint; the run has not finished an epoch.") from None
    except (OSError, RuntimeError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:120]
        raise RunError(f"{path}: not a checkpoint that can be read safely ({reason}).") from None
    if not isinstance(state, dict) or state.pop("format", None) != FORMAT:
        raise RunError(f"{path}: not a checkpoint of format {FORMAT}.")
    return state


def save_weights(path: Path, model: nn.Module, epoch: int, architecture: Mapping[str, Any]) -> None:
    """The weights that `public` chose: {"model": state_dict, "epoch": int, "architecture": what `create_model` takes}.

    `create_model(**saved["architecture"], weights=saved["model"])` restores the net.
    """
    save_checkpoint(path, {"model": model.state_dict(), "epoch": epoch, "architecture": dict(architecture)})


def load_weights(path: Path, model: nn.Module) -> int:
    """Put the weights of `save_weights` into `model`; returns their epoch. Raises: RunError: they do not fit it."""
    state = load_checkpoint(path)
    try:
        model.load_state_dict(state["model"])
    except (KeyError, RuntimeError) as error:
        raise RunError(f"{path}: weights of another net ({str(error).splitlines()[0][:120]}).") from None
    return int(state["epoch"])
