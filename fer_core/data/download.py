"""FER2013 and the FER+ votes fetched into a folder: from Kaggle, or from an address. Checked before they are kept."""

import logging
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path, PurePosixPath
from shutil import copytree
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np

from fer_core.catalog import check_name
from fer_core.data.csv_source import Progress
from fer_core.data.ferplus import FILE_NAME, read_votes
from fer_core.data.fetch import check_scheme, fetch, one_line
from fer_core.data.source import ARCHIVES, FILES, read_source
from fer_core.data.store import Faces
from fer_core.errors import DataError
from fer_core.files import private_folder, refuse_existing, writing_into
from fer_core.labels import EMOTIONS, FER2013_TRAIN_COUNTS

DATASETS: dict[str, str] = {"csv": "deadskull7/fer2013", "folder": "msambare/fer2013"}
"""Public copies on Kaggle, for which it wants no account: the challenge's `fer2013.csv`, and folders of images."""
COMPETITION = "challenges-in-representation-learning-facial-expression-recognition-challenge"
"""Where the data comes from (Kaggle, 2013). It wants an account that has accepted the challenge's rules."""
FERPLUS_URL = "https://raw.githubusercontent.com/microsoft/FERPlus/master/fer2013new.csv"
"""The votes in the FER+ project's own repository."""

FILE_NAMES = ("fer2013.csv", "icml_face_data.csv")
FILE_ENDINGS = (".zip", ".tar.gz", ".npz")
_MOST_BYTES = 1 << 30
_MOST_FERPLUS_BYTES = 16 << 20


@dataclass(frozen=True)
class Expected:
    """What the content must have: rows of each split, and training rows of each emotion."""

    splits: tuple[int, ...]
    train: dict[str, int]


FER2013 = Expected((28_709, 3_589, 3_589), FER2013_TRAIN_COUNTS)


@dataclass(frozen=True)
class Downloaded:
    """The files and folders that are new, and a sentence for what a person must be told about them."""

    paths: list[Path]
    notes: tuple[str, ...] = ()


def download(
    folder: Path,
    *,
    layout: str = "csv",
    url: str | None = None,
    ferplus_url: str = FERPLUS_URL,
    with_ferplus: bool = True,
    progress: Progress,
) -> Downloaded:
    """Fetch FER2013, and the FER+ votes beside it. Nothing is overwritten, and nothing that is not FER2013 is kept.

    Args:
        folder: where the files go; made when missing.
        layout: which of Kaggle's copies; without meaning where `url` is given.
        url: http or https address of a `fer2013.csv`, `icml_face_data.csv`, `.zip`, `.tar.gz` or `.npz`.
        progress: called with bytes done, and how many there are, while an address is fetched; then while the content
            is read. Kaggle's client shows a bar of its own, on a terminal only.
    Raises:
        DataError: a target exists, nothing could be fetched, or the content is not FER2013: nothing is left then. Or
            FER+ alone failed: the data stays, as the message says.
    """
    folder = folder.expanduser().resolve()
    targets = [folder / name for name in _names(layout, url)]
    check_scheme(ferplus_url)
    refuse_existing(*targets, *([folder / FILE_NAME] if with_ferplus else []))
    with writing_into(folder), private_folder(folder, "download") as staging:
        if url is None:
            source, place = f"kaggle.com/datasets/{DATASETS[layout]}", _from_kaggle(layout, staging, folder)
        else:
            source, place = url, staging
            fetch(url, staging / targets[0].name, _MOST_BYTES, progress)
        fetched = [place / target.name for target in targets]
        notes = _check(fetched[0] if len(fetched) == 1 else place, source, progress)
        _move(fetched, targets)
    if with_ferplus:
        try:
            targets.append(download_ferplus(folder, url=ferplus_url, progress=progress))
        except DataError as error:
            names = " and ".join(str(target) for target in targets)
            raise DataError(
                f"{names}: downloaded and checked, and stays; but not the FER+ votes. {error} "
                f"By hand: fetch {FERPLUS_URL} in a browser and put it into {folder}."
            ) from None
    return Downloaded(targets, (*notes, *_how_to_name(targets[0])))


def download_ferplus(folder: Path, *, url: str = FERPLUS_URL, progress: Progress) -> Path:
    """Fetch the FER+ votes alone. Raises: DataError: the file exists, cannot be fetched, or is not FER+'s."""
    folder = folder.expanduser().resolve()
    target = folder / FILE_NAME
    check_scheme(url)
    refuse_existing(target)
    with writing_into(folder), private_folder(folder, "download") as staging:
        fetched = staging / FILE_NAME
        fetch(url, fetched, _MOST_FERPLUS_BYTES, progress)
        _check_ferplus(fetched, url)
        _move([fetched], [target])
    return target


def _names(layout: str, url: str | None) -> list[str]:
    """What will stand in the folder."""
    if url is None:
        return ["fer2013.csv"] if check_name("layout to download", layout, DATASETS) == "csv" else ["train", "test"]
    check_scheme(url)
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    if re.fullmatch(r"\w[\w.-]*", name, re.ASCII) and (name in FILE_NAMES or name.endswith(FILE_ENDINGS)):
        return [name]
    raise DataError(
        f"{url}: ends in {name[:40]!r}. Give the address of {' or '.join(FILE_NAMES)}, or of a file that ends in "
        f"{', '.join(FILE_ENDINGS)}."
    )


def _move(fetched: Sequence[Path], targets: Sequence[Path]) -> None:
    """Give each its name in the folder, all or none."""
    refuse_existing(*targets)  # the download took a while
    moved: list[tuple[Path, Path]] = []
    try:
        for place, target in zip(fetched, targets, strict=True):
            place.rename(target)
            moved.append((target, place))
    except OSError:
        for target, place in moved:
            target.rename(place)
        raise


