"""Augmentation: references for each operation's geometry, bounds of what is drawn, invariants of the whole.

Shapes: B images, C channels, H x W pixels. `u` is what an operation draws: -1..1, times its strength.
"""

import itertools
import math

import pytest
import torch
from torch import Generator, Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from fer_core import augment as module
from fer_core.augment import GEOMETRIC, PHOTOMETRIC, augment
from fer_core.catalog import AUGMENT_OPERATIONS, AUGMENT_RECIPES, AUGMENT_STRENGTHS

STANDARD = AUGMENT_STRENGTHS["standard"]
STRONGEST = {name: operation.high for name, operation in AUGMENT_OPERATIONS.items()}
SIZES = [(48, 48), (32, 64), (61, 40)]


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def noise(b: int, c: int = 1, h: int = 48, w: int = 48, seed: int = 0) -> Tensor:
    return torch.rand((b, c, h, w), generator=generator(seed))


def framed(h: int, w: int) -> Tensor:
    """One smooth blob off the centre, black around: what lies outside the picture is then the same for everyone."""
    y, x = torch.meshgrid(torch.arange(h) - 0.4 * h, torch.arange(w) - 0.55 * w, indexing="ij")
    return torch.exp(-((x / (0.10 * w)) ** 2 + (y / (0.08 * h)) ** 2)).view(1, 1, h, w)


