"""A real browser and a real server for the tests that need them: clicks, CSS, components.

Use as fixtures from `conftest.py`:  `from tests.browser import app_server, browser`
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

REPO = Path(__file__).resolve().parent.parent
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
_IDLE = """
const app = document.querySelector('[data-testid="stApp"]')
return app?.dataset.testScriptState === "notRunning" && app.dataset.testConnectionState !== "CONNECTING"
    && document.querySelector('[data-testid="stMain"]') && !document.querySelector('[data-stale="true"]')
    && !document.querySelector('[data-testid="stSkeleton"]')
"""


def browser_missing() -> str:
    """Why no browser test can run here, or "" when one can."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"{' and '.join(missing)} not installed (apt-get install chromium chromium-driver)" if missing else ""


def require_browser() -> None:
    """Skip the test without a browser, or fail it where FER_REQUIRE_BROWSER=1 promises one (CI)."""
    if reason := browser_missing():
        (pytest.fail if os.environ.get("FER_REQUIRE_BROWSER") == "1" else pytest.skip)(reason)


@contextmanager
def open_browser(width: int = 1400, height: int = 900, flags: Sequence[str] = ()) -> Iterator[WebDriver]:
    """A headless Chromium with an empty profile of its own; closed and its profile deleted at the end.

    Args: flags: further ones of its command line, such as those of `fake_camera`.
    """
    with tempfile.TemporaryDirectory(prefix="fer-chromium-", ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = shutil.which("chromium") or ""
        for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "SEVERE"})
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            resize(driver, width, height)
            yield driver
        finally:
            driver.quit()


def fake_camera(film: Path) -> list[str]:
    """Flags of a Chromium whose only camera shows this film for ever: JPEGs behind one another, `.mjpeg`."""
    return ["--use-fake-device-for-media-stream", f"--use-file-for-fake-video-capture={film}"]


@contextmanager
def serve(file: Path | str = "streamlit_app.py", env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run `streamlit run FILE` in the repository's root on a free port; gives its URL, ends the server afterwards.

    Args:
        file: relative to the repository, or absolute.
        env: variables on top of this process's own.
    Raises: RuntimeError: the server ended, or was not healthy within 30 s; the message holds its output.
    """
    with serve_command([sys.executable, "-m", "streamlit", "run", str(file)], env) as url:
        yield url


@contextmanager
def serve_command(command: Sequence[str], env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a `streamlit run` command on a free port, without opening a browser; otherwise as `serve`."""
    port = _free_port()
    options = ["--server.headless", "true", "--server.port", str(port)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [*command, *options],
            cwd=REPO, env={**os.environ, "PYTHONPATH": str(REPO), **(env or {})},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_healthy(server, url, log)
            yield url
        finally:
            _stop_group(server)


@pytest.fixture(scope="session")
def browser() -> Iterator[WebDriver]:
    """One browser for all tests of a run; skips or fails without one, see `require_browser`."""
    require_browser()
    with open_browser() as driver:
        yield driver


@pytest.fixture
def app_server() -> Iterator[Callable[..., str]]:
    """`app_server(file, env)` starts a server as `serve` does and returns its URL; all end with the test."""
    with ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(serve(*args, **kwargs))


def lasso(driver: WebDriver, plot: WebElement, corners: Sequence[tuple[float, float]]) -> None:
    """Draw a line through these places of a chart, shares of its width and height from its middle; do not let go yet.

    `ActionChains(driver).release().perform()` lets go.
    """
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    width, height = plot.size["width"], plot.size["height"]
    places = [(int(width * x), int(height * y)) for x, y in corners]
    gesture = ActionChains(driver).move_to_element_with_offset(plot, *places[0]).click_and_hold()
    for (x, y), (to_x, to_y) in pairwise(places):
        way = [(x + (to_x - x) * step // 4, y + (to_y - y) * step // 4) for step in range(5)]  # as a hand draws it
        for (before_x, before_y), (after_x, after_y) in pairwise(way):
            gesture.move_by_offset(after_x - before_x, after_y - before_y)
    gesture.perform()


def visit(driver: WebDriver, url: str, wait_s: float = 30) -> None:
    """Open an address of the app, wait until its script has run, and forget earlier pages' errors."""
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get(url)
    wait_idle(driver, wait_s)


def click_on(driver: WebDriver, element: WebElement | str) -> None:
    """Click an element, or the first one of a CSS selector, in the middle of the window (the header covers the top)."""
    if isinstance(element, str):
        element = driver.find_element("css selector", element)
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def wait_idle(driver: WebDriver, wait_s: float = 30) -> None:
    """Wait until the page's script has ended and nothing on it is stale, twice in a row."""
    wait_for(lambda: driver.execute_script(_IDLE), wait_s, what="an idle page")
    time.sleep(0.1)  # a click's rerun starts a moment after the click
    wait_for(lambda: driver.execute_script(_IDLE), wait_s, what="an idle page")


def wait_for(condition: Callable[[], Any], wait_s: float = 10, what: str = "the condition") -> Any:
    """Return the first truthy value of `condition()`; an element that is drawn anew meanwhile is looked at again.

    Raises: AssertionError: none within `wait_s` seconds.
    """
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        with suppress(StaleElementReferenceException):
            if value := condition():
                return value
        time.sleep(0.05)
    raise AssertionError(f"waited {wait_s:g} s in vain for {what}")


def resize(driver: WebDriver, width: int, height: int) -> None:
    """Set the size of the page itself, in CSS pixels (a window's size includes a frame)."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_scheme(driver: WebDriver, scheme: str) -> None:
    """Make the system's preference "light" or "dark"; the app follows it when it is next opened."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def console_errors(driver: WebDriver) -> list[str]:
    """Errors on the browser's console since `visit`, or since the last call."""
    severe = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    # At a deep link Streamlit first looks for its server under the page's own address: /train/_stcore/health.
    return [message for message in severe if not ("/_stcore/" in message and "404" in message)]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait_healthy(server: subprocess.Popen, url: str, log: Any) -> None:
    end = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    log.seek(0)
    raise RuntimeError(f"no healthy server at {url}:\n{log.read().decode(errors='replace')}")


def _stop_group(server: subprocess.Popen) -> None:
    """End the server and whatever it started in its group; detached training runs have groups of their own."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(5)
        except (ProcessLookupError, PermissionError):
            server.wait(5)
            return
        except subprocess.TimeoutExpired:
            continue
