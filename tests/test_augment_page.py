"""The Augment page: what it shows is what training gets, and what was edited lives in its address."""

import io
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from fer_core import augmentations
from fer_core.augment import augment, to_floats
from fer_core.augmentations import BUILT_IN, Augmentation
from fer_core.config import RunConfig
from fer_core.data import open_store
from fer_core.mosaic import face_grid
from tests.faces import make_faces, write_csv
from tests.test_pages import open_page, text_of
from tests.toy import toy_csv

NO_STEPS = Augmentation()
EDIT = "flip@0.25,rotate:30,erase:0.4"


@pytest.fixture
def source(tmp_path, monkeypatch) -> Path:
    path = toy_csv(tmp_path / "fer2013.csv")
    monkeypatch.setenv("FER_DATA", str(path))
    return path


def open_augment(**query: str) -> AppTest:
    at = open_page("augment", **query)
    assert not at.exception
    return at


def steps_of(at: AppTest) -> str | None:
    return at.query_params.get("augment_steps")


def config_of(at: AppTest) -> RunConfig:
    """The configuration that the address stands for, on this page and on the Train page."""
    query = at.query_params
    values = {"augment": at.selectbox(key="augment").value, "augment_share": query.get("augment_share")}
    steps = query.get("augment_steps")
    return RunConfig.parse(values | ({"augment_steps": steps.split(",")} if steps else {}))


# --- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pictures(monkeypatch) -> list[np.ndarray]:
    """What the page has put up, in its order: the faces, the whole recipe, each step."""
    shown: list[np.ndarray] = []
    monkeypatch.setattr(st, "image", lambda png, **options: shown.append(np.asarray(Image.open(io.BytesIO(png)))))
    return shown


def as_trained(source: Path, augmentation: Augmentation, *, draw: int = 0, times: int = 1, size: int | None = None):
    """What the function that the training loop calls makes of the page's faces, drawn as the page draws it."""
    store = open_store(str(source))
    rows = np.random.default_rng(draw).choice(store.rows("train"), 6, replace=False)
    batch = to_floats(torch.from_numpy(store.images_NHW[rows])).repeat(times, 1, 1, 1)
    changed = augment(batch, augmentation, torch.Generator().manual_seed(draw), size)
    grey = (changed * 255).round().to(torch.uint8).numpy()
    return face_grid(grey.reshape(times, 6, *grey.shape[2:]), zoom=1 if size else 2)


@pytest.mark.parametrize("size", [None, 96])
def test_what_it_shows_is_what_training_gets(size, source, pictures):
    shown_at = {"size": str(size)} if size else {}
    open_augment(augment="ferplus-cnn", augment_steps=EDIT, augment_share="0.8", draw="3", **shown_at)
    config = RunConfig(augment="ferplus-cnn", augment_steps=tuple(EDIT.split(",")), augment_share=0.8)
    trained = config.augmentation()
    expected = [
        as_trained(source, NO_STEPS, draw=3, size=size),
        as_trained(source, trained, draw=3, times=4, size=size),
        *(as_trained(source, trained.only(place), draw=3, size=size) for place in range(3)),
    ]
    assert len(pictures) == len(expected)
    for shown, wanted in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(shown, wanted)
    assert not np.array_equal(pictures[0], pictures[3])


def test_a_slider_changes_the_pictures_to_what_is_then_trained(source, pictures):
    at = open_augment()
    pictures.clear()
    at.slider(key="step1_rotate_strength").set_value(40.0).run()
    trained = config_of(at).augmentation()
    assert trained.steps[1].strength == 40
    np.testing.assert_array_equal(pictures[1], as_trained(source, trained, times=4))
    np.testing.assert_array_equal(pictures[3], as_trained(source, trained.only(1)))


@pytest.mark.parametrize("query", [{"augment": "none"}, {"augment_share": "0"}, {"augment_steps": "flip@0,rotate:0"}])
def test_what_is_off_leaves_the_faces_as_they_are(query, source, pictures):
    open_augment(**query)
    for picture in pictures[2:]:
        np.testing.assert_array_equal(picture, pictures[0])
    np.testing.assert_array_equal(pictures[1][:96], pictures[0])


def test_an_emotion_without_a_face_to_train_on_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_DATA", str(write_csv(tmp_path / "fer2013.csv", make_faces())))
    assert "no surprise face to train on" in open_augment(faces_of="surprise").info[0].value