def draw(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Let the operations draw these values of u, one after the other, over and over."""
    stream = itertools.cycle(values)
    monkeypatch.setattr(module, "_signed", lambda images, generator: torch.full((len(images),), next(stream)))


def torchvision_affine(images: Tensor, *, angle: float = 0, dx: float = 0, dy: float = 0, scale: float = 1) -> Tensor:
    """Positive angles turn clockwise, positive dx and dy move right and down, as torchvision has them."""
    return reference.affine(
        images, angle, [dx, dy], scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR, fill=[0.0]
    )


def far(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


# --- the catalog and the registries ---------------------------------------------------------------------------------


def test_the_catalog_names_exactly_the_operations_that_exist():
    assert sorted([*GEOMETRIC, *PHOTOMETRIC]) == sorted(AUGMENT_OPERATIONS)
    assert not set(GEOMETRIC) & set(PHOTOMETRIC)


@pytest.mark.parametrize("recipe", AUGMENT_RECIPES)
def test_every_recipe_gives_each_operation_a_strength_within_its_bounds(recipe):
    strengths = AUGMENT_STRENGTHS[recipe]
    assert list(strengths) == list(AUGMENT_OPERATIONS)
    assert all(0 <= strengths[name] <= AUGMENT_OPERATIONS[name].high for name in strengths)


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_standard_has_every_operation_and_each_has_its_effect(operation):
    assert STANDARD[operation] > 0
    alone = {operation: STANDARD[operation]}
    images = framed(48, 48).expand(64, -1, -1, -1)
    assert far(augment(images, alone, generator()), images) > 0.05


# --- invariants of the whole ----------------------------------------------------------------------------------------


def test_strength_zero_of_everything_gives_the_input_itself_and_draws_nothing():
    images, draws = noise(4), generator(3)
    before = draws.get_state()
    assert augment(images, AUGMENT_STRENGTHS["none"], draws) is images
    assert augment(images, {}, draws) is images
    assert torch.equal(draws.get_state(), before)


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_strength_zero_leaves_one_operation_out_of_the_others(operation):
    without = {name: s for name, s in STANDARD.items() if name != operation}
    images = noise(8)
    assert torch.equal(
        augment(images, {**STANDARD, operation: 0.0}, generator()), augment(images, without, generator())
    )


@pytest.mark.parametrize("strengths", [STANDARD, STRONGEST], ids=["standard", "strongest"])
def test_equal_generator_states_give_equal_images_and_other_states_others(strengths):
    images = noise(8)
    first = augment(images, strengths, generator(5))
    assert torch.equal(augment(images, strengths, generator(5)), first)
    assert far(augment(images, strengths, generator(6)), first) > 0.1


def test_the_input_is_not_written_to():
    images = noise(8)
    copy = images.clone()
    augment(images, STRONGEST, generator())
    assert torch.equal(images, copy)


def test_only_the_given_generator_is_drawn_from():
    before = torch.get_rng_state()
    augment(noise(4), STANDARD, generator())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_each_image_of_a_batch_has_its_own_randomness(operation):
    same = noise(1).expand(16, -1, -1, -1)
    strength = 0.5 if operation == "flip" else AUGMENT_OPERATIONS[operation].high
    changed = augment(same, {operation: strength}, generator(1))
    distinct = len({image.numpy().tobytes() for image in changed})
    assert distinct == (2 if operation == "flip" else 16)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strengths", [STANDARD, STRONGEST], ids=["standard", "strongest"])
def test_images_keep_their_shape_type_and_range(strengths, channels, size):
    extremes = (noise(24, channels, *size) > 0.5).float()
    extremes[:4], extremes[4:8] = 0, 1
    changed = augment(extremes, strengths, generator(2))
    assert changed.shape == extremes.shape and changed.dtype == torch.float32
    assert changed.min() >= 0 and changed.max() <= 1


def test_all_channels_of_an_image_move_together():
    grey = noise(6)
    coloured = augment(grey.expand(-1, 3, -1, -1), STANDARD, generator(7))
    assert torch.equal(coloured[:, 0], coloured[:, 1]) and torch.equal(coloured[:, 0], coloured[:, 2])
    assert far(coloured[:, :1], augment(grey, STANDARD, generator(7))) < 1e-6


# --- each operation against a reference -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_flip_for_certain_is_torch_flip(size):
    images = noise(5, 3, *size)
    assert far(augment(images, {"flip": 1.0}, generator()), images.flip(3)) < 1e-5


def test_flip_mirrors_the_share_that_it_says_and_leaves_the_rest():
    images = noise(1, h=6, w=6).expand(4000, -1, -1, -1)
    changed = augment(images, {"flip": 0.3}, generator())
    mirrored = (changed - images.flip(3)).abs().amax((1, 2, 3)) < 1e-5
    kept = (changed - images).abs().amax((1, 2, 3)) < 1e-5
    assert (mirrored ^ kept).all()
    assert abs(mirrored.float().mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 4000)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("u", [-1.0, 0.5, 1.0])
def test_rotate_turns_against_the_clock_for_positive_u_without_distortion(monkeypatch, size, u):
    draw(monkeypatch, u)
    images = framed(*size)
    turned = augment(images, {"rotate": 30.0}, generator())
    assert far(turned, torchvision_affine(images, angle=-30.0 * u)) < 2e-4
    assert far(turned, images) > 0.2


def test_rotate_by_a_quarter_is_torch_rot90(monkeypatch):
    draw(monkeypatch, 1.0)
    images = noise(2)
    assert far(augment(images, {"rotate": 90.0}, generator()), torch.rot90(images, 1, (2, 3))) < 1e-3


@pytest.mark.parametrize(("u_x", "u_y"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.5)])
def test_shift_moves_left_and_up_for_positive_u_and_repeats_the_border(monkeypatch, u_x, u_y):
    draw(monkeypatch, u_x, u_y)
    images = noise(2, h=32, w=48)
    shifted = augment(images, {"shift": 0.125}, generator())
    rows = (torch.arange(32) + int(4 * u_y)).clamp(0, 31)  # 0.125 of 32 rows, 0.125 of 48 columns
    columns = (torch.arange(48) + int(6 * u_x)).clamp(0, 47)
    assert far(shifted, images[:, :, rows][:, :, :, columns]) < 1e-4


@pytest.mark.parametrize("size", SIZES)
def test_shift_by_a_broken_number_of_pixels_agrees_with_torchvision(monkeypatch, size):
    draw(monkeypatch, 0.7, -0.4)
    h, w = size
    images = framed(h, w)
    expected = torchvision_affine(images, dx=-0.7 * 0.1 * w, dy=0.4 * 0.1 * h)
    assert far(augment(images, {"shift": 0.1}, generator()), expected) < 2e-4


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("u", [-1.0, 1.0])
def test_scale_enlarges_for_positive_u(monkeypatch, size, u):
    draw(monkeypatch, u)
    images = framed(*size)
    scaled = augment(images, {"scale": 0.25}, generator())
    assert far(scaled, torchvision_affine(images, scale=1 + 0.25 * u)) < 2e-4
    area = scaled.sum() / images.sum()
    assert area.item() == pytest.approx((1 + 0.25 * u) ** 2, rel=0.01)


@pytest.mark.parametrize("order", [("flip", "shift"), ("shift", "flip")])
def test_operations_follow_each_other_in_the_order_of_the_strengths(monkeypatch, order):
    draw(monkeypatch, 1.0, 0.0)
    strengths = {"flip": 1.0, "shift": 0.125}
    images = noise(2)
    expected = images
    for name in order:
        expected = augment(expected, {name: strengths[name]}, generator())
    assert far(augment(images, {name: strengths[name] for name in order}, generator()), expected) < 1e-4


def test_several_operations_are_resampled_once(monkeypatch):
    draw(monkeypatch, 0.5)
    half_a_pixel = {"shift": 1 / 48}  # u = 0.5
    images = noise(1)  # each resampling between pixels takes some of the noise's spread away
    once = augment(images, half_a_pixel, generator())
    twice = augment(once, {"flip": 1.0, "scale": 0.2}, generator())
    together = augment(images, {**half_a_pixel, "flip": 1.0, "scale": 0.2}, generator())
    assert together.std() > 1.15 * twice.std()


# --- bounds of what is drawn ----------------------------------------------------------------------------------------


def assert_even(values: Tensor, low: float, high: float) -> None:
    """The values fill low..high evenly: within it, near both ends, and a quarter in each quarter."""
    assert low - 1e-4 <= values.min() and values.max() <= high + 1e-4
    share = (values - low) / (high - low)
    quarters = torch.histc(share, 4, 0, 1) / len(values)
    assert (quarters - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / len(values))
    assert share.min() < 0.01 and share.max() > 0.99


def test_brightness_draws_its_factor_evenly_from_one_minus_to_one_plus_share():
    images = torch.full((4000, 1, 2, 2), 0.5)
    factors = augment(images, {"brightness": 0.2}, generator()) / 0.5
    assert (factors == factors[:, :, :1, :1]).all()
    assert_even(factors[:, 0, 0, 0], 0.8, 1.2)


def test_brightness_clips_at_white(monkeypatch):
    draw(monkeypatch, 1.0)
    images = torch.tensor([0.0, 0.4, 0.9]).view(1, 1, 1, 3)
    bright = augment(images, {"brightness": 0.5}, generator())
    assert bright.flatten().tolist() == pytest.approx([0.0, 0.6, 1.0])


def ramp(axis: int, b: int = 4000, side: int = 25) -> Tensor:
    """Grey levels grow by 1 / (side - 1) a pixel along an axis: the middle pixel tells from where it was taken."""
    line = torch.linspace(0, 1, side)
    return (line.view(1, 1, -1, 1) if axis == 2 else line.view(1, 1, 1, -1)).expand(b, 1, side, side)


@pytest.mark.parametrize("axis", [2, 3])
def test_shift_draws_evenly_up_to_its_share_either_way(axis):
    middle = augment(ramp(axis), {"shift": 0.2}, generator())[:, 0, 12, 12]
    assert_even((middle - 0.5) * 24, -5.0, 5.0)  # 0.2 of 25 pixels


def test_shift_draws_the_two_directions_apart():
    images = torch.cat([ramp(2), ramp(3)], dim=1)
    middle = augment(images, {"shift": 0.2}, generator())[:, :, 12, 12]
    assert abs(torch.corrcoef(middle.T)[0, 1]) < 5 / math.sqrt(4000)


def test_scale_draws_its_factor_evenly():
    changed = augment(ramp(3), {"scale": 0.2}, generator())
    slope = (changed[:, 0, 12, 14] - changed[:, 0, 12, 10]) / 4 * 24
    assert_even(1 / slope, 0.8, 1.2)


def test_rotate_draws_its_angle_evenly():
    changed = augment(ramp(3), {"rotate": 12.0}, generator())
    sine = (changed[:, 0, 14, 12] - changed[:, 0, 10, 12]) / 4 * 24
    assert_even(torch.rad2deg(torch.asin(sine)), -12.0, 12.0)


# --- erase ----------------------------------------------------------------------------------------------------------


def covered_spans(changed: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows and which columns of each image were touched; fails unless exactly their crossing was."""
    touched = (changed != images).any(1)
    rows, columns = touched.any(2), touched.any(1)
    assert torch.equal(touched, rows[:, :, None] & columns[:, None, :]), "not a rectangle"
    for spans in (rows, columns):
        edges = torch.diff(torch.nn.functional.pad(spans.int(), (1, 1)), dim=1)
        assert (edges.abs().sum(1) <= 2).all(), "a span with a hole"
    return rows, columns


def test_erase_covers_one_rectangle_with_the_images_own_mean():
    images = noise(200, 2, 40, 60)
    changed = augment(images, {"erase": 1.0}, generator())
    covered_spans(changed, images)
    means = images.mean((2, 3), keepdim=True).expand_as(images)
    touched = changed != images
    assert far(changed[touched], means[touched]) < 1e-6
    assert touched.any((1, 2, 3)).all()


def test_erase_draws_sides_of_15_to_45_percent_anywhere_in_the_picture():
    h, w = 80, 120
    images = noise(1, 1, h, w).expand(1500, -1, -1, -1)
    changed = augment(images, {"erase": 1.0}, generator())
    for spans, length in zip(covered_spans(changed, images), (h, w), strict=True):
        shares = spans.sum(1) / length
        assert 0.15 - 1 / length <= shares.min() < 0.16 and 0.44 < shares.max() <= 0.45 + 1 / length
        assert abs(shares.mean() - 0.30) < 5 * 0.3 / math.sqrt(12 * 1500)
        assert spans[:, 0].any() and spans[:, -1].any(), "it never reaches the border"
        first = spans.int().argmax(1) / length
        freedom = first / (1 - shares)  # 0 where it lies at the start, 1 where it lies at the end
        assert abs(freedom.mean() - 0.5) < 0.03


def test_erase_draws_height_width_and_place_apart():
    images = noise(1).expand(3000, -1, -1, -1)
    rows, columns = covered_spans(augment(images, {"erase": 1.0}, generator()), images)
    heights, widths = rows.sum(1).float(), columns.sum(1).float()
    tops, lefts = rows.int().argmax(1).float(), columns.int().argmax(1).float()
    for a, b in ((heights, widths), (tops, lefts)):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / math.sqrt(3000)


def test_erase_happens_with_its_probability():
    images = noise(1, h=12, w=12).expand(4000, -1, -1, -1)
    touched = (augment(images, {"erase": 0.3}, generator()) != images).any(3).any(2).any(1)
    assert abs(touched.float().mean() - 0.3) < 5 * math.sqrt(0.3 * 0.7 / 4000)
