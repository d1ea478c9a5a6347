"""Augmentation: torchvision's functions as the reference of each operation, bounds of what is drawn, invariants.

Shapes: B images, C channels, H x W pixels.
"""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from fer_core import affine
from fer_core import augment as photometric
from fer_core.affine import product, resample, resize, shrink
from fer_core.augment import GEOMETRIC, PHOTOMETRIC, augment, augment_bytes, to_floats
from fer_core.augmentations import BUILT_IN, Augmentation, Step
from fer_core.catalog import AUGMENT_OPERATIONS

STANDARD = BUILT_IN["standard"].augmentation
STRONGEST = Augmentation(tuple(Step(name, spec.high) for name, spec in AUGMENT_OPERATIONS.items()))
SIZES = [(48, 48), (32, 64), (61, 40)]
BILINEAR = InterpolationMode.BILINEAR

pytestmark = pytest.mark.usefixtures("one_thread")


def recipe(*steps: str, share: float = 1.0) -> Augmentation:
    return Augmentation.parse(steps, share)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def noise(b: int, c: int = 1, h: int = 48, w: int = 48, seed: int = 0) -> Tensor:
    return torch.rand((b, c, h, w), generator=generator(seed))


def framed(h: int, w: int) -> Tensor:
    """One smooth blob off the centre, black around: what lies outside the picture is then the same for everyone."""
    y, x = torch.meshgrid(torch.arange(h) - 0.4 * h, torch.arange(w) - 0.55 * w, indexing="ij")
    return torch.exp(-((x / (0.10 * w)) ** 2 + (y / (0.08 * h)) ** 2)).view(1, 1, h, w)


def far(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


def changed(a: Tensor, b: Tensor) -> Tensor:
    """(B,) booleans: an image that is resampled by the identity may differ by a rounding."""
    return (a - b).abs().amax((1, 2, 3)) > 1e-4


# --- the catalog and the registries ---------------------------------------------------------------------------------


def test_the_catalog_names_exactly_the_operations_that_exist():
    assert sorted([*GEOMETRIC, *PHOTOMETRIC]) == sorted(AUGMENT_OPERATIONS)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_step_of_a_recipe_has_its_effect(name):
    augmentation = BUILT_IN[name].augmentation
    images = 0.2 + 0.6 * framed(48, 48).expand(64, -1, -1, -1)
    for place in range(len(augmentation.steps)):
        assert far(augment(images, augmentation.only(place), generator()), images) > 0.015


# --- invariants of the whole ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "idle", [recipe(), recipe("rotate:0"), recipe("rotate:10@0", "flip@0"), recipe("rotate:10", "erase", share=0)]
)
def test_a_recipe_without_effect_gives_the_input_itself_and_draws_nothing(idle):
    images, draws = noise(4), generator(3)
    before = draws.get_state()
    assert augment(images, idle, draws) is images
    assert augment(images, idle, draws, 48) is images
    assert far(augment(images, idle, draws, 60), F.interpolate(images, (60, 60), mode="bilinear")) < 1e-6
    assert torch.equal(draws.get_state(), before)


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_a_step_without_effect_leaves_the_others_as_they_are(operation):
    steps = [step for step in STANDARD.steps if step.operation != operation]
    idle = Step(operation, AUGMENT_OPERATIONS[operation].high, 0.0)
    images = noise(8)
    expected = augment(images, Augmentation(tuple(steps)), generator())
    assert torch.equal(augment(images, Augmentation((*steps[:2], idle, *steps[2:])), generator()), expected)


@pytest.mark.parametrize("augmentation", [STANDARD, STRONGEST], ids=["standard", "strongest"])
def test_equal_generator_states_give_equal_images_and_other_states_others(augmentation):
    images = noise(8)
    first = augment(images, augmentation, generator(5), 60)
    assert torch.equal(augment(images, augmentation, generator(5), 60), first)
    assert far(augment(images, augmentation, generator(6), 60), first) > 0.1


