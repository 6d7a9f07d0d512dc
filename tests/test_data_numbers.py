"""Numbers as people write them: found once, kept in the schema, read so ever after."""

import json
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhot.data.columns import as_input
from manyhot.data.inputs.features import TableInputs, table_inputs
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.numbers import STYLES, matches, notations
from manyhot.data.rows.describe import look, problems
from manyhot.data.rows.infer import infer
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.schema import Input, Notation, Schema

POINT, COMMA = ["0.5", "1.25"], ["0,5", "1,25"]


def read(cells, missing=(), decimal=None, **others):
    """The column `v` of a table as `infer` takes it, and its numbers."""
    table = from_python(
        {"v": cells} | {name: (other * len(cells))[: len(cells)] for name, other in others.items()}
    )
    found = as_input(table, "v", missing, decimal)
    if found.kind != "number":
        return found, None
    return found, table.numbers("v", (*missing, *found.missing), found.notation).tolist()


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["1.234,50", "12,5", "-3", "0,5"], [1234.5, 12.5, -3, 0.5]),
        (["1,234.50", "12.5", "-3", "0.5"], [1234.5, 12.5, -3, 0.5]),
        (["1 234,5", "12,5", "1\u202f234\u00a0567,0"], [1234.5, 12.5, 1234567]),
        (["1'234.50", "12.00", "1’000"], [1234.5, 12, 1000]),
        (["1,23,456.5", "12,34,56,789", "999"], [123456.5, 123456789, 999]),
        (["1 234", "12 345", "7"], [1234, 12345, 7]),
        (["1,234,567", "1,234"], [1234567, 1234]),
        (["12,345", "0,5"], [12.345, 0.5]),
        (["5,1234", "12,345"], [5.1234, 12.345]),
        (["1.234.567", "1.234"], [1234567, 1234]),
        (["12.5 %", "3%", "100 %"], [12.5, 3, 100]),
        (["€ 1.234,50", "-€ 2,00", "€ -3,5"], [1234.5, -2, -3.5]),
        (["1.234,50 €", "2,00€"], [1234.5, 2]),
        (["$1,234.50", "-$5.00", "($3.10)", "$ 0.99"], [1234.5, -5, -3.1, 0.99]),
        (["CHF 1'234.50", "CHF -2.00"], [1234.5, -2]),
        (["R$ 1.234,50", "R$ 2,00"], [1234.5, 2]),
        (["₹1,23,456.00", "₹5"], [123456, 5]),
        (["(1,234.50)", "12.00"], [-1234.5, 12]),
        (["1.234,50-", "12,00"], [-1234.5, 12]),
        (["−1,5", "+2,5", ",5"], [-1.5, 2.5, 0.5]),
        (["1,5E-05", "2e+03", "3,5"], [1.5e-05, 2000, 3.5]),
        ([" 1,5 ", "\u00a02,5"], [1.5, 2.5]),
        (["5"] * 300 + ["1,234.5"], [5] * 300 + [1234.5]),
    ],
)
def test_notations_are_read(cells, numbers):
    assert read(cells)[1] == numbers


@pytest.mark.parametrize(
    "cells",
    [
        ["$5", "€6"],
        ["$5", "6"],
        ["5 kg", "6 kg"],
        ["1.234,5", "1,234.5"],
        ["1'234", "1 234"],
        ["0171 123 456", "0171 222 333"],
        ["10.0.0.1", "192.168.0.1"],
        ["1.2.3", "1.2.4"],
        ["2:30", "13:40"],
        ["1,23,4", "5"],
        ["25 7", "7", "0"],
        ["1-2", "3-4"],
        ["%", "€"],
    ],
)
def test_what_is_no_number_in_one_notation_stays_text(cells):
    assert read(cells)[0] == Input("v", "category")


def test_dates_are_no_numbers():
    assert read(["01.02.2024", "13.04.2024"])[0].kind == "date"
    assert read(["2024-01-31", "NA"])[0] == Input("v", "date", missing=("NA",))
    assert read(["12:30", "13:40"])[0].kind == "date"


def test_what_the_column_leaves_open_follows_from_the_others():
    both = ["1,234", "5,678", "999"]
    assert read(both, o=COMMA)[1] == [1.234, 5.678, 999]
    assert read(both, o=POINT)[1] == [1234, 5678, 999]
    assert read(both)[0].kind == read(both, o=POINT, p=COMMA)[0].kind == "category"
    assert read(both, decimal=",")[1] == [1.234, 5.678, 999]
    assert read(both, decimal=".", o=COMMA)[1] == [1234, 5678, 999]