# --- editing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_recipe_is_shown_as_it_is(name, source):
    at = open_augment(augment=name)
    own = BUILT_IN[name].augmentation
    values = [value for step in own.steps for value in ([step.strength] * bool(step.spec.high) + [step.probability])]
    assert [slider.value for slider in at.slider] == [own.share, *values]
    assert BUILT_IN[name].text in text_of(at) and "edited" not in text_of(at)
    assert steps_of(at) is None and at.button(key="reset").disabled


def test_a_moved_slider_is_in_the_address_and_reset_takes_it_out(source):
    at = open_augment(augment="flip-rotate-crop")
    at.slider(key="step0_flip_probability").set_value(0.3).run()
    at.slider(key="step1_rotate_strength").set_value(25.0).run()
    at.slider(key="share_of_faces").set_value(0.6).run()
    assert steps_of(at) == "flip@0.3,rotate:25,crop:0.1"
    assert at.query_params["augment_share"] == "0.6"
    assert "edited" in text_of(at)
    at.button(key="reset").click().run()
    assert steps_of(at) is None and "augment_share" not in at.query_params
    assert at.slider(key="step1_rotate_strength").value == 10
    assert "edited" not in text_of(at)


def test_what_is_moved_back_is_no_longer_edited(source):
    at = open_augment()
    at.slider(key="step1_rotate_strength").set_value(20.0).run()
    at.slider(key="step1_rotate_strength").set_value(12.0).run()
    assert steps_of(at) is None and "edited" not in text_of(at)


def test_an_edited_address_is_shown_by_the_sliders(source):
    at = open_augment(augment="crop-224", augment_steps=EDIT, augment_share="0.5")
    assert [slider.value for slider in at.slider] == [0.5, 0.25, 30, 1, 0.4, 1]
    assert "edited" in text_of(at)


def test_the_same_operation_may_stand_there_twice(source):
    at = open_augment(augment="ferplus-cnn")
    at.slider(key="step6_rotate_strength").set_value(3.0).run()
    own = BUILT_IN["ferplus-cnn"].augmentation.texts()
    assert steps_of(at) == ",".join((*own[:6], "rotate:3", own[7]))


def test_steps_are_added_moved_up_and_removed(source):
    at = open_augment(augment="flip-rotate-crop")
    at.selectbox(key="add_step").select("erase").run()
    assert steps_of(at) == "flip@0.5,rotate:10,crop:0.1,erase:0.45@0.3"
    assert at.selectbox(key="add_step").value is None
    at.button(key="up2").click().run()
    assert steps_of(at) == "flip@0.5,crop:0.1,rotate:10,erase:0.45@0.3"
    at.button(key="remove0").click().run()
    assert steps_of(at) == "crop:0.1,rotate:10,erase:0.45@0.3"
    assert [slider.value for slider in at.slider] == [1, 0.1, 1, 10, 1, 0.45, 0.3]
    assert at.button(key="up0").disabled


def test_another_recipe_starts_from_its_own_steps(source):
    at = open_augment(augment_steps=EDIT, augment_share="0.5")
    at.selectbox(key="augment").select("flip-rotate-crop").run()
    assert steps_of(at) is None and "augment_share" not in at.query_params
    assert [slider.value for slider in at.slider] == [1, 0.5, 10, 1, 0.1, 1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"augment_steps": "rotat:9"}, "no operation named 'rotat'. Did you mean 'rotate'?"),
        ({"augment_steps": "rotate:90"}, "strength 90 is not between 0 and 45"),
        ({"augment_steps": "<script>"}, "is no step"),
        ({"augment_steps": ",".join(["flip"] * 1000)}, "1000 steps; at most 24 are shown"),
        ({"augment_share": "2"}, "augment_share is '2'"),
        ({"augment_share": "x", "augment_steps": EDIT}, "augment_share is 'x'"),
    ],
)
def test_a_garbled_address_is_one_line_and_the_recipe_as_it_is(query, words, source):
    at = open_augment(augment="flip-rotate-crop", **query)
    [error] = at.error
    assert words in error.value and "\n" not in error.value
    assert [slider.value for slider in at.slider] == [1, 0.5, 10, 1, 0.1, 1]
    at.slider(key="step1_rotate_strength").set_value(20.0).run()
    assert not at.error
    assert steps_of(at) == "flip@0.5,rotate:20,crop:0.1" and "augment_share" not in at.query_params


def test_a_long_recipe_of_ones_own_is_shown_whole(source):
    augmentations.save("long", Augmentation.parse(["flip@0.1"] * 30))
    at = open_augment(augment="long")
    assert not at.error and len(at.slider) == 31
    assert at.selectbox(key="add_step").disabled


