"""Delimited text, JSON lines and ARFF: cells come back as they were written, broken files name the row."""

import contextlib
import csv
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manyhot.data.disk import Room
from manyhot.data.sources import jsonl as jsonl_module
from manyhot.data.sources import text
from manyhot.data.sources.arff import read_arff
from manyhot.data.sources.dialect import dialect_of
from manyhot.data.sources.jsonl import read_json, read_jsonl
from manyhot.data.sources.text import encoding_of, read_text
from manyhot.data.sources.write import write as write_table
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.targets import tags_of

in_tmp = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def write(folder: Path, content: str | bytes, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(content.encode(encoding) if isinstance(content, str) else content)
    return path


def lists(table: Table) -> dict[str, list]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


def refused(reader, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        reader(path)
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("word", ["NA", "null", "None", "1e3", "007", "NaN", "true", "2020-01-01", " a "])
def test_cells_stay_the_text_they_are(tmp_path, word):
    assert lists(read_text(write(tmp_path, f"a,b\n{word},1\nx,2\n"))) == {"a": [word, "x"], "b": ["1", "2"]}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path, encoding, end):
    content = end.join(["größe,b", "é,1", '"x,y",2', ""])
    table = read_text(write(tmp_path, content, encoding=encoding))
    assert lists(table) == {"größe": ["é", "x,y"], "b": ["1", "2"]}
    assert bool(table.notes) == (encoding == "cp1252")


def test_utf16_of_either_byte_order(tmp_path):
    for codec, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        path = write(tmp_path, mark + "a;b\nä;1\n".encode(codec))
        assert lists(read_text(path)) == {"a": ["ä"], "b": ["1"]}


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1,2\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb\n1,2\t3\n", "\t"),
        ("a|b\n1|2\n", "|"),
        ("image,tags\na.png,sky;sea\nb.png,sky|sea\n", ","),
        ("image;tags\na.png;x,y\n", ";"),
        ("one\n1\n", ","),
        ('a,"b;c;d"\n1,2\n', ","),
    ],
)
def test_the_delimiter_is_found_out(tmp_path, content, delimiter):
    assert dialect_of(write(tmp_path, content), "utf-8").delimiter == delimiter


def test_quoted_newlines_delimiters_and_quotes(tmp_path):
    table = read_text(write(tmp_path, 'a,b\n"x\ny","p""q"\n"1,2",5" pipe\n,""\n'))
    assert lists(table) == {"a": ["x\ny", "1,2", None], "b": ['p"q', '5" pipe', None]}


def test_a_row_longer_than_a_block(tmp_path):
    long = "x\n" * 800_000
    assert lists(read_text(write(tmp_path, f'a,b\n1,"{long}"\n')))["b"] == [long]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["header", "no row"]),
        ("a,b", ["header", "no row"]),
        ("a,b\n1,2\n3\n", ["row 2", "1 field,", "has 2"]),
        ("a,b\n1,2\n1,2,3\n", ["row 2", "3 fields", "has 2"]),
        ('a,b\n"x\ny",2\n3\n', ["row 2", "1 field,"]),
        ("a,b,a,b,c\n1,2,3,4,5\n", ["'a', 'b'"]),
        (",\n1,2\n", ["names no column"]),
        ('a,b\n1,2\n1,"2\n3,4\n', ["row 2", "never closed"]),
        ('a,b\n1,"2', ["row 1", "never closed"]),
        (b"PK\x03\x04\0\0", ["NUL"]),
        (b"a,b\n1,\x81\x8d\n", ["UTF-8"]),
        (b"\xff\xfea", ["UTF-16"]),
    ],
)
def test_what_is_refused(tmp_path, content, words):
    message = refused(read_text, write(tmp_path, content))
    assert all(word in message for word in words), message


def test_a_column_without_a_name_is_given_one(tmp_path):
    table = read_text(write(tmp_path, ",b, c\n0,1,2\n"))
    assert table.names == ("column 1", "b", "c")
    assert "column 1" in table.notes[0]
    assert "blanks" in table.notes[1]


def test_escaped_formulas_are_restored_and_numbers_left(tmp_path):
    table = read_text(write(tmp_path, "a\n'=1+1\n-1\n''=x\n'quoted'\n"))
    assert lists(table)["a"] == ["=1+1", "-1", "'=x", "'quoted'"]


def test_bytes_split_between_two_reads_are_valid(tmp_path, monkeypatch):
    monkeypatch.setattr("manyhot.data.sources.text.CHUNK", 3)
    assert encoding_of(write(tmp_path, "a\n€€€€\n")).name == "utf-8"


cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\x1f"), max_size=12).filter(
    lambda text: not text.startswith("'")
)


@in_tmp
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=12))
def test_what_the_csv_module_writes_comes_back(tmp_path, rows):
    out = io.StringIO(newline="")
    csv.writer(out).writerows([("a", "b", "c"), *rows])
    read = read_text(write(tmp_path, out.getvalue()))
    assert lists(read) == {name: [row[i] or None for row in rows] for i, name in enumerate("abc")}


@in_tmp
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    for reader, name in (
        (read_text, "t.csv"),
        (read_jsonl, "t.jsonl"),
        (read_json, "t.json"),
        (read_arff, "t.arff"),
    ):
        with contextlib.suppress(UserError):  # and nothing but a UserError
            assert len(reader(write(tmp_path, content, name))) > 0


@in_tmp
@given(
    st.lists(st.tuples(cell, st.sampled_from(["=1+1", "'=x", "''+y", "-1", "@a", "-a", "a'", "\t", None])))
)
def test_what_we_write_is_what_we_read(tmp_path, rows):
    data = {"k": [f"r{i}" for i in range(len(rows) + 1)], "=a": [r[0] or None for r in rows] + [None]}
    data["-1"] = [r[1] for r in rows] + ["+"]
    table = Table({name: pa.chunked_array([pa.array(cells, pa.string())]) for name, cells in data.items()})
    for ending in (".csv", ".tsv", ".jsonl"):
        write_table(table, tmp_path / f"t{ending}")
        reader = read_jsonl if ending == ".jsonl" else read_text
        assert lists(reader(tmp_path / f"t{ending}")) == data


# JSON lines


def jsonl(folder: Path, *lines: str) -> Path:
    return write(folder, "\n".join(lines), "t.jsonl")


def test_json_lines_keep_their_types(tmp_path):
    table = read_jsonl(jsonl(tmp_path, '{"n":1,"t":["x","y"]}', "", '{"n":2.5,"t":[],"b":true}', '{"s":"é"}'))
    assert lists(table) == {
        "n": [1.0, 2.5, None],
        "t": [["x", "y"], [], None],
        "b": [None, True, None],
        "s": [None, None, "é"],
    }


def test_json_columns_of_mixed_types_become_text(tmp_path):
    table = read_jsonl(jsonl(tmp_path, '{"a":1}', '{"a":"x"}', '{"a":["p","q"]}', '{"a":null}', '{"a":true}'))
    assert lists(table)["a"] == ["1", "x", '["p", "q"]', None, "True"]
    assert tags_of(lists(table)["a"][2], (";",)) == ("p", "q")


def test_json_types_that_differ_between_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("manyhot.data.sources.values.BATCH", 2)
    lines = ['{"a":1,"b":1}', '{"a":2,"b":2}', '{"a":2.5,"b":"x"}', '{"a":null,"c":[1]}', '{"c":null}']
    table = read_jsonl(jsonl(tmp_path, *lines))
    assert lists(table) == {
        "a": [1.0, 2.0, 2.5, None, None],
        "b": ["1", "2", "x", None, None],
        "c": [None, None, None, ["1"], None],
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{a", ["not valid JSON"]),
        ("[1]", ["must be a JSON object"]),
        ('{"a":{"b":1}}', ["'a'", "nested"]),
        ('{"a":[[1]]}', ["'a'", "nested"]),
        ('{"a":1,"a":2}', ["'a'", "twice"]),
        ("[" * 100_000, ["line 2"]),
    ],
)
def test_a_bad_json_line_is_named(tmp_path, line, words):
    message = refused(read_jsonl, jsonl(tmp_path, '{"a":1}', line))
    assert all(word in message for word in ["line 2", *words]), message


def test_json_without_rows_or_with_half_a_character(tmp_path):
    assert "no rows" in refused(read_jsonl, jsonl(tmp_path, ""))
    assert "surrogate" in refused(read_jsonl, jsonl(tmp_path, '{"a":"\\ud800"}'))
    assert lists(read_jsonl(jsonl(tmp_path, '{"a":' + "9" * 30 + "}")))["a"] == ["9" * 30]


json_cell = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.integers(-9, 9)


@in_tmp
@given(st.lists(json_cell, min_size=1, max_size=9))
def test_json_round_trip(tmp_path, values):
    read = lists(read_jsonl(jsonl(tmp_path, *(json.dumps({"v": v, "i": i}) for i, v in enumerate(values)))))
    mixed = {type(v) for v in values if v is not None} == {int, str}
    assert read["v"] == [str(v) if mixed and v is not None else v for v in values]
    assert read["i"] == list(range(len(values)))


