"""A run's net: made from a configuration, with weights by name, run or file, and restored from `best.pt`."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import nn

from fer_core import experiment
from fer_core.config import RunConfig
from fer_core.errors import ConfigError, RunError
from fer_core.labels import EMOTIONS
from fer_core.models import FaceClassifier, create_model, parameter_count
from fer_core.run_model import architecture, cost_of, grey_statistics, load_model, make_model
from fer_core.runs import Run, create_run
from fer_core.train.checkpoint import save_checkpoint, save_weights
from fer_core.views import predict_logits, shown
from tests.faces import make_faces, store_of, write_run
from tests.toy import toy_config

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = toy_config(model="small", head_hidden=8, head_dropout=0.2, freeze_until="blocks", channels=3, image_size=32)
FACES = torch.rand(5, 1, 48, 48, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def store():
    faces = make_faces()
    return store_of(faces.images_NHW, faces.labels_N.tolist(), faces.splits_N.tolist())


def train_images(store) -> torch.Tensor:
    return torch.from_numpy(store.images_NHW[store.rows("train")])


def made(config: RunConfig, store: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return make_model(config, store, train_images(store)).eval()


def trained_run(config: RunConfig, store: Any, name: str = "one", seed: int = 5) -> tuple[Run, Any]:
    """A run with weights, as a training leaves it, and its net."""
    model = made(config, store, seed)
    run = create_run(config, name)
    save_weights(run.best, model, 3, architecture(config, 7, (48, 48)))
    return run, model


def refusal(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- grey levels ----------------------------------------------------------------------------------------------------


def test_grey_statistics_of_one_grey_do_not_divide_by_zero():
    assert grey_statistics(torch.full((2, 3, 3), 51, dtype=torch.uint8)) == pytest.approx((0.2, 1 / 255))


def test_grey_statistics_by_hand():
    images = torch.tensor([[[0, 255]], [[255, 255]]], dtype=torch.uint8)
    assert grey_statistics(images) == pytest.approx((0.75, 0.75**0.5 / 2))


def test_grey_statistics_of_many_images_are_those_of_all_pixels():
    images = torch.randint(0, 256, (5000, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    pixels = images.double() / 255
    assert grey_statistics(images) == pytest.approx((pixels.mean().item(), pixels.std(correction=0).item()))


# --- from a configuration -------------------------------------------------------------------------------------------


def test_every_setting_of_a_net_reaches_it(store):
    config = toy_config(
        model="resnet18", image_size=32, channels=3, normalisation="preset", freeze_until="layer2",
        head_hidden=16, head_batch_norm=True, head_dropout=0.25,
    )  # fmt: skip
    model = made(config, store)
    assert (model.image_size, model.in_channels, model.normalisation) == (32, 3, "preset")
    assert [type(layer).__name__ for layer in model.head] == ["Linear", "BatchNorm1d", "LeakyReLU", "Dropout", "Linear"]
    assert (model.head[0].out_features, model.head[3].p, model.head[4].out_features) == (16, 0.25, 7)
    frozen = {name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}


def test_without_a_size_the_net_has_that_of_the_faces():
    assert architecture(toy_config(), 7, (48, 48))["image_size"] == 48
    assert architecture(toy_config(), 7, (40, 64))["image_size"] == 64
    assert architecture(toy_config(image_size=96), 7, (48, 48))["image_size"] == 96


def test_an_architecture_holds_plain_values_alone():
    assert {type(value) for value in architecture(CONFIG, 7, (48, 48)).values()} <= {str, int, float, bool, type(None)}


def test_fresh_nets_are_normalised_by_the_training_faces(store):
    model = made(toy_config(), store)
    assert (model.mean.item(), model.std.item()) == pytest.approx(grey_statistics(train_images(store)))
    preset = made(toy_config(normalisation="preset", channels=3), store)
    assert preset.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


def test_the_cost_is_that_of_the_net(store):
    cost = cost_of(CONFIG, store)
    model = made(CONFIG, store)
    assert cost.parameters == parameter_count(model) and cost.frozen_share == model.frozen_share > 0


# --- restored -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [CONFIG, toy_config(), toy_config(model="cnn6", normalisation="preset")])
def test_two_lines_restore_a_net_and_so_does_its_run(store, config):
    run, model = trained_run(config, store)
    saved = torch.load(run.best, weights_only=True)
    restored = create_model(**saved["architecture"], weights=saved["model"])
    with torch.no_grad():
        expected = model(FACES)
        assert torch.equal(load_model(run)(FACES), expected)
        assert torch.equal(restored.eval()(FACES), expected)
    assert not load_model(run).training and saved["epoch"] == 3


def test_weights_of_version_0_2_are_restored_by_their_runs_configuration(store):
    model = made(toy_config(), store, seed=5)
    run = create_run(toy_config(), "old")
    save_checkpoint(run.best, {"model": model.state_dict(), "epoch": 2})
    run.write_environment({"data": {"classes": list(EMOTIONS)}})
    with torch.no_grad():
        assert torch.equal(load_model(run)(FACES), model(FACES))


def test_weights_of_version_0_2_answer_about_faces_of_their_own_size(store):
    """Then a net took a face as it came: nothing was resized to 48 pixels."""
    model = made(toy_config(), store, seed=5)
    model.image_size = None
    run = create_run(toy_config(), "old")
    save_checkpoint(run.best, {"model": model.state_dict(), "epoch": 2})
    run.write_environment({"data": {"classes": list(EMOTIONS)}})
    larger = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_model(run)(larger), model(larger))


def test_a_run_without_weights_says_how_far_it_is():
    with pytest.raises(RunError, match=r"^run 'one' has no weights; it is stopped. Train or resume it first.$"):
        load_model(write_run("one", state="stopped"))


# --- weights to start from ------------------------------------------------------------------------------------------


def test_weights_come_from_another_run_with_its_grey_levels(store):
    run, model = trained_run(CONFIG, store)
    brighter = store_of(store.images_NHW // 2 + 100, store.labels_N.tolist(), store.splits_N.tolist())
    started = made(CONFIG.changed(weights=run.name), brighter, seed=9)
    with torch.no_grad():
        assert torch.equal(started(FACES), model(FACES))
    assert started.loaded == "best.pt" and not torch.equal(made(CONFIG, brighter).mean, model.mean)


@pytest.mark.parametrize("by", ["folder", "file"])
def test_weights_come_from_a_runs_folder_and_from_a_file(store, by, tmp_path):
    run, model = trained_run(CONFIG, store)
    given = run.path
    if by == "file":
        given = tmp_path / "weights.pt"
        torch.save(model.state_dict(), given)
    started = made(CONFIG.changed(weights=str(given)), store, seed=9)
    with torch.no_grad():
        assert torch.equal(started(FACES), model(FACES))


def test_bare_weights_of_a_net_are_normalised_by_the_training_faces(store, tmp_path):
    """They bring no grey levels of their own."""
    torch.save(made(toy_config(), store, seed=5).net.state_dict(), tmp_path / "bare.pt")
    model = made(toy_config(weights=str(tmp_path / "bare.pt")), store)
    assert (model.mean.item(), model.std.item()) == pytest.approx(grey_statistics(train_images(store)))


def test_another_head_starts_fresh_on_the_runs_backbone(store):
    run, model = trained_run(toy_config(), store)
    started = made(toy_config(weights=run.name, head_hidden=8), store)
    assert torch.equal(started.net.stem[0].weight, model.net.stem[0].weight)
    assert started.loaded == "best.pt, fresh head"


def test_weights_of_another_net_are_refused(store):
    run, _ = trained_run(toy_config(), store)
    assert "does not fit this net" in refusal(made, toy_config(model="cnn6", weights=run.name), store)


def test_unknown_weights_are_named_and_what_they_could_be(store):
    write_run("first-one")
    message = refusal(made, toy_config(weights="first-on"), store)
    assert message.startswith("--weights first-on: neither none, imagenet nor a file, and no run named 'first-on' in ")
    assert message.endswith("Did you mean 'first-one'? Known: first-one.")


def test_a_run_without_weights_gives_none(store):
    run = write_run("one")
    assert str(run.best) in refusal(made, toy_config(weights="one"), store)


# --- without a network ----------------------------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path) -> Path:
    """No host answers, and nothing has been fetched before. Returns: where torch would look for files."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "urlopen", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.mark.parametrize(
    ("recipe", "file", "instead"),
    [
        ("resnet18-grey", "resnet18-", "resnet18-grey/scratch"),
        ("resnet18-224/sampler", "resnet18-", "resnet18-224/scratch"),
        ("mobilenet-v3", "mobilenet_v3_large-", "mobilenet-v3/scratch"),
    ],
)
def test_weights_that_cannot_be_fetched_name_their_file_its_folder_and_what_trains_without(
    store, offline, recipe, file, instead
):
    message = refusal(experiment.check_trainable, RunConfig(recipe=recipe, device="cpu"), store)
    assert "no route to host" in message
    assert f" Put {file}" in message
    assert message.endswith(f".pth into {offline}, or train from scratch with --recipe {instead}.")


