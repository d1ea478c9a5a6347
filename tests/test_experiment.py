"""From a configuration to a finished run: what training may see, what a run leaves behind, who may go on with it."""

import itertools
import json
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from fer_core import experiment
from fer_core.data import FaceStore, open_store
from fer_core.environment import source_hash
from fer_core.errors import ConfigError, DataError, RunError
from fer_core.evaluate import evaluate
from fer_core.experiment import check_trainable, train_run
from fer_core.labels import EMOTIONS
from fer_core.models import create_model, parameter_count
from fer_core.run_model import load_model
from fer_core.runs import EpochRecord, Run, create_run
from fer_core.train import loop
from fer_core.train.loop import Trainer
from fer_core.views import predict_logits
from tests.faces import write_csv
from tests.toy import striped_faces, toy_config, toy_csv

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """35 faces to train with: batches of 16, 16 and 3; 21 public and 28 private ones."""
    return toy_csv(tmp_path_factory.mktemp("data") / "fer2013.csv")


class Seen:
    """A whole training and what a spy noted of it."""

    def __init__(self, folder: Path, data: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("FER_CACHE", str(folder / "cache"))
            patch.setenv("FER_RUNS", str(folder / "runs"))
            self.trained_on: list[bytes] = []
            patch.setattr(experiment, "Trainer", lambda model, train, *rest: self._spied(model, train, *rest))
            self.run = create_run(toy_config(**self.settings(data)), "whole")
            self.records: list[EpochRecord] = []
            self.shares: list[float] = []
            self.random_before = torch.get_rng_state()
            train_run(self.run, on_epoch=self.records.append, on_step=self.shares.append)
            self.random_after = torch.get_rng_state()
            self.store: FaceStore = open_store(str(data))

    @staticmethod
    def settings(data: Path) -> dict[str, Any]:
        return {"data": str(data), "epochs": 3, "augment": "none", "seed": 3, "views": ("flip", "ten-crop")}

    def _spied(self, model: Any, train: Any, *rest: Any) -> Trainer:
        self.trained_on = [image.numpy().tobytes() for image in train.images_NHW]
        self.trained_labels = train.labels_N.tolist()
        self.start_mean, self.start_std = model.mean.item(), model.std.item()
        return Trainer(model, train, *rest)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Seen:
    return Seen(tmp_path_factory.mktemp("whole"), data)


QUICK = {"tensorboard": False, "views": ("none",)}


def new_run(data: Path, name: str = "one", **config: Any) -> Run:
    return create_run(toy_config(**{"data": str(data), **QUICK, **config}), name)


def stop_after(run: Run, steps: int) -> Any:
    """An `on_step` that asks for a stop as the app does, at this step."""
    done = []

    def on_step(share: float) -> None:
        done.append(share)
        if len(done) == steps:
            run.stop_file.touch()

    return on_step


def tensors(path: Path) -> dict[str, bytes]:
    model = torch.load(path, weights_only=True)["model"]
    return {key: value.numpy().tobytes() for key, value in model.items()}


def timeless(run: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in asdict(r).items() if k not in ("wall_s", "images_per_s")} for r in run.history()]


def test_a_run_that_is_judged_for_long_goes_on_saying_that_it_is_alive(data, monkeypatch):
    said: list[tuple[str, float]] = []
    update = Run.update_status

    def note(self: Run, **values: Any) -> None:
        update(self, **values)
        said.append((self.status().message, self.status().heartbeat))

    monkeypatch.setattr(Run, "update_status", note)
    monkeypatch.setattr(experiment, "_HEARTBEAT_S", -1.0)
    train_run(new_run(data, epochs=1, views=("none", "flip")))
    judging = [heartbeat for message, heartbeat in said if message == "judging the best epoch"]
    assert len(judging) == 1 + 2 * (1 + 2), "once as it begins, then at each look: two splits, as they are and mirrored"
    assert judging == sorted(judging)
    steps = 3
    assert [message for message, _ in said].count("training") >= 1 + steps + 1, (
        "at each step, and while public is judged"
    )


# --- what training may see ------------------------------------------------------------------------------------------


