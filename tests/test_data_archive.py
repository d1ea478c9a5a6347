"""Archives: what is wanted comes out as it was, and nothing that an archive says can do harm."""

import io
import stat
import tarfile
import zipfile

import numpy as np
import pytest

from fer_core.data import archive_source
from fer_core.data.archive_source import is_archive, unpacked
from fer_core.errors import DataError
from tests.faces import no_progress

KINDS = (".zip", ".tar", ".tar.gz", ".tgz")
TARS = KINDS[1:]


def pack(path, members):
    """An archive of (name, content): a folder where the content is None."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(zip_info(name, content is None), content or b"")
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in members:
            archive.addfile(*tar_member(name, content))
    return path


def zip_info(name, folder=False, mode=stat.S_IFREG | 0o644):
    info = zipfile.ZipInfo(f"{name}/" if folder else name)
    info.filename = info.orig_filename = f"{name}/" if folder else name  # as it is, whatever the system thinks of it
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = (stat.S_IFDIR | 0o755 if folder else mode) << 16
    return info


def tar_member(name, content, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE if content is None else kind
    info.size = len(content or b"")
    return info, io.BytesIO(content or b"")


def unpack(path, into):
    """Name below the folder -> content, of everything that was written."""
    with unpacked(path, into, no_progress) as folder:
        found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert list(into.iterdir()) == []
    return found


def unpack_error(path, into):
    around = sorted(into.parent.rglob("*"))
    with pytest.raises(DataError) as caught, unpacked(path, into, no_progress):
        pytest.fail("it was unpacked")
    message = str(caught.value)
    assert "\n" not in message
    assert list(into.iterdir()) == []  # nothing is left of it,
    assert [file for file in sorted(into.parent.rglob("*")) if file != into] == around  # and nothing lies elsewhere
    return message.removeprefix(f"{path}: ")


@pytest.fixture
def into(tmp_path):
    return tmp_path / "cache" / "unpacked"


@pytest.fixture(autouse=True)
def _cache(tmp_path):
    (tmp_path / "cache").mkdir()


@pytest.mark.parametrize("kind", KINDS)
def test_images_and_tables_come_out_as_they_were_and_nothing_else(kind, tmp_path, into):
    noise = np.random.default_rng(0).bytes(3_000_000)  # more than one block
    wanted = {
        "fer2013/fer2013.csv": noise,
        "fer2013/faces.npz": b"npz",
        "./train//happy/0.PNG".replace("./", "").replace("//", "/"): b"",
        "train/sad/é.jpeg": b"x",
        "train/sad/一\u3000二.webp": b"y",
        "a.bmp": b"b",
        "b.tif": b"c",
        "c.tiff": b"d",
        "d.jpg": b"e",
    }
    others = [
        ("fer2013", None),
        ("folder.png", None),
        ("README", b"about"),
        ("fer2013/fer2013.bib", b"x"),
        ("run.exe", b"x"),
        ("__MACOSX/train/happy/0.png", b"x"),
        ("train/happy/._0.png", b"x"),
        ("inner.zip", b"PK\3\4"),
    ]
    path = pack(tmp_path / f"a{kind}", [*others, *wanted.items()])
    assert is_archive(path)
    assert unpack(path, into) == wanted


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_made_plain(kind, tmp_path, into):
    path = pack(tmp_path / f"a{kind}", [("./a//./b.png", b"1"), ("..a/b..png", b"2"), ("c:.png"[1:], b"3")])
    assert set(unpack(path, into)) == {"a/b.png", "..a/b..png", ":.png"}


def test_the_folder_is_private_and_goes_even_when_its_reader_fails(tmp_path, into):
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])
    with pytest.raises(ZeroDivisionError), unpacked(path, into, no_progress) as folder:
        assert folder.parent == into
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        raise ZeroDivisionError
    assert list(into.iterdir()) == []


def test_two_may_unpack_at_once(tmp_path, into):
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])
    with unpacked(path, into, no_progress) as one, unpacked(path, into, no_progress) as two:
        assert one != two


@pytest.mark.parametrize("kind", KINDS)
def test_progress_rises_to_the_end(kind, tmp_path, into):
    told = []
    path = pack(tmp_path / f"a{kind}", [("a.csv", np.random.default_rng(0).bytes(5_000_000))])
    with unpacked(path, into, lambda done, total: told.append((done, total))):
        pass
    assert told == sorted(told)
    assert len(told) >= 3
    assert told[-1][0] == told[-1][1]


# Members that are refused ---------------------------------------------------------------------------------------------

BAD_NAMES = {
    "/etc/a.png": "has an absolute name",
    "//server/a.png": "has an absolute name",
    "C:/a.png": "has an absolute name",
    "c:a.png": "has an absolute name",
    "a/C:/a.png": "has an absolute name",
    "../a.png": "leads out of the folder by '..'",
    "a/../../a.png": "leads out of the folder by '..'",
    "a/..": "leads out of the folder by '..'",
    "../notes.txt": "leads out of the folder by '..'",
    "__MACOSX/../../a.png": "leads out of the folder by '..'",
    "a\nb.png": "has a backslash or a control character in its name",
    "\x1b[2Ja.png": "has a backslash or a control character in its name",
    f"{'é' * 130}.png": "has too long a name",
    f"{'a/' * 32}b.png": "has too long a name",
}


def test_backslashes_of_old_windows_tools_are_slashes_in_a_zip_and_refused_in_a_tar(tmp_path, into):
    names = [("train\\happy\\0.png", b"x"), ("train\\sad\\1.png", b"y")]
    with unpacked(pack(tmp_path / "a.zip", names), into, no_progress) as folder:
        assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")) == [
            "train/happy/0.png", "train/sad/1.png",
        ]  # fmt: skip
    for name, why in (("..\\a.png", "leads out of the folder by '..'"), ("\\a.png", "has an absolute name")):
        with pytest.raises(DataError, match=why), unpacked(pack(tmp_path / "b.zip", [(name, b"x")]), into, no_progress):
            pytest.fail("it was unpacked")
    with (
        pytest.raises(DataError, match="has a backslash"),
        unpacked(pack(tmp_path / "a.tar.gz", names), into, no_progress),
    ):
        pytest.fail("it was unpacked")


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(name, kind, tmp_path, into):
    path = pack(tmp_path / f"a{kind}", [("good.png", b"1"), (name, b"2")])
    shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
    assert unpack_error(path, into) == (f"refused, since its member {shown} {BAD_NAMES[name]}. Nothing was kept of it.")


def test_a_name_with_a_null_byte_is_refused(tmp_path, into):
    path = pack(tmp_path / "a.zip", [("a.png?.txt", b"1")])
    path.write_bytes(path.read_bytes().replace(b"a.png?.txt", b"a.png\0.txt"))
    assert "'a.png\\x00.txt' has a backslash or a control character" in unpack_error(path, into)


TAR_KINDS = {
    tarfile.SYMTYPE: "is a symbolic link",
    tarfile.LNKTYPE: "is a hard link",
    tarfile.CHRTYPE: "is no ordinary file",
    tarfile.BLKTYPE: "is no ordinary file",
    tarfile.FIFOTYPE: "is no ordinary file",
    b"Z": "is no ordinary file",
}


@pytest.mark.parametrize("name", ["a.png", "README"])
@pytest.mark.parametrize("kind", TAR_KINDS)
def test_links_and_devices_in_a_tar_are_refused(kind, name, tmp_path, into):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(*tar_member("good.png", b"1"))
        info, _ = tar_member(name, b"", kind)
        info.linkname = "/etc/passwd"
        archive.addfile(info)
    assert f"{name!r} {TAR_KINDS[kind]}." in unpack_error(path, into)


def test_a_sparse_member_of_a_tar_is_refused(tmp_path, into):
    """A file of four terabytes of nothing, in a header of a few bytes."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        info, content = tar_member("a.csv", b"1\n0\n1\n".ljust(512, b"\0") + b"x")
        info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 42)}
        archive.addfile(info, content)
    assert "'a.csv' is no ordinary file." in unpack_error(path, into)


