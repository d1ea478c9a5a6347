"""The zoo: shapes, sizes, the normalisation inside, and answers that do not depend on the company of a face."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18 as published_resnet18

from fer_core import catalog
from fer_core.errors import ConfigError
from fer_core.models import MODELS, FaceClassifier, create_model, parameter_count
from fer_core.models.residual import ResidualBlock
from fer_core.registry import registrar
from fer_core.train.loop import predict_logits, to_floats

ALIKE = {"vgg13", "vgg16"}
"""Deeper VGGs: half a gigabyte of the same layers as VGG11's, so what needs real weights is held by that one."""


def faces(n: int = 9, side: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def lived_in(name: str) -> FaceClassifier:
    """A model whose batch norms know the spread of its features, and whose answers differ from face to face."""
    torch.manual_seed(0)
    model = create_model(name, head_hidden=0 if name == "vgg11" else None)  # its published head has 120M weights
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 1.0
    with torch.no_grad():
        for parameter in model.head_parameters():
            parameter.normal_(0, 0.05)  # a fresh vision transformer answers 0 to everything
        model(to_floats(faces(8, seed=1)))
    return model.eval()


@pytest.fixture(scope="module", params=sorted(set(MODELS) - ALIKE))
def model(request, one_thread):
    """Each net once, one after the other: together they would not fit into memory."""
    return lived_in(request.param)


every_name = pytest.mark.parametrize("name", sorted(MODELS))


# --- the registry ---------------------------------------------------------------------------------------------------


def test_the_catalog_names_exactly_the_models_that_exist():
    assert sorted(MODELS) == sorted(catalog.MODELS)


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_ones():
    with pytest.raises(ConfigError) as caught:
        create_model("smal")
    known = ", ".join(sorted(MODELS))
    assert str(caught.value) == f"no model named 'smal'. Did you mean 'small'? Known: {known}."


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(ConfigError, match="^no model named 'zzz'. Known: base, cnn6, "):
        create_model("zzz")


@pytest.mark.parametrize("number", [0, -1])
def test_an_answer_has_at_least_one_class(number):
    with pytest.raises(ConfigError, match=f"num_classes is 1 or more, not {number}"):
        create_model("small", num_classes=number)


def test_a_name_registered_twice_is_an_error():
    table: dict[str, int] = {}
    registrar(table)("one")(1)
    with pytest.raises(AssertionError, match="'one' is registered twice"):
        registrar(table)("one")(2)
    assert table == {"one": 1}


# --- nets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("in_channels", "side", "num_classes"), [(1, 48, 7), (3, 48, 8), (1, 64, 8), (3, 96, 7)])
@every_name
def test_output_has_a_logit_for_each_class(name, in_channels, side, num_classes):
    with torch.device("meta"):
        model = create_model(name, in_channels=in_channels, num_classes=num_classes, image_size=side).eval()
        assert model(torch.rand(2, 1, side, side)).shape == (2, num_classes)


@every_name
def test_the_least_size_of_the_catalog_is_enough_to_train_and_to_ask(name):
    side = max(catalog.MODELS[name].least_size, catalog.MODELS[name].multiple_of)
    with torch.device("meta"):
        model = create_model(name, image_size=side)
        assert model.train()(torch.rand(2, 1, side, side)).shape == (2, 7)
        assert model.eval()(torch.rand(1, 1, side, side)).shape == (1, 7)


def test_every_weight_takes_part_in_the_answer(model):
    model.zero_grad()
    model(torch.rand(4, 1, 48, 48, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    unused = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    model.zero_grad()
    assert unused == []


def test_small_stays_under_a_million_parameters():
    # By hand, widths 32, 64, 128, 192: the stem; per block two 3 x 3 convolutions and, where the shape changes, one
    # 1 x 1; two numbers for each norm channel; the linear layer.
    widths = (32, 64, 128, 192)
    count = 9 * 32 + 2 * 32
    for a, b in zip((32, *widths[:-1]), widths, strict=True):
        count += 9 * a * b + 9 * b * b + 4 * b
        count += (a * b + 2 * b) if a != b else 0
    count += 192 * 7 + 7
    assert parameter_count(create_model("small")) == count < 1_000_000
    assert f"{count / 1e6:.1f}M parameters" in catalog.MODELS["small"].text


def test_a_residual_block_adds_its_input_to_its_body():
    block = ResidualBlock(4, 4, 1).eval()
    x = torch.rand(2, 4, 6, 6)
    nn.init.zeros_(block.body[-1].weight)
    assert torch.equal(block(x), x)  # a body of zeros leaves the shortcut, and x is not negative


def test_resnet18_is_the_published_net_but_for_its_first_and_last_layer():
    model = create_model("resnet18")
    assert model.net.conv1.weight.shape == (64, 1, 7, 7)
    assert model.net.conv1.stride == (2, 2) and model.net.conv1.padding == (3, 3) and model.net.conv1.bias is None
    published = published_resnet18(num_classes=7)
    assert parameter_count(model) == parameter_count(published) - 2 * 64 * 7 * 7
    assert list(model.net.state_dict()) == list(published.state_dict())
    published.conv1.weight = nn.Parameter(torch.zeros(64, 3, 7, 7))
    published.load_state_dict(
        {**model.net.state_dict(), "conv1.weight": model.net.conv1.weight.expand(-1, 3, -1, -1) / 3}
    )
    x = torch.rand(2, 1, 48, 48)
    with torch.no_grad():
        expected = published.eval()(((x - model.mean) / model.std).expand(-1, 3, -1, -1))
        assert torch.allclose(model.eval()(x), expected, atol=1e-4)


def test_resnet18_starts_from_the_spread_that_its_paper_asks_for():
    torch.manual_seed(0)
    spread = create_model("resnet18").net.conv1.weight.std().item()
    assert spread == pytest.approx((2 / (64 * 49)) ** 0.5, rel=0.05)  # fan out: 64 channels of 7 x 7


@pytest.mark.parametrize(
    "name", ["small", "cnn6", "ferplus-vgg", "efficientnet-lite0", "resnet18", "mobilenet-v3-small"]
)
def test_weights_are_drawn_from_the_global_random_state(name):
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in create_model(name).parameters()])

    first = drawn(1)
    assert torch.equal(first, drawn(1))
    assert not torch.equal(first, drawn(2))


# --- the six-layer CNN and the FER+ paper's net ---------------------------------------------------------------------


def test_the_six_layer_cnn_has_six_convolutions_and_three_linear_layers():
    kinds = [type(module) for module in create_model("cnn6").net.modules()]
    assert kinds.count(nn.Conv2d) == 6 and kinds.count(nn.Linear) == 3 and kinds.count(nn.MaxPool2d) == 3


def test_the_ferplus_net_is_the_papers_with_halved_widths():
    modules = list(create_model("ferplus-vgg").net.modules())
    widths = [module.out_channels for module in modules if isinstance(module, nn.Conv2d)]
    assert widths == [32, 32, 64, 64, 128, 128, 128, 256, 256, 256]
    assert [module.out_features for module in modules if isinstance(module, nn.Linear)] == [512, 512, 7]
    assert [module.p for module in modules if isinstance(module, nn.Dropout)] == [0.1] * 4 + [0.3] * 2


@pytest.mark.parametrize("name", ["cnn6", "ferplus-vgg"])
def test_a_plain_net_starts_with_a_signal_that_neither_dies_nor_grows(name):
    torch.manual_seed(0)
    model = create_model(name).train()
    answers = model(to_floats(faces(64)))
    assert 0.05 < answers.std().item() < 5


# --- normalisation --------------------------------------------------------------------------------------------------


def test_a_face_is_normalised_once_inside_the_model():
    model = FaceClassifier(nn.Identity())
    model.normalise_by(0.3, 0.2)
    images = torch.tensor([0.0, 0.3, 0.5, 1.0]).view(1, 1, 2, 2)
    assert model(images).flatten().tolist() == pytest.approx([-1.5, 0.0, 1.0, 3.5])


def test_the_normalisation_travels_in_the_state_dict():
    source, target = create_model("small"), create_model("small")
    source.normalise_by(0.3, 0.2)
    assert {"mean", "std"} <= source.state_dict().keys()
    target.load_state_dict(source.state_dict())
    assert (target.mean.item(), target.std.item()) == pytest.approx((0.3, 0.2))
    images = torch.rand(3, 1, 48, 48)
    assert torch.equal(source.eval()(images), target.eval()(images))


def test_the_normalisation_is_not_trained():
    assert not {"mean", "std"} & dict(create_model("small").named_parameters()).keys()


# --- evaluation -----------------------------------------------------------------------------------------------------


def test_grey_levels_are_scaled_to_0_to_1_exactly_once():
    images = torch.tensor([[[0, 51], [102, 255]]], dtype=torch.uint8)
    floats = to_floats(images)
    assert floats.shape == (1, 1, 2, 2) and floats.dtype == torch.float32
    assert floats.flatten().tolist() == pytest.approx([0.0, 0.2, 0.4, 1.0])


def test_a_model_is_asked_with_faces_in_0_to_1():
    seen = []
    model = FaceClassifier(nn.Flatten())
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    predict_logits(model, torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 2))
    assert seen[0].flatten().tolist() == [0.0, 1.0]


