"""From a configuration to a finished run: the only place where data, model, training and evaluation meet.

Training sees `train`. `public` selects the epoch. `private` is read once, at the end, by the weights that `public`
chose; a stopped run does not read it.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from fer_core.balance import plan_balance
from fer_core.config import RunConfig
from fer_core.data import FaceStore, open_store, resolve_config
from fer_core.environment import describe_environment
from fer_core.errors import DataError, FerError, RunError
from fer_core.labels import SPLITS
from fer_core.models import FaceClassifier, create_model, parameter_count
from fer_core.predictions import SplitPredictions
from fer_core.runs import EpochRecord, Run
from fer_core.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from fer_core.train.loop import FaceTensors, Trainer, predict_logits
from fer_core.train.placement import Placement, choose_placement

_HEARTBEAT_S = 1.0
"""How often, at most, the loop writes its status."""

OnEpoch = Callable[[EpochRecord], None]
OnStep = Callable[[float], None]


def train_run(run: Run, *, on_epoch: OnEpoch = lambda record: None, on_step: OnStep = lambda share: None) -> None:
    """Train a queued run, or go on with one that was stopped, failed or lost; then judge it and write its predictions.

    Ends with the status `done`, or `stopped` if somebody asked for that; every other end writes `failed` and raises.

    Args:
        on_epoch: called with each epoch's record.
        on_step: called after each batch with the share of the training that is done, 0..1.
    Raises: FerError: the run is done or being trained, its data is gone or has changed, the training diverged.
    """
    try:
        with FileLock(run.path / "lock", timeout=0):
            _train_locked(run, on_epoch, on_step)
    except Timeout:
        raise RunError(f"run {run.name!r} is being trained by another process.") from None


def check_trainable(config: RunConfig, store: FaceStore) -> None:
    """Whether this configuration can be trained on this store, on this machine. Raises: FerError: it cannot."""
    for split in SPLITS:
        if not len(store.rows(split)):
            raise DataError(f"{store.source}: no faces in split {split!r}; training needs train, public and private.")
    plan_balance(store.counts_SK[SPLITS.index("train")], config)
    choose_placement(config.device, config.precision)


def load_model(run: Run) -> FaceClassifier:
    """The run's net with the weights that `public` chose, in evaluation mode, on the CPU. Raises: RunError."""
    if not run.best.exists():
        raise RunError(f"run {run.name!r} has no weights; it is {run.status().state}. Train or resume it first.")
    model = create_model(run.config().model, num_classes=len(run.environment()["data"]["classes"]))
    load_weights(run.best, model)
    return model.eval()


def _train_locked(run: Run, on_epoch: OnEpoch, on_step: OnStep) -> None:
    if run.status().state == "done":
        raise RunError(f"run {run.name!r} is done; train a new one instead.")
    run.claim(state="running", message="opening the data")
    try:
        with torch.random.fork_rng():
            _train(run, on_epoch, on_step)
    except BaseException as error:
        text = str(error) if isinstance(error, FerError) else f"{type(error).__name__}: {error}"
        run.update_status(state="failed", message=text)
        raise


def _train(run: Run, on_epoch: OnEpoch, on_step: OnStep) -> None:
    config = resolve_config(run.config())
    store = open_store(config.data)
    check_trainable(config, store)
    placement = choose_placement(config.device, config.precision)
    splits = _split_tensors(store, placement)
    trainer = _make_trainer(store, splits["train"], config, placement)
    history = _resume(run, trainer, store)
    run.write_environment(_environment(store, trainer))
    watch = _Watch(run, trainer, on_step)
    for record in trainer.epochs(splits["public"], store.classes, watch):
        history.append(record)
        if trainer.improved:
            save_weights(run.best, trainer.evaluated_model, record.epoch)
        run.write_history(history)
        save_checkpoint(run.last, trainer.state())
        watch.write(record.epoch)
        on_epoch(record)
    if trainer.stopped:
        save_checkpoint(run.last, trainer.state())
        watch.write(trainer.epochs_done)
    if history:
        run.update_status(message="judging the best epoch")
        judged = ("public",) if trainer.stopped else ("public", "private")
        run.write_predictions(_predict(run, trainer.evaluated_model, store, {s: splits[s] for s in judged}))
    run.stop_file.unlink(missing_ok=True)
    if trainer.stopped:
        run.update_status(state="stopped", message="")
    else:
        run.update_status(state="done", message="", progress=1.0)  # early stopping is an end too


