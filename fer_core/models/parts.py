"""What every net has, found without knowing it: its head, and the layers before a named one."""

import difflib
from collections.abc import Iterator

from torch import nn

from fer_core.errors import ConfigError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def last_linear(net: nn.Module) -> str | None:
    """Name of the linear layer that was registered last, which is taken for the head; None where there is none."""
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Linear) and name]
    return names[-1] if names else None


def make_head(features: int, num_classes: int, hidden: int, batch_norm: bool, dropout: float) -> nn.Sequential:
    """Linear to `hidden`, batch norm if asked for, LeakyReLU, dropout if above 0, linear to `num_classes`.

    With `hidden` 0 there is only the dropout, on the features, before the last linear layer.
    """
    layers: list[nn.Module] = [nn.Linear(features, hidden)] if hidden else []
    if batch_norm:
        layers.append(nn.BatchNorm1d(hidden))
    if hidden:
        layers.append(nn.LeakyReLU(inplace=True))
    if dropout:
        layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(hidden or features, num_classes))


def parameters_before(net: nn.Module, layer: str, model: str) -> Iterator[nn.Parameter]:
    """The parameters that belong to modules registered before `layer`, in the order of `net.named_modules()`.

    What a module holds beside its children (a class token, position embeddings) counts as before those children.

    Raises: ConfigError: the net has no such layer; the line names the nearest ones and the top-level ones.
    """
    modules = dict(net.named_modules())
    if layer not in modules or not layer:
        raise ConfigError(_no_such_layer(net, layer, [name for name in modules if name], model))
    for name, module in modules.items():
        if name == layer:
            return
        yield from module.parameters(recurse=False)


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters of its own and none of them is trained."""
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)


def _no_such_layer(net: nn.Module, layer: str, names: list[str], model: str) -> str:
    close = difflib.get_close_matches(layer, names, n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    top = ", ".join(name for name, _ in net.named_children())
    return f"freeze_until: no layer named {layer!r} in {model}.{hint} At the top level: {top}."