def test_one_by_one_equals_batched(model):
    images = faces(5)
    batched = predict_logits(model, images)
    alone = torch.cat([predict_logits(model, image[None]) for image in images])
    assert batched.std(0).max() > 1e-3  # the faces are told apart at all
    # Fifty layers of noise, each stretched to spread 1, stretch float32's rounding too.
    limit = 1e-5 if len(list(model.modules())) < 100 else 1e-4
    assert (batched - alone).abs().max() < limit * batched.abs().max().clamp(min=1)
    assert torch.equal(batched.argmax(1), alone.argmax(1))


def test_two_evaluations_are_the_same_and_leave_no_trace(model):
    model, images = model.train(), faces(4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(predict_logits(model, images), predict_logits(model, images))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model.eval()


@pytest.mark.parametrize("training", [True, False])
def test_prediction_runs_in_evaluation_mode_and_puts_the_mode_back(training):
    modes = []
    model = FaceClassifier(nn.Sequential(nn.Flatten(), nn.Dropout(0.5))).train(training)
    model.net[1].register_forward_pre_hook(lambda module, inputs: modes.append(module.training))
    logits = predict_logits(model, faces(2, side=4))
    assert modes == [False] and model.training is training and model.net[1].training is training
    assert logits.dtype == torch.float32 and not logits.requires_grad


def test_more_faces_than_one_batch_come_back_in_order():
    images = torch.arange(1200).remainder(251).to(torch.uint8).view(-1, 1, 1)
    model = FaceClassifier(nn.Flatten())
    model.normalise_by(0.0, 1 / 255)
    logits = predict_logits(model, images)
    assert torch.allclose(logits[:, 0], images[:, 0, 0].float(), atol=1e-3)
