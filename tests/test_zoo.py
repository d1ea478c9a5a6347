"""What `create_model` puts around a net: sizes and channels on the way in, heads, frozen layers, plugins, cost."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from fer_core.errors import ConfigError
from fer_core.models import MODELS, FaceClassifier, create_model, model_cost, parameter_count, register
from fer_core.models.classifier import IMAGENET_MEAN, IMAGENET_STD

every_name = pytest.mark.parametrize("name", sorted(MODELS))


def on_meta(name: str, **options) -> FaceClassifier:
    """A model without memory for its weights: its structure, and the shapes of its answers."""
    with torch.device("meta"):
        return create_model(name, **options)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.fixture
def plugin():
    """A user's net: convolution, batch norm, a linear layer that is not called head."""

    @register("my-net")
    def my_net(in_channels: int, num_classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, num_classes),
        )  # fmt: skip

    yield "my-net"
    del MODELS["my-net"]


# --- on the way in --------------------------------------------------------------------------------------------------


class Record(nn.Module):
    def forward(self, x):
        self.seen = x
        return x


def seen_by_the_net(images: torch.Tensor, **options) -> torch.Tensor:
    model = FaceClassifier(Record(), **options)
    model.normalise_by(0.0, 1.0)
    model(images)
    return model.net.seen


def test_an_image_of_the_right_size_is_not_touched():
    images = torch.rand(2, 1, 12, 12)
    assert torch.equal(seen_by_the_net(images, image_size=12), images)


def test_without_a_size_an_image_is_taken_as_it_comes():
    images = torch.rand(2, 1, 9, 5)
    assert torch.equal(seen_by_the_net(images), images)


def test_an_image_that_shrinks_to_half_is_averaged():
    ramp = (torch.arange(8.0) / 8).expand(1, 1, 8, 8)
    seen = seen_by_the_net(ramp, image_size=4)
    assert seen.shape == (1, 1, 4, 4)
    assert seen[0, 0, 0, 1:3].tolist() == pytest.approx([2.5 / 8, 4.5 / 8])  # the means of 2, 3 and of 4, 5
    stripes = torch.tensor([0.0, 1.0]).repeat(24).expand(1, 1, 48, 48)
    assert (seen_by_the_net(stripes, image_size=16) - 0.5).abs().max() < 0.2  # too fine to be seen at a third


def test_an_image_that_grows_is_interpolated():
    image = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).view(1, 1, 2, 2)
    assert seen_by_the_net(image, image_size=4)[0, 0, 0].tolist() == pytest.approx([0.0, 0.25, 0.75, 1.0])


def test_a_tall_image_fits_too():
    images = torch.rand(1, 1, 30, 20)
    expected = functional.interpolate(images, (24, 24), mode="bilinear", antialias=True)
    assert torch.equal(seen_by_the_net(images, image_size=24), expected)


def test_a_grey_image_is_repeated_to_three_channels():
    images = torch.rand(2, 1, 4, 4)
    seen = seen_by_the_net(images, in_channels=3)
    assert seen.shape == (2, 3, 4, 4) and all(torch.equal(seen[:, c], images[:, 0]) for c in range(3))


@pytest.mark.parametrize("in_channels", [1, 3])
def test_the_datas_normalisation_is_two_single_numbers(in_channels):
    model = FaceClassifier(nn.Identity(), in_channels=in_channels)
    assert model.mean.shape == model.std.shape == () and model.normalisation == "data"


