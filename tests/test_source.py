"""Which source a name means, and the cache behind `open_store`: mapped, whole, and never of an older content."""

import json
import multiprocessing
import os
import threading
from contextlib import suppress
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest

from fer_core.config import RunConfig
from fer_core.data import FaceStore, find_source, open_store, resolve_config, source, store
from fer_core.data.store import Faces, content_fingerprint, pixel_hashes
from fer_core.errors import DataError
from fer_core.labels import EMOTIONS, FER2013_ROWS, FER2013_TRAIN_COUNTS
from tests.faces import FEW, csv_rows, make_faces, write_csv, write_folder, write_rows

real_data = [
    pytest.mark.real_data,
    pytest.mark.skipif(not os.environ.get("FER_DATA"), reason="$FER_DATA names no FER2013"),
]


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """An empty working folder, so that `data/` is what a test makes it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the test's own."""
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache"


@pytest.fixture
def no_fer_data(monkeypatch):
    monkeypatch.delenv("FER_DATA", raising=False)


@pytest.fixture
def path(tmp_path):
    return write_csv(tmp_path / "fer2013.csv")


@pytest.fixture
def parses(monkeypatch):
    """What is parsed, one entry each time."""
    parsed, read = [], source._READERS["csv"]
    monkeypatch.setitem(source._READERS, "csv", lambda path, progress: parsed.append(path) or read(path, progress))
    return parsed


def cached(cache: Path) -> list[Path]:
    """Every file and folder in the cache, hidden ones too."""
    return [*cache.glob("stores/*"), *cache.glob("stores/.*")]


def changed(faces: Faces, **rows: object) -> Faces:
    copies = {name: getattr(faces, name).copy() for name in ("images_NHW", "labels_N", "splits_N")}
    for name, (row, value) in rows.items():
        copies[name][row] = value
    return Faces(**copies)


# --- which source


def test_a_name_on_the_command_line_comes_before_everything(monkeypatch, working_folder, tmp_path):
    named, variable = write_csv(tmp_path / "named.csv"), write_csv(tmp_path / "variable.csv")
    write_csv(working_folder / "data" / "fer2013.csv")
    monkeypatch.setenv("FER_DATA", str(variable))
    assert find_source(str(named)).path == named
    assert find_source().path == variable
    monkeypatch.setenv("FER_DATA", "")
    assert find_source().path == working_folder / "data" / "fer2013.csv"
    monkeypatch.delenv("FER_DATA")
    assert find_source().path == working_folder / "data" / "fer2013.csv"
    (working_folder / "data" / "fer2013.csv").unlink()
    assert (find_source().kind, find_source().path) == ("sample", None)


@pytest.mark.usefixtures("no_fer_data")
def test_an_image_folder_in_data_is_found(working_folder):
    write_folder(working_folder / "data")
    assert (find_source().kind, find_source().path) == ("folder", working_folder / "data")


def test_the_sample_can_be_asked_for_by_name(monkeypatch, path):
    assert find_source("sample").kind == "sample"
    monkeypatch.setenv("FER_DATA", "sample")
    assert (find_source().kind, find_source().default_epochs) == ("sample", 8)
    assert find_source(str(path)).default_epochs == 14


def test_a_folder_that_holds_the_csv_stands_for_it(path):
    assert find_source(str(path.parent)) == find_source(str(path))


def test_the_home_folder_may_be_a_tilde(monkeypatch, path):
    monkeypatch.setenv("HOME", str(path.parent))
    assert find_source("~/fer2013.csv").path == path


