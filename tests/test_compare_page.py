"""The Compare page's own parts: a cell's faces by what the other run makes of them, how sure runs are, what differs."""

import pytest
from streamlit.proto.Metric_pb2 import Metric

from fer_core.adjust import Adjustment
from fer_core.cell_groups import both_answers
from fer_core.ensemble import create_ensemble
from fer_core.labels import EMOTIONS
from fer_core.run_adjustment import SavedAdjustment, training_prior, write_adjustment
from tests.test_pages import judged_run, movable_run, open_page, text_of
from tests.toy import toy_csv

GREY = Metric.MetricColor.GRAY
NONE = ("0.0%", "0.000", "0.0%", "0.000", "0.000")


@pytest.fixture
def pair(tmp_path, monkeypatch):
    source = toy_csv(tmp_path / "fer2013.csv", private=8)
    monkeypatch.setenv("FER_DATA", str(source))
    return judged_run("one", source, right=0.4), judged_run("other", source, right=0.7)


def test_figures_that_are_the_same_say_so_in_grey(pair, tmp_path):
    judged_run("two", tmp_path / "fer2013.csv", right=0.4)
    at = open_page("compare", a="one", b="two")
    assert [metric.delta for metric in at.metric] == [f"±{none} against A" for none in NONE]
    assert all(metric.proto.color == GREY for metric in at.metric)
    at = open_page("compare", a="one", b="other")
    assert at.metric[0].label == "Accuracy, B" and at.metric[0].delta.endswith("% against A")
    assert at.metric[0].delta.startswith("+") and at.metric[0].proto.color != GREY


def cells_of(pair):
    """The fullest cell of A's matrix off its diagonal, and its groups."""
    both = both_answers(*(run.predictions("private") for run in pair))
    cells = [("A", true, said) for true in EMOTIONS for said in EMOTIONS if true != said]
    return max(((cell, both.in_cell(*cell)) for cell in cells), key=lambda found: sum(map(len, found[1].values())))


def test_an_address_opens_the_faces_of_a_cell(pair):
    cell, groups = cells_of(pair)
    at = open_page("compare", a="one", b="other", cell=".".join(cell))
    assert not at.exception
    text, total = text_of(at), sum(map(len, groups.values()))
    assert f"{total} {cell[1]} faces that A calls {cell[2]}" in text
    for name, rows in groups.items():
        assert f"{name} ({len(rows)})" in text


@pytest.mark.parametrize("cell", ["A.happy", "C.happy.sad", "A.happy.glad", "<script>", ""])
def test_a_cell_that_is_none_is_passed_over(pair, cell):
    at = open_page("compare", a="one", b="other", cell=cell)
    assert not at.exception and "faces that A calls" not in text_of(at)


def test_a_cell_without_faces_says_so(pair):
    both = both_answers(*(run.predictions("private") for run in pair))
    empty = next((true, said) for true in EMOTIONS for said in EMOTIONS if not both.in_cell("B", true, said))
    at = open_page("compare", a="one", b="other", cell=f"B.{empty[0]}.{empty[1]}")
    assert f"No {empty[0]} face was called {empty[1]} by B." in text_of(at)


def test_only_the_settings_that_differ_are_listed(pair):
    at = open_page("compare", a="one", b="other", part="settings")
    assert "Both runs have the same settings." in text_of(at)
    config = pair[1].config().changed(lr=0.05, balance="sampler")
    (pair[1].path / "config.json").write_text(config.to_json())
    at = open_page("compare", a="one", b="other", part="settings")
    table = at.dataframe[0].value
    assert set(table["setting"]) == {"lr", "balance"}
    assert "Both runs have the same settings." not in text_of(at)


def test_average_precision_stands_below_the_curves(pair):
    at = open_page("compare", a="one", b="other", part="how sure", pr="happy")
    assert any(block.value.startswith("Average precision: one 0.") for block in at.caption)


def test_one_run_alone_has_its_sureness_too(pair):
    at = open_page("compare", a="one", part="how sure")
    assert not at.exception and "How often right, by how sure" in text_of(at)


