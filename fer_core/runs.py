"""A run's folder, in and out: configuration, history, status, predictions, environment.

runs/NAME/config.json       every choice (RunConfig)
          environment.json  machine, versions, device, and the data's fingerprint and counts
          history.jsonl     one line an epoch
          status.json       state, process, heartbeat; rewritten whole each time
          predictions.npz   logits with hashes and labels per split: figures need neither data nor model
          best.pt, last.pt  tensors (train.checkpoint)
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import psutil

from fer_core.config import RunConfig
from fer_core.errors import ConfigError, RunError
from fer_core.files import write_atomic, write_json
from fer_core.predictions import (
    SplitPredictions,
    predicted_splits,
    predicted_views,
    read_predictions,
    write_predictions,
)
from fer_core.settings import settings
from fer_core.shipped import is_shipped, refuse_shipped

FORMAT = 1
"""Format number of `environment.json`, `history.jsonl` and `status.json`."""

_LONGEST_STEM = 60
"""Of a name that we make up, in characters: a number may follow."""
NAME = re.compile(r"[\w-]{1,64}", re.ASCII)
STATES = ("queued", "running", "stopping", "stopped", "done", "failed", "lost")
"""A run's life. `lost` is never written: it is what a reader calls an active run whose process is gone."""
LARGE_GAP = 0.15
"""A train accuracy so far above the public one is over-fitting: nets that generalise lie within a few points."""
ACTIVE = ("queued", "running", "stopping")


@dataclass(frozen=True)
class Status:
    """What a run is doing. Times are seconds since the epoch."""

    state: str = "queued"
    epoch: int = 0
    """Epochs finished."""
    progress: float = 0.0
    """Share of the whole training that is done, steps counted, 0..1."""
    message: str = ""
    """One line for a person: what failed, or what is being done."""
    pid: int | None = None
    process_started: float | None = None
    """With `pid`, tells this process from a later one that was given the same number."""
    heartbeat: float = 0.0
    created: float = field(default_factory=time.time)


@dataclass(frozen=True)
class EpochRecord:
    """One line of `history.jsonl`. Losses in nats, shares in 0..1, `wall_s` counted from the training's start."""

    epoch: int
    lr: float
    train_loss: float
    train_accuracy: float
    """On the augmented faces as the net saw them during the epoch, so that it lies below a clean evaluation."""
    public_loss: float
    public_accuracy: float
    public_macro_f1: float
    images_per_s: float
    """Training faces a second over the epoch, evaluation left out."""
    wall_s: float

    @property
    def gap(self) -> float:
        """By how much the net is better on its training faces, though they are augmented, than on public."""
        return self.train_accuracy - self.public_accuracy