def test_a_source_that_is_not_there_is_an_error_not_the_sample(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_DATA", "nowhere.csv")
    for data in (None, "nowhere.csv"):
        with pytest.raises(DataError) as caught:
            find_source(data)
        assert str(caught.value) == (f"nowhere.csv: no such file or folder. {source.HINT}")


def test_a_folder_of_something_else_says_what_was_looked_for(tmp_path):
    (tmp_path / "other" / "train").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        find_source(str(tmp_path / "other"))
    assert str(caught.value) == (
        f"{tmp_path}/other: neither fer2013.csv, nor an archive of it, nor folders named after emotions in it "
        f"(found: train/). {source.HINT}"
    )


def test_a_resolved_configuration_finds_its_source_from_any_folder(monkeypatch, path, tmp_path):
    monkeypatch.chdir(path.parent)
    config = resolve_config(RunConfig(data="fer2013.csv"))
    monkeypatch.chdir("/")
    assert find_source(config.data).path == path
    assert (config.epochs, config.lr) == (14, 0.1)
    assert resolve_config(RunConfig(data="sample")).epochs == 8
    assert resolve_config(RunConfig(data="sample", epochs=3)).epochs == 3


# --- what is opened


def test_an_opened_store_holds_what_the_file_holds(cache, path):
    opened, faces = open_store(str(path)), make_faces()
    np.testing.assert_array_equal(opened.images_NHW, faces.images_NHW)
    assert opened.labels_N.tolist() == faces.labels_N.tolist()
    assert opened.splits_N.tolist() == faces.splits_N.tolist()
    assert (opened.source, opened.kind, opened.notes) == (str(path), "csv", ())
    assert (opened.classes, opened.image_size, len(opened)) == (EMOTIONS, (48, 48), 10)
    assert opened.counts() == {split: dict.fromkeys(EMOTIONS, 0) | FEW[split] for split in FEW}
    assert list(opened.counts()["train"]) == list(EMOTIONS)
    assert opened.rows("public").tolist() == [6, 7]
    assert not opened.is_fer2013


def test_a_split_that_does_not_exist_is_named(cache, path):
    with pytest.raises(DataError) as caught:
        open_store(str(path)).rows("test")
    assert str(caught.value) == "no split named 'test'. Known: train, public, private."


def test_later_opens_map_and_parse_nothing(cache, path, parses):
    first, second = open_store(str(path)), open_store(str(path))
    assert parses == [path]
    for opened in (first, second):
        for array in (opened.images_NHW, opened.labels_N, opened.splits_N, opened.hashes_N):
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 0
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.images_NHW, first.images_NHW)


def test_notes_survive_the_cache(cache, tmp_path):
    write_folder(tmp_path / "faces", prefixes=False)
    first, second = (open_store(str(tmp_path / "faces")) for _ in range(2))
    assert len(first.notes) == 1
    assert second.notes == first.notes


def test_a_changed_file_is_parsed_anew_and_its_older_cache_dropped(cache, path, parses):
    before = open_store(str(path))
    write_csv(path, make_faces(FEW | {"private": {"fear": 4}}))
    after = open_store(str(path))
    assert (len(before), len(after)) == (10, 12)
    assert len(parses) == 2
    assert len(cached(cache)) == 1
    assert before.images_NHW[0, 0, 0] == make_faces().images_NHW[0, 0, 0]  # still mapped by who has it open


def test_a_touched_file_of_the_same_size_is_parsed_anew(cache, path, parses):
    first = open_store(str(path))
    os.utime(path, ns=(1, 1))
    second = open_store(str(path))
    assert len(parses) == 2
    assert second.fingerprint == first.fingerprint
    assert len(cached(cache)) == 1


def test_a_repaired_image_folder_is_parsed_anew(cache, tmp_path):
    folder = write_folder(tmp_path / "faces")
    before = open_store(str(folder))
    min(folder.glob("train/*/*")).unlink()
    after = open_store(str(folder))
    assert (len(before), len(after)) == (10, 9)


def test_two_sources_have_a_cache_each(cache, path, tmp_path):
    open_store(str(path))
    open_store(str(write_csv(tmp_path / "other.csv", make_faces(seed=1))))
    open_store(str(path))
    assert len(cached(cache)) == 2


# --- nothing half-read, nothing half-written


