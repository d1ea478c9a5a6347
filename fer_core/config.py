"""`RunConfig`: every choice that can change a number, in one flat, frozen, checked object.

Bounds and help text live in the fields; command-line flags and the Train page's widgets are derived from them.
"""

import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from fer_core import catalog
from fer_core.errors import ConfigError

FORMAT = 1
"""Format number of `config.json`."""

NAMED: dict[str, tuple[str, Any]] = {
    "labels": ("label mode", catalog.LABELS),
    "model": ("model", catalog.MODELS),
    "augment": ("augmentation recipe", catalog.AUGMENT_RECIPES),
    "balance": ("balancing strategy", catalog.BALANCING),
    "balance_weighting": ("weighting", catalog.WEIGHTINGS),
    "optimizer": ("optimizer", catalog.OPTIMIZERS),
    "schedule": ("schedule", catalog.SCHEDULES),
    "select_by": ("selection metric", catalog.SELECTION_METRICS),
    "device": ("device", catalog.DEVICES),
    "precision": ("precision", catalog.PRECISIONS),
}
"""Field -> what it names, and the names that are allowed (with an `Entry` each, where there is something to say)."""


def _strength(operation: str) -> Any:
    spec = catalog.AUGMENT_OPERATIONS[operation]
    text = f"{spec.text} Left out: the recipe's own strength."
    return Field(default=None, ge=0, le=spec.high, description=text, title=spec.title)


class RunConfig(BaseModel):
    """One training, described whole. `None` means: the default that belongs to the source, optimizer or recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    data: str | None = Field(None, description="A path, or 'sample'. Left out: $FER_DATA, else data/, else the sample.")
    ferplus: str | None = Field(
        None, description="FER+'s fer2013new.csv. Left out: the one beside the data, where there is one."
    )
    labels: str = Field("fer", description=f"What a face's label is: {', '.join(catalog.LABELS)} (all but fer: FER+).")
    contempt: bool = Field(True, description="FER+ labels with its eighth emotion, as in its paper; else seven.")
    leave_out: tuple[str, ...] = Field(
        (), description=f"Flags, comma-separated, whose training faces are left out: {', '.join(catalog.FLAGS)}."
    )
    min_vote_share: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Training faces on whose top emotion a smaller share of taggers agrees are left out.",
    )
    model: str = Field("small", description=f"The net: {', '.join(catalog.MODELS)}.")
    augment: str = Field("standard", description=f"Augmentation recipe: {', '.join(catalog.AUGMENT_RECIPES)}.")
    augment_flip: float | None = _strength("flip")
    augment_rotate: float | None = _strength("rotate")
    augment_shift: float | None = _strength("shift")
    augment_scale: float | None = _strength("scale")
    augment_brightness: float | None = _strength("brightness")
    augment_erase: float | None = _strength("erase")
    balance: str = Field("none", description=f"What is done about rare emotions: {', '.join(catalog.BALANCING)}.")
    balance_alpha: float = Field(
        0.5, ge=0, le=1, title="Strength (alpha)", description="0 leaves the classes as they are, 1 evens them out."
    )
    balance_weighting: str = Field("inverse", description=f"Form of the weights: {', '.join(catalog.WEIGHTINGS)}.")
    balance_beta: float = Field(
        0.999, ge=0, lt=1, title="Beta", description="Of the effective number: 0 weighs all classes alike."
    )
    epochs: int | None = Field(
        None, ge=1, le=1000, description="Passes over the training faces. Left out: 8 on the sample, 14 elsewhere."
    )
    batch_size: int = Field(128, ge=8, le=4096, description="Faces a step.")
    optimizer: str = Field("sgd", description=f"{', '.join(catalog.OPTIMIZERS)}.")
    lr: float | None = Field(
        None, gt=0, le=10, title="Learning rate", description="Highest rate. Left out: 0.1 for sgd, 0.002 for adamw."
    )
    schedule: str = Field("onecycle", description=f"How the rate moves: {', '.join(catalog.SCHEDULES)}.")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Pull of the weights towards zero.")
    label_smoothing: float = Field(0.1, ge=0, le=0.5, description="Share of the target spread over all emotions.")
    clip_norm: float = Field(0.0, ge=0, le=100, description="Largest norm of the gradient; 0 does not clip.")
    ema_decay: float = Field(
        0.998, ge=0, lt=1, title="EMA decay", description="Averages the weights over steps; 0 does not average."
    )
    select_by: str = Field("accuracy", description=f"What 'best' means: public {', '.join(catalog.SELECTION_METRICS)}.")
    patience: int = Field(
        0, ge=0, le=1000, title="Early stopping", description="Epochs without a better one until it stops; 0: never."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Start of every random number in the run.")
    device: str = Field("auto", description="auto takes cuda where it is there, else cpu.")
    precision: str = Field("auto", description="auto takes bf16 where the processor computes in it, else fp32.")

    @field_validator(*NAMED)
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        kind, known = NAMED[info.field_name]
        return catalog.check_name(kind, name, known)

    @field_validator("leave_out")
    @classmethod
    def _known_flags(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        found = {catalog.check_name("flag", name, catalog.FLAGS) for name in names}
        return tuple(name for name in catalog.FLAGS if name in found)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check `values` and make a configuration of them. Raises: ConfigError, one line."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(one_line(error)) from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises: ConfigError: not JSON, another format, or a bad setting."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the configuration is not JSON ({error}).") from None
        found = values.pop("format", None) if isinstance(values, dict) else None
        if found != FORMAT:
            raise ConfigError(f"the configuration has format {found!r}; this version reads {FORMAT}.")
        return cls.parse(values)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **self.model_dump()}, indent=1) + "\n"

    def changed(self, **values: Any) -> Self:
        """A copy with other values, checked again. Raises: ConfigError."""
        return self.parse({**self.model_dump(), **values})

    def resolved(self, default_epochs: int) -> Self:
        """Fill in every `None` that has a number behind it, so that the run's record names what was used."""
        values: dict[str, Any] = {f"augment_{name}": s for name, s in self.augment_strengths().items()}
        values["lr"] = catalog.DEFAULT_LEARNING_RATES[self.optimizer] if self.lr is None else self.lr
        values["epochs"] = default_epochs if self.epochs is None else self.epochs
        return self.changed(**values)

    def augment_strengths(self) -> dict[str, float]:
        """Operation -> strength: the recipe's own, unless an `augment_...` field says otherwise."""
        own = catalog.AUGMENT_STRENGTHS[self.augment]
        fields = {name: getattr(self, f"augment_{name}") for name in own}
        return {name: own[name] if value is None else value for name, value in fields.items()}

    @property
    def uses_votes(self) -> bool:
        """Whether FER+'s votes can change what this run trains on or is judged by."""
        return self.labels != "fer" or self.min_vote_share > 0 or not catalog.VOTED_FLAGS.isdisjoint(self.leave_out)

    def differences(self) -> dict[str, Any]:
        """The fields that differ from the defaults: what a command line has to name."""
        default = type(self)().model_dump()
        return {name: value for name, value in self.model_dump().items() if value != default[name]}

    def command(self) -> list[str]:
        """The arguments that train this configuration: `python -m fer_core train --balance sampler ...`."""
        flags = [_words(name, value) for name, value in self.differences().items()]
        return ["python", "-m", "fer_core", "train", *(word for words in flags for word in words)]