def test_training_sees_the_train_split_and_not_one_face_more(whole):
    train = whole.store.rows("train")
    assert len(whole.trained_on) == 35
    assert whole.trained_on == [image.tobytes() for image in whole.store.images_NHW[train]]
    assert whole.trained_labels == whole.store.labels_N[train].tolist()
    held_out = {
        image.tobytes() for split in ("public", "private") for image in whole.store.images_NHW[whole.store.rows(split)]
    }
    assert len(held_out) == 49 and not held_out & set(whole.trained_on)


def test_private_is_not_read_before_the_training_is_over(data, monkeypatch):
    run, states = new_run(data, epochs=2, views=("flip", "ten-crop")), []
    store = open_store(str(data))
    private = {image.tobytes() for image in store.images_NHW[store.rows("private")]}

    def spied(model: Any, images: torch.Tensor, view: str, *rest: Any, **more: Any) -> torch.Tensor:
        if images[0].numpy().tobytes() in private:
            states.append((len(run.history()), len(images), view))
        return predict_logits(model, images, view, *rest, **more)

    monkeypatch.setattr(loop, "predict_logits", spied)
    train_run(run)
    assert states == [(2, 28, view) for view in ("none", "flip", "ten-crop")], "once by each view, after both epochs"


def test_the_pictures_of_private_are_not_even_taken_before(data, monkeypatch):
    run, taken, original = new_run(data, epochs=2), [], experiment._tensors

    def spied(view: FaceStore, split: str, device: torch.device) -> Any:
        taken.append((split, len(run.history())))
        return original(view, split, device)

    monkeypatch.setattr(experiment, "_tensors", spied)
    train_run(run)
    assert taken == [("train", 0), ("public", 0), ("public", 2), ("private", 2)]


def test_faces_are_normalised_by_the_train_split_alone(whole):
    pixels = whole.store.images_NHW[whole.store.rows("train")] / 255
    assert (whole.start_mean, whole.start_std) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-5)
    best = torch.load(whole.run.best, weights_only=True)["model"]
    assert best["mean"].item() == pytest.approx(whole.start_mean) and best["std"].item() == pytest.approx(
        whole.start_std
    )


# --- what a finished run leaves behind ------------------------------------------------------------------------------


def test_a_finished_run_is_done_and_says_so(whole):
    status = whole.run.status()
    assert (status.state, status.epoch, status.progress, status.message) == ("done", 3, 1.0, "")
    assert status.pid == os.getpid() and not whole.run.stop_file.exists()


def test_the_history_is_what_the_caller_was_told(whole):
    assert [record.epoch for record in whole.records] == [1, 2, 3]
    assert whole.run.history() == whole.records
    assert whole.shares == pytest.approx([step / 9 for step in range(1, 10)])


@pytest.mark.parametrize(("split", "n"), [("public", 21), ("private", 28)])
def test_predictions_stand_on_their_own(whole, split, n):
    found, rows = whole.run.predictions(split), whole.store.rows(split)
    assert found.rows_N.tolist() == rows.tolist() and len(rows) == n
    assert found.hashes_N.tolist() == whole.store.hashes_N[rows].tolist()
    assert found.labels_N.tolist() == whole.store.labels_N[rows].tolist()
    assert found.classes == EMOTIONS and found.fingerprint == whole.store.fingerprint
    assert found.logits_NK.shape == (n, 7) and found.logits_NK.dtype == np.float32
    with np.load(whole.run.path / "predictions.npz", allow_pickle=False) as file:
        assert {f"{split}_{key}" for key in ("rows", "hashes", "labels", "logits")} <= set(file)


def test_predictions_are_those_of_the_best_weights(whole):
    images = torch.from_numpy(np.ascontiguousarray(whole.store.images_NHW[whole.store.rows("private")]))
    model = load_model(whole.run)
    assert not model.training
    logits = predict_logits(model, images).numpy()
    assert np.abs(logits - whole.run.predictions("private").logits_NK).max() < 1e-5


