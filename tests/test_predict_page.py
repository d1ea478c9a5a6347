"""The Predict page: uploads good and hostile, what is not written to disk, and a click on a face in a real browser."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_core.adjust import Adjustment
from fer_core.labels import EMOTIONS
from fer_core.predict import Predictor
from fer_core.run_adjustment import SavedAdjustment
from tests.browser import console_errors, visit, wait_for, wait_idle
from tests.scenes import SHIPPED, scene
from tests.test_pages import open_page, text_of
from tests.test_tour import main_text

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def shipped_runs(monkeypatch):
    monkeypatch.setenv("FER_SHIPPED", SHIPPED)
    monkeypatch.setenv("FER_DATA", "sample")


def png(picture_HW) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture_HW).save(file, "PNG")
    return file.getvalue()


def giant() -> bytes:
    file = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(file, "PNG")
    return file.getvalue()


def upload(*files, **query):
    at = open_page("predict", **query)
    at.file_uploader(key="photos").set_value([(name, data, "image/png") for name, data in files])
    return at.run()


def table(at):
    return at.dataframe[0].value


def test_without_a_model_the_page_says_where_to_train_one(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_SHIPPED", str(tmp_path / "none"))
    at = open_page("predict")
    assert not at.exception and "No model yet" in text_of(at)


def test_a_picture_is_named_face_by_face():
    picture, _ = scene(2)
    at = upload(("two.png", png(picture)))
    assert not at.exception and "2 faces in 1 picture" in text_of(at)
    expected = Predictor.load().predict(picture).faces
    assert table(at)["emotion"].tolist() == [face.said(0.4) for face in expected]
    np.testing.assert_allclose(table(at)[list(EMOTIONS)], [100 * face.probabilities_K for face in expected], atol=1e-3)


def test_many_pictures_bad_ones_and_ones_without_a_face_each_have_their_word():
    files = [
        ("one.png", png(scene(1)[0])),
        ("two.png", png(scene(2)[0])),
        ("wall.png", png(np.full((80, 90), 120, np.uint8))),
        ("text.png", b"not a picture"),
        ("bomb.png", giant()),
        ("../../etc/passwd.png", png(scene(1)[0])),
    ]
    at = upload(*files)
    assert not at.exception
    [error] = [str(one.value) for one in at.error]
    assert "text.png: not a readable" in error and "bomb.png: " in error and "at most 50,000,000 pixels" in error
    assert "No face found in wall.png" in text_of(at)
    assert "4 faces in 4 pictures" in text_of(at)
    assert len(table(at)) == 4


def test_nothing_but_bad_pictures_is_no_dead_end():
    at = upload(("text.png", b"not a picture"))
    assert not at.exception and len(at.error) == 1 and not at.dataframe
    at.file_uploader(key="photos").set_value([("one.png", png(scene(1)[0]), "image/png")])
    assert len(table(at.run())) == 1


def test_the_switch_takes_a_face_that_is_cut_already():
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    at = upload(("face.png", png(noise)))
    assert "No face found in face.png" in text_of(at) and not at.dataframe
    at.toggle(key="whole").set_value(True)
    at = at.run()
    np.testing.assert_allclose(
        table(at)[list(EMOTIONS)].iloc[0], 100 * Predictor.load().predict_faces(noise[None])[0], atol=1e-3
    )


def test_below_the_threshold_a_face_is_not_sure():
    at = upload(("one.png", png(scene(1)[0])), unsure="95")
    assert table(at)["emotion"].tolist() == ["not sure"] and "Not sure" in text_of(at)


def test_another_model_and_view_answer_anew():
    file = ("one.png", png(scene(1)[0]))
    first = table(upload(file))[list(EMOTIONS)].to_numpy()
    other = table(upload(file, model="fer2013-small-balanced", view="flip"))[list(EMOTIONS)].to_numpy()
    expected = Predictor.load("fer2013-small-balanced", view="flip").predict(scene(1)[0]).faces[0].probabilities_K
    assert np.abs(first - other).max() > 1
    np.testing.assert_allclose(other[0], 100 * expected, atol=1e-3)


def test_the_drawn_faces_are_there_for_who_has_no_picture():
    at = open_page("predict")
    at.button[0].click()
    at = at.run()
    assert not at.exception and "3 faces in 1 picture" in text_of(at)


def test_a_saved_decision_that_changes_is_used_at_once(monkeypatch):
    at = upload(("one.png", png(scene(1)[0])))
    before = table(at)[list(EMOTIONS)].to_numpy()
    saved = SavedAdjustment(Adjustment(temperature=4.0), EMOTIONS, (1 / 7,) * 7, "hand", "public")
    for place in ("fer_core.pipeline.read_adjustment", "ui.predictors.read_adjustment"):
        monkeypatch.setattr(place, lambda run: saved)
    after = table(at.run())[list(EMOTIONS)].to_numpy()
    assert after.max() < before.max()


def test_a_picture_taken_with_the_camera_is_answered():
    at = open_page("predict", **{"from": "camera"})
    at.camera_input(key="taken").set_value(("camera.jpg", png(scene(1)[0]), "image/jpeg"))
    assert len(table(at.run())) == 1


# --- in a real browser ------------------------------------------------------------------------------------------------


_TILES = """document.querySelector('[data-testid="stBidiComponentIsolated"]').shadowRoot.querySelectorAll('.tile')"""


def files_below(*folders: Path) -> set[str]:
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in files if "__pycache__" not in path.parts}


def test_dropped_pictures_are_shown_clicked_and_never_written(browser, app_server, tmp_path):
    (tmp_path / "home").mkdir()
    path = tmp_path / "three.png"
    path.write_bytes(png(scene(3)[0]))
    url = app_server(env={"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path / "home")})
    visit(browser, f"{url}/predict?try=drawn", 120)  # the cache of the sample is written before it is looked at
    wait_for(lambda: "3 faces" in main_text(browser), 60, what="the drawn faces")
    places = (tmp_path, Path(os.environ["FER_CACHE"]), Path(__file__).resolve().parent.parent / "fer_core")
    before = files_below(*places)
    browser.find_element("css selector", "input[type=file]").send_keys(str(path))
    wait_for(lambda: "three.png" in main_text(browser), 60, what="the name of the picture")
    wait_idle(browser)
    sure = [f"{face.probability:.0%} sure" for face in Predictor.load().predict(path).faces]
    assert sure[0] in main_text(browser) and sure[2] not in main_text(browser)
    browser.execute_script(f"{_TILES}[2].click()")
    wait_for(lambda: sure[2] in main_text(browser), 30, what=f"the third face, {sure[2]}")
    assert console_errors(browser) == []
    assert files_below(*places) - before == set()
