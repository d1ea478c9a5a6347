"""The Train page: a recipe fills the form, what differs is said, a sweep is one click, over-fitting is named."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from streamlit.testing.v1 import AppTest

from fer_core import launcher
from fer_core.config import RunConfig
from fer_core.ensemble import create_ensemble
from fer_core.recipes import RECIPES
from fer_core.review import ReviewList
from fer_core.runs import EpochRecord, create_run, list_runs
from tests.faces import make_predictions, write_csv

REPO = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def source(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_DATA", str(write_csv(tmp_path / "fer2013.csv")))


@pytest.fixture
def started(monkeypatch):
    """Runs are written, and no process is begun."""
    monkeypatch.setattr(launcher, "_start_worker", lambda runs: None)


def open_train(**query):
    at = AppTest.from_file(str(REPO / "streamlit_app.py"), default_timeout=90)
    at.switch_page("pages/train.py")
    for key, value in query.items():
        at.query_params[key] = value
    return at.run()


def command(at):
    """The command line that the form stands for."""
    return at.code[0].value


def figures(at):
    return {metric.label: metric.value for metric in at.metric}


def press(at, label):
    return next(button for button in at.button if button.label == label).click().run()


def history(*accuracies):
    return [
        EpochRecord(e, 0.1, 1.0, train, 1.0, public, 0.3, 900.0, 10.0 * e)
        for e, (train, public) in enumerate(accuracies, 1)
    ]


def test_a_recipe_fills_the_form():
    at = open_train()
    at.selectbox(key="recipe").set_value("vgg16-frozen").run()
    assert not at.exception
    assert at.selectbox(key="model").value == "vgg16"
    assert at.selectbox(key="weights").value == "imagenet"
    assert (at.number_input(key="batch_size").value, at.number_input(key="lr").value) == (512, 1e-4)
    assert at.text_input(key="freeze_until").value == "features.17"
    assert "--recipe vgg16-frozen" in command(at) and "--lr" not in command(at)
    assert any("65% validation, 99% train" in caption.value for caption in at.caption)


def test_another_recipe_starts_from_its_own_values():
    at = open_train(recipe="vgg16-frozen")
    at.number_input(key="lr").set_value(0.5).run()
    assert "--lr 0.5" in command(at)
    at.selectbox(key="recipe").set_value("cnn6").run()
    assert at.number_input(key="lr").value == 1e-3
    assert "--lr" not in command(at)
    at.selectbox(key="recipe").set_value("none: settings of your own").run()
    assert at.selectbox(key="model").value == RunConfig().model
    assert "--recipe" not in command(at)


def test_what_differs_from_the_recipe_is_said_and_can_be_undone():
    at = open_train(recipe="cnn6")
    assert any(caption.value == "All settings are the recipe's." for caption in at.caption)
    at.number_input(key="epochs").set_value(3).run()
    assert any("Epochs: 3 (recipe: 12)" in markdown.value for markdown in at.markdown)
    press(at, "Back to the recipe")
    assert at.number_input(key="epochs").value == 12
    assert any(caption.value == "All settings are the recipe's." for caption in at.caption)


def test_a_review_list_is_offered_where_there_is_one(tmp_path):
    assert "review" not in {box.key for box in open_train().selectbox}
    marked = ReviewList()
    marked.mark("0" * 16, "happy", "train", "unclear")
    at = open_train()
    assert at.selectbox(key="review").options == ["review.jsonl"] and at.selectbox(key="review").value is None
    assert "--review" not in command(at)
    at.selectbox(key="review").set_value("review.jsonl").run()
    at.selectbox(key="review_action").set_value("relabel").run()
    assert not at.exception
    assert f"--review {marked.path} --review-action relabel" in command(at)
    assert any("Review list: review.jsonl (default: none)" in markdown.value for markdown in at.markdown)
    press(at, "Back to the defaults")
    assert at.selectbox(key="review").value is None and "--review" not in command(at)
    assert f"--review {marked.path}" in command(open_train(review="review.jsonl"))
    assert "--review" not in command(open_train(review="/etc/passwd")), "an address names no other file"


def test_an_address_names_a_recipe_and_what_is_changed():
    at = open_train(recipe="cnn6", lr="0.02", augment_steps="flip@0.5,rotate:5")
    assert not at.exception
    assert "--recipe cnn6" in command(at)
    assert "--lr 0.02" in command(at)
    assert "--augment-steps flip@0.5,rotate:5" in command(at)


def test_a_step_that_cannot_be_is_one_line():
    at = open_train(augment_steps="flip@0.5,rotate:99")
    assert at.error[0].value == "--augment-steps: step 'rotate:99': strength 99 is not between 0 and 45."


def test_a_published_figure_and_the_nets_size_are_shown_before_a_run_starts():
    at = open_train(recipe="cnn6")
    assert figures(at) == {"Published": "52.0%", "Parameters": "1.5M", "Multiply-adds": "86.8M"}
    again = open_train(recipe="cnn6", balance="sampler")  # known by now: drawn at once, not at the end of the page
    assert figures(again) == figures(at)


def test_the_frozen_share_is_shown_where_something_is_frozen():
    assert figures(open_train(recipe="vgg16-frozen"))["Frozen"] == "12%"


def test_a_layer_that_is_not_there_is_said_where_the_size_stands():
    at = open_train(recipe="cnn6", freeze_until="layer9")
    assert not at.exception
    assert "layer9" in at.error[0].value


def test_a_recipe_is_trained_first_and_without_one_the_pair_is():
    assert [b.label.partition(",")[0] for b in open_train().button][:2] == [
        "Train as is and balanced",
        "Train this one",
    ]
    labels = [b.label.partition(",")[0] for b in open_train(recipe="vgg16-frozen").button]
    assert labels[:3] == ["Train this one", "Train all 8 variants", "Train as is and balanced"]


def test_frozen_random_weights_are_pointed_out():
    at = open_train(recipe="vgg16-frozen", weights="none")
    assert any("keep their random weights" in warning.value for warning in at.warning)


def test_the_variants_of_a_recipe_are_started_with_one_click(started):
    at = open_train(recipe="vgg16-frozen", seed="4")
    button = next(button for button in at.button if button.label.startswith("Train all 8 variants"))
    button.click().run()
    assert not at.exception
    assert {run.config().recipe for run in list_runs()} == {
        f"vgg16-frozen/{one}" for one in RECIPES["vgg16-frozen"].swept
    }
    assert {run.config().seed for run in list_runs()} == {4}


def test_any_number_of_runs_stands_on_one_chart():
    for name in ("one", "two", "three", "four"):
        run = create_run(RunConfig(data="sample", epochs=2), name)
        run.write_history(history((0.5, 0.4), (0.6, 0.5)))
        run.update_status(state="done", epoch=2, progress=1.0)
    at = open_train()
    at.multiselect(key="with").set_value(["one", "two"]).run()
    assert not at.exception
    charts = [e.proto for e in at.main if "vega" in e.type]
    chart = next(one for one in charts if "data" in json.loads(one.spec)["layer"][0])
    rows = pa.ipc.open_stream(chart.datasets[0].data.data).read_all().to_pylist()
    assert {row["run"] for row in rows} == {"one", "two", "three", "four"}


def test_a_large_gap_between_train_and_public_is_named():
    for name, last in (("by-heart", (0.99, 0.65)), ("fine", (0.66, 0.62))):
        run = create_run(RunConfig(data="sample", epochs=2), name)
        run.write_history(history((0.4, 0.4), last))
        run.write_predictions({"private": make_predictions([0, 3])})
        run.update_status(state="done", epoch=2, progress=1.0)
    [warning] = open_train().warning
    assert warning.value.startswith(
        "**by-heart** is right on 99% of its training faces and on 65% of public, 34 points fewer"
    )


def queued(*names):
    return [create_run(RunConfig(data="sample", epochs=2), name) for name in names]


def test_a_whole_sweep_is_stopped_with_one_click():
    runs = queued("one", "two", "three")
    at = press(open_train(), "Stop all 3")
    assert not at.exception
    assert all(run.stop_file.exists() for run in runs)
    assert {launcher.current_status(run).state for run in runs} == {"stopping"}
    assert not [button for button in at.button if button.label.startswith("Stop")]


def test_what_a_run_does_before_its_first_epoch_is_said():
    _, opening = queued("waiting", "opening")
    opening.claim(state="running", message="opening the data")
    lines = [markdown.value for markdown in open_train().markdown]
    assert "epoch 0 of 2 · waits for its turn" in lines
    assert "epoch 0 of 2 · opening the data" in lines


def test_weights_that_cannot_be_fetched_lead_to_the_variant_without_them():
    run = create_run(RunConfig(recipe="vgg16-frozen", data="sample"), "vgg")
    run.update_status(state="failed", message="weights: cannot be fetched (<urlopen error [Errno -2] no *name*>).")
    at = open_train()
    assert at.text[0].value == "weights: cannot be fetched (<urlopen error [Errno -2] no *name*>)."
    press(at, "Choose vgg16-frozen/scratch")
    assert not at.exception
    assert at.selectbox(key="recipe").value == "vgg16-frozen/scratch"
    assert (at.selectbox(key="weights").value, at.text_input(key="freeze_until").value) == ("none", "none")
    assert "--recipe vgg16-frozen/scratch" in command(at)


@pytest.mark.parametrize(
    ("number", "label"), [(1, "See what it takes for what"), (2, "Compare these two"), (3, "All runs in one table")]
)
def test_finished_runs_lead_on(number, label):
    names = ["one", "two", "three"][:number]
    for run in queued(*names):
        run.write_history(history((0.5, 0.4)))
        run.write_predictions({"private": make_predictions([0, 3])})
        run.update_status(state="done", epoch=2, progress=1.0)
    at = open_train()
    if number == 3:
        at.multiselect(key="with").set_value(names).run()
    assert not at.exception
    assert [b.label for b in at.button if b.label in ("See what it takes for what", "Compare these two",
                                                      "All runs in one table")] == [label]  # fmt: skip


def test_those_of_a_sweep_that_have_ended_stay_on_the_chart():
    one, two, _, other = queued("one", "two", "three", "other")
    other.claim(state="done", epoch=2, progress=1.0)
    other.write_status(replace(other.status(), pid=1, process_started=1.0))  # another worker's
    for run, state in ((one, "done"), (two, "running")):
        run.write_history(history((0.5, 0.4)))
        run.claim(state=state)
    names = [markdown.value for markdown in open_train().markdown]
    assert "**one**" in names and "**two**" in names and "**three**" in names
    assert "**other**" not in names


def test_folded_settings_that_differ_are_shown_without_a_recipe_too():
    at = open_train(augment="none", augment_steps="rotate:30,flip@0.5", epochs="3")
    badges = [markdown.value for markdown in at.markdown if "(default:" in markdown.value]
    assert len(badges) == 2  # epochs are seen in the form
    assert "Augment steps: rotate:30, flip@0.5" in badges[1]
    press(at, "Back to the defaults")
    assert at.selectbox(key="augment").value == "standard"
    assert "--augment" not in command(at)


NET = """from torch import nn
from fer_core.models import register

