"""Mirroring in turn instead of by chance, which was tried and is not in the trainer. Shapes: N faces, B batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fer_core import experiment
from fer_core.train.loop import FaceTensors, Trainer


class MirroredInTurn:
    """A split whose faces are mirrored every second epoch, each beginning by a coin of its own.

    Stands in for `FaceTensors`. Source: airbench's alternating flip, Jordan 2024, arXiv 2404.00498.
    """

    def __init__(self, faces: FaceTensors, trainer: Trainer) -> None:
        self.faces, self.trainer = faces, trainer
        coins = torch.Generator().manual_seed(trainer.config.seed)
        self.begins_mirrored_N = torch.rand(len(faces), generator=coins).to(faces.labels_N.device) < 0.5

    def __getattr__(self, name: str) -> Any:
        return getattr(self.faces, name)

    def __len__(self) -> int:
        return len(self.faces)

    def batch(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = self.faces.batch(rows_B)
        odd = bool(self.trainer.step // self.trainer.steps_per_epoch % 2)
        mirrored_B = self.begins_mirrored_N[rows_B] ^ odd
        return torch.where(mirrored_B.view(-1, 1, 1, 1), images.flip(3), images), labels


@contextmanager
def flips_in_turn() -> Iterator[None]:
    """While this is open, trainings mirror faces in turn instead of by a coin for each."""

    class InTurn(Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            kept = tuple(step for step in self.augmentation.steps if step.operation != "flip")
            self.augmentation = replace(self.augmentation, steps=kept)
            self.train = MirroredInTurn(self.train, self)  # type: ignore[assignment]

    before = experiment.Trainer
    experiment.Trainer = InTurn  # type: ignore[assignment, misc]
    try:
        yield
    finally:
        experiment.Trainer = before  # type: ignore[misc]
