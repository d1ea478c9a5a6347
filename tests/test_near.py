"""Near copies are found whatever was done to the picture, strangers are not, and a face finds its own original."""

import io
import os
import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from fer_core.data import open_store
from fer_core.data.near import (
    CORRELATION,
    MIRRORED_CORRELATION,
    SAME_FACE_DISTANCE,
    descriptors,
    near_pairs,
    nearest,
)
from fer_core.data.store import pixel_hashes

real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not os.environ.get("FER_DATA"), reason="$FER_DATA names no FER2013"),
]


def pictures(n: int, side: int = 48, seed: int = 0) -> np.ndarray:
    """Soft random blobs, as unlike each other as can be: uint8 (n, side, side)."""
    coarse = np.random.default_rng(seed).integers(30, 226, (n, 7, 7), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse])


def find(images: np.ndarray, **settings) -> list[tuple[int, int, bool]]:
    found = near_pairs(images, pixel_hashes(images), **settings)
    return list(zip(found.rows_a_M.tolist(), found.rows_b_M.tolist(), found.mirrored_M.tolist(), strict=True))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def reference_vectors(images: np.ndarray) -> np.ndarray:
    """Block means, cosine transform, weight by frequency, unit length: from the words, with scipy's transform."""
    from scipy.fft import dctn

    means = images.reshape(len(images), 16, images.shape[1] // 16, 16, images.shape[2] // 16).mean(axis=(2, 4))
    v, u = np.mgrid[:16, :16]
    radius = np.hypot(v, u)
    weighted = dctn(means, axes=(1, 2), norm="ortho") * np.where(radius <= 8, radius, 0)
    flat = weighted.reshape(len(images), -1)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


CHANGES = {
    "jpeg": lambda image: jpeg(image, 60),
    "brighter": lambda image: np.asarray(ImageEnhance.Brightness(Image.fromarray(image)).enhance(1.1)),
    "less contrast": lambda image: (image * 0.6 + 40).astype(np.uint8),
    "cropped": lambda image: np.asarray(Image.fromarray(image[1:-1, 1:-1]).resize((48, 48))),
    "shifted": lambda image: np.roll(image, 1, axis=1),
    "smaller and back": lambda image: np.asarray(Image.fromarray(image).resize((30, 30)).resize((48, 48))),
    "a white corner": lambda image: np.where(np.add.outer(range(48), range(48)) < 6, 255, image).astype(np.uint8),
}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_found_and_strangers_are_not(change, mirrored):
    images = pictures(20)
    changed = CHANGES[change](images[7])
    images[13] = changed[:, ::-1] if mirrored else changed
    assert find(images, correlation=0.9, mirrored_correlation=0.9) == [(7, 13, mirrored)]


def test_the_mirrored_need_more_correlation_than_others():
    assert CORRELATION < MIRRORED_CORRELATION
    base = pictures(3)
    mixed = [0.73 * base[0] + 0.27 * base[1], base[0]]
    alike = reference_vectors(np.stack(mixed).astype(np.uint8))
    assert CORRELATION < alike[0] @ alike[1] < MIRRORED_CORRELATION
    other = mixed[0].astype(np.uint8)
    assert find(np.stack([base[0], other])) == [(0, 1, False)]
    assert find(np.stack([base[0], other[:, ::-1]])) == []


def test_the_buckets_hold_what_all_pairs_hold():
    rng = np.random.default_rng(3)
    base = pictures(700)
    partner = base[rng.permutation(700)]
    share = rng.uniform(0.1, 0.4, (700, 1, 1))
    images = np.concatenate([base, (base * (1 - share) + partner * share).astype(np.uint8)])
    vectors = reference_vectors(images)
    wanted = {}
    for mirrored, other in ((False, images), (True, images[:, :, ::-1])):
        products = np.triu(vectors @ reference_vectors(other).T, 1)
        for a, b in zip(*np.nonzero(products >= CORRELATION), strict=True):
            wanted[int(a), int(b), mirrored] = products[a, b]
    found = near_pairs(images, pixel_hashes(images), mirrored_correlation=CORRELATION)
    keys = list(zip(found.rows_a_M.tolist(), found.rows_b_M.tolist(), found.mirrored_M.tolist(), strict=True))
    assert len(keys) > 300
    assert keys == sorted(wanted)
    np.testing.assert_allclose(found.correlation_M, [wanted[key] for key in keys], atol=1e-5)


def test_the_same_faces_give_the_same_pairs():
    images = np.concatenate([pictures(600), pictures(600) // 2 + 30])
    assert find(images) == find(images.copy())


def test_of_exact_copies_only_the_first_is_compared():
    images = pictures(6)
    images[3] = images[1]
    images[4] = jpeg(images[1], 90)
    images[5] = images[4]
    assert find(images) == [(1, 4, False)]


def test_a_symmetric_picture_is_one_pair_and_none_with_itself():
    images = pictures(3)
    images[0] = images[0] // 2 + images[0][:, ::-1] // 2
    images[1] = images[0] // 2 + 20
    assert find(images) == [(0, 1, False)]


def test_pictures_without_structure_have_no_copies():
    rng = np.random.default_rng(0)
    images = np.stack([np.full((48, 48), 7), np.full((48, 48), 90), *(120 + rng.integers(0, 3, (4, 48, 48)))])
    assert find(images.astype(np.uint8)) == []


@pytest.mark.parametrize("n", [0, 1, 2])
def test_a_few_faces_are_enough(n):
    assert find(pictures(max(n, 1))[:n]) == []


@pytest.mark.parametrize("side", [9, 16, 50, 96])
def test_any_size_of_picture_will_do(side):
    images = pictures(8, side)
    images[5] = images[2] // 2 + 9
    assert find(images) == [(2, 5, False)]


def test_pictures_may_be_wider_than_high():
    images = pictures(8)[:, 10:37]
    images[5] = images[2, :, ::-1]
    assert find(images) == [(2, 5, True)]


def test_progress_is_told_to_its_end():
    told = []
    find(pictures(600), progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert {total for _, total in told} == {len(told)}


@pytest.mark.parametrize("settings", [{"correlation": 0.5}, {"mirrored_correlation": 1.1}])
def test_a_correlation_that_finds_everything_or_nothing_is_refused(settings):
    with pytest.raises(ValueError, match="between 0.85 and 1"):
        find(pictures(2), **settings)


# --- descriptors


def test_descriptors_are_the_lowest_frequencies_and_never_further_apart_than_the_vectors():
    images = pictures(30)
    small, whole = descriptors(images), reference_vectors(images)
    assert small.shape == (30, 24)
    assert small.dtype == np.float32
    wanted = whole.reshape(-1, 16, 16)[:, [0, 1, 1, 0, 2], [1, 0, 1, 2, 0]]
    np.testing.assert_allclose(small[:, :5], wanted, atol=1e-5)
    apart = np.linalg.norm(small[:1] - small, axis=1), np.linalg.norm(whole[:1] - whole, axis=1)
    assert (apart[0] <= apart[1] + 1e-5).all()


def test_a_descriptor_does_not_depend_on_the_size_nor_on_light():
    images = pictures(10)
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(descriptors(large), descriptors(images), atol=1e-5)
    darker = images // 2
    np.testing.assert_allclose(descriptors(darker), descriptors(images), atol=0.02)


def test_a_recompressed_face_finds_its_original_even_among_rounded_descriptors():
    images = pictures(200)
    known = np.round(descriptors(images) * 127).astype(np.int8).astype(np.float32) / 127
    rows, distances = nearest(descriptors(np.stack([jpeg(image, 75) for image in images[::-1]])), known)
    assert rows.tolist() == list(range(199, -1, -1))
    assert rows.dtype == np.int64
    assert distances.dtype == np.float32
    assert distances.max() <= SAME_FACE_DISTANCE
    _, strange = nearest(descriptors(pictures(200, seed=1)), known)
    assert strange.min() > SAME_FACE_DISTANCE


def test_a_picture_without_structure_finds_nothing_and_is_never_found():
    images = pictures(3)
    images[1] = 0
    known = descriptors(images)
    rows, distances = nearest(known, known)
    assert rows.tolist() == [0, -1, 2]
    assert distances.tolist() == [0, np.inf, 0]
    rows, distances = nearest(known, known[:0])
    assert rows.tolist() == [-1, -1, -1]
    assert nearest(known[:0], known)[0].tolist() == []


class TestRealData:
    pytestmark = real_data

    @pytest.fixture
    def real(self):
        return open_store(os.environ["FER_DATA"])

    def test_three_thousand_pairs_in_less_than_a_minute(self, real):
        started = time.perf_counter()
        found = near_pairs(real.images_NHW, real.hashes_N)
        assert time.perf_counter() - started < 60
        assert 3190 <= len(found) <= 3220
        assert found.mirrored_M.sum() == 28
        assert (found.rows_a_M < found.rows_b_M).all()
        assert found.correlation_M.min() >= CORRELATION

    @pytest.mark.parametrize("quality", [75, 90])
    def test_recompressed_faces_find_their_originals(self, real, quality):
        clear = np.flatnonzero(real.contrast_N > 6)
        rows = np.random.default_rng(5).choice(clear, 2000, replace=False)
        known = np.round(descriptors(real.images_NHW) * 127).astype(np.float32) / 127
        copies = np.stack([jpeg(image, quality) for image in real.images_NHW[rows]])
        found, distances = nearest(descriptors(copies), known)
        assert distances.max() < SAME_FACE_DISTANCE / 2
        assert (real.hashes_N[found] == real.hashes_N[rows]).sum() >= 1990  # the others find a near copy


def test_every_frame_of_a_video_is_found_and_not_every_pair_is_made():
    rng = np.random.default_rng(5)
    scene = np.kron(rng.integers(0, 256, (6, 6)), np.ones((8, 8)))
    frames = (scene[None] + rng.normal(0, 3, (700, 48, 48))).clip(0, 255).astype(np.uint8)
    others = np.kron(rng.integers(0, 256, (900, 6, 6)), np.ones((1, 8, 8))).astype(np.uint8)
    for images in (frames, np.concatenate([frames, others])):
        near = near_pairs(images, pixel_hashes(images))
        assert set(near.rows_a_M) | set(near.rows_b_M) >= set(range(700))
        assert len(near) < 700 * 699 / 2


def test_nearest_looks_no_further_than_it_is_told():
    reference, asked = np.eye(3, dtype=np.float32), np.array([[1, 0.1, 0], [0.5, 0.5, 0.5]], dtype=np.float32)
    rows, distances = nearest(asked, reference, within=0.2)
    assert rows.tolist() == [0, -1]
    assert distances.tolist() == [pytest.approx(0.1), np.inf]
