"""The Compare page in a real browser: a moved decision draws the charts that stand there, and in their own colours."""

import pytest
from selenium.webdriver.common.keys import Keys

from fer_core.palette import RUN_COLORS
from tests.browser import click_on, console_errors, visit, wait_for, wait_idle
from tests.test_pages import movable_run
from tests.toy import toy_csv

LEGEND = """
return [...document.querySelectorAll('[data-testid="stVegaLiteChart"] .role-legend-entry')].map((entry) => {
    const names = [...entry.querySelectorAll(".role-legend-label text")].map((text) => text.textContent)
    const marks = [...entry.querySelectorAll(".role-legend-symbol path")].map(
        (path) => ["fill", "stroke"].map((name) => path.getAttribute(name)).find((one) => one && one !== "transparent"))
    return [names, marks.length ? marks : null]
})
"""


@pytest.fixture
def url(app_server, tmp_path, monkeypatch) -> str:
    source = toy_csv(tmp_path / "fer2013.csv", private=8)
    monkeypatch.setenv("FER_DATA", str(source))
    movable_run("mine", source)
    return app_server(env={"FER_DATA": str(source), "OMP_NUM_THREADS": "1"})


@pytest.mark.parametrize("part", ["emotions", "how sure"])
def test_each_run_keeps_its_colour_while_its_decision_moves(browser, url, part):
    visit(browser, f"{url}/compare?a=mine&b=mine&tau_b=1.0&part={part.replace(' ', '+')}")

    def legends() -> list:
        return [names for names, _ in browser.execute_script(LEGEND) if names]

    wait_for(lambda: legends() and all(names == ["mine", "mine (tau 1)"] for names in legends()), what="both runs")
    decision = next(one for one in browser.find_elements("css selector", "button") if "Decision" in one.text)
    click_on(browser, decision)
    wait_idle(browser)
    thumb = browser.find_element("css selector", "[data-testid=stPopoverBody] [data-testid=stSlider] input")
    for _ in range(2):
        thumb.send_keys(Keys.ARROW_RIGHT)
        wait_idle(browser)
    wait_for(
        lambda: all(names == ["mine (tau 0.05)", "mine (tau 1)"] for names in legends()), what=f"A first: {legends()}"
    )
    for _, fills in browser.execute_script(LEGEND):
        assert fills is None or fills == list(RUN_COLORS.values())
    assert console_errors(browser) == []
