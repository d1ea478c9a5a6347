"""The live camera: what a person sees of it in a real browser with a made-up camera, and frames nobody may trust."""

import base64
import io
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fer_core.errors import ConfigError
from fer_core.labels import EMOTIONS
from fer_core.smoothing import Follower
from tests.browser import (
    REPO,
    click_on,
    console_errors,
    fake_camera,
    open_browser,
    require_browser,
    resize,
    serve,
    visit,
    wait_for,
)
from ui.live_camera import answer_frame

SQUARE = (40, 60, 120, 160)
"""Left, top, right, bottom of what is bright in the camera's picture of 320 x 240."""

APP = """
from types import SimpleNamespace

import numpy as np
import streamlit as st

from fer_core.labels import EMOTIONS
from ui import live_camera

st.set_page_config(layout="wide")


class Bright:  # finds what is bright, and is 90% sure that it is happy
    name, classes, smallest = "bright", EMOTIONS, 0.05

    def predict(self, picture):
        rows, columns = np.nonzero(np.asarray(picture.convert("L")) > 128)
        if not len(rows) or "nobody" in st.query_params:
            return SimpleNamespace(faces=())
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        shares = np.where(np.array(EMOTIONS) == "happy", 0.9, 0.1 / 6)
        return SimpleNamespace(faces=(SimpleNamespace(box=box, probabilities_K=shares),))


def some_answers(*args):
    st.session_state["asked"] = st.session_state.get("asked", 0) + 1
    lost = st.session_state["asked"] <= int(st.query_params.get("lost", 0))
    return None if lost else live_camera.every_answer(*args)


if not hasattr(live_camera, "every_answer"):
    live_camera.every_answer, live_camera.answer_frame = live_camera.answer_frame, some_answers
st.session_state["runs"] = st.session_state.get("runs", 0) + 1
st.text(f"page run {st.session_state['runs']}")
if st.toggle("camera", value=True, key="shown"):
    live_camera.live_view(Bright(), 0.5)
"""

# Streamlit keeps the component in a shadow root, where ordinary selectors do not reach.
_ROOT = "document.querySelector('[data-testid=\"stBidiComponentIsolated\"]').shadowRoot"


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A camera that shows a bright square on black, in the left half of what it sees."""
    pixels_HW = np.zeros((240, 320), np.uint8)
    left, top, right, bottom = SQUARE
    pixels_HW[top:bottom, left:right] = 255
    file = tmp_path_factory.mktemp("camera") / "film.mjpeg"
    file.write_bytes(jpeg(pixels_HW) * 5)
    return file


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """Everywhere that the server may write."""
    return tmp_path_factory.mktemp("places")


@pytest.fixture(scope="module")
def url(places):
    file = places.parent / "live_app.py"
    file.write_text(APP)
    names = ("FER_CACHE", "FER_RUNS", "FER_RECIPES", "FER_REVIEWS", "TMPDIR", "HOME")
    for name in names:
        (places / name).mkdir()
    own = {name: str(places / name) for name in names}
    with serve(file, {**own, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}) as address:
        yield address


@pytest.fixture(scope="module")
def camera_browser(film):
    require_browser()
    with open_browser(flags=fake_camera(film)) as driver:
        yield driver


@pytest.fixture
def live(camera_browser, url):
    """The page, its camera allowed and not yet started."""
    resize(camera_browser, 1400, 900)
    permit(camera_browser, "granted")
    return opened(camera_browser, url)


def opened(driver, url):
    visit(driver, url, 60)
    wait_for(lambda: look(driver, "root.querySelector('.status')?.textContent"), 30, "the camera's part of the page")
    return driver


def permit(driver, setting):
    driver.execute_cdp_cmd("Browser.setPermission", {"permission": {"name": "camera"}, "setting": setting})


def look(driver, javascript):
    """The value of an expression about `root`, the component's shadow root; None where it does not stand."""
    host = "document.querySelector('[data-testid=\"stBidiComponentIsolated\"]')"
    return driver.execute_script(f"const root = {host}?.shadowRoot; return root ? {javascript} : null")


def status(driver):
    return look(driver, "root.querySelector('.status').textContent")


def switch(driver, to):
    """Press the one button, once it says so."""
    wait_for(lambda: look(driver, "root.querySelector('.switch').textContent") == to, 30, f"the button {to!r}")
    click_on(driver, driver.execute_script(f"return {_ROOT}.querySelector('.switch')"))


