"""The whole way in a real browser: look, train both, watch, compare, open the faces of a cell, move the decision."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from selenium.webdriver.common.keys import Keys

from fer_core import launcher
from fer_core.errors import RunError
from fer_core.runs import find_run
from tests.browser import click_on, console_errors, serve, visit, wait_for, wait_idle
from tests.toy import toy_csv

PAGES = ("", "augment", "balance", "train", "compare", "mistakes")


@pytest.fixture
def url(app_server, tmp_path) -> Iterator[str]:
    """The app on 420 easy faces, which a twin training takes seconds for."""
    source = toy_csv(tmp_path / "fer2013.csv", train=40, public=10, private=10)
    yield app_server(env={"FER_DATA": str(source), "OMP_NUM_THREADS": "1"})
    for run in launcher.active_runs():  # they are made to outlive the server
        with suppress(RunError):
            launcher.terminate(run)


@pytest.fixture(scope="module")
def still_url(browser, tmp_path_factory) -> Iterator[str]:
    """The app where nothing is trained: one server for every test that only looks."""
    folder = tmp_path_factory.mktemp("still")
    source = toy_csv(folder / "fer2013.csv")
    places = {"FER_DATA": str(source), "FER_CACHE": str(folder / "cache"), "FER_RUNS": str(folder / "runs")}
    with serve(env=places | {"OMP_NUM_THREADS": "1"}) as address:
        yield address


def press(browser, label: str, wait_s: float = 20) -> None:
    """Click the button that has this text, as soon as it is there."""

    def clicked() -> bool:
        found = [b for b in browser.find_elements("css selector", "button") if label in b.text and b.is_enabled()]
        if found:
            click_on(browser, found[0])
        return bool(found)

    wait_for(clicked, wait_s, f"a button {label!r}")


def main_text(browser) -> str:
    return browser.execute_script("return document.querySelector('[data-testid=stMain]').innerText")


def test_from_the_faces_to_the_mistakes(browser, url):
    visit(browser, url)
    assert "420 faces" in main_text(browser)
    press(browser, "Train both")
    wait_for(lambda: "/train" in browser.current_url, what="the Train page")
    wait_for(lambda: "running" in main_text(browser), 60, "a running training")
    browser.refresh()  # the training does not care
    press(browser, "Compare these two", 180)
    wait_for(lambda: "/compare" in browser.current_url, what="the Compare page")
    wait_for(lambda: "B: small-sampler" in main_text(browser), what="both runs")
    wait_idle(browser)
    matrices = browser.find_elements("css selector", "[data-testid=stVegaLiteChart]")
    assert len(matrices) == 6  # 2 of intervals, A, B, their difference, recall
    box = wait_for(
        lambda: browser.find_elements(
            "css selector", "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"
        ),
        what="drawn charts",
    )[2]
    click_on(browser, box)
    wait_for(lambda: "cell=A." in browser.current_url, what="the cell in the address")
    wait_idle(browser)
    said = next(line for line in main_text(browser).splitlines() if " by A." in line or " that A calls " in line)
    assert console_errors(browser) == []
    visit(browser, browser.current_url)  # as somebody who was sent the link
    assert said in main_text(browser).splitlines()
    move_the_decision(browser, url)


def move_the_decision(browser, url):
    """On the runs that were just trained: tau changes the matrix beside the run's own, which stays."""
    run = find_run("small-as-is")
    record = run.environment()
    counts = record["data"]["counts"]["train"]  # the toy's emotions are all as common: there tau would move nothing
    record["data"]["counts"]["train"] = {name: 1 if name == "angry" else 10**6 for name in counts}
    run.write_environment(record)
    visit(browser, f"{url}/balance?when=after+training&run=small-as-is")
    *_, own, moved = wait_for(lambda: drawn(browser) if len(drawn(browser)) == 5 else [], what="five charts")
    assert own == moved
    tau = browser.find_elements("css selector", "[data-testid=stSlider] input")[0]
    tau.send_keys(Keys.END)
    wait_idle(browser)
    wait_for(lambda: drawn(browser)[-1] != own, what="another matrix")
    assert drawn(browser)[-2] == own
    assert console_errors(browser) == []


def drawn(browser) -> list[str]:
    """The numbers that each chart shows, in their order."""
    script = """
    const charts = [...document.querySelectorAll('[data-testid=stVegaLiteChart]')]
    return charts.map(one => [...one.querySelectorAll('svg text')].map(text => text.textContent).join(' '))
    """
    return [texts for texts in browser.execute_script(script) if texts]


def test_an_augmentation_that_was_tuned_is_what_is_trained(browser, url):
    visit(browser, f"{url}/augment?augment=none&augment_steps=rotate:30,flip@0.5")
    press(browser, "Train with these")
    wait_for(lambda: "/train" in browser.current_url, what="the Train page")
    wait_idle(browser)
    press(browser, "Copy as command")
    command = wait_for(lambda: browser.find_elements("css selector", "[data-testid=stCode]"), what="the command")[0]
    assert "--augment none --augment-steps rotate:30,flip@0.5" in command.text.replace("\n", " ")


def test_a_slider_changes_the_address_and_the_pictures_and_back_undoes_it(browser, still_url):
    def pictures() -> list[str]:
        return browser.execute_script(
            "return [...document.querySelectorAll('[data-testid=stMain] img')].map(i => i.src)"
        )

    visit(browser, f"{still_url}/augment?augment=flip-rotate-crop")
    before = wait_for(lambda: len(pictures()) == 5 and pictures(), what="faces, the whole recipe, three steps")
    slider = browser.find_elements("css selector", "[data-testid=stSlider] input")[
        2
    ]  # after the shares of all, of flip
    slider.send_keys(Keys.ARROW_RIGHT)
    wait_for(lambda: "augment_steps=flip%400.5%2Crotate%3A11%2Ccrop%3A0.1" in browser.current_url, what="the address")
    # The faces and the other steps stay; the recipe's picture and the step's own do not.
    expected = [False, True, False, True, False]
    wait_for(lambda: [new != old for new, old in zip(pictures(), before, strict=False)] == expected, what="pictures")
    wait_idle(browser)
    assert "edited" in main_text(browser)
    browser.back()
    wait_for(lambda: pictures() == before, what="the pictures as they were")
    wait_idle(browser)
    assert "edited" not in main_text(browser)
    assert browser.find_elements("css selector", "[data-testid=stSlider] input")[2].get_attribute("value") == "10"
    assert console_errors(browser) == []


def test_stop_and_resume_by_their_buttons(browser, url):
    visit(browser, f"{url}/train?epochs=300")
    press(browser, "Train this one")
    press(browser, "Stop", 60)
    press(browser, "Resume", 60)
    wait_for(lambda: "running" in main_text(browser), 60, "the training to go on")
    press(browser, "Stop", 60)
    wait_for(lambda: "stopped" in main_text(browser), 60, "the training to stop")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_writes_errors_to_the_console(page, browser, still_url):
    visit(browser, f"{still_url}/{page}")
    assert "Traceback" not in main_text(browser)
    assert console_errors(browser) == []


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_wider_than_a_narrow_window(page, browser, still_url):
    from tests.browser import resize

    resize(browser, 800, 900)
    try:
        visit(browser, f"{still_url}/{page}")
        wide = browser.execute_script(
            "const main = document.querySelector('[data-testid=stMain]'); return main.scrollWidth - main.clientWidth"
        )
        assert wide <= 0
    finally:
        resize(browser, 1400, 900)