@pytest.mark.parametrize("size", [None, 32, 64])
def test_neither_the_input_nor_torchs_own_generator_is_touched(size):
    images, before = noise(8), torch.get_rng_state()
    copy = images.clone()
    augment(images, STRONGEST, generator(), size)
    augment(images, recipe("erase:0.5"), generator(), size)
    assert torch.equal(images, copy)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_each_image_of_a_batch_has_its_own_randomness(operation):
    same = 0.2 + 0.6 * noise(1).expand(16, -1, -1, -1)
    two = operation in ("flip", "autocontrast", "coarse")  # these leave only whether, not how
    step = Step(operation, AUGMENT_OPERATIONS[operation].high, 0.5 if two else 1.0)
    results = augment(same, Augmentation((step,)), generator(1))
    assert len({image.numpy().tobytes() for image in results}) == (2 if two else 16)


@pytest.mark.parametrize("sides", SIZES)
@pytest.mark.parametrize("size", [None, 40, 72])
@pytest.mark.parametrize("augmentation", [STANDARD, STRONGEST], ids=["standard", "strongest"])
def test_images_have_the_size_that_was_asked_for_and_stay_in_range(augmentation, sides, size):
    extremes = (noise(24, 1, *sides) > 0.5).float()
    extremes[:4], extremes[4:8] = 0, 1
    results = augment(extremes, augmentation, generator(2), size)
    assert results.shape == (24, 1, *(sides if size is None else (size, size)))
    assert results.dtype == torch.float32
    assert results.min() >= 0 and results.max() <= 1


@pytest.mark.parametrize("b", [0, 1])
def test_a_batch_may_have_one_image_or_none(b):
    assert augment(noise(b), STRONGEST, generator(), 56).shape == (b, 1, 56, 56)


@pytest.mark.parametrize("b", [1, 3])
@pytest.mark.parametrize("name", BUILT_IN)
def test_nothing_waits_for_the_device(name, b):
    """Neither a number nor a count of chosen pixels is ever asked for: on a GPU the queue would run dry each time."""

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            waiting = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_nonzero", "equal")
            assert func.overloadpacket.__name__ not in waiting
            mask = [
                a for a in args[1:2] if func.overloadpacket.__name__.startswith("index") for a in a if a is not None
            ]
            assert not any(a.dtype == torch.bool for a in mask)
            return func(*args, **(kwargs or {}))

    images = noise(b)
    with Watch():
        augment(images, BUILT_IN[name].augmentation, generator(), 64)
        augment(images, STRONGEST, generator(), 32)


# --- whether a step happens -----------------------------------------------------------------------------------------


def assert_share(chosen: Tensor, probability: float) -> None:
    spread = math.sqrt(probability * (1 - probability) / len(chosen))
    assert abs(chosen.float().mean().item() - probability) < 5 * spread


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_a_step_happens_with_its_probability_and_else_leaves_the_image(operation):
    images = 0.2 + 0.6 * noise(1, h=16, w=16).expand(2000, -1, -1, -1)
    step = Step(operation, AUGMENT_OPERATIONS[operation].high, 0.3)
    assert_share(changed(augment(images, Augmentation((step,)), generator()), images), 0.3)


def test_steps_happen_independently_of_each_other():
    images = 0.2 + 0.6 * noise(1, h=8, w=8).expand(4000, -1, -1, -1)
    results = augment(images, recipe("flip@0.5", "autocontrast@0.5"), generator())
    stretched = results.amax((1, 2, 3)) > 0.99
    mirrored = (results[..., 0] - results[..., -1]).mean((1, 2)).sign() != (
        images[..., 0] - images[..., -1]
    ).mean().sign()
    assert_share(stretched & mirrored, 0.25)


