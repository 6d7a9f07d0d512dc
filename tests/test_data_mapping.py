"""Tags and other labels that follow from a class: `data.mapping`, and `--map` on the command line."""

import json

import numpy as np
import pytest

import manyhot
from manyhot.cli import main
from manyhot.data.sources.mapping import add_mapped
from manyhot.data.table import from_python


def table(**columns):
    return from_python(columns, "data.csv")


def test_each_class_brings_its_tags():
    classes = table(digit=[str(d) for d in range(10)], tags=[f"{d};{d + 10};{d + 50}" for d in range(10)])
    found = add_mapped(table(digit=["3", "0", "3"]), "digit", classes)
    assert found.column("tags").to_pylist() == ["3;13;53", "0;10;50", "3;13;53"]


def test_one_class_brings_several_columns():
    cars = table(car=["Audi TT 2011", "Ford GT 2006"], brand=["Audi", "Ford"], era=["new", None])
    found = add_mapped(table(car=["Ford GT 2006", "Audi TT 2011"]), "car", cars)
    assert found.column("brand").to_pylist() == ["Ford", "Audi"]
    assert found.column("era").to_pylist() == [None, "new"]


def test_an_empty_cell_stays_unknown_and_no_tags_stay_no_tags():
    classes = table(pet=["cat", "rock"], tags=["furry", "[]"])
    found = add_mapped(table(pet=["rock", None, "cat"]), "pet", classes)
    assert found.column("tags").to_pylist() == ["[]", None, "furry"]


def test_numbers_of_a_typed_source_are_the_text_of_a_csv():
    found = add_mapped(table(digit=[1.0, np.nan, 2.0]), "digit", table(digit=["1", "2"], tags=["a", "b"]))
    assert found.column("tags").to_pylist() == ["a", None, "b"]


def test_classes_that_no_row_has_are_passed_over():
    found = add_mapped(table(pet=["cat"]), "pet", table(pet=["dog", "cat"], tags=["loud", "furry"]))
    assert found.column("tags").to_pylist() == ["furry"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pet": ["cat"]}, "has one column, 'pet'"),
        ({"pet": ["cat"], "tags": ["furry"]}, r"row 2, column 'pet': .* has no row for 'cta'"),
        ({"pet": ["cta", "cat", "cat"], "tags": ["a", "b", "c"]}, "'cat' is there twice"),
        ({"pet": ["cat", None], "tags": ["a", "b"]}, "row 2, column 'pet': names no class"),
        ({"pet": ["cat", "cta"], "weight": ["a", "b"]}, "has a column 'weight' too"),
    ],
)
def test_mistakes_are_named(columns, message):
    with pytest.raises(manyhot.UserError, match=message):
        add_mapped(table(pet=["cat", "cta"], weight=[1, 2]), "pet", from_python(columns, "classes.csv"))


def test_an_unknown_column_is_named():
    with pytest.raises(manyhot.UserError, match=r"no column 'pte'.*did you mean 'pet'"):
        add_mapped(table(pet=["cat"]), "pte", table(pet=["cat"], tags=["furry"]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    kinds = rng.integers(3, size=60)
    lines = [f"{'abc'[k]},{k + rng.normal() / 5:.3f},{-k + rng.normal() / 5:.3f}" for k in kinds]
    (tmp_path / "data.csv").write_text("\n".join(["kind,x,z", *lines]))
    (tmp_path / "tags.csv").write_text("kind,tags\na,low\nb,low;middle\nc,[]\n")
    return tmp_path


def test_the_command_line_fits_judges_and_answers(folder, capsys):
    mapped = ["--map", "kind=tags.csv"]
    assert main(["fit", "data.csv", *mapped, "--tags", "tags", "--epochs", "2", "--out", "model"]) == 0
    printed = capsys.readouterr().out
    assert "manyhot evaluate model NEW --map kind=tags.csv\n" in printed
    assert "manyhot predict model NEW --out answers.csv\n" in printed
    schema = json.loads((folder / "model" / "schema.json").read_text())
    # The column that the tags follow from would give them away, so it is no feature.
    assert [column["name"] for column in schema["inputs"]] == ["x", "z"]
    assert schema["targets"][0]["classes"] == ["low", "middle"]

    assert main(["evaluate", "model", "data.csv", *mapped, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 60
    (folder / "new.csv").write_text("x,z\n0,0\n1,-1\n")
    assert main(["predict", "model", "new.csv", "--out", "answers.csv"]) == 0
    assert "tags.middle" in (folder / "answers.csv").read_text()


def test_the_command_line_names_a_class_without_a_row(folder, capsys):
    (folder / "tags.csv").write_text("kind,tags\na,low\nb,middle\n")
    assert main(["inspect", "data.csv", "--map", "kind=tags.csv", "--tags", "tags"]) == 2
    assert "tags.csv has no row for 'c'" in capsys.readouterr().err


def test_the_command_line_names_the_form_of_the_option(folder, capsys):
    assert main(["inspect", "data.csv", "--map", "kind", "--tags", "tags"]) == 2
    assert "--map kind: must be COLUMN=FILE" in capsys.readouterr().err


def test_read_takes_the_same_in_python(folder):
    found = manyhot.read("data.csv", maps={"kind": "tags.csv"})
    assert set(found.column("tags").to_pylist()) == {"low", "low;middle", "[]"}


def test_the_column_that_was_looked_up_is_no_feature(folder):
    found = manyhot.read("data.csv", maps={"kind": "tags.csv"})
    assert "kind" not in [column.name for column in manyhot.infer(found, tags={"tags": None}).inputs]