@dataclass(frozen=True)
class Run:
    """A run on disk. Nothing is cached: each call reads what the file says now."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def shipped(self) -> bool:
        """Whether it comes with the explorer: it is read like any run, and whatever writes into it raises RunError."""
        return is_shipped(self.path)

    def config(self) -> RunConfig:
        """Raises: RunError: missing or damaged."""
        try:
            return RunConfig.from_json(self._text("config.json"))
        except ConfigError as error:
            raise RunError(f"{self.path / 'config.json'}: {error}") from None

    def status(self) -> Status:
        """What the run last wrote of itself (`launcher.current_status` also looks whether its process lives)."""
        try:
            return Status(**self._json("status.json"))
        except TypeError as error:
            raise RunError(f"{self.path / 'status.json'}: damaged ({error}).") from None

    def write_status(self, status: Status) -> None:
        refuse_shipped(self.path)  # whoever trains a run writes its status first
        write_json(self.path / "status.json", {"format": FORMAT, **asdict(status)})

    def update_status(self, **values: Any) -> None:
        """Change some fields of the status and set its heartbeat to now."""
        self.write_status(replace(self.status(), heartbeat=time.time(), **values))

    def claim(self, **values: Any) -> None:
        """Write this process into the status, as the one that trains the run or will."""
        process = psutil.Process()
        self.update_status(pid=process.pid, process_started=process.create_time(), **values)

    def requeue(self) -> None:
        """Make the run wait for a process to take it up, whatever became of the last one."""
        self.stop_file.unlink(missing_ok=True)
        self.update_status(state="queued", pid=None, process_started=None, message="")

    def environment(self) -> dict[str, Any]:
        """Machine, versions and data of the training; empty before it has started."""
        return self._json("environment.json") if (self.path / "environment.json").exists() else {}

    def write_environment(self, values: Mapping[str, Any]) -> None:
        write_json(self.path / "environment.json", {"format": FORMAT, **values})

    def history(self) -> list[EpochRecord]:
        """The epochs so far, in order; empty before the first. A last line that is half-written is left out."""
        path = self.path / "history.jsonl"
        lines = self._text("history.jsonl").split("\n")[:-1] if path.exists() else []
        try:
            return [EpochRecord(**_checked(json.loads(line), path)) for line in lines]
        except RunError:
            raise
        except (ValueError, TypeError) as error:
            raise RunError(f"{path}: damaged ({error}).") from None

    def write_history(self, records: list[EpochRecord]) -> None:
        lines = "".join(json.dumps({"format": FORMAT, **asdict(record)}) + "\n" for record in records)
        write_atomic(self.path / "history.jsonl", lambda file: file.write(lines.encode()))

    def predictions(self, split: str, view: str = "none") -> SplitPredictions:
        """The run's answers on a split, by one of the test-time views that it was judged by.

        Raises: RunError: the run has none of this split (the message says why), or the file is damaged.
        """
        if not self._predictions.exists():
            state = self.status().state
            raise RunError(f"run {self.name!r} has no predictions; it is {state}. Train or resume it first.")
        return read_predictions(self._predictions, split, view)

    def views(self, split: str) -> tuple[str, ...]:
        """The test-time views that the run was judged by on a split. Raises: RunError: the file is damaged."""
        return predicted_views(self._predictions, split) if self._predictions.exists() else ()

    def write_predictions(self, predictions: Mapping[str, SplitPredictions]) -> None:
        write_predictions(self._predictions, predictions)

    def splits(self) -> tuple[str, ...]:
        """Those of `catalog.JUDGED_SPLITS` that have predictions. Raises: RunError: the file is damaged."""
        return predicted_splits(self._predictions) if self._predictions.exists() else ()

    @property
    def _predictions(self) -> Path:
        return self.path / "predictions.npz"

    @property
    def stop_file(self) -> Path:
        """While this file is there, the training loop stops at its next batch."""
        return self.path / "stop"

    @property
    def best(self) -> Path:
        return self.path / "best.pt"

    @property
    def last(self) -> Path:
        return self.path / "last.pt"

    def _text(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(f"{self.path / name}: cannot be read ({error}).") from None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            return _checked(json.loads(self._text(name)), self.path / name)
        except json.JSONDecodeError as error:
            raise RunError(f"{self.path / name}: damaged ({error}).") from None


def _checked(values: Any, path: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise RunError(f"{path}: damaged (a JSON object is expected).")
    found = values.pop("format", None)
    if found != FORMAT:
        raise RunError(f"{path}: format {found!r}; this version reads {FORMAT}.")
    return values


def runs_folder() -> Path:
    return settings().runs


def list_runs() -> list[Run]:
    """Every run of the user's that can be read, newest first (`damaged_runs` names the others)."""
    runs = [run for run in all_runs() if not _damage(run)]
    return sorted(runs, key=lambda run: ((run.path / "config.json").stat().st_mtime, run.name), reverse=True)


def known_runs() -> list[Run]:
    """Every run that can be read and that its name finds: the user's, newest first, then the shipped ones."""
    return list_runs() + [run for run in shipped_runs() if not _damage(run)]


def damaged_runs() -> list[str]:
    """What is wrong with each run that cannot be read; one line a run."""
    return [damage for run in (*all_runs(), *shipped_runs()) if (damage := _damage(run))]


def all_runs() -> list[Run]:
    """Every folder of the runs folder that holds a run, whether it can be read or not, by name."""
    return _runs_in(runs_folder())