def test_the_best_weights_are_those_of_the_best_public_epoch(whole):
    found = whole.run.predictions("public")
    report = evaluate(found.logits_NK, found.labels_N, found.classes)
    accuracies = [record.public_accuracy for record in whole.records]
    best = torch.load(whole.run.best, weights_only=True)["epoch"]
    assert best == accuracies.index(max(accuracies)) + 1
    assert report.accuracy == max(accuracies)
    assert report.log_loss == pytest.approx(whole.records[best - 1].public_loss, rel=1e-5)


def test_an_easy_signal_is_learned(data):
    run = new_run(data, epochs=6, augment="none", batch_size=8, label_smoothing=0.0)
    train_run(run)
    found = run.predictions("private")
    assert evaluate(found.logits_NK, found.labels_N, found.classes).accuracy > 0.7


@pytest.mark.parametrize("select_by", ["accuracy", "macro_f1", "loss"])
def test_select_by_decides_whose_weights_are_kept(data, select_by):
    run = new_run(data, epochs=3, select_by=select_by)
    train_run(run)
    history = run.history()
    values = [
        {"accuracy": r.public_accuracy, "macro_f1": r.public_macro_f1, "loss": -r.public_loss}[select_by]
        for r in history
    ]
    epoch = torch.load(run.best, weights_only=True)["epoch"]
    assert epoch == values.index(max(values)) + 1
    found = run.predictions("public")
    report = evaluate(found.logits_NK, found.labels_N, found.classes)
    assert report.log_loss == pytest.approx(history[epoch - 1].public_loss, rel=1e-5)


def test_the_environment_names_machine_versions_code_and_data(whole):
    environment = json.loads((whole.run.path / "environment.json").read_text())
    assert torch.__version__.startswith(environment["libraries"]["torch"])  # without +cu132 or the like
    assert environment["libraries"]["numpy"] == np.__version__
    assert environment["machine"] and environment["cores"] == os.cpu_count() and environment["python"].startswith("3.")
    assert environment["code"]["source_hash"] == source_hash() and environment["code"]["version"]
    assert environment["placement"].startswith("cpu fp32") and environment["threads"] == 1
    assert environment["parameters"] == parameter_count(create_model("small"))
    data = environment["data"]
    assert data["fingerprint"] == whole.store.fingerprint and data["classes"] == list(EMOTIONS)
    assert data["counts"] == {s: dict.fromkeys(EMOTIONS, n) for s, n in (("train", 5), ("public", 3), ("private", 4))}
    assert data["kind"] == "csv" and data["is_fer2013"] is False and data["source"] == whole.store.source


def test_a_run_that_stops_early_is_done_with_predictions_on_private(data):
    run = new_run(data, epochs=8, patience=1, lr=1e-9)
    train_run(run)
    assert len(run.history()) == 2
    assert run.status().state == "done" and run.splits() == ("public", "private")


def test_a_run_that_runs_out_of_time_is_done_with_predictions_on_private(data, monkeypatch):
    seconds = itertools.count()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: float(next(seconds))))  # 4 s an epoch
    run = new_run(data, epochs=8, time_limit_min=0.15)
    train_run(run)
    assert [record.wall_s for record in run.history()] == [4, 8]
    assert run.status().state == "done" and run.splits() == ("public", "private")


def test_the_best_weights_say_what_net_they_belong_to(data):
    run = new_run(data, epochs=1, image_size=32, channels=3, head_hidden=8, freeze_until="blocks.1")
    train_run(run)
    saved = torch.load(run.best, weights_only=True)
    assert saved["architecture"] == {
        "name": "small", "in_channels": 3, "num_classes": 7, "image_size": 32, "freeze_until": "blocks.1",
        "head_hidden": 8, "head_batch_norm": False, "head_dropout": 0.0, "normalisation": "data",
        "crop": 0.0,
    }  # fmt: skip
    model = create_model(**saved["architecture"], weights=saved["model"])
    found = predict_logits(model, private_images(open_store(str(data)))).numpy()
    # The run judges by pictures that were resized as in training, the net resizes by itself: nearly the same.
    assert np.abs(found - run.predictions("private").logits_NK).max() < 1e-3
    environment = run.environment()
    assert environment["parameters"] == parameter_count(model) and environment["frozen_share"] == model.frozen_share > 0
    assert environment["multiply_adds"] > 0 and environment["weights"] == "fresh weights"


