"""A benchmark's parts in processes of their own, so that neither memory nor warm caches of one count for another."""

import subprocess
import sys
from pathlib import Path


def output_of(module: str, *words: str, about: str = "") -> str:
    """What `python -m MODULE WORDS` prints; where it fails, this process ends with its last line, after `about`."""
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{about}{done.stderr.strip().splitlines()[-1]}")
    return done.stdout
