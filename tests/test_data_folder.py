"""Image folders: the split from the file names or from a seed, grey pixels, and an error that names each bad file."""

import numpy as np
import pytest
from PIL import Image

from fer_core.data.folder_source import folder_signature, read_folder
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS, SPLITS
from tests.faces import make_faces, no_progress, write_folder

NOTE = "This folder has no public split: a stratified tenth of train/ (seed 2013) is held out as public."


def read_error(path):
    with pytest.raises(DataError) as caught:
        read_folder(path, no_progress)
    message = str(caught.value)
    assert "\n" not in message
    return message


def split_counts(faces):
    table = np.zeros((3, 7), dtype=int)
    np.add.at(table, (faces.splits_N, faces.labels_N), 1)
    return table.tolist()


def first_image(folder):
    return min(folder.glob("train/*/*"))


def test_pixels_labels_and_splits_come_from_the_files_sorted_by_path(tmp_path):
    expected = make_faces()
    faces = read_folder(write_folder(tmp_path, expected), no_progress)
    # By path: test/ before train/, then the emotions by alphabet, then Private before Public.
    order = sorted(
        range(10), key=lambda i: (expected.splits_N[i] == 0, EMOTIONS[expected.labels_N[i]], -expected.splits_N[i], i)
    )
    np.testing.assert_array_equal(faces.images_NHW, expected.images_NHW[order])
    assert faces.labels_N.tolist() == expected.labels_N[order].tolist()
    assert faces.splits_N.tolist() == expected.splits_N[order].tolist()
    assert (faces.images_NHW.dtype, faces.labels_N.dtype, faces.splits_N.dtype) == (np.uint8, np.int64, np.int8)
    assert faces.notes == ()


def test_names_are_believed_wherever_the_file_lies(tmp_path):
    write_folder(tmp_path)
    image = first_image(tmp_path)
    image.rename(tmp_path / "test" / "happy" / image.name)
    assert np.bincount(read_folder(tmp_path, no_progress).splits_N).tolist() == [6, 2, 2]


def test_without_split_names_a_stratified_tenth_of_train_is_public(tmp_path):
    faces = make_faces({"train": {"angry": 20, "disgust": 4, "happy": 31}, "private": {"happy": 3, "sad": 2}}, side=4)
    found = read_folder(write_folder(tmp_path, faces, prefixes=False), no_progress)
    assert found.notes == (NOTE,)
    assert split_counts(found) == [
        [18, 4, 0, 28, 0, 0, 0],
        [2, 0, 0, 3, 0, 0, 0],
        [0, 0, 0, 3, 2, 0, 0],
    ]


def test_the_held_out_tenth_is_the_same_every_time_and_not_simply_the_first(tmp_path):
    faces = make_faces({"train": {"happy": 60}, "private": {"happy": 1}}, side=4)
    write_folder(tmp_path, faces, prefixes=False)
    first, second = (read_folder(tmp_path, no_progress).splits_N for _ in range(2))
    np.testing.assert_array_equal(first, second)
    held_out = np.flatnonzero(first[1:] == SPLITS.index("public"))
    assert len(held_out) == 6
    assert held_out.tolist() not in (list(range(6)), list(range(54, 60)))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg"])
def test_png_and_jpeg_are_read(suffix, tmp_path):
    images = np.repeat(np.arange(10, 200, 19, dtype=np.uint8), 64).reshape(-1, 8, 8)  # flat grey survives JPEG
    faces = make_faces(side=8)
    faces.images_NHW[:] = images
    found = read_folder(write_folder(tmp_path, faces, suffix=suffix), no_progress)
    assert len(found.labels_N) == 10
    assert sorted(found.images_NHW[:, 0, 0].tolist()) == images[:, 0, 0].tolist()


@pytest.mark.parametrize(
    ("mode", "colour", "grey"),
    [
        ("RGB", (255, 0, 0), 76),  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
        ("RGB", (0, 255, 0), 150),
        ("RGBA", (0, 0, 255, 255), 29),
        ("L", 123, 123),
        ("1", 1, 255),
    ],
)
def test_colour_becomes_grey(mode, colour, grey, tmp_path):
    write_folder(tmp_path, make_faces(side=8))
    image = first_image(tmp_path)
    Image.new(mode, (8, 8), colour).save(image)
    faces = read_folder(tmp_path, no_progress)
    row = np.flatnonzero((faces.splits_N == 0) & (faces.labels_N == 0))[0]
    assert np.unique(faces.images_NHW[row]).tolist() == [grey]
    assert faces.images_NHW.shape == (10, 8, 8)


