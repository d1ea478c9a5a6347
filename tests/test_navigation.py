"""The list of pages and the guard: every page is reachable, also by its address on a server just started."""

import ast
import tomllib
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from fer_core.palette import EMOTION_COLORS
from tests.browser import console_errors, visit, wait_for
from ui.navigation import PAGES

REPO = Path(__file__).resolve().parent.parent
PAGE_FILES = sorted((REPO / "pages").glob("*.py"))
CONFIG = tomllib.loads((REPO / ".streamlit" / "config.toml").read_text())


def test_the_app_opens_on_the_data():
    app = AppTest.from_file(REPO / "streamlit_app.py", default_timeout=30).run()
    assert not app.exception
    assert next(iter(PAGES)) == "data"
    assert "data" in app.title[0].value.lower()


def test_every_page_file_is_listed_and_every_listed_page_is_a_file():
    assert {file.stem for file in PAGE_FILES} == set(PAGES)


def test_the_bar_goes_the_way_that_the_work_goes():
    assert [name for name in PAGES if name in ("data", "train", "runs", "compare", "mistakes")] == [
        "data",
        "train",
        "runs",
        "compare",
        "mistakes",
    ]


@pytest.mark.parametrize("file", PAGE_FILES, ids=lambda file: file.stem)
def test_a_page_calls_the_guard_before_anything_else(file):
    body = ast.parse(file.read_text(encoding="utf-8")).body
    plain = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_docstring(node)]
    assert ast.unparse(plain[0]) in ("guard()", "navigation.guard()")


def test_a_page_started_by_itself_says_how_to_start_the_app(tmp_path):
    page = tmp_path / "alone.py"
    page.write_text("from ui.navigation import guard\nguard()\n")
    app = AppTest.from_file(page, default_timeout=30).run()
    assert "streamlit run streamlit_app.py" in app.exception[0].message


@pytest.mark.parametrize("page", ["train", "data"])
def test_a_first_deep_link_shows_the_whole_app(browser, app_server, page):
    visit(browser, f"{app_server()}/{page}?probe=1")
    links = '[data-testid="stTopNavLink"]'
    wait_for(lambda: len(browser.find_elements("css selector", links)) == len(PAGES), what="a link to each page")
    # An icon's name is a line of text of its own, above the title.
    shown = [link.text.split("\n")[-1] for link in browser.find_elements("css selector", links)]
    assert shown == [title for title, *_ in PAGES.values()]
    assert page in browser.find_element("css selector", "h1").text.lower()
    assert browser.current_url.endswith(f"/{page}?probe=1")
    assert browser.title == "FER2013 explorer"
    assert console_errors(browser) == []


def test_the_server_is_closed_to_other_machines_and_sites():
    server = CONFIG["server"]
    assert server["address"] == "127.0.0.1"
    assert server["enableCORS"] and server["enableXsrfProtection"]


def test_charts_take_their_colours_from_the_palette():
    assert sorted(CONFIG["theme"]["chartCategoricalColors"]) == sorted(EMOTION_COLORS.values())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_and_colours_stand_out_from_the_page(scheme):
    theme = CONFIG["theme"][scheme]
    page = theme["backgroundColor"]
    for name in ("textColor", "linkColor", "greenTextColor", "redTextColor"):
        for ground in (page, theme["secondaryBackgroundColor"]):
            assert _contrast(theme[name], ground) >= 4.5, (name, ground)  # WCAG AA for text
    assert _contrast("#ffffff", theme["primaryColor"]) >= 4.5, "a primary button's label"
    for name, colour in EMOTION_COLORS.items():
        assert _contrast(colour, page) >= 3, name  # WCAG AA for graphics


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _contrast(one: str, other: str) -> float:
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
