"""Which rows are suggested, which are left out and told, and what a user types."""

import json
import os

import numpy as np
import pytest
from making import QUICK, ROW_OPTIONS, status_of, write_csv
from PIL import Image

import manyhot
from manyhot.choose import SeenRows
from manyhot.classifier import Classifier
from manyhot.schema import Target
from manyhot.suggesting import _doubt, _far, _varied

ROWS = 240


def rows(count=ROWS, seed=0):
    """Two numbers and two targets that follow from them."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, count)).round(4)
    return {
        "x": x,
        "z": z,
        "kind": [("low", "mid", "high")[int(v > -0.5) + int(v > 0.5)] for v in x],
        "tags": [";".join(["pos"] * int(a > 0) + ["big"] * int(abs(b) > 1)) or "[]" for a, b in zip(x, z)],
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model and the table that trained it."""
    folder = tmp_path_factory.mktemp("suggest")
    data = write_csv(folder / "rows.csv", rows())
    table = manyhot.read(data)
    schema = manyhot.infer(table, ["kind"], tags={"tags": None})
    manyhot.fit(table, schema, out=folder / "model", verbose=False, **QUICK | {"epochs": 8})
    return folder


def pool(count=400, **columns):
    return {name: rows(count, seed=1)[name] for name in "xz"} | columns


def suggested(folder, data, count=20, **options):
    return manyhot.suggest(folder / "model", data, count, verbose=False, **options)


def test_a_fifth_is_drawn_at_random_and_the_rest_is_unsure(folder):
    data = pool()
    found = suggested(folder, data)
    assert found.details()["why"] == {"unsure": 16, "random": 4}
    assert len(np.unique(found.table.rows)) == 20
    answers = manyhot.load(folder / "model", verbose=False).predict_proba(data)["kind"]
    margin = np.diff(np.sort(answers, axis=1)[:, -2:], axis=1)[:, 0]
    chosen = [row - 1 for row, why in zip(found.table.rows, found.why) if why == "unsure"]
    assert margin[chosen].mean() < 0.85 * margin.mean()
    assert [*found.table.rows] == [*suggested(folder, data).table.rows]
    assert [*found.table.rows] != [*suggested(folder, data, seed=1).table.rows]


def test_the_table_has_labels_to_fill_in_and_is_read_back(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "pool.csv", pool())
    assert status_of("suggest", folder / "model", "pool.csv", "--count", "40") == 0
    said = capsys.readouterr().err
    assert "wrote 40 rows of pool.csv to suggest.csv" in said
    assert f"manyhot fit suggest.csv --from {folder / 'model'} --out" in said
    table = manyhot.read("suggest.csv")
    assert table.names == (
        *("x", "z", "kind", "tags", "suggested"),
        *("suggested.kind", "suggested.kind.likeliest", "suggested.tags", "suggested.tags.likeliest"),
    )
    assert table.column("kind").null_count == table.column("tags").null_count == 40
    assert status_of("suggest", folder / "model", "pool.csv", "--count", "40") == 2  # it is there
    labels = rows(400, seed=1)
    places = [labels["x"].tolist().index(v) for v in table.numbers("x")]
    filled = {name: [labels[name][place] for place in places] for name in ("kind", "tags")}
    from manyhot.data.sources.write import write

    write(table.with_columns(filled), tmp_path / "filled.csv")
    words = ["--schema", folder / "model" / "schema.json", "--out", "again", *ROW_OPTIONS]
    assert status_of("fit", "filled.csv", *words) == 0
    assert [each.name for each in manyhot.load("again").schema.inputs] == ["x", "z"]
    assert status_of("tune", folder / "model", "filled.csv", "--objective", "macro_f1") == 0


def test_rows_with_labels_and_copies_are_left_out_and_told(folder):
    data = pool(60)
    trained = rows()
    data["x"] = np.r_[data["x"], data["x"][:10], trained["x"][:7]]
    data["z"] = np.r_[data["z"], data["z"][:10], trained["z"][:7]]
    kind = ["low"] * 5 + ["never seen"] * 5 + [None] * 67
    tags = ["[]"] * 5 + ["pos"] * 5 + [None] * 67
    found = suggested(folder, data | {"kind": kind, "tags": tags}, 100)
    assert found.left == {
        "labelled": 10,
        "equal to rows that have labels or trained the model": 17,
    }
    assert len(found.table) == 50
    assert any("--count 100 is more than the 50 rows" in note for note in found.notes)
    data["x"], data["z"] = np.tile(data["x"][10:20], 3), np.tile(data["z"][10:20], 3)
    assert suggested(folder, data, 5).left == {"copies of each other": 20}


def test_a_head_that_is_known_counts_nothing(folder):
    data = pool(300, kind=["low"] * 300, tags=[None] * 300)
    found = suggested(folder, data, 30)
    assert found.table.column("kind").to_pylist() == ["low"] * 30
    model = manyhot.load(folder / "model", verbose=False)
    doubt = 1 - np.abs(2 * model.predict_proba(data)["tags"] - 1)
    chosen = [row - 1 for row, why in zip(found.table.rows, found.why) if why == "unsure"]
    assert doubt[chosen].mean() > 1.3 * doubt.mean()


