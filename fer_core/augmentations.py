"""Augmentation recipes as data: named steps with a strength and a probability; built in, or saved under a new name.

A step is written `rotate:10` (up to 10 degrees), `flip@0.5` (with probability 0.5) or `erase:0.45@0.3` (both). What is
done with it stands in `augment`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from fer_core.catalog import AUGMENT_OPERATIONS, Entry, Operation, check_name
from fer_core.errors import ConfigError
from fer_core.files import write_json, writing_into
from fer_core.settings import settings

FORMAT = 1
"""Format number of a saved recipe."""

NAME = re.compile(r"[\w-]{1,40}", re.ASCII)
_STEP = re.compile(r"(\w+)(?::([\d.eE+-]+))?(?:@([\d.eE+-]+))?", re.ASCII)


@dataclass(frozen=True)
class Step:
    """One operation of `catalog.AUGMENT_OPERATIONS`; drawn anew for each image."""

    operation: str
    strength: float = 0.0
    """In the operation's own unit; 0 where it has none."""
    probability: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` writes. Raises: ConfigError: no such operation, or a number out of its bounds."""
        match = _STEP.fullmatch(text.strip())
        if not match:
            raise ConfigError(f"{text!r} is no step; write name, name:strength, name@probability or name:strength@0.5.")
        name, strength, probability = match.groups()
        spec = AUGMENT_OPERATIONS[check_name("operation", name, AUGMENT_OPERATIONS)]
        if strength and not spec.high:
            raise ConfigError(f"step {text!r}: {name} has no strength; write {name}@0.5 for a probability of 0.5.")
        return cls(
            name,
            _number(text, "strength", strength, spec.default, spec.high),
            _number(text, "probability", probability, _probability(spec), 1.0),
        )

    @property
    def spec(self) -> Operation:
        return AUGMENT_OPERATIONS[self.operation]

    def __str__(self) -> str:
        strength = f":{_text(self.strength)}" if self.spec.high else ""
        always = self.probability == 1 and self.spec.high
        return self.operation + strength + ("" if always else f"@{_text(self.probability)}")


def _text(value: float) -> str:
    """The shortest text that is read as the same number."""
    return repr(float(value)).removesuffix(".0")


def _probability(spec: Operation) -> float:
    """Of a step that names none: always, except where that would leave nothing to chance."""
    return 1.0 if spec.high else spec.probability


def _number(step: str, what: str, text: str | None, default: float, high: float) -> float:
    try:
        value = default if text is None else float(text)
    except ValueError:
        raise ConfigError(f"step {step!r}: {text!r} is no number.") from None
    if not 0 <= value <= high:
        raise ConfigError(f"step {step!r}: {what} {value:g} is not between 0 and {high:g}.")
    return value


@dataclass(frozen=True)
class Augmentation:
    """A recipe: steps in their order, and the share of images that go through them at all."""

    steps: tuple[Step, ...] = ()
    share: float = 1.0

    @classmethod
    def parse(cls, steps: Iterable[str], share: float = 1.0) -> Self:
        """Raises: ConfigError: a step that cannot be."""
        return cls(tuple(Step.parse(text) for text in steps), share)

    def texts(self) -> tuple[str, ...]:
        return tuple(map(str, self.steps))

    def active(self) -> tuple[Step, ...]:
        """The steps that can change an image."""
        able = (step for step in self.steps if step.probability and (step.strength or not step.spec.high))
        return tuple(able) if self.share else ()

    def only(self, place: int) -> Self:
        """One of the steps alone."""
        return replace(self, steps=(self.steps[place],))

    def strength(self, operation: str) -> float:
        """Of the first step with this operation; 0 where there is none."""
        return next((step.strength for step in self.active() if step.operation == operation), 0.0)


@dataclass(frozen=True)
class AugmentRecipe(Entry):
    """An augmentation with a name."""

    augmentation: Augmentation = Augmentation()


def _recipe(title: str, text: str, *steps: str, share: float = 1.0, source: str = "") -> AugmentRecipe:
    return AugmentRecipe(title, text, source, Augmentation.parse(steps, share))


BUILT_IN: Mapping[str, AugmentRecipe] = {
    "none": _recipe("None", "Faces exactly as they are in the data."),
    "standard": _recipe(
        "Standard", "Mirror, rotate, shift, scale, brightness and erasing, drawn anew for every image.",
        "flip@0.5", "rotate:12", "shift:0.08", "scale:0.1", "brightness:0.2", "erase:0.45@0.3",
    ),
    "light": _recipe(
        "Light", "Mirror and small turns, shifts and scales: for trainings of a few minutes.",
        "flip@0.5", "rotate:8", "shift:0.05", "scale:0.08",
    ),
    "strong": _recipe(
        "Strong", "The standard steps and contrast, all further: for large nets and long trainings.",
        "flip@0.5", "rotate:15", "shift:0.1", "scale:0.15", "brightness:0.2", "contrast:0.2", "erase:0.45@0.4",
    ),
    "flip-rotate-crop": _recipe(
        "Flip, rotate, crop", "The three steps of most notebooks: mirror, 10 degrees, a window of 90%.",
        "flip@0.5", "rotate:10", "crop:0.1",
    ),
    "crop-224": _recipe(
        "Resize to 240, crop 224", "A window of 224 of 240 pixels, somewhere.", f"crop:{16 / 240:.4f}",
    ),
    "resnet18-grey": _recipe(
        "Of the grey ResNet-18", "Mirror, 10 degrees, affine, sharpness, auto contrast.",
        "flip@0.5", "rotate:10", "shift:0.1", "scale:0.1", "shear:5", "sharpness:1@0.5", "autocontrast@0.5",
    ),
    "ferplus-cnn": _recipe(
        "Of the FER+ CNN", "Every second face: mirror, 10 degrees, light, a window of 90 to 100% at 40 x 40, affine.",
        "flip@0.5", "rotate:10", "brightness:0.05", "contrast:0.05", "resized_crop:0.1", f"coarse:{8 / 48:.4f}",
        "rotate:10", "shift:0.1", share=0.5,
    ),
}  # fmt: skip


def all_recipes() -> dict[str, AugmentRecipe]:
    """The built-in recipes, then the saved ones by name. A saved file that is damaged is left out (`load` says why)."""
    found = dict(BUILT_IN)
    for path in sorted(_folder().glob("*.json")):
        if not NAME.fullmatch(path.stem):
            continue
        try:
            found.setdefault(path.stem, load(path.stem))
        except ConfigError:
            continue
    return found


def find(name: str) -> AugmentRecipe:
    """A recipe by name. Raises: ConfigError: no such recipe, or its file is damaged."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    if NAME.fullmatch(name) and _path(name).is_file():
        return load(name)
    check_name("augmentation recipe", name, all_recipes())
    raise AssertionError("check_name refuses what is not there")


def load(name: str) -> AugmentRecipe:
    """Read a saved recipe. Raises: ConfigError: the file is damaged; the message names it."""
    path = _path(name)
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ConfigError(f"a format other than {FORMAT}.")
        augmentation = Augmentation.parse(_texts(values["steps"]), _share(values["share"]))
    except (OSError, ValueError, KeyError, TypeError) as error:  # ConfigError is a ValueError
        raise ConfigError(f"{path}: not an augmentation recipe that can be read ({error!s:.120}).") from None
    return AugmentRecipe(name, "Saved by you.", str(path), augmentation)


def save(name: str, augmentation: Augmentation) -> Path:
    """Keep an augmentation under a name. Saving the same again changes nothing.

    Returns: its file. Raises: ConfigError: the name is not allowed, or another recipe has it. DataError: the folder
    cannot be written to.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a recipe: use 1 to 40 letters, digits, '_' and '-'.")
    if name in BUILT_IN:
        raise ConfigError(f"{name!r} is a built-in recipe; choose another name.")
    path = _path(name)
    if path.exists():
        if load(name).augmentation != augmentation:
            raise ConfigError(f"there is a recipe {name!r} already; choose another name, or delete {path}.")
        return path
    with writing_into(path.parent):
        write_json(path, {"format": FORMAT, "steps": list(augmentation.texts()), "share": augmentation.share})
    return path


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("steps is not a list of texts")
    return values


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"share {value!r} is not between 0 and 1")
    return float(value)


def _folder() -> Path:
    return settings().recipes


def _path(name: str) -> Path:
    return _folder() / f"{name}.json"
