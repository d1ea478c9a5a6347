"""A store's columns and memory; a scan anew; archives; and which of several candidates in a folder is opened."""

import os
import re
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_core.data import find_source, open_store
from fer_core.data.quality import cached_near_copies, near_copies
from fer_core.data.store import Faces, FaceStore, read_store, write_store
from fer_core.errors import DataError
from tests.faces import FEW, csv_rows, make_faces, write_csv, write_folder, write_rows
from tests.test_faults import write_npz


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def stored(folder: Path, images: np.ndarray) -> FaceStore:
    n = len(images)
    write_store(folder, Faces(images, np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int8)), "made", "csv")
    opened = read_store(folder)
    assert opened is not None
    return opened


# --- light


def test_brightness_and_contrast_by_hand(tmp_path):
    images = np.zeros((4, 2, 2), dtype=np.uint8)
    images[1], images[2, 0], images[3] = 255, 255, [[10, 20], [30, 60]]
    opened = stored(tmp_path / "store", images)
    assert opened.brightness_N.tolist() == [0, 255, 127.5, 30]
    # (20^2 + 10^2 + 0 + 30^2) / 4 = 350
    assert opened.contrast_N.tolist() == pytest.approx([0, 0, 127.5, 350**0.5])
    assert opened.brightness_N.dtype == opened.contrast_N.dtype == np.float32


@pytest.mark.parametrize("n", [1, 511, 512, 513, 1100])
def test_light_of_every_face_is_numpys_own_whatever_block_it_is_in(n, tmp_path):
    images = np.random.default_rng(n).integers(0, 256, (n, 5, 7), dtype=np.uint8)
    images[-1] = 200
    opened = stored(tmp_path / "store", images)
    pixels = images.astype(np.float64)
    np.testing.assert_allclose(opened.brightness_N, pixels.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(opened.contrast_N, pixels.std(axis=(1, 2)), rtol=1e-4, atol=1e-3)
    assert opened.brightness_N[-1] == 200 and opened.contrast_N[-1] == 0


# --- memory


def resident_kb(file: Path) -> int:
    """How much of a file is mapped into this process's memory now."""
    found, size = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match("[0-9a-f]+-[0-9a-f]+ ", line):
            found = line.endswith(str(file))
        elif found and line.startswith("Rss:"):
            size += int(line.split()[1])
    return size


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux tells what is mapped")
def test_pixels_that_are_let_go_leave_memory_and_can_be_read_again(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (1000, 48, 48), dtype=np.uint8)
    opened = stored(tmp_path / "store", images)
    file = (tmp_path / "store" / "images.npy").resolve()
    assert int(opened.images_NHW.sum()) == int(images.sum())
    assert resident_kb(file) > 2000
    opened.let_go()
    assert resident_kb(file) < 300
    np.testing.assert_array_equal(opened.images_NHW, images)
    view = replace(opened, labels_N=opened.labels_N + 1)  # another view of the same pixels
    view.let_go()
    assert resident_kb(file) < 300


def test_a_store_in_memory_has_nothing_to_let_go(tmp_path):
    opened = stored(tmp_path / "store", make_faces().images_NHW)
    in_memory = replace(opened, images_NHW=np.array(opened.images_NHW))
    in_memory.let_go()
    np.testing.assert_array_equal(in_memory.images_NHW, make_faces().images_NHW)


# --- a scan anew


def rewrite_in_place(image: Path, grey: int) -> None:
    """Other pixels under the same name; the folder's time and number of entries stay."""
    before = image.parent.stat()
    with image.open("r+b") as file:
        file.truncate(0)
        Image.fromarray(np.full((48, 48), grey, dtype=np.uint8)).save(file, "PNG")
    after = image.parent.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)


def test_an_image_that_was_rewritten_in_place_is_seen_by_a_scan_anew(tmp_path, cache):
    folder = write_folder(tmp_path / "faces")
    before = open_store(str(folder))
    rewrite_in_place(min(folder.glob("train/*/*")), grey=77)
    assert open_store(str(folder)).fingerprint == before.fingerprint, "nobody looks at 36,000 files each time"
    after = open_store(str(folder), rescan=True)
    assert after.fingerprint != before.fingerprint
    assert (after.brightness_N == 77).sum() == 1 and not (before.brightness_N == 77).any()
    assert open_store(str(folder)).fingerprint == after.fingerprint, "the older cache is gone"
    assert len([*cache.glob("stores/*"), *cache.glob("stores/.*")]) == 1


def test_a_csv_of_the_same_size_and_time_is_read_by_a_scan_anew(tmp_path):
    path = write_csv(tmp_path / "fer2013.csv")
    before, stat = open_store(str(path)), path.stat()
    path.write_bytes(path.read_bytes().replace(b"\n0,", b"\n5,", 1))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert open_store(str(path)).labels_N.tolist() == before.labels_N.tolist()
    assert open_store(str(path), rescan=True).labels_N.tolist() == [5, *before.labels_N.tolist()[1:]]


