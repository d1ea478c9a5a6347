"""Damaged sources, each in one file: one clear line, exit code 2, nothing half-written, and the repaired one opens.

A fault is a function that damages a good source in place and gives what to open, and words that the line must hold.
"""

import io
import os
import resource
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_core import cli
from fer_core.data import csv_source
from tests.faces import USAGES, csv_rows, make_faces, write_csv, write_folder, write_rows, write_votes

ROOT = Path(__file__).resolve().parent.parent
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 301072766\n"


@dataclass(frozen=True)
class Place:
    """One good source of every kind in a folder of its own, to be damaged."""

    root: Path

    @property
    def csv(self) -> Path:
        return write_csv(self.root / "fer2013.csv")

    @property
    def votes(self) -> Path:
        """A CSV with its ten votes beside it; the votes' path."""
        write_csv(self.root / "fer2013.csv")
        return write_votes(self.root / "fer2013new.csv")

    @property
    def folder(self) -> Path:
        return write_folder(self.root / "faces")

    @property
    def zip(self) -> Path:
        return zipped(self.folder, self.root / "archive.zip")

    @property
    def tar(self) -> Path:
        with tarfile.open(self.root / "fer2013.tar.gz", "w:gz") as archive:
            archive.add(self.csv, "fer2013/fer2013.csv")
        (self.root / "fer2013.csv").unlink()
        return self.root / "fer2013.tar.gz"

    @property
    def npz(self) -> Path:
        return write_npz(self.root / "fer2013.npz")


def write_npz(path: Path, **arrays: object) -> Path:
    faces = make_faces()
    good = {
        "pixels": faces.images_NHW,
        "emotion": faces.labels_N.astype(np.int8),
        "usage": np.array([USAGES[split] for split in faces.splits_N]),
    }
    np.savez(path, **{name: value for name, value in (good | arrays).items() if value is not None})
    return path


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def edit(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def with_row(place: Place, column: int, value: str) -> Path:
    rows = csv_rows(make_faces())
    rows[4][column] = value if column != 1 else f"{value} {rows[4][1].split(' ', 1)[1]}"
    return write_rows(place.root / "fer2013.csv", rows)


def with_image(place: Place, content: bytes) -> Path:
    folder = place.folder
    min(folder.glob("train/*/*")).write_bytes(content)
    return folder


def huge_png() -> bytes:
    """30,000 x 30,000 pixels said in the header; a few hundred bytes."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def image_bytes(suffix: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(make_faces().images_NHW[0]).save(file, suffix)
    return file.getvalue()


def linked_outside(place: Place) -> Path:
    secret = place.root / "secret.png"
    secret.write_bytes(image_bytes("PNG"))
    folder = place.folder
    (folder / "train" / "happy" / "zz.png").symlink_to(secret)
    return folder


def member(place: Place, name: str, content: bytes = b"x", **options: object) -> Path:
    """A zip whose members are a good folder's, and one more."""
    path = place.zip
    with zipfile.ZipFile(path, "a", **options) as archive:
        archive.writestr(name, content)
    return path


def tar_member(place: Place, change: Callable[[tarfile.TarInfo], None]) -> Path:
    path = place.root / "faces.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(place.csv, "fer2013.csv")
        info = tarfile.TarInfo("link.png")
        change(info)
        archive.addfile(info)
    (place.root / "fer2013.csv").unlink()
    return path


def symlink_member(info: tarfile.TarInfo) -> None:
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"


def device_member(info: tarfile.TarInfo) -> None:
    info.type = tarfile.CHRTYPE


def climbing_member(info: tarfile.TarInfo) -> None:
    info.name = "../../escaped.png"


def bomb(place: Place) -> Path:
    path = place.root / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fer2013.csv", b"0" * 150_000_000)
    return path


def shuffled(path: Path) -> Path:
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join(rows[::-1]))
    return path


def votes_edit(change: Callable[[bytes], bytes]) -> Callable[[Place], Path]:
    return lambda place: edit(place.votes, change).parent / "fer2013.csv"


def csv_edit(change: Callable[[bytes], bytes]) -> Callable[[Place], Path]:
    return lambda place: edit(place.csv, change)