@pytest.mark.parametrize(("mode", "why"), [(stat.S_IFLNK, "is a symbolic link"), (stat.S_IFIFO, "is no ordinary file")])
def test_links_and_pipes_in_a_zip_are_refused(mode, why, tmp_path, into):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zip_info("a.png", mode=mode | 0o777), "/etc/passwd")
    assert f"'a.png' {why}." in unpack_error(path, into)


def test_an_encrypted_member_is_refused(tmp_path, into):
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    assert "'a.png' is encrypted." in unpack_error(path, into)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_packing_whose_growth_cannot_be_bounded_is_refused(method, tmp_path, into):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.png", b"1" * 1000)
    assert f"'a.png' is packed by a method that is not read (number {method})." in unpack_error(path, into)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("second", ["a/b.png", "./a//b.png", "a/b.png/c.png"])
def test_a_member_that_is_there_twice_is_refused(second, kind, tmp_path, into):
    path = pack(tmp_path / f"a{kind}", [("a/b.png", b"1"), (second, b"2")])
    assert unpack_error(path, into) == f"refused, since its member {second!r} is there twice. Nothing was kept of it."


# Bounds ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("bound", "value", "message"),
    [
        ("MAX_MEMBERS", 2, "more than 2 members, which is no data set of faces."),
        ("MAX_TOTAL_BYTES", 14_999, "unpacks to more than 0.014999 MB, the most that is unpacked."),
        ("MAX_IMAGE_BYTES", 9_999, "'b.png' is larger than 0.009999 MB."),
        ("MAX_CSV_BYTES", 4_999, "'a.csv' is larger than 0.004999 MB."),
    ],
)
def test_bounds_are_kept(bound, value, message, kind, tmp_path, into, monkeypatch):
    path = pack(tmp_path / f"a{kind}", [("d", None), ("a.csv", b"1" * 5000), ("b.png", b"2" * 10_000)])
    monkeypatch.setattr(archive_source, bound, value)
    assert message in unpack_error(path, into)
    monkeypatch.setattr(archive_source, bound, 100_000)  # a tar's headers and padding count, too
    assert set(unpack(path, into)) == {"a.csv", "b.png"}


