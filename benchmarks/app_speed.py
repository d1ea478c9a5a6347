"""How long the app takes from a click to the painted page, in a real browser: every page's main interactions.

    python -m benchmarks.app_speed [--data fer2013.csv] [--rounds 7] [--only Balance] [--json]

A server and a headless Chromium of its own; the runs that come with the explorer (and those in $FER_RUNS) are what
Compare, Mistakes and Balance show. The clock runs inside the browser: it starts with the mouse's or the keyboard's own
event, and ends with the last change of the page that follows, once the script has ended and nothing is stale; a frame
is added for painting. The first round warms the caches up and is not counted.
"""

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from fer_core.environment import processor_name
from tests.browser import browser_missing, click_on, lasso, open_browser, serve, visit, wait_for, wait_idle

CLICK_MS, SLIDER_MS, ATTENTION_MS = 300, 200, 1000
"""What an interaction may take; a net has to be asked where it looks."""
_QUIET_MS = 150
"""So long nothing has changed when an interaction is over."""
_ARM = """
window.__fer?.watch?.disconnect()
window.__fer = {start: null, last: null, ran: false}
for (const kind of arguments[0] ?? ["pointerdown", "keydown"])
    window.addEventListener(kind, () => { if (window.__fer.start === null) window.__fer.start = performance.now() },
                            {capture: true, once: true})
window.__fer.watch = new MutationObserver((changes) => {
    window.__fer.last = performance.now()
    window.__fer.ran ||= changes.some((one) => one.attributeName === "data-test-script-state")
})
const inner = [...document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')].map((host) => host.shadowRoot)
for (const root of [document.body, ...inner])  // a gallery draws inside its own root
    window.__fer.watch.observe(root, {subtree: true, childList: true, attributes: true, characterData: true})
"""
_WAIT = """
const [quiet, done] = arguments
const app = document.querySelector('[data-testid="stApp"]')
const look = () => {
    const now = performance.now(), {start, last, ran} = window.__fer  // it may run a while after the hand has let go
    const busy = app.dataset.testScriptState !== "notRunning" || document.querySelector('[data-stale="true"]')
    if (start !== null && ran && last > start && !busy && now - last > quiet) {
        window.__fer.watch.disconnect()
        done(last - start + 1000 / 60)
    } else setTimeout(look, 20)
}
look()
"""
_FACES = """
const gallery = [...document.querySelectorAll('[data-testid="stBidiComponentIsolated"]')].at(-1)  // below mean faces
return [...(gallery?.shadowRoot.querySelectorAll(".tile") ?? [])].slice(0, 12)
"""


@dataclass(frozen=True)
class Interaction:
    """Something that people do on a page."""

    page: str
    name: str
    address: str
    act: Callable[[WebDriver, int], None]
    """Given the browser and the number of the round, so that each round changes something."""
    budget_ms: int = CLICK_MS


def main() -> None:
    arguments = _arguments()
    if missing := browser_missing():
        sys.exit(missing)
    env = {"FER_DATA": arguments.data} if arguments.data else {}
    chosen = [one for one in INTERACTIONS if arguments.only in (None, one.page)]
    with serve(env=env) as url, open_browser() as driver:
        driver.set_script_timeout(60)
        rows = [measure(driver, url, one, arguments.rounds) for one in chosen]
    values = {"machine": processor_name(), "cores": os.cpu_count(), "rounds": arguments.rounds, "interactions": rows}
    if arguments.json:
        print(json.dumps(values, indent=1))
        return
    print(f"{values['machine']}, {values['cores']} cores; click to painted, median of {arguments.rounds}, in ms")
    for row in rows:
        if "missing" in row:
            print(f"{row['page']:10}{row['name']:34}{row['missing']}")
            continue
        late = "" if row["median_ms"] <= row["budget_ms"] else f"  above {row['budget_ms']}"
        print(f"{row['page']:10}{row['name']:34}{row['median_ms']:>7.0f}{row['worst_ms']:>7.0f}{late}")


def measure(driver: WebDriver, url: str, one: Interaction, rounds: int) -> dict[str, Any]:
    """Open the page, then act again and again; the first round is not counted."""
    visit(driver, f"{url}/{one.address}")
    times = []
    for number in range(rounds + 1):
        wait_idle(driver)
        driver.execute_script(_ARM)
        try:
            one.act(driver, number)
        except LookupError as error:
            return {"page": one.page, "name": one.name, "missing": str(error)}
        times.append(driver.execute_async_script(_WAIT, _QUIET_MS))
    counted = times[1:]
    return {
        "page": one.page, "name": one.name, "median_ms": statistics.median(counted), "worst_ms": max(counted),
        "budget_ms": one.budget_ms,
    }  # fmt: skip


