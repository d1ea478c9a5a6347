"""The Runs page: its table, what is chosen from it, notes, and the bin; clicks in a browser at the end."""

from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from selenium.webdriver.common.action_chains import ActionChains
from streamlit.testing.v1 import AppTest

from fer_core.config import RunConfig
from fer_core.ensemble_file import read_ensemble
from fer_core.run_shelf import Notes, bin_run, binned_runs, read_notes, write_notes
from fer_core.runs import EpochRecord, Run, create_run, find_run, list_runs
from tests.browser import click_on, console_errors, serve, visit, wait_for, wait_idle
from tests.faces import make_predictions

ROOT = Path(__file__).resolve().parent.parent


def make_run(name: str, accuracy: float, *, state: str = "done", judged_by: str = "fer", **settings) -> Run:
    """A run that is right on this share of 20 private faces, and says so of public."""
    run = create_run(RunConfig(data="sample", **settings).resolved(2), name)
    data = {"source": "faces.csv", "is_fer2013": True, "judged_by": judged_by, "counts": {"public": {"happy": 20}}}
    run.write_environment({"parameters": 1_000_000, "data": data})
    if state != "queued":
        run.write_history(
            [EpochRecord(e, 0.1, 1.5, 0.4, 1.4, accuracy - 0.1 * (2 - e), 0.3, 900.0, 9.0 * e) for e in (1, 2)]
        )
        right = round(20 * accuracy)
        run.write_predictions(
            {s: make_predictions([3] * 20, [3] * right + [4] * (20 - right)) for s in ("public", "private")}
        )
    run.update_status(state=state, epoch=2)
    return run


def open_page(**query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=30).switch_page("pages/runs.py")
    at.query_params.update(query)
    return at.run()


def text_of(at: AppTest) -> str:
    assert not at.exception
    blocks = [*at.markdown, *at.caption, *at.title, *at.subheader, *at.error, *at.info, *at.warning]
    return "\n".join(str(block.value) for block in blocks)


def names(at: AppTest, table: int = 0) -> list[str]:
    return list(at.dataframe[table].value["name"])


def press(at: AppTest, label: str) -> AppTest:
    return next(button for button in at.button if button.label == label).click().run()


def toasts(at: AppTest) -> list[str]:
    return [toast.value for toast in at.toast]


def test_without_runs_the_next_step_is_train():
    at = open_page()
    assert "No run yet" in text_of(at)
    assert [button.label for button in at.button] == ["Go to Train"]


def test_the_table_has_the_best_on_public_first_then_what_is_published():
    make_run("worse", 0.5), make_run("better", 0.9, balance="sampler"), make_run("waiting", 0, state="queued")
    table = open_page().dataframe[0].value
    assert list(table["name"][:3]) == ["better", "worse", "waiting"]
    assert list(table["public_accuracy"][:2]) == [90, 50]
    assert table["differs"][0] == "balance sampler"
    assert "◇ challenge winner 2013 71" in list(table["name"])
    assert all(name.startswith("◇") for name in table["name"][table["state"] == "published"])


def test_published_figures_can_be_left_out_and_are_of_the_runs_kind():
    make_run("a", 0.5, judged_by="majority")
    assert names(open_page()) == ["a", "◇ FER+ paper, VGG13 85.0"]
    assert names(open_page(published="false")) == ["a"]


def test_the_page_says_by_what_to_choose():
    make_run("a", 0.5)
    assert "Choose between runs by public" in text_of(open_page())


def test_filters_leave_what_fits_and_say_when_nothing_does():
    make_run("a", 0.5), make_run("b", 0.6, balance="sampler")
    write_notes(find_run("a"), Notes(("keep",)))
    assert names(open_page(filter="sampler", published="false")) == ["b"]
    assert names(open_page(tagged="keep", published="false")) == ["a"]
    assert "No run fits the filter" in text_of(open_page(filter="nothing like it"))


def test_a_tag_that_nobody_has_any_more_filters_nothing():
    make_run("a", 0.5)
    write_notes(find_run("a"), Notes(("keep",)))
    at = open_page(published="false", tagged="keep", chosen="a")
    at.multiselect(key="tags:a").set_value([]).run()
    assert read_notes(find_run("a")).tags == ()
    assert names(at) == ["a"]


def test_one_chosen_run_leads_to_its_mistakes():
    make_run("a", 0.5), make_run("b", 0.6)
    at = press(open_page(chosen="a"), "Its mistakes")
    assert "Mistakes" in at.title[0].value
    assert at.selectbox(key="run").value == "a"


def test_two_chosen_runs_lead_to_their_comparison_the_older_one_as_a():
    make_run("older", 0.5), make_run("newer", 0.9)
    at = open_page(chosen="newer,older")
    assert "2 runs chosen" in text_of(at)
    assert names(at, 1)[:2] == ["newer", "older"]
    at = press(at, "Compare")
    assert (at.query_params["a"], at.query_params["b"]) == ("older", "newer")


