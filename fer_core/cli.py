"""The command line: `python -m fer_core --help`. Each command is a pydantic model; its fields are its flags."""

import difflib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, CliApp, CliPositionalArg, CliSubCommand, SettingsConfigDict, SettingsError

from fer_core import console, launcher
from fer_core.catalog import JUDGED_SPLITS, VIEWS, check_name
from fer_core.cli_data import Data, DataCheck, DataDownload, DataExport, DataInfo
from fer_core.cli_ensemble import MakeEnsemble
from fer_core.cli_export import Export
from fer_core.cli_map import Map
from fer_core.cli_parts import Command, Json, print_result
from fer_core.cli_predict import Predict
from fer_core.cli_reproduce import Reproduce
from fer_core.cli_train import Train
from fer_core.compare import Comparison, compare
from fer_core.comparison_export import comparison_html, differing_settings, faces_csv, figures_csv
from fer_core.config import RunConfig
from fer_core.config_text import flag, one_line
from fer_core.ensemble_file import is_ensemble, read_ensemble
from fer_core.errors import FerError, RunError, SomeFailed
from fer_core.files import folder_atomic, refuse_existing, writing_into
from fer_core.predictions import SplitPredictions, report_on
from fer_core.recipes import RECIPES
from fer_core.run_adjustment import called, decided, decision_words
from fer_core.run_facts import read_facts
from fer_core.runs import Run, damaged_runs, find_run, known_runs
from fer_core.seeds import compare_seeds, same_setting
from fer_core.verdict import verdict, verdict_of_seeds

Split = Field("private", description="The split to judge: public, private, or held_out of one of several folds.")
View = Field("none", description=f"The test-time view: {', '.join(VIEWS)}.")
_TAU = (
    "Decide by this tau: 0 is the net's own decision, 1 takes out how common each emotion was in training. Left out: "
    "by the adjustment that was kept with the run, if one was."
)


class Evaluate(Command):
    """Judge a finished run: accuracy, macro-F1, calibration, figures per emotion, confusion matrix."""

    run: CliPositionalArg[str] = Field(description="Name or folder of a run.")
    split: str = Split
    view: str = View
    tau: float | None = Field(None, description=_TAU)
    as_json: bool = Json

    def cli_cmd(self) -> None:
        run = find_run(self.run)
        report = report_on(_answers(run, self.split, self.view, self.tau))
        others = [view for view in run.views(self.split) if view != self.view]
        views = {view: report_on(decided(run, self.split, view, self.tau)).accuracy for view in others}
        place: dict[str, Any] = {"run": run.name, "split": self.split, "view": self.view, "other_views": views}
        ensemble = read_ensemble(run)
        place |= {"decision": decision_words(run, self.tau), "members": ensemble and list(ensemble.members)}
        values = {**place, **report.to_json()}
        print_result(values, self.as_json, lambda: console.report(values, ensemble))


class Compare(Command):
    """Compare two runs face by face; every difference is B minus A."""

    a: CliPositionalArg[str] = Field(description="Name or folder of the first run.")
    b: CliPositionalArg[str] = Field(description="Name or folder of the second run.")
    split: str = Split
    view: str = View
    tau_a: float | None = Field(None, description=f"For A. {_TAU}")
    tau_b: float | None = Field(None, description="The same for B; A and B may be one run under two values.")
    seeds: bool = Field(False, description="Also with all runs that differ from A or B by their seed alone.")
    export: str | None = Field(None, description="A new folder for an HTML report and CSV files of the comparison.")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        a, b = find_run(self.a), find_run(self.b)
        taus = (self.tau_a, self.tau_b)
        answers = [_answers(run, self.split, self.view, tau) for run, tau in zip((a, b), taus, strict=True)]
        names = called(a, self.tau_a), called(b, self.tau_b)
        comparison = compare(*answers)
        place = {"a": names[0], "b": names[1], "split": self.split, "view": self.view}
        said = {"verdict": verdict(comparison, *names)}
        seeds = self._over_seeds(a, b, names) if self.seeds else None
        values = {**place, **comparison.to_json(), **said, "seeds": seeds}

        def show() -> None:
            console.comparison(values, comparison)
            if seeds:
                console.seed_comparison(seeds)

        if self.export:
            self._export(self.export, (a, b), names, answers, comparison)
        print_result(values, self.as_json, show)

    def _export(
        self, folder: str, runs: tuple[Run, Run], names: tuple[str, str], answers: Sequence[SplitPredictions],
        comparison: Comparison,
    ) -> None:  # fmt: skip
        a, b = runs
        settings = differing_settings(a, b)
        where = f"{self.split}, view: {self.view}"
        texts = {
            "report.html": comparison_html(comparison, names, settings, where),
            "faces.csv": faces_csv(*answers),
            "figures.csv": figures_csv(comparison),
        }
        target = Path(folder)
        refuse_existing(target)
        with writing_into(target.parent), folder_atomic(target) as place:
            for name, text in texts.items():
                (place / name).write_text(text, encoding="utf-8")

    def _over_seeds(self, a: Run, b: Run, names: tuple[str, str]) -> dict[str, Any]:
        """Under two values of tau the same runs may stand on both sides; the intervals then take them as independent,
        and are too wide rather than too narrow."""
        sides = [same_setting(run, known_runs(), self.split, self.view) for run in (a, b)]
        runs = [[run.name for run in side] for side in sides]
        if set(runs[0]) & set(runs[1]) and self.tau_a == self.tau_b:
            raise RunError(f"{a.name} and {b.name} differ by their seed at most. Compare them without --seeds.")
        pairs = zip(sides, (self.tau_a, self.tau_b), strict=True)
        found = compare_seeds(*([_answers(run, self.split, self.view, tau) for run in side] for side, tau in pairs))
        said = {"verdict": verdict_of_seeds(found, *names)}
        return {"runs_a": runs[0], "runs_b": runs[1], **found.to_json(), **said}


