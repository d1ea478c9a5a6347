"""Charts of the data: the values in a chart are those handed in, in the order and the colours of their classes."""

import numpy as np
import pytest

from fer_core.chart_parts import GREY, SELECTION, bar_spec, emotion_colors, matrix
from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.data_charts import label_agreement, label_histogram, light, votes
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS
from fer_core.palette import EMOTION_COLORS, RIGHT_COLOR, WRONG_COLOR

COUNTS = {
    "train": dict.fromkeys(EMOTIONS, 0) | {"happy": 3000, "sad": 999, "disgust": 1},
    "public": dict.fromkeys(EMOTIONS, 0) | {"angry": 1, "neutral": 3},
    "private": dict.fromkeys(EMOTIONS, 0),
}


def values(spec: dict, field: str) -> list:
    return [row[field] for row in spec["data"]["values"]]


# --- faces per emotion


def test_the_histogram_has_each_emotion_with_its_count_and_colour():
    spec = label_histogram(COUNTS["train"], as_share=False, ink="#123456")
    assert dict(zip(values(spec, "name"), values(spec, "value"), strict=True)) == COUNTS["train"]
    assert values(spec, "text") == ["0", "1", "0", "3,000", "999", "0", "0"]
    assert values(spec, "color") == [EMOTION_COLORS[name] for name in EMOTIONS]
    assert spec["encoding"]["y"]["sort"] == list(EMOTIONS)  # the first emotion stands at the top
    assert spec["encoding"]["x"]["scale"]["domain"] == [0, 3000 * 1.25]
    assert spec["layer"][1]["mark"]["color"] == "#123456"


def test_shares_are_of_their_own_split_and_an_empty_one_has_none():
    train, public, private = (label_histogram(one, as_share=True, ink="black") for one in COUNTS.values())
    assert values(train, "value") == pytest.approx([0, 0.00025, 0, 0.75, 0.24975, 0, 0])
    assert values(train, "text") == ["0.0%", "0.0%", "0.0%", "75.0%", "25.0%", "0.0%", "0.0%"]
    assert values(public, "value") == pytest.approx([0.25, 0, 0, 0, 0, 0, 0.75])
    assert values(private, "value") == [0] * 7 and values(private, "text") == ["0.0%"] * 7
    assert private["encoding"]["x"]["scale"]["domain"] == [0, 1.25]


def test_an_eighth_class_has_its_bar_and_colour():
    spec = label_histogram(dict.fromkeys(FERPLUS_CLASSES, 2), as_share=False, ink="black")
    assert values(spec, "name")[-1] == "contempt"
    assert values(spec, "color")[-1] == EMOTION_COLORS["contempt"]
    assert len(set(values(spec, "color"))) == 8


# --- light


def test_light_is_a_line_a_split_through_the_given_shares():
    shares = {"train": np.array([0.25, 0.75]), "private": np.array([1.0, 0.0])}
    spec = light(np.array([10.0, 30.0]), shares, "brightness")
    assert spec["data"]["values"] == [
        {"grey": 10.0, "share": 0.25, "split": "train"}, {"grey": 30.0, "share": 0.75, "split": "train"},
        {"grey": 10.0, "share": 1.0, "split": "private"}, {"grey": 30.0, "share": 0.0, "split": "private"},
    ]  # fmt: skip
    assert spec["mark"]["type"] == "line"
    assert spec["encoding"]["x"]["title"] == "brightness"
    assert spec["encoding"]["y"]["axis"]["format"] == ".0%"


def test_a_split_keeps_its_colour_whatever_is_beside_it():
    def colors(*splits: str) -> dict[str, str]:
        scale = light(np.ones(1), {split: np.ones(1) for split in splits}, "x")["encoding"]["color"]["scale"]
        return dict(zip(scale["domain"], scale["range"], strict=True))

    whole = colors("train", "public", "private")
    assert len(set(whole.values())) == 3
    assert colors("private") == {"private": whole["private"]}


# --- votes


@pytest.mark.parametrize("kind", [list, np.uint8])
def test_votes_stand_beside_their_columns_and_none_is_written_for_zero(kind):
    given = [1, 0, 0, 4, 0, 0, 0, 2, 3, 0]
    spec = votes(given if kind is list else np.array(given, dtype=kind), ink="black")
    names = [*FERPLUS_COLUMNS[:-1], "no face"]
    assert dict(zip(values(spec, "name"), values(spec, "value"), strict=True)) == dict(zip(names, given, strict=True))
    assert values(spec, "text") == ["1", "", "", "4", "", "", "", "2", "3", ""]
    by_column = dict(zip(values(spec, "name"), values(spec, "color"), strict=True))
    assert by_column["sadness"] == EMOTION_COLORS["sad"] and by_column["happiness"] == EMOTION_COLORS["happy"]
    assert by_column["contempt"] == EMOTION_COLORS["contempt"]
    assert by_column["unknown"] == by_column["no face"] == GREY


