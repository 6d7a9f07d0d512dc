"""Tables into files and back: unchanged, whole or not at all, and safe for spreadsheets."""

import csv
import json
import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyhot.data.sources.read import read
from manyhot.data.sources.write import check_ending, escape, restore, write
from manyhot.data.table import from_python
from manyhot.errors import UserError

FORMULAS = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "=",
    "-",
    "+",
    "--1",
    "-x",
    "+1a",
]
NUMBERS = ["-1", "+5", "-1.5e-3", "-.5", "+.5E+10", "-0", "-1."]
HARMLESS = ["a", "1", "a=b", " =1", "'quoted'", "", "[]", "sky;sea", "é", "−1"]


def column(values):
    return pa.chunked_array([pa.array(values, pa.string())])


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_escaped_and_restored(text):
    out = escape(column([text]))[0].as_py()
    assert out == "'" + text
    assert restore(column([out]))[0].as_py() == text


@pytest.mark.parametrize("text", NUMBERS + HARMLESS)
def test_numbers_and_other_text_are_not(text):
    assert escape(column([text]))[0].as_py() == text


@pytest.mark.parametrize("text", ["'=1", "''=1", "'-1", "'+"])
def test_what_looks_escaped_is_escaped_once_more(text):
    out = escape(column([text]))[0].as_py()
    assert out == "'" + text
    assert restore(column([out]))[0].as_py() == text


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("='+-@\t\r1.e a", max_size=8), min_size=1, max_size=8))
def test_restore_undoes_escape(values):
    assert restore(escape(column(values))).to_pylist() == values


@settings(max_examples=100, deadline=None)
@given(st.text("='+-@\t\r1.e a", min_size=1, max_size=8))
def test_nothing_that_is_written_is_run(text):
    out = escape(column([text]))[0].as_py()
    if out[0] in "=+-@\t\r":  # a number, as people write them too, in which nothing is left to compute
        assert re.fullmatch(r"[+-][ 1.']*1[ 1.']*(e[+-]?1+)? *", out)


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_file_for_a_spreadsheet(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    data = {"=a": FORMULAS, "-1": [float(i) for i in range(len(FORMULAS))]}
    write(from_python(data), path)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="\t" if ending == ".tsv" else ","))
    assert rows[0] == ["'=a", "-1"]
    assert all(row[0].startswith("'") for row in rows[1:])
    again = read(path)
    assert again.names == ("=a", "-1")
    assert again.column("=a").to_pylist() == FORMULAS


def test_the_class_minus_one_stays_a_number(tmp_path):
    write(from_python({"y": ["-1", "1"], "n": [-1, 1], "f": [-0.5, 0.5]}), tmp_path / "t.csv")
    assert "'" not in (tmp_path / "t.csv").read_text()
    assert read(tmp_path / "t.csv").column("y").to_pylist() == ["-1", "1"]


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_what_is_written_comes_back(tmp_path, ending):
    data = {
        "text": ["a,b", 'say "x"', "two\nlines", "=1", None, "é;ü"],
        "number": [1, 2, None, -4, 5, 6],
        "float": [0.1, None, 1e-9, -2.5, 1e300, 3.0],
        "tags": [["a", "b"], [], None, ["=x"], ['q"'], ["c;d"]],
    }
    write(from_python(data), tmp_path / f"t{ending}")
    again = read(tmp_path / f"t{ending}")
    assert again.names == tuple(data)
    assert again.column("text").to_pylist() == data["text"]
    numbers = again.numbers("float").tolist()
    assert [None if n != n else n for n in numbers] == data["float"]
    if ending in (".jsonl", ".parquet"):
        assert again.column("tags").to_pylist() == data["tags"]
    else:
        assert again.column("tags")[3].as_py() == '["=x"]'


def test_json_lines_are_json(tmp_path):
    write(from_python({"a": ["=1", None], "b": [1.5, None]}), tmp_path / "t.jsonl")
    lines = (tmp_path / "t.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"a": "=1", "b": 1.5}, {"a": None, "b": None}]


@pytest.mark.parametrize("name", ["t.xlsx", "t", "t.csv.gz", "t.json"])
def test_an_ending_that_says_nothing(tmp_path, name):
    for call in (lambda path: check_ending(path), lambda path: write(from_python({"a": [1]}), path)):
        with pytest.raises(UserError, match=r"must end in one of '\.csv'"):
            call(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "new" / "t.csv"
    write(from_python({"a": [1]}), path)
    old = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("manyhot.data.sources.write.write_to", full)
    with pytest.raises(OSError, match="space"):
        write(from_python({"a": [2]}), path)
    assert path.read_bytes() == old
    assert [entry.name for entry in path.parent.iterdir()] == ["t.csv"]
