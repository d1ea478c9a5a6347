"""Where the arithmetic happens, and in which precision."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from fer_core.errors import ConfigError


@dataclass(frozen=True)
class Placement:
    """A device and the precision of the matrix work in training; evaluation is always float32."""

    device: torch.device
    bf16: bool

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    def __str__(self) -> str:
        return f"{self.device.type} {'bf16' if self.bf16 else 'fp32'}"


def choose_placement(device: str, precision: str) -> Placement:
    """Turn the names `auto`, `cpu`, `cuda` and `auto`, `fp32`, `bf16` into what this machine has.

    Raises: ConfigError: cuda is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError("--device cuda: this machine has no CUDA device that torch can use; leave --device out.")
    chosen = torch.device("cuda" if has_cuda and device != "cpu" else "cpu")
    bf16 = _has_bf16(chosen) if precision == "auto" else precision == "bf16"
    return Placement(chosen, bf16)


def _has_bf16(device: torch.device) -> bool:
    """Whether the processor multiplies bf16 in hardware; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # The public `torch.cpu.get_capabilities` came after 2.8; these two are what it is made of.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in checks)
