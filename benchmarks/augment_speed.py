"""How long a batch of faces takes to augment, beside a notebook's way: each face by itself, by PIL and torchvision.

    python -m benchmarks.augment_speed [--recipe standard] [--size 48] [--batch 128] [--threads 1] [--json]

Both start from the same uint8 faces and end with floats in 0..1 on the processor, on one thread: PIL has no more. The
two take turns, so that a busy machine slows both; the medians are compared.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from fer_core.augment import augment, to_floats
from fer_core.augmentations import Augmentation, Step, find
from fer_core.catalog import AUGMENT_OPERATIONS
from fer_core.environment import processor_name

SIDE = 48

Transform = Callable[[Any], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="standard", help="a built-in or saved recipe")
    parser.add_argument("--size", type=int, default=SIDE, help="side of what the net takes")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    values = measure(args.recipe, args.size, args.batch, args.rounds)
    if args.json:
        print(json.dumps(values))
        return
    print(f"{args.batch} faces of {SIDE} x {SIDE} to {args.size} x {args.size}, threads: {values['threads']}, ", end="")
    print(f"torch {values['torch']}, {values['machine']}; medians of {args.rounds}")
    for name, figures in values["ms"].items():
        print(f"{name:>14}: {figures['ours']:7.2f} ms, one by one {figures['baseline']:7.1f} ms: ", end="")
        print(f"{figures['ratio']:.1f} times")


def measure(recipe: str, size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Milliseconds a batch of both ways: for the recipe, then for each operation alone."""
    faces = np.random.default_rng(0).integers(0, 256, (batch, SIDE, SIDE), dtype=np.uint8)
    alone = {name: Augmentation((Step(name, spec.default),)) for name, spec in AUGMENT_OPERATIONS.items()}
    return {
        "machine": processor_name(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch": batch,
        "size": size,
        "ms": {
            name: compared(faces, augmentation, size, rounds)
            for name, augmentation in {recipe: find(recipe).augmentation, **alone}.items()
        },
    }


def compared(faces_NHW: NDArray[np.uint8], augmentation: Augmentation, size: int, rounds: int) -> dict[str, float]:
    """Medians of both ways, which take turns; the first turn of each does not count."""
    generator, images = torch.Generator().manual_seed(0), torch.from_numpy(faces_NHW)
    transform = notebook(augmentation, size)
    ways: tuple[Callable[[], Tensor], ...] = (
        lambda: augment(to_floats(images), augmentation, generator, size),
        lambda: torch.stack([transform(Image.fromarray(face)) for face in faces_NHW]),
    )
    assert ways[0]().shape == ways[1]().shape
    turns = [[_milliseconds(way) for way in ways] for _ in range(rounds)]
    ours, baseline = (statistics.median(column) for column in zip(*turns, strict=True))
    return {"ours": ours, "baseline": baseline, "ratio": baseline / ours}


def notebook(augmentation: Augmentation, size: int) -> Transform:
    """The recipe by torchvision's transforms of a PIL image, as notebooks put them together."""
    steps = [_gated(_torchvision(step), step.probability) for step in augmentation.active()]
    steps = [_gated(v2.Compose(steps), augmentation.share)] if steps else []
    return v2.Compose([v2.Resize((size, size)), *steps, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def _gated(transform: Transform, probability: float) -> Transform:
    return transform if probability == 1 else v2.RandomApply([transform], p=probability)


def _torchvision(step: Step) -> Transform:
    s, bilinear = step.strength, v2.InterpolationMode.BILINEAR
    by_name: dict[str, Callable[[], Transform]] = {
        "flip": lambda: v2.RandomHorizontalFlip(p=1.0),
        "rotate": lambda: v2.RandomRotation(s, bilinear),
        "shift": lambda: v2.RandomAffine(0, translate=(s, s), interpolation=bilinear),
        "scale": lambda: v2.RandomAffine(0, scale=(1 - s, 1 + s), interpolation=bilinear),
        "shear": lambda: v2.RandomAffine(0, shear=s, interpolation=bilinear),
        "crop": lambda: _RandomWindow(s),
        "resized_crop": lambda: _ResizedCrop(s),
        "brightness": lambda: v2.ColorJitter(brightness=s),
        "contrast": lambda: v2.ColorJitter(contrast=s),
        "sharpness": lambda: v2.RandomAdjustSharpness(1 + s, p=1.0),
        "autocontrast": lambda: v2.RandomAutocontrast(p=1.0),
        "coarse": lambda: _Coarse(s),
        "erase": lambda: v2.Compose([v2.ToImage(), v2.RandomErasing(p=1.0, scale=(s * s / 9, s * s), value=128)]),
    }
    return by_name[step.operation]()


class _RandomWindow:
    """A window at a random place, made as large again."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, image: Any) -> Any:
        sides = v2.functional.get_size(image)
        return v2.functional.resize(v2.RandomCrop([round(side * (1 - self.share)) for side in sides])(image), sides)


class _ResizedCrop:
    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, image: Any) -> Any:
        size = v2.functional.get_size(image)
        return v2.RandomResizedCrop(size, scale=(1 - self.share, 1.0), ratio=(1.0, 1.0))(image)


class _Coarse:
    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, image: Any) -> Any:
        sides = v2.functional.get_size(image)
        small = [max(1, round(side * (1 - self.share))) for side in sides]
        return v2.functional.resize(v2.functional.resize(image, small), sides)


def _milliseconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
