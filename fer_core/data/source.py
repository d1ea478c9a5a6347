"""From a name to an open `FaceStore`: which source is meant, whether its cache still fits, and if not, parse it."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from fer_core.config import RunConfig
from fer_core.data import drawing, sample
from fer_core.data.archive_source import is_archive, unpacked
from fer_core.data.csv_source import Progress, has_faces, read_csv
from fer_core.data.ferplus import FILE_NAME, read_votes, with_votes
from fer_core.data.folder_source import folder_signature, looks_like_folder_source, read_folder
from fer_core.data.npz_source import read_npz
from fer_core.data.sample import SAMPLE_SEED, draw_sample
from fer_core.data.store import FORMAT, Faces, FaceStore, cache_error, read_store, write_store
from fer_core.errors import DataError
from fer_core.settings import settings

SAMPLE = "sample"
DEFAULT_FOLDER = Path("data")
SAMPLE_TITLE = "drawn sample faces"
FILES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
"""The challenge's files, the first that is there; in the folder itself, or in `fer2013/` as torchvision has it."""
ARCHIVES = ("fer2013.tar.gz", "archive.zip", "fer2013.zip")
_SHOWN = 5
HINT = "Give a fer2013.csv, an image folder, an archive of either, or 'sample'."


@dataclass(frozen=True)
class Source:
    """A source that was found: what a person calls it, where it is, and which reader takes it."""

    title: str
    kind: str
    """`csv`, `folder`, `npz`, `archive` or `sample`."""
    path: Path | None = None
    ferplus: Path | None = None
    """FER+'s votes file: the one that was named, else the one that lies beside the data."""

    @property
    def name(self) -> str:
        """What `find_source` finds this source by, from any working folder."""
        return SAMPLE if self.path is None else str(self.path)

    @property
    def default_epochs(self) -> int:
        return 8 if self.kind == "sample" else 14

    @property
    def signature(self) -> str:
        """Changes when the faces may have changed; costs no more than a few system calls."""
        if self.path is None:
            return f"{SAMPLE_SEED}:{_code_of_the_sample()}"  # nobody trains on a cached older drawing
        if self.kind == "folder":
            return folder_signature(self.path)
        beside = self.path.with_name("test.csv")  # the rows without labels, which a note counts
        return _file_signature(self.path) + (_file_signature(beside) if self.path.name == "train.csv" else "")

    @property
    def full_signature(self) -> str:
        """Changes when the faces or their votes may have changed."""
        return self.signature + ("" if self.ferplus is None else f"|{self.ferplus}:{_file_signature(self.ferplus)}")


def find_source(data: str | None = None, ferplus: str | None = None) -> Source:
    """The source that `data` names: a path or `sample`; left out, `$FER_DATA`, else `data/`, else the sample.

    Args: ferplus: path of FER+'s `fer2013new.csv`; left out, the one beside the data, where there is one.
    Raises: DataError: there is nothing at that path, or nothing in it that we read.
    """
    data = data or settings().data
    if data is None and _inside(DEFAULT_FOLDER) is not None:
        data = str(DEFAULT_FOLDER)
    votes = None if ferplus is None else _path(ferplus)
    if votes is not None and not votes.is_file():
        raise DataError(f"{votes}: no such file. Give FER+'s {FILE_NAME}, or leave --ferplus out.")
    if data is None or data == SAMPLE:
        return Source(SAMPLE_TITLE, "sample", ferplus=votes and votes.resolve())
    source = _at(_path(data))
    beside = _votes_beside(source) or _votes_beside(replace(source, path=_path(data).absolute()))  # a link's own folder
    return replace(source, ferplus=votes.resolve() if votes else beside)


def resolve_config(config: RunConfig) -> RunConfig:
    """Name the source that `config.data` stands for here and now, and fill in every default that depends on it.

    Raises: DataError: the source is not there.
    """
    source = find_source(config.data, config.ferplus)
    votes = str(source.ferplus) if source.ferplus and config.uses_votes else None
    return config.changed(data=source.name, ferplus=votes).resolved(source.default_epochs)


def open_store(
    data: str | None = None,
    progress: Progress = lambda done, total: None,
    *,
    ferplus: str | None = None,
    rescan: bool = False,
) -> FaceStore:
    """Open a source by name (see `find_source`). The first time parses it and writes a cache under `$FER_CACHE`.

    Args:
        progress: called with bytes or files done, and how many there are, while parsing.
        rescan: parse again, even where size and time (of a folder: its class folders' times and counts) are as before.
    Raises: DataError: nothing there, damaged content, or no room for the cache; nothing half-read is kept.
    """
    source = find_source(data, ferplus)
    try:
        folder = _cache_folder(source)
        store = None if rescan else read_store(folder)
        if store is None:
            store = _fill_cache(folder, source, progress, rescan)
        return store if source.ferplus is None else with_votes(store, source.ferplus)
    except OSError as error:
        raise DataError(f"{error.filename or source.title}: cannot be read ({error.strerror or error}).") from None


def read_source(path: Path, progress: Progress = lambda done, total: None) -> Faces:
    """The faces of a file or folder of any kind, without the cache. Raises: DataError."""
    return _read(_at(path), progress)[0]


def _read(source: Source, progress: Progress) -> tuple[Faces, str]:
    """The faces, and what they lay in: of an archive, what is in it."""
    if source.path is None:
        return draw_sample(SAMPLE_SEED), source.kind
    if source.kind == "archive":
        return _read_archive(source.path, progress)
    return _READERS[source.kind](source.path, progress), source.kind


