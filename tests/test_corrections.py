"""Corrections: stored at once, undone, exported as a table that `fit` reads as it is."""

import csv
import io
import json
import shlex
import sqlite3
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from making import ROW_OPTIONS, pixels, status_of
from PIL import Image
from serving import FORM, application, ask, form

import manyhot
from manyhot.data.inputs.features import table_inputs
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.schema import Input, Schema, Target
from manyhot.serve import corrections
from manyhot.serve.corrections import Entry, Store
from manyhot.serve.served import Served

FRUIT = Target("fruit", "multiclass", ("apple", "pear", "plum"), ("fruit",))
RIPE = Target("ripe", "binary", ("no", "yes"), ("ripe",))
TAGS = Target("tags", "multilabel", ("red", "a;b"), ("tags",))
PICTURES = Schema((Input("path", "image", (8, 8, 1)),), (FRUIT, RIPE, TAGS))
COLUMNS = Schema((Input("width", "number"), Input("model", "category")), (FRUIT, TAGS))


class Answers:
    """What a server asks of a model, without one."""

    def __init__(self, schema):
        self.schema = schema
        self.inputs = (
            ImageInputs("path", (8, 8), 1, (0.5,), (0.2,))
            if schema is PICTURES
            else table_inputs(schema, from_python({"width": ["1", "2"], "model": ["a", "b"]}), np.arange(2))
        )


def served(name, schema):
    return Served(name, Answers(schema), Answers(schema), f"fingerprint of {name}")


def png(number=0):
    out = io.BytesIO()
    Image.fromarray(pixels(number + 1)[number, ..., 0]).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "corrections.db")
    yield store
    store.close()


def add(store, row, model="m", answers=None, **labels):
    return store.add(Entry(model, "f", row, answers or {}, labels))


def exported(store):
    file = io.BytesIO()
    store.export(file)
    return zipfile.ZipFile(file)


def lines(store, name="corrections.csv"):
    return [*csv.reader(io.StringIO(exported(store).read(name).decode()))]


def test_the_last_word_on_each_target_holds(store):
    add(store, {"width": "1,5"}, fruit="apple")
    add(store, {"width": "2"}, fruit="plum")
    add(store, {"width": "1,5"}, tags=["red", "green"])
    last = add(store, {"width": "1,5"}, fruit="pear")
    assert store.count() == 2
    assert lines(store) == [["width", "fruit", "tags"], ["1,5", "pear", "red;green"], ["2", "plum", ""]]
    assert store.remove(last)
    assert lines(store)[1] == ["1,5", "apple", "red;green"]


def test_undoing_leaves_no_trace(store):
    first, second = add(store, {"path": png()}, fruit="apple"), add(store, {"path": png()}, ripe="yes")
    pictures = "SELECT count(*) FROM pictures"
    assert sqlite3.connect(store.path).execute(pictures).fetchone() == (1,)  # the same bytes are kept once
    assert store.remove(first)
    assert sqlite3.connect(store.path).execute(pictures).fetchone() == (1,)
    assert store.remove(second)
    assert sqlite3.connect(store.path).execute(pictures).fetchone() == (0,)
    assert not store.remove(second)
    assert not store.remove(1 << 70)
    assert (store.count(), store.commands(), exported(store).namelist()) == (0, [], [])


