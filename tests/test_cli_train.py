"""`train` on the command line: recipes, their variants, nets of a user's own, and what is said before it begins."""

import hashlib
import json
import shlex
import time

import pytest
import torch

from fer_core import catalog, cli, cli_train, plugins
from fer_core.config import RunConfig
from fer_core.experiment import train_run
from fer_core.launcher import current_status
from fer_core.models import MODELS, create_model
from fer_core.recipes import RECIPES
from fer_core.runs import Status, create_run, find_run, list_runs, runs_folder
from fer_core.train.placement import choose_placement
from tests.toy import toy_csv

PLUGIN = '''
from torch import nn
from fer_core.models import register

@register("one-layer")
def one_layer(in_channels, num_classes, image_size):
    """A single linear layer."""
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * image_size**2, num_classes))
'''
SHORT = ("--epochs", "1", "--batch-size", "16", "--device", "cpu")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path):
    return toy_csv(tmp_path / "fer2013.csv", train=3, public=2, private=2)


@pytest.fixture
def begun(monkeypatch):
    """The runs that a command would have trained."""
    runs = []
    monkeypatch.setattr(cli_train, "train_runs", lambda found, queue: runs.extend(found))
    return runs


@pytest.fixture
def plugin(tmp_path, no_plugins):
    """A user's file; what it registers is gone after the test."""
    path = tmp_path / "my models.py"
    path.write_text(PLUGIN)
    return path


def train(*words):
    return cli.main(["train", *map(str, words)])


def test_a_recipe_is_a_whole_configuration_with_what_is_changed_on_top(data, begun, capsys):
    assert train("--data", data, "--recipe", "cnn6", "--lr", "0.01") == 0
    [run] = begun
    config = run.config()
    assert run.name == "cnn6"
    assert (config.model, config.optimizer, config.lr, config.epochs) == ("cnn6", "adam", 0.01, 12)
    assert config.differences().keys() >= {"lr"}
    assert capsys.readouterr().out == (
        f"cnn6: cnn6, 1.50M parameters, 87M multiply-adds a face, {choose_placement('auto', 'auto')}\n"
    )


def test_a_variant_is_named_with_its_recipe(data, begun, capsys):
    assert train("--data", data, "--recipe", "vgg16-frozen/scratch", "--head-hidden", "8") == 0
    [run] = begun
    assert run.name == "vgg16-frozen-scratch"
    assert (run.config().weights, run.config().freeze_until, run.config().head_hidden) == ("none", "none", 8)
    assert capsys.readouterr().err == ""


def test_a_sweep_trains_every_variant_with_the_same_change(data, begun):
    words = ("--weights", "none", "--image-size", "32", "--seed", "3")
    assert train("--data", data, "--recipe", "vgg16-frozen", "--sweep", *words) == 0
    assert [run.name for run in begun] == [f"vgg16-frozen-{variant}" for variant in RECIPES["vgg16-frozen"].swept]
    assert len(begun) == 8
    assert {(run.config().image_size, run.config().weights, run.config().seed) for run in begun} == {(32, "none", 3)}
    assert [run.config().head_hidden for run in begun] == [0, 8, 16, 32, 32, 32, 32, 32]


def test_the_runs_of_a_sweep_that_wait_for_their_turn_are_not_lost(monkeypatch):
    runs = [create_run(RunConfig(seed=seed), f"seed-{seed}") for seed in range(2)]
    for run in runs:
        run.write_status(Status(heartbeat=time.time() - 3600))
    seen = []
    monkeypatch.setattr(cli_train, "_train_one", lambda run: seen.append(current_status(runs[1]).state))
    cli_train.train_runs(runs, queue=False)
    assert seen == ["queued", "queued"]


def test_a_file_of_weights_is_found_from_another_folder_too(data, begun, monkeypatch, tmp_path):
    torch.save(create_model("cnn6").state_dict(), tmp_path / "mine.pt")
    monkeypatch.chdir(tmp_path)
    assert train("--data", data, "--model", "cnn6", "--weights", "mine.pt") == 0
    assert begun[0].config().weights == str(tmp_path / "mine.pt")


def test_frozen_random_weights_are_pointed_out(data, begun, capsys):
    assert train("--data", data, "--recipe", "resnet18-grey", "--weights", "none") == 0
    output = capsys.readouterr()
    assert output.err == (
        "note: the layers before layer2 keep their random weights, which are worth nothing. "
        "resnet18-grey/scratch trains all of it.\n"
    )
    assert "11.17M parameters, 1% of them frozen" in output.out