def choice(*labels: str) -> Callable[[WebDriver, int], None]:
    """Press these buttons of a segmented control, or pills, in turn."""

    def act(driver: WebDriver, number: int) -> None:
        click_on(driver, _button(driver, labels[number % len(labels)]))

    return act


def slide(place: int = 0) -> Callable[[WebDriver, int], None]:
    """Move a slider by a step, there and back."""

    def act(driver: WebDriver, number: int) -> None:
        thumb = driver.find_elements("css selector", "[data-testid=stSlider] input")[place]
        thumb.send_keys(Keys.ARROW_RIGHT if number % 2 else Keys.ARROW_LEFT)  # some stand at their end at first

    return act


def next_face(driver: WebDriver, number: int) -> None:
    """Step on by the keyboard."""
    ActionChains(driver).send_keys(Keys.ARROW_RIGHT).perform()


def moved_decision(driver: WebDriver, number: int) -> None:
    """Move tau of run A by a step, there and back; its slider stands in a menu, which stays open."""
    if not driver.find_elements("css selector", "[data-testid=stPopoverBody] input"):
        click_on(driver, _button(driver, "Decision"))
        wait_idle(driver)
        driver.execute_script(_ARM)  # the clock runs for the slider alone
    slide()(driver, number)


def lassoed(driver: WebDriver, number: int) -> None:
    """Draw a line around some points of the map, here and there; the clock runs from where the hand lets go."""
    if not driver.find_elements("css selector", '[data-testid="stPlotlyChart"]'):
        raise LookupError("there is no map yet; python -m fer_core map fer2013-small makes it")
    plots = wait_for(lambda: driver.find_elements("css selector", ".js-plotly-plot .nsewdrag"), 30, "the map")
    x, y = (-0.2 if number % 2 else 0.1), -0.1
    lasso(driver, plots[0], [(x, y), (x + 0.08, y), (x + 0.08, y + 0.15), (x, y + 0.15), (x, y + 0.02)])
    driver.execute_script(_ARM, ["pointerup"])
    ActionChains(driver).release().perform()


def face(driver: WebDriver, number: int) -> None:
    """Click another face of the gallery."""
    faces = driver.execute_script(_FACES)
    click_on(driver, faces[number % len(faces)])


def _button(driver: WebDriver, label: str) -> WebElement:
    buttons = driver.find_elements("css selector", '[data-testid="stMain"] button')
    return next(one for one in buttons if label in one.text.splitlines())


INTERACTIONS: tuple[Interaction, ...] = (
    Interaction("Data", "another emotion", "data", choice("happy", "sad", "fear")),
    Interaction("Data", "another face", "data", face),
    Interaction("Augment", "another strength", "augment", slide(), SLIDER_MS),
    Interaction("Balance", "preset", "balance", choice("Drawn evenly", "Focal", "As is")),
    Interaction("Balance", "strength", "balance?balance=sampler", slide(), SLIDER_MS),
    Interaction("Balance", "tau", "balance?when=after+training", slide(), SLIDER_MS),
    Interaction("Balance", "temperature", "balance?when=after+training", slide(1), SLIDER_MS),
    Interaction("Train", "strength of balancing", "train?balance=sampler", slide(), SLIDER_MS),
    Interaction("Compare", "shares or faces", "compare", choice("faces", "share of row")),
    Interaction("Compare", "split", "compare", choice("public", "private")),
    Interaction("Compare", "tau", "compare", moved_decision, SLIDER_MS),
    Interaction("Mistakes", "mistakes or all", "mistakes", choice("all", "mistakes")),
    Interaction("Mistakes", "another face", "mistakes", face),
    Interaction("Mistakes", "next face, by its key", "mistakes", next_face),
    Interaction("Mistakes", "next face, two runs", "mistakes?beside=fer2013-small-balanced", next_face),
    Interaction("Mistakes", "where the net looks", "mistakes?cam=true", next_face, ATTENTION_MS),
    Interaction("Mistakes", "model or label: a face", "mistakes?look=model+or+label", next_face),
    Interaction("Mistakes", "label errors: a face", "mistakes?look=label+errors", next_face),
    Interaction("Mistakes", "a lasso on the map of all faces", "mistakes?look=map", lassoed),
    Interaction("Predict", "another face", "predict?try=drawn", face),
    Interaction("Predict", "threshold", "predict?try=drawn", slide(), SLIDER_MS),
)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a source, as everywhere; left out, $FER_DATA")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=sorted({one.page for one in INTERACTIONS}), help="this page alone")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
