"""Grad-CAM: maps known in closed form, where they lie on a face, every net of the zoo, and what stays untouched."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fer_core.errors import DataError, RunError
from fer_core.explain import colours, find_feature_map, grad_cam, mean_maps, overlay
from fer_core.mistakes import Answers
from fer_core.models import FaceClassifier, create_model
from tests.toy import ToyNet, bits, toy_classifier

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
FACES = RNG.integers(0, 256, (3, 8, 8), dtype=np.uint8)


class Pooled(nn.Module):
    """A convolution, the mean over all places, a linear layer without bias."""

    def __init__(self, conv: nn.Conv2d, weights_KC: Any) -> None:
        super().__init__()
        self.conv = conv
        self.head = nn.Linear(conv.out_channels, len(weights_KC), bias=False)
        self.head.weight = nn.Parameter(torch.tensor(weights_KC, dtype=torch.float32))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.conv(x_BCHW).mean(dim=(2, 3)))


def two_channels(weights_KC: Any) -> Pooled:
    """Its map has two channels: the picture itself, and its negative."""
    conv = nn.Conv2d(1, 2, 1)
    conv.weight = nn.Parameter(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    conv.bias = nn.Parameter(torch.tensor([0.0, 1.0]))
    return Pooled(conv, weights_KC)


# --- closed form ----------------------------------------------------------------------------------------------------


def test_the_map_of_a_pooled_convolution_is_its_channels_weighed_by_the_head():
    """The gradient by each cell of channel c is w_kc / (H W), so the map is ReLU(sum_c w_kc A_c), up to its scale."""
    weights = [[2.0, 0.5], [-1.0, 3.0], [1.0, -1.0]]
    classes = np.array([0, 1, 2])
    floats = FACES / 255
    by_hand = np.stack([max_0(w[0] * x + w[1] * (1 - x)) for w, x in zip(weights, floats, strict=True)])
    by_hand /= by_hand.max(axis=(1, 2), keepdims=True)
    found = grad_cam(two_channels(weights), FACES, classes)
    assert found.dtype == np.float32 and found.shape == (3, 8, 8)
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def max_0(values: Any) -> Any:
    return np.maximum(values, 0)


def test_nothing_that_speaks_for_a_class_gives_an_empty_map():
    found = grad_cam(two_channels([[-1.0, -2.0], [1.0, 1.0]]), FACES, np.array([0, 0, 1]))
    assert found[:2].max() == 0 and found[2].max() == 1


def test_two_classes_of_one_face_have_their_own_maps_and_a_batch_changes_none():
    torch.manual_seed(0)  # of some fresh nets, nothing speaks for either class
    model = create_model("small", image_size=48).eval()
    faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    both = grad_cam(model, faces[[0, 0, 1]], np.array([2, 5, 2]))
    assert np.abs(both[0] - both[1]).max() > 0.01
    for face, k, one in zip(faces[[0, 0, 1]], (2, 5, 2), both, strict=True):
        np.testing.assert_allclose(grad_cam(model, face[None], np.array([k]))[0], one, atol=1e-4)


# --- where cells lie ------------------------------------------------------------------------------------------------


def centres(conv: nn.Module, side: int) -> list[float]:
    """In pixels of a face with this side."""
    net = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    found = find_feature_map(net, torch.rand(1, 1, side, side))
    assert found.rows_h == found.columns_w
    return [side * share for share in found.rows_h]


@pytest.mark.parametrize(
    ("conv", "expected"),
    [
        (nn.Conv2d(1, 1, 3, 2, 1), [0.5, 2.5, 4.5, 6.5]),  # centred on pixels 0, 2, 4, 6
        (nn.Conv2d(1, 1, 3, 1, 0), [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]),
        (nn.Conv2d(1, 1, 3, 1, "valid"), [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]),
        (nn.MaxPool2d(2), [1.0, 3.0, 5.0, 7.0]),
        (nn.Sequential(nn.Conv2d(1, 1, 3, 2, 1), nn.AvgPool2d(2)), [1.5, 5.5]),
        (nn.Sequential(nn.ZeroPad2d(1), nn.Conv2d(1, 1, 3, 2)), [1.0, 3.0, 5.0, 7.0]),  # padded apart: spread evenly
    ],
)  # fmt: skip
def test_a_cell_lies_where_its_receptive_field_is_centred(conv, expected):
    assert centres(conv, 8) == pytest.approx(expected)


def test_the_cells_of_our_own_net_lie_on_every_sixteenth_pixel():
    found = find_feature_map(create_model("small", image_size=48).eval(), torch.rand(1, 1, 48, 48))
    assert [48 * share for share in found.rows_h] == pytest.approx([0.5, 16.5, 32.5])


def test_a_bright_spot_is_found_where_it_is_also_after_strides():
    """The middle of the map's peak lies on the spot, for a net whose only question is how bright it is."""
    conv = nn.Conv2d(1, 1, 3, 2, 1, bias=False)
    nn.init.ones_(conv.weight)
    model = Pooled(conv, [[1.0]])
    face = np.zeros((1, 16, 16), np.uint8)
    face[0, 4, 10] = 255
    found = grad_cam(model, face, np.array([0]))[0]
    assert np.unravel_index(found.argmax(), found.shape) == (4, 10)


