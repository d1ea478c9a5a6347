"""Sources that can be switched to, and what becomes of an upload: kept whole, or not at all."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from fer_core.data import find_source, open_store, uploads
from fer_core.data.uploads import SUFFIXES, keep_upload, list_sources
from fer_core.errors import DataError
from tests.faces import csv_rows, make_faces, write_csv, write_folder, write_rows, write_votes
from tests.test_faults import write_npz


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """An empty working folder, a cache of the test's own, and no source but the sample."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER_DATA", raising=False)


@pytest.fixture
def kept(tmp_path) -> Path:
    return tmp_path / "cache" / "uploads"


@pytest.fixture
def content(tmp_path) -> bytes:
    return write_csv(tmp_path / "made.csv").read_bytes()


def upload(name: str, content: bytes) -> str:
    return keep_upload(name, io.BytesIO(content))


def everything(folder: Path) -> list[str]:
    """Names of what lies in a folder, hidden too."""
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def refused(name: str, content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        upload(name, content)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def zipped(path: Path, folder: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
    return path.read_bytes()


# --- the list


def test_without_anything_there_is_the_sample_alone():
    assert list_sources() == {"sample": "sample"}


def test_the_apps_own_source_comes_first_and_the_sample_stays(tmp_path, monkeypatch):
    path = write_csv(tmp_path / "elsewhere" / "faces.csv")
    monkeypatch.setenv("FER_DATA", str(path))
    assert list(list_sources().items()) == [("faces.csv", str(path)), ("sample", "sample")]


def test_what_lies_in_data_and_what_was_uploaded_follow_by_name(tmp_path, content):
    data = tmp_path / "work" / "data"
    for name in ("fer2013.csv", "b.npz", "a.TAR.GZ", "c.tgz", "d.tar", "e.zip"):
        write_csv(data / name)  # nobody looks into them yet
    for name in ("test.csv", "fer2013new.csv", "fer2013new-2.csv", ".hidden.csv", "notes.txt", "a.gz"):
        write_csv(data / name)
    (data / "folder.zip").mkdir()
    upload("mine.csv", content)
    names = ["fer2013.csv", "sample", "a.TAR.GZ", "b.npz", "c.tgz", "d.tar", "e.zip", "mine.csv"]
    assert list(list_sources()) == names
    assert list_sources()["b.npz"] == str(data / "b.npz")


def test_every_name_in_the_list_is_found_from_any_folder(tmp_path, monkeypatch, content):
    write_csv(tmp_path / "work" / "data" / "fer2013.csv")
    write_csv(tmp_path / "work" / "data" / "other.csv")
    upload("mine.csv", content)
    sources = list_sources()
    monkeypatch.chdir("/")
    assert {find_source(name).name for name in sources.values()} == set(sources.values())
    assert len(sources) == 4


def test_a_file_of_a_taken_name_is_listed_with_its_folder(tmp_path, monkeypatch, content):
    first, data = write_csv(tmp_path / "x" / "fer2013.csv"), write_csv(tmp_path / "work" / "data" / "fer2013.csv")
    monkeypatch.setenv("FER_DATA", str(first))
    upload("fer2013.csv", content)
    assert list_sources() == {
        "fer2013.csv": str(first),
        "sample": "sample",
        "data/fer2013.csv": str(data),
        "uploads/fer2013.csv": str(tmp_path / "cache" / "uploads" / "fer2013.csv"),
    }


def test_a_source_of_the_app_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setenv("FER_DATA", "nowhere.csv")
    with pytest.raises(DataError, match="nowhere.csv: no such file or folder"):
        list_sources()


# --- what is kept


def test_an_upload_is_kept_as_it_is_and_opens_by_its_short_name(kept, content):
    assert upload("mine.csv", content) == "mine.csv"
    assert everything(kept) == ["mine.csv"]
    assert (kept / "mine.csv").read_bytes() == content
    assert open_store(list_sources()["mine.csv"]).labels_N.tolist() == make_faces().labels_N.tolist()


@pytest.mark.parametrize("name", ["fer2013.zip", "fer2013.tar.gz", "fer2013.tgz", "fer2013.tar", "fer2013.npz"])
def test_every_kind_that_is_offered_can_be_uploaded(name, tmp_path, kept):
    path = tmp_path / name
    if name.endswith(".npz"):
        write_npz(path)
    elif name.endswith(".zip"):
        zipped(path, write_folder(tmp_path / "images"))
    else:
        with tarfile.open(path, "w" if name.endswith(".tar") else "w:gz") as archive:
            archive.add(write_csv(tmp_path / "fer2013.csv"), "fer2013/fer2013.csv")
    assert name.endswith(SUFFIXES)
    assert upload(name, path.read_bytes()) == name
    assert everything(kept) == [name]
    assert len(open_store(list_sources()[name])) == 10


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("../../etc/mine.csv", "mine.csv"),
        ("/tmp/mine.csv", "mine.csv"),
        ("C:\\faces\\mine.csv", "C-faces-mine.csv"),
        ("my faces (2).csv", "my-faces-2-.csv"),
        ("..csv.csv", "csv.csv"),
        (".hidden.csv", "hidden.csv"),
        ("-rf.csv", "rf.csv"),
        ("a\nb\0.csv", "a-b-.csv"),
        ("Gesichter für mich.csv", "Gesichter-für-mich.csv"),
        ("人脸.csv", "人脸.csv"),
        ("UPPER.CSV", "UPPER.CSV"),
        ("test.csv", "test.csv"),
        ("fer2013new-mine.csv", "fer2013new-mine.csv"),
    ],
)
def test_an_odd_name_becomes_a_plain_one_in_the_list(name, short, kept, content):
    assert upload(name, content) == short
    assert everything(kept) == [short]
    assert list_sources()[short] == str(kept / short)