def flag(field: str) -> str:
    """The command-line flag of a field: `balance_alpha` -> `--balance-alpha`."""
    return "--" + field.replace("_", "-")


def _words(field: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag(field) if value else flag(f"no_{field}")]
    return [flag(field), ",".join(value) if isinstance(value, tuple) else str(value)]


def is_whole(field: str) -> bool:
    """Whether a field counts something (int), rather than measures it (float)."""
    return RunConfig.model_fields[field].annotation in (int, int | None)


def bounds(field: str) -> tuple[float | None, float | None]:
    """Lowest and highest value that a number field takes, ints for a whole field; None where it is not bounded."""
    kind = int if is_whole(field) else float
    low = high = None
    for rule in RunConfig.model_fields[field].metadata:
        low = next((kind(v) for k in ("ge", "gt") if (v := getattr(rule, k, None)) is not None), low)
        high = next((kind(v) for k in ("le", "lt") if (v := getattr(rule, k, None)) is not None), high)
    return low, high


def one_line(error: ValidationError) -> str:
    """What pydantic found, as one line: which setting, what it got, what is allowed."""
    return " ".join(_sentence(item) for item in error.errors())


def _sentence(item: Any) -> str:
    name = str(item["loc"][-1]) if item["loc"] else "configuration"
    if item["type"] == "value_error":
        return f"{flag(name)}: {item['ctx']['error']}"
    if item["type"] == "extra_forbidden":
        return f"no setting named {name!r}. Known: {', '.join(RunConfig.model_fields)}."
    allowed = item["msg"].removeprefix("Input should be ").split(", unable")[0]
    return f"{flag(name)} is {item['input']!r}; it should be {allowed}."
