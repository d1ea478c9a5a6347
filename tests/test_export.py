"""Stores written out and read back: nothing lost, nothing overwritten, nothing half-written; and the .npz reader."""

import csv
import errno
import hashlib
import pickle
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fer_core.data import export as module
from fer_core.data.csv_source import read_csv
from fer_core.data.export import LAYOUTS, export
from fer_core.data.folder_source import read_folder
from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.data.npz_source import read_npz
from fer_core.data.store import OUT, read_store, write_store
from fer_core.errors import ConfigError, DataError
from fer_core.labels import EMOTIONS
from tests.faces import make_faces, no_progress, write_csv, write_folder

FILES = {"csv": "fer2013.csv", "npz": "fer2013.npz"}
READERS = {"csv": read_csv, "npz": read_npz, "folder": read_folder}

NO_FACE = [0] * 9 + [10]
NO_VOTES = [0] * 10
HAPPY = [1, 9, *[0] * 8]


@pytest.fixture
def store(tmp_path):
    """Ten faces: rows 0 to 5 train, 6 and 7 public, 8 and 9 private."""
    return make_store(tmp_path)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "new" / "out"


def make_store(tmp_path, **options):
    write_store(tmp_path / "store", make_faces(**options), "made faces", "csv")
    return read_store(tmp_path / "store")


def with_votes(store, *votes):
    """These votes for the first rows, HAPPY for the others."""
    rows = [*votes, *[HAPPY] * (len(store.labels_N) - len(votes))]
    return replace(store, votes_NV=np.array(rows, dtype=np.uint8))


def without(store, *rows):
    splits = np.array(store.splits_N)
    splits[list(rows)] = OUT
    return replace(store, splits_N=splits)