@register("inverted")
def inverted(num_classes, in_channels):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.Linear(4 * 46 * 46, num_classes))
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch, no_plugins):
    path = tmp_path / "my_models.py"
    path.write_text(NET)
    monkeypatch.setenv("FER_PLUGINS", str(path))
    return path


def test_a_net_of_ones_own_that_cannot_take_a_face_is_one_line(plugin):
    at = open_train(model="inverted")
    assert not at.exception
    assert at.error[0].value.startswith("inverted cannot take these faces (RuntimeError: ")
    assert at.error[0].value.endswith(f"Correct {plugin}.")


def test_a_plugin_that_fails_is_said_letter_by_letter(plugin):
    plugin.write_text("from fer_core.models import __nothing__")
    error = open_train().error[0].value
    assert "cannot import name '\\_\\_nothing\\_\\_'" in error


def test_an_ensemble_is_no_training(started):
    runs = [create_run(RunConfig(data="sample").resolved(2), name) for name in "ab"]
    for run in runs:
        run.write_predictions({"public": make_predictions([0, 3])})
        run.write_history(history((0.5, 0.5)))
        run.update_status(state="done", epoch=2)
    create_ensemble(runs, "both")
    at = open_train()
    assert not at.exception
    assert "both" not in str(at.main) and "**a**" in [block.value for block in at.markdown]