def test_the_name_that_comes_back_is_the_uploads_even_where_another_source_has_it(tmp_path, kept, content):
    write_csv(tmp_path / "work" / "data" / "fer2013.csv", make_faces(seed=1))
    short = upload("fer2013.csv", content)
    assert short == "uploads/fer2013.csv"
    assert list_sources()[short] == str(kept / "fer2013.csv")


# --- what is refused


def test_a_name_that_is_taken_is_refused_and_the_first_stays(kept, content):
    upload("mine.csv", content)
    other = content.replace(b"Training", b"PublicTest")
    assert refused("mine.csv", other) == (
        "mine.csv: there is an upload of that name already. Choose it in the list, or rename the file."
    )
    assert refused("../mine.csv", other).startswith("mine.csv: there is an upload of that name")
    assert (kept / "mine.csv").read_bytes() == content and everything(kept) == ["mine.csv"]


@pytest.mark.parametrize("name", ["faces.txt", "faces.csv.exe", "faces", "", ".csv", "..", "faces.gz", "faces.7z"])
def test_a_kind_that_is_not_read_is_refused_before_anything_is_written(name, kept, content):
    assert refused(name, content) == (
        f"{name}: cannot be a source. Upload one of .csv, .zip, .tar.gz, .tgz, .tar, .npz; a folder as a .zip of it."
    )
    assert not kept.exists()


def test_a_damaged_row_is_named_by_line_and_nothing_is_kept(tmp_path, kept):
    rows = csv_rows(make_faces())
    rows[2][0] = "9"
    message = refused("mine.csv", write_rows(tmp_path / "bad.csv", rows).read_bytes())
    assert message == "mine.csv: line 4: emotion '9', expected 0 to 6. Repair these rows or fetch the file again."
    assert everything(kept) == [] and list_sources() == {"sample": "sample"}
    write_csv(tmp_path / "good.csv")
    assert upload("mine.csv", (tmp_path / "good.csv").read_bytes()) == "mine.csv"