def test_each_view_is_a_column_of_the_chosen_runs_figures():
    run = make_run("a", 0.5)
    private = run.predictions("private")
    flipped = make_predictions([3] * 20, [3] * 19 + [4]).logits_NK
    run.write_predictions({"private": replace(private, more_NK={"flip": flipped})})
    figures = open_page(chosen="a").dataframe[1].value
    assert (figures["private_accuracy"][0], figures["flip"][0]) == (50, 95)


def test_a_run_without_predictions_cannot_be_compared():
    make_run("a", 0.5), make_run("waiting", 0, state="queued")
    at = open_page(chosen="a,waiting")
    assert next(button for button in at.button if button.label == "Compare").disabled


def test_any_number_of_runs_shows_its_curves():
    for i in range(8):
        make_run(f"r{i}", 0.3 + i / 20)
    for number, caption in ((3, "Solid: on public"), (8, "Point at a curve")):
        text = text_of(open_page(chosen=",".join(f"r{i}" for i in range(number))))
        assert f"{number} runs chosen" in text and caption in text


def test_runs_judged_on_different_labels_are_not_compared_silently():
    make_run("a", 0.5), make_run("b", 0.8, judged_by="majority"), make_run("c", 0.6)
    assert "judged on different faces or labels" in text_of(open_page(chosen="a,b"))
    text = text_of(open_page(chosen="a,c"))
    assert "judged on different" not in text
    assert "judged on FER2013, FER+ majority" in text_of(open_page())


@pytest.mark.parametrize(
    ("address", "chosen"), [("", []), (",", []), ("no such run", []), ("../../etc,a", ["a"]), ("a,a,a", ["a"])]
)
def test_an_address_with_strange_runs_keeps_those_that_are_there(address, chosen):
    make_run("a", 0.5)
    at = open_page(chosen=address)
    assert not at.exception
    assert [heading.value for heading in at.subheader] == chosen


def test_a_note_and_tags_are_kept_at_once():
    make_run("a", 0.5)
    at = open_page(chosen="a")
    at.text_area(key="note:a").set_value("worth a second seed").run()
    at.multiselect(key="tags:a").set_value(["keep"]).run()
    assert not at.exception and toasts(at) == []
    assert read_notes(find_run("a")) == Notes(("keep",), "worth a second seed")
    assert at.dataframe[0].value["note"][0] == "worth a second seed"


def test_a_tag_that_is_not_allowed_is_said_and_not_kept():
    make_run("a", 0.5)
    at = open_page(chosen="a")
    at.multiselect(key="tags:a").set_value(["a,b"]).run()
    assert "'a,b' cannot be a tag" in toasts(at)[0]
    assert at.multiselect(key="tags:a").value == [] and read_notes(find_run("a")) == Notes()


def test_one_tag_for_all_chosen_runs():
    make_run("a", 0.5), make_run("b", 0.6), make_run("c", 0.7)
    write_notes(find_run("a"), Notes(("old",), "a note"))
    at = open_page(chosen="a,b")
    at.selectbox(key="tag_for_all").set_value("old").run()
    press(at, "Tag all 2")
    assert [read_notes(find_run(name)).tags for name in "abc"] == [("old",), ("old",), ()]
    assert read_notes(find_run("a")).note == "a note"


def test_deleted_runs_leave_the_table_and_undo_brings_them_back():
    make_run("a", 0.5), make_run("b", 0.6), make_run("c", 0.7)
    at = press(open_page(chosen="a,b", published="false"), "Delete 2")
    assert names(at) == ["c"]
    assert "**2 runs** are in the bin: b, a." in text_of(at)
    assert "chosen" not in at.query_params
    at = press(at, "Undo")
    assert names(at) == ["c", "b", "a"]
    assert "2 runs chosen" in text_of(at) and "in the bin" not in text_of(at)


def test_the_last_run_can_be_deleted_and_taken_back():
    make_run("a", 0.5)
    at = press(open_page(chosen="a"), "Delete")
    assert "No run yet" in text_of(at)
    assert names(press(at, "Undo"))[0] == "a"


def test_a_run_that_is_being_trained_stays_and_the_page_says_so():
    make_run("a", 0.5, state="stopped"), make_run("b", 0.6)
    at = open_page(chosen="a,b", published="false")
    with FileLock(find_run("a").path / "lock"):
        at = press(at, "Delete 2")
    assert "run 'a' is being trained; stop it" in toasts(at)[0]
    assert names(at) == ["a"]
    assert at.query_params["chosen"] == "a"


def test_undo_says_when_the_name_is_taken_and_keeps_both():
    make_run("a", 0.5)
    at = press(open_page(chosen="a"), "Delete")
    make_run("a", 0.9)
    at = press(at, "Undo")
    assert "another run named 'a' now" in toasts(at)[0]
    assert len(binned_runs()) == len(list_runs()) == 1


