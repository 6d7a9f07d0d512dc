import numpy as np
import pyarrow as pa
import pytest

from manyhot.data import dates
from manyhot.data.inputs.fitted import fit_transform
from manyhot.data.rows.infer import describe, infer, problems
from manyhot.data.table import from_python
from manyhot.errors import UserError


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("1970-01-01", 0.0),
        (" 1970-01-02 ", 1.0),
        ("1970-01-02 06:00", 1.25),
        ("1970-01-02T06:00:00Z", 1.25),
        ("1970-01-02T08:00:00+02:00", 1.25),
        ("1969-12-31", -1.0),
        ("2.1.1970", 1.0),
        ("1970/01/02", 1.0),
        ("02.01.1970 06:00", 1.25),
        ("1970/01/02 6:00:00", 1.25),
        ("02/01/1970", None),
        ("1970-13-01", None),
        ("1970", None),
        ("", None),
        ("a day", None),
        ("06:00", 0.25),
        ("18:00:00.5", 0.75 + 0.5 / 86_400),
        ("6:00", None),
        ("24:00", None),
        ("Fri, 2 Jan 1970", 1.0),
        ("02-Jan-70", 1.0),
        ("January 2, 1970 6:00 AM", 1.25),
        ("Jan 32 1970", None),
        ("1970/01/02 13:00 pm", None),
    ],
)
def test_a_text_is_a_date_or_none(text, days):
    assert dates.day(text) == days


def _table(**columns):
    rows = 40
    base = {"joined": [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(rows)], "y": ["a", "b"] * 20}
    return from_python({**base, **columns})


def test_a_column_of_dates_is_taken_apart():
    table = _table()
    schema = infer(table, ["y"])
    assert [(column.name, column.kind) for column in schema.inputs] == [("joined", "date")]
    inputs, x = fit_transform(schema, table, np.arange(40), 0, None)
    parts = [feature.part for feature in inputs.features]
    assert parts == ["days", "sine of year", "cosine of year", "sine of week", "cosine of week"]  # no hours
    assert x.shape == (40, 5)
    assert np.isfinite(x).all()
    again = type(inputs).from_json(inputs.to_json())
    np.testing.assert_array_equal(again.transform(table)[0], x)


def test_hours_are_told_where_there_are_some():
    table = _table(joined=[f"2024-01-{i % 28 + 1:02d} {i % 24:02d}:00" for i in range(40)])
    inputs, _ = fit_transform(infer(table, ["y"]), table, np.arange(40), 0, None)
    assert {"sine of day", "cosine of day"} <= {feature.part for feature in inputs.features}


def test_timestamps_of_arrow_are_dates_and_empty_cells_are_missing():
    days = np.datetime64("2024-01-01", "s") + np.arange(40) * np.timedelta64(1, "D")
    table = _table(joined=pa.array([*days[:39], None], pa.timestamp("s")))
    schema = infer(table, ["y"])
    assert schema.inputs[0].kind == "date"
    inputs, x = fit_transform(schema, table, np.arange(40), 0, None)
    assert np.isnan(x[39]).all()
    assert inputs.features[0].has_missing
    found = describe(table, schema)["inputs"][0]
    assert (found["missing"], found["first"][:10], found["last"][:10]) == (1, "2024-01-01", "2024-02-08")


def test_what_is_no_date_at_prediction_is_named():
    table = _table()
    inputs, _ = fit_transform(infer(table, ["y"]), table, np.arange(40), 0, None)
    bad = table.with_columns({"joined": ["2024-01-01"] * 39 + ["soon"]})
    with pytest.raises(UserError, match=r"row 40, column 'joined': 'soon' is not a date"):
        inputs.transform(bad)


def test_dates_that_could_be_two_are_left_out_with_the_remedy():
    table = _table(size=range(40))
    table = from_python({name: list(column.to_pylist()) * 2 for name, column in table.columns.items()})
    table = table.with_columns({"joined": [f"{i % 12 + 1}/{i % 11 + 1}/{1900 + i}" for i in range(80)]})
    lines = problems(table, infer(table, ["y"]))
    assert any("'joined' is left out" in line and "write them as 2024-01-31" in line for line in lines)


@pytest.mark.parametrize(
    ("form", "first"),
    [
        ("{d:02d}/{m:02d}/2024", "day"),
        ("{m}/{d}/24", "month"),
        ("{d:02d}-{m:02d}-2024 08:00", "day"),
        ("{m}/{d}/2024 6:30 PM", "month"),
    ],
)
def test_a_column_tells_the_day_from_the_month(form, first):
    table = _table(joined=[form.format(d=i % 28 + 1, m=i % 12 + 1) for i in range(40)])
    schema = infer(table, ["y"])
    assert (schema.inputs[0].kind, schema.inputs[0].notation.first) == ("date", first)
    assert any("read as dates, the " + first in line for line in problems(table, schema))
    inputs, x = fit_transform(schema, table, np.arange(40), 0, None)
    again = type(inputs).from_json(inputs.to_json())
    one = table.take(np.array([3]))  # in which both could be either
    np.testing.assert_array_equal(again.transform(one)[0], x[3:4])
    other = form.replace("{d", "{x").replace("{m", "{d").replace("{x", "{m").format(d=25, m=3)
    _, noticed = again.read(table.take(np.array([0])).with_columns({"joined": [other]}))
    assert [odd.what for odd in noticed.odd] == ["matched"]


def test_days_are_what_stays_the_same_while_months_pass():
    table = _table(joined=[f"01/{i % 12 + 1:02d}/{2000 + i}" for i in range(40)])
    assert infer(table, ["y"]).inputs[0].notation.first == "day"


def test_a_column_that_repeats_another_is_left_out_by_name():
    size = [i / 7 for i in range(40)]
    table = _table(size=size, again=size, joined_again=_table().column("joined"))
    schema = infer(table, ["y"])
    assert [column.name for column in schema.inputs] == ["joined", "size"]
    lines = problems(table, schema)
    assert "column 'again' is left out: it repeats column 'size'" in lines
    assert "column 'joined_again' is left out: it repeats column 'joined'" in lines
    assert len(infer(table, ["y"], kinds={"again": "number"}).inputs) == 3