def test_a_point_before_three_digits_is_one_of_thousands_only_beside_decimal_commas():
    both = ["1.234", "5.678", "999"]
    assert read(both, o=COMMA)[1] == [1234, 5678, 999]
    assert read(both)[0] == read(both, o=POINT)[0] == read(both, o=COMMA, p=POINT)[0] == Input("v", "number")
    assert read(["1.2345", "5.678"], o=COMMA)[0] == Input("v", "number")
    assert read(["1", "999"], o=COMMA)[0] == Input("v", "number")


def test_percentages_without_fraction_follow_the_table_too():
    assert read(["5 %", "6 %"], o=COMMA)[0].notation == Notation(",", ".", "%")
    assert read(["5 %", "6 %"])[0].notation == Notation(".", ",", "%")


def test_what_stays_open_is_told():
    cells = [f"{n},{n + 111}" for n in range(100, 300)]
    table = from_python({"v": cells, "w": [n % 7 for n in range(200)], "y": [*"aabbb"] * 40})
    (line,) = problems(table, infer(table, ["y"]))
    assert line.endswith("'100,211' may be of thousands or have a decimal comma, see --decimal")
    few = table.with_columns(
        {"v": ["100,211", "3,111", "7,222", "8,333", "9,444", "1,555", "2,666", "4,777"] * 25}
    )
    (line,) = problems(few, infer(few, ["y"]))
    assert line.startswith("column 'v' is read as categories: '100,211' may be")
    assert infer(table, ["y"], decimal=",").inputs[0].notation == Notation(",", ".")
    with pytest.raises(UserError, match=r"decimal must be '\.' or ',', got ';'"):
        infer(table, ["y"], decimal=";")


def test_points_that_may_be_of_thousands_are_told():
    table = from_python({"v": [f"{n}.{n + 111}" for n in range(100, 300)], "y": ["a", "b"] * 100})
    line = "column 'v': '100.211' is read with a decimal point, see --decimal"
    assert problems(table, infer(table, ["y"])) == [line]
    assert line in look(table)["problems"]
    for beside in COMMA, POINT:
        assert line not in look(table.with_columns({"o": beside * 100}))["problems"]


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "n/a", "NaN", "null", "None", "?", "-", "--", "#N/A", "NULL", " na "]
)
def test_the_usual_words_for_no_number_are_empty(word):
    assert np.isnan(read(["1,5", word, "2"])[1][1])
    found, numbers = read(["7", word, *["5"] * 300])
    assert (found.kind, numbers[0]) == ("number", 7)
    assert np.isnan(numbers[1])
    assert read([word] * 300 + ["5", "6"])[1][300:] == [5, 6]
    assert read(["5"] * 300 + [word])[1][:300] == [5] * 300


def test_other_words_are_not():
    for word in ("unknown", "low", "k.A.", "n.a", "---"):
        assert read(["1", word, "2", "NA"])[0] == Input("v", "category")
    assert read(["NA", "-"])[0] == Input("v", "category")
    assert read(["red", "NA", "blue"])[0] == Input("v", "category")
    assert read(["1", "unknown", "NA", "2"], missing=["unknown"])[1][::3] == [1, 2]


def test_one_word_among_people_s_numbers_is_hinted_at():
    cells = ["k.A.", "NA", *(f"{n},5" for n in range(118))]
    table = from_python({"v": cells, "w": list(range(120)), "y": ["a", "b"] * 60})
    (line,) = problems(table, infer(table, ["y"]))
    assert line.endswith("; all but 'k.A.' are numbers, see --missing")


def test_how_columns_are_read_is_told():
    columns = {"v": ["1.234,50 €", "(2,00 €)"], "w": ["1 234", "NA"], "u": ["1%", "2%"], "y": ["a", "b"]}
    table = from_python(columns)
    lines = [
        "column 'v': read as numbers, decimal comma, thousands separator ., € removed, parentheses negative",
        "column 'w': read as empty: 1 cell with 'NA'",
        "column 'w': read as numbers, thousands separator blank",
        "column 'u': read as numbers, % removed",
    ]
    assert problems(table, infer(table, ["y"]))[1:] == lines
    assert look(table)["problems"][:-1] == lines