def test_the_table_that_trained_it_gives_rows_without_labels(tmp_path):
    data = rows(120)
    data["kind"] = [cell if i < 60 else None for i, cell in enumerate(data["kind"])]
    del data["tags"]
    table = manyhot.read(data)
    model = manyhot.fit(table, "kind", verbose=False, **QUICK)
    found = manyhot.suggest(model, table, 12, verbose=False)
    assert found.left == {"labelled": 60}
    assert min(found.table.rows) > 60
    model = manyhot.fit(table.take(np.arange(60)), "kind", verbose=False, **QUICK)
    with pytest.raises(manyhot.UserError, match="no row is left to suggest"):  # all of them trained it
        manyhot.suggest(model, {name: data[name][:60] for name in "xz"}, 12, verbose=False)


def test_of_few_labels_typical_rows_come_first():
    data = {"x": [0.0, 1.0, 0.1, 1.1], "kind": ["a", "b", "a", "b"]}
    model = manyhot.fit(manyhot.read(data), "kind", verbose=False, **QUICK)
    rng = np.random.default_rng(0)
    found = manyhot.suggest(model, {"x": rng.normal(size=80)}, 10, verbose=False)
    assert found.details()["why"] == {"typical": 8, "random": 2}
    assert any("fewer than 5 rows a class" in note for note in found.notes)


def test_rare_tags_count():
    tags = Target("t", "multilabel", ("often", "rare"), ("t",))
    rng = np.random.default_rng(0)
    chances = np.stack([rng.uniform(0.2, 0.8, 100), np.full(100, 0.001)], axis=1)
    chances[7, 1] = 0.4
    doubt = _doubt([tags], {"t": chances}, {"t": np.ones((100, 2), bool)})
    assert doubt.argmax() == 7
    known = np.ones((100, 2), bool)
    known[7] = False
    assert _doubt([tags], {"t": chances}, {"t": known})[7] == 0


def test_rows_that_differ_are_taken():
    rng = np.random.default_rng(0)
    centres = np.eye(8, dtype=np.float32)
    z = np.repeat(centres, 30, axis=0) + rng.normal(0, 0.01, (240, 8)).astype(np.float32)
    picked = _varied(z, np.linspace(1, 2, 240), 8, 0, typical=False)
    assert sorted(picked // 30) == [*range(8)]
    assert len(set(_varied(np.ones((50, 3), np.float32), np.ones(50), 20, 0, typical=False))) == 20
    assert len(set(_varied(z, np.ones(240), 230, 0, typical=True))) == 230


def test_only_rows_unlike_all_others_are_far():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 6)).astype(np.float32)
    z[:, 0] += 6
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    assert not _far(z, z).any()
    away = z.copy()
    away[3] = -away[3]
    assert np.flatnonzero(_far(away, away)).tolist() == [3]
    assert not _far(away[:50], away[:50]).any()


def test_pictures_keep_their_paths_and_those_that_cannot_be_read_are_told(fitted_pictures, tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "new").mkdir()
    for number in range(30):
        pixels = rng.integers(0, 255, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "new" / f"{number}.png")
    (tmp_path / "new" / "9.png").write_bytes(b"no picture")
    (tmp_path / "out").mkdir()
    out = tmp_path / "out" / "s.csv"
    words = ["suggest", fitted_pictures / "model", tmp_path / "new", "--count", "10", "--out", out]
    assert status_of(*words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["left_out"] == {"unreadable": 1}
    table = manyhot.read(out, root=tmp_path / "new")
    assert all((tmp_path / "new" / os.fspath(name)).is_file() for name in table.column("image").to_pylist())
    assert status_of(*words, "--overwrite") == 0
    assert f"--root {tmp_path / 'new'}" in capsys.readouterr().err


def test_an_exported_file_suggests_too(folder, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    manyhot.load(folder / "model").export(tmp_path / "m.onnx")
    write_csv(tmp_path / "pool.csv", pool())
    words = ["suggest", tmp_path / "m.onnx", tmp_path / "pool.csv", "--out", tmp_path / "s.csv"]
    assert status_of(*words, "--count", "9") == 0
    assert "manyhot fit" not in capsys.readouterr().err  # there is no schema.json to name


@pytest.mark.parametrize(
    ("columns", "words", "said"),
    [
        ({"x": [1.0], "z": [2.0]}, ["--count", "0"], "--count must be at least 1"),
        ({"x": [1.0]}, ["--count", "5"], "lacks 'z'"),
        ({"x": [], "z": []}, ["--count", "5"], "no row below it"),
        ({"x": [1.0], "z": [2.0], "kind": ["low"], "tags": ["pos"]}, ["--count", "5"], "1 labelled"),
        ({"x": [1.0], "z": [2.0]}, ["--count", "5", "--out", "x.doc"], "must end in one of"),
    ],
)
def test_mistakes_are_told_in_a_line(folder, tmp_path, monkeypatch, capsys, columns, words, said):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "pool.csv", columns)
    assert status_of("suggest", folder / "model", "pool.csv", *words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_pool_may_be_as_small_as_a_row(folder, count):
    found = suggested(folder, pool(count), 5)
    assert len(found.table) == count


def test_what_was_suggested_before_is_suggested_anew(folder):
    first = suggested(folder, pool())
    again = suggested(folder, first.table, 5)
    assert len(again.table) == 5
    assert again.table.names.count("suggested") == 1


def test_a_classifier_without_seen_rows_is_enough(folder):
    model = manyhot.load(folder / "model", verbose=False)
    found = manyhot.suggest(Classifier(model.bundle, SeenRows(), verbose=False), pool(50), 5, verbose=False)
    assert len(found.table) == 5