def first_row_twice(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join(lines[:2] + lines[1:])


Fault = Callable[[Place], Path]
FAULTS: dict[str, tuple[Fault, str]] = {
    # fer2013.csv
    "csv: cut off": (csv_edit(lambda text: text[:-1000]), "line 11: 2 fields where the header has 3"),
    "csv: a pixel too few": (csv_edit(lambda text: text.replace(b" ", b"", 1)), "line 2: "),
    "csv: a pixel too many": (lambda place: with_row(place, 1, "7 7"), "2305 pixels, expected 2304"),
    "csv: a word": (lambda place: with_row(place, 1, "grey"), "pixel value 'grey', expected 0 to 255"),
    "csv: negative": (lambda place: with_row(place, 1, "-1"), "pixel value '-1', expected 0 to 255"),
    "csv: 256": (lambda place: with_row(place, 1, "256"), "pixel value '256', expected 0 to 255"),
    "csv: NaN": (lambda place: with_row(place, 1, "nan"), "pixel value 'nan', expected 0 to 255"),
    "csv: emotion 7": (lambda place: with_row(place, 0, "7"), "emotion '7', expected 0 to 6"),
    "csv: no emotion": (lambda place: with_row(place, 0, ""), "emotion '', expected 0 to 6"),
    "csv: unknown Usage": (lambda place: with_row(place, 2, "Test"), "Usage 'Test', expected Training"),
    "csv: UTF-16": (csv_edit(lambda text: text.decode().encode("utf-16")), "UTF-16"),
    "csv: empty": (csv_edit(lambda text: b""), "no column"),
    "csv: header only": (csv_edit(lambda text: text.splitlines(keepends=True)[0]), "no rows"),
    "csv: a column missing": (csv_edit(lambda text: text.replace(b"pixels", b"faces", 1)), "no column 'pixels'"),
    "csv: a column twice": (
        csv_edit(lambda text: text.replace(b"emotion,pixels", b"emotion,emotion", 1)), "2 columns named 'emotion'",
    ),
    "csv: a Git LFS pointer": (csv_edit(lambda text: LFS), "git lfs pull"),
    "csv: an image": (csv_edit(lambda text: image_bytes("PNG")), "no column"),
    "csv: only unlabelled rows": (
        csv_edit(lambda text: b"pixels\n" + b" ".join([b"1"] * 2304) + b"\n"), "no column 'emotion'",
    ),
    "csv: not there": (lambda place: place.root / "nowhere.csv", "no such file or folder"),
    # FER+
    "votes: a row too few": (votes_edit(lambda text: text[: text.rindex(b"\nPrivate") + 1]), "9 rows"),
    "votes: in another order": (lambda place: shuffled(place.votes).parent / "fer2013.csv", "order"),
    "votes: cut off": (votes_edit(lambda text: text[:-8]), "line 11: "),
    "votes: a word": (votes_edit(lambda text: text.replace(b",10,", b",ten,", 1)), "votes 'ten', expected 0 to"),
    "votes: negative": (votes_edit(lambda text: text.replace(b",10,", b",-1,", 1)), "votes '-1', expected 0 to"),
    "votes: a column missing": (votes_edit(lambda text: text.replace(b"contempt", b"scorn", 1)), "column 'contempt'"),
    "votes: unknown Usage": (votes_edit(lambda text: text.replace(b"PublicTest", b"Test", 1)), "Usage 'Test'"),
    "votes: empty": (votes_edit(lambda text: b""), "no column 'Usage'"),
    "votes: header only": (votes_edit(lambda text: text.splitlines(keepends=True)[0]), "no rows"),
    "votes: a Git LFS pointer": (votes_edit(lambda text: LFS), "git lfs pull"),
    # Image folders
    "image: zero bytes": (lambda place: with_image(place, b""), "not a readable"),
    "image: cut off PNG": (lambda place: with_image(place, image_bytes("PNG")[:200]), "not a readable"),
    "image: cut off JPEG": (lambda place: with_image(place, image_bytes("JPEG")[:200]), "not a readable"),
    "image: noise": (lambda place: with_image(place, bytes(range(256)) * 9), "not a readable"),
    "image: 30,000 x 30,000": (lambda place: with_image(place, huge_png()), "giant"),
    "image: a Git LFS pointer": (lambda place: with_image(place, LFS), "git lfs pull"),
    "folder: a link to outside": (linked_outside, "zz.png: a link out of"),
    "folder: no emotion": (
        lambda place: shutil.copytree(place.folder / "train" / "happy", place.root / "x" / "joyful").parent, "joyful",
    ),
    "folder: empty": (lambda place: (place.root / "empty").mkdir() or place.root / "empty", "(found: nothing)"),
    # Archives
    "zip: cut off": (lambda place: edit(place.zip, lambda content: content[:-300]), ""),
    "zip: damaged inside": (
        lambda place: edit(place.zip, lambda content: content[:2000] + bytes(200) + content[2200:]), "",
    ),
    "zip: a path that climbs out": (lambda place: member(place, "../escaped.png"), "../escaped.png"),
    "zip: an absolute path": (lambda place: member(place, "/tmp/escaped.png"), "/tmp/escaped.png"),
    "zip: a decompression bomb": (bomb, "times"),
    "zip: nothing in it": (lambda place: zipped(place.root / "nothing", place.root / "a.zip"), ""),
    "zip: a bad image": (lambda place: member(place, "train/happy/zz.png", b"noise"), "zz.png: not a readable"),
    "tar: cut off": (lambda place: edit(place.tar, lambda content: content[: len(content) // 2]), ""),
    "tar: a symbolic link": (lambda place: tar_member(place, symlink_member), "link.png"),
    "tar: a device": (lambda place: tar_member(place, device_member), "link.png"),
    "tar: a path that climbs out": (lambda place: tar_member(place, climbing_member), "escaped.png"),
    "tar: a Git LFS pointer": (lambda place: edit(place.tar, lambda content: LFS), "git lfs pull"),
    # npz
    "npz: cut off": (lambda place: edit(place.npz, lambda content: content[:-900]), ""),
    "npz: an array missing": (lambda place: write_npz(place.root / "a.npz", usage=None), "usage"),
    "npz: too few labels": (lambda place: write_npz(place.root / "a.npz", emotion=np.zeros(3, dtype=np.int8)), ""),
    "npz: emotion 9": (lambda place: write_npz(place.root / "a.npz", emotion=np.full(10, 9)), "0 to 6"),
    "npz: floats": (lambda place: write_npz(place.root / "a.npz", pixels=np.zeros((10, 48, 48))), "uint8"),
    "npz: pickled": (lambda place: write_npz(place.root / "a.npz", usage=np.array([None] * 10, dtype=object)), ""),
}  # fmt: skip


@pytest.fixture
def place(tmp_path):
    root = tmp_path / "source"
    root.mkdir()
    return Place(root)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_CACHE", str(tmp_path / "own-cache"))
    return tmp_path / "own-cache"


def info(path, capsys, *words):
    """Exit code, standard output and standard error of `data info`."""
    code = cli.main(["data", "info", "--data", str(path), *words])
    out, err = capsys.readouterr()
    return code, out, err


def left_in(cache: Path) -> list[Path]:
    """What stands in the cache but the lock, and FER+'s join with the faces that were read before it."""
    return [path for path in cache.rglob("*") if path.is_file() and path.name != "open.lock"]


def test_there_are_at_least_forty_faults():
    assert len(FAULTS) >= 40


@pytest.mark.parametrize(("damage", "words"), FAULTS.values(), ids=FAULTS)
def test_a_damaged_source_is_one_line_and_leaves_nothing(damage, words, place, cache, capsys, tmp_path):
    path = damage(place)
    code, out, err = info(path, capsys)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err
    assert words in err
    assert str(cache) not in err, "the place that it was unpacked to is nobody's business"
    assert len(err) < 1000
    if not (place.root / "fer2013new.csv").exists():  # faces that are good stay read when only their votes are not
        assert left_in(cache) == []
    assert not list(tmp_path.rglob("escaped*")) and not Path("/tmp/escaped.png").exists()
    shutil.rmtree(place.root)
    place.root.mkdir()
    assert info(place.csv, capsys)[0] == 0


def with_another_column(path: Path) -> Path:
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{head},note", *(f"{row},x" for row in rows)]) + "\n")
    return path


READ = {
    "a byte order mark": csv_edit(lambda text: b"\xef\xbb\xbf" + text),
    "Windows line ends": csv_edit(lambda text: text.replace(b"\n", b"\r\n")),
    "a further column": lambda place: with_another_column(place.csv),
    "votes with a byte order mark": votes_edit(lambda text: b"\xef\xbb\xbf" + text),
    "votes with Windows line ends": votes_edit(lambda text: text.replace(b"\n", b"\r\n")),
    "votes with a further column": lambda place: with_another_column(place.votes).parent / "fer2013.csv",
    "an archive of the CSV": lambda place: place.tar,
    "an archive of folders": lambda place: place.zip,
    "an npz": lambda place: place.npz,
}


@pytest.mark.parametrize("source", READ.values(), ids=READ)
def test_what_is_only_unusual_is_simply_read(source, place, cache, capsys):
    code, out, err = info(source(place), capsys)
    assert (code, err) == (0, "")
    assert "10 faces" in out


UNREADABLE = {
    "the CSV": (lambda place: place.csv, "fer2013.csv"),
    "the votes": (lambda place: place.votes, "fer2013new.csv"),
    "the archive": (lambda place: place.zip, "archive.zip"),
    "an image": (lambda place: min(place.folder.glob("train/*/*")), ".png"),
}


@pytest.mark.parametrize(("make", "name"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_may_not_be_read_is_one_line(make, name, place, cache, capsys, monkeypatch):
    """Tests run as root, who may read anything: the refusal is faked where files are opened."""
    path = make(place)
    opened, path_open = io.open, Path.open

    def refuse(file, *args, **kwargs):
        if str(file) == str(path):
            raise PermissionError(13, "Permission denied", str(file))

    def open_(file, *args, **kwargs):
        refuse(file)
        return opened(file, *args, **kwargs)

    def open_path(self, *args, **kwargs):
        refuse(self)
        return path_open(self, *args, **kwargs)

    monkeypatch.setattr("builtins.open", open_)
    monkeypatch.setattr("io.open", open_)
    monkeypatch.setattr(Path, "open", open_path)
    open_csv = csv_source.arrow_csv.open_csv
    monkeypatch.setattr(csv_source.arrow_csv, "open_csv", lambda file, *more: refuse(file) or open_csv(file, *more))
    source = place.root / "faces" if path.suffix == ".png" else path
    source = place.root / "fer2013.csv" if path.name == "fer2013new.csv" else source
    code, _, err = info(source, capsys)
    assert code == 2
    assert err.count("\n") == 1 and name in err and "Permission denied" in err


def test_a_disk_that_is_full_while_caching_is_one_line_and_leaves_nothing(place, cache, capsys):
    path = place.csv
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))  # the ten faces take 23 kB
    try:
        code, _, err = info(path, capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert err.count("\n") == 1 and "could not write the cache" in err
    assert left_in(cache) == []
    assert info(path, capsys)[0] == 0


def test_processes_that_open_first_at_once_both_read_it_whole(place, cache):
    path = place.csv
    command = [sys.executable, "-m", "fer_core", "data", "info", "--data", str(path)]
    environment = {**os.environ, "FER_CACHE": str(cache)}
    done: list[subprocess.CompletedProcess] = []

    def work() -> None:
        done.append(subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(one.returncode, one.stderr) for one in done] == [(0, ""), (0, "")]
    assert len(list(cache.glob("stores/*"))) == 1


def test_what_a_killed_process_left_is_swept_away(place, cache, capsys):
    mine = f".unpacked.{os.getpid()}.busy"  # of a process that lives: it is being read
    for left in ("stores/.abc-def.x1", ".unpacked.999999999.x1", mine):
        (cache / left).mkdir(parents=True)
        (cache / left / "images.npy").write_bytes(b"half")
    assert info(place.zip, capsys)[0] == 0
    assert not list(cache.glob("stores/.*"))
    assert [path.name for path in cache.glob(".unpacked*")] == [mine]