def points(driver):
    """Points of each emotion's line; empty where there is no line."""
    lines = "[...root.querySelectorAll('path.line')]"
    return look(driver, f"{lines}.map((line) => line.getAttribute('d').split(',').length - 1)")


def wait_for_points(driver, least):
    def enough():
        drawn = points(driver)
        return drawn and min(drawn) >= least and drawn

    return wait_for(enough, 60, f"{least} answers on the chart; the page says {status(driver)!r}")


def said(driver, text):
    return any(element.text == text for element in driver.find_elements("css selector", '[data-testid="stText"]'))


def test_a_click_opens_the_camera_and_frames_are_answered_without_the_page_running_again(live):
    assert look(live, "root.querySelector('video').srcObject === null"), "opened without being asked"
    assert status(live) == "The camera is off."
    switch(live, "Start the camera")
    drawn = wait_for_points(live, 5)
    assert len(drawn) == len(EMOTIONS) and len(set(drawn)) == 1
    labels = look(live, "[...root.querySelectorAll('.chart text')].map((text) => text.textContent)")
    assert {"happy 90%", "sad 2%", "0%", "100%", "now"} <= set(labels)
    wait_for(lambda: status(live) == "Face 1: happy", 60, "the status in words")
    wait_for(lambda: "frames a second" in look(live, "root.querySelector('.speed').textContent"), 30, "the speed")
    assert said(live, "page run 1") and console_errors(live) == []


def test_the_box_lies_on_the_face_in_the_mirrored_picture(live):
    switch(live, "Start the camera")
    wait_for_points(live, 2)
    width, height = look(live, "[root.querySelector('.over').width, root.querySelector('.over').height]")
    left, top, right, bottom = SQUARE
    middle = round((top + bottom) / 2 / 240 * height)
    row = look(live, f"[...root.querySelector('.over').getContext('2d').getImageData(0, {middle}, {width}, 1).data]")
    drawn = np.flatnonzero(np.array(row).reshape(-1, 4)[:, 3])
    mirrored = [width * (1 - right / 320), width * (1 - left / 320)]
    np.testing.assert_allclose([drawn.min(), drawn.max()], mirrored, atol=8)
    assert look(live, "getComputedStyle(root.querySelector('video')).transform").startswith("matrix(-1")


def test_stop_closes_the_camera_and_start_opens_it_again_without_a_reload(live):
    switch(live, "Start the camera")
    wait_for_points(live, 3)
    live.execute_script(f"window.track = {_ROOT}.querySelector('video').srcObject.getTracks()[0]")
    switch(live, "Stop")
    assert look(live, "root.querySelector('video').srcObject === null")
    assert live.execute_script("return window.track.readyState") == "ended"
    assert status(live) == "The camera is off."
    switch(live, "Start the camera")
    # The chart may still have the points of the first start.
    wait_for(lambda: look(live, "root.querySelector('video').srcObject !== null"), 30, "the camera to open again")
    wait_for_points(live, 3)
    assert look(live, "root.querySelector('video').srcObject.active") and said(live, "page run 1")


def test_the_camera_is_closed_with_its_part_of_the_page(live):
    switch(live, "Start the camera")
    wait_for_points(live, 2)
    live.execute_script(f"window.track = {_ROOT}.querySelector('video').srcObject.getTracks()[0]")
    click_on(live, ".st-key-shown label")
    wait_for(lambda: said(live, "page run 2"), 30, "the page's run")
    wait_for(lambda: live.execute_script("return window.track.readyState") == "ended", 30, "the camera to be closed")
    assert console_errors(live) == []


def test_a_camera_that_is_drawn_anew_at_once_goes_on(live):
    """As Streamlit does, now and then, when a click and a frame come together."""
    live.execute_script(  # what is at once, a slow machine does not decide
        "const real = window.setTimeout; window.setTimeout = (call, ms) => real(call, ms === 1500 ? 600000 : ms)"
    )
    switch(live, "Start the camera")
    before = max(wait_for_points(live, 3))
    live.execute_script(f"window.track = {_ROOT}.querySelector('video').srcObject.getTracks()[0]")
    for run in (2, 3):
        click_on(live, ".st-key-shown label")
        wait_for(lambda run=run: said(live, f"page run {run}"), 30, "the page's run")
    wait_for_points(live, before + 3)
    assert live.execute_script(f"return {_ROOT}.querySelector('video').srcObject.getTracks()[0] === window.track")
    switch(live, "Stop")
    assert live.execute_script("return window.track.readyState") == "ended"


