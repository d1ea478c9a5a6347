"""What there is to choose from: every model, augmentation, balancing strategy and schedule, by name.

No torch here, so that a form or `--help` opens at once. The registries in `models`, `augment` and `balance` hold the
same names (a test compares them).
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from fer_core.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One thing to choose: its title, one line on what it does, and where it comes from."""

    title: str
    text: str
    source: str = ""


@dataclass(frozen=True)
class ModelEntry(Entry):
    """A net, with the training speed that a first guess of a run's time starts from."""

    typical_images_per_s: int = 0
    """On two cores with bf16, at 48 x 48; this machine's own runs replace it."""


@dataclass(frozen=True)
class Operation:
    """One augmentation step with one strength: its bounds, and the value that leaves an image as it is (0)."""

    title: str
    text: str
    high: float
    step: float
    unit: str = ""


@dataclass(frozen=True)
class Reference:
    """A published or natural accuracy on FER2013, drawn as a line beside a run's curve."""

    title: str
    accuracy: float
    below: bool = False
    """Whether the label stands below its line, out of the way of the next one's."""


MODELS: dict[str, ModelEntry] = {
    "small": ModelEntry(
        "Small residual net",
        "Our own net for 48 x 48 grey faces: 0.9M parameters, minutes on two cores.",
        "after He et al. 2016, arXiv 1512.03385",
        900,
    ),
    "resnet18": ModelEntry(
        "ResNet-18",
        "torchvision's ResNet-18 with a one-channel first layer, from scratch: 11M parameters.",
        "He et al. 2016, arXiv 1512.03385",
        350,
    ),
}

AUGMENT_OPERATIONS: dict[str, Operation] = {
    "flip": Operation("Mirror", "Probability of a left-right mirror image.", 1.0, 0.05),
    "rotate": Operation("Rotate", "Turned by up to this angle, either way.", 45.0, 1.0, "°"),
    "shift": Operation("Shift", "Moved by up to this share of the picture, in both directions.", 0.3, 0.01),
    "scale": Operation("Scale", "Made larger or smaller by up to this share.", 0.4, 0.01),
    "brightness": Operation("Brightness", "Made brighter or darker by up to this share.", 0.8, 0.05),
    "erase": Operation("Erase", "Probability that a random rectangle is covered with grey.", 1.0, 0.05),
}

AUGMENT_RECIPES: dict[str, Entry] = {
    "none": Entry("None", "Faces exactly as they are in the data."),
    "standard": Entry("Standard", "Mirror, rotate, shift, scale, brightness and erasing, drawn anew for every image."),
}

AUGMENT_STRENGTHS: dict[str, dict[str, float]] = {
    "none": dict.fromkeys(AUGMENT_OPERATIONS, 0.0),
    "standard": {"flip": 0.5, "rotate": 12.0, "shift": 0.08, "scale": 0.1, "brightness": 0.2, "erase": 0.3},
}
"""Recipe -> operation -> strength: what `augment_<operation>` means when it is left empty."""

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
}

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

OPTIMIZERS: dict[str, Entry] = {
    "sgd": Entry("SGD", "Stochastic gradient descent with Nesterov momentum 0.9."),
    "adamw": Entry("AdamW", "Adam with decoupled weight decay.", "Loshchilov & Hutter 2019, arXiv 1711.05101"),
}
DEFAULT_LEARNING_RATES: dict[str, float] = {"sgd": 0.1, "adamw": 0.002}

SCHEDULES: dict[str, Entry] = {
    "onecycle": Entry(
        "One cycle", "The rate rises for a quarter of the steps, then falls to zero.", "Smith 2018, arXiv 1708.07120"
    ),
    "plateau": Entry("Plateau", "The rate is halved when the public loss has not fallen for two epochs."),
}

SELECTION_METRICS: dict[str, Entry] = {
    "accuracy": Entry("Accuracy", "The epoch with the highest public accuracy is kept."),
    "macro_f1": Entry("Macro-F1", "The epoch with the highest public macro-F1 is kept: each emotion counts the same."),
    "loss": Entry("Loss", "The epoch with the lowest public cross-entropy is kept."),
}

DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda")
PRECISIONS: tuple[str, ...] = ("auto", "fp32", "bf16")

FER2013_REFERENCES: tuple[Reference, ...] = (
    Reference("always happy 24.5", 0.245),
    Reference("six-layer CNN 52", 0.52),
    Reference("VGG16 65 · human 65 ± 5 · ResNet-50 65.5", 0.65, below=True),
    Reference("", 0.655),
    Reference("ResNet-18, grey 66.9", 0.6688),
    Reference("challenge winner 2013 71", 0.71),
)
"""Accuracies that people quote for FER2013. The human figure is Goodfellow et al. 2013, arXiv 1307.0414."""

FERPLUS_REFERENCES: tuple[Reference, ...] = (Reference("FER+ paper, VGG13 85.0", 0.8499),)
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
