"""Columns of any type into the few that are read: widths, categories, codes, rows of a matrix."""

import datetime as dt
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyhot import UserError, infer, read
from manyhot.data.columns import feature
from manyhot.data.plain import column_of
from manyhot.data.rows.describe import look, problems
from manyhot.data.table import from_python

WIDTHS = ["int8", "uint8", "int16", "uint64", "float16", "float32", "float64", "longdouble", ">f8", ">i4"]
BACKED = ["Int8", "UInt64", "Float32", "int8[pyarrow]", "halffloat[pyarrow]", "double[pyarrow]"]


@pytest.mark.parametrize("kind", WIDTHS + BACKED)
def test_numbers_of_any_width_are_numbers(kind):
    series = pd.Series([1, 2, 4]).astype(kind)
    for given in (series, series.to_numpy()) if kind in WIDTHS else (series,):
        table = from_python({"v": given})
        assert table.numbers("v").tolist() == [1, 2, 4], kind
        assert feature(table, "v")[0].kind == "number", kind
        assert table.cells("v").values == ("1", "2", "4"), kind


def test_halves_with_gaps_are_read_from_files_and_memory(tmp_path):
    halves = np.array([0.5, np.nan, 2], np.float16)
    pq.write_table(pa.table({"v": pa.array(halves), "w": [1, 2, 3]}), tmp_path / "t.parquet")
    for table in (read({"v": halves}), read(tmp_path / "t.parquet"), read(pd.DataFrame({"v": halves}))):
        assert table.column("v").to_pylist() == [0.5, None, 2.0]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([decimal.Decimal("1.5"), None], [1.5, None]),
        (pa.array([decimal.Decimal("1.5"), None], pa.decimal256(60, 3)), [1.5, None]),
        (pd.to_timedelta(["1h", None]), [3600.0, None]),
        (pa.array([1500, None], pa.duration("ms")), [1.5, None]),
        ([dt.time(8, 30), None], ["08:30:00.000000", None]),
        (pa.array([dt.date(2024, 1, 31), None], pa.date32()), ["2024-01-31", None]),
        (pd.array([1, None], "Int64"), [1, None]),
        (pd.array([True, None], "boolean"), [True, None]),
        (pd.array(["a", None], "string"), ["a", None]),
        (pd.array([1, None], "int64[pyarrow]"), [1, None]),
        (pd.Series([1, pd.NaT], dtype=object), [1, None]),
        (np.array([b"a", b"b"]), ["a", "b"]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pd.arrays.SparseArray([0.0, 1.5]), [0.0, 1.5]),
        (pd.PeriodIndex(["2024-01", "2024-02"], freq="M"), ["2024-01", "2024-02"]),
    ],
)
def test_what_a_type_means_is_kept(values, cells):
    found, is_category = column_of(values)
    assert found.to_pylist() == cells
    assert not is_category


@pytest.mark.parametrize("values", [np.array([1j, 2]), [1j, 2], pd.Series([1j, None], dtype=object)])
def test_complex_numbers_are_refused(values):
    with pytest.raises(UserError, match=r"'v' holds complex numbers.*\.real"):
        from_python({"v": values})


def test_arrays_with_names_are_tables():
    rows = np.array([(1, 0.5, "a"), (2, 1.5, "b")], dtype=[("n", int), ("h", "f2"), ("t", "U3")])
    table = read(rows)
    assert [table.column(name).to_pylist() for name in table.names] == [[1, 2], [0.5, 1.5], ["a", "b"]]


CODES = [7, 8, 9] * 20
CATEGORIES = {
    "numbers": pd.Categorical(CODES),
    "ordered": pd.Categorical(CODES, categories=[5, 7, 8, 9], ordered=True),
    "texts": pd.Categorical(list(map(str, CODES))),
    "fractions": pd.Categorical(np.array(CODES) / 2),
    "arrow": pa.array(CODES).dictionary_encode(),
}


@pytest.mark.parametrize("values", CATEGORIES.values(), ids=CATEGORIES)
def test_a_category_of_the_source_is_one(tmp_path, values):
    y = ["a", "b"] * 30
    tables = [read({"v": values, "y": y})]
    if not isinstance(values, pa.Array):
        pd.DataFrame({"v": values, "y": y}).to_parquet(tmp_path / "t.parquet")
        tables += [read(tmp_path / "t.parquet"), read(pd.DataFrame({"v": values, "y": y}))]
    for table in tables:
        assert infer(table, "y").inputs[0].kind == "category"
        assert infer(table.take(np.arange(10)), "y").inputs[0].kind == "category"
        assert infer(table, "y", kinds={"v": "number"}).inputs[0].kind == "number"
        assert len(infer(table, "v").targets[0].classes) == 3  # no class that no row has


def test_numbers_that_the_source_calls_categories_are_told():
    table = read({"v": CATEGORIES["numbers"], "w": CATEGORIES["texts"], "y": ["a", "b"] * 30})
    (line,) = [line for line in problems(table, infer(table, "y")) if "'v'" in line]
    assert line.endswith("so the source has it; to read numbers: --kind v=number")
    assert (
        infer({"q": pd.Categorical(np.arange(100) / 3), "x": range(100)}, "q").targets[0].kind == "multiclass"
    )