def test_a_picture_without_a_face_says_so_and_leaves_a_gap(live, url):
    opened(live, f"{url}?nobody=1")
    switch(live, "Start the camera")
    wait_for(lambda: status(live) == "No face was found.", 60, "the status in words")
    assert points(live) == [0] * len(EMOTIONS)


def test_answers_that_are_lost_are_not_waited_for(live, url):
    opened(live, f"{url}?lost=5")
    switch(live, "Start the camera")
    wait_for(lambda: "takes long to answer" in status(live), 60, "the words")
    wait_for_points(live, 2)


def test_a_camera_that_is_not_allowed_is_named(live):
    permit(live, "denied")
    switch(live, "Start the camera")
    wait_for(lambda: "does not allow the camera" in status(live), 30, "the reason")
    assert look(live, "root.querySelector('.switch').textContent") == "Start the camera"


def test_a_computer_without_a_camera_says_so(url):
    require_browser()
    with open_browser(flags=["--use-fake-device-for-media-stream=device-count=0"]) as driver:
        permit(driver, "granted")
        opened(driver, url)
        switch(driver, "Start the camera")
        wait_for(lambda: "No camera was found" in status(driver), 30, "the reason")


_FAILS = "navigator.mediaDevices.getUserMedia = async () => {throw new DOMException('', '%s')}"


@pytest.mark.parametrize(
    ("stub", "words"),
    [
        ("Object.defineProperty(navigator, 'mediaDevices', {value: undefined})", "begin with https"),
        (_FAILS % "NotReadableError", "another program"),
        (_FAILS % "SecurityError", "does not allow"),
        (_FAILS % "OddError", "(OddError)"),
    ],
)
def test_whatever_keeps_the_camera_closed_is_said(live, stub, words):
    live.execute_script(stub)
    switch(live, "Start the camera")
    wait_for(lambda: words in status(live), 30, "the reason")
    assert look(live, "root.querySelector('.status').hasAttribute('data-wrong')")


def test_nothing_that_the_camera_shows_is_written(live, places):
    def listing():
        return {path: path.stat().st_mtime_ns for path in places.rglob("*") if path.is_file()}

    switch(live, "Start the camera")
    wait_for_points(live, 2)  # whatever the server writes once, it has written
    before = listing()
    wait_for_points(live, 12)
    switch(live, "Stop")
    assert listing() == before


class Finds:
    """A predictor that finds these boxes, with these probabilities, in every picture."""

    name, classes, smallest = "made", ("happy", "sad"), 0.05

    def __init__(self, *faces):
        self.faces = tuple(SimpleNamespace(box=box, probabilities_K=np.array(shares)) for box, shares in faces)

    def predict(self, picture):
        self.seen = picture.size
        return SimpleNamespace(faces=self.faces)


def jpeg(pixels, quality=90) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(file, "JPEG", quality=quality)
    return file.getvalue()


def frame(data: bytes, number=7) -> dict:
    return {"number": number, "jpeg": base64.b64encode(data).decode()}


GREY = np.full((90, 120), 90, np.uint8)


def test_an_answer_holds_the_frames_number_its_faces_and_the_largest_ones_probabilities():
    predictor = Finds(((0, 0, 20, 20), (0.3, 0.7)), ((50, 10, 110, 80), (0.6, 0.4)))
    told = answer_frame(frame(jpeg(GREY)), predictor, 0.65, Follower(), 1.0)
    assert (told["number"], told["size"], told["problem"]) == (7, [120, 90], "")
    small, large = told["faces"]
    assert small == {"number": 1, "box": [0, 0, 20, 20], "said": "sad", "likeliest": "sad", "probability": 0.7}
    assert (large["said"], large["likeliest"]) == ("not sure", "happy")
    assert told["largest"] == {"face": 2, "probabilities": [0.6, 0.4]}


def test_what_is_said_is_decided_on_the_smoothed_probabilities():
    follower = Follower(half_life_s=0.4)
    answer_frame(frame(jpeg(GREY)), Finds(((0, 0, 20, 20), (1.0, 0.0))), 0.6, follower, 1.0)
    told = answer_frame(frame(jpeg(GREY)), Finds(((0, 0, 20, 20), (0.0, 1.0))), 0.6, follower, 1.4)
    assert told["faces"][0]["said"] == "not sure" and told["faces"][0]["probability"] == 0.5


