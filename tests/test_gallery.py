"""The face gallery: its sprite's geometry, and what a person sees and clicks in a real browser."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.keys import Keys

from tests.browser import click_on, console_errors, resize, serve, visit, wait_for, wait_idle
from ui.gallery import cell_side, face_gallery, sprite_jpeg

APP = """
import numpy as np
import streamlit as st
from ui.gallery import face_gallery

st.set_page_config(layout="wide")
count, page = 200, st.number_input("page", 0, 3, 0)
# Flat faces whose grey tells the position and the page: 20 + 8 * (i % 23) + 20 * p.
grey = 20 + 8 * (np.arange(count) % 23) + 20 * page
images = np.broadcast_to(grey[:, None, None], (count, 48, 40)).astype(np.uint8)
tones = ["right", "wrong"] * (count // 2)
st.button("again", key="again")
if st.button("choose 9", key="nine"):
    st.query_params["selected"] = "9"
start = st.query_params.get("selected")
picked = face_gallery(
    images, [f"<b>face {i}</b>\\nline two" for i in range(count)], key="faces", tones=tones,
    selected=int(start) if start else None,
)
st.text(f"picked {picked}")
st.text(f"empty {face_gallery(images[:0], [], key='none')}")
"""

# Streamlit keeps the component in a shadow root, where ordinary selectors do not reach.
_ROOT = "document.querySelector('[data-testid=\"stBidiComponentIsolated\"]').shadowRoot"


def sheet(images_NHW, columns):
    return np.asarray(Image.open(io.BytesIO(sprite_jpeg(images_NHW, columns))))


def test_each_face_lies_in_its_cell_with_its_edge_repeated_around_it():
    images_NHW = np.stack([np.full((5, 7), grey, np.uint8) for grey in (40, 120, 200)])
    sheet_HW = sheet(images_NHW, columns=2)
    # 5 rows + 2 need one block of 8; 7 columns + 2 need two blocks, 16. Two rows of two cells: 16 x 32 pixels.
    assert sheet_HW.shape == (16, 32)
    for corner, grey in {(0, 0): 40, (0, 16): 120, (8, 0): 200, (8, 16): 0}.items():
        cell_HW = sheet_HW[corner[0] : corner[0] + 8, corner[1] : corner[1] + 16].astype(int)
        assert np.abs(cell_HW - grey).max() <= 2, corner


@pytest.mark.parametrize(("side", "cell"), [(1, 8), (6, 8), (7, 16), (46, 48), (48, 56), (224, 232)])
def test_a_cell_is_whole_jpeg_blocks_with_a_margin(side, cell):
    assert cell_side(side) == cell


@pytest.mark.parametrize(("count", "columns", "side"), [(1, 1, 48), (7, 3, 48), (10, 4, 33)])
def test_faces_come_back_within_jpeg_error(count, columns, side):
    smooth_N1W = np.linspace(0, 200, side)[None, None] + 5 * np.arange(count)[:, None, None]
    images_NHW = np.broadcast_to(smooth_N1W, (count, side, side)).astype(np.uint8)
    sheet_HW, cell = sheet(images_NHW, columns), cell_side(side)
    for i, face_HW in enumerate(images_NHW):
        top, left = (cell * at + (cell - side) // 2 for at in divmod(i, columns))
        back_HW = sheet_HW[top : top + side, left : left + side].astype(int)
        assert np.abs(back_HW - face_HW).max() <= 8


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (np.zeros((2, 4, 4)), {}, "float64"),
        (np.zeros((4, 4), np.uint8), {}, r"\(4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), {}, "2 captions for 3 images"),
        (np.zeros((2, 4, 4), np.uint8), {"tones": ["right"]}, "1 tones for 2 images"),
        (np.zeros((2, 4, 4), np.uint8), {"tones": ["right", "green"]}, "unknown tone 'green'"),
        (np.zeros((2, 4, 4), np.uint8), {"selected": 2}, "selected face 2 is not in 0..1"),
    ],
)
def test_wrong_arguments_are_named(images, options, message):
    with pytest.raises(ValueError, match=message):
        face_gallery(images, ["a", "b"], key="k", **options)


@pytest.fixture(scope="module")
def app_url(browser, tmp_path_factory):
    file = tmp_path_factory.mktemp("gallery") / "app.py"
    file.write_text(APP)
    with serve(Path(file)) as url:
        yield url


@pytest.fixture
def gallery(browser, app_url):
    """The open test app, 1400 CSS pixels wide."""
    resize(browser, 1400, 900)
    visit(browser, app_url)
    wait_for(lambda: faces(browser) == 200, what="200 faces")
    return browser


def faces(driver):
    return driver.execute_script(f"return {_ROOT}.querySelectorAll('.tile').length")


def tile(driver, position):
    return driver.execute_script(f"return {_ROOT}.querySelectorAll('.tile')[arguments[0]]", position)


def selected(driver):
    """Positions of the faces that are highlighted."""
    return driver.execute_script(
        f"return [...{_ROOT}.querySelectorAll('.tile')].flatMap((t, i) => t.ariaSelected === 'true' ? [i] : [])"
    )


def said(driver, text):
    """Whether the app's own text says so, that is: what Python received."""
    return any(element.text == text for element in driver.find_elements("css selector", '[data-testid="stText"]'))


def click(driver, position):
    click_on(driver, tile(driver, position))
    wait_for(lambda: said(driver, f"picked {position}"), what=f"Python to hear of face {position}")
    wait_idle(driver)


def grey_of(driver, position):
    """The grey in the middle of a face, as painted on the screen."""
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", tile(driver, position))
    picture = driver.execute_script("return arguments[0].querySelector('.face')", tile(driver, position))
    return np.asarray(Image.open(io.BytesIO(picture.screenshot_as_png)).convert("L"))[20:60, 20:60].mean()


def test_200_faces_are_painted_with_literal_captions_and_spoken_names(gallery):
    for position in (0, 7, 14, 15, 123, 199):
        assert grey_of(gallery, position) == pytest.approx(20 + 8 * (position % 23), abs=3), position
    caption = gallery.execute_script("return arguments[0].querySelector('.caption').textContent", tile(gallery, 7))
    assert caption == "<b>face 7</b>line two"
    assert tile(gallery, 7).get_attribute("aria-label") == "Face 8: <b>face 7</b>, line two, wrong"
    assert said(gallery, "picked None") and said(gallery, "empty None")
    assert selected(gallery) == [] and console_errors(gallery) == []


def turn_page(driver, step, first_grey):
    click_on(driver, f'[data-testid="stNumberInputStep{step}"]')
    wait_for(lambda: said(driver, "picked None"), what="the reset")
    wait_for(lambda: abs(grey_of(driver, 0) - first_grey) < 3, what="the other faces")


def test_a_click_selects_and_the_next_page_resets_it(gallery):
    click(gallery, 123)
    assert selected(gallery) == [123]
    turn_page(gallery, "Up", first_grey=40)
    assert selected(gallery) == []
    turn_page(gallery, "Down", first_grey=20)  # the old click must not come back with the old faces
    assert selected(gallery) == []
    click(gallery, 5)
    assert selected(gallery) == [5]


def test_arrows_move_the_focus_and_enter_or_space_selects(gallery):
    per_row = gallery.execute_script(
        f"return getComputedStyle({_ROOT}.querySelector('.gallery')).gridTemplateColumns.split(' ').length"
    )
    gallery.execute_script("arguments[0].focus()", tile(gallery, 0))
    for keys, expected in (
        ([Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.ENTER], 2 + per_row),
        ([Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.SPACE], 1),
        ([Keys.END, Keys.ARROW_RIGHT, Keys.ENTER], 199),
        ([Keys.HOME, Keys.ARROW_LEFT, Keys.ENTER], 0),
    ):
        for pressed in keys:
            gallery.execute_script(f"return {_ROOT}.activeElement").send_keys(pressed)
        wait_for(lambda expected=expected: said(gallery, f"picked {expected}"), what=f"face {expected}")
        wait_idle(gallery)
        assert selected(gallery) == [expected]
    stops = gallery.execute_script(f"return {_ROOT}.querySelectorAll('.tile[tabindex=\"0\"]').length")
    assert stops == 1, "Tab must leave the gallery at once"


def test_a_rerun_keeps_the_very_same_faces_and_the_selection(gallery):
    before = tile(gallery, 3)
    click(gallery, 3)
    click_on(gallery, ".st-key-again button")
    wait_idle(gallery)
    assert tile(gallery, 3) == before, "rebuilt, so it flickers and loses the focus"
    assert selected(gallery) == [3] and said(gallery, "picked 3")


def test_a_preselected_face_stands_until_another_is_clicked(gallery, app_url):
    visit(gallery, f"{app_url}?selected=4")
    wait_for(lambda: selected(gallery) == [4], what="the preselected face")
    assert said(gallery, "picked 4")
    click(gallery, 6)
    assert selected(gallery) == [6]
    click_on(gallery, ".st-key-nine button")  # the page chooses: the newest choice wins
    wait_for(lambda: said(gallery, "picked 9"), what="the page's choice")
    wait_for(lambda: selected(gallery) == [9], what="its highlight")


@pytest.mark.parametrize("width", [800, 1400])
def test_the_grid_fills_its_width(gallery, width):
    resize(gallery, width, 900)
    wait_idle(gallery)
    grid, row = gallery.execute_script(
        f"const g = {_ROOT}.querySelector('.gallery'), box = g.getBoundingClientRect();"
        "const top = g.children[0].offsetTop, row = [...g.children].filter(t => t.offsetTop === top);"
        "const faces = row.map(t => t.firstChild.getBoundingClientRect());"
        "return [[box.left, box.right], [faces[0].left, faces.at(-1).right, faces[0].width]]"
    )
    assert row[0] - grid[0] < 10 and grid[1] - row[1] < 10, "room left at the sides"
    assert 96 <= row[2] < 120