def test_a_run_goes_on_when_what_it_started_from_is_gone(data, tmp_path):
    start = tmp_path / "start.pt"
    torch.save(create_model("small").state_dict(), start)
    run = new_run(data, epochs=2, weights=str(start))
    train_run(run, on_epoch=lambda record: run.stop_file.touch())
    assert run.status().state == "stopped"
    before = run.environment()["weights"]
    start.unlink()
    run.requeue()
    train_run(run)
    assert (run.status().state, run.environment()["weights"]) == ("done", before)
    assert before != "fresh weights"


# --- what cannot be trained -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"freeze_until": "layer3"}, "freeze_until: no layer named 'layer3' in small. At the top level: stem, "),
        ({"weights": "nowhere"}, "--weights nowhere: neither none, imagenet nor a file, and no run named 'nowhere' in"),
        ({"weights": "imagenet"}, "weights: there are no ImageNet weights for 'small'."),
    ],
)
def test_what_cannot_be_trained_is_refused_before_there_is_a_run(data, config, message):
    with pytest.raises(ConfigError) as caught:
        check_trainable(toy_config(**config), open_store(str(data)))
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_a_check_draws_nothing_from_the_callers_random_state(data):
    before = torch.get_rng_state()
    check_trainable(toy_config(), open_store(str(data)))
    assert torch.equal(torch.get_rng_state(), before)


# --- test-time views ------------------------------------------------------------------------------------------------


def private_images(store: FaceStore) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(store.images_NHW[store.rows("private")]))


def test_a_run_is_judged_by_every_view_and_chosen_by_the_plain_one(whole):
    for split in ("public", "private"):
        assert whole.run.views(split) == ("none", "flip", "ten-crop")
        answers = [whole.run.predictions(split, view).logits_NK.tobytes() for view in whole.run.views(split)]
        assert len(set(answers)) == 3


def test_the_flip_view_is_the_mean_of_a_face_and_its_mirror_image(whole):
    model, images = load_model(whole.run), private_images(whole.store)
    mean = (predict_logits(model, images) + predict_logits(model, images.flip(2))) / 2
    assert np.abs(mean.numpy() - whole.run.predictions("private", "flip").logits_NK).max() < 1e-5


@pytest.mark.parametrize("view", ["none", "flip", "ten-crop"])
def test_a_restored_net_gives_the_answers_of_each_view(whole, view):
    logits = predict_logits(load_model(whole.run), private_images(whole.store), view)
    assert np.abs(logits.numpy() - whole.run.predictions("private", view).logits_NK).max() < 1e-5


def test_only_the_views_that_were_asked_for_are_taken(data):
    run = new_run(data, epochs=1, views=("flip",))
    train_run(run)
    assert run.views("private") == ("none", "flip")
    with pytest.raises(RunError) as caught:
        run.predictions("private", "ten-crop")
    assert str(caught.value) == (
        "run 'one' was not judged by the view 'ten-crop' (it has: none, flip). Name it in --views when you train."
    )


def test_a_net_that_learned_from_crops_is_judged_by_such_crops(data):
    run = new_run(data, epochs=1, augment_steps=("crop:0.25",), image_size=24, views=("ten-crop",))
    train_run(run)
    images = private_images(open_store(str(data)))
    for view in ("none", "ten-crop"):
        logits = predict_logits(load_model(run), images, view, crop=0.25, size=24).numpy()
        assert np.abs(logits - run.predictions("private", view).logits_NK).max() < 1e-5


# --- randomness -----------------------------------------------------------------------------------------------------


def trained_logits(data: Path, name: str, **config: Any) -> bytes:
    run = new_run(data, name, epochs=1, **config)
    train_run(run)
    return run.predictions("private").logits_NK.tobytes()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_equal_configurations_give_identical_predictions_and_another_seed_others(data, precision):
    first = trained_logits(data, "a", precision=precision, seed=1)
    torch.manual_seed(12345)  # what the process drew before must not matter
    assert trained_logits(data, "b", precision=precision, seed=1) == first
    assert trained_logits(data, "c", precision=precision, seed=2) != first