class Recipes(Command):
    """List the recipes: published systems that `train --recipe NAME` trains, with their variants."""

    as_json: bool = Json

    def cli_cmd(self) -> None:
        rows = [
            {
                "name": name,
                "title": one.title,
                "published": one.claim or None,
                "variants": list(one.variants),
                "settings": RunConfig(recipe=name).differences_from(RunConfig()),
            }
            for name, one in RECIPES.items()
        ]
        print_result(rows, self.as_json, lambda: console.recipe_table(rows))


class Runs(Command):
    """List the runs, newest first, then those that come with the explorer."""

    as_json: bool = Json

    def cli_cmd(self) -> None:
        rows = [_summary(run) for run in known_runs()]
        for line in damaged_runs():
            print(f"left out: {line}", file=sys.stderr)
        marked = [row | {"state": "shipped"} if row["shipped"] else row for row in rows]
        print_result(rows, self.as_json, lambda: console.run_table(marked))


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
    recipes: CliSubCommand[Recipes]
    reproduce: CliSubCommand[Reproduce]
    ensemble: CliSubCommand[MakeEnsemble]
    map: CliSubCommand[Map]
    predict: CliSubCommand[Predict]
    export: CliSubCommand[Export]
    runs: CliSubCommand[Runs]

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, init_settings: Any, *others: Any, **more: Any) -> Any:
        return (init_settings,)  # and the command line: a variable that happens to be named DATA is not ours to read

    def cli_cmd(self) -> None:
        CliApp.run_subcommand(self, cli_exit_on_error=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit code: 0; 2 after one line for wrong input; 1 where some of many failed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        CliApp.run(Cli, cli_args=words, cli_exit_on_error=False)
        sys.stdout.flush()
    except BrokenPipeError:  # `... | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValidationError as error:
        return _fail(one_line(error, RunConfig.model_fields))
    except SettingsError as error:
        return _fail(_usage_line(str(error), words))
    except SomeFailed as error:
        _fail(str(error))
        return 1
    except FerError as error:
        return _fail(str(error))
    except OSError as error:  # a disk that is full, a folder that may not be written
        return _fail(f"{error.filename or 'file system'}: {error.strerror or error}.")
    return 0


def _answers(run: Run, split: str, view: str, tau: float | None) -> SplitPredictions:
    check_name("split to judge", split, JUDGED_SPLITS)
    return decided(run, split, check_name("view", view, VIEWS), tau)


def _summary(run: Run) -> dict[str, Any]:
    """One line about a run: what it is, how far it is, and its best public figures."""
    config, status, history = run.config(), launcher.current_status(run), run.history()
    best = max(history, key=lambda record: record.public_accuracy, default=None)
    values = {
        "name": run.name,
        "state": status.state,
        "epoch": status.epoch,
        "epochs": config.epochs,
        "recipe": config.recipe,
        "model": config.model,
        "balance": config.balance,
        "labels": config.labels,
        "data": config.data,
        "public_accuracy": best.public_accuracy if best else None,
        "public_macro_f1": best.public_macro_f1 if best else None,
        "wall_s": history[-1].wall_s if history else None,
        "folder": str(run.path),
        "shipped": run.shipped,
        "members": None,
    }
    return values | _summary_of_members(run, values)


def _summary_of_members(run: Run, values: dict[str, Any]) -> dict[str, Any]:
    """What the line says otherwise of an ensemble: settings are None where its members do not share them."""
    facts = read_facts(run) if is_ensemble(run) else None
    if facts is None or facts.ensemble is None:
        return {}
    apart = {name: None for name in values if name in facts.ensemble.differs}
    public = facts.public
    figures = {"public_accuracy": public.accuracy, "public_macro_f1": public.macro_f1} if public else {}
    return apart | figures | {"model": facts.ensemble.title, "members": list(facts.ensemble.members)}


def _fail(line: str) -> int:
    print(f"error: {console.printable(line)}", file=sys.stderr)
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
    ("recipes",): Recipes,
    ("reproduce",): Reproduce,
    ("ensemble",): MakeEnsemble,
    ("map",): Map,
    ("predict",): Predict,
    ("export",): Export,
    ("runs",): Runs,
    (): Cli,
}


def _words_after(command: tuple[str, ...]) -> list[str]:
    """The flags or commands that may follow a command."""
    fields = _COMMANDS[command].model_fields
    return [flag(info.alias or name) for name, info in fields.items()] + list(fields)
