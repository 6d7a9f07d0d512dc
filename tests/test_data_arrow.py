"""Arrow's files and what data sets of Hugging Face keep in them: pictures in cells, names of classes."""

import contextlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from making import QUICK
from PIL import Image

import manyhot
from manyhot.cli import main
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.inputs.images.images import image_inputs
from manyhot.data.inputs.images.opening import picture
from manyhot.data.rows.describe import describe, look
from manyhot.data.rows.infer import infer
from manyhot.data.sources.hugging_face import held_pictures
from manyhot.data.sources.read import read
from manyhot.data.sources.write import write
from manyhot.data.table import from_python
from manyhot.errors import UserError

ROWS = 48
DATA = pa.table({"a": [1, 2, None], "b": ["x", None, "z"]})


def cells(table):
    return {name: column.to_pylist() for name, column in table.columns.items()}


def stream_of(data, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, data.schema) as writer:
        writer.write_table(data)


def file_of(data, path):
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, data.schema) as writer:
        writer.write_table(data)


WRITERS = {
    "t.arrow": stream_of,
    "u.arrow": file_of,
    "t.ipc": file_of,
    "t.feather": lambda data, path: pyarrow.feather.write_feather(data, path, compression="zstd"),
    "t.parquet": pq.write_table,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_of_arrow_is_read(tmp_path, name):
    WRITERS[name](DATA, tmp_path / name)
    assert cells(read(tmp_path / name)) == {"a": [1, 2, None], "b": ["x", None, "z"]}


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_broken_or_empty_is_refused(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](DATA, path)
    good = path.read_bytes()
    for data in (b"", b"a,b\n1,2\n", b"FEA1" + good[6:], good[: len(good) // 3]):
        path.write_bytes(data)
        with pytest.raises(UserError, match=r"cannot be read as (Arrow|Parquet)"):
            read(path)
    WRITERS[name](DATA.slice(0, 0), path)
    with pytest.raises(UserError, match="no rows"):
        read(path)


@pytest.mark.parametrize("name", ["t.arrow", "t.ipc", "t.feather"])
def test_any_byte_may_be_wrong(tmp_path, name):
    path = tmp_path / name
    WRITERS[name](DATA, path)
    good = path.read_bytes()
    for at in range(0, len(good), 3):
        for other in (0x55, 0xFF):
            path.write_bytes(good[:at] + bytes([good[at] ^ other]) + good[at + 1 :])
            with contextlib.suppress(UserError):  # and nothing but a UserError
                assert len(read(path)) > 0


# Pictures in cells


def png(i, kind="PNG"):
    file = io.BytesIO()
    colour = (250, 10, i) if i % 2 else (10, i, 250)
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(file, kind)
    return file.getvalue()


PICTURES = [png(i) for i in range(ROWS)]


def structs(data, paths):
    pairs = [
        None if d is None and p is None else {"bytes": d, "path": p} for d, p in zip(data, paths, strict=True)
    ]
    return pa.array(pairs, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


@pytest.fixture
def held(tmp_path):
    """A Parquet file as `datasets` writes it, with one picture that is missing and one that is no picture."""
    data = [*PICTURES]
    data[3], data[5] = None, b"\x89PNG no more"
    paths = [f"p{i}.png" for i in range(ROWS)]
    paths[3] = None
    label = ["red" if i % 2 else "blue" for i in range(ROWS)]
    table = pa.table({"image": structs(data, paths), "label": label})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=7)
    return tmp_path / "t.parquet"


def test_pictures_in_cells_are_read_as_files_are(held, tmp_path):
    table = read(held)
    schema = infer(table, ["label"])
    (column,) = schema.inputs
    assert (column.name, column.kind, column.shape) == ("image", "image", (8, 8, 3))
    for i, data in enumerate(PICTURES):
        (tmp_path / f"p{i}.png").write_bytes(data)
    (tmp_path / "p5.png").write_bytes(b"\x89PNG no more")
    files = from_python({"image": [None if i == 3 else f"p{i}.png" for i in range(ROWS)]})
    files = manyhot.read({"image": files.column("image"), "label": table.column("label")}, root=tmp_path)
    x, unreadable = image_inputs(schema, 0).transform(table)
    y, same = image_inputs(schema, 0).transform(files)
    assert unreadable.keys() == same.keys() == {3, 5}
    assert unreadable[5] == same[5]
    np.testing.assert_array_equal(x, y)
    good = [i for i in range(ROWS) if i != 3]  # a picture that is not there is called by its row alone
    np.testing.assert_array_equal(row_hashes(schema, table)[good], row_hashes(schema, files)[good])
    assert row_hashes(schema, table)[3] == row_hashes(schema, read(held))[3]
    assert picture(table, schema, 0) == picture(files, schema, 0)
    assert picture(table, schema, 5) is None
    kept = table.take(np.array([4, 0]))
    np.testing.assert_array_equal(image_inputs(schema, 0).transform(kept)[0], x[[4, 0]])


def test_pictures_in_cells_are_not_kept_in_memory_where_they_are_many(held):
    table = read(held)
    inputs = image_inputs(infer(table, ["label"]), 0)
    streamed = inputs.read(table, memory=1e-9, cache=0)
    whole = inputs.read(table, cache=0)
    good = np.setdiff1d(np.arange(ROWS), [3, 5])
    np.testing.assert_array_equal(np.asarray(streamed.x[good]), whole.x[good])


def test_a_model_is_trained_judged_and_asked_by_pictures_in_cells(held, tmp_path, capsys):
    options = [word for name, value in QUICK.items() for word in ("--set", f"{name}={value}")]
    out = tmp_path / "model"
    assert main(["fit", str(held), "--target", "label", "--out", str(out), *options]) == 0
    assert "data:image/png" in (out / "report.html").read_text(encoding="utf-8")
    assert main(["evaluate", str(out), str(held)]) == 0
    for ending in (".csv", ".parquet", ".jsonl"):
        assert main(["predict", str(out), str(held), "--out", str(tmp_path / f"a{ending}")]) == 0
        answers = cells(read(tmp_path / f"a{ending}"))
        assert answers["image"][:4] == ["p0.png", "p1.png", "p2.png", None]
        assert answers["label"][3] is None
    (tmp_path / "p0.png").write_bytes(PICTURES[0])
    assert main(["predict", str(out), str(tmp_path / "p0.png")]) == 0
    capsys.readouterr()


def test_groups_of_pictures_in_cells_are_named_and_trained_on(held, tmp_path, capsys):
    out = tmp_path / "groups"
    words = ["--clusters", "2", "--epochs", "1", "--set", "threads=1", "--json"]
    assert main(["cluster", str(held), "--out", str(out), *words]) == 0
    assert json.loads((out / "metrics.json").read_text())["reads"] == "pixels"
    assert main(["name", str(out), "0=a", "1=b", "--label", "kind"]) == 0
    said = capsys.readouterr().out
    assert f"fit {held} --labels" in said
    labels = next(word for word in said.split() if word.endswith(".csv"))
    table = manyhot.read(held, labels=labels)
    assert "image" in table.files
    kinds = table.column("kind").to_pylist()
    assert {*kinds[::2], *kinds[1::2]} == {"a", "b", None}
    assert [i for i, kind in enumerate(kinds) if kind is None] == [3, 5]


def test_inspect_counts_what_cannot_be_read(held, capsys):
    assert main(["inspect", str(held), "--target", "label", "--json"]) == 0
    (column,) = json.loads(capsys.readouterr().out)["inputs"]
    assert column["opened"] == ROWS
    assert [name.split(":")[0] for name in column["unreadable"]] == ["row 4, no path", "row 6, p5.png"]
    assert column["missing"] == 1


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view()])
def test_bytes_alone_are_pictures_too(tmp_path, kind):
    data = [png(i, format) for i, format in enumerate(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])]
    file_of(pa.table({"photo": pa.array(data, kind), "n": range(7)}), tmp_path / "t.arrow")
    table = read(tmp_path / "t.arrow")
    assert table.column("photo").to_pylist() == [f"picture {i}" for i in range(1, 8)]
    sides = {"shape": [8, 8, 3], "widths": [8, 8], "heights": [8, 8], "levels": None}
    assert look(table)["inputs"][0] == {"name": "photo", "kind": "image", **sides, "missing": 0}
    assert all(held_pictures(pa.chunked_array([pa.array([cell], kind)])) for cell in data)


