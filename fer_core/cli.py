"""The command line: `python -m fer_core --help`. Each command is a pydantic model; its fields are its flags."""

import difflib
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, CliSubCommand, SettingsConfigDict, SettingsError

from fer_core import console, launcher
from fer_core.catalog import check_name
from fer_core.cli_data import Data, DataCheck, DataDownload, DataExport, DataInfo
from fer_core.cli_parts import Command, Json, print_result
from fer_core.compare import compare
from fer_core.config import RunConfig, flag, one_line
from fer_core.data import open_store, resolve_config
from fer_core.errors import ConfigError, FerError
from fer_core.labels import SPLITS
from fer_core.predictions import report_on
from fer_core.runs import Run, create_run, damaged_runs, find_run, free_name, list_runs

Split = Field("private", description="The split to judge: public or private.")


class Train(RunConfig):
    """Train a model; prints the run's folder as its last line."""

    name: str | None = Field(None, description="Name of the run: letters, digits, _ and -. Left out: a free one.")
    resume: list[str] = Field([], description="Go on with this run, by its own configuration; may be given repeatedly.")
    queue: bool = Field(False, description="Wait until no other queued training runs in the runs folder.")

    def cli_cmd(self) -> None:
        if self.resume:
            self._resume()
            return
        fields = {name: getattr(self, name) for name in RunConfig.model_fields}
        config = resolve_config(RunConfig.parse(fields))
        _check(config)
        run = create_run(config, free_name(config) if self.name is None else self.name)
        _train([run], self.queue)

    def _resume(self) -> None:
        others = sorted(self.model_fields_set - {"resume", "queue"})
        if others:
            raise ConfigError(f"{flag(others[0])} does not go with --resume: a run keeps the configuration it has.")
        runs = [find_run(reference) for reference in self.resume]
        if not self.queue:  # a queued worker's runs were made ready by whoever started it
            for run in runs:
                launcher.make_ready(run)
        _train(runs, self.queue)


class Evaluate(Command):
    """Judge a finished run: accuracy, macro-F1, calibration, figures per emotion, confusion matrix."""

    run: CliPositionalArg[str] = Field(description="Name or folder of a run.")
    split: str = Split
    as_json: bool = Json

    def cli_cmd(self) -> None:
        run = find_run(self.run)
        predictions = run.predictions(_judged_split(self.split))
        report = report_on(predictions)
        values = {"run": run.name, "split": self.split, **report.to_json()}
        print_result(values, self.as_json, lambda: console.report(values))


class Compare(Command):
    """Compare two runs face by face; every difference is B minus A."""

    a: CliPositionalArg[str] = Field(description="Name or folder of the first run.")
    b: CliPositionalArg[str] = Field(description="Name or folder of the second run.")
    split: str = Split
    as_json: bool = Json

    def cli_cmd(self) -> None:
        a, b = find_run(self.a), find_run(self.b)
        split = _judged_split(self.split)
        comparison = compare(a.predictions(split), b.predictions(split))
        values = {"a": a.name, "b": b.name, "split": split, **comparison.to_json()}
        print_result(values, self.as_json, lambda: console.comparison(values, comparison))


class Runs(Command):
    """List the runs, newest first."""

    as_json: bool = Json

    def cli_cmd(self) -> None:
        rows = [_summary(run) for run in list_runs()]
        for line in damaged_runs():
            print(f"left out: {line}", file=sys.stderr)
        print_result(rows, self.as_json, lambda: console.run_table(rows))