def test_the_preset_normalisation_is_imagenets_for_each_channel_and_stays():
    model = FaceClassifier(nn.Identity(), in_channels=3, normalisation="preset")
    model.normalise_by(0.1, 0.1)
    grey = torch.full((1, 1, 2, 2), 0.5)
    expected = [(0.5 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    assert model(grey)[0, :, 0, 0].tolist() == pytest.approx(expected)
    assert model.mean.shape == (3, 1, 1)


def test_the_preset_normalisation_of_one_channel_is_the_mean_of_three():
    model = FaceClassifier(nn.Identity(), normalisation="preset")
    assert model.mean.shape == () and (model.mean.item(), model.std.item()) == pytest.approx((0.449, 0.226))


# --- arguments that do not fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("small", {"in_channels": 2}, "in_channels is 1 (grey) or 3 (grey three times), not 2."),
        ("small", {"normalisation": "zca"}, "normalisation is data or preset, not 'zca'."),
        ("small", {"image_size": 20}, "small cannot take pictures of 20 pixels: its side is at least 24."),
        ("vit-b16", {"image_size": 50}, "vit-b16 cannot take pictures of 50 pixels: its side is at least 32,"),
        ("small", {"head_hidden": -1}, "head_hidden is 0 or more units"),
        ("small", {"head_hidden": 4, "head_dropout": 1.0}, "head_dropout is at least 0 and below 1, not 1.0."),
        ("small", {"head_dropout": 0.5}, "head_dropout belongs to a head of your own. Set head_hidden: 0, or"),
        ("small", {"head_hidden": 0, "head_batch_norm": True}, "head_batch_norm belongs to a hidden layer. Set"),
    ],
)  # fmt: skip
def test_an_argument_that_does_not_fit_is_one_line(name, options, text):
    with pytest.raises(ConfigError) as caught:
        on_meta(name, **options)
    assert text in str(caught.value) and "\n" not in str(caught.value)


# --- heads ----------------------------------------------------------------------------------------------------------


@every_name
def test_a_head_of_ones_own_stands_in_the_place_of_the_last_layer(name):
    model = on_meta(name, head_hidden=16, head_batch_norm=True, head_dropout=0.5)
    kinds = [type(module) for module in model.head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.LeakyReLU, nn.Dropout, nn.Linear]
    assert model.head[0].out_features == 16 and model.head[3].p == 0.5
    assert model(torch.rand(2, 1, 48, 48, device="meta")).shape == (2, 7)
    assert [type(m) for m in on_meta(name, head_hidden=16).head] == [nn.Linear, nn.LeakyReLU, nn.Linear]


@every_name
def test_head_and_backbone_share_out_the_parameters(name):
    for model in (on_meta(name), on_meta(name, head_hidden=16)):
        head, backbone = list(map(id, model.head_parameters())), list(map(id, model.backbone_parameters()))
        assert sorted(head + backbone) == sorted(map(id, model.parameters()))
        outputs = [module for module in model.head.modules() if isinstance(module, nn.Linear)][-1]
        assert outputs.out_features == 7 and len(head) == (2 if model.head is outputs else 4)


@pytest.mark.parametrize("name", ["vgg11", "vgg13", "vgg16"])
def test_a_vgg_gives_its_own_head_512_averages(name):
    assert on_meta(name).head.in_features == 4096
    straight = on_meta(name, head_hidden=0)
    assert straight.head.in_features == 512 and straight.head_name == "classifier"
    assert on_meta(name, head_hidden=32).head[0].in_features == 512
    assert parameter_count(straight) < 15_000_000 < 128_000_000 < parameter_count(on_meta(name))


def test_straight_to_the_classes_is_what_a_residual_net_does_anyway():
    assert list(on_meta("resnet18", head_hidden=0).state_dict()) == list(on_meta("resnet18").state_dict())


@pytest.mark.parametrize("name", ["small", "resnet18", "vgg11"])
def test_dropout_alone_stands_between_the_features_and_the_last_layer(name):
    features = on_meta(name, head_hidden=0).head.in_features
    dropout, linear = on_meta(name, head_hidden=0, head_dropout=0.3).head
    assert (dropout.p, linear.in_features, linear.out_features) == (0.3, features, 7)


# --- frozen layers --------------------------------------------------------------------------------------------------


def test_what_stands_before_the_named_layer_is_frozen():
    model = on_meta("resnet18", freeze_until="layer3")
    parts = {key.split(".")[1] for key in trained(model)}
    assert parts == {"layer3", "layer4", "fc"}
    frozen = {"conv1", "bn1", "layer1", "layer2"}
    assert {key.split(".")[1] for key, p in model.named_parameters() if not p.requires_grad} == frozen


def test_a_layer_within_a_layer_can_be_named():
    model = on_meta("resnet18", freeze_until="layer4.1.conv2")
    assert trained(model) == {f"net.{key}" for key in ("layer4.1.conv2.weight", "layer4.1.bn2.weight",
                                                       "layer4.1.bn2.bias", "fc.weight", "fc.bias")}  # fmt: skip


