"""Zip and tar archives, unpacked without trusting them: only what we read, only below one private folder, bounded."""

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from fer_core.data.csv_source import Progress, refuse_lfs_pointer
from fer_core.data.image_file import FORMATS
from fer_core.errors import DataError
from fer_core.files import private_folder

MAX_MEMBERS = 2_000_000
MAX_TOTAL_BYTES = 4 * 10**9
MAX_CSV_BYTES = 2 * 10**9
MAX_IMAGE_BYTES = 64 * 10**6
MAX_RATIO = 200
"""Unpacked bytes for each packed one; text and faces stay below 20, and deflate can do 1,032."""
RATIO_COUNTS_FROM = 100 * 10**6
"""Less than this harms nobody, however well it was packed."""

_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz")
_NESTED = (*_SUFFIXES, ".gz", ".bz2", ".xz", ".7z", ".rar")
_TABLES = (".csv", ".npz")
_BLOCK = 1 << 20
_MAX_HEADER = 1 << 20  # tarfile reads a header's whole text into memory; names are thousands of bytes at the very most
_MAX_NAME = 255  # bytes between two slashes, the bound of common file systems
_MAX_PARTS = 32
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ZIP_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, struct.error, OSError, ValueError, IndexError,
    OverflowError, NotImplementedError, RecursionError,
)  # fmt: skip


def is_archive(path: Path) -> bool:
    """Whether a file is a zip or tar archive: it is named like one, or its content is one. An `.npz` is none."""
    name = path.name.lower()
    if name.endswith(".npz") or not path.is_file():
        return False
    return name.endswith(_SUFFIXES) or _kind(path) is not None


def _kind(path: Path) -> str | None:
    """`zip`, `tar` or None, by the first bytes: a tar that ends with a zip inside passes for a zip by its last ones."""
    try:
        with path.open("rb") as packed:
            if packed.read(4) in (b"PK\3\4", b"PK\5\6"):
                return "zip"
            packed.seek(0)
            with _stream(packed) as stream:
                return "tar" if stream.read(tarfile.BLOCKSIZE)[257:262] == b"ustar" else None
    except (OSError, EOFError, zlib.error):
        return None


@contextmanager
def unpacked(path: Path, into: Path, progress: Progress) -> Iterator[Path]:
    """Unpack an archive's images, CSV and NPZ files to a fresh folder under `into`, which ends with the block.

    Nobody but the owner can look into the folder. Members keep their names; others than those wanted are not written,
    and archives inside are not opened.

    Args: progress: called with bytes done and how many there are.
    Raises: DataError: a member that would lie outside the folder, is no ordinary file, is encrypted, is there twice or
    is too large; an archive that is damaged, unpacks to too much, or has nothing that we read.
    """
    refuse_lfs_pointer(path)
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(private_folder(into, "unpacked"))
        except OSError as error:
            raise _no_room(path, into, error) from None
        _unpack(path, _Writer(path, folder), progress)
        yield folder


def _unpack(path: Path, writer: "_Writer", progress: Progress) -> None:
    unpack = _unpack_zip if _kind(path) == "zip" else _unpack_tar
    try:
        unpack(path, writer, progress)
    except DataError:
        raise
    except _DAMAGE as error:
        why = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path}: a damaged or incomplete archive ({why}). Fetch it again.") from None
    writer.finish()


def _no_room(path: Path, into: Path, error: OSError) -> DataError:
    return DataError(f"{path}: could not be unpacked to {into} ({error.strerror or error}); free some space there.")