@pytest.mark.parametrize("name", ["a.csv", "README"])
@pytest.mark.parametrize("kind", [".zip", ".tgz"])
def test_a_small_archive_of_much_is_refused(name, kind, tmp_path, into, monkeypatch):
    monkeypatch.setattr(archive_source, "RATIO_COUNTS_FROM", 10**6)
    path = pack(tmp_path / f"a{kind}", [("good.png", b"1"), (name, bytes(4_000_000))])
    if kind == ".zip" and name == "README":  # which a zip need not unpack to pass over
        assert set(unpack(path, into)) == {"good.png"}
    else:
        assert unpack_error(path, into) == (
            "unpacks to more than 200 times its size, as archives made to fill disks do."
        )
    monkeypatch.setattr(archive_source, "RATIO_COUNTS_FROM", 10**7)
    assert "good.png" in unpack(path, into)


def test_members_that_share_their_packed_bytes_are_counted_each(tmp_path, into, monkeypatch):
    """The central directory may name one stretch of the file many times."""
    monkeypatch.setattr(archive_source, "RATIO_COUNTS_FROM", 10**6)
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", bytes(500_000))
        first = archive.infolist()[0]
        for number in range(50):
            again = zip_info(f"{number}.csv")
            again.header_offset, again.CRC = first.header_offset, first.CRC
            again.compress_size, again.file_size = first.compress_size, first.file_size
            archive.filelist.append(again)
    assert "unpacks to more than 200 times its size" in unpack_error(path, into)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path, into):
    path = pack(tmp_path / "a.zip", [("a.csv", bytes(100_000))])
    raw = bytearray(path.read_bytes())
    place = raw.index(b"PK\1\2") + 24
    raw[place : place + 4] = (10).to_bytes(4, "little")
    path.write_bytes(raw)
    assert unpack_error(path, into).startswith("a damaged or incomplete archive (")


@pytest.mark.parametrize(
    ("bound", "why"),
    [("MAX_IMAGE_BYTES", "'a.png' is larger than"), ("MAX_TOTAL_BYTES", "unpacks to more than 2 MB, the most")],
)
def test_bounds_hold_against_the_bytes_that_come_whatever_was_announced(bound, why, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_source, bound, 2_000_000)
    writer = archive_source._Writer(pack(tmp_path / "a.zip", [("a.png", b"1")]), tmp_path)
    assert writer.wanted("a.png", 1, is_folder=False, fault="") == "a.png"
    with pytest.raises(DataError, match=why):
        list(writer.write("a.png", "a.png", io.BytesIO(bytes(5_000_000))))
    assert (tmp_path / "a.png").stat().st_size <= 2_000_000