def test_the_recipes_share_decides_about_all_steps_at_once():
    images = 0.2 + 0.6 * noise(1, h=8, w=8).expand(4000, -1, -1, -1)
    results = augment(images, recipe("flip@1", "autocontrast@1", "coarse:0.5", share=0.3), generator())
    with_all = augment(images[:1], recipe("flip@1", "autocontrast@1", "coarse:0.5"), generator())
    chosen = changed(results, images)
    assert_share(chosen, 0.3)
    assert far(results[chosen], with_all.expand(int(chosen.sum()), -1, -1, -1)) < 1e-5


def test_the_share_multiplies_a_steps_probability():
    images = noise(1, h=8, w=8).expand(4000, -1, -1, -1)
    assert_share(changed(augment(images, recipe("flip@0.5", share=0.4), generator()), images), 0.2)


# --- size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "size"), [(48, 224), (48, 48), (96, 48), (50, 48), (48, 7)])
def test_resizing_is_torchvisions(side, size):
    images = noise(2, h=side, w=side)
    assert far(resize(images, size, size), reference.resize(images, [size, size], antialias=True)) < 1e-5


def test_enlarging_without_a_geometric_step_equals_the_identity_through_the_resampling():
    images = noise(3, h=32, w=48)
    identity = torch.eye(3).expand(3, 3, 3)
    assert far(resize(images, 224, 224), resample(images, identity, 224, 224)) < 2e-5


@pytest.mark.parametrize(("side", "size"), [(48, 224), (96, 48), (61, 40)])
def test_a_step_at_another_size_is_the_step_on_the_resized_image(side, size):
    images = noise(2, h=side, w=side)
    expected = reference.horizontal_flip(reference.resize(images, [size, size], antialias=True))
    assert far(augment(images, recipe("flip@1"), generator(), size), expected) < 5e-5


def test_photometric_steps_come_after_the_resizing():
    images = 0.2 + 0.6 * noise(2)
    expected = reference.autocontrast(reference.resize(images, [100, 100]))
    assert far(augment(images, recipe("autocontrast@1"), generator(), 100), expected) < 1e-5


def test_stripes_of_one_pixel_become_grey_when_an_image_shrinks():
    stripes = (torch.arange(192) % 2).float().expand(4, 1, 192, 192)
    for augmentation in (recipe(), recipe("rotate:5"), recipe("crop:0.1@0.5"), recipe("crop:0.1", share=0.5)):
        shrunk = augment(stripes, augmentation, generator(), 48)[:, :, 4:-4, 4:-4]
        assert far(shrunk, torch.full_like(shrunk, 0.5)) < 0.05


@pytest.mark.parametrize("augmentation", [recipe("crop:0.4@0.5"), recipe("crop:0.4", share=0.5)])
def test_images_that_a_crop_leaves_out_are_resized_alone(augmentation):
    images = noise(40, h=80, w=80)
    resized = reference.resize(images, [48, 48], antialias=True)
    assert 5 <= changed(augment(images, augmentation, generator(), 48), resized).sum() <= 35


def test_resize_to_240_then_crop_224_of_a_larger_picture(monkeypatch):
    monkeypatch.setitem(
        GEOMETRIC,
        "crop",
        lambda images, strength, _: affine.window(*(torch.full((2,), v / 240) for v in (3, 5, 224, 224))),
    )
    images = noise(2, h=480, w=480)
    expected = reference.resize(images, [240, 240], antialias=True)[:, :, 5:229, 3:227]
    assert far(augment(images, recipe(f"crop:{16 / 240}"), generator(), 224), expected) < 1e-4


def test_shrinking_keeps_what_a_window_needs_and_never_enlarges():
    assert shrink(noise(1, h=480, w=300), 224, 224, 224 / 240).shape[2:] == (240, 240)
    assert shrink(noise(1, h=480, w=100), 224, 224).shape[2:] == (224, 100)
    small = noise(1)
    assert shrink(small, 224, 224, 0.5) is small


# --- the geometric operations against torchvision, each image with its own parameters -------------------------------