def test_edits_are_still_there_after_a_look_at_another_page(source):
    at = open_augment(augment="flip-rotate-crop", augment_steps=EDIT)
    at.switch_page("pages/data.py").run()
    at.query_params.clear()
    at.switch_page("pages/augment.py").run()
    assert at.selectbox(key="augment").value == "flip-rotate-crop"
    assert steps_of(at) == EDIT


# --- saving, and going on to Train ------------------------------------------------------------------------------------


def test_a_saved_recipe_is_the_chosen_one(source):
    at = open_augment(augment="flip-rotate-crop", augment_steps=EDIT, augment_share="0.5")
    at.text_input(key="save_as").input("mine").run()
    at.button(key="save").click().run()
    assert not at.exception and not at.error
    assert at.selectbox(key="augment").value == "mine"
    assert at.text_input(key="save_as").value == ""
    assert steps_of(at) is None and "augment_share" not in at.query_params
    assert "edited" not in text_of(at)
    assert augmentations.load("mine").augmentation == Augmentation.parse(EDIT.split(","), 0.5)
    at.slider(key="step1_rotate_strength").set_value(5.0).run()
    assert config_of(at).augmentation() == Augmentation.parse(["flip@0.25", "rotate:5", "erase:0.4"], 0.5)


def test_a_saved_recipe_that_is_gone_falls_back(source):
    augmentations.save("mine", Augmentation.parse(EDIT.split(",")))
    at = open_augment(augment="mine")
    assert [slider.value for slider in at.slider] == [1, 0.25, 30, 1, 0.4, 1]
    Path(augmentations.load("mine").source).unlink()
    at.run()
    assert not at.exception
    assert at.selectbox(key="augment").value == RunConfig().augment
    at.slider(key="step1_rotate_strength").set_value(20.0).run()
    assert not at.exception and steps_of(at).startswith("flip@0.5,rotate:20,")


def test_a_slider_of_a_recipe_that_is_just_gone_is_no_crash(source):
    augmentations.save("mine", Augmentation.parse(EDIT.split(",")))
    at = open_augment(augment="mine")
    Path(augmentations.load("mine").source).unlink()
    at.slider(key="step1_rotate_strength").set_value(20.0).run()
    assert not at.exception
    assert at.selectbox(key="augment").value == RunConfig().augment


def test_a_recipe_that_is_gone_meanwhile_is_not_come_back_to(source):
    augmentations.save("mine", Augmentation.parse(EDIT.split(",")))
    at = open_augment(augment="mine")
    at.switch_page("pages/data.py").run()
    Path(augmentations.load("mine").source).unlink()
    at.query_params.clear()
    at.switch_page("pages/augment.py").run()
    assert not at.exception and not at.error
    assert at.selectbox(key="augment").value == RunConfig().augment


def test_a_folder_that_cannot_be_written_is_one_line(source, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FER_RECIPES", str(tmp_path / "file" / "recipes"))
    at = open_augment(augment_steps=EDIT)
    at.text_input(key="save_as").input("mine").run()
    at.button(key="save").click().run()
    assert not at.exception
    assert "Not a directory" in at.error[0].value


@pytest.mark.parametrize(("name", "words"), [("standard", "built-in"), ("a/b", "cannot name"), ("", "cannot name")])
def test_a_name_that_cannot_be_is_one_line(name, words, source):
    at = open_augment(augment_steps=EDIT)
    at.text_input(key="save_as").input(name).run()
    at.button(key="save").click().run()
    [error] = at.error
    assert words in error.value and "\n" not in error.value
    assert steps_of(at) == EDIT
    assert not at.run().error  # it is said once


@pytest.mark.parametrize(
    ("name", "steps", "share"),
    [("none", None, None), ("ferplus-cnn", None, "0.9"), ("ferplus-cnn", EDIT, None), ("standard", EDIT, "0.5")],
)
def test_train_with_these_opens_the_very_same_augmentation(name, steps, share, source):
    given = {"augment_steps": steps, "augment_share": share}
    query = {key: value for key, value in given.items() if value is not None}
    at = open_augment(augment=name, **query)
    before = config_of(at)
    press_train(at)
    assert at.title[0].value == "Train" and not at.exception
    assert config_of(at).augmentation() == before.augmentation()
    assert {key: at.query_params[key] for key in given if key in at.query_params} == query


def test_a_recipe_without_its_steps_trains_on_the_faces_as_they_are(source):
    at = open_augment(augment="flip-rotate-crop", augment_steps="flip@0.5")
    at.button(key="remove0").click().run()
    assert steps_of(at) == "none" and not at.error
    press_train(at)
    assert config_of(at).augmentation().active() == ()


def press_train(at: AppTest) -> None:
    next(button for button in at.button if button.label == "Train with these").click().run()