def test_a_tar_header_of_gigabytes_is_not_read_into_memory(tmp_path, into):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 3 * 10**9
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf() + bytes(2048))
    assert "(a header of more than a megabyte)" in unpack_error(path, into)


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.97])
def test_an_archive_that_is_cut_off_is_never_half_read(share, kind, tmp_path, into):
    rng = np.random.default_rng(0)
    path = pack(tmp_path / f"a{kind}", [(f"train/happy/{i}.png", rng.bytes(3000)) for i in range(20)])
    whole = path.read_bytes()
    end = len(whole) if kind != ".tar" else 20 * 3584  # a tar ends with padding, of which a part may be missing
    path.write_bytes(whole[: int(end * share)])
    assert unpack_error(path, into).startswith("a damaged or incomplete archive (")


def test_a_tar_that_is_cut_between_two_members_is_damaged(tmp_path, into):
    path = pack(tmp_path / "a.tar", [("a.png", b"1"), ("b.png", b"2")])
    path.write_bytes(path.read_bytes()[:1024])
    assert unpack_error(path, into) == ("a damaged or incomplete archive (no end-of-archive mark). Fetch it again.")


@pytest.mark.parametrize("kind", [".zip", ".tgz"])
def test_one_flipped_bit_in_the_content_is_found_by_its_checksum(kind, tmp_path, into):
    path = pack(tmp_path / f"a{kind}", [("a.png", np.random.default_rng(0).bytes(3000))])
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    assert unpack_error(path, into).startswith("a damaged or incomplete archive (")


@pytest.mark.parametrize("kind", KINDS)
def test_random_damage_gives_one_line_or_members_of_safe_names(kind, tmp_path, into):
    rng = np.random.default_rng(3)
    path = pack(tmp_path / f"a{kind}", [(f"train/{i}.png", rng.bytes(50)) for i in range(3)])
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 4000), 2):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            unpack(path, into)
        except DataError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tar"])
@pytest.mark.parametrize("content", [b"", b"not an archive"])
def test_a_file_that_is_only_named_like_an_archive_is_damaged(content, name, tmp_path, into):
    path = tmp_path / name
    path.write_bytes(content)
    assert is_archive(path)
    assert unpack_error(path, into).startswith("a damaged or incomplete archive (")


def test_a_git_lfs_pointer_says_what_to_run(tmp_path, into):
    path = tmp_path / "a.zip"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n")
    with pytest.raises(DataError, match="git lfs pull"), unpacked(path, into, no_progress):
        pass


@pytest.mark.parametrize("kind", KINDS)
def test_archives_in_archives_are_not_opened(kind, tmp_path, into):
    inner = pack(tmp_path / "inner.zip", [("a.png", b"1")]).read_bytes()
    path = pack(tmp_path / f"a{kind}", [("data/inner.zip", inner)])
    assert unpack_error(path, into) == "only another archive in it ('data/inner.zip'). Unpack it first."


def test_a_tar_that_ends_with_a_zip_is_not_taken_for_one(tmp_path, into):
    inner = pack(tmp_path / "inner.zip", [("inner.png", b"1")]).read_bytes()
    path = pack(tmp_path / "a.tar", [("outer.png", b"1"), ("inner.zip", inner)])
    assert zipfile.is_zipfile(path)
    assert set(unpack(path, into)) == {"outer.png"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [[], [("README", b"x"), ("a.png", None)]])
def test_an_archive_of_other_things_says_so(members, kind, tmp_path, into):
    path = pack(tmp_path / f"a{kind}", members)
    assert unpack_error(path, into) == "no fer2013.csv and no images in it."


def test_a_full_disk_is_one_line(tmp_path, into, monkeypatch):
    path = pack(tmp_path / "a.zip", [("a.png", b"1")])

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive_source.Path, "open", lambda *_: Full())
    monkeypatch.setattr(archive_source, "refuse_lfs_pointer", lambda path: None)
    monkeypatch.setattr(archive_source, "_kind", lambda path: "zip")
    assert unpack_error(path, into) == (
        f"could not be unpacked to {into} (No space left on device); free some space there."
    )


def test_what_is_an_archive_is_told_by_content_and_by_name(tmp_path):
    for kind in KINDS:
        pack(tmp_path / f"a{kind}", [("a.png", b"1")]).rename(tmp_path / f"renamed{kind}.csv")
        assert is_archive(tmp_path / f"renamed{kind}.csv")
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    (tmp_path / "a.csv").write_text("emotion,pixels,Usage\n")
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8bbroken")
    (tmp_path / "folder.zip").mkdir()
    for name in ("a.npz", "a.csv", "a.gz", "folder.zip", "nothing.zip"):
        assert not is_archive(tmp_path / name)
