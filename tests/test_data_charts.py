"""Charts of the data: the values in a figure are those handed in, in the order and the colours of their classes."""

import numpy as np
import plotly.graph_objects as go
import pytest

from fer_core.chart_parts import GREY, SELECTION, bars, emotion_colors, matrix
from fer_core.data.labelling import FERPLUS_CLASSES
from fer_core.data_charts import label_agreement, label_histogram, light, votes
from fer_core.labels import EMOTIONS, FERPLUS_COLUMNS
from fer_core.palette import EMOTION_COLORS, RIGHT_COLOR, WRONG_COLOR

COUNTS = {
    "train": dict.fromkeys(EMOTIONS, 0) | {"happy": 3000, "sad": 999, "disgust": 1},
    "public": dict.fromkeys(EMOTIONS, 0) | {"angry": 1, "neutral": 3},
    "private": dict.fromkeys(EMOTIONS, 0),
}


def titles(figure: go.Figure) -> list[str]:
    return [note.text for note in figure.layout.annotations]


# --- faces per emotion


def test_the_histogram_has_a_panel_a_split_with_its_counts_and_their_numbers():
    figure = label_histogram(COUNTS, as_share=False)
    assert titles(figure) == ["train", "public", "private"]
    for bar, by_emotion in zip(figure.data, COUNTS.values(), strict=True):
        assert (bar.type, bar.orientation) == ("bar", "h")
        assert dict(zip(bar.y, bar.x, strict=True)) == by_emotion
        assert list(bar.y) == list(EMOTIONS)
        assert list(bar.marker.color) == [EMOTION_COLORS[name] for name in EMOTIONS]
    assert list(figure.data[0].text) == ["0", "1", "0", "3,000", "999", "0", "0"]
    assert [bar.xaxis for bar in figure.data] == ["x", "x2", "x3"]
    assert figure.layout.xaxis.range == (0, 3000 * 1.25)
    assert figure.layout.xaxis2.range == (0, 3 * 1.25)


def test_shares_are_of_their_own_split_and_an_empty_one_has_none():
    train, public, private = label_histogram(COUNTS, as_share=True).data
    assert list(train.x) == pytest.approx([0, 0.00025, 0, 0.75, 0.24975, 0, 0])
    assert list(train.text) == ["0.0%", "0.0%", "0.0%", "75.0%", "25.0%", "0.0%", "0.0%"]
    assert list(public.x) == pytest.approx([0.25, 0, 0, 0, 0, 0, 0.75])
    assert list(private.x) == [0] * 7 and list(private.text) == ["0.0%"] * 7


def test_the_first_emotion_stands_at_the_top():
    figure = label_histogram(COUNTS, as_share=False)
    assert {axis.autorange for axis in (figure.layout.yaxis, figure.layout.yaxis2)} == {"reversed"}


def test_an_eighth_class_has_its_bar_and_colour():
    [bar] = label_histogram({"train": dict.fromkeys(FERPLUS_CLASSES, 2)}, as_share=False).data
    assert list(bar.y)[-1] == "contempt"
    assert bar.marker.color[-1] == EMOTION_COLORS["contempt"]
    assert len(set(bar.marker.color)) == 8


# --- light


def test_light_is_a_line_a_split_through_the_given_shares():
    centres = np.array([10.0, 30.0])
    shares = {"train": np.array([0.25, 0.75]), "private": np.array([1.0, 0.0])}
    figure = light(centres, shares, "brightness")
    assert [line.name for line in figure.data] == ["train", "private"]
    for line, share in zip(figure.data, shares.values(), strict=True):
        assert line.mode == "lines"
        assert list(line.x) == [10, 30] and list(line.y) == share.tolist()
        assert line.hovertemplate.startswith(f"{line.name}: ")
    assert len({line.line.color for line in figure.data}) == 2
    assert figure.layout.xaxis.title.text == "brightness"
    assert (figure.layout.yaxis.tickformat, figure.layout.yaxis.rangemode) == (".0%", "tozero")


def test_a_split_keeps_its_colour_whatever_is_beside_it():
    shares = {split: np.ones(1) for split in ("train", "public", "private")}
    whole = {line.name: line.line.color for line in light(np.ones(1), shares, "x").data}
    assert len(set(whole.values())) == 3
    [alone] = light(np.ones(1), {"private": np.ones(1)}, "x").data
    assert alone.line.color == whole["private"]


# --- votes


@pytest.mark.parametrize("kind", [list, np.uint8])
def test_votes_stand_beside_their_columns_and_none_is_written_for_zero(kind):
    given = [1, 0, 0, 4, 0, 0, 0, 2, 3, 0]
    row = given if kind is list else np.array(given, dtype=kind)
    [bar] = votes(row).data
    assert dict(zip(bar.y, bar.x, strict=True)) == dict(zip(FERPLUS_COLUMNS, given, strict=True))
    assert list(bar.text) == ["1", "", "", "4", "", "", "", "2", "3", ""]
    by_column = dict(zip(bar.y, bar.marker.color, strict=True))
    assert by_column["sadness"] == EMOTION_COLORS["sad"] and by_column["happiness"] == EMOTION_COLORS["happy"]
    assert by_column["contempt"] == EMOTION_COLORS["contempt"]
    assert by_column["unknown"] == by_column["NF"] == GREY


@pytest.mark.parametrize(("most", "end"), [(0, 11.5), (10, 11.5), (20, 23)])
def test_the_axis_of_votes_has_room_for_ten_and_for_more(most, end):
    figure = votes([most, *[0] * 9])
    assert figure.layout.xaxis.range == pytest.approx((0, end))


# --- FER2013's label against FER+


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
    bar = bars(("a", "b"), np.array([0.5, 2.0]), ["half", "two"], "#000000", "label")
    assert (list(bar.y), list(bar.x), list(bar.text)) == (["a", "b"], [0.5, 2.0], ["half", "two"])
    assert (bar.orientation, bar.textposition, bar.name, bar.marker.color) == ("h", "outside", "label", "#000000")
    assert bar.hovertemplate == "%{y}: %{text}<extra></extra>"


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
