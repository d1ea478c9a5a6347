"""From a configuration to a finished run: the only place where data, model, training and evaluation meet.

Training sees `train`. `public` selects the epoch. `private` is read once, at the end, by the weights that `public`
chose; a stopped run does not read it. A run with folds sees `train` without one fold, answers that fold at the end, and
does not read `private` at all.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fer_core.augment import augment_bytes
from fer_core.balance import plan_balance
from fer_core.catalog import HELD_OUT
from fer_core.config import RunConfig
from fer_core.data import FaceStore, open_store, resolve_config
from fer_core.data.labelling import judged_by
from fer_core.data.views import AppliedReview, held_out_rows, judged_view, reviewed_view
from fer_core.environment import describe_environment
from fer_core.errors import DataError, FerError, RunError
from fer_core.labels import SPLITS
from fer_core.models import ModelCost
from fer_core.plugins import plugin_digest
from fer_core.predictions import SplitPredictions, report_on
from fer_core.run_model import architecture, cost_of, make_model
from fer_core.runs import EpochRecord, Run
from fer_core.train.checkpoint import load_checkpoint, load_weights, save_checkpoint, save_weights
from fer_core.train.loop import FaceTensors, Trainer
from fer_core.train.placement import Placement, choose_placement, keep_depthwise_in_float32, keep_freed_memory
from fer_core.train.tensorboard import TensorBoardLog, tensorboard_missing

_HEARTBEAT_S = 1.0
"""How often, at most, the loop writes its status."""
_COPIED_AT_ONCE = 4096
_LOGGED_FACES = 32
"""A sample of augmented faces for TensorBoard."""

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


@dataclass(frozen=True)
class _Faces:
    """What a run works on: the open store, its view for training, and its view for judging."""

    store: FaceStore
    train: FaceStore
    judged: FaceStore
    held_out_rows: NDArray[np.int64]
    """The fold of `train` that is not trained on; none without folds."""
    review: AppliedReview | None

    def view(self, split: str) -> FaceStore:
        return self.train if split == "train" else self.judged

    def rows(self, split: str) -> NDArray[np.int64]:
        """Those of the view; of the held-out fold, those that the view judges by."""
        if split == HELD_OUT:
            return np.intersect1d(self.held_out_rows, self.judged.rows("train"))
        return self.view(split).rows(split)

    def learned_rows(self, split: str) -> NDArray[np.int64]:
        """Rows of `train` among which copies of this split's faces are looked for.

        All of `train`, also what this run left out: the figure without copies has the same n in each run. Only the fold
        that is held out would be told from itself.
        """
        rows = self.store.rows("train")
        return np.setdiff1d(rows, self.held_out_rows) if split == HELD_OUT else rows


def check_trainable(config: RunConfig, store: FaceStore) -> ModelCost:
    """Make sure that this configuration can be trained on this store, on this machine; pretrained weights are fetched.

    Returns: the size of its net. Raises: FerError: it cannot.
    """
    faces = _faces(config, store)
    _check(config, faces)
    with torch.random.fork_rng():
        make_model(config, faces.train, torch.zeros(1, 1, 1, dtype=torch.uint8))
    return cost_of(config, faces.train)


def _faces(config: RunConfig, store: FaceStore) -> _Faces:
    train, review = reviewed_view(store, config)
    return _Faces(store, train, judged_view(store, config), held_out_rows(store, config), review)


def _check(config: RunConfig, faces: _Faces) -> None:
    for split in SPLITS:
        if not len(faces.rows(split)):
            source = faces.store.source
            raise DataError(f"{source}: no faces in split {split!r}; training needs train, public and private.")
    plan_balance(faces.train.counts_SK[SPLITS.index("train")], config)
    choose_placement(config.device, config.precision)


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
    faces = _faces(config, open_store(config.data, ferplus=config.ferplus))
    _check(config, faces)
    placement = choose_placement(config.device, config.precision)
    keep_freed_memory()
    train, public = (_tensors(faces, split, placement.device) for split in ("train", "public"))
    begun = run.last.exists()
    # What a resumed run started from lies in its checkpoint; the file or run that it came from may be gone.
    trainer = _make_trainer(faces.train, train, config.changed(weights="none") if begun else config, placement)
    history = _resume(run, trainer, faces)
    weights = run.environment().get("weights", "") if begun else getattr(trainer.model, "loaded", "")
    run.write_environment(_environment(faces, config, trainer) | {"weights": weights})
    with _logged(run, config, train, len(history)) as log:
        watch = _Watch(run, trainer, on_step)
        for record in _epochs(run, trainer, faces, public, watch):
            history.append(record)
            run.write_history(history)
            save_checkpoint(run.last, trainer.state())
            if log:
                log.epoch(record, trainer.rates())
            on_epoch(record)
        if trainer.stopped:
            save_checkpoint(run.last, trainer.state())
        if history:
            _judge(run, trainer, faces, watch, log)
    run.stop_file.unlink(missing_ok=True)
    if trainer.stopped:
        run.update_status(state="stopped", message="")
    else:
        run.update_status(state="done", message="", progress=1.0)  # early stopping is an end too


def _epochs(run: Run, trainer: Trainer, faces: _Faces, public: FaceTensors, watch: "_Watch") -> Iterator[EpochRecord]:
    """The trainer's epochs; the weights of the best so far are kept."""
    net = architecture(trainer.config, len(faces.train.classes), faces.store.image_size)
    for record in trainer.epochs(public, faces.judged.classes, watch, watch.beat):
        if trainer.improved:
            save_weights(run.best, trainer.evaluated_model, record.epoch, net)
        yield record
        watch.write(record.epoch)
    if trainer.stopped:
        watch.write(trainer.epochs_done)


