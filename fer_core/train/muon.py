"""Muon: momentum whose matrices are made orthogonal, so that all directions of a layer's filters move equally far.

Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; on filters of convolutions as in airbench94. The
one that torch has from 2.9 on takes two-dimensional weights alone; on those the two agree.
Shapes: M filters of one shape, O x I each; P parameters of a group.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Of the iteration's polynomial: steepest at 0, so that five rounds bring any singular value to 0.7..1.2."""
_ROUNDS = 5
_REST = 3.0
"""What is not made orthogonal (stem, head, biases, norms) moves by SGD, at so many times the filters' rate."""
_TINY = 1e-7


class Muon(Optimizer):
    """Orthogonal steps for the groups marked `orthogonal`, and SGD with Nesterov momentum for the rest.

    In a marked group the matrices and the filters of convolutions with more than one input channel are orthogonal:
    depthwise filters and a grey stem's have too few columns for it. Weight decay is decoupled from the gradient.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Args: dtype: of the iteration's matrix products; bfloat16 is exact enough, and slow where it is emulated."""
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "orthogonal": False}
        super().__init__(params, defaults)
        self._dtype = dtype  # not in a group: a checkpoint may be resumed on another processor

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient; no closure is called."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if params:
                self._move(params, self._momentum(params, group["momentum"]), group)

    def _momentum(self, params: Sequence[Tensor], momentum: float) -> list[Tensor]:
        """Nesterov's: the gradient, and the running sum of gradients once more."""
        for p in params:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        sums = [self.state[p]["momentum_buffer"] for p in params]
        gradients = [p.grad for p in params if p.grad is not None]
        torch._foreach_mul_(sums, momentum)
        torch._foreach_add_(sums, gradients)
        return list(torch._foreach_add(gradients, sums, alpha=momentum))

    def _move(self, params: Sequence[Tensor], moves: Sequence[Tensor], group: dict[str, Any]) -> None:
        together: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for p, move in zip(params, moves, strict=True):
            together[tuple(p.shape) if group["orthogonal"] and _is_matrix(p) else ()].append((p, move))
        for shape, pairs in together.items():
            some, steps = [p for p, _ in pairs], [move for _, move in pairs]
            rate = group["lr"] if shape else _REST * group["lr"]
            if shape:
                steps = _made_orthogonal(steps, self._dtype)
            torch._foreach_mul_(some, 1 - rate * group["weight_decay"])
            torch._foreach_add_(some, steps, alpha=-rate)


def _is_matrix(p: Tensor) -> bool:
    return p.ndim in (2, 4) and p.shape[1] > 1


def _made_orthogonal(moves: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Filters of one shape; those with more rows than columns move further, as their rows are shorter."""
    matrices_MOI = torch.stack([move.flatten(1) for move in moves])
    rows, columns = matrices_MOI.shape[1:]
    scale = max(1.0, rows / columns) ** 0.5
    return [one.view_as(moves[0]) for one in (scale * orthogonalised(matrices_MOI, dtype)).float()]


def orthogonalised(matrices_MOI: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """The nearest semi-orthogonal matrices, roughly: the singular vectors stay, all singular values become 0.7..1.2.

    Args:
        matrices_MOI: floats, (M, O, I).
        dtype: in which the products are taken.
    Returns: (M, O, I) of that type; a matrix of zeros stays one.
    """
    a, b, c = _QUINTIC
    rows, columns = matrices_MOI.shape[1:]
    x = (matrices_MOI.mT if rows > columns else matrices_MOI).to(dtype)  # the shorter side gives the smaller products
    x = x / (x.norm(dim=(1, 2), keepdim=True) + _TINY)
    for _ in range(_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if rows > columns else x
