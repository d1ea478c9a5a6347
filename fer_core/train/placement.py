"""Where the arithmetic happens, in which precision, and what makes it fast there."""

import ctypes
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fer_core.errors import ConfigError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Options of glibc's `mallopt`: from how many bytes on memory is given back, and asked for as a map of its own."""


@dataclass(frozen=True)
class Placement:
    """A device and the precision of the matrix work in training; evaluation is always float32."""

    device: torch.device
    bf16: bool
    unit: str = ""
    """What multiplies bf16 in hardware here, such as "AMX"; empty where nothing does."""

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)

    @property
    def accelerator(self) -> str | None:
        """What a GPU calls itself; None for a processor."""
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else None

    def wait(self) -> float:
        """Until a GPU has done all that it was asked for. Returns: the seconds; a processor never lets wait."""
        if self.device.type != "cuda":
            return 0.0
        started = time.perf_counter()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def __str__(self) -> str:
        """As in "cpu bf16 (AMX)": the path that a training takes."""
        if self.bf16:
            return f"{self.device.type} bf16 ({self.unit or 'emulated'})"
        return f"{self.device.type} fp32{'' if self.unit else ' (no bf16 unit)'}"


def choose_placement(device: str, precision: str) -> Placement:
    """Turn the names `auto`, `cpu`, `cuda` and `auto`, `fp32`, `bf16` into what this machine has.

    Raises: ConfigError: cuda is asked for and there is none.
    """
    has_cuda = torch.cuda.is_available()
    if device == "cuda" and not has_cuda:
        raise ConfigError("--device cuda: this machine has no CUDA device that torch can use; leave --device out.")
    chosen = torch.device("cuda" if has_cuda and device != "cpu" else "cpu")
    unit = _bf16_unit(chosen)
    return Placement(chosen, bool(unit) if precision == "auto" else precision == "bf16", unit)


def _bf16_unit(device: torch.device) -> str:
    """What multiplies bf16 in hardware; where nothing does it is emulated, and slower than float32."""
    if device.type == "cuda":
        return "tensor cores" if torch.cuda.is_bf16_supported(including_emulation=False) else ""
    # The public `torch.cpu.get_capabilities` came after 2.8; these two are what it is made of.
    checks = {"AMX": "_is_amx_tile_supported", "AVX512-bf16": "_is_avx512_bf16_supported"}
    return next((unit for unit, check in checks.items() if getattr(torch.cpu, check, lambda: False)()), "")


def keep_freed_memory() -> None:
    """Have this process keep the memory that tensors free, instead of asking the system for it again in each step.

    Large blocks go back to the system when they are freed, and the next step pays for fresh pages: a quarter of a
    small net's step on two cores. Only glibc (Linux) has these settings; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        for option, value in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1)):
            set_option(option, value)


class _InFloat32(nn.Module):
    """Mixed into a convolution: computed in float32 whatever autocast says."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        with torch.autocast(x_BCHW.device.type, enabled=False):
            return super().forward(x_BCHW.float())


def keep_depthwise_in_float32(model: nn.Module, placement: Placement) -> None:
    """On a CPU in bf16, compute convolutions of a single channel in float32: their backward pass is far faster so.

    Two cores with AVX512-bf16, torch 2.15: 7 ms instead of 100 ms for 96 channels of 48 x 48 at stride 2, and 11 ms
    instead of 26 ms for 240 channels of 12 x 12 with 5 x 5 kernels (batch of 32, channels last).
    """
    if placement.device.type != "cpu" or not placement.bf16:
        return
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            kind = type(module)
            module.__class__ = type(f"{kind.__name__}InFloat32", (_InFloat32, kind), {})
