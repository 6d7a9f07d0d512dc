"""Reading anything: every kind of source becomes a Table, every mistake is one line with a remedy."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manyhot.data.sources.read import read
from manyhot.data.table import Table
from manyhot.errors import UserError


def lists(table: Table) -> dict[str, list]:
    return {name: column.to_pylist() for name, column in table.columns.items()}


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refused(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        read(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SAME = {
    "t.csv": "a,b\nx,y\n",
    "t.TSV": "a\tb\nx\ty\n",
    "t.txt": "a;b\nx;y\n",
    "t.jsonl": '{"a":"x","b":"y"}\n',
    "t.ndjson": '{"a":"x","b":"y"}\n',
    "t.arff": "@relation r\n@attribute a string\n@attribute b {y}\n@data\nx,y\n",
}


@pytest.mark.parametrize("name", SAME)
def test_the_ending_says_how_a_file_is_read(tmp_path, name):
    table = read(str(write(tmp_path / name, SAME[name])))
    assert lists(table) == {"a": ["x"], "b": ["y"]}
    assert (table.source, table.root, table.rows.tolist()) == (name, tmp_path, [1])


def test_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    data = {
        "n": [1, None],
        "t": [["a"], []],
        "c": pa.array(["x", "y"]).dictionary_encode(),
        "d": pa.array([0, 1], pa.date32()),
        "s": [{"k": 1}, {"k": 2}],
        "z": pa.nulls(2),
    }
    pq.write_table(pa.table(data), path)
    table = read(path)
    assert lists(table) == {
        "n": [1, None],
        "t": [["a"], []],
        "c": ["x", "y"],
        "d": ["1970-01-01", "1970-01-02"],
        "z": [None, None],
    }
    assert "'s'" in table.notes[0]
    path.write_bytes(b"no parquet at all")
    assert "cannot be read as Parquet" in refused(path)
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), path)
    assert "no rows" in refused(path)


def test_data_that_are_in_python_already():
    frame = pd.DataFrame(
        {"a": pd.Categorical(["x", "y"], categories=["x", "y", "unused"]), "b": [1.0, np.nan]}
    )
    table = read(frame)
    assert table.cells("a").values == ("x", "y")
    assert table.cells("b").values == ("1",)
    assert len(read((np.zeros((3, 2, 2), np.uint8), ["a", "b", "a"]))) == 3
    assert "DataFrame" in refused(3)


def test_a_missing_file_suggests_the_near_one(tmp_path):
    path = write(tmp_path / "train.csv", "a\n1\n").with_name("trian.csv")
    assert refused(path) == f"{path}: no such file or folder (did you mean 'train.csv'?)."
    assert "no such file" in refused(tmp_path / "nowhere" / "x.csv")


def test_an_unknown_ending_lists_the_known(tmp_path):
    message = refused(write(tmp_path / "t.docx", "x"))
    assert "'.docx'" in message
    assert ".csv" in message
    assert "no ending" in refused(write(tmp_path / "README", "x"))


def test_one_picture_is_a_table_of_one_row(tmp_path):
    table = read(write(tmp_path / "a.PNG", "x"))
    assert (lists(table), table.root) == ({"image": ["a.PNG"]}, tmp_path)


def test_what_a_folder_is_read_as(tmp_path):
    for label in ("cat", "dog"):
        write(tmp_path / label / "1.png", "x")
    assert lists(read(tmp_path))["label"] == ["cat", "dog"]
    write(tmp_path / "labels.csv", "image,kind\ncat/1.png,a\n")
    assert lists(read(tmp_path)) == {"image": ["cat/1.png"], "kind": ["a"]}
    assert read(tmp_path).root == tmp_path
    write(tmp_path / "tables" / "train.csv", "a\n1\n")
    assert "'train.csv'" in refused(tmp_path / "tables")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"")
    assert "labels without images" in refused(tmp_path)


def test_root(tmp_path):
    path = write(tmp_path / "t.csv", "a\nx\n")
    (tmp_path / "images").mkdir()
    assert read(path, root=tmp_path / "images").root == tmp_path / "images"
    assert read({"a": ["x"]}, root=str(tmp_path)).root == tmp_path
    assert "did you mean 'images'" in refused(path, root=tmp_path / "imagse")


# A second table of labels


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "data"
    for name in ("a.png", "b.png", "c.png"):
        write(folder / name, "x")
    return folder


@pytest.mark.parametrize("prefix", ["", "./", "data/"])
def test_labels_are_joined_by_path(pictures, tmp_path, prefix):
    labels = write(tmp_path / "l.csv", f"image,kind\n{prefix}c.png,x\n{prefix}a.png,y\n")
    table = read(pictures, labels=labels)
    assert lists(table) == {"image": ["a.png", "b.png", "c.png"], "kind": ["y", None, "x"]}


def test_labels_are_joined_by_row(tmp_path):
    data = write(tmp_path / "d.csv", "a\nx\ny\nz\n")
    labels = write(tmp_path / "l.csv", "row,kind\n3,p\n1,q\n")
    assert lists(read(data, labels=labels)) == {"a": [*"xyz"], "kind": ["q", None, "p"]}


def test_labels_of_a_path_column_with_another_name(tmp_path):
    data = write(tmp_path / "d.csv", "file,a\nx.png,1\ny.png,2\n")
    labels = write(tmp_path / "l.csv", "photo,kind\ny.png,k\n")
    assert lists(read(data, labels=labels))["kind"] == [None, "k"]


def test_labels_that_match_no_row_are_named(pictures, tmp_path):
    labels = write(tmp_path / "l.csv", "image,kind\na.png,x\nd.png,y\ne.png,y\n")
    message = refused(pictures, labels=labels)
    assert "l.csv row 2, column 'image': 2 of 3 rows" in message
    assert "'d.png', 'e.png'" in message
    data = write(tmp_path / "d.csv", "a\nx\n")
    assert "'2'" in refused(data, labels=write(tmp_path / "r.csv", "row,k\n2,a\n"))


def test_labels_twice_or_with_nothing_to_match_by(pictures, tmp_path):
    assert "rows 1 and 2" in refused(
        pictures, labels=write(tmp_path / "l.csv", "image,k\na.png,x\na.png,y\n")
    )
    assert "no column to match" in refused(pictures, labels=write(tmp_path / "m.csv", "k\nx\n"))


def test_labels_count_before_the_table_and_it_is_told(tmp_path):
    data = write(tmp_path / "d.csv", "row,kind,a\n1,x,p\n2,y,p\n3,z,p\n")
    table = read(data, labels=write(tmp_path / "l.csv", "row,kind,a\n2,new,p\n3,z,p\n"))
    assert lists(table) == {"row": [*"123"], "kind": ["x", "new", "z"], "a": [*"ppp"]}
    assert table.notes == ("column 'kind': 1 cells are those of l.csv",)


def test_labels_keep_their_type(tmp_path):
    data = write(tmp_path / "d.csv", "a\nx\ny\n")
    labels = write(tmp_path / "l.jsonl", '{"row":2,"tags":["p","q"],"n":5}\n')
    assert lists(read(data, labels=labels)) == {"a": ["x", "y"], "tags": [None, ["p", "q"]], "n": [None, 5]}