# ARFF

HEAD = "% a comment\n@RELATION r\n@ATTRIBUTE 'my a' REAL\n"
HEAD += "@attribute b {x,'y z',\"q\"}\n@attribute c string\n@data\n"


def test_arff_quoted_sparse_and_missing(tmp_path):
    rows = "1, 'y z', 'it\\'s, a'\n% no row\n?,?,?\n{0 3, 1 x}\n{}\n{2 '?'}\n-1e-3,\"q\",plain, {5}\n"
    table = read_arff(write(tmp_path, HEAD + rows, "t.arff"))
    assert lists(table) == {
        "my a": [1.0, None, 3.0, 0.0, 0.0, -0.001],
        "b": ["y z", None, "x", "x", "x", "q"],
        "c": ["it's, a", None, None, None, "?", "plain"],
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello\n", ["line 1", "@attribute"]),
        (HEAD, ["no rows"]),
        (HEAD + "z,x,c\n", ["line 7", "'my a'", "not a number"]),
        (HEAD + "1,xx,c\n", ["line 7", "'b'", "'xx'"]),
        (HEAD + "1,x\n", ["line 7", "2 values", "3 attributes"]),
        (HEAD + "{9 x}\n", ["line 7", "cannot be read"]),
        (HEAD + "1,'x,c\n", ["line 7", "cannot be read"]),
        ("@relation r\n@attribute a relational\n@data\n1\n", ["line 2", "'relational'"]),
        ("@relation r\n@attribute a real\n@attribute a real\n@data\n1,2\n", ["'a'"]),
    ],
)
def test_what_arff_refuses(tmp_path, content, words):
    message = refused(read_arff, write(tmp_path, content, "t.arff"))
    assert all(word in message for word in words), message


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16"])
def test_what_pyarrow_reads_from_is_no_file_of_python(tmp_path, monkeypatch, encoding):
    """A thread of pyarrow's that lets go of one while Python ends aborts the command, about once in ten."""
    seen = []

    def read_csv(file, **options):
        seen.append(file)
        return parse(file, **options)

    parse = text.pacsv.read_csv
    monkeypatch.setattr(text.pacsv, "read_csv", read_csv)
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,ä\n", encoding=encoding)
    assert read_text(path).column("b").to_pylist() == ["ä"]
    assert isinstance(seen[0], pa.NativeFile)
    assert not isinstance(seen[0], pa.PythonFile)


def test_mulan_as_arff_and_as_csv_are_the_same():
    data = os.environ.get("MANYHOT_DATA")
    if not data:
        pytest.skip("MANYHOT_DATA names no folder with real data")
    folder = Path(data) / "mulan" / "yeast"
    one, other = read_arff(folder / "yeast-test.arff"), read_text(folder / "test.csv")
    assert sorted(one.names) == sorted(other.names)
    assert all((one.numbers(name) == other.numbers(name)).all() for name in one.names)


# JSON arrays


