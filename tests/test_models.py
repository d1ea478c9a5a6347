"""The zoo: shapes, sizes, the normalisation inside, and answers that do not depend on the company of a face."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18 as published_resnet18

from fer_core import catalog
from fer_core.errors import ConfigError
from fer_core.models import MODELS, FaceClassifier, create_model, parameter_count
from fer_core.models.small import ResidualBlock
from fer_core.registry import registrar
from fer_core.train.loop import predict_logits, to_floats

every_model = pytest.mark.parametrize("name", sorted(MODELS))


def faces(n: int = 9, side: int = 48, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def lived_in(name: str) -> FaceClassifier:
    """A model whose batch norms have seen faces, so that their statistics are no longer 0 and 1."""
    torch.manual_seed(0)
    model = create_model(name)
    with torch.no_grad():
        for seed in range(3):
            model(to_floats(faces(8, seed=seed)))
    return model.eval()


# --- the registry ---------------------------------------------------------------------------------------------------


def test_the_catalog_names_exactly_the_models_that_exist():
    assert sorted(MODELS) == sorted(catalog.MODELS)


def test_an_unknown_name_is_answered_with_the_nearest_and_all_known_ones():
    with pytest.raises(ConfigError) as caught:
        create_model("smal")
    assert str(caught.value) == "no model named 'smal'. Did you mean 'small'? Known: resnet18, small."


def test_a_name_like_no_other_gets_no_suggestion():
    with pytest.raises(ConfigError) as caught:
        create_model("zzz")
    assert str(caught.value) == "no model named 'zzz'. Known: resnet18, small."


def test_a_name_registered_twice_is_an_error():
    table: dict[str, int] = {}
    registrar(table)("one")(1)
    with pytest.raises(AssertionError, match="'one' is registered twice"):
        registrar(table)("one")(2)
    assert table == {"one": 1}


# --- nets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("in_channels", "side", "num_classes"), [(1, 48, 7), (3, 48, 8), (1, 64, 8), (3, 64, 7)])
@every_model
def test_output_has_a_logit_for_each_class(name, in_channels, side, num_classes):
    model = create_model(name, in_channels=in_channels, num_classes=num_classes).eval()
    assert model(torch.rand(2, in_channels, side, side)).shape == (2, num_classes)


@every_model
def test_every_weight_takes_part_in_the_answer(name):
    model = create_model(name)
    model(torch.rand(4, 1, 48, 48)).square().sum().backward()
    unused = [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
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


@every_model
def test_weights_are_drawn_from_the_global_random_state(name):
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in create_model(name).parameters()])

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


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


@every_model
def test_one_by_one_equals_batched(name):
    model, images = lived_in(name), faces(9)
    batched = predict_logits(model, images)
    alone = torch.cat([predict_logits(model, image[None]) for image in images])
    assert (batched - alone).abs().max() < 1e-5
    assert torch.equal(batched.argmax(1), alone.argmax(1))


@every_model
def test_two_evaluations_are_the_same_and_leave_no_trace(name):
    model, images = lived_in(name).train(), faces(9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.equal(predict_logits(model, images), predict_logits(model, images))
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


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
