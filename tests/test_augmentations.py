"""Augmentation recipes as data: how a step is written and read, its bounds, and recipes that are saved."""

import json
from pathlib import Path

import pytest

from fer_core.augmentations import BUILT_IN, FORMAT, Augmentation, Step, all_recipes, find, load, save
from fer_core.catalog import AUGMENT_OPERATIONS
from fer_core.errors import ConfigError, DataError
from fer_core.settings import Settings

MINE = Augmentation.parse(["rotate:7.5", "flip@0.4", "erase:0.3@0.25"], 0.8)


def saved_file(name: str, text: str) -> Path:
    path = Settings().recipes / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(work, *args) -> str:
    with pytest.raises(ConfigError) as caught:
        work(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- a step as text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("rotate:10", Step("rotate", 10.0, 1.0)),
        ("rotate:10@0.3", Step("rotate", 10.0, 0.3)),
        ("rotate@0.3", Step("rotate", 10.0, 0.3)),
        ("rotate", Step("rotate", 10.0, 1.0)),
        ("erase", Step("erase", 0.45, 1.0)),
        ("flip@1", Step("flip", 0.0, 1.0)),
        ("flip", Step("flip", 0.0, 0.5)),
        ("autocontrast", Step("autocontrast", 0.0, 0.5)),
        ("  shift:.05 ", Step("shift", 0.05, 1.0)),
        ("shift:1e-2", Step("shift", 0.01, 1.0)),
        ("shift:0@0", Step("shift", 0.0, 0.0)),
    ],
)
def test_what_is_left_out_of_a_step_comes_from_the_catalog(text, step):
    assert Step.parse(text) == step


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step("rotate", 10.0, 1.0), "rotate:10"),
        (Step("rotate", 0.5, 0.25), "rotate:0.5@0.25"),
        (Step("flip", 0.0, 0.5), "flip@0.5"),
        (Step("flip", 0.0, 1.0), "flip@1"),
        (Step("erase", 0.45, 0.3), "erase:0.45@0.3"),
        (Step("shift", 0.0, 0.0), "shift:0@0"),
    ],
)
def test_a_step_is_written_as_short_as_it_goes(step, text):
    assert str(step) == text


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
@pytest.mark.parametrize("share", [0.0, 1e-7, 1 / 3, 0.123456789, 1.0])
def test_every_step_is_read_back_as_the_very_same(operation, share):
    step = Step(operation, AUGMENT_OPERATIONS[operation].high * share, share)
    assert Step.parse(str(step)) == step


@pytest.mark.parametrize(
    "text", ["", " ", "rotate:", "rotate:10@", "rotate 10", "rotate:nan", "rotate:10:3", "flip@@1"]
)
def test_what_is_no_step_is_refused_with_the_forms_that_are_one(text):
    assert refusal(Step.parse, text) == (
        f"{text!r} is no step; write name, name:strength, name@probability or name:strength@0.5."
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rotat:10", "no operation named 'rotat'. Did you mean 'rotate'?"),
        ("rotate:46", "step 'rotate:46': strength 46 is not between 0 and 45."),
        ("rotate:-5", "step 'rotate:-5': strength -5 is not between 0 and 45."),
        ("rotate:1e999", "step 'rotate:1e999': strength inf is not between 0 and 45."),
        ("rotate:10@1.5", "step 'rotate:10@1.5': probability 1.5 is not between 0 and 1."),
        ("rotate:1e", "step 'rotate:1e': '1e' is no number."),
        ("rotate@1-1", "step 'rotate@1-1': '1-1' is no number."),
        ("flip:0.5", "step 'flip:0.5': flip has no strength; write flip@0.5 for a probability of 0.5."),
    ],
)
def test_a_step_out_of_bounds_is_refused_with_the_bounds(text, message):
    assert refusal(Step.parse, text).startswith(message)


@pytest.mark.parametrize("operation", AUGMENT_OPERATIONS)
def test_a_step_may_be_as_strong_as_the_catalog_says_and_no_stronger(operation):
    high = AUGMENT_OPERATIONS[operation].high
    if high:
        assert Step.parse(f"{operation}:{high}").strength == high
        assert "is not between" in refusal(Step.parse, f"{operation}:{high + 0.01}")


# --- an augmentation ------------------------------------------------------------------------------------------------


def test_an_augmentation_is_read_back_from_its_texts():
    assert Augmentation.parse(MINE.texts(), MINE.share) == MINE
    assert MINE.texts() == ("rotate:7.5", "flip@0.4", "erase:0.3@0.25")


def test_only_steps_that_can_change_an_image_are_active():
    mixed = Augmentation.parse(["rotate:0", "flip@0", "shift:0.1@0", "flip@0.2", "scale:0.1", "autocontrast@1"])
    assert [str(step) for step in mixed.active()] == ["flip@0.2", "scale:0.1", "autocontrast@1"]
    assert Augmentation(mixed.steps, share=0.0).active() == ()


def test_one_step_alone_keeps_its_place_in_the_share():
    assert MINE.only(1) == Augmentation.parse(["flip@0.4"], 0.8)