def test_the_callers_random_state_is_left_alone(whole):
    assert torch.equal(whole.random_before, whole.random_after)


# --- stop, resume, refuse -------------------------------------------------------------------------------------------


def test_a_run_stopped_before_its_first_epoch_has_no_predictions_and_can_go_on(data):
    run = new_run(data)
    train_run(run, on_step=stop_after(run, 1))
    assert run.status().state == "stopped" and run.splits() == () and run.history() == []
    assert not run.stop_file.exists() and run.last.exists() and not run.best.exists()
    with pytest.raises(RunError, match=r"^run 'one' has no predictions; it is stopped. Train or resume it first.$"):
        run.predictions("public")
    train_run(run)
    assert run.status().state == "done" and len(run.history()) == 2


def test_a_stopped_run_is_judged_on_public_alone(data):
    run = new_run(data, epochs=3)
    train_run(run, on_step=stop_after(run, 5))
    status = run.status()
    assert (status.state, status.epoch, len(run.history())) == ("stopped", 1, 1)
    assert run.splits() == ("public",)
    with pytest.raises(RunError) as caught:
        run.predictions("private")
    assert str(caught.value) == (
        "run 'one' has no predictions on 'private' (it has: public). "
        "private is read once, when a training ends by itself; resume a stopped run to get there."
    )


def test_progress_of_a_stopped_run_is_what_it_has_done(data):
    run = new_run(data, epochs=3)
    train_run(run, on_step=stop_after(run, 5))
    assert run.status().progress == pytest.approx(5 / 9)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("steps", [[2], [3], [1, 4]], ids=["mid-epoch", "end of epoch", "twice"])
def test_a_resumed_run_ends_bit_for_bit_like_an_uninterrupted_one(data, precision, steps):
    config = {"precision": precision, "batch_size": 12, "balance": "sampler"}  # batches of 12, 12 and 11
    straight, broken = new_run(data, "straight", **config), new_run(data, "broken", **config)
    train_run(straight)
    for step in steps:
        train_run(broken, on_step=stop_after(broken, step))
        assert broken.status().state == "stopped"
    train_run(broken)
    assert broken.status().state == "done"
    assert timeless(broken) == timeless(straight)
    assert tensors(broken.best) == tensors(straight.best) and tensors(broken.last) == tensors(straight.last)
    for split in ("public", "private"):
        assert broken.predictions(split).logits_NK.tobytes() == straight.predictions(split).logits_NK.tobytes()


def test_a_run_that_was_killed_between_epochs_goes_on_from_the_last_one(data):
    straight, killed = new_run(data, "straight"), new_run(data, "killed")
    train_run(straight)

    class Killed(BaseException):
        pass

    def die(record: EpochRecord) -> None:
        raise Killed

    with pytest.raises(Killed):
        train_run(killed, on_epoch=die)
    assert killed.status().state == "failed"
    train_run(killed)
    assert timeless(killed) == timeless(straight) and tensors(killed.best) == tensors(straight.best)


def test_a_history_ahead_of_its_checkpoint_is_cut_back(data):
    run = new_run(data, epochs=3)
    train_run(run, on_step=stop_after(run, 5))
    first = run.history()
    run.write_history([*first, *first])  # killed after the history was written, before the checkpoint was
    train_run(run)
    assert [record.epoch for record in run.history()] == [1, 2, 3]


def test_a_done_run_is_not_trained_again(whole):
    before = {path.name: path.read_bytes() for path in whole.run.path.iterdir()}
    with pytest.raises(RunError, match=r"^run 'whole' is done; train a new one instead.$"):
        train_run(whole.run)
    assert {path.name: path.read_bytes() for path in whole.run.path.iterdir()} == before


def test_a_run_that_another_process_trains_is_left_alone(data):
    run = new_run(data)
    before = run.status()
    with FileLock(run.path / "lock"), pytest.raises(RunError) as caught:
        train_run(run)
    assert str(caught.value) == "run 'one' is being trained by another process."
    assert run.status() == before and not run.last.exists()


