"""Charts of one run's or two runs' figures: the numbers that they draw, by hand, in a form that Vega-Lite allows."""

import altair
import pytest

from fer_core import charts
from fer_core.compare import compare
from fer_core.palette import RUN_COLORS
from fer_core.predictions import report_on
from tests.faces import make_predictions

BEFORE = make_predictions([0, 0, 3, 3], [0, 3, 3, 3])
AFTER = make_predictions([0, 0, 3, 3], [0, 0, 3, 0])


def check(spec):
    """Raises where the chart is not what Vega-Lite's schema allows."""
    altair.Chart.from_dict({"data": {"values": []}, **spec})


@pytest.mark.parametrize(
    ("quantity", "by_hand"),
    [("recall", ((0.5, 1), (1, 0.5))), ("precision", ((1, 2 / 3), (2 / 3, 1))), ("f1", ((2 / 3, 0.8), (0.8, 2 / 3)))],
)
def test_each_emotion_has_a_bar_of_each_report(quantity, by_hand):
    spec = charts.per_class({"one": report_on(BEFORE), "two": report_on(AFTER)}, quantity, ink="#123456", title="T")
    found = {(row["name"], row["bar"]): row["value"] for row in spec["data"]["values"]}
    assert len(found) == 14
    for emotion, (was, now) in zip(("angry", "happy"), by_hand, strict=True):
        assert (found[emotion, "one"], found[emotion, "two"]) == pytest.approx((was, now))
    color = spec["layer"][0]["encoding"]["color"]
    assert color["scale"]["range"] == list(RUN_COLORS.values())
    assert color["sort"] == spec["encoding"]["yOffset"]["sort"] == {"field": "place", "op": "min"}
    assert {row["bar"]: row["place"] for row in spec["data"]["values"]} == {"one": 0, "two": 1}
    check(spec)


def test_accuracies_stand_with_their_intervals():
    report = report_on(BEFORE)
    spec = charts.accuracy_intervals({"A: one": report, "B: two": report_on(AFTER)}, ink="black")
    first, second = spec["data"]["values"]
    assert spec["encoding"]["y"]["sort"] == {"field": "place", "op": "min"}
    assert (first["place"], second["place"]) == (0, 1)
    assert (first["name"], first["value"], second["value"]) == ("A: one", 0.75, 0.75)
    assert (first["low"], first["high"]) == report.accuracy_ci95
    assert first["text"] == "75.0%" and first["interval"] == "{:.1%} to {:.1%}".format(*report.accuracy_ci95)
    check(spec)


def test_the_difference_stands_with_its_interval_and_a_line_at_0():
    found = compare(BEFORE, make_predictions([0, 0, 3, 3]))
    spec = charts.accuracy_delta(found, ink="black")
    [row] = spec["data"]["values"]
    assert (row["value"], (row["low"], row["high"])) == (0.25, found.accuracy_delta_ci95)
    assert row["text"] == "+25.0%" and spec["layer"][0]["data"]["values"] == [{"value": 0}]
    assert spec["layer"][0]["encoding"]["x"] == spec["layer"][2]["encoding"]["x"], "on the dot's axis"
    check(spec)


def test_a_difference_that_rounds_to_nothing_has_no_minus_and_neighbouring_ticks_differ():
    labels = [3] * 3000
    found = compare(make_predictions(labels), make_predictions(labels, [3] * 2999 + [0]))
    spec = charts.accuracy_delta(found, ink="black")
    assert found.accuracy_delta < 0 and spec["data"]["values"][0]["text"] == "+0.0%"
    assert spec["layer"][1]["encoding"]["x"]["axis"] == {"format": "+.1%", "tickMinStep": 0.001, "tickCount": 5}
    spec = charts.accuracy_intervals({"A": found.a, "B": found.b}, ink="black")
    assert spec["layer"][1]["encoding"]["x"]["axis"] == {"format": ".0%", "tickMinStep": 0.01, "tickCount": 5}


def test_a_faces_probabilities_are_bars_of_a_whole():
    spec = charts.probabilities([0.25, 0.75], ("angry", "happy"), ink="black")
    assert [(row["name"], row["value"], row["text"]) for row in spec["data"]["values"]] == [
        ("angry", 0.25, "25%"), ("happy", 0.75, "75%"),
    ]  # fmt: skip
    assert spec["encoding"]["x"]["scale"]["domain"] == [0, 1.25]
    check(spec)
