"""The command that averages finished runs into one."""

from functools import partial

from pydantic import Field
from pydantic_settings import CliPositionalArg

from fer_core.catalog import AVERAGES
from fer_core.cli_parts import Command, Json, print_result
from fer_core.ensemble import create_ensemble
from fer_core.ensemble_file import Ensemble, read_ensemble
from fer_core.runs import Run, find_run


class MakeEnsemble(Command):
    """Average the answers of finished runs into a run of its own; prints its folder as the last line."""

    name: CliPositionalArg[str] = Field(description="Name of the ensemble: letters, digits, _ and -.")
    runs: CliPositionalArg[list[str]] = Field(description="Names or folders of two or more runs.")
    average: str = Field(AVERAGES[0], description=f"What to average: {' or '.join(AVERAGES)}.")
    choose: bool = Field(False, description="Take only those that make the accuracy on public better, one by one.")
    as_json: bool = Json

    def cli_cmd(self) -> None:
        found = [find_run(reference) for reference in self.runs]
        run = create_ensemble(found, self.name, self.average, choose=self.choose)
        ensemble = read_ensemble(run)
        assert ensemble is not None, "it was just written"
        values = {
            "name": run.name,
            "members": list(ensemble.members),
            "average": ensemble.average,
            "chosen_from": list(ensemble.chosen_from),
            "public_accuracy": list(ensemble.public_accuracy),
            "folder": str(run.path),
        }
        print_result(values, self.as_json, partial(_show, run, ensemble))


def _show(run: Run, ensemble: Ensemble) -> None:
    print(ensemble.words)
    for number, (name, accuracy) in enumerate(zip(ensemble.members, ensemble.public_accuracy, strict=False)):
        print(f"{'with' if number else 'first'} {name}: {accuracy:.2%} on public")
    left = [name for name in ensemble.chosen_from if name not in ensemble.members]
    if left:
        print(f"left out, as public gets no better with them: {', '.join(left)}")
    print(run.path)