@pytest.mark.parametrize(("most", "end"), [(0, 12.5), (10, 12.5), (20, 25)])
def test_the_axis_of_votes_has_room_for_ten_and_for_more(most, end):
    assert votes([most, *[0] * 9], ink="black")["encoding"]["x"]["scale"]["domain"] == [0, end]


def cells(spec: dict) -> dict[tuple[str, str], dict]:
    return {(cell["true"], cell["predicted"]): cell for cell in spec["data"]["values"]}


def test_agreement_is_coloured_by_the_share_of_its_row_and_tells_the_counts():
    counts = np.array([[3, 1, 0], [0, 0, 0], [1000, 0, 2000]])
    spec = label_agreement(counts, ("angry", "fear", "sad"), ("angry", "sad", "contempt"), ink="#123456")
    found = cells(spec)
    assert len(found) == 9
    cell = found["angry", "angry"]
    assert (cell["text"], cell["strength"], cell["faces"], cell["color"]) == ("75%", 0.75, "3 of 4", RIGHT_COLOR)
    cell = found["angry", "sad"]
    assert (cell["text"], cell["strength"], cell["faces"], cell["color"]) == ("25%", 0.25, "1 of 4", WRONG_COLOR)
    assert found["sad", "contempt"]["strength"] == 0.667 and found["sad", "contempt"]["faces"] == "2,000 of 3,000"
    assert found["sad", "sad"]["color"] == RIGHT_COLOR  # the second column: by name, not by place
    assert {found["fear", column]["text"] for column in ("angry", "sad", "contempt")} == {"0%"}
    assert spec["encoding"]["y"]["title"] == "FER2013" and spec["encoding"]["x"]["title"] == "FER+ majority"
    assert spec["encoding"]["y"]["sort"] == ["angry", "fear", "sad"]
    assert spec["encoding"]["x"]["sort"] == ["angry", "sad", "contempt"]


def test_the_whole_matrix_is_right_on_its_diagonal_alone():
    spec = label_agreement(np.ones((7, 8), dtype=np.int64), EMOTIONS, FERPLUS_CLASSES, ink="black")
    right = {names for names, cell in cells(spec).items() if cell["color"] == RIGHT_COLOR}
    assert right == {(name, name) for name in EMOTIONS}
    assert len(cells(spec)) == 56


# --- parts


def test_what_is_no_emotion_is_grey():
    assert emotion_colors(["happy", "unknown", "contempt"]) == [
        EMOTION_COLORS["happy"], GREY, EMOTION_COLORS["contempt"],
    ]  # fmt: skip


def test_bars_show_the_given_texts_not_the_values():
    spec = bar_spec(("a", "b"), [0.5, 2.0], ["half", "two"], ["red", "blue"], ink="black", height=90)
    assert spec["data"]["values"] == [
        {"name": "a", "value": 0.5, "text": "half", "color": "red"},
        {"name": "b", "value": 2.0, "text": "two", "color": "blue"},
    ]
    assert spec["height"] == 90
    assert spec["layer"][1]["encoding"]["text"]["field"] == "text"
    assert bar_spec((), [], [], [], ink="black", height=90)["encoding"]["x"]["scale"]["domain"] == [0, 1.25]


def test_a_matrix_has_each_cell_once_and_a_selection_of_row_and_column():
    strength = np.array([[0.12345, 1.0, 0.0], [0.5, 0.25, 0.75]])
    texts = [["a", "b", "c"], ["d", "e", "f"]]
    colors = np.array([["red"] * 3, ["blue"] * 3])
    tips = [["1", "2", "3"], ["4", "5", "6"]]
    spec = matrix(("x", "y"), ("p", "q", "r"), strength, texts, colors, tips, ink="#123456", titles=("up", "across"))
    assert spec["data"]["values"][0] == {
        "true": "x", "predicted": "p", "text": "a", "strength": 0.123, "color": "red", "faces": "1",
    }  # fmt: skip
    assert [(cell["true"], cell["predicted"], cell["text"], cell["faces"]) for cell in spec["data"]["values"][3:]] == [
        ("y", "p", "d", "4"), ("y", "q", "e", "5"), ("y", "r", "f", "6"),
    ]  # fmt: skip
    squares, numbers = spec["layer"]
    [selection] = squares["params"]
    assert selection["name"] == SELECTION
    assert (selection["select"]["type"], selection["select"]["fields"]) == ("point", ["true", "predicted"])
    assert squares["mark"]["stroke"] == numbers["encoding"]["color"]["value"] == "#123456"
    assert [tip.get("title") for tip in spec["encoding"]["tooltip"]] == ["up", "across", None]