def test_names_that_several_pictures_have_are_told_apart(tmp_path):
    label = ["a", "b"] * (ROWS // 2)
    names = ["0.png", *(f"{i // 2}.png" for i in range(1, ROWS))]
    pq.write_table(pa.table({"image": structs(PICTURES, names), "label": label}), tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    assert table.column("image").to_pylist()[:3] == ["1/0.png", "2/0.png", "3/1.png"]
    assert not any(
        "more than one class" in line for line in describe(table, infer(table, ["label"]))["problems"]
    )


def test_cells_that_name_files_are_read_from_the_folder(tmp_path):
    (tmp_path / "p1.png").write_bytes(PICTURES[1])
    data, paths = [PICTURES[0], None, None], ["p0.png", "p1.png", "../p2.png"]
    pq.write_table(pa.table({"image": structs(data[:2], paths[:2])}), tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    x, unreadable = image_inputs(manyhot.schema.Schema(infer_inputs(table), ()), 0).transform(table)
    assert unreadable == {}
    assert x[1, 0, 0].tolist() == [250, 10, 1]
    pq.write_table(pa.table({"image": structs(data, paths)}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="leaves the folder"):
        look(read(tmp_path / "t.parquet"))


def infer_inputs(table):
    from manyhot.data.rows.infer import unlabelled

    return unlabelled(table).inputs


def test_bytes_that_are_no_pictures_are_left_out(tmp_path):
    sound = pa.array([{"bytes": b"RIFF\0\0\0\0WAVEfmt ", "path": "a.wav"}] * 3)
    other = pa.array([{"bytes": "text", "path": "a.png"}] * 3)
    data = pa.table({"sound": sound, "hash": [b"\1\2", b"\3", b""], "other": other, "n": [1, 2, 3]})
    pq.write_table(data, tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    assert table.names == ("n",)
    assert table.notes == ("left out: columns of nested values, 'sound', 'hash', 'other'",)
    assert table.files == {}


def test_a_table_with_pictures_that_are_all_broken_says_where_they_are(tmp_path):
    pq.write_table(
        pa.table({"image": structs([b"\x89PNG", b""], ["a.png", "b.png"])}), tmp_path / "t.parquet"
    )
    with pytest.raises(UserError, match=r"can be read \(empty\); they stand in the table itself"):
        look(read(tmp_path / "t.parquet"))


# Names of classes


def declared(features, **columns):
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table(columns).replace_schema_metadata(metadata)


def classes(*names):
    return {"names": [*names], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "wrap",
    [lambda f: {"feature": f, "_type": "Sequence"}, lambda f: {"feature": f, "_type": "List"}, lambda f: [f]],
)
def test_numbers_of_classes_get_the_names_that_the_file_has(tmp_path, wrap):
    features = {
        "label": classes("cat", "dog"),
        "tags": wrap(classes("red", "tall", "old")),
        "n": {"dtype": "int64"},
    }
    tags = pa.array([[0, 2], [], None, [1, None]], pa.list_(pa.int64()))
    data = declared(features, label=[1, 0, -1, None], tags=tags, n=[1, 0, 1, 0])
    for name, write_file in (("t.parquet", pq.write_table), ("t.arrow", stream_of)):
        write_file(data, tmp_path / name)
        table = read(tmp_path / name)
        assert cells(table) == {
            "label": ["dog", "cat", None, None],
            "tags": [["red", "old"], [], None, ["tall"]],
            "n": [1, 0, 1, 0],
        }
        assert table.notes == ()


LIES = {
    "too few names": (classes("cat"), "the metadata name 1 classes, and a cell is 1"),
    "no list": ({"names": "cat dog", "_type": "ClassLabel"}, "is no list of names"),
    "names that are numbers": ({"names": [1, 2], "_type": "ClassLabel"}, "is no list of names"),
    "an empty name": (classes("", "dog"), "is no list of names"),
    "one name twice": (classes("cat", "cat"), "give two classes one name"),
    "a number below": (classes("cat", "dog", "cow"), "a cell is -2"),
}


@pytest.mark.parametrize(("feature", "words"), LIES.values(), ids=LIES)
def test_metadata_that_lie_change_nothing_and_are_told(tmp_path, feature, words):
    cell = [1, 0, -2] if "-2" in words else [1, 0, 1]
    pq.write_table(declared({"label": feature, "gone": classes("a")}, label=cell), tmp_path / "t.parquet")
    table = read(tmp_path / "t.parquet")
    assert table.column("label").to_pylist() == cell
    (note,) = table.notes
    assert note.startswith("column 'label' keeps its numbers: ")
    assert words in note


@pytest.mark.parametrize(
    "metadata",
    [
        b"{",
        b"[]",
        b"\xff",
        b'{"info": 3}',
        b'{"info": {"features": [1]}}',
        b'{"info": {"features": {"label": 3}}}',
        b'{"info": {"features": {"label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}}",
    ],
    ids=["cut", "list", "bytes", "number", "no names", "no feature", "deep"],
)
def test_metadata_of_another_kind_are_passed_over(tmp_path, metadata):
    data = pa.table({"label": [1, 0, 1]}).replace_schema_metadata({b"huggingface": metadata})
    pq.write_table(data, tmp_path / "t.parquet")
    assert cells(read(tmp_path / "t.parquet")) == {"label": [1, 0, 1]}


def test_classes_that_are_text_already_stay(tmp_path):
    pq.write_table(declared({"label": classes("cat", "dog")}, label=["1", "x"]), tmp_path / "t.parquet")
    assert cells(read(tmp_path / "t.parquet")) == {"label": ["1", "x"]}


def test_what_is_written_of_pictures_in_cells_are_their_names(held, tmp_path):
    write(read(held), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().splitlines()[1] == '"p0.png","blue"'
