"""Image folders: the split from the file names or from a seed, grey pixels, and an error that names each bad file."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_core.data.folder_source import folder_signature, looks_like_folder_source, read_folder
from fer_core.errors import DataError
from fer_core.labels import ALIASES, EMOTIONS, SPLITS
from tests.faces import make_faces, no_progress, write_folder

EXPECTED = (
    "Expected <emotion>/* or <split>/<emotion>/*, the emotions being "
    "angry, disgust, fear, happy, sad, surprise, neutral (or 0 to 6, or 1 to 7)."
)


def too_few_note(split):
    return f"This data has no {split} split, and too few training faces of any emotion to hold a tenth out as it."


def held_out_note(split):
    return f"This data has no {split} split: a stratified tenth of its training faces (seed 2013) is held out as it."


def write_images(root, counts, suffix=".png", side=8):
    """Folder -> number of images: flat grey, another grey for each image in the order given."""
    grey = 0
    for folder, n in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for row in range(n):
            grey += 1
            Image.new("L", (side, side), grey).save(root / folder / f"{row}{suffix}")
    return root


def found_labels(faces):
    """Emotion of each grey value, as `write_images` numbers them."""
    greys = faces.images_NHW[:, 0, 0].tolist()
    return {grey: EMOTIONS[label] for grey, label in sorted(zip(greys, faces.labels_N.tolist(), strict=True))}


def found_splits(faces):
    greys = faces.images_NHW[:, 0, 0].tolist()
    return {grey: SPLITS[split] for grey, split in sorted(zip(greys, faces.splits_N.tolist(), strict=True))}


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
    assert found.notes == (held_out_note("public"),)
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


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".TIFF"])
def test_images_of_every_format_are_read(suffix, tmp_path):
    images = np.repeat(np.arange(10, 200, 19, dtype=np.uint8), 64).reshape(-1, 8, 8)  # flat grey survives JPEG
    faces = make_faces(side=8)
    faces.images_NHW[:] = images
    found = read_folder(write_folder(tmp_path, faces, suffix=suffix), no_progress)
    assert len(found.labels_N) == 10
    assert np.abs(np.sort(found.images_NHW[:, 0, 0]).astype(int) - images[:, 0, 0]).max() <= 1


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
    (tmp_path / "train" / "happy" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "happy" / "._0.png").write_bytes(b"x")
    (tmp_path / "__MACOSX" / "happy").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "happy" / "0.png").write_bytes(b"x")
    faces = read_folder(tmp_path, no_progress)
    assert len(faces.labels_N) == 10
    assert faces.notes == ("1 file left out, no image by name.",)
    (tmp_path / "labels.csv").write_text("a,b")
    assert read_folder(tmp_path, no_progress).notes == ("2 files left out, no images by name.",)


def test_progress_ends_at_the_number_of_files(tmp_path):
    told = []
    read_folder(write_folder(tmp_path), lambda done, total: told.append((done, total)))
    assert told[-1] == (10, 10)


LAYOUTS = {
    "emotions alone": {"happy": 1, "Sad": 1},
    "split and emotion": {"train/happy": 1, "train/sad": 1},
    "wrapped": {"archive/images/happy": 1, "archive/images/sad": 1},
    "wrapped four times": {"a/b/c/Train/happiness": 1, "a/b/c/Train/SADNESS": 1},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_emotion_folders_are_found_however_they_are_wrapped(layout, tmp_path):
    assert looks_like_folder_source(write_images(tmp_path, layout))
    assert found_labels(read_folder(tmp_path, no_progress)) == {1: "happy", 2: "sad"}


def test_folders_too_deep_are_not_read_and_a_note_says_so(tmp_path):
    write_images(tmp_path, {"1/2/3/4/5/happy": 1})
    assert not looks_like_folder_source(tmp_path)
    write_images(tmp_path, {"happy": 1})
    faces = read_folder(tmp_path, no_progress)
    assert len(faces.labels_N) == 1
    assert "Folders more than 5 levels down are left out." in faces.notes


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_name_of_an_emotion_is_known_in_any_case(alias, tmp_path):
    write_images(tmp_path, {f"train/{alias.upper()}": 1})
    assert looks_like_folder_source(tmp_path)
    assert found_labels(read_folder(tmp_path, no_progress)) == {1: ALIASES[alias]}


WORDS = {
    "train": ["train", "Training"],
    "public": ["val", "VALID", "validation", "public", "PublicTest", "dev"],
    "private": ["test", "testing", "private", "PrivateTest"],
}


@pytest.mark.parametrize(("split", "word"), [(split, word) for split, words in WORDS.items() for word in words])
def test_split_words_give_the_split_of_what_lies_below(split, word, tmp_path):
    write_images(tmp_path, {f"{word}/happy": 1, "train/sad": 1})
    assert found_splits(read_folder(tmp_path, no_progress))[1] == split


def test_the_nearest_split_word_above_counts_and_the_folder_that_was_named_does_not(tmp_path):
    root = write_images(tmp_path / "test", {"private/train/happy": 1, "train/val/sad": 1, "fear": 1, "train/test": 1})
    faces = read_folder(root, no_progress)
    assert found_splits(faces) == {1: "train", 2: "public", 3: "train"}
    assert faces.notes == ("test: 1 image left out; FER2013 has no such emotion.", too_few_note("private"))


@pytest.mark.parametrize(
    ("folders", "made"),
    [
        (("",), ("public", "private")),
        (("train/",), ("public", "private")),
        (("train/", "test/"), ("public",)),
        (("train/", "validation/"), ("private",)),
        (("train/", "val/", "test/"), ()),
    ],
)
def test_splits_that_are_not_there_are_made_of_train_and_each_is_noted(folders, made, tmp_path):
    faces = read_folder(write_images(tmp_path, {f"{folder}happy": 20 for folder in folders}), no_progress)
    assert faces.notes == tuple(map(held_out_note, made))
    rest = 20 - 2 * len(made)
    expected = {"train": rest} | {split: 2 if split in made else 20 for split in ("public", "private")}
    assert {split: int((faces.splits_N == code).sum()) for code, split in enumerate(SPLITS)} == expected


def test_a_folder_without_training_faces_is_refused(tmp_path):
    write_images(tmp_path, {"test/happy": 2, "val/sad": 1})
    assert read_error(tmp_path) == (
        f"{tmp_path}: all 3 images are in val or test folders, none in train/, to learn from."
    )


def test_numbers_from_0_are_read_in_the_order_of_fer2013(tmp_path):
    faces = read_folder(write_images(tmp_path, {f"train/{code}": 1 for code in range(7)}), no_progress)
    assert list(found_labels(faces).values()) == list(EMOTIONS)
    assert faces.notes[0] == (
        "The folders' numbers are read in FER2013's order: "
        "0 angry, 1 disgust, 2 fear, 3 happy, 4 sad, 5 surprise, 6 neutral."
    )


def test_numbers_from_1_are_read_as_raf_db_has_them(tmp_path):
    faces = read_folder(write_images(tmp_path, {f"train/{code}": 1 for code in range(1, 8)}), no_progress)
    assert list(found_labels(faces).values()) == ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
    assert faces.notes[0] == (
        "The folders' numbers are read in RAF-DB's numbering: "
        "1 surprise, 2 fear, 3 disgust, 4 happy, 5 sad, 6 angry, 7 neutral."
    )


@pytest.mark.parametrize("numbers", [range(8), range(6), range(1, 7), range(2, 9)])
def test_other_numbers_are_not_guessed_at(numbers, tmp_path):
    write_images(tmp_path, {f"train/{code}": 1 for code in numbers})
    found = ", ".join(map(str, numbers))
    assert read_error(tmp_path) == (
        f"{tmp_path}: no images in a folder named after an emotion (found: {found}). {EXPECTED}"
    )


def test_unknown_emotions_are_counted_and_left_out(tmp_path):
    write_images(tmp_path, {"train/happy": 1, "train/Contempt": 3, "test/contempt": 2, "train/bored": 1, "test/sad": 1})
    (tmp_path / "train" / "empty").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "cover.png")
    faces = read_folder(tmp_path, no_progress)
    assert len(faces.labels_N) == 2
    assert faces.notes[:3] == (
        "1 image left out, in no folder named after an emotion.",
        "bored: 1 image left out; FER2013 has no such emotion.",
        "contempt: 5 images left out; FER2013 has no such emotion.",
    )


@pytest.mark.parametrize(
    ("counts", "found"),
    [({"cats": 1, "Dogs": 1}, "cats, dogs"), ({".": 1}, "no folder, only images"), ({"train": 2}, "train")],
)
def test_a_folder_of_other_things_lists_what_was_found_and_what_was_expected(counts, found, tmp_path):
    assert not looks_like_folder_source(write_images(tmp_path, counts))
    assert read_error(tmp_path) == (
        f"{tmp_path}: no images in a folder named after an emotion (found: {found}). {EXPECTED}"
    )


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part / "happy").mkdir(parents=True)
    assert not looks_like_folder_source(tmp_path)
    assert read_error(tmp_path) == f"{tmp_path}: no images. {EXPECTED}"


def test_what_is_no_folder_does_not_look_like_one(tmp_path):
    (tmp_path / "happy").write_text("x")
    assert not looks_like_folder_source(tmp_path / "happy")
    assert not looks_like_folder_source(tmp_path / "nothing")


def test_a_glance_stops_at_the_first_emotion(tmp_path, monkeypatch):
    write_images(tmp_path, {f"train/{name}": 1 for name in EMOTIONS})
    looked_into = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (looked_into.append(str(path)), scandir(path))[1])
    assert looks_like_folder_source(tmp_path)
    assert looked_into[:2] == [str(tmp_path), f"{tmp_path}/train"]
    assert [Path(folder).parent for folder in looked_into[2:]] == [tmp_path / "train"]  # one of them, in any order


@pytest.mark.parametrize("what", ["folder", "file", "nothing"])
def test_a_link_out_of_the_folder_is_refused_and_named(what, tmp_path):
    root = write_images(tmp_path / "root", {"train/happy": 1})
    outside = write_images(tmp_path, {"sad": 1}) / "sad"
    link, target = {
        "folder": (root / "train" / "sad", outside),
        "file": (root / "train" / "happy" / "9.png", outside / "0.png"),
        "nothing": (root / "train" / "happy" / "9.png", tmp_path / "gone.png"),
    }[what]
    link.symlink_to(target)
    assert read_error(root) == (
        f"{link}: a link out of this folder, to {target}. Put a copy in its place, or remove it."
    )


def test_links_inside_the_folder_are_followed_and_never_in_circles(tmp_path):
    write_images(tmp_path, {"train/happy": 1, "raw/x": 1})
    (tmp_path / "train" / "sad").symlink_to(tmp_path / "raw" / "x")
    (tmp_path / "train" / "happy" / "9.png").symlink_to("0.png")
    (tmp_path / "train" / "again").symlink_to(tmp_path)
    (tmp_path / "train" / "happy" / "here").symlink_to(".")
    faces = read_folder(tmp_path, no_progress)
    assert sorted(faces.images_NHW[:, 0, 0].tolist()) == [1, 1, 2]
    assert faces.notes[0] == "x: 1 image left out; FER2013 has no such emotion."
    assert folder_signature(tmp_path) == folder_signature(tmp_path)


def test_the_folder_itself_may_be_a_link(tmp_path):
    write_images(tmp_path / "real", {"train/happy": 1})
    (tmp_path / "link").symlink_to("real")
    assert looks_like_folder_source(tmp_path / "link")
    assert len(read_folder(tmp_path / "link", no_progress).labels_N) == 1


def test_a_pipe_named_like_an_image_does_not_hang_the_reader(tmp_path):
    os.mkfifo(write_images(tmp_path, {"train/happy": 1}) / "train" / "happy" / "pipe.png")
    assert read_folder(tmp_path, no_progress).notes[0] == "1 file left out, no image by name."


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    image = first_image(write_folder(tmp_path))
    read_bytes = Path.read_bytes

    def refuse(path):
        if path == image:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert read_error(tmp_path) == f"{image}: cannot be read (Permission denied). Repair or remove them."


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    write_folder(tmp_path)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("train"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert read_error(tmp_path) == f"{tmp_path}/train: cannot be read (Permission denied)."


def test_git_lfs_pointers_say_what_to_run(tmp_path):
    image = first_image(write_folder(tmp_path))
    image.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n")
    assert read_error(tmp_path) == (
        f"{image}: a Git LFS pointer, not the image itself; run 'git lfs pull'. Repair or remove them."
    )


UNREADABLE = {
    "zero bytes": lambda image: image.write_bytes(b""),
    "text": lambda image: image.write_text("not an image at all"),
    "cut off": lambda image: image.write_bytes(image.read_bytes()[:200]),
    "another format": lambda image: Image.new("L", (48, 48)).save(image, format="PPM"),
}


@pytest.mark.parametrize("damage", UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_image_is_named(damage, tmp_path):
    image = first_image(write_folder(tmp_path))
    damage(image)
    message = read_error(tmp_path)
    assert message.startswith(f"{image}: not a readable PNG, JPEG, WebP, BMP, TIFF or GIF image (")
    assert message.endswith("). Repair or remove them.")
    assert message.count(str(image)) == 1


def test_images_of_different_sizes_are_made_equal_and_a_note_says_so(tmp_path):
    image = max(write_folder(tmp_path).glob("train/*/*"))
    Image.new("L", (64, 32), 9).save(image)
    faces = read_folder(tmp_path, no_progress)
    assert faces.images_NHW.shape == (10, 48, 48)
    assert (faces.images_NHW == 9).all(axis=(1, 2)).sum() == 1
    assert faces.notes == (
        "The images have 2 different sizes: the centre square of each is resized to 48 x 48 pixels.",
    )


def test_a_giant_image_is_refused_before_it_is_decoded(tmp_path):
    image = first_image(write_folder(tmp_path))
    Image.new("1", (60_000, 1_000)).save(image)
    assert read_error(tmp_path) == (
        f"{image}: 60000 x 1000 pixels, at most 50,000,000 pixels in all are read. Repair or remove them."
    )


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


def test_the_signature_sees_a_new_folder_and_a_renamed_one(tmp_path):
    write_images(tmp_path, {"train/happy": 1})
    signatures = [folder_signature(tmp_path)]
    write_images(tmp_path, {"train/sad": 1})
    signatures.append(folder_signature(tmp_path))
    (tmp_path / "train").rename(tmp_path / "val")
    signatures.append(folder_signature(tmp_path))
    assert len(set(signatures)) == 3
