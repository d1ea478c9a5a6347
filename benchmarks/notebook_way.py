"""The training loop of most notebooks, to stand beside ours: a folder of images, a transform per face, float32.

The same net, picture size, augmentation, optimizer and loss as `RunConfig` describes; everything around them is done
as notebooks do it. Shapes: B faces of a batch, C channels, H x W pixels, K classes.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from fer_core.augmentations import Augmentation
from fer_core.config import RunConfig
from fer_core.data import open_store
from fer_core.models import create_model
from fer_core.run_model import architecture

WORKERS = 2
"""Processes that read and transform, as on the machines that notebooks run on."""
_LR = 0.01
"""A rate at which a few steps of any net stay finite; the speed does not depend on it."""
_TOGETHER = {"rotate", "shift", "scale"}
"""Operations that one `RandomAffine` does in a single resampling, as `augment` does."""
_KNOWN = {"flip", "brightness", "erase"} | _TOGETHER


def write_folder(data: str, folder: Path, faces: int) -> dict[str, float]:
    """Write training faces as `folder/<emotion>/<row>.png`, drawn evenly over the split, fewer where it has fewer.

    Returns: mean and spread of their grey levels in 0..1, which notebooks hand to `Normalize`.
    """
    store = open_store(data)
    rows = store.rows("train")
    rows = rows[np.linspace(0, len(rows) - 1, min(faces, len(rows))).astype(np.int64)]
    images = store.images_NHW[rows]
    for name in store.classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for row, image, label in zip(rows, images, store.labels_N[rows], strict=True):
        Image.fromarray(image).save(folder / store.classes[label] / f"{row:07d}.png")
    for name in store.classes:
        if not any((folder / name).iterdir()):
            (folder / name).rmdir()  # ImageFolder refuses an empty class
    return {"mean": images.mean() / 255, "std": max(images.std() / 255, 1 / 255)}


def transform_of(augmentation: Augmentation, size: int, mean: float, std: float) -> transforms.Compose:
    """The augmentation as torchvision's transforms of one PIL image, in the order in which notebooks list them.

    Raises: ValueError: a step for which there is no transform here, or one that only some of the faces get.
    """
    steps = {step.operation: step for step in augmentation.active()}
    unknown = sorted(set(steps) - _KNOWN)
    partial = sorted(name for name in steps.keys() - {"flip", "erase"} if steps[name].probability != 1)
    if unknown or partial or augmentation.share != 1 or len(steps) != len(augmentation.active()):
        raise ValueError(f"no notebook's transforms for {', '.join(augmentation.texts())} of {augmentation.share:.0%}.")
    chain: list[Any] = [transforms.Grayscale(1), transforms.Resize((size, size))]
    if "flip" in steps:
        chain.append(transforms.RandomHorizontalFlip(steps["flip"].probability))
    if _TOGETHER & set(steps):
        chain.append(_affine(augmentation))
    if "brightness" in steps:
        chain.append(transforms.ColorJitter(brightness=steps["brightness"].strength))
    chain += [transforms.ToTensor(), transforms.Normalize((mean,), (std,))]
    if "erase" in steps:
        side = steps["erase"].strength  # each side is a third of it to all of it, and 0 is the mean grey by now
        chain.append(transforms.RandomErasing(steps["erase"].probability, scale=(side * side / 9, side * side)))
    return transforms.Compose(chain)


def _affine(augmentation: Augmentation) -> transforms.RandomAffine:
    shift, scale = augmentation.strength("shift"), augmentation.strength("scale")
    return transforms.RandomAffine(
        augmentation.strength("rotate"),
        translate=(shift, shift) if shift else None,
        scale=(1 - scale, 1 + scale) if scale else None,
        interpolation=transforms.InterpolationMode.BILINEAR,
    )


def train(config: RunConfig, folder: Path, grey: dict[str, float], steps: int, warm_up: int) -> dict[str, Any]:
    """Train for so many steps after the warm-up, and give faces a second and what the steps waited for.

    Args: config: resolved. folder, grey: as `write_folder` wrote and returned them.
    Raises: ValueError: the folder has too few faces.
    """
    torch.manual_seed(config.seed)
    device = torch.device("cuda" if torch.cuda.is_available() and config.device != "cpu" else "cpu")
    loader, classes = _loader(config, folder, grey)
    if len(loader) < warm_up + steps:
        raise ValueError(f"{warm_up + steps} batches of {config.batch_size} are needed, the folder has {len(loader)}.")
    net = create_model(**architecture(config, classes, (48, 48))).net.to(device).train()
    optimizer = SGD(net.parameters(), _LR, momentum=0.9, nesterov=True, weight_decay=config.weight_decay)
    loss_of = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    started = time.perf_counter()
    ends, waits = [started], []
    for images, labels in loader:
        waits.append(time.perf_counter() - ends[-1])
        optimizer.zero_grad()
        loss = loss_of(net(images.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        loss.item()  # what notebooks print; it also waits for the device
        ends.append(time.perf_counter())
        if len(waits) == warm_up + steps:
            break
    seconds = ends[-1] - ends[warm_up]
    return {
        "images_per_s": steps * config.batch_size / seconds,
        "warm_up_s": ends[warm_up] - started,
        "wait_share": sum(waits[warm_up:]) / seconds,
        "path": f"{device.type} fp32",
    }


def _loader(config: RunConfig, folder: Path, grey: dict[str, float]) -> tuple[DataLoader, int]:
    transform = transform_of(config.augmentation(), config.image_size or 48, **grey)
    faces = ImageFolder(str(folder), transform)
    return DataLoader(faces, config.batch_size, shuffle=True, num_workers=WORKERS), len(faces.classes)