def _from_kaggle(layout: str, staging: Path, folder: Path) -> Path:
    """Fetch a data set with Kaggle's client; the folder in `staging` in which the files of this layout lie."""
    handle = DATASETS[layout]
    by_hand = (
        f"By hand: download https://www.kaggle.com/datasets/{handle} in a browser and put its archive.zip into "
        f"{folder}, or the fer2013.tar.gz of https://www.kaggle.com/c/{COMPETITION}/data. Or name an address: --url."
    )
    try:
        import kagglehub
    except ImportError:
        raise DataError(f"kagglehub is not installed. Run: pip install -r requirements.txt. {by_hand}") from None
    try:
        with _quiet():
            root = Path(kagglehub.dataset_download(handle, output_dir=str(staging / "kaggle"))).resolve()
    except _kaggle_errors() as error:
        raise DataError(f"{_kaggle_reason(error, handle)} {by_hand}") from None
    if not root.is_relative_to(staging):  # in Kaggle's and Colab's notebooks it is mounted elsewhere, read-only
        root = copytree(root, staging / "kaggle", dirs_exist_ok=True)
    names = _names(layout, None)
    place = next(
        (at.parent for at in sorted(root.rglob(names[0])) if all((at.parent / n).exists() for n in names)), None
    )
    if place is None:
        raise DataError(f"kaggle.com/datasets/{handle} no longer holds {' and '.join(names)}. {by_hand}")
    return place


def _kaggle_errors() -> tuple[type[Exception], ...]:
    """What kagglehub 1.0 raises when there is no data to be had. Errors in writing are not among them."""
    import requests
    from kagglehub import exceptions

    own = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, requests.RequestException, zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, RuntimeError)


def _kaggle_reason(error: Exception, handle: str) -> str:
    import requests
    from kagglehub.exceptions import CredentialError, UnauthenticatedError

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403) or isinstance(error, CredentialError | UnauthenticatedError):
        answer = f" ({status})" if status else ""
        return f"Kaggle refuses {handle}{answer}: check the account in ~/.kaggle/kaggle.json or $KAGGLE_API_TOKEN."
    if status == 404:
        return f"Kaggle has no data set {handle} (404)."
    if status:
        return f"Kaggle answered {status} for {handle}."
    if isinstance(error, requests.ConnectionError | requests.Timeout):
        return f"Kaggle could not be reached ({type(error).__name__}): check the network."
    return f"Kaggle's copy {handle} could not be fetched ({type(error).__name__}: {one_line(error)})."


@contextmanager
def _quiet() -> Iterator[None]:
    """kagglehub logs to standard output, where our own results go; its bar stays, where a person sees it."""
    logger = logging.getLogger("kagglehub")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    bar = nullcontext() if sys.stderr.isatty() else redirect_stderr(StringIO())
    try:
        with redirect_stdout(StringIO()), bar:
            yield
    finally:
        logger.setLevel(level)


def _check(path: Path, source: str, progress: Progress) -> tuple[str, ...]:
    """Read what came and compare it with FER2013. Returns: notes. Raises: DataError: it is something else."""
    with _named(path, source):
        faces = read_source(path, progress)
    splits = np.bincount(faces.splits_N, minlength=3).tolist()
    train, public, private = FER2013.splits
    if tuple(splits) == FER2013.splits:
        in_train_N, notes = faces.splits_N == 0, faces.notes
    elif faces.notes and (splits[0] + splits[1], splits[2]) == (train, public + private):
        in_train_N = faces.splits_N <= 1
        notes = (
            *faces.notes,
            f"The file names do not tell the public from the private test faces: checked were {train:,} faces in train "
            f"and {public + private:,} in test.",
        )
    else:
        raise _not_fer2013(source, "FER2013", splits)
    _check_emotions(faces, in_train_N, source)
    return notes


def _check_emotions(faces: Faces, in_train_N: Any, source: str) -> None:
    found = dict(zip(EMOTIONS, np.bincount(faces.labels_N[in_train_N], minlength=len(EMOTIONS)).tolist(), strict=True))
    wrong = [name for name in EMOTIONS if found[name] != FER2013.train.get(name, 0)]
    if wrong:
        counts = ", ".join(f"{found[name]:,} {name} (expected {FER2013.train.get(name, 0):,})" for name in wrong)
        raise DataError(f"{source} is not FER2013: its training faces are {counts}. It was not kept.")


def _check_ferplus(path: Path, source: str) -> None:
    with _named(path, source):
        votes = read_votes(path)
    splits = np.bincount(votes.splits_M, minlength=3).tolist()
    if tuple(splits) != FER2013.splits:
        raise _not_fer2013(source, "FER+", splits)


def _not_fer2013(source: str, what: str, splits: Sequence[int]) -> DataError:
    found, expected = (" / ".join(f"{n:,}" for n in counts) for counts in (splits, FER2013.splits))
    return DataError(
        f"{source} is not {what}: {sum(splits):,} rows in Training / PublicTest / PrivateTest ({found}); expected "
        f"{sum(FER2013.splits):,} ({expected}). It was not kept."
    )


@contextmanager
def _named(path: Path, source: str) -> Iterator[None]:
    """In errors, what a person asked for stands in place of the temporary name, which is gone when they read it."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{str(error).replace(str(path), source)} It was not kept.") from None


def _how_to_name(path: Path) -> list[str]:
    if path.is_dir() or path.name in (*FILES, *ARCHIVES, "fer2013.npz"):
        return []
    return [f"A file of this name is not looked for: name it, as in --data {path}"]