def torchvision_affine(image: Tensor, angle: float = 0, move=(0.0, 0.0), scale: float = 1, shear: float = 0) -> Tensor:
    """Positive angles turn clockwise, positive moves go right and down, as torchvision has them."""
    return reference.affine(image, angle, list(move), scale, [shear, 0.0], interpolation=BILINEAR, fill=[0.0])


def assert_each(images: Tensor, matrices: Tensor, expected: Callable[[Tensor, int], Tensor], within: float) -> None:
    """Image b of the batch, seen through matrix b, is expected(image, b)."""
    results = resample(images, matrices, *images.shape[2:])
    for b in range(len(images)):
        assert far(results[b : b + 1], expected(images[b : b + 1], b)) < within, b


@pytest.mark.parametrize("sides", SIZES)
def test_rotation_is_torchvisions(sides):
    degrees = torch.tensor([-30.0, 0.0, 12.5, 30.0])
    matrices = affine.rotation(torch.deg2rad(degrees), sides[0] / sides[1])
    images = framed(*sides).expand(4, -1, -1, -1)
    assert_each(images, matrices, lambda i, b: reference.rotate(i, degrees[b].item(), BILINEAR, fill=[0.0]), 2e-4)


def test_rotation_by_a_quarter_is_torch_rot90():
    images = noise(2)
    turned = resample(images, affine.rotation(torch.full((2,), math.pi / 2), 1.0), 48, 48)
    assert far(turned, torch.rot90(images, 1, (2, 3))) < 1e-4


@pytest.mark.parametrize("sides", SIZES)
def test_translation_by_broken_pixels_is_torchvisions(sides):
    h, w = sides
    left, up = torch.tensor([0.07, -0.1, 0.0]), torch.tensor([-0.04, 0.1, 0.05])
    images = framed(h, w).expand(3, -1, -1, -1)
    assert_each(
        images,
        affine.translation(left, up),
        lambda i, b: torchvision_affine(i, move=(-left[b].item() * w, -up[b].item() * h)),
        2e-4,
    )


def test_translation_repeats_the_border():
    images = noise(1, h=32, w=48)
    shifted = resample(images, affine.translation(torch.tensor([0.125]), torch.tensor([-0.125])), 32, 48)
    rows = (torch.arange(32) - 4).clamp(0, 31)  # 0.125 of 32 rows, 0.125 of 48 columns
    columns = (torch.arange(48) + 6).clamp(0, 47)
    assert far(shifted, images[:, :, rows][:, :, :, columns]) < 1e-4


@pytest.mark.parametrize("sides", SIZES)
def test_enlargement_is_torchvisions(sides):
    factor = torch.tensor([0.75, 1.0, 1.1, 1.25])
    images = framed(*sides).expand(4, -1, -1, -1)
    assert_each(images, affine.enlargement(factor), lambda i, b: torchvision_affine(i, scale=factor[b].item()), 2e-4)


@pytest.mark.parametrize("sides", SIZES)
def test_shearing_is_torchvisions(sides):
    degrees = torch.tensor([-20.0, 0.0, 5.0, 20.0])
    matrices = affine.shearing(torch.deg2rad(degrees), sides[0] / sides[1])
    images = framed(*sides).expand(4, -1, -1, -1)
    assert_each(images, matrices, lambda i, b: torchvision_affine(i, shear=degrees[b].item()), 2e-4)


@pytest.mark.parametrize("sides", SIZES)
def test_mirror_is_torchvisions_flip(sides):
    images = noise(4, 1, *sides)
    mirrored = torch.tensor([True, False, True, False])
    assert_each(images, affine.mirror(mirrored), lambda i, b: reference.horizontal_flip(i) if mirrored[b] else i, 2e-5)