def _judge(run: Run, trainer: Trainer, faces: _Faces, watch: "_Watch", log: TensorBoardLog | None) -> None:
    """Write the answers of the weights that `public` chose; those on `private`, or instead on the fold that was held
    out, only where the training is complete."""
    run.update_status(message="judging the best epoch")
    last = HELD_OUT if trainer.config.folds else "private"
    splits = ("public",) if trainer.stopped else ("public", last)
    predictions = _predict(run, trainer, faces, splits, watch)
    run.write_predictions(predictions)
    if log:
        for split, answers in predictions.items():
            log.confusion(split, report_on(answers).confusion_KK, answers.classes)


class _Watch:
    """What happens after each batch: a heartbeat now and then, the caller's progress, and a look for the stop file."""

    def __init__(self, run: Run, trainer: Trainer, on_step: OnStep) -> None:
        self.run, self.trainer, self.on_step = run, trainer, on_step
        self.written = 0.0
        self.write(trainer.epochs_done)

    def __call__(self, share: float) -> bool:
        self.on_step(share)
        if self._is_due:
            self.write(self.trainer.epochs_done)
        return self.run.stop_file.exists()

    def beat(self) -> None:
        """While faces are judged: at 224 pixels that may take so long that the run would be taken for lost."""
        if self._is_due:
            self.run.update_status()
            self.written = time.monotonic()

    def write(self, epoch: int) -> None:
        share = self.trainer.step / self.trainer.total_steps
        self.run.update_status(epoch=epoch, progress=share, message="training")
        self.written = time.monotonic()

    @property
    def _is_due(self) -> bool:
        return time.monotonic() - self.written > _HEARTBEAT_S


def _tensors(faces: _Faces, split: str, device: torch.device) -> FaceTensors:
    """A split's faces on the device. What is read of the mapped store is let go, so that it does not count twice."""
    view, rows = faces.view(split), faces.rows(split)
    images = np.empty((len(rows), *view.images_NHW.shape[1:]), np.uint8)
    for start in range(0, len(rows), _COPIED_AT_ONCE):
        part = slice(start, start + _COPIED_AT_ONCE)
        images[part] = view.images_NHW[rows[part]]
        view.let_go()
    columns = (images, view.labels_N[rows], None if view.targets_NK is None else view.targets_NK[rows])
    parts = (None if one is None else torch.from_numpy(np.ascontiguousarray(one)).to(device) for one in columns)
    return FaceTensors(*parts)  # type: ignore[arg-type]  # only the targets can be None


def _make_trainer(store: FaceStore, train: FaceTensors, config: RunConfig, placement: Placement) -> Trainer:
    torch.manual_seed(config.seed)
    model = make_model(config, store, train.images_NHW)
    keep_depthwise_in_float32(model, placement)
    model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    balance = plan_balance(store.counts_SK[SPLITS.index("train")], config)
    return Trainer(model, train, balance, config, placement)