def test_what_was_derived_from_the_older_scan_goes_with_it(tmp_path):
    folder = write_folder(tmp_path / "faces")
    near_copies(open_store(str(folder)))
    assert cached_near_copies(open_store(str(folder))) is not None
    rewrite_in_place(min(folder.glob("train/*/*")), grey=77)
    assert cached_near_copies(open_store(str(folder), rescan=True)) is None


def test_a_scan_anew_that_fails_leaves_the_older_cache(tmp_path):
    folder = write_folder(tmp_path / "faces")
    before = open_store(str(folder))
    image = min(folder.glob("train/*/*"))
    with image.open("r+b") as file:
        file.truncate(20)
    with pytest.raises(DataError, match="not a readable PNG"):
        open_store(str(folder), rescan=True)
    assert open_store(str(folder)).fingerprint == before.fingerprint


# --- archives, NPZ, and folders as others have them


def as_icml(path: Path) -> Path:
    """The challenge's other file: another order of columns, blanks in the header."""
    rows = [[emotion, usage, pixels] for emotion, pixels, usage in csv_rows(make_faces())]
    return write_rows(path, rows, "emotion, Usage, pixels")


def packed(path: Path, *members: tuple[Path, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file, name in members:
                archive.write(file, name)
    else:
        with tarfile.open(path, "w:gz") as archive:
            for file, name in members:
                archive.add(file, name)
    return path


def images_of(folder: Path, below: str = "") -> list[tuple[Path, str]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [(file, f"{below}{file.relative_to(folder)}") for file in files]


def test_torchvisions_folder_opens(tmp_path):
    path = as_icml(tmp_path / "root" / "fer2013" / "icml_face_data.csv")
    opened = open_store(str(tmp_path / "root"))
    assert (opened.source, opened.kind) == (str(path), "csv")
    np.testing.assert_array_equal(opened.images_NHW, make_faces().images_NHW)
    assert opened.splits_N.tolist() == make_faces().splits_N.tolist()


OTHER_FORMS = {
    "fer2013.tar.gz": ("csv", lambda tmp, path: packed(path, (write_csv(tmp / "a.csv"), "fer2013/fer2013.csv"))),
    "archive.zip": ("csv", lambda tmp, path: packed(path, (as_icml(tmp / "a.csv"), "icml_face_data.csv"))),
    "root.zip": ("csv", lambda tmp, path: packed(path, (as_icml(tmp / "a.csv"), "root/fer2013/icml_face_data.csv"))),
    "faces.zip": ("folder", lambda tmp, path: packed(path, *images_of(write_folder(tmp / "images")))),
    "wrapped.zip": ("folder", lambda tmp, path: packed(path, *images_of(write_folder(tmp / "images"), "FER-2013/"))),
    "npz.zip": ("npz", lambda tmp, path: packed(path, (write_npz(tmp / "a.npz"), "fer2013.npz"))),
    "fer2013.npz": ("npz", lambda tmp, path: write_npz(path)),
}


@pytest.mark.parametrize("name", OTHER_FORMS)
def test_other_forms_of_the_same_faces_open_alike_and_say_what_is_in_them(name, tmp_path, cache):
    kind, make = OTHER_FORMS[name]
    (tmp_path / "given").mkdir()
    path = make(tmp_path, tmp_path / "given" / name)
    opened, plain = open_store(str(path)), open_store(str(write_csv(tmp_path / "plain.csv")))
    assert (opened.source, opened.kind) == (str(path), kind)
    assert opened.counts() == plain.counts()
    assert sorted(opened.hashes_N.tolist()) == sorted(plain.hashes_N.tolist())
    assert open_store(str(path)).fingerprint == opened.fingerprint
    assert not [*cache.glob(".unpacked*")]


def bad_csv(tmp_path: Path) -> Path:
    rows = csv_rows(make_faces())
    rows[1][1] = "1 2 3"
    return write_rows(tmp_path / "bad.csv", rows)


def noise(tmp_path: Path) -> Path:
    (tmp_path / "noise").write_bytes(b"noise")
    return tmp_path / "noise"


BAD_ARCHIVES = {
    "a bad row": (lambda tmp: [(bad_csv(tmp), "fer2013.csv")], "fer2013.csv: line 3: 3 pixels, expected 2304"),
    "a bad row below": (lambda tmp: [(bad_csv(tmp), "x/fer2013/fer2013.csv")], "x/fer2013/fer2013.csv: line 3: 3 pix"),
    "a bad image": (lambda tmp: [(noise(tmp), "train/happy/1.png")], "train/happy/1.png: not a readable PNG"),
    "a bad npz": (lambda tmp: [(noise(tmp), "fer2013.npz")], "fer2013.npz: not a readable .npz file"),
    "images without a label": (lambda tmp: [(noise(tmp), "x/1.png")], "no fer2013.csv and no folders named after emo"),
    "no train images": (lambda tmp: [(noise(tmp), "test/happy/1.png")], "all 1 images are in val or test folders"),
    "unlabelled rows": (
        lambda tmp: [(write_rows(tmp / "a", [["1 2"]], "pixels"), "train.csv")],
        "train.csv: no column 'emotion' in the header (found: pixels)",
    ),
    "two CSV files under other names": (
        lambda tmp: [(write_csv(tmp / "a"), "one.csv"), (write_csv(tmp / "a"), "two.csv")],
        "no fer2013.csv and no folders",
    ),
}


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
@pytest.mark.parametrize(("members", "start"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_what_is_wrong_in_an_archive_is_said_of_the_archive(members, start, suffix, tmp_path, cache):
    path = packed(tmp_path / "given" / f"faces{suffix}", *members(tmp_path))
    with pytest.raises(DataError) as caught:
        open_store(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: {start}") and "\n" not in message
    assert str(cache) not in message and ".unpacked" not in message
    assert not [*cache.glob(".unpacked*"), *cache.glob("stores/*")]


# --- the unlabelled rows beside train.csv


def test_the_signature_of_train_csv_changes_with_test_csv_beside_it(tmp_path):
    path = write_rows(tmp_path / "train.csv", [row[:2] for row in csv_rows(make_faces())], "emotion,pixels")
    beside, seen = tmp_path / "test.csv", [find_source(str(path)).signature]
    for content in ("pixels\n1 2\n", "pixels\n1 2\n3 4\n"):
        beside.write_text(content)
        seen.append(find_source(str(path)).signature)
    os.utime(beside, ns=(1, 1))
    seen.append(find_source(str(path)).signature)
    beside.unlink()
    assert find_source(str(path)).signature == seen[0]
    assert len(set(seen)) == 4


def test_a_test_csv_that_comes_later_is_told_of_in_the_notes(tmp_path):
    counts = {"train": dict.fromkeys(("angry", "happy"), 20)}
    rows = [row[:2] for row in csv_rows(make_faces(counts))]
    path = write_rows(tmp_path / "train.csv", rows, "emotion,pixels")
    first = open_store(str(path))
    assert len(first.notes) == 2
    (tmp_path / "test.csv").write_text("pixels\n1 2\n3 4\n")
    second = open_store(str(path))
    assert second.notes == (*first.notes, "test.csv beside it has 2 faces without a label; they are left out.")
    assert second.fingerprint == first.fingerprint


def test_the_signature_of_another_csv_takes_no_notice_of_test_csv(tmp_path):
    path = write_csv(tmp_path / "fer2013.csv")
    before = find_source(str(path)).signature
    (tmp_path / "test.csv").write_text("pixels\n1 2\n")
    assert find_source(str(path)).signature == before


# --- several candidates in one folder

CHOICE = [
    "fer2013.csv", "icml_face_data.csv", "fer2013/fer2013.csv", "fer2013/icml_face_data.csv",
    "train.csv", "fer2013/train.csv",
    "images", "fer2013.tar.gz", "archive.zip", "fer2013.zip", "fer2013.npz",
]  # fmt: skip
"""What is taken first of a folder that holds all of them: the challenge's files, images, then what is packed."""


def put(folder: Path, name: str) -> None:
    if name == "images":
        write_folder(folder, make_faces({"train": FEW["train"]}))
    else:
        write_csv(folder / name)  # which of them it is, is told by the name alone


def path_of(folder: Path, name: str) -> Path:
    return folder if name == "images" else folder / name


@pytest.mark.parametrize("place", range(len(CHOICE)))
def test_of_several_candidates_the_first_is_taken(place, tmp_path):
    folder = tmp_path / "data"
    for name in CHOICE[place:]:
        put(folder, name)
    found = find_source(str(folder))
    assert found.path == path_of(folder, CHOICE[place])
    expected = {"images": "folder", "fer2013.npz": "npz"} | dict.fromkeys(CHOICE[7:10], "archive")
    assert found.kind == expected.get(CHOICE[place], "csv")


def test_a_folder_named_like_the_file_is_not_taken_for_it(tmp_path):
    (tmp_path / "fer2013.csv").mkdir()
    write_csv(tmp_path / "icml_face_data.csv")
    assert find_source(str(tmp_path)).path == tmp_path / "icml_face_data.csv"


def test_votes_and_other_files_do_not_stand_in_the_way(tmp_path):
    write_csv(tmp_path / "another.csv")
    write_rows(tmp_path / "fer2013new.csv", [], "Usage")
    put(tmp_path, "fer2013.zip")
    assert find_source(str(tmp_path)).path == tmp_path / "fer2013.zip"


def test_the_only_csv_of_faces_is_found_whatever_its_name(tmp_path, cache):
    write_csv(tmp_path / "here" / "my faces.csv")
    (tmp_path / "here" / "notes.csv").write_text("day,words\n")
    assert find_source(str(tmp_path / "here")).path == tmp_path / "here" / "my faces.csv"
    archive = packed(tmp_path / "given" / "faces.zip", (tmp_path / "here" / "my faces.csv", "deep/my faces.csv"))
    assert len(open_store(str(archive))) == 10


def test_a_list_of_images_called_train_csv_does_not_hide_the_images(tmp_path, cache):
    folder = write_folder(tmp_path / "faces")
    (folder / "train.csv").write_text("file,label\ntrain/happy/1.png,happy\n")
    assert find_source(str(folder)).kind == "folder"
