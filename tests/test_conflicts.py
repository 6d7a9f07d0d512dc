"""Equal rows with different labels are named, written beside the model and shown; empty rows are none."""

import itertools
import shutil

import numpy as np
import pytest
from making import QUICK, features, label_columns, status_of, write_csv, write_pictures

import manyhot
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.rows import conflicts
from manyhot.data.rows.infer import infer
from manyhot.data.sources.read import read
from manyhot.data.table import from_python
from manyhot.targets import encode


def found(columns, targets, **options):
    table = from_python(columns, "t")
    schema = infer(table, targets, **options)
    y = {t.name: encode(t, [table.cells(name) for name in t.columns]) for t in schema.targets}
    empty = conflicts.without_input(table, schema)
    sets = conflicts.find(table, schema, y, row_hashes(schema, table), empty)
    return sets, [*conflicts.told(sets, empty)]


def test_the_sets_are_those_that_differ_in_a_known_label():
    x = [1, 1, 2, 2, 3, 3, 3, 4]
    y = ["a", "b", "a", "a", "b", None, "c", "a"]
    sets, lines = found({"x": x, "y": y, "z": ["u", "u", "u", "v", "v", "v", "v", "u"]}, ["y", "z"])
    assert [(each.target, each.rows, each.given) for each in sets] == [
        ("y", (1, 2), ("a", "b")),
        ("y", (5, 7), ("b", "c")),
        ("z", (3, 4), ("u", "v")),
    ]
    assert lines[0] == (
        "target 'y': 2 sets of equal rows with different labels: row 1 is 'a' and row 2 is 'b'; "
        "row 5 is 'b' and row 7 is 'c'"
    )


def test_sets_of_tags_conflict_where_they_are_known_whole():
    flags = {"p": [1, 1, None, 0], "q": [1, 0, 0, 1]}
    sets, _ = found({"x": [5, 5, 5, 6], **flags}, [], tags={"t": ["p", "q"]})
    assert [(each.rows, each.given) for each in sets] == [((1, 2), ("p;q", "p"))]


def test_rows_without_any_input_are_told_apart():
    columns = {
        "x": [None, None, 1, 1],
        "c": [None, None, "u", "u"],
        "d": [None] * 4,
        "y": ["a", "b", "a", "b"],
    }
    sets, lines = found(columns, ["y"], kinds={"x": "number", "c": "category"})
    assert [each.rows for each in sets] == [(3, 4)]
    assert lines[0] == "2 rows without any input"


def test_a_line_keeps_its_length():
    names = [f"{'very/long/' * 20}{number}.png" for number in range(8)]
    some = [
        conflicts.Conflict("y", np.arange(2), (1, 2), (first, second), ("a", "b"))
        for first, second in itertools.pairwise(names)
    ]
    (line,) = conflicts.told(some, np.zeros(2, bool))
    assert len(line) < 300
    assert line.endswith("; and 6 more")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A table of 40 pictures of which two are there again under other names, with other labels."""
    folder = tmp_path_factory.mktemp("photos")
    names = write_pictures(folder, 40)
    labels = label_columns("multiclass", 40)["fruit"]
    for number in (0, 4):
        shutil.copy(folder / names[number], folder / f"again{number}.png")
        names.append(f"again{number}.png")
        labels.append("plum")
    return write_csv(folder / "photos.csv", {"image": names, "fruit": labels})


SAID = "2 sets of equal rows with different labels"


def test_inspect_names_the_files(photos, capsys):
    assert status_of("inspect", photos, "--target", "fruit") == 0
    assert f"{SAID}: pictures/000.png is 'apple' and again0.png is 'plum'; " in capsys.readouterr().out


def test_fit_writes_and_shows_all_of_them(photos, tmp_path, capsys):
    out = tmp_path / "model"
    table = read(photos)
    fitted = manyhot.fit(table, infer(table, ["fruit"]), out=out, **QUICK)
    assert any(f"{SAID} (all in conflicts.csv): pictures/000.png" in note for note in fitted.run.notes)
    kept = read(out / "conflicts.csv")
    assert kept.column("name").to_pylist() == [
        *("pictures/000.png", "again0.png"),
        *("pictures/004.png", "again4.png"),
    ]
    assert kept.column("given").to_pylist() == ["apple", "plum", "pear", "plum"]
    assert list(map(int, kept.column("set").to_pylist())) == [1, 1, 2, 2]
    page = (out / "report.html").read_text()
    shown = page[page.index("Equal rows with different labels</h3>") :]
    assert shown.index('<img src="data:image/png') < shown.index("again0.png") < shown.index("again4.png")
    single = table.take(np.arange(40))
    manyhot.fit(single, infer(single, ["fruit"]), out=out, overwrite=True, **QUICK)
    assert not (out / "conflicts.csv").exists()
    assert "Equal rows with different labels" not in (out / "report.html").read_text()


def test_evaluate_says_that_pictures_stand_in_several_rows(fitted_pictures, tmp_path, log_lines):
    table = read(fitted_pictures / "table.csv")
    twice = table.take(np.array([0, 1, 2, 0])).with_columns({"fruit": ["apple", "pear", "plum", "pear"]})
    model = manyhot.load(fitted_pictures / "model")
    model.evaluate(table.take(np.arange(5)), "all")
    assert not any("--long" in line for line in log_lines)
    model.evaluate(twice, "all")
    assert any("1 image has more than one class" in line for line in log_lines)
    assert any("gather them with --long" in line for line in log_lines)


def test_pictures_in_the_table_itself_conflict_by_row():
    pixels = np.zeros((6, 8, 8, 1), np.uint8)
    pixels[2:] += np.arange(4, dtype=np.uint8)[:, None, None, None] * 40 + 9
    table = from_python((pixels, {"y": ["a", "b", "a", "b", "a", "b"]}), "t")
    schema = infer(table)
    y = {"y": encode(schema.targets[0], [table.cells("y")])}
    empty = conflicts.without_input(table, schema)
    (only,) = conflicts.find(table, schema, y, row_hashes(schema, table), empty)
    assert only.names == ("row 1", "row 2")
    assert not empty.any()


def test_features_are_compared_too(tmp_path, capsys):
    columns = features(12) | {"fruit": label_columns("multiclass", 12)["fruit"]}
    for cells in columns.values():
        cells.append(cells[0])
    columns["fruit"][-1] = "plum"
    assert status_of("inspect", write_csv(tmp_path / "t.csv", columns), "--target", "fruit") == 0
    assert "1 set of equal rows with different labels: row 1 is 'apple' and row 13" in capsys.readouterr().out