def test_a_face_that_is_missed_for_a_moment_keeps_its_box_but_has_no_point_on_the_chart():
    follower = Follower()
    answer_frame(frame(jpeg(GREY)), Finds(((0, 0, 20, 20), (1.0, 0.0))), 0.5, follower, 1.0)
    told = answer_frame(frame(jpeg(GREY)), Finds(), 0.5, follower, 1.2)
    assert [face["number"] for face in told["faces"]] == [1] and told["largest"] is None
    assert answer_frame(frame(jpeg(GREY)), Finds(), 0.5, follower, 1.5)["faces"] == []


def test_a_predictor_that_cannot_answer_gives_its_reason():
    class Broken(Finds):
        def predict(self, picture):
            raise ConfigError("the detector's weights are missing.")

    told = answer_frame(frame(jpeg(GREY)), Broken(), 0.5, Follower(), 1.0)
    assert (told["number"], told["faces"], told["problem"]) == (7, [], "the detector's weights are missing.")


def giant() -> bytes:
    """A JPEG of a few hundred bytes that says it has 10,000 x 10,000 pixels."""
    data = jpeg(GREY)
    start = data.index(b"\xff\xc0") + 5
    return data[:start] + struct.pack(">HH", 10_000, 10_000) + data[start + 4 :]


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "PNG")
    return file.getvalue()


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")  # as the app itself has it
@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ("<script>", "base64"),
        ("🙂" * 10, "base64"),
        ("data:image/jpeg;base64,/9j/", "base64"),
        ("", "a frame is a JPEG"),
        (None, "base64"),
        (["/9j/"], "base64"),
        ({"toString": "/9j/"}, "base64"),
        (12, "base64"),
        (png(), "a frame is a JPEG"),
        (b"\xff\xd8\xff" + b"x" * 200, "the frame: not a readable"),
        (jpeg(GREY)[:200], "the frame: not a readable"),
        (giant(), "a giant image, at most 1,000,000 pixels"),
        (jpeg(np.zeros((1001, 1000), np.uint8)), "at most 1,000,000 pixels"),
        (b"\xff\xd8\xff" + b"x" * 1_000_000, "at most 1,000,000 bytes"),
        ("A" * 20_000_000, "at most 1,000,000 bytes"),
    ],
    ids=range(15),
)
def test_a_frame_that_is_none_is_refused_before_any_net_sees_it(sent, words):
    predictor = Finds()
    text = base64.b64encode(sent).decode() if isinstance(sent, bytes) else sent
    told = answer_frame({"number": 3, "jpeg": text}, predictor, 0.5, Follower(), 1.0)
    assert words in told["problem"] and told["faces"] == [] and told["number"] == 3
    assert not hasattr(predictor, "seen") and "\n" not in told["problem"]


@pytest.mark.parametrize(
    "sent",
    [None, "frame", 3, [], {}, {"number": 1}, {"jpeg": ""}, {"number": "1", "jpeg": ""}, {"number": -1, "jpeg": ""},
     {"number": 2**60, "jpeg": ""}, {"number": 1.5, "jpeg": ""}, {"number": [1], "jpeg": ""}],
    ids=range(12),
)  # fmt: skip
def test_what_has_no_frame_number_gets_no_answer(sent):
    assert answer_frame(sent, Finds(), 0.5, Follower(), 1.0) is None


@pytest.mark.parametrize("size", [(1, 1), (2, 3000), (3000, 2)])
def test_the_real_predictor_lives_through_the_oddest_frames(predictor, size):
    told = answer_frame(frame(jpeg(np.zeros(size, np.uint8))), predictor, 0.5, Follower(), 1.0)
    assert (told["problem"], told["faces"]) == ("", [])


@pytest.fixture(scope="module")
def predictor():
    from fer_core.predict import Predictor

    return Predictor.load(str(REPO / "fer_core" / "weights" / "fer2013-small"))


def test_the_real_predictor_finds_a_drawn_face_where_it_lies(predictor):
    from fer_core.data.sample import draw_sample

    face = Image.fromarray(draw_sample().images_NHW[3]).resize((200, 200))
    picture = Image.new("L", (480, 360), 128)
    picture.paste(face, (140, 80))
    told = answer_frame(frame(jpeg(np.asarray(picture))), predictor, 0.0, Follower(), 1.0)
    (found,) = told["faces"]
    left, top, right, bottom = found["box"]
    assert 130 < left < right < 350 and 60 < top < bottom < 300
    assert sum(told["largest"]["probabilities"]) == pytest.approx(1, abs=1e-3)
    assert found["said"] == found["likeliest"] in EMOTIONS