def test_resuming_on_changed_data_is_refused(tmp_path):
    data = toy_csv(tmp_path / "fer2013.csv")
    run = new_run(data)
    train_run(run, on_step=stop_after(run, 4))
    trained_on = run.environment()["data"]["fingerprint"]
    last = run.last.read_bytes()
    write_csv(data, striped_faces(train=6, seed=1))
    with pytest.raises(RunError) as caught:
        train_run(run)
    now = open_store(str(data)).fingerprint
    assert now != trained_on
    assert str(caught.value) == (
        f"run 'one' was trained on other data ({data} has fingerprint {now}, the run {trained_on}); "
        "give back that data, or train a new run."
    )
    assert run.status().state == "failed" and run.status().message == str(caught.value)
    assert run.environment()["data"]["fingerprint"] == trained_on and run.last.read_bytes() == last
    toy_csv(data)
    train_run(run)
    assert run.status().state == "done"


def test_resuming_from_a_damaged_checkpoint_is_refused(data):
    run = new_run(data)
    train_run(run, on_step=stop_after(run, 4))
    run.last.write_bytes(run.last.read_bytes()[:1000])
    with pytest.raises(RunError, match="not a checkpoint that can be read safely"):
        train_run(run)
    assert run.status().state == "failed" and "\n" not in run.status().message


def test_missing_data_fails_the_run_with_one_line(tmp_path):
    run = new_run(tmp_path / "nothing.csv")
    with pytest.raises(DataError):
        train_run(run)
    assert run.status().state == "failed"
    assert run.status().message == (
        f"{tmp_path / 'nothing.csv'}: no such file or folder. "
        "Give a fer2013.csv, an image folder, an archive of either, or 'sample'."
    )


@pytest.mark.parametrize("missing", ["train", "public", "private"])
def test_data_without_one_of_the_splits_is_refused(tmp_path, missing):
    data = toy_csv(tmp_path / "fer2013.csv", **{missing: 0})
    with pytest.raises(DataError) as caught:
        train_run(new_run(data))
    assert str(caught.value) == (f"{data}: no faces in split {missing!r}; training needs train, public and private.")


def test_an_emotion_without_a_face_is_left_alone_by_balancing(tmp_path):
    faces = striped_faces()
    keep = faces.labels_N != 1
    data = write_csv(
        tmp_path / "fer2013.csv", type(faces)(faces.images_NHW[keep], faces.labels_N[keep], faces.splits_N[keep])
    )
    for balance in ("sampler", "weights"):
        run = new_run(data, balance, balance=balance, epochs=1)
        train_run(run)
        assert run.status().state == "done"


def test_a_diverging_run_fails_with_one_line_and_keeps_its_history(data, monkeypatch):
    original = experiment.Trainer._train_step

    def exploding(self: Trainer, rows: torch.Tensor) -> None:
        original(self, rows)
        if self.step > 3:  # what a rate far too high does to the weights, and through them to all that follows
            self.model.net.head.weight.data.fill_(float("inf"))

    monkeypatch.setattr(experiment.Trainer, "_train_step", exploding)
    run = new_run(data, epochs=3)
    with pytest.raises(RunError):
        train_run(run)
    status = run.status()
    assert status.state == "failed" and len(run.history()) == 1
    assert status.message == "the training diverged in epoch 2: the loss is no longer finite. Try a lower --lr."


def test_an_error_of_ours_is_recorded_with_its_type(data):
    run = new_run(data)

    def broken(share: float) -> None:
        raise KeyError("surprise")

    with pytest.raises(KeyError):
        train_run(run, on_step=broken)
    assert (run.status().state, run.status().message) == ("failed", "KeyError: 'surprise'")


def test_a_model_can_only_be_loaded_from_a_run_that_has_one(data):
    run = new_run(data)
    with pytest.raises(RunError):
        load_model(run)
    train_run(run, on_step=stop_after(run, 1))
    with pytest.raises(RunError):
        load_model(run)