class _Writer:
    """Writes members below the folder; every bound is held here, against the bytes that come, not those announced."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.archive, self.folder = archive, folder
        self.packed = archive.stat().st_size
        self.members = self.written = 0
        self.names: set[str] = set()
        self.nested = ""
        self.parents: set[Path] = set()

    def wanted(self, member: str, size: int, *, is_folder: bool, fault: str) -> str | None:
        """The name to write a member under; None where it is nothing that we read.

        Args: fault: what kind of thing it is, where it is not an ordinary file.
        Raises: DataError: the member, or the archive up to it, is refused.
        """
        self.members += 1
        if self.members > MAX_MEMBERS:
            raise DataError(f"{self.archive}: more than {MAX_MEMBERS:,} members, which is no data set of faces.")
        name = self._safe_name(member)
        if fault:
            raise self._refused(member, fault)
        lower = name.lower()
        base = lower.rpartition("/")[2]
        if is_folder or base.startswith("._") or "__macosx" in lower.split("/"):
            return None
        if not lower.endswith((*FORMATS, *_TABLES)):
            if lower.endswith(_NESTED):
                self.nested = self.nested or member
            return None
        if name in self.names:
            raise self._refused(member, "is there twice")
        self.names.add(name)
        self.allow(self.written + size)
        self._check_size(member, size)
        return name

    def allow(self, total: int) -> None:
        """Raises: DataError: so many bytes unpacked are more than any data set, or more than so small a file holds."""
        if total > MAX_TOTAL_BYTES:
            raise DataError(f"{self.archive}: unpacks to more than {_gb(MAX_TOTAL_BYTES)}, the most that is unpacked.")
        if total > RATIO_COUNTS_FROM and total > MAX_RATIO * self.packed:
            raise DataError(
                f"{self.archive}: unpacks to more than {MAX_RATIO} times its size, as archives made to fill disks do."
            )

    def write(self, member: str, name: str, source: IO[bytes]) -> Iterator[int]:
        """Copy a member; yields the bytes written so far, of all members. Raises: DataError: no room, or a bound."""
        target = self.folder.joinpath(*name.split("/"))
        size = 0
        with self._create(member, target) as file:
            while block := source.read(_BLOCK):
                size += len(block)
                self._check_size(member, size)
                self.allow(self.written + len(block))
                self.written += len(block)
                self._put(file, block)
                yield self.written

    def finish(self) -> None:
        """Raises: DataError: nothing was wanted."""
        if self.names:
            return
        if self.nested:
            raise DataError(f"{self.archive}: only another archive in it ({_quoted(self.nested)}). Unpack it first.")
        raise DataError(f"{self.archive}: no fer2013.csv and no images in it.")

    def _create(self, member: str, target: Path) -> IO[bytes]:
        try:
            if target.parent not in self.parents:
                target.parent.mkdir(parents=True, exist_ok=True)
                self.parents.add(target.parent)
            return target.open("xb")
        except (FileExistsError, NotADirectoryError):  # twice but for its case, or a file and a folder of one name
            raise self._refused(member, "is there twice") from None
        except OSError as error:
            raise _no_room(self.archive, self.folder.parent, error) from None

    def _put(self, file: IO[bytes], block: bytes) -> None:
        try:
            file.write(block)
            file.flush()  # a full disk shows here, not when the file is closed
        except OSError as error:
            raise _no_room(self.archive, self.folder.parent, error) from None

    def _check_size(self, member: str, size: int) -> None:
        limit = MAX_IMAGE_BYTES if member.lower().endswith(tuple(FORMATS)) else MAX_CSV_BYTES
        if size > limit:
            raise self._refused(member, f"is larger than {_gb(limit)}")

    def _safe_name(self, member: str) -> str:
        parts = [part for part in member.split("/") if part not in ("", ".")]
        if member.startswith("/") or any(re.match("[A-Za-z]:", part) for part in parts):
            raise self._refused(member, "has an absolute name")
        if ".." in parts:
            raise self._refused(member, "leads out of the folder by '..'")
        if re.search(r"[\\\x00-\x1f\x7f]", member):
            raise self._refused(member, "has a backslash or a control character in its name")
        if len(parts) > _MAX_PARTS or any(len(part.encode("utf-8", "surrogateescape")) > _MAX_NAME for part in parts):
            raise self._refused(member, "has too long a name")
        return "/".join(parts)

    def _refused(self, member: str, why: str) -> DataError:
        return DataError(f"{self.archive}: refused, since its member {_quoted(member)} {why}. Nothing was kept of it.")


def _quoted(member: str) -> str:
    return repr(member if len(member) <= 80 else f"{member[:77]}...")


def _gb(size: int) -> str:
    return f"{size / 10**9:g} GB" if size >= 10**9 else f"{size / 10**6:g} MB"


# Zip ------------------------------------------------------------------------------------------------------------------


def _unpack_zip(path: Path, writer: _Writer, progress: Progress) -> None:
    with zipfile.ZipFile(path) as archive:
        members = [
            (info, name)
            for info in archive.infolist()
            if (
                name := writer.wanted(
                    # Old Windows tools part names by backslashes; as slashes they are held to the same rules.
                    info.orig_filename.replace("\\", "/"),
                    info.file_size,
                    is_folder=info.is_dir(),
                    fault=_zip_fault(info),
                )
            )
        ]
        total = sum(info.file_size for info, _ in members)
        writer.allow(total)
        told = 0
        for info, name in members:
            with archive.open(info) as source:
                for done in writer.write(info.filename, name, source):
                    if done - told >= _BLOCK or done >= total:
                        told = done
                        progress(min(done, total), total)


def _zip_fault(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 0x41:
        return "is encrypted"
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in _ZIP_KINDS:
        return "is no ordinary file"
    if info.compress_type not in _METHODS:
        return f"is packed by a method that is not read (number {info.compress_type})"
    return ""


# Tar ------------------------------------------------------------------------------------------------------------------


class _Bounded:
    """What tarfile reads from: the unpacked stream, whose every step is held against the archive's bounds."""

    def __init__(self, stream: IO[bytes], writer: _Writer) -> None:
        self.stream, self.writer = stream, writer
        self.last = b""

    def tell(self) -> int:
        return self.stream.tell()

    def seek(self, position: int, whence: int = 0) -> int:
        assert whence == 0, "tarfile knows where it is"
        self.writer.allow(position)
        return self.stream.seek(position)

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise tarfile.ReadError("a header of more than a megabyte")
        self.last = self.stream.read(size)
        self.writer.allow(self.stream.tell())
        return self.last


