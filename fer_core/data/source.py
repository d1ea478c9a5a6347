"""From a name to an open `FaceStore`: which source is meant, whether its cache still fits, and if not, parse it."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from fer_core.config import RunConfig
from fer_core.data import drawing, sample
from fer_core.data.csv_source import Progress, read_csv
from fer_core.data.folder_source import PARTS, folder_signature, looks_like_folder_source, read_folder
from fer_core.data.sample import SAMPLE_SEED, draw_sample
from fer_core.data.store import FORMAT, Faces, FaceStore, cache_error, read_store, write_store
from fer_core.errors import DataError
from fer_core.settings import Settings

SAMPLE = "sample"
DEFAULT_FOLDER = Path("data")
SAMPLE_TITLE = "drawn sample faces"


@dataclass(frozen=True)
class Source:
    """A source that was found: what a person calls it, where it is, and which reader takes it."""

    title: str
    kind: str
    path: Path | None = None

    @property
    def name(self) -> str:
        """What `find_source` finds this source by, from any working folder."""
        return SAMPLE if self.path is None else str(self.path)

    @property
    def default_epochs(self) -> int:
        return 8 if self.kind == "sample" else 14

    @property
    def signature(self) -> str:
        """Changes when the content may have changed; costs no more than a few system calls."""
        if self.path is None:
            return f"{SAMPLE_SEED}:{_code_of_the_sample()}"  # nobody trains on a cached older drawing
        if self.kind == "folder":
            return folder_signature(self.path)
        stat = self.path.stat()
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    def read(self, progress: Progress) -> Faces:
        if self.path is None:
            return Faces(*draw_sample(SAMPLE_SEED))
        return read_csv(self.path, progress) if self.kind == "csv" else read_folder(self.path, progress)


def find_source(data: str | None = None) -> Source:
    """The source that `data` names: a path or `sample`; left out, `$FER_DATA`, else `data/`, else the sample.

    Raises: DataError: there is nothing at that path, or nothing in it that we read.
    """
    data = data or Settings().data
    if data is None:
        return _at(DEFAULT_FOLDER) if _has_faces(DEFAULT_FOLDER) else Source(SAMPLE_TITLE, "sample")
    return Source(SAMPLE_TITLE, "sample") if data == SAMPLE else _at(Path(data).expanduser())


def resolve_config(config: RunConfig) -> RunConfig:
    """Name the source that `config.data` stands for here and now, and fill in every default that depends on it.

    Raises: DataError: the source is not there.
    """
    source = find_source(config.data)
    return config.changed(data=source.name).resolved(source.default_epochs)


def open_store(data: str | None = None, progress: Progress = lambda done, total: None) -> FaceStore:
    """Open a source by name (see `find_source`). The first time parses it and writes a cache under `$FER_CACHE`.

    Args: progress: called with bytes or files done, and how many there are, while parsing.
    Raises: DataError: nothing there, damaged content, or no room for the cache; nothing half-read is kept.
    """
    source = find_source(data)
    try:
        folder = _cache_folder(source)
        return read_store(folder) or _fill_cache(folder, source, progress)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror or error}).") from None


def _fill_cache(folder: Path, source: Source, progress: Progress) -> FaceStore:
    cache = Settings().cache
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cache_error(cache, error) from None
    with FileLock(cache / "open.lock"):  # of two that open a source for the first time, one parses and one waits
        store = read_store(folder)
        if store is None:
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or of another format
            write_store(folder, source.read(progress), source.title, source.kind)
            _drop_older(folder)
            store = read_store(folder)
    assert store is not None, "the store that was just written"
    return store


def _has_faces(folder: Path) -> bool:
    return looks_like_folder_source(folder) or (folder / "fer2013.csv").is_file()


def _at(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder. Give a fer2013.csv, an image folder, or 'sample'.")
    path = path.resolve()
    if path.is_file():
        return Source(str(path), "csv", path)
    if looks_like_folder_source(path):
        return Source(str(path), "folder", path)
    if (path / "fer2013.csv").is_file():
        return Source(str(path / "fer2013.csv"), "csv", path / "fer2013.csv")
    wanted = " and ".join(f"{part}/" for part in PARTS)
    raise DataError(
        f"{path}: neither fer2013.csv nor the folders {wanted} in it. Give a file, such a folder, or 'sample'."
    )


def _cache_folder(source: Source) -> Path:
    place, content = (_short_hash(text) for text in (source.title, f"{FORMAT}:{source.kind}:{source.signature}"))
    return Settings().cache / "stores" / f"{place}-{content}"


def _drop_older(folder: Path) -> None:
    """Remove caches of the same source's earlier content; a process that has one mapped keeps it until it ends."""
    for sibling in folder.parent.glob(f"{folder.name.split('-')[0]}-*"):
        if sibling != folder:
            shutil.rmtree(sibling, ignore_errors=True)


def _code_of_the_sample() -> str:
    return "".join(Path(str(module.__file__)).read_text(encoding="utf-8") for module in (drawing, sample))


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