@pytest.mark.parametrize("sides", SIZES)
def test_a_window_is_torchvisions_resized_crop(sides):
    h, w = sides
    boxes = [(0, 0, h, w), (3, 5, 20, 25), (h - 24, w - 30, 24, 30), (7, 2, 11, 30)]  # top, left, height, width
    top, left, height, width = (torch.tensor([float(box[i]) for box in boxes]) for i in range(4))
    matrices = affine.window(left / w, top / h, width / w, height / h)
    images = noise(1, 1, h, w).expand(4, -1, -1, -1)
    results = resample(images, matrices, 60, 60)
    for b, box in enumerate(boxes):
        # Ours may look past the window at what the picture shows there: only its inside is the same.
        inside = slice(4, -4)
        expected = reference.resized_crop(images[b : b + 1], *box, [60, 60], antialias=False)
        assert far(results[b : b + 1, :, inside, inside], expected[:, :, inside, inside]) < 1e-4


def test_a_window_at_its_own_size_is_torchvisions_crop():
    images = noise(2)
    quarter = [torch.tensor([v / 48, v / 48]) for v in (5, 2, 40, 40)]
    assert far(resample(images, affine.window(*quarter), 40, 40), reference.crop(images, 2, 5, 40, 40)) < 1e-4


@pytest.mark.parametrize(
    ("first", "second"), [("rotate:30", "shift:0.2"), ("shift:0.2", "rotate:30"), ("shear:20", "crop:0.3")]
)
def test_two_steps_in_one_resampling_equal_one_after_the_other(first, second):
    images = framed(96, 128).expand(8, -1, -1, -1)
    draws = generator(4)
    a, b = (GEOMETRIC[s.operation](images, s.strength, draws) for s in recipe(first, second).steps)
    one_by_one = resample(resample(images, a, 96, 128), b, 96, 128)
    together = augment(images, recipe(first, second), generator(4))
    assert far(together, one_by_one) < 0.02
    assert far(resample(images, product([b, a]), 96, 128), one_by_one) > 0.1


def test_steps_follow_each_other_in_the_recipes_order():
    images = noise(2)
    shift, flip = affine.translation(torch.full((2,), 0.125), torch.zeros(2)), affine.mirror(torch.ones(2))
    shifted = images[:, :, :, (torch.arange(48) + 6).clamp(0, 47)]
    assert far(resample(images, product([shift, flip]), 48, 48), shifted.flip(3)) < 1e-4


def test_several_steps_are_resampled_once():
    images = noise(1)  # each resampling between pixels takes some of the noise's spread away
    half = affine.translation(torch.tensor([0.5 / 48]), torch.tensor([0.5 / 48]))
    turn = affine.rotation(torch.tensor([0.3]), 1.0)
    twice = resample(resample(images, half, 48, 48), turn, 48, 48)
    assert resample(images, product([half, turn]), 48, 48).std() > 1.1 * twice.std()


# --- the other operations against torchvision, each image with its own parameters -----------------------------------


@pytest.mark.parametrize("name", ["adjust_brightness", "adjust_contrast", "adjust_sharpness"])
@pytest.mark.parametrize("sides", [*SIZES, (2, 9)])
def test_an_adjustment_is_torchvisions(name, sides):
    images, factor = noise(6, 1, *sides), torch.tensor([0.0, 0.4, 0.95, 1.0, 1.3, 2.0])
    results = getattr(photometric, name)(images, factor)
    for b in range(6):
        assert far(results[b : b + 1], getattr(reference, name)(images[b : b + 1], factor[b].item())) < 2e-6


def test_stretching_contrast_is_torchvisions():
    images = noise(4) * torch.tensor([0.2, 1.0, 0.5, 0.0]).view(-1, 1, 1, 1) + 0.3  # the last one is of one grey
    images = images.clamp(0, 1)
    assert far(photometric.stretch_contrast(images), reference.autocontrast(images)) < 2e-6