@pytest.mark.parametrize("part", ["how they learned", "settings", "<script>"])
def test_a_part_that_two_runs_need_is_passed_over_with_one(pair, part):
    at = open_page("compare", a="one", part=part)
    assert not at.exception and "settings" not in at.segmented_control(key="part").options
    assert at.segmented_control(key="part").value == ("emotions" if part != "how they learned" else part)


def test_a_clicked_cell_is_still_open_after_a_look_at_another_part(pair):
    cell, groups = cells_of(pair)
    at = open_page("compare", a="one", b="other", cell=".".join(cell))
    at.session_state["clicks"] = {"A": cell[1:], "B": None}  # as a click leaves it
    at.segmented_control(key="part").set_value("how sure").run()
    assert "faces that A calls" not in text_of(at)
    at.segmented_control(key="part").set_value("emotions").run()
    assert f"{sum(map(len, groups.values()))} {cell[1]} faces that A calls {cell[2]}" in text_of(at)


@pytest.fixture
def movable(tmp_path, monkeypatch):
    source = toy_csv(tmp_path / "fer2013.csv", private=8)
    monkeypatch.setenv("FER_DATA", str(source))
    return movable_run("mine", source)


def test_a_run_beside_itself_under_another_tau(movable):
    at = open_page("compare", a="mine", b="mine")
    assert not at.exception and "A and B are the same." in text_of(at)
    at = open_page("compare", a="mine", b="mine", tau_b="1.0")
    text = text_of(at)
    assert not at.exception and "A and B are the same." not in text
    assert "**A: mine**" in text and "**B: mine (tau 1)**" in text
    assert "to choose one, look at public" in text
    at = open_page("compare", a="mine", b="mine", tau_b="1.0", on="public")
    assert "to choose one, look at public" not in text_of(at)


def test_a_slider_moves_a_decision_and_its_matrix(movable):
    at = open_page("compare", a="mine", on="public")
    accuracy = next(one.value for one in at.metric if one.label == "Accuracy")
    assert accuracy != "100.0%"
    at.slider(key="tau_a").set_value(1.0).run()
    assert not at.exception
    assert next(one.value for one in at.metric if one.label == "Accuracy") == "100.0%"


def test_what_is_kept_with_a_run_decides_on_every_page(movable):
    prior = tuple(training_prior(movable, EMOTIONS).tolist())
    write_adjustment(movable, SavedAdjustment(Adjustment(1.0), EMOTIONS, prior, "hand", "public"))
    at = open_page("compare", a="mine")
    assert "**A: mine (tau 1)**" in text_of(at)
    at.toggle(key="tau_a_kept").set_value(False).run()
    assert "**A: mine**" in text_of(at)
    assert "No face fits these filters." in text_of(open_page("mistakes", run="mine"))
    assert "8 of 56 faces" in text_of(open_page("mistakes", run="mine", mistakes_tau_kept="false"))


@pytest.mark.parametrize("page", ["compare", "mistakes"])
def test_a_damaged_adjustment_is_one_line(movable, page):
    (movable.path / "adjustment.json").write_text("{")
    at = open_page(page)
    assert not at.exception and "Remove it, and choose the adjustment again." in text_of(at)


@pytest.fixture
def with_ensemble(pair):
    create_ensemble(pair, "both", "logits")
    return pair


def test_an_ensemble_is_compared_like_any_run(with_ensemble):
    at = open_page("compare", a="one", b="both")
    assert not at.exception and not at.error
    assert "**A: one**" in text_of(at) and "**B: both**" in text_of(at)
    assert not open_page("compare", a="both", part="how sure").exception


def test_the_settings_show_an_ensembles_members_and_average(with_ensemble):
    at = open_page("compare", a="one", b="both", part="settings")
    table = at.dataframe[0].value
    assert not at.exception
    assert dict(zip(table["setting"], table["B"], strict=True)) == {"members": "one, other", "average": "logits"}


@pytest.mark.parametrize(("query", "charts"), [({"a": "one", "b": "both"}, 2), ({"a": "both"}, 0)])
def test_an_ensemble_has_no_curves_and_the_page_says_so(with_ensemble, query, charts):
    at = open_page("compare", part="how they learned", **query)
    assert not at.exception
    assert "both is an ensemble, without curves" in text_of(at)
    assert [block.value for block in at.markdown].count("**Loss**") == charts // 2