def zip_of(tmp_path: Path, name: str, inner: bytes) -> bytes:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr(name, inner)
    return (tmp_path / "made.zip").read_bytes()


BAD = {
    "a CSV of something else": ("a.csv", lambda place: b"a,b\n1,2\n", "a.csv: no column 'emotion' in the header"),
    "nothing": ("a.csv", lambda place: b"", "a.csv: no column 'emotion' in the header (found: nothing)"),
    "no zip": ("a.zip", lambda place: b"noise", "a.zip: a damaged or incomplete archive ("),
    "half a zip": ("a.zip", lambda place: zip_of(place, "a.png", b"1")[:40], "a.zip: a damaged or incomplete archive"),
    "a zip of nothing": ("a.zip", lambda place: zip_of(place, "a.txt", b"1"), "a.zip: no fer2013.csv and no images"),
    "a zip of a zip": ("a.zip", lambda place: zip_of(place, "b.zip", b"1"), "a.zip: only another archive in it"),
    "a zip of loose images": ("a.zip", lambda place: zip_of(place, "x/b.png", b"1"), "a.zip: no fer2013.csv and no"),
    "a zip that climbs out": ("a.zip", lambda place: zip_of(place, "../b.png", b"1"), "a.zip: refused, since its memb"),
    "a bad CSV in a zip": (
        "a.zip",
        lambda place: zip_of(place, "fer2013.csv", b"emotion,pixels,Usage\n0,1 2,Training\n"),
        "a.zip: fer2013.csv: line 2: 2 pixels, expected 2304",
    ),
    "a bad image in a zip": (
        "a.zip",
        lambda place: zip_of(place, "train/happy/0.png", b"noise"),
        "a.zip: train/happy/0.png: not a readable PNG",
    ),
    "no npz": ("a.npz", lambda place: b"noise", "a.npz: not a readable .npz file ("),
    "a Git LFS pointer": (
        "a.csv",
        lambda place: b"version https://git-lfs.github.com/spec/v1\n",
        "a.csv: a Git LFS pointer",
    ),
}


@pytest.mark.parametrize(("name", "make", "start"), BAD.values(), ids=BAD)
def test_damaged_content_is_one_line_about_the_file_and_nothing_of_it_stays(name, make, start, tmp_path, kept):
    message = refused(name, make(tmp_path))
    assert message.startswith(start)
    assert str(tmp_path) not in message and ".new." not in message and ".unpacked" not in message
    assert everything(kept) == []
    assert not list((tmp_path / "cache").glob(".unpacked*"))


def test_what_breaks_off_while_it_comes_is_not_kept(kept, content):
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 0:
                raise OSError("the browser went away")
            return super().read(1000)

    with pytest.raises(DataError, match="could not write the cache in "):
        keep_upload("mine.csv", Broken(content))
    assert everything(kept) == []


def test_the_file_is_not_in_its_place_before_it_has_been_read(kept, content, monkeypatch):
    seen = []
    read = uploads.read_source
    monkeypatch.setattr(uploads, "read_source", lambda path: seen.append((everything(kept), path.name)) or read(path))
    upload("mine.csv", content)
    [(names, name)] = seen
    assert name == "mine.csv" and "mine.csv" not in names and len(names) == 1 and names[0].startswith(".new.")
    assert list(list_sources()) == ["sample", "mine.csv"]


def test_votes_are_told_from_faces_and_it_is_said_where_they_belong(tmp_path, kept):
    votes = write_votes(tmp_path / "fer2013new.csv")
    with votes.open("rb") as file, pytest.raises(DataError) as caught:
        keep_upload("fer2013new.csv", file)
    assert str(caught.value) == (
        "fer2013new.csv: FER+'s votes, without faces. Put it beside the fer2013.csv that is opened, under the name "
        "fer2013new.csv: the votes are then joined to its faces."
    )
    assert everything(kept) == []