def _unpack_tar(path: Path, writer: _Writer, progress: Progress) -> None:
    with path.open("rb") as packed, _stream(packed) as stream:
        bounded = _Bounded(stream, writer)
        file: Any = bounded  # it has what tarfile uses of a file: read, seek, tell
        with tarfile.open(fileobj=file, mode="r:") as opened:
            archive: Any = opened
            told = 0
            while (info := archive.next()) is not None:
                archive.members.clear()  # it would keep two million of them
                name = writer.wanted(info.name, info.size, is_folder=info.isdir(), fault=_tar_fault(info))
                if name is None:
                    continue
                source = archive.extractfile(info)
                assert source is not None, "an ordinary file"
                for _ in writer.write(info.name, name, source):
                    if packed.tell() - told >= _BLOCK:
                        told = packed.tell()
                        progress(told, writer.packed)
        # tarfile takes a cut between two members, and a header that makes no sense, for the end.
        if bounded.last.strip(b"\0") or len(bounded.last) != tarfile.BLOCKSIZE:
            raise tarfile.ReadError("no end-of-archive mark")
        while bounded.read(_MAX_HEADER):  # gzip's checksum stands at the very end
            pass
        progress(writer.packed, writer.packed)


def _stream(packed: IO[bytes]) -> IO[bytes]:
    magic = packed.read(2)
    packed.seek(0)
    stream: Any = gzip.GzipFile(fileobj=packed) if magic == b"\x1f\x8b" else packed
    return stream


def _tar_fault(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "is a symbolic link" if info.issym() else "is a hard link"
    if info.size < 0 or not (info.isdir() or (info.isreg() and not info.issparse())):
        return "is no ordinary file"
    return ""
