"""Charts of balancing: the values drawn are those handed in, and each chart is valid Vega-Lite."""

from dataclasses import replace

import altair
import numpy as np
import pytest

from fer_core.adjust import Tradeoff
from fer_core.balance import plan_balance
from fer_core.balance_charts import QUANTITIES, mix_chart, tradeoff_chart
from fer_core.balance_preview import preview
from fer_core.chart_parts import GREY, grouped_bars
from fer_core.config import RunConfig
from fer_core.errors import RunError
from fer_core.labels import EMOTIONS, FER2013_TRAIN_COUNTS
from tests.faces import random_predictions

COUNTS = list(FER2013_TRAIN_COUNTS.values())
ANSWERS = random_predictions(50, seed=1)


def previewed(balance, answers=ANSWERS):
    config = RunConfig(balance=balance, balance_alpha=1.0)
    return preview(COUNTS, plan_balance(COUNTS, config), answers)


def check_vega_lite(spec):
    """Raises where the chart is not what Vega-Lite's schema allows."""
    altair.Chart.from_dict({"data": {"values": []}, **spec})


def layer(spec, name):
    [found] = [one for one in spec["layer"] if one.get("name") == name]
    return found["data"]["values"]


# --- before a training


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_each_quantity_has_two_bars_a_class_with_their_numbers(quantity):
    before, after = previewed("none"), previewed("sampler")
    spec = mix_chart(before, after, EMOTIONS, quantity, ink="#123456")
    rows = spec["data"]["values"]
    attribute = QUANTITIES[quantity][1]
    for when, one in (("as is", before), ("balanced", after)):
        found = {row["name"]: row["value"] for row in rows if row["bar"] == when}
        assert list(found) == list(EMOTIONS)
        np.testing.assert_allclose(list(found.values()), getattr(one, attribute))
    assert len(rows) == 14
    assert spec["encoding"]["y"]["sort"] == list(EMOTIONS)
    room = spec["encoding"]["x"]["scale"]["domain"][1] / max(row["value"] for row in rows)
    assert 1.4 <= room <= 1.4 * 1.34, "no step to the next round number is larger"
    assert spec["layer"][1]["mark"]["color"] == "#123456"
    check_vega_lite(spec)


@pytest.mark.parametrize(("most", "full"), [(0.21, 0.25), (0.2, 0.2), (1.0, 1.0), (8.3, 10.0), (0.0, 1.0), (37, 40)])
def test_a_bar_of_full_length_stands_for_a_round_number(most, full):
    spec = grouped_bars(("a", "b"), {"bar": (0, most)}, ("red",), "{:.1f}", ink="black")
    assert spec["encoding"]["x"]["scale"]["domain"] == pytest.approx([0, 1.4 * full])


@pytest.mark.parametrize(
    ("bars", "columns"), [(("as is", "balanced"), 2), (("a-run-of-mine", "a-run-of-mine (tau 1)"), 1)]
)
def test_long_names_stand_below_one_another_in_the_legend(bars, columns):
    spec = grouped_bars(("a",), dict.fromkeys(bars, (1,)), ("red", "blue"), "{:.1f}", ink="black")
    assert spec["layer"][0]["encoding"]["color"]["legend"]["columns"] == columns
    check_vega_lite(spec)


def test_the_numbers_are_written_as_a_person_reads_them():
    def text(quantity, when):
        rows = mix_chart(previewed("none"), previewed("sampler"), EMOTIONS, quantity, ink="black")["data"]["values"]
        return next(row["text"] for row in rows if (row["name"], row["bar"]) == ("disgust", when))

    assert [text("mix", when) for when in ("as is", "balanced")] == ["1.5%", "14.3%"]
    assert [text("repeats", when) for when in ("as is", "balanced")] == ["1.00×", "9.41×"]
    assert [text("unseen", when) for when in ("as is", "balanced")] == ["0.0%", "0.0%"]


def test_bars_of_nothing_have_an_axis_all_the_same():
    spec = mix_chart(previewed("none"), previewed("none"), EMOTIONS, "unseen", ink="black")
    assert spec["encoding"]["x"]["scale"]["domain"] == [0, 1.4]