def array(folder: Path, content: str, encoding: str = "utf-8") -> Path:
    return write(folder, content, "t.json", encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_read_as_lines_of_them(tmp_path, indent, encoding):
    rows = [{"n": 1, "t": ["x", "y"]}, {"n": 2.5, "t": [], "b": True}, {"s": "é,]}\\"}, {}]
    content = f" \n{json.dumps(rows, indent=indent, ensure_ascii=False)}\n"
    lines = jsonl(tmp_path, *(json.dumps(row) for row in rows))
    assert lists(read_json(array(tmp_path, content, encoding))) == lists(read_jsonl(lines))


def test_a_file_of_lines_may_end_in_json(tmp_path):
    assert lists(read_json(array(tmp_path, '\n{"a":1}\n{"a":2}\n'))) == {"a": [1, 2]}


@pytest.mark.parametrize("block", [1, 3, 7])
def test_an_array_is_read_whatever_lies_between_two_blocks(tmp_path, monkeypatch, block):
    monkeypatch.setattr("manyhot.data.sources.jsonl.BLOCK", block)
    rows = [{"a": i, "text": "x" * i, "é": [str(i)]} for i in range(30)]
    table = read_json(array(tmp_path, json.dumps(rows, indent=1)))
    assert [
        dict(zip(table.names, row, strict=True)) for row in zip(*lists(table).values(), strict=True)
    ] == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["no rows"]),
        ("[]", ["no rows"]),
        ("[ ] x", ["follows the end"]),
        ("[1, 2]", ["item 1", "must be a JSON object", "got 1, 2]"]),
        ('[{"a":1}, "x"]', ["item 2", "must be a JSON object"]),
        ('[{"a":1}, [1]]', ["item 2", "must be a JSON object"]),
        ('[{"a":1}, null]', ["item 2", "must be a JSON object"]),
        ('[{"a":1},]', ["item 2", "must be a JSON object"]),
        ('[{"a":1}, {"a":', ["item 2", "cut short"]),
        ('[{"a":1}, {"a" 2}]', ["item 2", "not valid JSON"]),
        ('[{"a":1},', ["item 2", "cut short"]),
        ('[{"a":1}', ["item 1", "cut short"]),
        ('[{"a":1} {"a":2}]', ["item 1", "must go on with ,"]),
        ('[{"a":1}] {}', ["follows the end"]),
        ('[{"a":{"b":1}}]', ["item 1", "'a'", "nested"]),
        ('[{"a":1,"a":2}]', ["item 1", "'a'", "twice"]),
        ('[{"a":' + "[" * 100_000, ["item 1"]),
        ('{"rows": [{"a": 1}]}', ["line 1", "holds an array"]),
        ('{"a": [1, 2], "b": ["x", "y"]}', ["one object of lists", "holds an array"]),
        ('{\n"a": [1]\n}', ["line 1", "holds an array"]),
        ('"text"', ["line 1", "holds an array"]),
    ],
)
def test_a_bad_array_is_refused_by_its_item(tmp_path, content, words):
    message = refused(read_json, array(tmp_path, content))
    assert all(word in message for word in words), message


def test_no_more_of_an_array_is_held_than_an_item(tmp_path, monkeypatch):
    """An item that cannot be read is not looked for in all of the file."""
    monkeypatch.setattr("manyhot.data.sources.jsonl.BLOCK", 16)
    monkeypatch.setattr("manyhot.data.sources.jsonl.LONGEST", 256)
    taken = []
    path = array(tmp_path, '[{"a":1},{"a" 2},' + '{"a":3},' * 10_000)
    with path.open() as file:
        read = file.read

        class Counting:
            def read(self, size):
                taken.append(size)
                return read(size)

        with pytest.raises(UserError, match="item 2"):
            list(jsonl_module._items(Counting(), path))
    assert sum(taken) < 1000


@in_tmp
@given(st.text(st.sampled_from('[]{}",:1ea\\n'), max_size=30))
def test_any_text_is_an_array_or_refused(tmp_path, content):
    with contextlib.suppress(UserError):
        assert len(read_json(array(tmp_path, content))) > 0


def test_messages_stay_short_whatever_they_quote(tmp_path):
    many = ",".join(f"value{i}" for i in range(2000))
    for content in (
        f"@relation r\n@attribute a {{{many}\n@data\n1\n",
        f"@relation r\n@attribute a {{{many}}}\n@data\n{'x' * 900}\n",
        f"@relation r\n@attribute a real\n@data\n{'x' * 900}\n",
        f"@relation r\n@attribute a {'x' * 900}\n@data\n1\n",
        f"{'x' * 900}\n",
    ):
        path = write(tmp_path, content, "t.arff")
        assert len(refused(read_arff, path)) - len(str(path)) < 300
    names = ",".join(f"{'name' * 30}{i}" for i in range(9)) * 2
    path = write(tmp_path, f"{names}\n1\n")
    assert len(refused(read_text, path)) - len(str(path)) < 300
    path = write(tmp_path, "[" + '{"' + "k" * 900 + '": {}}]', "t.json")
    assert len(refused(read_json, path)) - len(str(path)) < 300


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
@pytest.mark.parametrize("memory", [1, 1e-9])
def test_lines_in_cells_stay_where_a_block_ends_in_them(tmp_path, monkeypatch, encoding, memory):
    monkeypatch.setenv("MANYHOT_CACHE", str(tmp_path / "cache"))
    cells = ["é" * (i % 7) + "\r\n" * (i % 3) + "\r\n\n\r" + "x" * (i % 5) for i in range(300)]
    rows = "".join(f'"{cell}",{"ab"[i % 2]}\r\n' for i, cell in enumerate(cells))
    (tmp_path / "t.csv").write_bytes(f"a,y\r\n{rows}".encode(encoding))
    for block in (64, 67, 71, 100):
        monkeypatch.setattr(text, "BLOCKS", (block, block, 1 << 30))
        assert read_text(tmp_path / "t.csv", room=Room(memory)).column("a").to_pylist() == cells