_READERS: dict[str, Callable[[Path, Progress], Faces]] = {"csv": read_csv, "folder": read_folder, "npz": read_npz}


def _read_archive(path: Path, progress: Progress) -> tuple[Faces, str]:
    cache = settings().cache
    cache.mkdir(parents=True, exist_ok=True)
    with unpacked(path, cache, progress) as folder:
        try:
            folders = [folder, *sorted(inner for inner in folder.rglob("*") if inner.is_dir())]
            inner = next(filter(None, map(_inside, folders)), None)
            if inner is None:
                raise DataError(f"{path}: no fer2013.csv and no folders named after emotions in it.")
            faces, kind = _read(inner, progress)
            votes = _votes_beside(inner)
            return (faces if votes is None else _with_votes_inside(faces, votes)), kind
        except DataError as error:  # a person knows the archive, not the place it was unpacked to
            raise DataError(str(error).replace(f"{folder}/", f"{path}: ").replace(str(folder), str(path))) from None


def _with_votes_inside(faces: Faces, path: Path) -> Faces:
    """FER+'s votes that lie in an archive beside its CSV; used where they are in the same order."""
    votes = read_votes(path)
    if np.array_equal(votes.splits_M, faces.splits_N):
        return replace(faces, votes_NV=votes.votes_MV)
    note = f"{FILE_NAME} in the archive is not in the order of its faces; beside the archive, it would be joined."
    return replace(faces, notes=(*faces.notes, note))


def _fill_cache(folder: Path, source: Source, progress: Progress, rescan: bool) -> FaceStore:
    with _alone(settings().cache) as cache:
        store = None if rescan else read_store(folder)
        if store is None:
            _sweep(cache)
            faces, kind = _read(source, progress)
            shutil.rmtree(folder, ignore_errors=True)  # damaged, of another format, or to be scanned again
            write_store(folder, faces, source.title, kind)
            _drop_older(folder)
            store = read_store(folder)
    assert store is not None, "the store that was just written"
    return store


@contextmanager
def _alone(cache: Path) -> Iterator[Path]:
    """Of two that open a source for the first time, one parses and one waits here."""
    lock = FileLock(cache / "open.lock")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise cache_error(cache, error) from None
    try:
        yield cache
    finally:
        lock.release()


def _sweep(cache: Path) -> None:
    """Remove what a killed process left half-written; whoever holds the lock is the only one who writes."""
    for left in cache.glob("stores/.*"):
        shutil.rmtree(left, ignore_errors=True)


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise DataError(f"{text}: there is no such user here. {HINT}") from None


def _at(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. {HINT}")
    path = path.resolve()
    if path.is_file():
        return Source(str(path), _file_kind(path), path)
    found = _inside(path)
    if found is None:
        names = sorted(entry.name + "/" * entry.is_dir() for entry in path.iterdir() if not entry.name.startswith("."))
        holds = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        raise DataError(
            f"{path}: neither fer2013.csv, nor an archive of it, nor folders named after emotions in it "
            f"(found: {holds or 'nothing'}). {HINT}"
        )
    return found


def _file_kind(path: Path) -> str:
    if path.suffix.lower() == ".npz":
        return "npz"
    return "archive" if is_archive(path) else "csv"


def _inside(folder: Path) -> Source | None:
    """What a folder holds: the challenge's files, else image folders, else an archive of either, else one other CSV."""
    folder = folder.resolve()
    places = [place for place in (folder, folder / "fer2013") if place.is_dir()]
    whole, parts = ([place / name for place in places for name in names] for names in (FILES[:-1], FILES[-1:]))
    # A train.csv may also be a list of the images in train/, which is no source of its own.
    file = next(filter(Path.is_file, whole), None) or next(filter(has_faces, parts), None)
    if file is None and folder.is_dir() and looks_like_folder_source(folder):
        return Source(str(folder), "folder", folder)
    packed = [folder / name for name in (*ARCHIVES, "fer2013.npz")]
    file = file or next(filter(Path.is_file, (*packed, *parts)), None) or _only_csv(places)
    return None if file is None else Source(str(file), _file_kind(file), file)


def _only_csv(places: list[Path]) -> Path | None:
    """The one CSV of faces under another name; of several, a person has to say which is meant."""
    found = [path for place in places for path in sorted(place.glob("*.csv")) if has_faces(path)]
    return found[0] if len(found) == 1 else None


def _votes_beside(source: Source) -> Path | None:
    assert source.path is not None
    places = [source.path, source.path.parent] if source.path.is_dir() else [source.path.parent]
    return next((place / FILE_NAME for place in places if (place / FILE_NAME).is_file()), None)


def _file_signature(path: Path) -> str:
    if not path.exists():
        return ""
    stat = path.stat()
    return f"{stat.st_size}:{stat.st_mtime_ns}"


def _cache_folder(source: Source) -> Path:
    place, content = (_short_hash(text) for text in (source.title, f"{FORMAT}:{source.kind}:{source.signature}"))
    return settings().cache / "stores" / f"{place}-{content}"


def _drop_older(folder: Path) -> None:
    """Remove caches of the same source's earlier content; a process that has one mapped keeps it until it ends."""
    for sibling in folder.parent.glob(f"{folder.name.split('-')[0]}-*"):
        if sibling != folder:
            shutil.rmtree(sibling, ignore_errors=True)


def _code_of_the_sample() -> str:
    return "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (drawing, sample))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