@pytest.mark.parametrize(("side", "share", "small"), [(48, 8 / 48, 40), (48, 0.5, 24), (224, 0.8, 45), (3, 0.9, 1)])
def test_coarsening_is_torchvisions_resize_down_and_up(side, share, small):
    images = noise(2, h=side, w=side)
    expected = reference.resize(reference.resize(images, [small, small], antialias=True), [side, side])
    assert far(photometric.coarsen(images, share), expected) < 1e-5


def test_covering_is_torchvisions_erase_with_the_mean():
    images = noise(3, h=40, w=60)
    boxes = [(0, 0, 10, 15), (5, 7, 20, 33), (30, 45, 10, 15)]  # top, left, height, width
    top, left, height, width = (torch.tensor([float(box[i]) for box in boxes]) for i in range(4))
    results = photometric.cover(images, top / 40, height / 40, left / 60, width / 60)
    for b, box in enumerate(boxes):
        assert far(results[b], reference.erase(images[b], *box, v=images[b].mean(dim=(1, 2), keepdim=True))) < 1e-6


# --- bounds of what is drawn ----------------------------------------------------------------------------------------


def assert_even(values: Tensor, low: float, high: float) -> None:
    """The values fill low..high evenly: within it, near both ends, and a quarter in each quarter."""
    assert low - 1e-4 <= values.min() and values.max() <= high + 1e-4
    share = (values - low) / (high - low)
    quarters = torch.histc(share, 4, 0, 1) / len(values)
    assert (quarters - 0.25).abs().max() < 5 * math.sqrt(0.25 * 0.75 / len(values))
    assert share.min() < 0.01 and share.max() > 0.99


def assert_apart(a: Tensor, b: Tensor) -> None:
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 5 / math.sqrt(len(a))


def matrices(operation: str, strength: float, h: int = 8, w: int = 8) -> Tensor:
    return GEOMETRIC[operation](torch.zeros(4000, 1, h, w), strength, generator())


def test_rotate_draws_its_angle_evenly():
    m = matrices("rotate", 12.0)
    assert_even(torch.rad2deg(torch.atan2(m[:, 1, 0], m[:, 0, 0])), -12, 12)


def test_shear_draws_its_angle_evenly():
    assert_even(torch.rad2deg(torch.atan(matrices("shear", 5.0, 8, 16)[:, 0, 1] * 2)), -5, 5)


def test_shift_draws_both_directions_evenly_and_apart():
    m = matrices("shift", 0.2)
    assert_even(m[:, 0, 2] / 2, -0.2, 0.2)
    assert_even(m[:, 1, 2] / 2, -0.2, 0.2)
    assert_apart(m[:, 0, 2], m[:, 1, 2])


def test_scale_draws_its_factor_evenly_for_both_sides_at_once():
    m = matrices("scale", 0.2)
    assert_even(1 / m[:, 0, 0], 0.8, 1.2)
    assert torch.equal(m[:, 0, 0], m[:, 1, 1])


def left_and_top(m: Tensor) -> tuple[Tensor, Tensor]:
    """The window's upper left corner, as shares of the picture: the point -1, -1 of the result."""
    return (m[:, 0, 2] - m[:, 0, 0] + 1) / 2, (m[:, 1, 2] - m[:, 1, 1] + 1) / 2


def test_crop_draws_a_window_of_one_size_anywhere():
    m = matrices("crop", 0.25)
    assert (m[:, 0, 0] == 0.75).all() and (m[:, 1, 1] == 0.75).all()
    left, top = left_and_top(m)
    assert_even(left, 0, 0.25)
    assert_even(top, 0, 0.25)
    assert_apart(left, top)


def test_resized_crop_draws_the_windows_area_evenly_and_its_place_within_the_picture():
    m = matrices("resized_crop", 0.5)
    side, (left, top) = m[:, 0, 0], left_and_top(m)
    assert torch.equal(side, m[:, 1, 1])
    assert_even(side**2, 0.5, 1)
    assert_even((left / (1 - side))[side < 0.99], 0, 1)
    assert_even((top / (1 - side))[side < 0.99], 0, 1)
    assert_apart(left / (1 - side), top / (1 - side))
    assert_apart(left / (1 - side), side)