def fitted(columns):
    table = from_python(columns, "t.csv")
    schema = infer(table, ["y"])
    inputs = table_inputs(schema, table, np.arange(len(table)))
    return schema, TableInputs.from_json(json.loads(json.dumps(inputs.to_json())))


def test_new_rows_are_read_as_those_of_training():
    schema, inputs = fitted({"v": ["1.234,5", "2,5", "NA", "0,25"], "y": ["a", "b"] * 2})
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema
    written = inputs.transform(from_python({"v": ["1.234,5", "NA", "1234,5"]}))[0][:, 0]
    typed = inputs.transform(from_python({"v": [1234.5, None, 1234.5]}))[0][:, 0]
    assert np.array_equal(written, typed, equal_nan=True)
    with pytest.raises(
        UserError, match=r"new row 1, column 'v': '1\.5' is not a number written like 1\.234,5\. Cor"
    ):
        inputs.transform(from_python({"v": ["1.5"]}, "new"))


def test_equal_numbers_are_equal_rows_however_they_are_written():
    schema, _ = fitted({"v": ["1.234,5", "2,5"], "y": ["a", "b"]})
    one, other, typed = (from_python({"v": [cell]}) for cell in ("1.234,5", "1234,50", 1234.5))
    assert row_hashes(schema, one) == row_hashes(schema, other) == row_hashes(schema, typed)


def test_inputs_of_older_models_read_as_before():
    _, inputs = fitted({"v": ["1", "2", "4"], "y": ["a", "b", "a"]})
    document = inputs.to_json()
    for feature in document["features"]:
        for name in ("notation", "missing"):
            feature.pop(name, None)
    old = TableInputs.from_json(document)
    assert old == inputs
    with pytest.raises(UserError, match="'NA' is not a number"):
        old.transform(from_python({"v": ["NA"]}))
    document = {"inputs": [{"name": "v", "kind": "number"}], "targets": []}
    assert Schema.from_json(document).inputs == (Input("v", "number"),)


@pytest.mark.parametrize(
    ("notation", "told"),
    [
        ({"decimal": ";"}, "decimal must be . or ,"),
        ({"decimal": ",", "thousands": ","}, "must differ"),
        ({"decimal": 5}, "'decimal' must be str"),
        ({"sign": "$"}, "unknown key 'sign'"),
        ("comma", "'notation' must be"),
    ],
)
def test_a_notation_edited_wrongly_is_refused(notation, told):
    document = {"inputs": [{"name": "v", "kind": "number", "notation": notation}], "targets": []}
    with pytest.raises(UserError, match=re.escape(told)):
        Schema.from_json(document)


def test_a_kind_that_is_said_is_read_in_its_notation():
    table = from_python({"v": ["1,5", "2,5"], "w": ["NA", "5"], "y": ["a", "b"]})
    inputs = infer(table, ["y"], kinds={"v": "number", "w": "category"}).inputs
    assert inputs == (Input("v", "number", notation=Notation(",", ".")), Input("w", "category"))
    table = table.with_columns({"v": ["1.234", "5.678"]})
    assert not any("'v'" in line for line in problems(table, infer(table, ["y"], kinds={"v": "category"})))


def write(number, style, affix, behind):
    """Write a number as a person of one country would."""
    decimal, thousands = style
    whole, _, fraction = f"{abs(number):,.2f}".partition(".")
    text = whole.replace(",", thousands) + decimal + fraction
    text = f"{text} {affix}" if behind else f"{affix}{text}"
    return f"-{text.strip()}" if number < 0 else text.strip()


@given(
    st.lists(st.floats(-1e9, 1e9).map(lambda number: round(number, 2)), min_size=1, max_size=20),
    st.sampled_from(STYLES),
    st.sampled_from(["", "€", "$", "%", "CHF", "kr"]),
    st.booleans(),
)
def test_numbers_that_were_written_are_read_back(numbers, style, affix, behind):
    cells = [write(number, style, affix, behind) for number in [*numbers, 0.25]]
    assert read(cells)[1] == pytest.approx([*numbers, 0.25])


@given(st.lists(st.text("0123456789.,' -()€$%eENA", max_size=8), min_size=1, max_size=5))
def test_a_column_that_is_found_is_read(cells):
    """Whatever is taken for numbers is read without an error, by Arrow as by Python."""
    found, _ = read(cells)
    texts = pa.chunked_array([cells])
    for style in notations(texts):
        assert all(matches(texts, style).to_pylist())
    assert found.kind in ("number", "category", "date")
