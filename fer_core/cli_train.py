"""The command that trains: one configuration, a recipe's variants, or runs that were stopped."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from fer_core import console, launcher
from fer_core.catalog import MODELS, check_name
from fer_core.cli_parts import print_notes
from fer_core.config import RunConfig
from fer_core.config_text import flag
from fer_core.data import open_store, resolve_config
from fer_core.ensemble_file import refuse_ensemble
from fer_core.errors import ConfigError
from fer_core.runs import Run, create_run, find_run, free_names

if TYPE_CHECKING:
    from fer_core.models import ModelCost


class Train(RunConfig):
    """Train a model; prints the run's folder as its last line."""

    sweep: bool = Field(False, description="Train every variant of the --recipe, one after the other.")
    name: str | None = Field(None, description="Name of the run: letters, digits, _ and -. Left out: a free one.")
    resume: list[str] = Field([], description="Go on with this run, by its own configuration; may be given repeatedly.")
    queue: bool = Field(False, description="Wait until no other queued training runs in the runs folder.")

    def cli_cmd(self) -> None:
        self._load_plugin()
        if self.resume:
            self._resume()
            return
        configs = [resolve_config(config) for config in self._configs()]
        from fer_core.train.placement import choose_placement  # torch comes with these
        from fer_core.train.tensorboard import tensorboard_missing

        plans = [_check(config) for config in configs]
        names = free_names(configs) if self.name is None else [self.name]
        runs = [create_run(config, name) for config, name in zip(configs, names, strict=True)]
        for config, cost in zip(configs, plans, strict=True):
            console.plan(config, cost, choose_placement(config.device, config.precision))
            print_notes(config.warnings())
        if any(config.tensorboard for config in configs) and (missing := tensorboard_missing()):
            print_notes([missing])
        train_runs(runs, self.queue)

    def _configs(self) -> list[RunConfig]:
        fields = {name: getattr(self, name) for name in RunConfig.model_fields}
        if self.plugin:
            fields["plugin"] = str(Path(self.plugin).resolve())
        if self.weights not in ("none", "imagenet") and Path(self.weights).is_file():
            fields["weights"] = str(Path(self.weights).resolve())  # the app resumes runs in a folder of its own
        if not self.sweep:
            return [RunConfig.parse(fields)]
        if self.recipe is None or self.name is not None:
            raise ConfigError("--sweep trains the variants of a recipe, under their names: give --recipe, no --name.")
        return RunConfig.parse(fields).variants()

    def _load_plugin(self) -> None:
        """A net of the user's own is known from here on."""
        if self.plugin:
            from fer_core.plugins import load_plugin

            load_plugin(self.plugin)
            check_name("model", self.model, MODELS)

    def _resume(self) -> None:
        others = sorted(self.model_fields_set - {"resume", "queue", "plugin"})
        others = ["recipe"] if self.recipe else others  # which has set fields of its own
        if others:
            raise ConfigError(f"{flag(others[0])} does not go with --resume: a run keeps the configuration it has.")
        runs = [find_run(reference) for reference in self.resume]
        for run in runs:
            refuse_ensemble(run)
        if not self.queue:  # a queued worker's runs were made ready by whoever started it
            for run in runs:
                launcher.make_ready(run)
        train_runs(runs, self.queue)


def train_runs(runs: list[Run], queue: bool) -> None:
    """Train runs in turn; one that fails does not keep the next from its turn, and its error is raised at the end."""
    for run in runs:  # all of them: one that waits unclaimed for its turn would be taken for lost
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


def _check(config: RunConfig) -> "ModelCost":
    """Refuse what cannot be trained before there is a run: damaged data, an empty split, weights that are not there.

    Returns: the size of the net.
    """
    with console.progress("reading") as progress:
        store = open_store(config.data, progress, ferplus=config.ferplus)
    from fer_core.experiment import check_trainable  # torch comes with it, and takes two seconds

    return check_trainable(config, store)


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
