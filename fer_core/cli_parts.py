"""What commands are made of: their base, flags that mean what they mean for a training, and how they print."""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from fer_core.config import RunConfig


class Command(BaseModel):
    """A command: its fields are its flags, its docstring is its help."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


def config_flag(field: str) -> Any:
    """A flag that means what it means for a training."""
    info = RunConfig.model_fields[field]
    return Field(info.default, description=info.description)


Json = Field(False, alias="json", description="Print JSON, numbers unrounded.")


def print_result(value: Any, as_json: bool, show: Callable[[], None]) -> None:
    """Print JSON, or let `show` print for a person."""
    if as_json:
        print(json.dumps(value, indent=1, allow_nan=False))
    else:
        show()


def print_notes(notes: Sequence[str]) -> None:
    """What a person must be told, beside the result that a program may read."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