def test_without_a_run_there_is_no_chart_of_gradients():
    plain = previewed("none", answers=None)
    mix_chart(plain, plain, EMOTIONS, "loss", ink="black")
    with pytest.raises(RunError, match="nothing is known of gradients; choose one"):
        mix_chart(plain, plain, EMOTIONS, "gradient", ink="black")


# --- after one

CURVE_A = [Tradeoff(0.0, 0.70, 0.50, 0.5), Tradeoff(0.5, 0.68, 0.60, 0.5), Tradeoff(1.0, 0.60, 0.55, 0.5)]
CURVE_B = [Tradeoff(0.0, 0.65, 0.65, 0.5), Tradeoff(1.0, 0.55, 0.64, 0.5)]


def drawn(curves=None, runs=None, colors=None):
    curves = {"a": CURVE_A, "b": CURVE_B} if curves is None else curves
    runs = {"a": CURVE_A[1], "b": CURVE_B[1]} if runs is None else runs
    spec = tradeoff_chart(curves, runs, colors={"a": "#c26a1b"} if colors is None else colors, ink="#123456")
    check_vega_lite(spec)
    return spec


def test_lines_have_every_point_of_their_runs_in_their_colours():
    lines = drawn()["layer"][1]
    rows = lines["data"]["values"]
    assert [(row["run"], row["tau"], row["x"], row["y"]) for row in rows] == [
        ("a", 0.0, 0.50, 0.70), ("a", 0.5, 0.60, 0.68), ("a", 1.0, 0.55, 0.60),
        ("b", 0.0, 0.65, 0.65), ("b", 1.0, 0.64, 0.55),
    ]  # fmt: skip
    assert {row["run"]: row["color"] for row in rows} == {"a": "#c26a1b", "b": GREY}
    assert lines["encoding"]["order"]["field"] == "tau"
    assert lines["encoding"]["detail"]["field"] == "run"


def test_the_front_is_over_all_runs():
    assert [(row["run"], row["tau"]) for row in layer(drawn(), "front")] == [("a", 0.0), ("a", 0.5), ("b", 0.0)]


def test_every_run_is_a_point_and_those_on_the_front_are_ringed():
    spec = drawn()
    assert [(row["run"], row["x"], row["y"]) for row in layer(spec, "runs")] == [("a", 0.6, 0.68), ("b", 0.64, 0.55)]
    assert [row["run"] for row in layer(spec, "on the front")] == ["a"]


def test_a_run_without_a_line_is_a_point_that_counts_for_the_front():
    best = Tradeoff(0.0, 0.9, 0.9, 0.9)
    spec = drawn(runs={"c": best, "a": replace(best, accuracy=0.8)})
    assert [row["run"] for row in layer(spec, "front")] == ["c"]
    assert [row["run"] for row in layer(spec, "on the front")] == ["c"]


def test_only_runs_with_a_colour_are_named_above_and_below_by_turns():
    spec = drawn(runs=dict.fromkeys("abcd", CURVE_A[0]), colors=dict.fromkeys("acd", "#c26a1b"))
    above, below = spec["layer"][-2:]
    assert [[row["run"] for row in one["data"]["values"]] for one in (above, below)] == [["a", "d"], ["c"]]
    assert above["mark"]["dy"] < 0 < below["mark"]["dy"]


def test_the_axes_show_the_runs_and_the_front_and_not_where_a_line_leads_far_below():
    lost = [*CURVE_A, Tradeoff(2.0, 0.10, 0.20, 0.1)]
    spec = drawn(curves={"a": lost, "b": CURVE_B})
    assert spec["encoding"]["x"]["scale"]["domain"] == pytest.approx([0.45, 0.7])
    assert spec["encoding"]["y"]["scale"]["domain"] == pytest.approx([0.5, 0.75])
    assert all(one["mark"]["clip"] for one in spec["layer"][1:3])
    assert len(spec["layer"][1]["data"]["values"]) == 6


def test_without_runs_the_chart_is_empty():
    spec = drawn({}, {}, {})
    assert layer(spec, "front") == layer(spec, "runs") == []
