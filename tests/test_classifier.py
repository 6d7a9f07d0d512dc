"""The object that people hold: what it shows of itself, in which forms rows come, its report."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from making import QUICK, infer_options, pixels, status_of, write_table
from PIL import Image

import manyhot
from manyhot import UserError
from manyhot.data.table import Table


@pytest.fixture(scope="module")
def tables(fitted_tables):
    return manyhot.load(fitted_tables / "model")


@pytest.fixture(scope="module")
def pictures(fitted_pictures):
    return manyhot.load(fitted_pictures / "model")


@pytest.fixture(scope="module")
def fresh():
    data = {"x": [*range(40)], "y": ["a", "b"] * 20}
    return manyhot.fit(data, "y", **QUICK)


def forms():
    row = {"width": 0.5, "weight": None, "origin": "north"}
    frame = pd.DataFrame([row])
    return {
        "values": row,
        "lists": {name: [value] for name, value in row.items()},
        "dicts": [row],
        "series": frame.iloc[0],
        "frame": frame,
    }


@pytest.mark.parametrize("form", forms())
def test_one_row_in_every_form(tables, form):
    assert tables.predict(forms()[form]) == tables.predict(pd.DataFrame([forms()["values"]]))
    assert len(tables.predict(forms()[form])["fruit"]) == 1


def test_several_rows_as_dicts_may_lack_some_cells(tables):
    rows = [{"width": 0.5, "origin": "north"}, {"weight": 1.0, "width": 0.1, "origin": "east"}]
    assert len(tables.predict(rows)["fruit"]) == 2


def test_a_picture_in_every_form(pictures, fitted_pictures):
    paths = [fitted_pictures / "pictures" / f"{number:03}.png" for number in range(2)]
    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    both = pictures.predict_proba(np.stack(arrays))["fruit"]
    for one in (paths[0], str(paths[0]), images[0], arrays[0], arrays[0] / 255, arrays[0][..., None][None]):
        assert np.allclose(pictures.predict_proba(one)["fruit"], both[:1], atol=1e-6)
    for two in ([*map(str, paths)], paths, images, arrays):
        assert np.allclose(pictures.predict_proba(two)["fruit"], both, atol=1e-6)
    colour = np.repeat(arrays[0][..., None], 3, axis=2)
    assert np.allclose(pictures.predict_proba(colour)["fruit"], both[:1], atol=1e-6)
    assert np.allclose(pictures.predict_proba(images[0].convert("RGBA"))["fruit"], both[:1], atol=1e-6)
    assert len(pictures.predict([images[0], images[1].resize((5, 20))])["fruit"]) == 2
    assert len(pictures.predict(np.zeros((5, 4, 4), np.uint8))["fruit"]) == 5
    assert len(pictures.predict(np.zeros((9, 3), np.uint8))["fruit"]) == 1
    assert pictures.predict(np.zeros((0, 9, 9), np.uint8))["fruit"] == []


def test_a_picture_of_pillows_stands_upright(pictures):
    upright = Image.fromarray(pixels(1)[0, ..., 0])
    lying = upright.transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6
    found, wanted, turned = (
        pictures.predict_proba(image)["fruit"]
        for image in (lying, upright, upright.transpose(Image.Transpose.ROTATE_90))
    )
    assert np.allclose(found, wanted, atol=1e-6)
    assert not np.allclose(found, turned, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "got NoneType"),
        ([], "got a list without anything in it"),
        ([[1, 2]], "got a list of list"),
        (np.zeros((3, 2)), r"got an array of shape \(3, 2\)"),
        ({"width": [1, 2], "weight": 1}, "column 'weight' is one value and 'width' is several"),
        ({}, "there are none"),
    ],
)
def test_rows_that_are_none_are_refused(tables, data, message):
    with pytest.raises(UserError, match=message):
        tables.predict(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((8, 8, 4), np.uint8), "Leave out the fourth channel"),
        ([np.zeros((2, 8, 8), np.uint8)], r"picture 1: an array must be \(H, W\) or \(H, W, 3\)"),
        (["gone.png"], "gone.png: no such file"),
    ],
)
def test_pictures_that_are_none_are_refused(pictures, data, message):
    with pytest.raises(UserError, match=message):
        pictures.predict(data)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: manyhot.fit({"x": [1], "y": [2]}, targets=["y"]),
            r"fit\(data, manyhot.infer\(data, targets=",
        ),
        (lambda: manyhot.fit({"x": [1], "y": [2]}, 5), "targets must be a list of texts, got 5"),
        (lambda: manyhot.infer({"x": [1], "y": [2]}, ["y"], kinds=["x"]), "kinds must be a dict"),
        (lambda: manyhot.infer({"x": [1], "y": [2]}, [3]), "no column '3'"),
        (lambda: manyhot.infer({"x": [1], "y": [2]}, tags={"t": "xyz"}), "takes two columns or more"),
        (lambda: manyhot.read({"x": [1]}, maps="x"), "maps must be a dict"),
        (lambda: manyhot.load(None), "is named by its path, got NoneType"),
        (lambda: manyhot.cluster({"x": [1]}, clusters="x"), "a whole number of at least 2, got x"),
    ],
    ids=["keyword", "number", "kinds", "column", "tags", "maps", "path", "clusters"],
)
def test_a_wrong_argument_is_a_users_mistake(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_objectives_and_classes_that_there_are_not(tables, fitted_tables):
    with pytest.raises(UserError, match="unknown_class must be 'wrong' or 'missing', got 'drop'"):
        tables.evaluate(fitted_tables / "table.csv", unknown_class="drop")
    with pytest.raises(UserError, match="objective must be one of"):
        tables.tune(fitted_tables / "table.csv", 3)


def test_one_name_may_stand_where_several_may():
    data = {"x": [1, 2, 3], "id": ["p", "q", "?"], "y": ["a;b", "a", "b"]}
    one = manyhot.infer(data, tags="y", ignore="id", missing="?")
    assert one == manyhot.infer(data, tags={"y": None}, ignore=["id"], missing=["?"])
    assert manyhot.infer(data, "y") == manyhot.infer(manyhot.read(data), ["y"])


def test_what_is_held_is_shown_in_three_lines(tables, pictures, fresh, fitted_tables):
    table = manyhot.read(fitted_tables / "table.csv")
    odd = Table({}, "x").with_columns(
        {"a\nb\x1b[31m": ["long " * 99], **{f"c{i}": [i] for i in range(2_000)}}
    )
    many = replace(
        tables.schema.targets[0].deciding(positive=""),
        kind="multiclass",
        classes=tuple(f"class {i}" for i in range(5_000)),
    )
    for thing in (
        tables,
        pictures,
        fresh,
        table,
        odd,
        tables.schema,
        replace(tables.schema, targets=(many,)),
    ):
        assert len(repr(thing).splitlines()) == 3
        assert len(repr(thing)) < 400
        assert all(line.isprintable() for line in repr(thing).splitlines())
        assert "\x1b" not in repr(thing) + thing._repr_html_()
    assert repr(tables).startswith("Classifier of ripe (no or yes), fruit (3 classes), tags (3 tags)")
    assert "held-out rows, exact match" in repr(fresh)
    assert repr(table).splitlines()[0] == "Table table.csv: 60 rows, 9 columns"
    assert (
        repr(manyhot.read((pixels(2), ["a", "b"]))).splitlines()[1] == "  pictures of 8×8×1, label (string)"
    )
    assert "<td>&lt;b&gt;</td>" in manyhot.read({"x": ["<b>"]})._repr_html_()
    assert "<td>fruit</td><td>multiclass</td>" in tables._repr_html_()
    assert "<td>width</td><td>number</td>" in tables.schema._repr_html_()


def test_a_report_is_written_and_its_path_returned(tables, fresh, fitted_tables, tmp_path):
    own = fresh.report(out=tmp_path / "own.html")
    assert own == tmp_path / "own.html"
    assert "<html" in own.read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"own\.html exists already; pass overwrite=True"):
        fresh.report(out=own)
    again = tables.report(out=own, overwrite=True)
    assert again.read_bytes() == (fitted_tables / "model" / "report.html").read_bytes()
    judged = tables.report(fitted_tables / "table.csv", tmp_path / "judged.html", split="all")
    assert "table.csv" in judged.read_text(encoding="utf-8")
    with pytest.raises(UserError, match="name rows to judge it by"):
        replace(fresh, run=None).report(out=tmp_path / "none.html")


def test_the_command_and_python_draw_one_page_of_other_rows(tables, fresh, fitted_tables, tmp_path):
    rows = fitted_tables / "table.csv"
    page = tables.report(rows, tmp_path / "python.html", split="all").read_text()
    words = ("report", fitted_tables / "model", rows, "--split", "all", "--out", tmp_path / "command.html")
    assert status_of(*words) == 0
    assert without_date(page) == without_date((tmp_path / "command.html").read_text())
    unsaved = fresh.report(
        {"x": [*range(40)], "y": ["a", "b"] * 20}, tmp_path / "unsaved.html", split="all"
    ).read_text()
    for shown in ("<h3>Columns", "how many train", "epoch"):
        assert shown in page
        assert shown in unsaved


def without_date(page):
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", page)


def test_a_page_of_a_tuned_model_tells_all_of_the_fit(tmp_path):
    table = manyhot.read(write_table(tmp_path, "mixed", 60, image=True))
    names = table.column("image").to_pylist()
    (tmp_path / names[0]).write_bytes(b"no picture")
    twice = table.with_columns({"image": [*names[:57], *names[1:2] * 3]})  # equal, with different labels
    schema = manyhot.infer(twice, **infer_options("mixed"))
    model = tmp_path / "m"
    manyhot.fit(twice, schema, out=model, **QUICK)
    first, kept = (model / "report.html").read_text(), manyhot.load(model)
    tuned = kept.tune(twice, "recall=1")
    drawn = tuned.report(out=tmp_path / "tuned.html").read_text()
    tuned.update(model)
    second = (model / "report.html").read_text()
    assert without_date(drawn) == without_date(second) != without_date(first)
    for start, end in (('<section id="data"', "</section>"), ("<h3>A training batch", "</section>")):
        one, two = (page[page.index(start) : page.index(end, page.index(start))] for page in (first, second))
        assert one == two
        assert "data:image/png" in one
    assert "unreadable <b>1</b>" in second
    assert f", {names[0]}: " in second
    assert "A training batch" in kept.report(table, tmp_path / "other.html", split="all").read_text()
    (model / "fit.json").write_text('{"rows": 1}')
    with pytest.raises(UserError, match=r"fit\.json: not the record of a fit"):
        manyhot.load(model).tune(twice, "recall=1").update(model)


SQUARES = np.repeat(np.uint8([0, 200] * 20), 12 * 12 * 3).reshape(40, 12, 12, 3)


@pytest.fixture(scope="module")
def squares():
    return manyhot.fit((SQUARES, np.eye(2)[[0, 1] * 20]), epochs=1, members="network", verbose=False)


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (SQUARES[0], 1),
        (SQUARES[:5], 5),
        (SQUARES[0, ..., 0], 1),
        (SQUARES[0, ..., :1], 1),
        (SQUARES[:5, ..., 0], 5),
        (SQUARES[0] / 255, 1),
        (np.zeros((30, 40, 3), np.uint8), 1),
        ([SQUARES[0], np.zeros((7, 7), np.uint8)], 2),
        (Image.fromarray(SQUARES[0]), 1),
        ([Image.fromarray(SQUARES[0]), SQUARES[1]], 2),
    ],
)
def test_one_picture_has_one_answer(squares, data, rows):
    assert len(squares.predict(data)["label"]) == rows
    assert {*squares.predict(data)["label"]} <= {"0", "1"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (SQUARES[0].transpose(2, 0, 1), r"three grey ones, or one of colours.*transpose\(1, 2, 0\)"),
        (SQUARES[:4].transpose(0, 3, 1, 2), r"to the end: images.transpose\(0, 2, 3, 1\)"),
        (np.zeros((12, 12, 4), np.uint8), "Leave out the fourth channel"),
    ],
)
def test_pictures_of_which_nobody_knows_how_many_they_are_are_refused(squares, data, message):
    with pytest.raises(UserError, match=message):
        squares.predict(data)


@pytest.mark.parametrize("make", [list, lambda found: [Image.fromarray(each) for each in found]])
def test_pictures_of_several_sizes_are_learned_and_judged(make):
    found = make([np.full((6 + n % 3, 8, 3), 200 * (n % 2), np.uint8) for n in range(40)])
    model = manyhot.fit((found, [0, 1] * 20), epochs=1, members="network", verbose=False)
    assert len(model.predict(found)["label"]) == 40
    assert model.evaluate((found, [0, 1] * 20), split="all")["rows"] == 40