def test_without_a_recipe_there_is_no_variant_to_name(store, offline):
    message = refusal(made, toy_config(model="resnet18", weights="imagenet"), store)
    assert message.endswith(f"into {offline}, or train from scratch with --weights none.")


def test_a_net_that_was_trained_on_windows_is_judged_by_one_however_it_is_asked(store, tmp_path):
    config = toy_config(augment_steps=("crop:0.25",), image_size=32)
    model = made(config, store)
    images = torch.from_numpy(store.images_NHW[:4])
    floats = images.unsqueeze(1).float() / 255
    [window] = shown(floats, "none", 0.25, 32)
    expected = predict_logits(model, images, size=32)
    assert model.crop == 0.25
    assert torch.allclose(model.eval()(floats), expected, atol=1e-5)
    assert torch.allclose(predict_logits(model, images, crop=0.25, size=32), expected, atol=1e-6)
    model.crop = 0.0
    assert torch.allclose(model(window), expected, atol=1e-5)
    assert (model(floats) - expected).abs().max() > 1e-3
    saved = architecture(config, 7, (48, 48))
    assert create_model(**saved).crop == 0.25


def test_in_training_the_augmentation_has_cut_the_window():
    model = FaceClassifier(nn.Flatten(), crop=0.5).train()
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(model(images), model.net((images - model.mean) / model.std))