def test_it_is_on_disk_at_once(store):
    add(store, {"path": png()}, answers={"fruit": "pear"}, fruit="apple")
    other = Store(store.path)  # also while the first still runs
    assert other.count() == 1
    other.close()
    query = "SELECT model, fingerprint, answers, labels, time FROM corrections"
    model, fingerprint, answers, labels, time = sqlite3.connect(store.path).execute(query).fetchone()
    assert (model, fingerprint) == ("m", "f")
    assert (json.loads(answers), json.loads(labels)) == ({"fruit": "pear"}, {"fruit": "apple"})
    assert time.endswith("+00:00")
    assert sqlite3.connect(store.path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_threads_lose_nothing(store):
    def work(number):
        for step in range(10):
            add(store, {"width": f"{number}.{step}"}, fruit="apple")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert store.count() == 80


def test_each_model_has_its_table(store):
    add(store, {"width": "1"}, model="new cars", fruit="apple")
    add(store, {"width": "1"}, model="new/cars", fruit="pear")
    add(store, {"width": "1"}, model="old", tags=[], fruit="plum")
    add(store, {"width": "2"}, model="old", tags=["red"])
    names = ["corrections-new_cars-1.csv", "corrections-new_cars-2.csv", "corrections-old.csv"]
    assert exported(store).namelist() == names
    assert lines(store, names[2]) == [["width", "tags", "fruit"], ["1", "[]", "plum"], ["2", "red", ""]]
    command = "manyhot fit corrections-old.csv --tags tags --kind fruit=ignore --out corrected"
    assert store.commands() == [command]  # the others have one class only, of which there is nothing to learn


def test_what_a_spreadsheet_would_run_is_escaped(store):
    add(store, {"model": "=1+1", "width": "-3"}, fruit="@evil", tags=["a;b", "+x"])
    assert lines(store)[1] == ["'=1+1", "-3", "'@evil", '["a;b", "+x"]']


@pytest.mark.parametrize("image", [True, False], ids=["pictures", "columns"])
def test_fit_reads_the_export_as_it_is(store, tmp_path, image):
    fruits = ("apple", "pear; green", "=plum")  # the second is no two tags, the third no formula
    for number in range(24):
        row = (
            {"path": png(number)}
            if image
            else {"width": f"{number % 3}.5", "model": "=x" if number % 2 else "y"}
        )
        add(store, row, fruit=fruits[number % 3], same="so")  # of one class there is nothing to learn
        if number % 2:
            add(store, row, tags=["red", "a;b"] if number % 4 == 1 else [])
    exported(store).extractall(tmp_path / "out")
    (command,) = store.commands()
    words = shlex.split(command)[1:]
    words[1], words[-1] = tmp_path / "out" / words[1], tmp_path / "model"
    assert status_of(*words, *ROW_OPTIONS, "--size", "8", "--set", "folds=1") == 0
    schema = manyhot.load(tmp_path / "model").schema
    assert {t.name: t.classes for t in schema.targets} == {
        "fruit": ("=plum", "apple", "pear; green"),
        "tags": ("a;b", "red"),
    }
    assert [column.name for column in schema.inputs] == (["path"] if image else ["width", "model"])
    assert "split" not in (tmp_path / "out" / "corrections.csv").read_text(encoding="utf-8")


def test_a_picture_is_named_by_what_it_is(store):
    starts = {
        ".jpg": b"\xff\xd8\xff",
        ".png": b"\x89PNG",
        ".webp": b"RIFF....WEBP",
        ".gif": b"GIF89a",
        ".bmp": b"BM",
    }
    for start in starts.values():
        add(store, {"path": start + b"rest"}, fruit="apple")
    names = [name for name in exported(store).namelist() if name.startswith("pictures/")]
    assert [name[name.index(".") :] for name in names] == [*starts]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_text("label,row\n" * 100), "cannot be opened (file is not a database)"),
        (
            lambda path: sqlite3.connect(path).execute("CREATE TABLE t (x)"),
            "is a database of another program",
        ),
        (lambda path: path.mkdir(), "cannot be opened"),
        (lambda path: _other_format(path), "was written by another version of manyhot (format 7"),
    ],
    ids=["text", "other", "folder", "format"],
)
def test_a_file_that_is_no_store_is_left_alone(tmp_path, make, said):
    path = tmp_path / "corrections.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError) as error:
        Store(path)
    assert said in error.value.typed
    assert "Name a new file" in error.value.typed
    assert (path.read_bytes() if path.is_file() else None) == before


def _other_format(path):
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version=7")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    assert (
        status_of("serve", tmp_path / "model", "--corrections", tmp_path / "no" / "c.db", "--port", "0") == 2
    )


# ---- over HTTP ----


def asked(store, method, path, fields=(), models=(("m", PICTURES),)):
    """Call the routes without a server; the status and what is said."""
    models = [served(name, schema) for name, schema in models]
    more = corrections.routes(store, {model.name: model for model in models})
    with application(*models, more=more) as app:
        reply = ask(app, method, path, form(fields), FORM)
    return reply.status, reply.body if reply.status < 300 else reply.error


def test_over_http(store):
    labels = json.dumps({"fruit": "kiwi", "tags": ["red"]})
    status, body = asked(
        store,
        "POST",
        "/corrections",
        [("anything", png()), ("labels", labels), ("answers", '{"fruit": "pear"}')],
    )
    assert (status, json.loads(body)) == (201, {"id": 1})
    assert json.loads(asked(store, "GET", "/corrections/count")[1]) == {"count": 1, "commands": []}
    archive = zipfile.ZipFile(io.BytesIO(asked(store, "GET", "/corrections.zip")[1]))
    picture, _ = archive.namelist()
    assert archive.read(picture) == png()
    assert lines(store) == [["path", "fruit", "tags"], [picture, "kiwi", "red"]]
    assert asked(store, "DELETE", "/corrections/1")[0] == 200
    assert asked(store, "DELETE", "/corrections/1") == (
        404,
        "There is no correction 1; it may have been undone already.",
    )


