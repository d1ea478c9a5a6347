"""The training loop: yields one record an epoch, neither prints nor draws, and can stop and go on at any batch.

Everything random in step t is drawn from (seed, t) alone, and the order of epoch e from (seed, e), so that a resumed
run takes the same steps as an uninterrupted one. Shapes: N faces, B batch, C channels, H x W pixels, K classes.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fer_core.augment import augment, to_floats
from fer_core.balance import Balance, plan_balance, row_probabilities
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.evaluate import Report, evaluate
from fer_core.losses import OBJECTIVES
from fer_core.runs import EpochRecord
from fer_core.train.mixup import Mix, draw_mix
from fer_core.train.optimizer import make_average, make_optimizer
from fer_core.train.placement import Placement
from fer_core.train.schedule import Schedule
from fer_core.views import predict_logits


@dataclass(frozen=True)
class FaceTensors:
    """Faces and labels of one split, resident on the device: uint8 (N, H, W) and int64 (N,)."""

    images_NHW: Tensor
    labels_N: Tensor
    targets_NK: Tensor | None = None
    """Share of each class in a face's target, float32, where the label mode has such."""

    def __len__(self) -> int:
        return len(self.labels_N)

    def batch(self, rows_B: Tensor) -> tuple[Tensor, Tensor]:
        """Floats in 0..1, (B, 1, H, W), and labels (B,)."""
        return to_floats(self.images_NHW[rows_B]), self.labels_N[rows_B]


@dataclass
class _EpochSums:
    """What an epoch has added up so far; on the device, so that no step waits for a number."""

    loss: Tensor
    correct: Tensor
    faces: int = 0
    seconds: float = 0.0


