"""Test-time views: torchvision's crops as the reference, and logits that are the mean over the views.

Shapes: N faces, B batch, H x W pixels, K classes.
"""

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as reference

from fer_core.augment import augment, to_floats
from fer_core.augmentations import Augmentation
from fer_core.catalog import VIEWS
from fer_core.errors import ConfigError
from fer_core.views import predict_logits, shown

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(b: int = 3, h: int = 48, w: int = 48) -> Tensor:
    return torch.rand((b, 1, h, w), generator=torch.Generator().manual_seed(0))


def some_faces(n: int = 10, side: int = 12) -> Tensor:
    return torch.randint(0, 256, (n, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """State in batch norm, chance in dropout, a pooling that takes any size; what it was shown is kept."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.dropout = nn.BatchNorm2d(1), nn.Dropout(0.5)
        self.pool, self.head = nn.AdaptiveAvgPool2d(6), nn.Linear(36, 7)
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, x_BCHW: Tensor) -> Tensor:
        self.sizes.append(tuple(x_BCHW.shape))
        return self.head(self.dropout(self.pool(self.norm(x_BCHW))).flatten(1))


def assert_equal_views(ours, theirs, within: float) -> None:
    for view, expected in zip(ours, theirs, strict=True):
        assert view.shape == expected.shape
        assert (view - expected).abs().max() < within


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("view", "number"), [("none", 1), ("flip", 2), ("ten-crop", 10)])
@pytest.mark.parametrize("sides", [(48, 48), (40, 60), (96, 30)])
@pytest.mark.parametrize("size", [None, 44, 64])
@pytest.mark.parametrize("crop", [0.0, 0.2])
def test_every_view_has_its_number_of_pictures_of_the_size_asked_for(view, number, sides, size, crop):
    images = noise(2, *sides)
    views = list(shown(images, view, crop, size))
    assert len(views) == number
    assert all(v.shape == (2, 1, *(sides if size is None else (size, size))) for v in views)
    assert all(v.min() >= 0 and v.max() <= 1 for v in views)


def test_the_catalog_names_the_views_and_others_are_refused_at_once():
    for view in VIEWS:
        assert list(shown(noise(), view))
    with pytest.raises(ConfigError, match=r"no view named 'ten'. .*Known: flip, none, ten-crop"):
        shown(noise(), "ten")


def test_without_crop_and_at_its_own_size_the_picture_itself_is_shown():
    images = noise()
    assert next(shown(images, "none")) is images
    assert next(shown(images, "none", 0.0, 48)) is images
    plain, mirrored = shown(images, "flip")
    assert plain is images and torch.equal(mirrored, images.flip(3))


def test_ten_crops_are_torchvisions_where_windows_fall_on_whole_pixels():
    images = noise()
    assert_equal_views(shown(images, "ten-crop", size=44), reference.ten_crop(images, [44, 44]), 1e-5)
    assert_equal_views(shown(images, "ten-crop", 1 / 6, 40), reference.ten_crop(images, [40, 40]), 1e-5)


def test_ten_crops_are_torchvisions_after_resizing_to_240():
    images = noise()
    expected = reference.ten_crop(reference.resize(images, [240, 240]), [200, 200])
    assert_equal_views(shown(images, "ten-crop", 40 / 240, 200), expected, 1e-4)


def test_ten_crops_cut_off_a_twelfth_at_the_least():
    images = noise()
    assert_equal_views(shown(images, "ten-crop", 0.02, 64), list(shown(images, "ten-crop", 1 / 12, 64)), 1e-9)


@pytest.mark.parametrize("side", [48, 300, 480])
def test_none_and_flip_are_the_centre_crop_after_resizing_to_240(side):
    images = noise(2, side, side)
    resized = reference.resize(images, [240, 240], antialias=True)
    centre = reference.center_crop(resized, [224, 224])
    assert_equal_views(shown(images, "none", 16 / 240, 224), [centre], 1e-4)
    assert_equal_views(shown(images, "flip", 16 / 240, 224), [centre, centre.flip(3)], 1e-4)


@pytest.mark.parametrize("view", VIEWS)
def test_a_mirrored_face_is_shown_the_same_views_in_another_order(view):
    images = noise()
    plain, mirrored = (torch.stack(list(shown(i, view, 0.1, 60))) for i in (images, images.flip(3)))
    if view == "none":
        assert (plain.flip(4) - mirrored).abs().max() < 1e-4
    else:
        assert (plain.mean(0) - mirrored.mean(0)).abs().max() < 1e-5


def test_larger_pictures_shrink_to_means():
    stripes = (torch.arange(192) % 2).float().expand(2, 1, 192, 192)
    for view in VIEWS:
        for picture in shown(stripes, view, 0.1, 48):
            assert (picture[:, :, 4:-4, 4:-4] - 0.5).abs().max() < 0.02


def test_the_middle_window_is_what_the_training_crop_draws_on_average():
    ramp = torch.linspace(0, 1, 48).expand(2000, 1, 48, 48)
    cropped = augment(ramp, Augmentation.parse(["crop:0.25"]), torch.Generator().manual_seed(0))
    middle = next(shown(ramp[:1], "none", 0.25))
    assert (cropped.mean(0) - middle[0]).abs().max() < 0.02


# --- logits ---------------------------------------------------------------------------------------------------------


def test_logits_are_the_nets_own_in_evaluation_mode():
    net, faces = Net(), some_faces()
    logits = predict_logits(net, faces)
    net.eval()
    assert torch.equal(logits, net(to_floats(faces)))
    assert logits.shape == (10, 7) and logits.dtype == torch.float32 and not logits.requires_grad


@pytest.mark.parametrize("view", VIEWS)
def test_logits_are_the_mean_over_the_views_however_they_are_batched(view):
    net, faces = Net().eval(), some_faces()
    with torch.no_grad():
        expected = torch.stack([net(images) for images in shown(to_floats(faces), view, 0.1, 16)]).mean(0)
    for batch in (1, 3, 64):
        logits = predict_logits(net, faces, view, 0.1, 16, batch=batch)
        assert (logits - expected).abs().max() < 1e-6
    assert (predict_logits(net, faces) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("view", ["flip", "ten-crop"])
def test_a_face_and_its_mirror_image_get_the_same_logits(view):
    net, faces = Net(), some_faces()
    assert (predict_logits(net, faces, view) - predict_logits(net, faces.flip(2), view)).abs().max() < 1e-5
    assert (predict_logits(net, faces) - predict_logits(net, faces.flip(2))).abs().max() > 1e-3


def test_the_net_gets_batches_of_the_size_it_was_trained_with():
    net = Net()
    predict_logits(net, some_faces(5), "flip", 0.1, 20, batch=4)
    assert net.sizes == [(4, 1, 20, 20)] * 2 + [(1, 1, 20, 20)] * 2


def test_every_modules_mode_is_put_back_also_after_an_error():
    net = Net().train()
    net.norm.eval()  # a frozen layer
    predict_logits(net, some_faces())
    assert net.training and net.dropout.training and not net.norm.training
    with pytest.raises(ConfigError, match="no view"):
        predict_logits(net, some_faces(), "upside-down")
    assert net.training and net.dropout.training and not net.norm.training
    net.eval()
    predict_logits(net, some_faces())
    assert not net.training and not net.dropout.training


def test_statistics_do_not_change_and_answers_repeat():
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first = predict_logits(net, some_faces(), "ten-crop")
    assert torch.equal(predict_logits(net, some_faces(), "ten-crop"), first)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_a_net_in_half_precision_gives_float32():
    class Half(nn.Module):
        def forward(self, x_BCHW: Tensor) -> Tensor:
            return x_BCHW.flatten(1)[:, :7].bfloat16()

    for view in VIEWS:
        assert predict_logits(Half(), some_faces(), view).dtype == torch.float32


def test_after_each_batch_and_view_the_caller_has_a_look():
    looks = []
    images = torch.zeros(5, 48, 48, dtype=torch.uint8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48 * 48, 7))
    predict_logits(net, images, "ten-crop", batch=2, on_look=lambda: looks.append(1))
    assert len(looks) == 3 * 10


def test_no_faces_have_no_logits():
    assert predict_logits(Net(), some_faces(0), "ten-crop", size=16).shape == (0, 7)