@contextmanager
def _logged(run: Run, config: RunConfig, train: FaceTensors, epochs_done: int) -> Iterator[TensorBoardLog | None]:
    """The run's log for TensorBoard, with a sample of faces as the net sees them; None where it is not wanted."""
    if not config.tensorboard or tensorboard_missing():
        yield None
        return
    with closing(TensorBoardLog(run.path, epochs_done)) as log:
        sample = train.images_NHW[:_LOGGED_FACES].cpu().numpy()
        generator = torch.Generator().manual_seed(config.seed)
        log.faces(augment_bytes(sample, config.augmentation(), generator, config.image_size))
        yield log


def _resume(run: Run, trainer: Trainer, faces: _Faces) -> list[EpochRecord]:
    """Put the trainer where the last checkpoint left it, and give the history up to there."""
    if not run.last.exists():
        return []
    record, store = run.environment(), faces.train
    if faces.review and (record.get("review") or {}).get("digest") != faces.review.digest:
        raise RunError(
            f"{trainer.config.review} has changed since run {run.name!r} was begun; "
            "undo the marks made since, or train a new run."
        )
    trained_on = record.get("data", {}).get("fingerprint")
    if trained_on != store.fingerprint:
        raise RunError(
            f"run {run.name!r} was trained on other data ({store.source} has fingerprint {store.fingerprint}, "
            f"the run {trained_on}); give back that data, or train a new run."
        )
    plugin = trainer.config.plugin
    if plugin and record.get("plugin_sha256") != plugin_digest(plugin):
        raise RunError(f"{plugin} has changed since run {run.name!r} was begun; put it back, or train a new run.")
    trainer.load_state(load_checkpoint(run.last))
    return run.history()[: trainer.epochs_done]


def _environment(faces: _Faces, config: RunConfig, trainer: Trainer) -> dict[str, Any]:
    store = faces.store
    data = {
        "source": store.source,
        "kind": store.kind,
        "fingerprint": faces.train.fingerprint,
        "image_size": store.image_size,
        "counts": {split: faces.view(split).counts()[split] for split in SPLITS},
        "classes": list(faces.train.classes),
        "notes": list(store.notes),
        "is_fer2013": store.is_fer2013,
        "judged_by": judged_by(config.labels),
    }
    cost = cost_of(config, faces.train)
    return {
        **describe_environment(),
        "plugin_sha256": plugin_digest(config.plugin) if config.plugin else None,
        "review": asdict(faces.review) if faces.review else None,
        "placement": str(trainer.placement),
        "accelerator": trainer.placement.accelerator,
        "threads": torch.get_num_threads(),
        "parameters": cost.parameters,
        "multiply_adds": cost.multiply_adds,
        "frozen_share": cost.frozen_share,
        "tensorboard": config.tensorboard and (tensorboard_missing() or True),
        "data": data,
    }


def _predict(
    run: Run, trainer: Trainer, faces: _Faces, splits: Iterable[str], watch: _Watch
) -> dict[str, SplitPredictions]:
    """The answers of the weights that `public` chose; the trainer lends its model's structure and its device.

    Here, and nowhere before, the pictures of `private` (or of the fold that is held out) are read.
    """
    load_weights(run.best, trainer.evaluated_model)
    return {split: _predict_split(trainer, faces, split, watch) for split in splits}


def _predict_split(trainer: Trainer, faces: _Faces, split: str, watch: _Watch) -> SplitPredictions:
    view, rows = faces.judged, faces.rows(split)
    images = _tensors(faces, split, trainer.placement.device).images_NHW
    logits = {look: trainer.predict(images, look, watch.beat).cpu().numpy() for look in trainer.config.views}
    return SplitPredictions(
        rows_N=rows,
        hashes_N=view.hashes_N[rows],
        labels_N=view.labels_N[rows],
        logits_NK=logits.pop("none"),
        classes=view.classes,
        fingerprint=view.fingerprint,
        in_train_N=np.isin(view.hashes_N[rows], faces.store.hashes_N[faces.learned_rows(split)]),
        more_NK=logits,
    )
