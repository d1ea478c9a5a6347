"""The Balance page: what a strategy will do, in the numbers of the data that is open, and on to the Train page."""

from dataclasses import replace

import pytest

from fer_core.catalog import BALANCE_PRESETS
from fer_core.config import RunConfig
from fer_core.run_adjustment import read_adjustment
from tests.test_pages import judged_run, movable_run, open_page, text_of
from tests.toy import toy_csv

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def source(tmp_path, monkeypatch):
    path = toy_csv(tmp_path / "fer2013.csv")
    monkeypatch.setenv("FER_DATA", str(path))
    return path


def tiles(at):
    return {one.label: (one.value, one.delta) for one in at.metric}


def test_as_is_every_face_is_shown_once(source):
    at = open_page("balance")
    assert not at.exception
    assert at.multiselect(key="balance").value == []
    assert any(label.endswith(" face, shown") and value == "1.0 ×" for label, (value, _) in tiles(at).items())


def test_an_address_opens_with_its_strategy_and_its_sliders(source):
    at = open_page("balance", balance="sampler", balance_alpha="1.0")
    assert at.multiselect(key="balance").value == ["sampler"]
    assert at.slider(key="balance_alpha").value == 1.0
    assert not [one for one in at.slider if one.key in ("balance_gamma", "balance_tau")]


@pytest.mark.parametrize("name", BALANCE_PRESETS)
def test_a_preset_fills_in_its_strategy(source, name):
    at = open_page("balance", balance="focal", balance_gamma="5.0")
    at.button(key=f"preset {name}").click().run()
    wanted = RunConfig(**BALANCE_PRESETS[name])
    assert at.multiselect(key="balance").value == [one for one in wanted.strategies if one != "none"]
    for field in ("balance_alpha", "balance_beta", "balance_gamma", "balance_tau", "balance_cap"):
        shown = [one for one in (*at.slider, *at.number_input) if one.key == field]
        assert all(one.value == getattr(wanted, field) for one in shown)


def test_strategies_that_count_twice_are_warned_about(source):
    at = open_page("balance", balance=["sampler", "weights"])
    assert "together they do so twice" in at.warning[0].value


def test_without_a_finished_run_the_gradient_is_not_known(source):
    assert "known once a run is finished" in text_of(open_page("balance"))
    judged_run("mine", source, right=0.5)
    at = open_page("balance")
    assert at.selectbox(key="seen_by").options == ["mine"]
    assert "known once a run is finished" not in text_of(at)


def test_a_run_on_other_classes_is_not_offered(source):
    run = judged_run("other", source, right=0.5)
    answers = run.predictions("public")
    run.write_predictions({"public": replace(answers, classes=tuple("abcdefg"))})
    assert open_page("balance").selectbox(key="seen_by").options == []


# --- after training ---------------------------------------------------------------------------------------------------

AFTER = "after training"


@pytest.fixture
def run(source):
    return movable_run("mine", source)


def macro_recall(at):
    """6 of 7 while disgust is never found, 100% where all are."""
    return next(one.value for one in at.metric if one.label == "Macro-recall")


def test_tau_moves_the_decision_and_the_figures(run):
    at = open_page("balance", when=AFTER)
    assert not at.exception and macro_recall(at) == "85.7%"
    at.slider(key="tau").set_value(1.0).run()
    assert macro_recall(at) == "100.0%"
    assert next(one.delta for one in at.metric if one.label == "Macro-recall") == "+14.3%"


def test_the_best_tau_is_found_on_public(run):
    at = open_page("balance", when=AFTER)
    next(one for one in at.button if one.label == "Find tau").click().run()
    assert 0 < at.slider(key="tau").value < 1 and macro_recall(at) == "100.0%"
    next(one for one in at.button if one.label == "As it was").click().run()
    assert at.slider(key="tau").value == 0 and macro_recall(at) == "85.7%"


def test_temperature_changes_how_sure_and_no_decision(run):
    at = open_page("balance", when=AFTER)
    before = {one.label: one.value for one in at.metric}
    at.slider(key="temperature").set_value(3.0).run()
    after = {one.label: one.value for one in at.metric}
    assert {name for name in after if after[name] != before[name]} == {"Log loss", "ECE"}


def test_private_says_that_it_is_not_for_choosing(run):
    assert "tune on the test" not in text_of(open_page("balance", when=AFTER))
    assert "tune on the test" in text_of(open_page("balance", when=AFTER, adjusted_on="private"))


def test_an_adjustment_is_kept_with_the_run_and_taken_away_again(run):
    at = open_page("balance", when=AFTER)
    at.slider(key="tau").set_value(0.5).run()
    next(one for one in at.button if one.label == "Keep with the run").click().run()
    saved = read_adjustment(run)
    assert (saved.adjustment.tau, saved.split, saved.chosen_for) == (0.5, "public", "hand")
    assert open_page("balance", when=AFTER).slider(key="tau").value == 0.5
    next(one for one in at.button if one.label == "Take it away").click().run()
    assert read_adjustment(run) is None


def test_what_the_button_found_is_kept_with_its_purpose(run):
    at = open_page("balance", when=AFTER, adjusted_on="private")
    next(one for one in at.button if one.label == "Find tau").click().run()
    next(one for one in at.button if one.label == "Keep with the run").click().run()
    saved = read_adjustment(run)
    assert (saved.chosen_for, saved.split) == ("balanced_accuracy", "public")
    at.slider(key="tau").set_value(-0.5).run()
    next(one for one in at.button if one.label == "Keep with the run").click().run()
    assert (read_adjustment(run).chosen_for, read_adjustment(run).split) == ("hand", "private")


def test_a_run_that_does_not_record_its_training_faces_is_one_line(source):
    judged_run("old", source, right=0.5)
    assert "does not record its training faces" in open_page("balance", when=AFTER).error[0].value


def test_without_runs_the_page_says_what_to_do(source):
    at = open_page("balance", when=AFTER)
    assert "No finished run yet" in text_of(at)