def test_outside_of_the_window_that_a_net_sees_the_map_is_empty():
    net = two_channels([[1.0, 1.0]])
    model = FaceClassifier(net, image_size=8, crop=0.5, head="head").eval()
    found = grad_cam(model, FACES[:1], np.array([0]))[0]
    assert found[2:6, 2:6].min() > 0
    found[2:6, 2:6] = 0
    assert found.max() == 0


# --- nets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "base", "cnn6", "ferplus-vgg"])
def test_the_map_of_a_net_is_what_its_gradients_say(name):
    torch.manual_seed(0)
    model = create_model(name, image_size=48).eval()
    faces = np.random.default_rng(1).integers(0, 256, (2, 48, 48), dtype=np.uint8)
    layer = find_feature_map(model, torch.rand(1, 1, 48, 48)).layer
    kept: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, given, made: kept.append(made))
    logits = model((torch.from_numpy(faces).unsqueeze(1) / 255).requires_grad_())
    hook.remove()
    [gradient] = torch.autograd.grad(logits[[0, 1], [3, 6]].sum(), kept[0])
    cells = torch.relu((gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1)).detach().numpy()
    found = grad_cam(model, faces, np.array([3, 6]))
    assert cells.shape[1] > 1 and found.shape == (2, 48, 48)
    for cell, one in zip(cells, found, strict=True):
        assert one.max() == pytest.approx(float(cell.max() > 0), abs=1e-6) and one.min() >= 0
        if cell.max() > 0:
            row, column = np.unravel_index(one.argmax(), one.shape)
            assert cell.max() == cell[nearest(row, len(cell), model, 0), nearest(column, cell.shape[1], model, 1)]


def nearest(pixel: int, cells: int, model: nn.Module, axis: int) -> int:
    found = find_feature_map(model, torch.rand(1, 1, 48, 48))
    places = (found.rows_h, found.columns_w)[axis]
    return int(np.argmin([abs(48 * place - pixel - 0.5) for place in places]))


@pytest.mark.parametrize("name", ["resnet18", "efficientnet-lite0", "mobilenet-v3-small", "convnext-tiny"])
def test_published_nets_have_a_map(name):
    with torch.device("meta"):  # no weights are needed to see the shapes
        model = create_model(name, image_size=64).eval()
        found = find_feature_map(model, torch.empty(1, 1, 64, 64))
    assert len(found.rows_h) == len(found.columns_w) >= 2 and found.classes == 7
    assert all(0 < share < 1 for share in found.rows_h)


