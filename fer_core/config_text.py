"""A configuration as text: the words of the command line, errors in one line, and the older form of its file."""

from collections.abc import Collection
from typing import Any

from pydantic import ValidationError

from fer_core import augmentations

NO_STEPS = "none"
"""What a command line and an address say for an empty list of augmentation steps."""


def flag(field: str) -> str:
    """The command-line flag of a field: `balance_alpha` -> `--balance-alpha`."""
    return "--" + field.replace("_", "-")


def words(field: str, value: Any) -> list[str]:
    """A field and its value as arguments: `["--balance", "sampler"]`, `["--no-contempt"]`."""
    if isinstance(value, bool):
        return [flag(field) if value else flag(f"no_{field}")]
    return [flag(field), ",".join(value) or NO_STEPS if isinstance(value, tuple) else str(value)]


def from_format_1(values: dict[str, Any]) -> dict[str, Any]:
    """The augmentation of a run of version 0.1 or 0.2 as steps; what came later keeps its default."""
    operations = ("flip", "rotate", "shift", "scale", "brightness", "erase")
    given = {name: values.pop(f"augment_{name}", None) for name in operations}
    if all(strength is None for strength in given.values()):
        return values
    own = {step.operation: step for step in augmentations.BUILT_IN["standard"].augmentation.steps}
    forms = {"flip": "flip@{}", "erase": "erase:0.45@{}"}
    absent = values.get("augment") == "none"
    steps = []
    for name in operations:
        if given[name] is not None:
            steps += [forms.get(name, name + ":{}").format(given[name])] if given[name] else []
        elif not absent:
            steps.append(str(own[name]))
    return {**values, "augment_steps": steps}


def one_line(error: ValidationError, settings: Collection[str]) -> str:
    """What pydantic found, as one line: which setting, what it got, what is allowed.

    Args: settings: the names of all that there are.
    """
    return " ".join(_sentence(item, settings) for item in error.errors())


def _sentence(item: Any, settings: Collection[str]) -> str:
    name = str(item["loc"][-1]) if item["loc"] else "configuration"
    if item["type"] == "value_error":  # of a field, or of fields that do not go together
        return f"{flag(name)}: {item['ctx']['error']}" if name in settings else str(item["ctx"]["error"])
    if item["type"] == "extra_forbidden":
        return f"no setting named {name!r}. Known: {', '.join(settings)}."
    allowed = item["msg"].removeprefix("Input should be ").split(", unable")[0]
    return f"{flag(name)} is {item['input']!r}; it should be {allowed}."