def shipped_runs() -> list[Run]:
    """The runs that come with the explorer, by name; one whose name a run of the user's has is left out."""
    return [run for run in _runs_in(settings().shipped) if not _is_run(runs_folder() / run.name)]


def _runs_in(folder: Path) -> list[Run]:
    paths = folder.iterdir() if folder.is_dir() else iter(())
    return [Run(path) for path in sorted(paths) if NAME.fullmatch(path.name) and _is_run(path)]


def _damage(run: Run) -> str:
    try:
        run.config(), run.status(), run.history()
    except RunError as error:
        return str(error)
    return ""


def find_run(reference: str) -> Run:
    """The run with this name, the user's own before a shipped one, or else in this folder.

    Raises: RunError: there is none; the message names what there is.
    """
    for folder in (runs_folder(), settings().shipped):
        if NAME.fullmatch(reference) and _is_run(folder / reference):
            return Run(folder / reference)
    if _is_run(Path(reference)):
        return Run(Path(reference).resolve())
    names = [run.name for run in known_runs()]
    close = get_close_matches(reference, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    known = f" Known: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}." if names else " There are none yet."
    raise RunError(f"no run named {reference!r} in {runs_folder()}, and no run in a folder of that name.{hint}{known}")


def create_run(config: RunConfig, name: str, fill: Callable[[Run], None] = lambda run: None) -> Run:
    """Make a run's folder, queued. The folder appears whole; of two that want one name at once, one gets it.

    Args: fill: writes what else belongs to the run before it appears. Where it fails, there is no run.
    Raises: RunError: the name is taken, or has other characters than letters, digits, `_` and `-`.
    """
    if not NAME.fullmatch(name):
        raise RunError(f"{name!r} cannot name a run: use 1 to 64 letters, digits, '_' and '-'.")
    if _is_run(settings().shipped / name):
        raise RunError(f"a run named {name!r} comes with the explorer; give another --name.")
    folder = runs_folder()
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
    try:
        write_atomic(temporary / "config.json", lambda file: file.write(config.to_json().encode()))
        Run(temporary).write_status(Status(heartbeat=time.time()))
        fill(Run(temporary))
        temporary.rename(folder / name)
    except OSError as error:
        if not (folder / name).exists():
            raise
        raise RunError(f"there is a run named {name!r} already; give another --name, or --resume {name}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Run(folder / name)


def free_name(config: RunConfig, taken: frozenset[str] = frozenset()) -> str:
    """A name that says what is special about `config` and that no run has: small-as-is, cnn6-sampler-2, ..."""
    stem = (_recipe_stem(config) if config.recipe else _plain_stem(config))[:_LONGEST_STEM].rstrip("-")
    number, name = 1, stem
    while name in taken or (runs_folder() / name).exists() or _is_run(settings().shipped / name):
        number += 1
        name = f"{stem}-{number}"
    return name


def free_names(configs: Iterable[RunConfig]) -> list[str]:
    """A `free_name` for each, no two of them the same."""
    names: list[str] = []
    for config in configs:
        names.append(free_name(config, frozenset(names)))
    return names


def _plain_stem(config: RunConfig) -> str:
    labels = () if config.labels == "fer" else (config.labels,)
    balance = "as-is" if config.balance == "none" else _plain(config.balance)
    return "-".join((config.model, *labels, balance, *_special_faces(config)))


def _special_faces(config: RunConfig) -> list[str]:
    """What is special about the faces that are trained on."""
    review = [config.review_action] if config.review else []
    return review + ([f"fold-{config.fold}-of-{config.folds}"] if config.folds else [])


def _plain(value: str) -> str:
    """With the characters alone that a run's name may have."""
    return value.replace("+", "-")


def _recipe_stem(config: RunConfig) -> str:
    changed = config.differences()
    what = [_plain(str(changed[name])) for name in ("model", "labels", "balance") if name in changed]
    return "-".join((str(config.recipe).replace("/", "-"), *what, *_special_faces(config)))


def _is_run(path: Path) -> bool:
    try:
        return (path / "config.json").is_file() and (path / "status.json").is_file()
    except OSError:  # a name that is too long for the file system
        return False
