"""Finding faces: where they are, which way they are turned, and what is no face; the detector's weights."""

import importlib.util
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from fer_core import mtcnn
from fer_core.detect import FoundFaces, find_faces
from fer_core.errors import ConfigError, FerError
from fer_core.face_crop import cut_faces, cut_whole, roll_degrees
from fer_core.pyramid import Pyramid
from tests.scenes import drawn_faces, scene

pytestmark = pytest.mark.usefixtures("one_thread")


def found_in(picture_HW, **options):
    pyramid = Pyramid(torch.from_numpy(np.array(picture_HW)))
    return find_faces(pyramid, **options), pyramid


def overlap(box, place):
    """Intersection over union of a box and a square place."""
    left, top, side = place
    width = min(box[2], left + side) - max(box[0], left)
    height = min(box[3], top + side) - max(box[1], top)
    both = max(0, width) * max(0, height)
    return both / (side**2 + (box[2] - box[0]) * (box[3] - box[1]) - both)


@pytest.mark.parametrize("side", [48, 150, 400])
def test_faces_are_found_where_they_are_from_left_to_right(side):
    picture, places = scene(3, side)
    found, _ = found_in(picture)
    assert len(found) == 3
    assert all(overlap(box, place) > 0.5 for box, place in zip(found.boxes_F4, places, strict=True))
    assert found.scores_F.min() > 0.8 and found.scores_F.max() <= 1


def test_the_five_points_lie_as_in_a_face():
    picture, places = scene()
    found, _ = found_in(picture)
    for (left, top, side), points in zip(places, found.points_F52, strict=True):
        left_eye, right_eye, nose, left_mouth, right_mouth = (points - (left, top)) / side
        assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


def test_nothing_is_found_where_there_is_no_face():
    empty, _ = scene(0)
    assert len(found_in(np.tile(empty, (2, 4)))[0]) == 0
    noise = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)
    assert len(found_in(noise)[0]) == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (11, 11), (20, 5)])
def test_pictures_too_small_for_a_face_have_none(size):
    found, pyramid = found_in(np.zeros(size, np.uint8))
    assert len(found) == 0 and found.boxes_F4.shape == (0, 4) and found.points_F52.shape == (0, 5, 2)
    assert cut_faces(pyramid, found).shape == (0, 48, 48)


def test_faces_smaller_than_asked_for_are_left_out():
    picture, _ = scene(3, 150)  # 300 pixels high
    assert len(found_in(picture, smallest=0.9)[0]) == 0


@pytest.mark.parametrize("smallest", [0.0, 1.5])
def test_a_smallest_face_out_of_bounds_is_refused(smallest):
    with pytest.raises(ConfigError, match=re.escape(f"is {smallest:g} of the picture's shorter side; give 0.01 to 1")):
        found_in(np.zeros((50, 50), np.uint8), smallest=smallest)


def test_the_grey_nets_say_what_the_colour_nets_say_of_a_grey_picture():
    """The first convolution of the original takes red, green and blue; ours takes their sum of filters."""
    kernel_HWCK, bias_K = mtcnn._read("pnet")[:2]
    grey = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    original = F.conv2d(grey.expand(-1, 3, -1, -1), torch.from_numpy(kernel_HWCK.copy()).permute(3, 2, 0, 1))
    ours = mtcnn.load_networks().propose.body[0](grey)
    torch.testing.assert_close(ours, original + torch.from_numpy(bias_K.copy())[:, None, None], atol=1e-5, rtol=1e-5)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FerError, match=r'package mtcnn, which is missing: pip install "mtcnn>=1.0,<2"'):
        mtcnn._read("pnet")


def test_weights_that_are_not_the_known_ones_are_never_unpickled(monkeypatch, tmp_path):
    """The files are pickles, and a pickle can run code."""
    (tmp_path / "assets" / "weights").mkdir(parents=True)
    (tmp_path / "assets" / "weights" / "pnet.lz4").write_bytes(b"anything")

    class Elsewhere:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: Elsewhere)
    monkeypatch.setattr(mtcnn.joblib, "load", lambda file: pytest.fail("it was opened"))
    with pytest.raises(FerError, match="not the weights of mtcnn 1.0"):
        mtcnn._read("pnet")


# --- cutting ----------------------------------------------------------------------------------------------------------


def alike(one, other):
    return np.corrcoef(one.ravel(), other.ravel())[0, 1]


def framed(left, top, side, roll=0.0):
    """The five points of a face in a frame of FER2013's kind, where they lie on average, turned about its middle."""
    shares = np.array([(0.313, 0.387), (0.687, 0.387), (0.500, 0.602), (0.346, 0.783), (0.654, 0.783)])
    cosine, sine = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    points = (left + side / 2, top + side / 2) + side * (shares - 0.5) @ np.array([[cosine, sine], [-sine, cosine]])
    return FoundFaces(np.zeros((1, 4), np.float32), np.ones(1, np.float32), points[None].astype(np.float32))


def test_points_where_fer2013_has_them_are_cut_to_the_very_pixels():
    picture = np.full((300, 400), 90, np.uint8)
    face = drawn_faces()[0]
    picture[60:252, 100:292] = np.kron(face, np.ones((4, 4), np.uint8))
    [cut] = cut_faces(Pyramid(torch.from_numpy(picture)), framed(100, 60, 192))
    np.testing.assert_allclose(cut, face, atol=2)


def test_a_turned_frame_is_turned_back_about_its_own_middle():
    picture = np.full((400, 400), 90, np.uint8)
    face = drawn_faces()[0]
    picture[104:296, 104:296] = np.kron(face, np.ones((4, 4), np.uint8))
    tilted = np.array(Image.fromarray(picture).rotate(-20, Image.Resampling.BICUBIC))  # with the clock
    [cut] = cut_faces(Pyramid(torch.from_numpy(tilted)), framed(104, 104, 192, roll=20))
    assert alike(cut, face) > 0.98


@pytest.mark.parametrize("degrees", [-25, 0, 25])
def test_a_turned_head_is_cut_upright(degrees):
    """Told by the detector itself, asked once more for the eyes of what was cut."""
    picture, _ = scene(1, 192)
    tilted = Image.fromarray(picture).rotate(-degrees, Image.Resampling.BICUBIC, fillcolor=125)
    found, pyramid = found_in(np.asarray(tilted))
    assert roll_degrees(found)[0] == pytest.approx(degrees, abs=8)
    [cut] = cut_faces(pyramid, found)
    again, _ = found_in(np.pad(np.kron(cut, np.ones((4, 4), np.uint8)), 60, constant_values=125))
    assert cut.dtype == np.uint8 and cut.shape == (48, 48)
    assert roll_degrees(again)[0] == pytest.approx(0, abs=5)


def test_a_picture_taken_whole_is_its_middle_square():
    picture = np.random.default_rng(0).integers(0, 256, (48, 80), dtype=np.uint8)
    assert np.array_equal(cut_whole(Pyramid(torch.from_numpy(picture)))[0], picture[:, 16:64])
    large = np.kron(picture, np.ones((4, 4), np.uint8))
    np.testing.assert_allclose(cut_whole(Pyramid(torch.from_numpy(large)))[0], picture[:, 16:64], atol=1)