def test_weights_that_cannot_be_had_leave_no_run_behind(data, begun, capsys, monkeypatch, tmp_path):
    import urllib.error
    import urllib.request

    def unreachable(*arguments, **more):
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    assert train("--data", data, "--recipe", "resnet18-grey") == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "resnet18-f37072fd.pth" in line
    assert str(tmp_path / "torch" / "hub" / "checkpoints") in line
    assert line.endswith("or train from scratch with --recipe resnet18-grey/scratch.\n")
    assert begun == [] and not runs_folder().exists()


def test_a_sweep_has_names_of_its_own(begun, capsys):
    assert train("--sweep", "--recipe", "vgg16-frozen", "--name", "mine") == 2
    assert train("--sweep") == 2
    expected = "error: --sweep trains the variants of a recipe, under their names: give --recipe, no --name.\n"
    assert capsys.readouterr().err == 2 * expected


def test_a_net_of_ones_own_trains_and_is_judged(data, plugin, capsys):
    assert train("--data", data, "--plugin", plugin, "--model", "one-layer", *SHORT) == 0
    [run] = list_runs()
    assert run.name == "one-layer-as-is" and run.status().state == "done"
    assert run.config().plugin == str(plugin.resolve())
    assert run.environment()["plugin_sha256"] == hashlib.sha256(PLUGIN.encode()).hexdigest()
    assert run.views("private") == ("none", "flip")
    assert "one-layer, 0.02M parameters" in capsys.readouterr().out
    assert cli.main(["evaluate", run.name]) == 0


def test_a_run_of_ones_own_net_is_read_by_a_program_that_does_not_know_the_net(data, plugin, begun):
    assert train("--data", data, "--plugin", plugin, "--model", "one-layer") == 0
    MODELS.pop("one-layer"), catalog.MODELS.pop("one-layer")
    assert find_run(begun[0].name).config().model == "one-layer"


def test_a_run_is_resumed_only_where_its_file_is_named(data, plugin, monkeypatch, capsys):
    with monkeypatch.context() as patched:
        patched.setattr(cli_train, "train_runs", lambda runs, queue: None)
        assert train("--data", data, "--plugin", plugin, "--model", "one-layer", *SHORT) == 0
    [run] = list_runs()
    plugins._unload(plugin.resolve())  # as in another process
    plugins._named.clear()
    assert train("--resume", run.name) == 2
    assert f"--plugin {shlex.quote(str(plugin.resolve()))}" in capsys.readouterr().err
    assert run.status().state == "failed"
    assert train("--resume", run.name, "--plugin", plugin) == 0
    assert run.status().state == "done"


def test_a_net_that_was_edited_meanwhile_does_not_go_on(data, plugin, monkeypatch, capsys):
    def stop_after_an_epoch(run):
        train_run(run, on_epoch=lambda record: run.stop_file.touch())

    monkeypatch.setattr(cli_train, "_train_one", stop_after_an_epoch)
    assert train("--data", data, "--plugin", plugin, "--model", "one-layer", "--epochs", "2", *SHORT[2:]) == 0
    [run] = list_runs()
    assert run.status().state == "stopped"
    plugin.write_text(PLUGIN.replace("A single", "One single"))
    assert train("--resume", run.name, "--plugin", plugin) == 2
    assert "has changed since run 'one-layer-as-is' was begun; put it back" in capsys.readouterr().err
    plugin.write_text(PLUGIN)
    assert train("--resume", run.name, "--plugin", plugin) == 0


def test_an_unknown_model_beside_a_plugin_is_one_line(data, plugin, capsys):
    assert train("--data", data, "--plugin", plugin, "--model", "two-layers") == 2
    line = capsys.readouterr().err
    assert line.startswith("error: no model named 'two-layers'. Did you mean 'one-layer'? Known: ")


def test_recipes_are_listed_with_what_their_authors_report(capsys):
    assert cli.main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if line.startswith("cnn6 "))
    assert line.endswith("Six-layer CNN. Published: about 52% validation.")
    assert cli.main(["recipes", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(RECIPES)
    assert rows["vgg16-frozen"]["settings"]["freeze_until"] == "features.17"
    assert rows["vgg16-frozen"]["variants"][:2] == ["hidden-none", "hidden-8"]