def test_position_embeddings_are_frozen_with_the_first_layers():
    model = on_meta("vit-b16", freeze_until="encoder.layers.encoder_layer_11")
    assert not {"net.class_token", "net.encoder.pos_embedding", "net.conv_proj.weight"} & trained(model)
    assert "net.encoder.ln.weight" in trained(model)


@every_name
def test_everything_but_the_head_can_be_frozen(name):
    model = on_meta(name, freeze_until=on_meta(name).head_name)
    assert {id(p) for p in model.parameters() if p.requires_grad} == set(map(id, model.head_parameters()))
    head = sum(p.numel() for p in model.head_parameters())
    assert model.frozen_share == pytest.approx(1 - head / parameter_count(model))


def test_an_unknown_layer_is_answered_with_near_ones_and_the_top_level():
    with pytest.raises(ConfigError) as caught:
        on_meta("resnet18", freeze_until="leyer3")
    text = str(caught.value)
    assert text.startswith("freeze_until: no layer named 'leyer3' in resnet18. Did you mean 'layer")
    assert text.endswith("At the top level: conv1, bn1, relu, maxpool, layer1, layer2, layer3, layer4, avgpool, fc.")
    assert "'layer3'" in text and "\n" not in text


def test_a_net_with_nothing_left_to_train_is_refused():
    with pytest.raises(ConfigError, match="from '2' on this net has nothing to train"):
        FaceClassifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Softmax(1))).freeze_until("2")


def step(model: FaceClassifier) -> dict[str, torch.Tensor]:
    """State after a step of training, with everything that requires a gradient moved."""
    model.train()
    model.zero_grad()
    torch.manual_seed(0)
    model(torch.rand(4, 1, 48, 48)).square().sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter -= 0.01 * parameter.grad
    return copy.deepcopy(model.state_dict())


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_a_frozen_batch_norm_keeps_its_statistics_too():
    torch.manual_seed(0)
    model = create_model("small", freeze_until="blocks.1")
    before = copy.deepcopy(model.state_dict())
    changed = moved(before, step(model))
    assert not any(key.startswith(("net.stem", "net.blocks.0")) for key in changed)
    assert {"net.blocks.1.body.1.running_mean", "net.blocks.1.body.1.weight", "net.head.weight"} <= changed


def test_a_held_backbone_stays_as_it_is_while_the_head_learns():
    torch.manual_seed(0)
    model = create_model("small", head_hidden=8, head_batch_norm=True)
    before = copy.deepcopy(model.state_dict())
    model.hold_backbone(True)
    held = step(model)
    assert {key.split(".")[1] for key in moved(before, held)} == {"head"}
    assert "net.head.1.running_mean" in moved(before, held)
    model.hold_backbone(False)
    assert "net.stem.1.running_mean" in moved(held, step(model))


@pytest.mark.parametrize("layer", [None, "blocks.2"])
def test_letting_go_puts_back_exactly_what_was_trained(layer):
    model = create_model("small", freeze_until=layer)
    before, modes = trained(model), [module.training for module in model.modules()]
    model.hold_backbone(True)
    model.hold_backbone(True)  # asking twice is asking once
    assert trained(model) == {"net.head.weight", "net.head.bias"}
    model.eval().train()
    model.hold_backbone(False)
    model.hold_backbone(False)
    assert trained(model) == before and [module.training for module in model.modules()] == modes


def test_a_held_backbone_is_held_in_a_copy_too():
    model = create_model("small")
    model.hold_backbone(True)
    copied = copy.deepcopy(model)
    copied.hold_backbone(False)
    assert trained(copied) == {name for name, _ in model.named_parameters()}


def test_evaluation_mode_holds_through_freezing():
    model = create_model("small").eval()
    model.hold_backbone(True)
    model.freeze_until("head")
    assert not any(module.training for module in model.modules())


def test_a_net_without_a_linear_layer_has_no_head_to_train():
    model = FaceClassifier(nn.Conv2d(1, 2, 3))
    assert list(model.head_parameters()) == [] and len(list(model.backbone_parameters())) == 2
    with pytest.raises(ConfigError, match="no linear layer, so it has no head"):
        model.hold_backbone(True)