@pytest.mark.parametrize(
    "cells",
    [
        ["00501", "10001", "94110"],
        ["007", "012", "100"],
        [" 00501 ", "10001", ""],
        ["00501", "NA", "10001"],
        ["00501", "0", "10001"],
        ["030123456", "01761234567", "0891234"],
        ["038.9", "250.00", "401"],
        ["00", "01", "10"],
        ["0830", "0900", "1715"],
    ],
)
def test_numbers_that_begin_with_0_as_codes_do_are_categories(cells):
    table = from_python({"v": cells * 20, "y": ["a", "b", "b"] * 20})
    assert feature(table, "v")[0].kind == "category"
    assert any("--kind v=number" in line for line in problems(table, infer(table, "y")))
    assert any("--kind v=number" in line for line in look(table)["problems"])
    asked = infer(table, "y", kinds={"v": "number"})
    assert asked.inputs[0].kind == "number"
    assert not any("--kind v=number" in line for line in problems(table, asked))


@pytest.mark.parametrize(
    "cells",
    [
        ["0.5", "0", "12"],
        ["0", "1", "10"],
        ["0", "1", "0"],
        ["05", "7", "12"],
        ["-05", "-12", "-33"],
        ["000.50", "012.25", "100.00"],
        ["0,5", "10,25", "2,0"],
        ["0.0", "1.0", "2.0"],
        ["0e1", "1e2", "5"],
        [f"{hour:02}{minute:02}" for hour in range(24) for minute in (0, 15, 30, 45)],
    ],
)
def test_other_numbers_stay_numbers(cells):
    table = from_python({"v": cells * 20, "y": ["a", "b"] * (len(cells) * 10)})
    assert feature(table, "v")[0].kind == "number"
    assert not any("--kind v=number" in line for line in problems(table, infer(table, "y")))


def test_codes_and_dates_in_digits_of_many_values_are_left_out_with_the_option():
    days = pd.date_range("2020-01-01", periods=300).strftime("%d%m%Y")
    table = from_python({"code": [f"{n:06}" for n in range(0, 900, 3)], "day": days, "x": range(300)})
    assert feature(table, "code")[1].endswith(
        "'000000' begins with 0, as codes do; to read numbers: --kind code=number"
    )
    assert "write them as 2024-01-31" in feature(table, "day")[1]


@pytest.mark.parametrize("kind", [int, float, bool, np.float16, np.uint8])
def test_rows_with_a_single_1_are_classes(kind):
    rows = np.eye(3, dtype=kind)[[2, 0, 1, 2]]
    for given in (
        rows,
        rows.tolist(),
        pa.array(rows.tolist()),
        pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 3),
    ):
        assert from_python({"y": given}).column("y").to_pylist() == [2, 0, 1, 2]


def test_other_rows_of_0_and_1_are_tags():
    assert from_python({"y": np.array([[1, 1, 0], [0, 0, 0]])}).column("y").to_pylist() == [[0, 1], []]
    gaps = np.array([[1.0, 0], [np.nan, np.nan], [0, 1]])
    assert from_python({"y": gaps}).column("y").to_pylist() == [0, None, 1]
    for lists in ([[0], [1]], [[0, 1], [1]], [[1, 2], [0, 1]], [["0", "1"], ["1", "0"]], [[], []]):
        assert from_python({"y": lists}).column("y").to_pylist() == lists


def test_probabilities_are_no_labels():
    with pytest.raises(UserError, match=r"rows of fractions.*argmax"):
        infer({"y": np.full((6, 2), 0.5), "x": range(6)}, "y")


FLAGS = {"x": [0.1, 0.2, 0.3] * 6, "red": [1, 0, 0] * 6, "green": [0, 1, 0] * 6, "blue": [0, 0, 1] * 6}


def test_columns_of_which_each_row_has_one_are_proposed_as_one_target():
    table = from_python({**FLAGS, "a": [1, 0, 1] * 6, "b": [1, 1, 0] * 6})
    lines = [line for line in look(table)["problems"] if "--tags NAME=" in line]
    assert [line.partition(": ")[2] for line in lines] == [
        "--tags NAME=red,green,blue --kind NAME=multiclass",
        "--tags NAME=a,b",
    ]
    tags = {"colour": ["red", "green", "blue"]}
    assert any("--kind colour=multiclass" in line for line in problems(table, infer(table, tags=tags)))


def test_columns_of_which_a_row_has_one_are_one_target():
    from manyhot.targets import encode

    tags = {"colour": ["red", "green", "blue"]}
    schema = infer(from_python(FLAGS), tags=tags, kinds={"colour": "multiclass"})
    (target,) = schema.targets
    assert (target.kind, target.classes, target.columns) == (
        "multiclass",
        (*tags["colour"],),
        (*tags["colour"],),
    )
    assert type(schema).from_json(schema.to_json()) == schema
    table = from_python({"red": [1, 0, None, 1], "green": [0, 0, None, 1], "blue": [0, 0, None, 0]}, "t.csv")
    cells = [table.cells(name) for name in target.columns]
    assert encode(target, cells, "missing").tolist() == [0, -1, -1, -1]
    with pytest.raises(UserError, match=r"t\.csv row 4: 'red' and 'green' are both 1"):
        encode(target, cells)
    two = infer(
        {"yes": [1, 0, 1], "no": [0, 1, 0], "x": [1, 2, 3]}, tags={"t": ["yes", "no"]}, kinds={"t": "binary"}
    )
    assert two.targets[0].classes == ("no", "yes")
    with pytest.raises(UserError, match="may be multiclass"):
        infer(from_python(FLAGS), tags=tags, kinds={"colour": "number"})