def test_nothing_of_a_damaged_file_is_cached_and_the_repaired_one_opens(cache, tmp_path):
    rows = csv_rows(make_faces())
    rows[8][1] = rows[8][1].replace(" ", " 300 ", 1)
    path = write_rows(tmp_path / "fer2013.csv", rows)
    with pytest.raises(DataError, match="line 10: 2305 pixels, expected 2304"):
        open_store(str(path))
    assert cached(cache) == []
    write_csv(path)
    assert len(open_store(str(path))) == 10


def test_nothing_of_a_damaged_folder_is_cached_and_the_repaired_one_opens(cache, tmp_path):
    folder = write_folder(tmp_path / "faces")
    image = max(folder.glob("train/*/*"))
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(DataError, match="not a readable PNG, JPEG"):
        open_store(str(folder))
    assert cached(cache) == []
    image.write_bytes(whole)
    assert len(open_store(str(folder))) == 10


def damage_meta(text):
    return lambda folder: (folder / "meta.json").write_text(text)


def edit_meta(**values):
    def damage(folder):
        meta = json.loads((folder / "meta.json").read_text())
        meta |= values
        (folder / "meta.json").write_text(json.dumps({key: value for key, value in meta.items() if value is not None}))

    return damage


def truncate(name, size):
    return lambda folder: os.truncate(folder / name, size)