# --- a user's own net -----------------------------------------------------------------------------------------------


def test_a_net_of_ones_own_is_made_by_its_name(plugin):
    model = create_model(plugin, in_channels=3, num_classes=5, image_size=11)
    assert model(torch.rand(2, 1, 48, 48)).shape == (2, 5)
    assert model.head_name == "4"


def test_a_net_of_ones_own_takes_a_head_frozen_layers_and_weights(plugin, tmp_path):
    torch.save(create_model(plugin).net.state_dict(), tmp_path / "own.pt")
    model = create_model(plugin, head_hidden=6, freeze_until="1", weights=tmp_path / "own.pt")
    assert [type(module) for module in model.head] == [nn.Linear, nn.LeakyReLU, nn.Linear]
    assert model.loaded == "own.pt, fresh head" and "net.0.weight" not in trained(model)


def test_a_net_of_ones_own_can_ask_for_the_image_size():
    @register("sized")
    def sized(in_channels: int, num_classes: int, image_size: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))

    try:
        assert create_model("sized", image_size=10)(torch.rand(2, 1, 48, 48)).shape == (2, 7)
    finally:
        del MODELS["sized"]


def test_a_head_needs_a_linear_layer_to_replace():
    register("flat")(lambda in_channels, num_classes: nn.Sequential(nn.Conv2d(in_channels, num_classes, 48)))
    try:
        with pytest.raises(ConfigError, match="head_hidden: flat has no linear layer that a head could replace"):
            create_model("flat", head_hidden=3)
    finally:
        del MODELS["flat"]


def test_a_net_that_looks_at_its_weights_has_a_cost_too():
    @register("curious")
    def curious(in_channels: int, num_classes: int) -> nn.Module:
        layer = nn.Linear(in_channels * 4, num_classes)
        layer.weight.data /= layer.weight.abs().max().item()
        return nn.Sequential(nn.Flatten(), layer)

    try:
        assert model_cost("curious", image_size=2).multiply_adds == 28
    finally:
        del MODELS["curious"]


# --- cost -----------------------------------------------------------------------------------------------------------


def test_multiply_adds_of_small_are_those_worked_out_by_hand():
    # The stem halves 48 to 24; each block after the first halves again: 24, 12, 6, 3 pixels a side.
    widths, sides = (32, 64, 128, 192), (24, 12, 6, 3)
    total = 24**2 * 9 * 32
    for a, b, side in zip((32, *widths[:-1]), widths, sides, strict=True):
        total += side**2 * (9 * a * b + 9 * b * b + (a * b if a != b else 0))
    total += 192 * 7
    cost = model_cost("small")
    assert cost.multiply_adds == total and cost.frozen_share == 0
    assert cost.parameters == parameter_count(create_model("small"))


PUBLISHED = {
    # ImageNet's 1000 classes at 224 px: multiply-adds in 10^9 and parameters, from torchvision's table of weights
    "resnet18": (1.814, 11_689_512), "resnet34": (3.664, 21_797_672), "resnet50": (4.089, 25_557_032),
    "vgg11": (7.609, 132_863_336), "vgg13": (11.308, 133_047_848), "vgg16": (15.47, 138_357_544),
    "densenet121": (2.834, 7_978_856), "efficientnet-b0": (0.386, 5_288_548),
    "mobilenet-v3-small": (0.057, 2_542_856), "mobilenet-v3-large": (0.217, 5_483_032),
    "convnext-tiny": (4.456, 28_589_128), "swin-tiny": (4.491, 28_288_354), "vit-b16": (17.564, 86_567_656),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_cost_of_a_published_net_is_the_published_one(name):
    cost = model_cost(name, in_channels=3, num_classes=1000, image_size=224)
    assert (round(cost.multiply_adds / 1e9, 3), cost.parameters) == PUBLISHED[name]


def test_the_cost_knows_heads_and_frozen_layers():
    cost = model_cost("resnet18", head_hidden=256, freeze_until="fc")
    head = 512 * 256 + 256 + 256 * 7 + 7
    assert cost.frozen_share == pytest.approx(1 - head / cost.parameters)
