"""What a figure has to travel with: the machine, the versions, and the code that produced it."""

import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fer_core import __version__

_PACKAGE = Path(__file__).parent
_LIBRARIES = ("torch", "torchvision", "numpy", "pillow")


@cache
def describe_environment() -> dict[str, Any]:
    """Machine, versions and code, as plain values for a run's `environment.json`."""
    return {
        "machine": processor_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "code": {"version": __version__, "commit": _commit(), "source_hash": source_hash()},
    }


def code_of(environment: Mapping[str, Any]) -> str:
    """Version and source hash, as every figure names its code."""
    code = environment["code"]
    return f"{code['version']} ({code['source_hash']})"


def processor_name() -> str:
    """The processor as the system calls it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def source_hash() -> str:
    """12 hex digits over the package's Python files: tells an edited copy from a commit."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(_PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _commit() -> str | None:
    """The commit of the checkout that the package runs from; None for a plain copy."""
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None