def test_brightness_draws_its_factor_evenly():
    factors = augment(torch.full((4000, 1, 2, 2), 0.5), recipe("brightness:0.2"), generator()) / 0.5
    assert (factors == factors[:, :, :1, :1]).all()
    assert_even(factors[:, 0, 0, 0], 0.8, 1.2)


def test_contrast_draws_its_factor_evenly():
    images = torch.tensor([0.4, 0.6]).expand(4000, 1, 2, 2)
    results = augment(images, recipe("contrast:0.5"), generator())
    assert_even((results[:, 0, 0, 1] - results[:, 0, 0, 0]) / 0.2, 0.5, 1.5)


def test_sharpness_draws_its_factor_evenly():
    images = torch.zeros(4000, 1, 3, 3)
    images[:, :, 1, 1] = 0.13  # smoothed 0.05
    middle = augment(images, recipe("sharpness:1"), generator())[:, 0, 1, 1]
    assert_even((middle - 0.05) / 0.08, 0, 2)


# --- erase ----------------------------------------------------------------------------------------------------------


def covered_spans(results: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Which rows and which columns of each image were touched; fails unless exactly their crossing was."""
    touched = (results != images).any(1)
    rows, columns = touched.any(2), touched.any(1)
    assert torch.equal(touched, rows[:, :, None] & columns[:, None, :]), "not a rectangle"
    for spans in (rows, columns):
        edges = torch.diff(F.pad(spans.int(), (1, 1)), dim=1)
        assert (edges.abs().sum(1) <= 2).all(), "a span with a hole"
    return rows, columns


@pytest.mark.parametrize(("share", "low"), [(0.45, 0.15), (0.6, 0.2)])
def test_erase_draws_sides_of_a_third_to_all_of_its_strength_anywhere_in_the_picture(share, low):
    h, w = 80, 120
    images = noise(1, 1, h, w).expand(1000, -1, -1, -1)
    results = augment(images, recipe(f"erase:{share}"), generator())
    for spans, length in zip(covered_spans(results, images), (h, w), strict=True):
        shares = spans.sum(1) / length
        assert low - 1 / length <= shares.min() < low + 0.015 and share - 0.015 < shares.max() <= share + 1 / length
        assert abs(shares.mean() - (low + share) / 2) < 5 * (share - low) / math.sqrt(12 * 1000)
        assert spans[:, 0].any() and spans[:, -1].any(), "it never reaches the border"
        freedom = spans.int().argmax(1) / length / (1 - shares)  # 0 where it lies at the start, 1 at the end
        assert abs(freedom.mean() - 0.5) < 0.04


def test_erase_draws_height_width_and_place_apart():
    images = noise(1).expand(3000, -1, -1, -1)
    rows, columns = covered_spans(augment(images, recipe("erase:0.45"), generator()), images)
    assert_apart(rows.sum(1).float(), columns.sum(1).float())
    assert_apart(rows.int().argmax(1).float(), columns.int().argmax(1).float())


# --- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 32, 64])
@pytest.mark.parametrize("name", BUILT_IN)
def test_what_the_page_shows_is_what_training_gets(name, size):
    faces = np.random.default_rng(0).integers(0, 256, (12, 48, 48), dtype=np.uint8)
    augmentation = BUILT_IN[name].augmentation
    shown = augment_bytes(faces, augmentation, generator(9), size)
    trained = augment(to_floats(torch.from_numpy(faces)), augmentation, generator(9), size)
    assert shown.dtype == np.uint8 and shown.shape == (12, size or 48, size or 48)
    assert np.abs(shown / 255 - trained.squeeze(1).numpy()).max() <= 0.5 / 255 + 1e-6


def test_black_is_0_and_white_is_1():
    assert to_floats(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8)).tolist() == [[[[0, pytest.approx(0.2), 1]]]]
