"""The one way in which pages draw charts: numbers apart from what the chart looks like."""

from ui.chart import data_apart

ROWS, OTHERS = [{"x": 1, "name": "a"}, {"x": 2, "name": "b"}], [{"x": 3, "name": "c"}]


def tables_of(spec):
    return {name: table.to_pylist() for name, table in spec["datasets"].items()}


def test_a_layers_rows_become_a_named_table():
    spec = {"height": 9, "data": {"values": ROWS}, "layer": [{"mark": "bar"}, {"data": {"values": OTHERS}}]}
    found = data_apart(spec)
    assert found["data"] == {"name": "rows 1"} and found["layer"][1]["data"] == {"name": "rows 2"}
    assert tables_of(found) == {"rows 1": ROWS, "rows 2": OTHERS}
    assert found["height"] == 9 and found["layer"][0] == {"mark": "bar"}
    assert spec["data"]["values"] is ROWS, "what was given stays as it was"


def test_layers_that_share_their_rows_share_a_table():
    found = data_apart(
        {"layer": [{"data": {"values": ROWS}}, {"data": {"values": OTHERS}}, {"data": {"values": ROWS}}]}
    )
    assert [layer["data"]["name"] for layer in found["layer"]] == ["rows 1", "rows 2", "rows 1"]


def test_another_number_changes_the_table_alone():
    one, two = (data_apart({"data": {"values": [{"x": x}]}, "mark": "bar"}) for x in (1, 2))
    assert {**one, "datasets": None} == {**two, "datasets": None}
    assert tables_of(one) != tables_of(two)


def test_a_chart_without_rows_is_drawn_too():
    assert tables_of(data_apart({"data": {"values": []}, "mark": "bar"})) == {"rows 1": []}


def test_what_some_rows_lack_is_kept_of_the_others():
    rows = [{"x": 1}, {"x": 2.5, "low": 0.5}, {"x": None, "low": None, "name": "c"}]
    [table] = tables_of(data_apart({"data": {"values": rows}, "mark": "bar"})).values()
    assert table == [
        {"x": 1.0, "low": None, "name": None}, {"x": 2.5, "low": 0.5, "name": None},
        {"x": None, "low": None, "name": "c"},
    ]  # fmt: skip