def test_adaptive_pooling_that_repeats_a_cell_is_no_map():
    """As in a VGG at 48 pixels: the last pooling leaves one cell, which `avgpool` repeats 49 times."""
    convolution, repeated = nn.Conv2d(1, 2, 3, 1, 1), nn.AdaptiveAvgPool2d(7)
    net = nn.Sequential(convolution, nn.MaxPool2d(8), repeated, nn.Flatten(), nn.Linear(98, 7))
    assert find_feature_map(net, torch.rand(1, 1, 8, 8)).layer is convolution


def test_a_frozen_backbone_is_explained_too():
    model = toy_classifier(freeze_until="head")
    faces = RNG.integers(0, 256, (4, 12, 12), dtype=np.uint8)
    assert grad_cam(model, faces, np.arange(4)).max() == 1


class Tokens(nn.Module):
    """Ends as a vision transformer does: patches as a sequence, mixed, one of them taken."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.mix, self.head = nn.Conv2d(1, 4, 4, 4), nn.Linear(4, 4), nn.Linear(4, 7)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.mix(self.patches(x_BCHW).flatten(2).transpose(1, 2))[:, 0])


class ChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 7)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(x_BCHW).permute(0, 2, 3, 1)).mean((1, 2)))


@pytest.mark.parametrize(
    ("net", "text"),
    [
        (Tokens(), "this net ends in a sequence of tokens, not in a feature map; Grad-CAM needs one."),
        (ChannelsLast(), "this net's last feature map has its channels last; give it larger faces, or another net."),
        (
            nn.Sequential(nn.Flatten(), nn.Linear(64, 7)),
            "this net has no feature map of more than one position; Grad-CAM needs one.",
        ),
    ],
)
def test_a_net_without_a_map_says_so(net, text):
    with pytest.raises(RunError) as caught:
        grad_cam(net, FACES, np.zeros(3, int))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("classes", "text"),
    [
        ([0, 1], "3 faces, but classes of shape (2,); give one for each face."),
        ([0, 1, 7], "classes from 0 to 7; this net knows 0 to 1."),
        ([-1, 0, 1], "classes from -1 to 1; this net knows 0 to 1."),
    ],
)
def test_classes_that_do_not_fit_are_refused(classes, text):
    with pytest.raises(DataError) as caught:
        grad_cam(two_channels([[1.0, 0.0], [0.0, 1.0]]), FACES, np.array(classes))
    assert str(caught.value) == text


def test_no_faces_have_no_maps():
    assert grad_cam(ToyNet(), np.zeros((0, 12, 12), np.uint8), np.zeros(0, int)).shape == (0, 12, 12)


# --- what stays -----------------------------------------------------------------------------------------------------


def state(model: nn.Module) -> Any:
    """Weights, statistics, modes, gradients, hooks, random state: all that a question must not change."""
    hooks = [(len(module._forward_hooks), len(module._backward_hooks)) for module in model.modules()]
    parameters = [(parameter.requires_grad, bits(parameter.grad)) for parameter in model.parameters()]
    modes = [module.training for module in model.modules()]
    return bits(model.state_dict()), parameters, modes, hooks, bits(torch.get_rng_state())


@pytest.mark.parametrize("training", [True, False])
def test_the_model_stays_as_it_was(training):
    model = toy_classifier(freeze_until="block2").train(training)
    model.get_parameter("net.head.0.weight").grad = torch.ones(8, 54)
    faces = np.random.default_rng(0).integers(0, 256, (5, 12, 12), dtype=np.uint8)
    before = state(model)
    with torch.inference_mode():
        grad_cam(model, faces, np.arange(5))
    assert state(model) == before


def test_dropout_and_batch_statistics_play_no_part():
    torch.manual_seed(0)
    model, faces = ToyNet().train(), np.random.default_rng(2).integers(0, 256, (4, 12, 12), dtype=np.uint8)
    first = grad_cam(model, faces, np.arange(4))
    assert np.array_equal(first, grad_cam(model, faces, np.arange(4)))
    assert np.array_equal(first, grad_cam(model.eval(), faces, np.arange(4)))


def test_a_read_only_store_is_explained_without_a_warning(recwarn):
    faces = FACES.copy()
    faces.flags.writeable = False
    grad_cam(two_channels([[1.0, 0.0]]), faces, np.zeros(3, int))
    assert [str(one.message) for one in recwarn if "writable" in str(one.message)] == []


# --- pictures -------------------------------------------------------------------------------------------------------


def test_a_face_stays_where_the_map_is_empty_and_is_covered_by_its_strength_elsewhere():
    face = np.full((1, 3), 100, np.uint8)
    picture = overlay(face, np.array([[0.0, 1.0, 0.5]], np.float32), strength=0.5)
    assert picture.dtype == np.uint8 and picture.shape == (1, 3, 3)
    assert picture[0, 0].tolist() == [100, 100, 100]
    assert picture[0, 1].tolist() == [176, 178, 132]  # half of 100 and half of 252, 255, 164
    middle = colours(np.array([[0.5]], np.float32))[0, 0]
    assert picture[0, 2].tolist() == np.round(100 + 0.25 * (middle - 100)).tolist()


def test_colours_grow_brighter_all_the_way():
    steps = colours(np.linspace(0, 1, 50, dtype=np.float32)[None])[0]
    luminance = steps @ np.array([0.2126, 0.7152, 0.0722])
    assert steps[0].tolist() == [0, 0, 4] and steps[-1].tolist() == [252, 255, 164]
    assert (np.diff(luminance) > 0).all()


# --- means ----------------------------------------------------------------------------------------------------------


def answers_of(labels: list[int], predicted: list[int]) -> Answers:
    n = len(labels)
    hashes = np.arange(n, dtype=np.uint64)
    return Answers(np.array(labels), np.array(predicted), np.full((n, 2), 0.5), hashes, ("angry", "happy"))


@pytest.mark.parametrize("of_label", [False, True])
def test_means_are_those_of_single_maps(of_label):
    model = two_channels([[2.0, 0.5], [-1.0, 3.0]])
    faces = np.random.default_rng(3).integers(0, 256, (6, 8, 8), dtype=np.uint8)
    labels, predicted = [0, 0, 0, 1, 0, 0], [0, 0, 1, 1, 1, 0]
    told: list[tuple[int, int]] = []
    found = mean_maps(
        model, faces, answers_of(labels, predicted), of_label=of_label, on_progress=lambda *one: told.append(one)
    )
    assert [(one.emotion, one.right, one.n, one.of) for one in found] == [
        ("angry", True, 3, 3), ("angry", False, 2, 2), ("happy", True, 1, 1), ("happy", False, 0, 0)
    ]  # fmt: skip
    single = grad_cam(model, faces, np.array(labels if of_label else predicted))
    for one, rows in zip(found, ([0, 1, 5], [2, 4], [3]), strict=False):
        np.testing.assert_allclose(one.map_HW, single[rows].mean(axis=0), atol=1e-6)
        np.testing.assert_array_equal(one.face_HW, np.round(faces[rows].mean(axis=0)).astype(np.uint8))
    assert found[3].map_HW.shape == (8, 8) and found[3].map_HW.max() == 0
    assert told == [(3, 6), (5, 6), (6, 6), (6, 6)]


def test_of_many_faces_a_few_are_drawn_by_the_seed():
    model, faces = two_channels([[2.0, 0.5], [-1.0, 3.0]]), RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    answered = answers_of([0] * 40, [0] * 40)
    first, again, other = (mean_maps(model, faces, answered, at_most=5, seed=seed)[0] for seed in (1, 1, 2))
    assert (first.n, first.of) == (5, 40)
    assert np.array_equal(first.face_HW, again.face_HW) and not np.array_equal(first.face_HW, other.face_HW)


def test_answers_about_other_faces_are_refused():
    with pytest.raises(DataError, match=r"^3 faces, but 2 answers; give the answered faces.$"):
        mean_maps(ToyNet(), FACES, answers_of([0, 1], [0, 1]))
