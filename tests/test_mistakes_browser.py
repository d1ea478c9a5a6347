"""The Mistakes page in a real browser: the keyboard, marks across a reload and two tabs, a lasso on the map."""

from pathlib import Path

import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from fer_core.data import open_store
from fer_core.face_map import FaceMap, MapSettings, write_map
from fer_core.feature_file import features_folder, write_features
from fer_core.mistakes import MistakeFilters, answers
from fer_core.review import ReviewList, face_hash
from tests.browser import console_errors, lasso, visit, wait_for, wait_idle
from tests.test_pages import judged_run
from tests.test_tour import main_text
from tests.toy import toy_csv


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    path = toy_csv(tmp_path / "fer2013.csv", private=8)
    monkeypatch.setenv("FER_DATA", str(path))
    return path


@pytest.fixture
def run(source):
    return judged_run("mine", source, right=0.5)


@pytest.fixture
def url(app_server, run, source) -> str:
    return app_server(env={"FER_DATA": str(source), "OMP_NUM_THREADS": "1"})


def press_key(browser, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def test_arrow_keys_step_and_letters_mark_across_a_reload_and_two_tabs(browser, url, run):
    found = answers(run.predictions("private"))
    rows = found.select(MistakeFilters()).tolist()
    visit(browser, f"{url}/mistakes")
    press_key(browser, Keys.ARROW_RIGHT)
    wait_for(lambda: f"at={rows[1]}" in browser.current_url, what=f"face {rows[1]} in {browser.current_url}")
    wait_idle(browser)
    press_key(browser, Keys.ARROW_LEFT)
    wait_for(lambda: f"at={rows[0]}" in browser.current_url, what="the first face again")
    wait_idle(browser)

    first = browser.current_window_handle
    browser.switch_to.new_window("tab")
    visit(browser, f"{url}/mistakes?at={rows[1]}")
    press_key(browser, "u")
    wait_for(lambda: len(ReviewList().marks()) == 1, what="the second tab's mark")
    second = browser.current_window_handle
    browser.switch_to.window(first)
    press_key(browser, "w")
    wait_for(lambda: len(ReviewList().marks()) == 2, what="the first tab's mark beside it")
    kept = {(one.hash, one.verdict) for one in ReviewList().marks()}
    expected = {(rows[1], "unclear"), (rows[0], "wrong label")}
    assert kept == {(face_hash(found.hashes_N[row]), verdict) for row, verdict in expected}

    visit(browser, f"{url}/mistakes?look=review+list")
    wait_for(lambda: "Marked 2 Wrong label 1 Unclear 1" in " ".join(main_text(browser).split()), what="both marks")
    browser.switch_to.window(second)
    browser.close()
    browser.switch_to.window(first)
    assert console_errors(browser) == []


def test_a_lasso_on_the_map_opens_the_faces(browser, url, run, source):
    store = open_store(str(source))
    run.best.write_bytes(b"weights")
    write_features(run, store, np.ones((len(store.hashes_N), 4)))
    rows = np.arange(len(store.hashes_N))
    corner = rows < 5  # five faces in one corner, all others in the other
    xy = np.where(corner[:, None], [0.0, 0.0], [10.0, 10.0]) + np.arange(len(rows))[:, None] * 0.001
    write_map(features_folder(run, store), FaceMap(rows, xy.astype(np.float32), MapSettings(), 0.5, 1.0, 1.0))

    visit(browser, f"{url}/mistakes?look=map")
    plot = wait_for(lambda: browser.find_elements("css selector", ".js-plotly-plot .nsewdrag"), 30, "the map")[0]
    wait_idle(browser)
    lasso(browser, plot, [(-0.48, 0.48), (-0.48, 0.08), (-0.08, 0.08), (-0.08, 0.48), (-0.46, 0.48)])
    ActionChains(browser).release().perform()
    wait_for(lambda: "5 faces" in main_text(browser), what="the lassoed faces")
    wait_idle(browser)
    assert console_errors(browser) == []