def make_ensemble(at: AppTest, name: str, *, only: bool = False, average: str = "probabilities") -> AppTest:
    at.text_input(key="ensemble_name").set_value(name)
    at.segmented_control(key="ensemble_average").set_value(average)
    at.toggle(key="ensemble_choose").set_value(only)
    return press(at, "Make the ensemble")


def test_chosen_runs_are_averaged_and_the_ensemble_is_chosen_then():
    make_run("a", 0.5), make_run("b", 0.9)
    at = make_ensemble(open_page(chosen="a,b", published="false"), "both", average="logits")
    assert not at.exception and not at.error
    assert at.subheader[0].value == "both"
    table = at.dataframe[0].value
    assert dict(zip(table["name"], table["recipe"], strict=True))["both"] == "ensemble of 2"
    assert dict(zip(table["name"], table["differs"], strict=True))["both"] == "mean of logits: b, a"
    assert read_ensemble(find_run("both")).members == ("b", "a")  # as the table has them, the best on public first
    assert "both is an ensemble, without curves" in text_of(at)
    assert names(press(at, "Delete")) == ["b", "a"]


def test_one_run_alone_is_not_averaged():
    make_run("a", 0.5), make_run("b", 0.9)
    at = open_page(chosen="a")
    assert "Make the ensemble" not in [button.label for button in at.button]


@pytest.mark.parametrize(
    ("name", "only", "message"),
    [
        ("", False, "'' cannot name a run"),
        ("b", False, "there is a run named 'b' already"),
        ("e", True, "none of the other runs makes 'b' better on public (90.00%)"),
    ],
)
def test_an_ensemble_that_cannot_be_made_is_said_in_one_line(name, only, message):
    make_run("a", 0.5), make_run("b", 0.9)
    at = make_ensemble(open_page(chosen="a,b", published="false"), name, only=only)
    assert not at.exception and at.error[0].value.startswith(message)
    assert names(at) == ["b", "a"] and "2 runs chosen" in text_of(at)


def test_the_bin_is_emptied_only_by_who_means_it():
    make_run("a", 0.5)
    bin_run(make_run("b", 0.6), "done")
    at = open_page()
    empty = next(button for button in at.button if button.label == "Empty the bin")
    assert empty.disabled
    at.checkbox(key="sure_to_empty").check().run()
    at = press(at, "Empty the bin")
    assert binned_runs() == [] and not at.exception
    assert "Empty the bin" not in [button.label for button in at.button]


def test_damaged_runs_are_named_and_the_others_shown():
    make_run("a", 0.5), make_run("b", 0.6), make_run("c", 0.7)
    (find_run("b").path / "config.json").write_text("{")
    (find_run("c").path / "predictions.npz").write_bytes(b"?")
    at = open_page(published="false")
    assert names(at) == ["c", "a"]
    assert "b/config.json" in at.warning[0].value.replace("\\", "/")
    assert at.warning[1].value.startswith("c: ") and "predictions.npz: damaged" in at.warning[1].value


def test_a_change_on_disk_is_seen_at_the_next_look():
    run = make_run("a", 0.5)
    at = open_page()
    run.write_history([*run.history(), EpochRecord(3, 0.1, 1.5, 0.4, 1.4, 0.75, 0.3, 900.0, 27.0)])
    assert at.run().dataframe[0].value["public_accuracy"][0] == 75


def test_choose_delete_and_undo_in_a_browser(browser, tmp_path):
    make_run("a", 0.5), make_run("b", 0.6), make_run("c", 0.7)
    with serve(env={"FER_DATA": "sample", "OMP_NUM_THREADS": "1"}) as url:
        visit(browser, f"{url}/runs?published=false")
        for row, address in ((1, "chosen=c"), (3, "chosen=c%2Ca")):
            tick(browser, row)
            wait_for(lambda address=address: browser.current_url.endswith(address), what=address)
        click(browser, "Delete 2")
        wait_for(lambda: "2 runs are in the bin: c, a." in main_text(browser), what="the bar with Undo")
        assert [run.name for run in list_runs()] == ["b"]
        click(browser, "Undo")
        wait_for(lambda: "2 runs chosen" in main_text(browser), what="the two runs, chosen again")
        assert {run.name for run in list_runs()} == {"a", "b", "c"}
        assert console_errors(browser) == []


def tick(browser, row: int) -> None:
    """Click the box of a row of the first table, which is drawn on a canvas."""
    wait_idle(browser)
    table = browser.find_element("css selector", '[data-testid="stDataFrame"]')
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
    size = table.size
    x, y = 18 - size["width"] // 2, int(35 * (row + 0.5)) - size["height"] // 2
    ActionChains(browser).move_to_element_with_offset(table, x, y).click().perform()


def click(browser, label: str) -> None:
    wait_idle(browser)
    click_on(browser, next(b for b in browser.find_elements("css selector", "button") if label in b.text))


def main_text(browser) -> str:
    return browser.execute_script("return document.querySelector('[data-testid=stMain]').innerText")