def one_line(call):
    with pytest.raises(DataError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_set(images, labels, splits):
    """Faces in whatever order they stand."""
    rows = zip(images, labels, splits, strict=True)
    return sorted((hashlib.sha256(image.tobytes()).hexdigest(), int(label), int(split)) for image, label, split in rows)


def names(folder):
    return sorted(str(place.relative_to(folder)) for place in folder.rglob("*") if place.is_file())


# There and back


@pytest.mark.parametrize("layout", ["csv", "npz"])
def test_a_file_gives_the_same_faces_in_the_same_order(store, folder, layout):
    done = export(store, layout, folder, no_progress)
    assert (done.path, done.faces, done.notes) == (folder / FILES[layout], 10, ())
    found = READERS[layout](done.path, no_progress)
    np.testing.assert_array_equal(found.images_NHW, store.images_NHW)
    np.testing.assert_array_equal(found.labels_N, store.labels_N)
    np.testing.assert_array_equal(found.splits_N, store.splits_N)
    assert names(folder) == [FILES[layout]]


def test_a_folder_gives_the_same_faces_in_some_order(store, folder):
    done = export(store, "folder", folder, no_progress)
    assert (done.path, done.faces) == (folder, 10)
    found = read_folder(folder, no_progress)
    assert as_set(found.images_NHW, found.labels_N, found.splits_N) == as_set(
        store.images_NHW, store.labels_N, store.splits_N
    )


def test_the_csv_is_the_challenge_s_byte_for_byte(store, folder, tmp_path):
    export(store, "csv", folder, no_progress)
    assert (folder / "fer2013.csv").read_bytes() == write_csv(tmp_path / "fer2013.csv").read_bytes()


def test_a_csv_row_worked_out_by_hand(store, folder):
    images = np.full((10, 48, 48), 7, dtype=np.uint8)
    images[9, 0, :3], images[9, 47, 47] = (0, 255, 30), 100
    export(replace(store, images_NHW=images), "csv", folder, no_progress)
    last = (folder / "fer2013.csv").read_text().splitlines()[10]
    assert last == f"3,0 255 30 {'7 ' * 2300}100,PrivateTest"  # row 9 is happy


def test_the_folder_has_the_names_of_most_copies_and_a_place_for_each_emotion(store, folder, tmp_path):
    export(store, "folder", folder, no_progress)
    assert names(folder) == names(write_folder(tmp_path / "other"))
    assert "train/happy/Training_00002.png" in names(folder)
    assert "test/disgust/PrivateTest_00008.png" in names(folder)
    for part in ("train", "test"):
        assert sorted(place.name for place in (folder / part).iterdir()) == sorted(EMOTIONS)


def test_the_npz_has_the_types_that_others_expect(store, folder):
    export(store, "npz", folder, no_progress)
    with np.load(folder / "fer2013.npz", allow_pickle=False) as file:
        assert sorted(file) == ["emotion", "pixels", "usage"]
        assert (file["pixels"].dtype, file["emotion"].dtype) == (np.uint8, np.int8)
        assert file["usage"].tolist() == ["Training"] * 6 + ["PublicTest"] * 2 + ["PrivateTest"] * 2


@pytest.mark.parametrize("layout", ["folder", "npz"])
def test_faces_of_another_size_go_where_there_is_room(tmp_path, folder, layout):
    store = make_store(tmp_path, side=20)
    done = export(store, layout, folder, no_progress)
    assert READERS[layout](done.path, no_progress).images_NHW.shape == (10, 20, 20)


def test_the_csv_holds_48_by_48_pixels_alone(tmp_path, folder):
    message = one_line(lambda: export(make_store(tmp_path, side=20), "csv", folder, no_progress))
    assert "faces of 20 x 20 pixels; fer2013.csv holds 48 x 48. Export the layout npz or folder." in message
    assert not folder.parent.exists()


@pytest.mark.parametrize("layout", ["csv", "npz", "folder"])
def test_what_stands_in_no_split_is_not_written(store, folder, layout):
    done = export(without(store, 0, 7), layout, folder, no_progress)
    found = READERS[layout](done.path, no_progress)
    inside = [1, 2, 3, 4, 5, 6, 8, 9]
    assert done.faces == 8
    assert as_set(found.images_NHW, found.labels_N, found.splits_N) == as_set(
        store.images_NHW[inside], store.labels_N[inside], store.splits_N[inside]
    )


def test_the_row_in_a_name_is_the_store_s_own(store, folder):
    export(without(store, 0, 1), "folder", folder, no_progress)
    assert "train/happy/Training_00002.png" in names(folder)


# FER+


def test_ferplus_has_the_project_s_own_layout(store, folder):
    votes = [4, 0, 0, 1, 3, 2, 0, 0, 0, 0]
    done = export(with_votes(store, votes), "ferplus", folder, no_progress)
    assert (done.path, done.faces) == (folder, 10)
    assert names(folder / "FER2013Train") == [*(f"fer{row:07d}.png" for row in range(6)), "label.csv"]
    assert names(folder / "FER2013Valid") == ["fer0000006.png", "fer0000007.png", "label.csv"]
    assert names(folder / "FER2013Test") == ["fer0000008.png", "fer0000009.png", "label.csv"]
    assert (folder / "FER2013Train/label.csv").read_text().splitlines()[0] == "fer0000000.png,4,0,0,1,3,2,0,0,0,0"
    np.testing.assert_array_equal(Image.open(folder / "FER2013Test/fer0000009.png"), store.images_NHW[9])


def test_ferplus_is_what_the_project_s_reader_takes(store, folder):
    export(with_votes(store, NO_FACE), "ferplus", folder, no_progress)
    for part in module.FERPLUS_FOLDERS:  # as `load_folders` in the project's ferplus.py goes about it
        with (folder / part / "label.csv").open() as file:
            for row in csv.reader(file):
                assert Image.open(folder / part / row[0]).size == (48, 48)
                assert list(map(float, row[1:])) == HAPPY


def test_ferplus_leaves_out_what_is_no_face_or_has_no_votes_and_counts_it(store, folder):
    nearly = [1, *[0] * 8, 9]
    votes = with_votes(without(store, 4), NO_FACE, NO_VOTES, nearly, NO_FACE, NO_FACE)
    done = export(votes, "ferplus", folder, no_progress)
    assert done.faces == 6
    assert done.notes == ("Left out: 2 faces that all taggers called no face.", "Left out: 1 faces without votes.")
    assert names(folder / "FER2013Train") == ["fer0000002.png", "fer0000005.png", "label.csv"]


def test_ferplus_without_votes_says_how_to_get_them(store, folder):
    message = one_line(lambda: export(store, "ferplus", folder, no_progress))
    assert "give --ferplus PATH" in message
    assert "python -m fer_core data download" in message
    assert not folder.parent.exists()


def test_ferplus_takes_any_classes(store, folder):
    assert export(replace(with_votes(store), classes=FERPLUS_CLASSES), "ferplus", folder, no_progress).faces == 10


def test_ferplus_of_no_votes_at_all_is_an_error(store, folder):
    message = one_line(lambda: export(with_votes(store, *[NO_VOTES] * 10), "ferplus", folder, no_progress))
    assert "no face has FER+ votes" in message
    assert not folder.parent.exists()


# Refusals


@pytest.mark.parametrize("layout", ["csv", "npz", "folder"])
def test_contempt_has_no_place_in_fer2013_s_layouts(store, folder, layout):
    message = one_line(lambda: export(replace(store, classes=FERPLUS_CLASSES), layout, folder, no_progress))
    assert f"8 classes (with contempt); the layout {layout} holds FER2013's seven" in message
    assert not folder.parent.exists()


@pytest.mark.parametrize("layout", FILES)
def test_a_file_that_is_there_is_not_overwritten(store, folder, layout):
    folder.mkdir(parents=True)
    (folder / FILES[layout]).write_text("mine")
    (folder / "other").write_text("mine")
    message = one_line(lambda: export(store, layout, folder, no_progress))
    assert message.startswith(f"{folder / FILES[layout]} is there already")
    assert names(folder) == [FILES[layout], "other"]
    assert (folder / FILES[layout]).read_text() == "mine"


@pytest.mark.parametrize("layout", ["folder", "ferplus"])
def test_a_folder_with_something_in_it_is_not_touched(store, folder, layout):
    folder.mkdir(parents=True)
    (folder / "mine").write_text("mine")
    message = one_line(lambda: export(with_votes(store), layout, folder, no_progress))
    assert message.startswith(f"{folder} is not empty (mine), and nothing is overwritten.")
    assert names(folder.parent) == ["out/mine"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_is_filled(store, folder, layout):
    folder.mkdir(parents=True)
    assert export(with_votes(store), layout, folder, no_progress).faces == 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_where_the_folder_should_be_is_one_line(store, folder, layout):
    folder.parent.mkdir()
    folder.write_text("mine")
    assert str(folder) in one_line(lambda: export(with_votes(store), layout, folder, no_progress))
    assert folder.read_text() == "mine"


def full_disk(done, total):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_full_disk_is_one_line_and_leaves_nothing(store, folder, monkeypatch, layout):
    if layout == "npz":  # its only word of progress comes when it is written
        monkeypatch.setattr(np, "savez", lambda file, **arrays: full_disk(0, 0))
    message = one_line(lambda: export(with_votes(store), layout, folder, full_disk))
    assert message.startswith(f"{folder}: cannot be written to (No space left on device)")
    assert not folder.parent.exists()


@pytest.mark.parametrize("layout", ["csv", "folder", "ferplus"])
def test_an_interrupt_leaves_an_empty_folder_as_it_was(store, folder, layout):
    def interrupt(done, total):
        raise KeyboardInterrupt

    folder.mkdir(parents=True)
    with pytest.raises(KeyboardInterrupt):
        export(with_votes(store), layout, folder, interrupt)
    assert folder.is_dir()
    assert [place.name for place in folder.parent.rglob("*")] == ["out"]


def test_an_unknown_layout_lists_the_known_ones(store, folder):
    with pytest.raises(ConfigError, match="no layout named 'cvs'. Did you mean 'csv'\\? Known: csv, ferplus, folder, "):
        export(store, "cvs", folder, no_progress)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_store_without_faces_is_an_error(store, folder, layout):
    assert "no face stands in a split" in one_line(
        lambda: export(without(store, *range(10)), layout, folder, no_progress)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_progress_ends_with_all_faces(store, folder, monkeypatch, layout):
    monkeypatch.setattr(module, "_STEP", 3)
    told = []
    export(with_votes(store), layout, folder, lambda *step: told.append(step))
    assert told == ([(10, 10)] if layout == "npz" else [(3, 10), (6, 10), (9, 10), (10, 10)])


# The .npz reader


def arrays(**changes):
    kept = {
        "pixels": np.zeros((3, 4, 5), dtype=np.uint8),
        "emotion": np.array([0, 6, 3]),
        "usage": np.array(["Training", "PrivateTest", "PublicTest"]),
    } | changes
    return {name: value for name, value in kept.items() if value is not None}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fer2013.npz"


def npz_error(path):
    message = one_line(lambda: read_npz(path, no_progress))
    assert message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_by_hand(path, save):
    save(path, **arrays(further=np.zeros(9)))
    told = []
    faces = read_npz(path, lambda *step: told.append(step))
    assert (faces.images_NHW.shape, faces.images_NHW.dtype) == ((3, 4, 5), np.uint8)
    assert (faces.labels_N.tolist(), faces.labels_N.dtype) == ([0, 6, 3], np.int64)
    assert (faces.splits_N.tolist(), faces.splits_N.dtype) == ([0, 2, 1], np.int8)
    assert len(told) == 3
    assert told[-1][0] == told[-1][1] > 60


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": np.array([b"Training", b"PrivateTest", b"PublicTest"])},
        {"emotion": np.array([0, 6, 3], dtype=np.uint64)},
        {"pixels": np.asfortranarray(np.zeros((3, 4, 5), dtype=np.uint8))},
    ],
)
def test_other_ways_to_save_the_same_are_read(path, changes):
    np.savez(path, **arrays(**changes))
    faces = read_npz(path, no_progress)
    assert faces.labels_N.tolist() == [0, 6, 3]
    assert faces.splits_N.tolist() == [0, 2, 1]
    assert faces.images_NHW.flags.c_contiguous


BAD_ARRAYS = [
    ({"usage": None}, "no array 'usage' in it (found: 'pixels', 'emotion')"),
    ({"pixels": None, "images": np.zeros(3)}, "no array 'pixels' in it (found: "),
    ({"pixels": np.zeros((3, 4, 5))}, "pixels is float64 (3, 4, 5)"),
    ({"pixels": np.zeros((3, 20), dtype=np.uint8)}, "pixels is uint8 (3, 20)"),
    ({"emotion": np.zeros(3)}, "emotion is float64 (3,)"),
    ({"emotion": np.array([True, False, True])}, "emotion is bool (3,)"),
    ({"emotion": np.zeros((3, 1), dtype=int)}, "emotion is int64 (3, 1)"),
    ({"usage": np.array([0, 1, 2])}, "usage is int64 (3,)"),
    ({"usage": np.array("Training")}, "usage is str"),
    ({"emotion": np.array([0, 1])}, "3 rows of pixels, 2 of emotion and 3 of usage"),
    ({"emotion": np.array([0, 7, -1])}, "emotion 7 in row 1 (2 rows are out of range)"),
    ({"usage": np.array(["Training", "Test", "PublicTest"])}, "usage 'Test' in row 1 (1 rows have an unknown one)"),
    ({"usage": np.array([b"Training", b"\xff", b"PublicTest"])}, "usage '\ufffd' in row 1"),
    ({"usage": np.array(["Training", None, 3], dtype=object)}, "array 'usage' holds pickled Python objects"),
    (
        {"pixels": np.zeros((0, 48, 48), np.uint8), "emotion": np.zeros(0, int), "usage": np.zeros(0, "U9")},
        "no rows: pixels is uint8 (0, 48, 48)",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), BAD_ARRAYS)
def test_wrong_arrays_are_one_line_that_says_what_is_expected(path, changes, expected):
    np.savez(path, **arrays(**changes))
    message = npz_error(path)
    assert expected in message
    assert message.endswith("usage (N,) Training, PublicTest or PrivateTest.")


class Marker:
    """Unpickling it would be seen."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_pickled_objects_are_never_loaded(path):
    np.savez(path, **arrays(usage=np.array([Marker()] * 3, dtype=object)))
    assert "pickled" in npz_error(path)
    path.write_bytes(pickle.dumps(Marker()))
    assert "not a readable .npz file" in npz_error(path)


def test_a_file_cut_anywhere_is_one_line(path):
    np.savez_compressed(path, **arrays())
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        assert "not a readable .npz file" in npz_error(path)


def test_a_changed_byte_of_the_pixels_is_noticed(path):
    np.savez(path, **arrays(pixels=np.full((3, 4, 5), 77, dtype=np.uint8)))
    path.write_bytes(path.read_bytes().replace(bytes([77] * 60), bytes([77] * 59 + [78])))
    assert "Bad CRC-32" in npz_error(path)


def test_an_array_that_promises_more_than_there_is_takes_no_memory(path):
    np.savez(path, **arrays())
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["pixels.npy"] = parts["pixels.npy"].replace(b"(3, 4, 5), }        ", b"(999999999, 4, 5), }")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    assert "array 'pixels' promises 19,999,999,980 bytes" in npz_error(path)


def test_an_npz_that_is_not_there_is_one_line(path):
    assert npz_error(path) == f"{path}: no such file."