def test_a_column_may_be_called_like_a_field_of_ours(store):
    row = [("width", "3"), ("model", "Golf"), ("model", "b"), ("labels", '{"fruit": "pear"}')]
    assert asked(store, "POST", "/corrections", row, [("a", PICTURES), ("b", COLUMNS)])[0] == 201
    assert lines(store) == [["width", "model", "fruit"], ["3", "Golf", "pear"]]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("x", png())], 'The field "labels" must be a JSON object'),
        ([("x", png()), ("labels", "{}")], 'The field "labels" says nothing'),
        ([("x", png()), ("labels", "[" * 100_000)], 'The field "labels" must be a JSON object'),
        (
            [("x", png()), ("labels", '{"fruti": "pear"}')],
            "There is no target 'fruti' (did you mean 'fruit'?)",
        ),
        ([("x", png()), ("labels", '{"fruit": ["pear"]}')], "'fruit' must be one class"),
        ([("x", png()), ("labels", '{"fruit": ""}')], "'fruit' must be one class"),
        ([("x", png()), ("labels", '{"fruit": "a\\nb"}')], "'fruit' must be one class"),
        ([("x", png()), ("labels", '{"fruit": "\\ud800"}')], "'fruit' must be one class"),
        ([("x", png()), ("labels", '{"tags": "red"}')], "'tags' must be a list of tags"),
        ([("x", png()), ("labels", '{"tags": [{}]}')], "'tags' must be a list of tags"),
        ([("x", png()), ("labels", '{"fruit": "pear"}'), ("answers", "7")], 'The field "answers" must be'),
        ([("x", png()), ("labels", '{"fruit": "pear"}'), ("model", "n")], "There is no model 'n'"),
        ([("x", png()), ("y", png()), ("labels", '{"fruit": "pear"}')], "The form has 2 rows"),
        ([("labels", '{"fruit": "pear"}')], "nothing to answer"),
        ([("x", b"a,b"), ("labels", '{"fruit": "pear"}')], "cannot be kept: not a picture"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_kept(store, fields, said):
    status, body = asked(store, "POST", "/corrections", fields)
    assert status == 400
    assert said in body
    assert store.count() == 0


def test_a_row_that_would_spoil_its_table_is_not_kept(store):
    row = [("width", "long"), ("model", "a"), ("model", "b"), ("labels", '{"fruit": "pear"}')]
    status, body = asked(store, "POST", "/corrections", row, [("b", COLUMNS)])
    assert (status, body) == (400, "The row cannot be kept: 'width': 'long' is not a number.")
    assert store.count() == 0


def test_of_several_models_one_must_be_named(store):
    fields = [("x", png()), ("labels", '{"fruit": "pear"}')]
    status, said = asked(store, "POST", "/corrections", fields, [("a", PICTURES), ("b", PICTURES)])
    assert (status, said) == (400, "Name the model in a field \"model\"; there are 'a', 'b'.")


def test_a_full_disk_is_said(store, monkeypatch):
    def full(entry):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(store, "add", full)
    fields = [("x", png()), ("labels", '{"fruit": "pear"}')]
    status, said = asked(store, "POST", "/corrections", fields)
    assert status == 503
    assert "disk is full" in said


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_gone_takes_no_more(store, replaced):
    """SQLite would go on in what nobody finds any more."""
    add(store, {"path": png()}, fruit="pear")
    store.path.unlink()
    if replaced:
        store.path.write_bytes(b"")
    fields = [("x", png()), ("labels", '{"fruit": "pear"}')]
    for method, path in (
        ("POST", "/corrections"),
        ("GET", "/corrections/count"),
        ("DELETE", "/corrections/1"),
        ("GET", "/corrections.zip"),
    ):
        status, said = asked(store, method, path, fields if method == "POST" else ())
        assert status == 503
        assert "was removed or replaced while it is served; start the server again" in said


def test_a_file_may_be_called_as_sqlite_calls_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store(Path(":memory:")).close()
    assert (tmp_path / ":memory:").is_file()