class Cli(BaseSettings):
    """FER2013: look at the data, train balanced and imbalanced models, compare them face by face."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m fer_core",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        cli_use_class_docs_for_groups=True,
    )

    data: CliSubCommand[Data]
    train: CliSubCommand[Train]
    evaluate: CliSubCommand[Evaluate]
    compare: CliSubCommand[Compare]
    runs: CliSubCommand[Runs]

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, *others: Any, **more: Any) -> Any:
        return (init_settings,)  # and the command line: a variable that happens to be named DATA is not ours to read

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self, cli_exit_on_error=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0, or 2 after one line on standard error for wrong input."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        CliApp.run(Cli, cli_args=words, cli_exit_on_error=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValidationError as error:
        return _fail(one_line(error))
    except SettingsError as error:
        return _fail(_usage_line(str(error), words))
    except FerError as error:
        return _fail(str(error))
    except OSError as error:  # a disk that is full, a folder that may not be written
        return _fail(f"{error.filename or 'file system'}: {error.strerror or error}.")
    return 0


def _train(runs: list[Run], queue: bool) -> None:
    """Train runs in turn; one that fails does not keep the next from its turn, and its error is raised at the end."""
    if queue:
        for run in runs:
            run.claim()
    errors: list[Exception] = []
    with _stop_on_interrupt(runs), launcher.turn(runs) if queue else nullcontext():
        for run in runs:
            try:
                _train_one(run)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next run has its turn; it is raised below
                errors.append(error)
    if errors:
        raise errors[0]


def _check(config: RunConfig) -> None:
    """Refuse what cannot be trained before there is a run: damaged data, an empty split, a device that is not there."""
    with console.progress("reading") as progress:
        store = open_store(config.data, progress, ferplus=config.ferplus)
    from fer_core.experiment import check_trainable  # torch comes with it, and takes two seconds

    check_trainable(config, store)


def _train_one(run: Run) -> None:
    if run.stop_file.exists():  # somebody asked for that while the run was waiting
        run.update_status(state="stopped", message="stopped before it began")
        run.stop_file.unlink()
    else:
        from fer_core.experiment import train_run

        with console.TrainingLog(run.config().epochs or 0) as log:
            train_run(run, on_epoch=log.epoch, on_step=log.step)
    print(run.path, flush=True)


@contextmanager
def _stop_on_interrupt(runs: list[Run]) -> Iterator[None]:
    """Ctrl-C stops as the app's button does, with a checkpoint; a second one ends the process as ever."""

    def ask_to_stop(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        print("stopping after this batch; press Ctrl-C again to end at once", file=sys.stderr)
        for run in runs:
            run.stop_file.touch()

    previous = signal.signal(signal.SIGINT, ask_to_stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _judged_split(split: str) -> str:
    allowed = [name for name in SPLITS if name != "train"]
    return check_name("split to judge", split, allowed)


def _summary(run: Run) -> dict[str, Any]:
    """One line about a run: what it is, how far it is, and its best public figures."""
    config, status, history = run.config(), launcher.current_status(run), run.history()
    best = max(history, key=lambda record: record.public_accuracy, default=None)
    return {
        "name": run.name,
        "state": status.state,
        "epoch": status.epoch,
        "epochs": config.epochs,
        "model": config.model,
        "balance": config.balance,
        "labels": config.labels,
        "data": config.data,
        "public_accuracy": best.public_accuracy if best else None,
        "public_macro_f1": best.public_macro_f1 if best else None,
        "wall_s": history[-1].wall_s if history else None,
        "folder": str(run.path),
    }


def _fail(line: str) -> int:
    """One line, whatever a file's name or content has brought into it."""
    print("error: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in line), file=sys.stderr)
    return 2


def _usage_line(message: str, words: Sequence[str]) -> str:
    """argparse's complaint as one line, with the nearest flag or command that exists, and where the list of them is."""
    text = message.removeprefix("error parsing CLI: ").removeprefix("Error: ").splitlines()[0]
    command = next((path for path in _COMMANDS if words[: len(path)] == list(path)), ())
    unknown = re.search(r"(?:unrecognized arguments: |invalid choice: ')([\w-]+)", text)
    close = difflib.get_close_matches(unknown[1], _words_after(command), n=1) if unknown else []
    hint = f" Did you mean {close[0]}?" if close else ""
    return " ".join(f"{text}.{hint} See: python -m fer_core {' '.join(command)} --help".split())


_COMMANDS: dict[tuple[str, ...], type[BaseModel]] = {
    ("data", "info"): DataInfo,
    ("data", "check"): DataCheck,
    ("data", "download"): DataDownload,
    ("data", "export"): DataExport,
    ("data",): Data,
    ("train",): Train,
    ("evaluate",): Evaluate,
    ("compare",): Compare,
    ("runs",): Runs,
    (): Cli,
}


def _words_after(command: tuple[str, ...]) -> list[str]:
    """The flags or commands that may follow a command."""
    fields = _COMMANDS[command].model_fields
    return [flag(info.alias or name) for name, info in fields.items()] + list(fields)