class _Watch:
    """What happens after each batch: a heartbeat now and then, the caller's progress, and a look for the stop file."""

    def __init__(self, run: Run, trainer: Trainer, on_step: OnStep) -> None:
        self.run, self.trainer, self.on_step = run, trainer, on_step
        self.written = 0.0
        self.write(trainer.epochs_done)

    def __call__(self, share: float) -> bool:
        self.on_step(share)
        if time.monotonic() - self.written > _HEARTBEAT_S:
            self.write(self.trainer.epochs_done)
        return self.run.stop_file.exists()

    def write(self, epoch: int) -> None:
        share = self.trainer.step / self.trainer.total_steps
        self.run.update_status(epoch=epoch, progress=share, message="training")
        self.written = time.monotonic()


def _split_tensors(store: FaceStore, placement: Placement) -> dict[str, FaceTensors]:
    splits = {}
    for split in SPLITS:
        rows = store.rows(split)
        images = torch.from_numpy(np.ascontiguousarray(store.images_NHW[rows]))
        labels = torch.from_numpy(np.ascontiguousarray(store.labels_N[rows]))
        splits[split] = FaceTensors(images.to(placement.device), labels.to(placement.device))
    return splits


def _make_trainer(store: FaceStore, train: FaceTensors, config: RunConfig, placement: Placement) -> Trainer:
    torch.manual_seed(config.seed)
    model = create_model(config.model, num_classes=len(store.classes))
    model.normalise_by(*grey_statistics(train.images_NHW))
    model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    balance = plan_balance(store.counts_SK[SPLITS.index("train")], config)
    return Trainer(model, train, balance, config, placement)


def grey_statistics(images_NHW: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of all pixels, in 0..1 units; from a histogram, so exact and without a float copy."""
    parts = (torch.bincount(part.flatten(), minlength=256) for part in images_NHW.split(4096))
    counts = torch.stack(list(parts)).sum(0).double()
    levels = torch.arange(256, device=counts.device) / 255
    mean = (counts * levels).sum() / counts.sum()
    variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
    return mean.item(), max(variance.sqrt().item(), 1 / 255)  # a store of one grey level must not divide by zero


def _resume(run: Run, trainer: Trainer, store: FaceStore) -> list[EpochRecord]:
    """Put the trainer where the last checkpoint left it, and give the history up to there."""
    if not run.last.exists():
        return []
    trained_on = run.environment().get("data", {}).get("fingerprint")
    if trained_on != store.fingerprint:
        raise RunError(
            f"run {run.name!r} was trained on other data ({store.source} has fingerprint {store.fingerprint}, "
            f"the run {trained_on}); give back that data, or train a new run."
        )
    trainer.load_state(load_checkpoint(run.last))
    return run.history()[: trainer.epochs_done]


def _environment(store: FaceStore, trainer: Trainer) -> dict[str, Any]:
    data = {
        "source": store.source,
        "kind": store.kind,
        "fingerprint": store.fingerprint,
        "counts": store.counts(),
        "classes": list(store.classes),
        "notes": list(store.notes),
        "is_fer2013": store.is_fer2013,
    }
    return {
        **describe_environment(),
        "placement": str(trainer.placement),
        "threads": torch.get_num_threads(),
        "parameters": parameter_count(trainer.model),
        "data": data,
    }


def _predict(
    run: Run, model: torch.nn.Module, store: FaceStore, splits: dict[str, FaceTensors]
) -> dict[str, SplitPredictions]:
    """The answers of the weights that `public` chose; `model` lends its structure and its device."""
    load_weights(run.best, model)
    return {split: _predict_split(model, store, split, faces) for split, faces in splits.items()}


def _predict_split(model: torch.nn.Module, store: FaceStore, split: str, faces: FaceTensors) -> SplitPredictions:
    rows = store.rows(split)
    return SplitPredictions(
        rows_N=rows,
        hashes_N=store.hashes_N[rows],
        labels_N=store.labels_N[rows],
        logits_NK=predict_logits(model, faces.images_NHW).cpu().numpy(),
        classes=store.classes,
        fingerprint=store.fingerprint,
    )