def test_the_strength_of_an_operation_is_its_first_active_steps():
    twice = Augmentation.parse(["crop:0.2@0", "crop:0.1", "rotate:5", "crop:0.3"])
    assert (twice.strength("crop"), twice.strength("rotate"), twice.strength("erase")) == (0.1, 5.0, 0.0)


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_recipes_are_within_their_bounds_and_can_be_written_down(name):
    augmentation = BUILT_IN[name].augmentation
    assert Augmentation.parse(augmentation.texts(), augmentation.share) == augmentation
    assert augmentation.active() == augmentation.steps
    assert find(name) is BUILT_IN[name]


# --- saved recipes --------------------------------------------------------------------------------------------------


def test_a_saved_recipe_is_found_again_after_the_built_in_ones():
    path = save("mine", MINE)
    assert path == Settings().recipes / "mine.json"
    assert load("mine").augmentation == MINE
    assert find("mine").augmentation == MINE
    assert find("mine").title == "mine" and find("mine").source == str(path)
    assert list(all_recipes()) == [*BUILT_IN, "mine"]


def test_a_saved_file_can_be_read_by_people():
    values = json.loads(save("mine", MINE).read_text(encoding="utf-8"))
    assert values == {"format": FORMAT, "steps": ["rotate:7.5", "flip@0.4", "erase:0.3@0.25"], "share": 0.8}


def test_saving_the_same_again_changes_nothing():
    uneven = Augmentation.parse([f"crop:{16 / 240}"], 1 / 3)
    path = save("mine", uneven)
    before = path.stat().st_mtime_ns
    assert save("mine", uneven) == path
    assert path.stat().st_mtime_ns == before


def test_a_name_that_is_taken_is_not_overwritten():
    path = save("mine", MINE)
    assert refusal(save, "mine", Augmentation()) == (
        f"there is a recipe 'mine' already; choose another name, or delete {path}."
    )
    assert load("mine").augmentation == MINE
    assert refusal(save, "standard", MINE) == "'standard' is a built-in recipe; choose another name."


@pytest.mark.parametrize("name", ["", "a b", "../up", "a/b", "ä", "x" * 41, "a.b", "mine\n"])
def test_a_name_that_is_no_file_name_everywhere_is_refused(name):
    assert refusal(save, name, MINE) == (f"{name!r} cannot name a recipe: use 1 to 40 letters, digits, '_' and '-'.")
    assert not Settings().recipes.exists()


@pytest.mark.parametrize("name", ["mien", "../mine", "a b", ""])
def test_an_unknown_recipe_is_refused_with_the_known_ones(name):
    save("mine", MINE)
    saved_file("a b", (Settings().recipes / "mine.json").read_text())  # a name that `save` would not have given
    text = refusal(find, name)
    assert text.startswith(f"no augmentation recipe named {name!r}.")
    assert (
        "Known: crop-224, ferplus-cnn, flip-rotate-crop, light, mine, none, resnet18-grey, standard, strong."
    ) in text
    if name == "mien":
        assert "Did you mean 'mine'?" in text


GOOD = {"format": FORMAT, "steps": ["flip@0.5"], "share": 1.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ('{"format": 1, "steps": ["fl', "Unterminated string"),
        ("[]", "a format other than 1."),
        (json.dumps({**GOOD, "format": 2}), "a format other than 1."),
        (json.dumps({"format": FORMAT, "share": 1.0}), "'steps'"),
        (json.dumps({"format": FORMAT, "steps": []}), "'share'"),
        (json.dumps({**GOOD, "steps": "flip@0.5"}), "steps is not a list of texts"),
        (json.dumps({**GOOD, "steps": [1]}), "steps is not a list of texts"),
        (json.dumps({**GOOD, "steps": ["rotate:99"]}), "strength 99 is not between 0 and 45."),
        (json.dumps({**GOOD, "steps": ["spin:9"]}), "no operation named 'spin'."),
        (json.dumps({**GOOD, "share": 1.5}), "share 1.5 is not between 0 and 1"),
        (json.dumps({**GOOD, "share": True}), "share True is not between 0 and 1"),
        (json.dumps({**GOOD, "share": float("nan")}), "share nan is not between 0 and 1"),
        (json.dumps({**GOOD, "share": "1"}), "share '1' is not between 0 and 1"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong_and_left_out_of_the_list(text, reason):
    path = saved_file("broken", text)
    for read in (load, find):
        message = refusal(read, "broken")
        assert message.startswith(f"{path}: not an augmentation recipe that can be read (")
        assert reason in message
    assert refusal(save, "broken", MINE).startswith(str(path))
    assert path.read_text(encoding="utf-8") == text
    assert list(all_recipes()) == list(BUILT_IN)


def test_a_file_that_is_no_text_and_a_folder_in_its_place_are_left_out():
    saved_file("bytes", "").write_bytes(b"\xff\xfe\x00")
    (Settings().recipes / "folder.json").mkdir()
    assert list(all_recipes()) == list(BUILT_IN)
    assert "not an augmentation recipe" in refusal(load, "bytes")
    assert "not an augmentation recipe" in refusal(load, "folder")


def test_a_saved_file_cannot_stand_in_for_a_built_in_recipe():
    saved_file("standard", json.dumps(GOOD))
    assert find("standard") is BUILT_IN["standard"]
    assert all_recipes()["standard"] is BUILT_IN["standard"]


def test_a_folder_that_cannot_be_written_to_is_one_line():
    Settings().recipes.write_text("a file stands where the folder should be")
    with pytest.raises(DataError, match="cannot be written to"):
        save("mine", MINE)