def test_height_and_width_are_not_confused(tmp_path):
    for part in ("train", "test"):
        folder = tmp_path / part / "sad"
        folder.mkdir(parents=True)
        Image.new("L", (6, 4)).save(folder / "0.png")
    assert read_folder(tmp_path, no_progress).images_NHW.shape == (2, 4, 6)


def test_emotion_folders_may_be_capitalised(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "angry").rename(tmp_path / "train" / "Angry")
    assert split_counts(read_folder(tmp_path, no_progress))[0][0] == 2


def test_other_files_beside_the_images_are_not_faces(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "README.txt").write_text("about")
    (tmp_path / "train" / "happy" / "Thumbs.db").write_bytes(b"x")
    assert len(read_folder(tmp_path, no_progress).labels_N) == 10


def test_progress_ends_at_the_number_of_files(tmp_path):
    told = []
    read_folder(write_folder(tmp_path), lambda done, total: told.append((done, total)))
    assert told[-1] == (10, 10)


def test_an_unknown_emotion_folder_is_named_beside_the_known_ones(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "contempt").mkdir()
    assert read_error(tmp_path) == (
        f"{tmp_path}/train/contempt: not an emotion. "
        "Expected folders named angry, disgust, fear, happy, sad, surprise, neutral."
    )


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part / "happy").mkdir(parents=True)
    assert read_error(tmp_path) == (
        f"{tmp_path}: no images. Expected train/<emotion>/*.png or *.jpg, and test/ beside it."
    )


UNREADABLE = {
    "zero bytes": lambda image: image.write_bytes(b""),
    "text": lambda image: image.write_text("not an image at all"),
    "cut off": lambda image: image.write_bytes(image.read_bytes()[:200]),
    "a folder": lambda image: (image.unlink(), image.mkdir()),
    "another format": lambda image: Image.new("L", (48, 48)).save(image, format="GIF"),
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_image_is_named(damage, tmp_path):
    image = first_image(write_folder(tmp_path))
    damage(image)
    message = read_error(tmp_path)
    assert message.startswith(f"{image}: not a readable PNG or JPEG image (")
    assert message.endswith("). Repair or remove them.")
    assert message.count(str(image)) == 1


def test_images_of_another_size_are_named_with_both_sizes(tmp_path):
    image = max(write_folder(tmp_path).glob("train/*/*"))
    Image.new("L", (64, 32)).save(image)
    assert read_error(tmp_path) == (
        f"{image}: 64 x 32 pixels, where the first image has 48 x 48 pixels. Repair or remove them."
    )


def test_a_giant_image_is_refused_before_it_is_decoded(tmp_path):
    image = first_image(write_folder(tmp_path))
    Image.new("1", (30_000, 2)).save(image)
    assert read_error(tmp_path) == f"{image}: 30000 x 2 pixels, at most 1024 a side are read. Repair or remove them."


def test_the_first_three_bad_images_are_named_and_all_are_counted(tmp_path):
    images = sorted(write_folder(tmp_path).glob("*/*/*"))
    for image in images[5:]:
        image.write_bytes(b"")
    message = read_error(tmp_path)
    assert [str(image) in message for image in images] == [False] * 5 + [True] * 3 + [False] * 2
    assert message.endswith("; 5 bad images in all. Repair or remove them.")


def test_the_signature_sees_a_new_and_a_removed_image(tmp_path):
    image = first_image(write_folder(tmp_path))
    signatures = [folder_signature(tmp_path)]
    Image.new("L", (48, 48)).save(image.with_name("Training_99999.png"))
    signatures.append(folder_signature(tmp_path))
    image.unlink()
    signatures.append(folder_signature(tmp_path))
    assert len(set(signatures)) == 3
    assert folder_signature(tmp_path) == signatures[-1]