class Trainer:
    """One training of one model. Make it, `load_state` to go on from a checkpoint, then iterate `epochs`."""

    def __init__(
        self, model: nn.Module, train: FaceTensors, balance: Balance, config: RunConfig, placement: Placement
    ) -> None:
        """Args: config: resolved. The model and the faces are on the placement's device already."""
        assert config.epochs is not None, "the configuration is resolved"
        self.model, self.train, self.balance = model, train, balance
        self.config, self.placement = config, placement
        self.steps_per_epoch = len(_batches(torch.arange(len(train)), config.batch_size))
        self.total_steps = config.epochs * self.steps_per_epoch
        self.optimizer = make_optimizer(model, config, bf16=placement.bf16)
        self.schedule = Schedule(self.optimizer, config, self.steps_per_epoch, config.epochs)
        self.average = make_average(model, config.ema_decay)
        self.step = 0
        self.epochs_done = 0
        """Epochs that have been trained and judged."""
        self.wall_s = 0.0
        self.best_value = -math.inf
        self.epochs_since_best = 0
        self.stopped = False
        """True after `epochs` ended because it was asked to, before the training was complete."""
        self.augmentation = config.augmentation()
        self._as_is = self._plain_balance() if config.balance_defer_epochs else balance
        self._use(balance)
        self._generator = torch.Generator(placement.device)
        self._image_size = config.image_size
        self._sums = self._no_sums()

    @property
    def evaluated_model(self) -> nn.Module:
        """The weights by which the run is judged: the average where there is one."""
        return self.model if self.average is None else self.average.module

    def epochs(
        self,
        public: FaceTensors,
        classes: tuple[str, ...],
        on_step: Callable[[float], bool],
        on_look: Callable[[], object] = lambda: None,
    ) -> Iterator[EpochRecord]:
        """Train to the end; after each epoch judge the evaluated model on `public` and yield the record.

        Args:
            on_step: called after each batch with the share of the training that is done; True asks to stop.
            on_look: called after each batch of faces that is judged.
        Raises: RunError: the loss is no longer finite.
        """
        assert self.config.epochs is not None
        while self._sums.faces or (self.step < self.total_steps and not self._ends_early()):
            if not self._epoch_is_trained:
                self._train_epoch(on_step)
            if self.stopped:
                return
            started = time.perf_counter()
            report = self._judge(public, classes, on_look)
            self.schedule.after_epoch(report.log_loss)
            self._remember_best(report)
            self.wall_s += time.perf_counter() - started
            self.epochs_done += 1
            record = self._record(report)
            self._sums = self._no_sums()  # before the yield: whoever saves `state()` now saves a clean epoch's start
            yield record

    @property
    def _epoch_is_trained(self) -> bool:
        """True where a run was stopped between an epoch's last batch and its evaluation."""
        return self._sums.faces > 0 and self.step % self.steps_per_epoch == 0

    @property
    def improved(self) -> bool:
        """Whether the epoch that was just yielded is the best so far, by `select_by`."""
        return self.epochs_since_best == 0

    def state(self) -> dict[str, Any]:
        """Everything that going on needs; tensors, numbers and names only."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state(),
            "average": None if self.average is None else self.average.state_dict(),
            "plan": self._plan(),
            "step": self.step,
            "epochs_done": self.epochs_done,
            "wall_s": self.wall_s,
            "best_value": self.best_value,
            "epochs_since_best": self.epochs_since_best,
            "sums": vars(self._sums).copy(),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state()`. Raises: RunError: it belongs to another configuration."""
        plan = state.get("plan", {})
        if "groups" not in plan:
            raise RunError("the checkpoint was written by version 0.2 or older; train the run anew.")
        for name, value in self._plan().items():
            if (found := plan.get(name)) != value:
                raise RunError(
                    f"the checkpoint belongs to another configuration ({name} is {found}, expected {value})."
                )
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state(state["schedule"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise RunError(f"the checkpoint belongs to another configuration ({str(error).splitlines()[0]}).") from None
        self.step, self.epochs_done, self.wall_s = state["step"], state["epochs_done"], state["wall_s"]
        self.best_value, self.epochs_since_best = state["best_value"], state["epochs_since_best"]
        sums, device = state["sums"], self.placement.device
        self._sums = _EpochSums(sums["loss"].to(device), sums["correct"].to(device), sums["faces"], sums["seconds"])

    def _plan(self) -> dict[str, Any]:
        """What must be the same for a checkpoint's step to mean the same."""
        names = ("labels", "optimizer", "schedule", "ema_decay", "batch_size", "epochs", "warmup_epochs")
        own = {name: getattr(self.config, name) for name in names}
        return {**own, "total_steps": self.total_steps, "groups": list(self.rates())}

    def _train_epoch(self, on_step: Callable[[float], bool]) -> None:
        epoch, first = divmod(self.step, self.steps_per_epoch)
        self._use(self._as_is if epoch < self.config.balance_defer_epochs else self.balance)
        order = torch.from_numpy(self._epoch_order(epoch)).to(self.placement.device)
        batches = _batches(order, self.config.batch_size)
        self._hold_backbone(epoch < self.config.head_first_epochs)
        self._show_size(epoch)
        self.model.train()
        for rows_B in batches[first:]:
            started = time.perf_counter()
            self._train_step(rows_B)
            elapsed = time.perf_counter() - started
            self._sums.seconds += elapsed
            self.wall_s += elapsed
            if on_step(self.step / self.total_steps) and self.step < self.total_steps:
                self.stopped = True
                break
        waited = self.placement.wait()  # a GPU may still be computing; that time is the epoch's too
        self._sums.seconds += waited
        self.wall_s += waited

    def _train_step(self, rows_B: Tensor) -> None:
        step_seed = self.config.seed * 1_000_003 + self.step
        torch.manual_seed(step_seed)  # dropout takes no generator of its own
        self._generator.manual_seed(step_seed)
        images, labels = self.train.batch(rows_B)
        targets = self._targets(rows_B)
        images = augment(images, self.augmentation, self._generator, self._image_size)
        mix = None
        if self.config.mixup:
            mix = draw_mix(self.config.mixup, len(labels), self._generator, step_seed)
            images = mix.images(images)
        with self.placement.autocast():
            logits = self.model(images.contiguous(memory_format=torch.channels_last))
        loss = self._loss(logits, targets, mix)
        self._optimize(loss)
        self.step += 1
        self._sums.loss += loss.detach() * len(labels)
        self._sums.correct += (logits.detach().argmax(1) == labels).sum()
        self._sums.faces += len(labels)

    def _loss(self, logits_BK: Tensor, targets: Tensor, mix: Mix | None) -> Tensor:
        objective, smoothing = OBJECTIVES[self.config.labels], self.config.label_smoothing
        if self._offsets_K is not None:
            logits_BK = logits_BK + self._offsets_K
        rest = self._weights_K, smoothing, self._now.gamma
        own = objective(logits_BK, targets, *rest)
        return own if mix is None else mix.loss(own, objective(logits_BK, targets[mix.partner_B], *rest))

    def _optimize(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        if self.config.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        self.schedule.after_step()
        if self.average is not None:
            self.average.update_parameters(self.model)

    def _hold_backbone(self, held: bool) -> None:
        if self.config.head_first_epochs:
            self.model.hold_backbone(held)  # type: ignore[operator]

    def _show_size(self, epoch: int) -> None:
        """Faces are smaller in the first epochs, where that is asked for; the last ones see what is judged."""
        assert self.config.epochs is not None
        early = self.config.early_size if epoch < round(self.config.early_share * self.config.epochs) else None
        self._image_size = early or self.config.image_size
        self.model.training_size = early  # type: ignore[assignment]

    def _use(self, balance: Balance) -> None:
        """What this epoch does about rare emotions."""
        self._now = balance
        weights, offsets = balance.loss_weights_K, balance.logit_offsets_K
        self._weights_K = torch.tensor(weights, dtype=torch.float32, device=self.placement.device)
        self._offsets_K = (
            None if offsets is None else torch.tensor(offsets, dtype=torch.float32, device=self.placement.device)
        )

    def _plain_balance(self) -> Balance:
        counts = torch.bincount(self.train.labels_N, minlength=len(self.balance.epoch_mix_K)).cpu().numpy()
        return plan_balance(counts, self.config.changed(balance="none"))

    def _targets(self, rows_B: Tensor) -> Tensor:
        """What this step learns of these faces: labels (B,), or shares of the classes (B, K)."""
        if self.train.targets_NK is None or self.config.labels in ("fer", "majority"):
            return self.train.labels_N[rows_B]
        shares = self.train.targets_NK[rows_B]
        if self.config.labels == "probability":
            return torch.multinomial(shares, 1, generator=self._generator).squeeze(1)
        return shares

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """The rows of an epoch, in order: each once, or drawn with replacement by the balancing strategy."""
        rng = np.random.default_rng([self.config.seed, epoch])
        if not self._now.resampled:
            return rng.permutation(len(self.train))
        labels = self.train.labels_N.cpu().numpy()
        return rng.choice(len(labels), size=len(labels), p=row_probabilities(labels, self._now.epoch_mix_K))

    def _judge(self, public: FaceTensors, classes: tuple[str, ...], on_look: Callable[[], object]) -> Report:
        logits = self.predict(public.images_NHW, on_look=on_look)
        if not torch.isfinite(logits).all() or not math.isfinite(self._sums.loss.item()):
            epoch = self.epochs_done + 1
            raise RunError(f"the training diverged in epoch {epoch}: the loss is no longer finite. Try a lower --lr.")
        return evaluate(logits.cpu().numpy(), public.labels_N.cpu().numpy(), classes)

    def _remember_best(self, report: Report) -> None:
        values = {"accuracy": report.accuracy, "macro_f1": report.macro_f1, "loss": -report.log_loss}
        value = values[self.config.select_by]
        self.epochs_since_best = 0 if value > self.best_value else self.epochs_since_best + 1
        self.best_value = max(value, self.best_value)

    def predict(self, images_NHW: Tensor, view: str = "none", on_look: Callable[[], object] = lambda: None) -> Tensor:
        """Logits (N, K) of the evaluated model, for uint8 faces on its device; `on_look` as in `predict_logits`."""
        return predict_logits(self.evaluated_model, images_NHW, view, size=self.config.image_size, on_look=on_look)

    def rates(self) -> dict[str, float]:
        """The learning rate of each group of parameters."""
        return {group["name"]: group["lr"] for group in self.optimizer.param_groups}

    def _ends_early(self) -> bool:
        return self._ran_out_of_patience() or self._runs_out_of_time()

    def _ran_out_of_patience(self) -> bool:
        return 0 < self.config.patience <= self.epochs_since_best

    def _runs_out_of_time(self) -> bool:
        """Whether the next epoch, as long as the ones before it, would end after the limit."""
        limit_s = 60 * self.config.time_limit_min
        return 0 < limit_s < self.wall_s * (1 + 1 / max(1, self.epochs_done)) and self.epochs_done > 0

    def _record(self, report: Report) -> EpochRecord:
        sums = self._sums
        return EpochRecord(
            epoch=self.epochs_done,
            lr=max(self.rates().values()),
            train_loss=sums.loss.item() / sums.faces,
            train_accuracy=sums.correct.item() / sums.faces,
            public_loss=report.log_loss,
            public_accuracy=report.accuracy,
            public_macro_f1=report.macro_f1,
            images_per_s=sums.faces / sums.seconds,
            wall_s=self.wall_s,
        )

    def _no_sums(self) -> _EpochSums:
        zero = torch.zeros((), device=self.placement.device)
        return _EpochSums(zero.clone(), zero.clone())


def _batches(order_N: Tensor, size: int) -> list[Tensor]:
    """Rows in batches; a single face left over joins the batch before it, for batch norm has no spread of one."""
    batches = list(order_N.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches
