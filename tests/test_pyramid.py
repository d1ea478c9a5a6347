"""Windows out of a picture: which pixels they see, at any size and turn."""

import numpy as np
import pytest
import torch

from fer_core.pyramid import Pyramid

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (40, 60), dtype=np.uint8)


def window(picture_HW, centre, side, degrees, size):
    pyramid = Pyramid(torch.from_numpy(picture_HW))
    turns = torch.tensor([np.radians(degrees)], dtype=torch.float32)
    found = pyramid.windows(torch.tensor([centre], dtype=torch.float32), torch.tensor([float(side)]), turns, size)
    assert found.shape == (1, 1, size, size)
    return (found[0, 0] * 255).numpy()


def test_a_window_of_its_own_size_is_the_pixels_themselves():
    np.testing.assert_allclose(window(PICTURE, (25, 20), 10, 0, 10), PICTURE[15:25, 20:30], atol=1e-3)


def test_a_quarter_turn_with_the_clock_shows_what_a_head_turned_so_sees():
    straight, turned = window(PICTURE, (25, 20), 10, 0, 10), window(PICTURE, (25, 20), 10, 90, 10)
    np.testing.assert_allclose(turned, np.rot90(straight), atol=1e-2)


def test_a_smaller_window_of_a_large_part_has_means_and_no_stray_pixels():
    checked = np.indices((64, 64)).sum(0) % 2 * np.uint8(255)
    assert np.ptp(window(checked.astype(np.uint8), (32, 32), 64, 0, 16)) < 1
    halves = window(PICTURE, (30, 20), 40, 0, 20)
    np.testing.assert_allclose(halves, PICTURE[:, 10:50].reshape(20, 2, 20, 2).mean((1, 3)), atol=1e-2)


def test_beyond_the_border_the_last_pixel_stands():
    found = window(PICTURE, (0, 20), 10, 0, 10)
    np.testing.assert_allclose(found[:, :5], np.repeat(PICTURE[15:25, :1], 5, axis=1), atol=1e-3)


def test_windows_of_many_sizes_come_back_in_their_order():
    pyramid = Pyramid(torch.from_numpy(PICTURE))
    sides = torch.tensor([30.0, 6.0, 12.0])
    centres = torch.tensor([[30.0, 20.0]] * 3)
    together = pyramid.windows(centres, sides, torch.zeros(3), 6)
    for place in range(3):
        alone = pyramid.windows(centres[place : place + 1], sides[place : place + 1], torch.zeros(1), 6)
        assert torch.equal(together[place], alone[0])


@pytest.mark.parametrize("share", [1.0, 0.5, 0.3, 0.07])
def test_the_whole_picture_keeps_its_mean_at_every_size(share):
    found = Pyramid(torch.from_numpy(PICTURE)).resized(share)
    assert found.shape == (1, 1, round(40 * share), round(60 * share))
    assert found.mean().item() * 255 == pytest.approx(PICTURE.mean(), abs=4)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5)])
def test_the_smallest_pictures_have_windows_too(size):
    found = window(np.full(size, 77, np.uint8), (size[1] / 2, size[0] / 2), 4, 30, 8)
    np.testing.assert_allclose(found, 77, atol=1e-3)


# --- dim pictures -----------------------------------------------------------------------------------------------------


def spread(picture_HW):
    return Pyramid(torch.from_numpy(picture_HW)).spread()


def test_a_picture_in_full_light_is_left_alone():
    pyramid = Pyramid(torch.from_numpy(PICTURE))
    assert pyramid.spread() is pyramid


def test_a_dim_picture_is_spread_from_black_to_white_at_every_size():
    dim = spread((PICTURE * 0.25 + 40).astype(np.uint8))
    full = Pyramid(torch.from_numpy(PICTURE))
    for level, expected in zip(dim.levels, full.levels, strict=True):
        torch.testing.assert_close(level, expected, atol=0.03, rtol=0)


def test_the_dim_picture_itself_stays_as_it_was():
    pyramid = Pyramid(torch.from_numpy(PICTURE // 4))
    before = pyramid.levels[0].clone()
    assert pyramid.spread() is not pyramid
    assert torch.equal(pyramid.levels[0], before)


def test_one_bright_lamp_does_not_keep_a_picture_dim():
    picture = (PICTURE * 0.25).astype(np.uint8)
    picture[0, :3] = 255
    assert spread(picture).levels[0].mean() > 0.4


@pytest.mark.parametrize("level", [0, 9, 255])
def test_a_picture_of_one_grey_level_has_no_grain_to_spread(level):
    found = spread(np.full((20, 30), level, np.uint8)).levels[0]
    assert torch.isfinite(found).all() and found.min() == found.max()


def test_grain_in_the_dark_is_not_blown_up_to_a_whole_picture():
    assert np.ptp(spread((PICTURE % 4).astype(np.uint8)).levels[0].numpy()) < 0.1
