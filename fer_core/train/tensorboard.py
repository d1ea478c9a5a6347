"""A run's curves and pictures for TensorBoard: event files straight in `runs/NAME`.

There, `tensorboard --logdir runs` lists each run by its name. Steps are epochs; 0 is before the first. Shapes: N faces,
H x W pixels, K classes.
"""

import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor, ImageDraw, ImageFont

from fer_core.errors import ConfigError
from fer_core.mosaic import face_grid
from fer_core.palette import RIGHT_COLOR, WRONG_COLOR
from fer_core.runs import EpochRecord

_MOST_FACES = 64
_COLUMNS = 8
_ZOOM = 2
_CELL = 76
_MARGIN = 96
"""Left of the matrix and above it, in pixels: room for the names."""
_FONT_SIZE = 15
_PALE_INK = "#666666"


def tensorboard_missing() -> str:
    """Empty where TensorBoard is installed; else one line that says what to do. Imports nothing."""
    if find_spec("tensorboard") is not None:
        return ""
    return "TensorBoard is not installed: pip install tensorboard, or train without its log (--no-tensorboard)."


class TensorBoardLog:
    """What one training tells TensorBoard; each epoch is on the disk when `epoch` returns.

    Args:
        folder: the run's. The first log of a process imports `tensorboard`.
        done_epochs: epochs that a resumed run keeps; what an earlier process wrote about later ones is not shown.
    Raises: ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, done_epochs: int = 0) -> None:
        if missing := tensorboard_missing():
            raise ConfigError(missing)
        from torch.utils.tensorboard import SummaryWriter  # a run that does not log does not load it

        self._epochs = self._kept = done_epochs
        # Readers drop everything from the purge step on. A run that starts anew shows its faces anew, too.
        self._writer = SummaryWriter(str(folder), purge_step=done_epochs + 1 if done_epochs else 0)

    def faces(self, images_NHW: NDArray[np.uint8]) -> None:
        """Show up to 64 faces, uint8, as the net sees them: one picture. A resumed run has it already."""
        if self._kept or not len(images_NHW):
            return
        self._writer.add_image("faces/augmented", _sheet(images_NHW[:_MOST_FACES]), 0, dataformats="HW")
        self._writer.flush()

    def epoch(self, record: EpochRecord, rates: Mapping[str, float]) -> None:
        """Add an epoch's scalars. `rates`: name of a group of parameters -> its learning rate."""
        self._epochs = record.epoch
        scalars = {
            "loss/train": record.train_loss,
            "loss/public": record.public_loss,
            "accuracy/train": record.train_accuracy,
            "accuracy/public": record.public_accuracy,
            "macro_f1/public": record.public_macro_f1,
            "speed/images_per_s": record.images_per_s,
            **{f"learning_rate/{name}": rate for name, rate in rates.items()},
        }
        for tag, value in scalars.items():
            self._writer.add_scalar(tag, value, record.epoch)
        self._writer.flush()

    def confusion(self, name: str, matrix_KK: NDArray[np.integer], classes: Sequence[str]) -> None:
        """Show counts, rows true and columns predicted, as a picture at the last epoch. `name`: of the split."""
        picture = confusion_picture(matrix_KK, classes)
        self._writer.add_image(f"confusion/{name}", picture, self._epochs, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def confusion_picture(matrix_KK: NDArray[np.integer], classes: Sequence[str]) -> NDArray[np.uint8]:
    """Draw counts with the names of their rows (true) and columns (predicted): uint8, RGB.

    A cell's colour is as strong as its share of its row. The diagonal has the colour of right answers and the rest that
    of wrong ones.
    """
    side = _MARGIN + _CELL * len(classes)
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(_FONT_SIZE)
    draw.text((_MARGIN - 8, _MARGIN - 8), "true", _PALE_INK, font, anchor="rd")
    draw.text(((_MARGIN + side) / 2, _MARGIN / 3), "predicted", _PALE_INK, font, anchor="mm")
    shares_KK = matrix_KK / np.maximum(matrix_KK.sum(axis=1, keepdims=True), 1)
    centres = [_MARGIN + _CELL * (k + 0.5) for k in range(len(classes))]
    for i, (name, y) in enumerate(zip(classes, centres, strict=True)):
        draw.text((_MARGIN - 8, y), name, "black", font, anchor="rm")
        draw.text((y, _MARGIN - 8), name, "black", font, anchor="md")
        for j, x in enumerate(centres):
            share = float(shares_KK[i, j])
            box = (x - _CELL / 2 + 1, y - _CELL / 2 + 1, x + _CELL / 2 - 1, y + _CELL / 2 - 1)
            draw.rectangle(box, _tint(RIGHT_COLOR if i == j else WRONG_COLOR, share))
            draw.text((x, y), f"{matrix_KK[i, j]:,}", "black", font, anchor="mm")
    return np.asarray(picture)


def _sheet(images_NHW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Faces in rows of eight, grey and twice as large; the places that are left over stay white."""
    n, height, width = images_NHW.shape
    columns = min(n, _COLUMNS)
    rows = math.ceil(n / columns)
    tiles = np.full((rows * columns, height, width), 255, dtype=np.uint8)
    tiles[:n] = images_NHW
    return face_grid(tiles.reshape(rows, columns, height, width), zoom=_ZOOM)


def _tint(color: str, strength: float) -> tuple[int, ...]:
    """White for strength 0, the colour itself for 1."""
    return tuple(round(255 + strength * (channel - 255)) for channel in ImageColor.getrgb(color)[:3])