DAMAGE = {
    "no meta": lambda folder: (folder / "meta.json").unlink(),
    "half a meta": damage_meta('{"format": 1, "sou'),
    "an empty meta": damage_meta(""),
    "a list": damage_meta("[]"),
    "null": damage_meta("null"),
    "another format": edit_meta(format=99),
    "no notes": edit_meta(notes=None),
    "no fingerprint": edit_meta(fingerprint=None),
    "a further key": edit_meta(more=1),
    "no images": lambda folder: (folder / "images.npy").unlink(),
    "half the images": truncate("images.npy", 12_000),
    "empty images": truncate("images.npy", 0),
    "half a header": truncate("labels.npy", 40),
    "empty hashes": truncate("hashes.npy", 0),
    "labels of another length": lambda folder: np.save(folder / "labels.npy", np.zeros(3, dtype=np.int64)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_cache_is_rebuilt(damage, cache, path, parses):
    fingerprint = open_store(str(path)).fingerprint
    [folder] = cached(cache)
    damage(folder)
    again = open_store(str(path))
    assert len(parses) == 2
    assert again.fingerprint == fingerprint
    np.testing.assert_array_equal(again.images_NHW, make_faces().images_NHW)
    assert again.labels_N.tolist() == make_faces().labels_N.tolist()
    assert len(cached(cache)) == 1


FULL = {
    "no space left": (OSError(ENOSPC, os.strerror(ENOSPC)), "No space left on device"),
    "as numpy says it": (OSError("23040 requested and 4096 written"), "23040 requested and 4096 written"),
}


@pytest.mark.parametrize(("error", "reason"), FULL.values(), ids=FULL)
def test_a_full_disk_is_one_line_and_leaves_nothing(error, reason, cache, path, monkeypatch):
    def save(file, array):
        if "labels" in str(file):
            raise error
        file.write_bytes(b"half")

    with monkeypatch.context() as patch:
        patch.setattr(store.np, "save", save)
        with pytest.raises(DataError) as caught:
            open_store(str(path))
    assert str(caught.value) == (
        f"could not write the cache in {cache / 'stores'} ({reason}); free some space there, "
        "or name another folder in $FER_CACHE."
    )
    assert cached(cache) == []
    assert len(open_store(str(path))) == 10


def test_a_cache_that_cannot_be_a_folder_is_one_line(path, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="could not write the cache in .*or name another folder in "):
        open_store(str(path))


def open_in_threads(path: Path, names: tuple[str, ...]) -> dict[str, object]:
    """Open one source in several threads; what each got, a store or an error."""
    results: dict[str, object] = {}

    def work():
        name = threading.current_thread().name
        try:
            results[name] = len(open_store(str(path)))
        except (DataError, OSError, AssertionError) as error:
            results[name] = error

    threads = [threading.Thread(target=work, name=name) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


def test_two_threads_that_open_first_at_once_both_get_the_store(cache, path, monkeypatch):
    read = source._READERS["csv"]
    together = threading.Barrier(2)

    def read_together(path, progress):
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)  # both have looked and found no cache; or one waits for the other, which is as good
        return read(path, progress)

    monkeypatch.setitem(source._READERS, "csv", read_together)
    assert open_in_threads(path, ("A", "B")) == {"A": 10, "B": 10}
    assert len(cached(cache)) == 1


def test_a_store_that_another_has_just_written_does_not_vanish_under_its_feet(cache, path, monkeypatch):
    """A looks and finds nothing; B writes; A goes on to make room for its own, before B has mapped what it wrote."""
    b_wrote, a_reads, b_done = threading.Event(), threading.Event(), threading.Event()
    look, write, read = source.read_store, source.write_store, source._READERS["csv"]
    looked = []

    def is_a():
        return threading.current_thread().name == "A"

    def spy_look(folder):
        found = look(folder)
        if is_a() and not looked:
            looked.append(True)
            b_wrote.wait(0.5)
        if not is_a() and b_wrote.is_set():
            b_done.set()
        return found

    def spy_write(*arguments):
        write(*arguments)
        if not is_a():
            b_wrote.set()
            a_reads.wait(0.5)

    def spy_read(path, progress):
        if is_a():
            a_reads.set()
            b_done.wait(0.5)
        return read(path, progress)

    monkeypatch.setattr(source, "read_store", spy_look)
    monkeypatch.setattr(source, "write_store", spy_write)
    monkeypatch.setitem(source._READERS, "csv", spy_read)
    assert open_in_threads(path, ("A", "B")) == {"A": 10, "B": 10}
    assert len(cached(cache)) == 1


def _open_length(path: str) -> int:
    return len(open_store(path))


def test_processes_that_open_first_at_once_all_get_the_store(cache, path):
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map_async(_open_length, [str(path)] * 3, chunksize=1).get(timeout=30) == [10, 10, 10]
    assert len(cached(cache)) == 1


# --- hashes and fingerprints


def fingerprint(faces: Faces, path: Path) -> str:
    return open_store(str(write_csv(path, faces))).fingerprint


def test_the_same_content_has_the_same_fingerprint_wherever_it_lies(cache, path, tmp_path):
    stored = open_store(str(path))
    rows = [[usage, pixels, emotion] for emotion, pixels, usage in csv_rows(make_faces())]
    other = open_store(str(write_rows(tmp_path / "b" / "renamed.csv", rows, "Usage,pixels,emotion")))
    assert other.fingerprint == stored.fingerprint
    assert other.source != stored.source


CHANGES = {
    "a pixel": {"images_NHW": ((4, 10, 20), 0)},
    "a label": {"labels_N": (4, 6)},
    "a split": {"splits_N": (4, 2)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_pixel_label_or_split_is_another_fingerprint(change, cache, tmp_path):
    faces = make_faces()
    other = changed(faces, **change)
    assert fingerprint(faces, tmp_path / "a.csv") != fingerprint(other, tmp_path / "b.csv")


def test_the_order_of_rows_and_of_classes_is_part_of_the_fingerprint():
    hashes, labels, splits = [1, 2], [0, 1], [0, 0]
    prints = {
        content_fingerprint(hashes, labels, splits, ("a", "b")),
        content_fingerprint(hashes[::-1], labels[::-1], splits, ("a", "b")),
        content_fingerprint(hashes, labels, splits, ("b", "a")),
    }
    assert len(prints) == 3
    assert all(len(one) == 16 and int(one, 16) >= 0 for one in prints)


def test_equal_pixels_have_equal_hashes_and_others_do_not():
    images = np.zeros((4, 6, 8), dtype=np.uint8)
    images[1, 5, 7] = 1
    images[3, 0, 0] = 1
    hashes = pixel_hashes(images)
    assert hashes.dtype == np.uint64
    assert hashes[0] == hashes[2]
    assert len(set(hashes.tolist())) == 3
    assert pixel_hashes(images.reshape(4, 8, 6))[0] != hashes[0]  # the size counts too
    assert pixel_hashes(images[1:2])[0] == hashes[1]


def test_a_face_has_the_same_hash_in_a_csv_and_in_a_folder(cache, path, tmp_path):
    from_csv, from_folder = open_store(str(path)), open_store(str(write_folder(tmp_path / "faces")))
    assert sorted(from_csv.hashes_N.tolist()) == sorted(from_folder.hashes_N.tolist())
    by_hash = dict(zip(from_folder.hashes_N.tolist(), from_folder.labels_N.tolist(), strict=True))
    assert [by_hash[h] for h in from_csv.hashes_N.tolist()] == from_csv.labels_N.tolist()


def test_faces_are_found_by_their_pixels(cache, path, tmp_path):
    opened = open_store(str(path))
    other = make_faces(seed=9)
    wanted = np.array([opened.hashes_N[7], pixel_hashes(other.images_NHW)[0], opened.hashes_N[0], 0, 2**64 - 1])
    assert opened.find(wanted).tolist() == [7, -1, 0, -1, -1]
    np.testing.assert_array_equal(opened.find(opened.hashes_N), np.arange(10))


def test_of_equal_faces_the_first_is_found(cache, tmp_path):
    faces = make_faces()
    faces.images_NHW[[3, 8]] = 7
    opened = open_store(str(write_csv(tmp_path / "twice.csv", faces)))
    assert opened.find(opened.hashes_N[[8]]).tolist() == [3]


def test_imbalance_is_the_commonest_to_the_rarest_that_occurs(cache, path):
    opened = open_store(str(path))
    assert opened.imbalance("train") == ("neutral", "happy", 3.0)  # 2 angry, 3 happy, 1 neutral


# --- FER2013 itself


def test_published_figures_stand_only_beside_the_challenges_own_sizes():
    sizes = [28_709, 3_589, 3_589]
    splits = np.repeat(np.arange(3, dtype=np.int8), sizes)
    labels = np.zeros(len(splits), dtype=np.int64)
    blank = np.zeros((0, 48, 48), dtype=np.uint8), labels, splits, np.zeros(0, dtype=np.uint64), *[np.zeros(0)] * 2
    assert len(splits) == FER2013_ROWS
    assert FaceStore(*blank, source="", kind="csv", fingerprint="").is_fer2013
    assert not FaceStore(*blank, source="", kind="sample", fingerprint="").is_fer2013
    splits[0] = 1
    assert not FaceStore(*blank, source="", kind="csv", fingerprint="").is_fer2013


@pytest.fixture
def real():
    """FER2013, parsed once: the cache is the session's."""
    return open_store(os.environ["FER_DATA"])


class TestRealData:
    pytestmark = real_data

    def test_every_row_is_there_in_its_official_split(self, real):
        assert len(real) == FER2013_ROWS == 35_887
        assert [len(real.rows(split)) for split in ("train", "public", "private")] == [28_709, 3_589, 3_589]
        assert real.counts()["train"] == FER2013_TRAIN_COUNTS
        assert real.image_size == (48, 48)
        assert real.is_fer2013
        assert real.notes == ()

    def test_a_later_open_is_the_same_store(self, real):
        again = open_store(os.environ["FER_DATA"])
        assert again.fingerprint == real.fingerprint
        np.testing.assert_array_equal(again.labels_N, real.labels_N)

    def test_exact_copies_stand_in_train_and_private(self, real):
        copies = np.isin(real.hashes_N[real.rows("private")], real.hashes_N[real.rows("train")])
        assert copies.sum() == 288
