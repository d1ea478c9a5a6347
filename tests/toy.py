"""Small image sets that a net learns in seconds, a net of a few hundred weights, trainers and configurations for both.

Shapes: N faces, B batch, C channels, H x W pixels, K classes.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fer_core.balance import plan_balance
from fer_core.config import RunConfig
from fer_core.data.store import Faces
from fer_core.labels import EMOTIONS
from fer_core.models import FaceClassifier
from fer_core.runs import EpochRecord
from fer_core.train.checkpoint import load_checkpoint, save_checkpoint
from fer_core.train.loop import FaceTensors, Trainer
from fer_core.train.placement import Placement
from tests.faces import write_csv

CPU_FP32 = Placement(torch.device("cpu"), bf16=False)
CPU_BF16 = Placement(torch.device("cpu"), bf16=True)


def striped_faces(train: int = 5, public: int = 3, private: int = 4, side: int = 48, seed: int = 0) -> Faces:
    """So many noisy images a class and split, all mixed; class k has a bright band at its own height."""
    rng = np.random.default_rng(seed)
    sizes = (train, public, private)
    labels = np.concatenate([np.tile(np.arange(len(EMOTIONS)), n) for n in sizes])
    splits = np.concatenate([np.full(n * len(EMOTIONS), code) for code, n in enumerate(sizes)])
    order = rng.permutation(len(labels))
    images = striped_images(labels[order], side, rng)
    return Faces(images, labels[order].astype(np.int64), splits[order].astype(np.int8))


def striped_images(labels_N: Any, side: int, rng: np.random.Generator) -> Any:
    images = rng.integers(0, 100, (len(labels_N), side, side))
    band = side // len(EMOTIONS)
    for image, label in zip(images, labels_N, strict=True):
        image[label * band : (label + 1) * band] += 130
    return images.astype(np.uint8)


def toy_csv(path: Path, **sizes: int) -> Path:
    return write_csv(path, striped_faces(**sizes))


def toy_config(**values: Any) -> RunConfig:
    """A resolved configuration of two short epochs, fp32 on the CPU; `values` change it."""
    short = {"epochs": 2, "batch_size": 16, "lr": 0.05, "device": "cpu", "precision": "fp32"}
    return RunConfig.parse({**short, **values}).resolved(default_epochs=2)


def toy_tensors(counts: list[int], side: int = 12, seed: int = 0) -> FaceTensors:
    """counts[k] striped images of class k, ordered by class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    images = striped_images(labels, side, np.random.default_rng(seed))
    return FaceTensors(torch.from_numpy(images), torch.from_numpy(labels))


class ToyNet(nn.Module):
    """A convolution with batch norm and dropout, a linear layer: everything that has state or draws at random."""

    def __init__(self, num_classes: int = 7, side: int = 12, *, plain: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, 2, 1)
        self.norm: nn.Module = nn.Identity() if plain else nn.BatchNorm2d(4)
        self.dropout = nn.Dropout(0.0 if plain else 0.2)
        self.head = nn.Linear(4 * ((side + 1) // 2) ** 2, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.dropout(self.norm(self.conv(x_BCHW)).relu().flatten(1)))


class ToyBlocks(nn.Module):
    """Two blocks of convolution and batch norm, dropout, a head: a net that can be frozen in part."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.block2 = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Sequential(nn.Linear(54, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 7))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.dropout(self.block2(self.block1(x_BCHW)).flatten(1)))


def toy_classifier(freeze_until: str | None = None) -> FaceClassifier:
    """`ToyBlocks` for faces of 12 pixels, its head told from its backbone."""
    model = FaceClassifier(ToyBlocks(), image_size=12, head="head")
    if freeze_until:
        model.freeze_until(freeze_until)
    return model


def toy_trainer(
    config: RunConfig,
    train: FaceTensors,
    placement: Placement = CPU_FP32,
    *,
    net: Callable[[], nn.Module] = ToyNet,
    init_seed: int = 1,
) -> Trainer:
    """A trainer of a fresh net, its weights drawn from `init_seed`."""
    torch.manual_seed(init_seed)
    counts = torch.bincount(train.labels_N).numpy()
    model = net().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trainer(model, train, plan_balance(counts, config), config, placement)


def never(share: float) -> bool:
    """An `on_step` that does not ask to stop."""
    return False


def run_epochs(trainer: Trainer, public: FaceTensors, on_step: Callable[[float], bool] = never) -> list[EpochRecord]:
    return list(trainer.epochs(public, EMOTIONS[: trainer.balance.epoch_mix_K.size], on_step))


def stop_at(trainer: Trainer, step: int) -> Callable[[float], bool]:
    """An `on_step` that asks to stop once this step is done."""
    return lambda share: trainer.step == step


def through_disk(trainer: Trainer, config: RunConfig, folder: Path, **making: Any) -> Trainer:
    """A new trainer in the place where the other one stands; its net began with other weights."""
    save_checkpoint(folder / "last.pt", trainer.state())
    other = toy_trainer(config, trainer.train, trainer.placement, init_seed=99, **making)
    other.load_state(load_checkpoint(folder / "last.pt"))
    return other


def everything(trainer: Trainer, records: list[EpochRecord]) -> dict[str, Any]:
    """All that must not depend on whether a training was interrupted: everything but the time it took."""
    timeless = [{k: v for k, v in asdict(r).items() if k not in ("wall_s", "images_per_s")} for r in records]
    state = {k: v for k, v in trainer.state().items() if k not in ("wall_s", "sums")}
    return {"records": timeless, "state": bits(state)}


def bits(value: Any) -> Any:
    """Tensors as their bytes, so that `==` compares them bit for bit."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list | tuple) else value
