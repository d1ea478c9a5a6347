"""From the pixels of faces to probabilities, in one module: what predicts is also what is exported.

Shapes: N faces, H x W pixels, K classes.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from fer_core.adjust import logit_shifts
from fer_core.augment import to_floats
from fer_core.catalog import AVERAGES, VIEWS, check_name
from fer_core.ensemble_file import read_ensemble
from fer_core.models import FaceClassifier
from fer_core.one_thread import one_thread
from fer_core.run_adjustment import SavedAdjustment, read_adjustment
from fer_core.run_model import load_model, trained_classes
from fer_core.runs import Run, find_run
from fer_core.views import shown

_BATCH = 32
"""Each thread has faces of its own instead of a share of each layer: 1.4 times as many faces a second on two cores."""


class Pipeline(nn.Module):
    """Grey levels to floats, the views, the nets, their mean, the saved decision, softmax.

    Input (N, H, W) uint8; output (N, K) float32, rows that sum to 1. In evaluation mode, always. The answers are those
    of `views.predict_logits`, after `SavedAdjustment.apply`: the same functions are called.
    """

    shift_K: Tensor

    def __init__(
        self,
        nets: Sequence[FaceClassifier],
        classes: Sequence[str],
        *,
        view: str = "none",
        average: str = AVERAGES[0],
        decision: SavedAdjustment | None = None,
    ) -> None:
        """The nets are taken over: their own crop is set aside, batch norms are folded into the convolutions before.

        Args:
            nets: one, or those of an ensemble.
            view: one of `catalog.VIEWS`.
            average: how several nets are averaged: one of `catalog.AVERAGES`.
            decision: the adjustment that was saved with the run; None: the nets' own decision.
        Raises: ConfigError: no such view or average, or a decision that does not fit the classes.
        """
        super().__init__()
        self.view = check_name("view", view, VIEWS)
        self.average = check_name("average", average, AVERAGES)
        self.classes = tuple(classes)
        self.crops = [net.crop for net in nets]
        self.sizes = [net.image_size for net in nets]
        self.nets = nn.ModuleList(_for_inference(net) for net in nets)
        own = None if decision is None else decision.adjustment
        self.temperature = 1.0 if own is None else own.temperature
        shift_K = torch.zeros(len(self.classes))
        if decision is not None and own is not None:
            shift_K = torch.from_numpy(logit_shifts(decision.prior_K, own)).float()
        self.register_buffer("shift_K", shift_K)
        super().train(False)

    def train(self, mode: bool = True) -> "Pipeline":
        """Nothing changes: a batch norm that learned from what it is asked would change the answers."""
        return self

    def forward(self, images_NHW: Tensor) -> Tensor:
        images_N1HW = to_floats(images_NHW)
        logits = [self._logits(place, images_N1HW) for place in range(len(self.nets))]
        return (self._mean(logits) / self.temperature + self.shift_K).softmax(1)

    def in_batches(self, images_NHW: Tensor, batch: int = _BATCH) -> Tensor:
        """The same for any number of faces, so many at a time on each thread: (N, K) float32, also where N is 0."""
        if not len(images_NHW):
            return torch.zeros(0, len(self.classes))
        parts = images_NHW.split(batch)
        workers = min(torch.get_num_threads(), len(parts))
        if workers == 1:
            return torch.cat([self._inferred(part) for part in parts])
        with one_thread(), ThreadPoolExecutor(workers) as pool:
            return torch.cat(list(pool.map(self._inferred, parts)))

    @torch.inference_mode()
    def _inferred(self, images_NHW: Tensor) -> Tensor:
        return self(images_NHW)

    def _logits(self, place: int, images_N1HW: Tensor) -> Tensor:
        crop, size = self.crops[place], self.sizes[place]
        looks = [self.nets[place](look).float() for look in shown(images_N1HW, self.view, crop, size)]
        return looks[0] if len(looks) == 1 else torch.stack(looks).mean(0)

    def _mean(self, logits: Sequence[Tensor]) -> Tensor:
        if len(logits) == 1:
            return logits[0]
        if self.average == "logits":
            return torch.stack(list(logits)).mean(0)
        return torch.stack([one.softmax(1) for one in logits]).mean(0).log()


def load_pipeline(run: Run, view: str = "none") -> Pipeline:
    """The net of a run, or all nets of an ensemble, deciding by the adjustment that was saved with it.

    Raises: FerError: no such view, or there are no weights.
    """
    found = read_ensemble(run)
    members = [run] if found is None else [find_run(name) for name in found.members]
    average = AVERAGES[0] if found is None else found.average
    nets = [load_model(member) for member in members]
    return Pipeline(nets, trained_classes(run), view=view, average=average, decision=read_adjustment(run))


def _for_inference(model: FaceClassifier) -> FaceClassifier:
    """Folded batch norms and channels last: half the time of a face."""
    model.crop = 0.0  # the views cut their windows themselves
    model.eval()
    # A net whose Python cannot be followed stays as it is: a branch on pixels, the length of a tensor.
    with suppress(TraceError, RuntimeError, TypeError):
        model.net = fuse(model.net)
    return model.to(memory_format=torch.channels_last)
