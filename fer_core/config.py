"""`RunConfig`: every choice that can change a number, in one flat, frozen, checked object.

Bounds and help text live in the fields; command-line flags and the Train page's widgets are derived from them.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fer_core import augmentations, catalog
from fer_core.augmentations import Augmentation
from fer_core.config_text import NO_STEPS, from_format_1, one_line, words
from fer_core.errors import ConfigError
from fer_core.recipes import find_recipe, from_scratch, sweep

FORMAT = 2
"""Format number of `config.json`. 1 had a field for each augmentation step; it is still read."""

NAMED: dict[str, tuple[str, Any]] = {
    "labels": ("label mode", catalog.LABELS),
    "model": ("model", catalog.MODELS),
    "balance": ("balancing strategy", catalog.BALANCING),
    "balance_weighting": ("weighting", catalog.WEIGHTINGS),
    "optimizer": ("optimizer", catalog.OPTIMIZERS),
    "schedule": ("schedule", catalog.SCHEDULES),
    "normalisation": ("normalisation", catalog.NORMALISATIONS),
    "select_by": ("selection metric", catalog.SELECTION_METRICS),
    "review_action": ("review action", catalog.REVIEW_ACTIONS),
    "device": ("device", catalog.DEVICES),
    "precision": ("precision", catalog.PRECISIONS),
}
"""Field -> what it names, and the names that are allowed (with an `Entry` each, where there is something to say)."""


class RunConfig(BaseModel):
    """One training, described whole. `None` means: the default that belongs to the source, the optimizer or the net.

    With a `recipe`, every field that is not given has the recipe's value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    recipe: str | None = Field(
        None, description="A published system, whose settings the others start from; RECIPE/VARIANT names a variant."
    )
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
        title="Least agreement",
        ge=0,
        le=1,
        description="Training faces on whose top emotion a smaller share of taggers agrees are left out.",
    )
    review: str | None = Field(
        None,
        title="Review list",
        description="A list of faces that people marked, whose training faces are dropped or relabelled.",
    )
    review_action: str = Field(
        "drop", description=f"What is done with marked training faces: {', '.join(catalog.REVIEW_ACTIONS)}."
    )
    folds: int = Field(
        0, ge=0, le=10, description="Train on all but one of so many folds of train, and answer that one; 0: no folds."
    )
    fold: int = Field(0, ge=0, le=9, description="The fold that is not trained on: 0 to --folds less one.")
    plugin: str | None = Field(None, description="A Python file that registers models of your own; it is run.")
    model: str = Field("small", description=f"The net: {', '.join(catalog.MODELS)}.")
    image_size: int | None = Field(
        None, ge=16, le=512, description="Side that faces are resized to, in pixels. Left out: the one that they have."
    )
    early_size: int | None = Field(
        None, ge=16, le=512, description="Side of faces in the first part of the training, in pixels: cheaper steps."
    )
    early_share: float = Field(
        0.0, ge=0, le=0.9, title="Early part", description="Share of the epochs in which faces have --early-size."
    )
    channels: int = Field(1, description="1: grey, 3: grey repeated, as nets for colour pictures want it.")
    weights: str = Field("none", description="What the net starts from: none, imagenet, a run, or a state_dict's file.")
    normalisation: str = Field("data", description=f"Of grey levels: {', '.join(catalog.NORMALISATIONS)}.")
    freeze_until: str = Field(
        "none", title="Frozen before the layer", description="Layers before this one are not trained; none: all are."
    )
    head_hidden: int | None = Field(
        None,
        ge=0,
        le=4096,
        title="Head's hidden layer",
        description="Width of a hidden layer before the last; 0: none. Left out: its own head.",
    )
    head_batch_norm: bool = Field(
        False, title="Head's batch norm", description="Batch norm on the head's hidden layer."
    )
    head_dropout: float = Field(
        0.0, ge=0, le=0.9, title="Head's dropout", description="Dropout before the head's last layer."
    )
    augment: str = Field(
        "standard", description=f"Augmentation: {', '.join(augmentations.BUILT_IN)}, or one that you saved."
    )
    augment_steps: tuple[str, ...] | None = Field(
        None,
        description="Its steps, comma-separated, as in flip@0.5,rotate:10,erase:0.45@0.3 (name:strength@probability); "
        f"there are {', '.join(catalog.AUGMENT_OPERATIONS)}. Left out: the recipe's own.",
    )
    augment_share: float | None = Field(
        None, ge=0, le=1, description="Share of the faces that are augmented at all. Left out: the recipe's own."
    )
    mixup: float = Field(
        0.0,
        ge=0,
        le=5,
        title="Mixup (alpha)",
        description="Mixes faces and labels in pairs, by Beta(alpha, alpha).",
    )
    balance: str = Field(
        "none", description=f"What is done about rare emotions: {', '.join(catalog.BALANCING)}; several joined by +."
    )
    balance_alpha: float = Field(
        0.5, ge=0, le=1, title="Strength (alpha)", description="0 leaves the classes as they are, 1 evens them out."
    )
    balance_weighting: str = Field("inverse", description=f"Form of the weights: {', '.join(catalog.WEIGHTINGS)}.")
    balance_beta: float = Field(
        0.999, ge=0, lt=1, title="Beta", description="Of the effective number: 0 weighs all classes alike."
    )
    balance_cap: float = Field(
        0.0, ge=0, le=1000, title="Cap on weights",
        description="Largest class weight, in times the smallest; 0: no cap, else 1 or more.",
    )  # fmt: skip
    balance_gamma: float = Field(
        2.0, ge=0, le=10, title="Focus (gamma)", description="Of the focal loss: 0 is the plain loss."
    )
    balance_tau: float = Field(
        1.0,
        ge=0,
        le=3,
        title="Margin (tau)",
        description="Of the logit adjustment: 0 is none, 1 evens the classes out.",
    )
    balance_defer_epochs: int = Field(
        0,
        ge=0,
        le=1000,
        title="Deferred start",
        description="So many epochs are trained as is before balancing begins.",
    )
    epochs: int | None = Field(
        None, ge=1, le=1000, description="Passes over the training faces. Left out: 8 on the sample, 14 elsewhere."
    )
    batch_size: int = Field(128, ge=8, le=4096, description="Faces a step.")
    optimizer: str = Field("sgd", description=f"{', '.join(catalog.OPTIMIZERS)}.")
    lr: float | None = Field(
        None,
        gt=0,
        le=10,
        title="Learning rate",
        description="Highest rate. Left out: 0.1 for sgd, 0.001 for adam, 0.002 for adamw, 0.05 for muon.",
    )
    backbone_lr: float = Field(
        1.0, ge=0, le=1, title="Backbone's rate", description="Rate of all but the head, as a share of the head's."
    )
    schedule: str = Field("onecycle", description=f"How the rate moves: {', '.join(catalog.SCHEDULES)}.")
    warmup_epochs: float = Field(
        0.0, ge=0, le=100, title="Warm-up", description="Epochs in which the rate rises from 0 (onecycle has its own)."
    )
    head_first_epochs: int = Field(
        0, ge=0, le=1000, title="Head first", description="Epochs in which only the head learns, before all does."
    )
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Pull of the weights towards zero.")
    label_smoothing: float = Field(0.1, ge=0, le=0.5, description="Share of the target spread over all emotions.")
    clip_norm: float = Field(
        0.0, ge=0, le=100, title="Gradient clipping", description="Largest norm of the gradient; 0 does not clip."
    )
    ema_decay: float = Field(
        0.998, ge=0, lt=1, title="EMA decay", description="Averages the weights over steps; 0 does not average."
    )
    select_by: str = Field("accuracy", description=f"What 'best' means: public {', '.join(catalog.SELECTION_METRICS)}.")
    patience: int = Field(
        0, ge=0, le=1000, title="Early stopping", description="Epochs without a better one until it stops; 0: never."
    )
    time_limit_min: float = Field(
        0.0, ge=0, le=100_000, title="Time limit (min)",
        description="After the first epoch, none is begun that would end later than so many minutes; 0: no limit.",
    )  # fmt: skip
    views: tuple[str, ...] = Field(
        ("none", "flip"),
        description=f"Test-time views to judge by, each apart: {', '.join(catalog.VIEWS)} (ten times as long).",
    )
    tensorboard: bool = Field(True, description="Write curves and pictures for TensorBoard into the run's folder.")
    seed: int = Field(0, ge=0, lt=2**31, description="Start of every random number in the run.")
    device: str = Field("auto", description="auto takes cuda where it is there, else cpu.")
    precision: str = Field("auto", description="auto takes bf16 where the processor computes in it, else fp32.")

    @model_validator(mode="before")
    @classmethod
    def _on_top_of_its_recipe(cls, values: Any) -> Any:
        name = values.get("recipe") if isinstance(values, dict) else None
        return values if name is None else {**find_recipe(str(name)).settings, **values}

    @field_validator("balance")
    @classmethod
    def _known_strategies(cls, names: str) -> str:
        parts = _in_order("balancing strategy", names.split(catalog.JOIN), catalog.BALANCING)
        if len(parts) > 1 and "none" in parts:
            raise ConfigError("none cannot be joined with a strategy.")
        return catalog.JOIN.join(parts)

    @field_validator(*(name for name in NAMED if name != "balance"))
    @classmethod
    def _known(cls, name: str, info: Any) -> str:
        if info.field_name == "model" and info.data.get("plugin"):
            return name  # known once the plugin has been run, which reading a configuration must not do
        kind, known = NAMED[info.field_name]
        return catalog.check_name(kind, name, known)

    @field_validator("channels")
    @classmethod
    def _one_or_three(cls, channels: int) -> int:
        if channels not in (1, 3):
            raise ConfigError(f"{channels} channels; it should be 1 or 3.")
        return channels

    @field_validator("leave_out")
    @classmethod
    def _known_flags(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _in_order("flag", names, catalog.FLAGS)

    @field_validator("views")
    @classmethod
    def _known_views(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _in_order("view", ("none", *names), catalog.VIEWS)

    @field_validator("augment_steps")
    @classmethod
    def _steps(cls, steps: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if steps is None else Augmentation.parse(step for step in steps if step != NO_STEPS).texts()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.augment_steps is None:
            self._find_augmentation()
        if self.model in catalog.MODELS and self.image_size is not None:
            catalog.check_size(self.model, self.image_size)
        if self.head_batch_norm and not self.head_hidden:
            raise ConfigError("batch norm belongs to a hidden layer of the head: give --head-hidden a width.")
        if self.head_dropout and self.head_hidden is None:
            raise ConfigError("dropout belongs to a head of your own: --head-hidden 0, or a hidden layer's width.")
        if 0 < self.balance_cap < 1:
            raise ConfigError(f"--balance-cap is {self.balance_cap:g}; it should be 0 for none, or 1 or more.")
        if self.epochs is not None and self.balance != "none" and self.balance_defer_epochs >= self.epochs:
            raise ConfigError(
                f"--balance-defer-epochs is {self.balance_defer_epochs}; it should be less than --epochs."
            )
        if self.early_share and self.early_size is None:
            raise ConfigError("--early-share needs --early-size, the side of the faces in those epochs.")
        if self.early_size is not None and self.model in catalog.MODELS:
            catalog.check_size(self.model, self.early_size)
        if self.epochs is not None and self.head_first_epochs >= self.epochs:
            raise ConfigError(f"--head-first-epochs is {self.head_first_epochs}; it should be less than --epochs.")
        return self

    @model_validator(mode="after")
    def _review_and_folds_fit(self) -> Self:
        if self.review is not None and self.labels != "fer":
            raise ConfigError(
                f"--review goes with --labels fer alone, and here is {self.labels}: marks are of FER2013's labels."
            )
        if self.folds == 1:
            raise ConfigError("--folds is 1; it should be 0 for none, or 2 or more.")
        if self.fold and self.fold >= self.folds:
            raise ConfigError(f"--fold is {self.fold}; it should be less than --folds, which is {self.folds}.")
        return self

    def _find_augmentation(self) -> Augmentation:
        try:
            return augmentations.find(self.augment).augmentation
        except ConfigError as error:
            raise ConfigError(f"--augment: {error}") from None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """Check `values` and make a configuration of them. Raises: ConfigError, one line."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(one_line(error, cls.model_fields)) from None

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises: ConfigError: not JSON, another format, or a bad setting."""
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"the configuration is not JSON ({error}).") from None
        found = values.pop("format", None) if isinstance(values, dict) else None
        if found == 1:
            values = from_format_1(values)
        elif found != FORMAT:
            raise ConfigError(f"the configuration has format {found!r}; this version reads 1 and {FORMAT}.")
        return cls.parse(values)

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **self.model_dump()}, indent=1) + "\n"

    def changed(self, **values: Any) -> Self:
        """A copy with other values, checked again. Raises: ConfigError."""
        return self.parse({**self.model_dump(), **values})

    def resolved(self, default_epochs: int) -> Self:
        """Fill in every `None` that has a number behind it, so that the run's record names what was used."""
        augmentation = self.augmentation()
        return self.changed(
            augment_steps=augmentation.texts(),
            augment_share=augmentation.share,
            lr=catalog.DEFAULT_LEARNING_RATES[self.optimizer] if self.lr is None else self.lr,
            epochs=default_epochs if self.epochs is None else self.epochs,
            early_size=self.early_size if self.early_share else None,
            # A run may be resumed from another folder.
            review=None if self.review is None else str(Path(self.review).resolve()),
        )

    def augmentation(self) -> Augmentation:
        """The recipe that `augment` names, unless `augment_steps` and `augment_share` say otherwise."""
        if self.augment_steps is None:
            named = self._find_augmentation()
        else:  # a saved recipe may be gone by now; its steps stand here
            known = augmentations.BUILT_IN.get(self.augment)
            named = Augmentation.parse(self.augment_steps, known.augmentation.share if known else 1.0)
        return named if self.augment_share is None else replace(named, share=self.augment_share)

    @property
    def strategies(self) -> tuple[str, ...]:
        """The balancing strategies that `balance` joins."""
        return tuple(self.balance.split(catalog.JOIN))

    @property
    def uses_votes(self) -> bool:
        """Whether FER+'s votes can change what this run trains on or is judged by."""
        return self.labels != "fer" or self.min_vote_share > 0 or not catalog.VOTED_FLAGS.isdisjoint(self.leave_out)

    def baseline(self) -> Self:
        """What this configuration starts from: its recipe, or the defaults."""
        return type(self)(recipe=self.recipe)

    def differences(self) -> dict[str, Any]:
        """The fields that differ from the recipe's, or without one from the defaults: what a command has to name."""
        return self.differences_from(self.baseline())

    def differences_from(self, other: "RunConfig") -> dict[str, Any]:
        """The fields whose values are not the same in another configuration, `recipe` left out."""
        theirs = other.model_dump()
        return {name: value for name, value in self.model_dump(exclude={"recipe"}).items() if value != theirs[name]}

    def variants(self) -> list[Self]:
        """The variants of the recipe that are meant to be compared, with what differs here from the recipe.

        Raises: ConfigError: there is no recipe, or it has none.
        """
        return [self.parse({"recipe": name, **self.differences()}) for name in sweep(self.recipe or "none")]

    def command(self) -> list[str]:
        """The arguments that train this configuration: `python -m fer_core train --recipe cnn6 --epochs 5 ...`."""
        named = {"recipe": self.recipe} if self.recipe else {}
        flags = [words(name, value) for name, value in {**named, **self.differences()}.items()]
        return ["python", "-m", "fer_core", "train", *(word for one in flags for word in one)]

    def warnings(self) -> list[str]:
        """What is allowed and probably not meant, a line each."""
        found = []
        if self.freeze_until != "none" and self.weights == "none":
            other = from_scratch(self.recipe)
            hint = f" {other} trains all of it." if other else " --freeze-until none trains all of it."
            found.append(
                f"the layers before {self.freeze_until} keep their random weights, which are worth nothing.{hint}"
            )
        if self.head_first_epochs and self.weights == "none":
            found.append("for its first epochs only the head learns, on random features: --head-first-epochs 0.")
        twice = [name for name in catalog.CORRECTING if name in self.strategies]
        if len(twice) > 1:
            found.append(f"{' and '.join(twice)} each make up for how common an emotion is: together they do so twice.")
        if self.warmup_epochs and self.schedule == "onecycle":
            found.append("--warmup-epochs is not used: one cycle has a warm-up of its own.")
        if self.review_action != "drop" and self.review is None:
            found.append("--review-action is not used: no --review names a list of faces.")
        return found


def _in_order(kind: str, names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """`names`, each once, in the order of `known`. Raises: ConfigError: one is not known."""
    found = {catalog.check_name(kind, name, known) for name in names}
    return tuple(name for name in known if name in found)


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
