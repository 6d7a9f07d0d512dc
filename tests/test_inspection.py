"""`manyhot.inspect` shows what the command shows, in the words of Python."""

import pytest
from making import infer_options, write_pictures, write_table

import manyhot
from manyhot.cli import main
from manyhot.wording import in_python


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, []), ({"targets": ["fruit"], "tags": "tags"}, ["--target", "fruit", "--tags", "tags"])],
    ids=["columns", "targets"],
)
def test_it_is_shown_as_the_command_shows_it(tmp_path, capsys, options, words):
    path = write_table(tmp_path, "mixed", 20)
    assert main(["inspect", str(path), *words]) == 0
    shown = [in_python(line) for line in capsys.readouterr().out.splitlines()]
    found = manyhot.inspect(path, options.pop("targets", None), **options)
    assert repr(found).splitlines() == [line.rstrip() for line in shown]
    assert found._repr_html_().startswith(f"<pre>{path.name}: 20 rows")


def test_its_schema_is_what_fit_takes(tmp_path):
    path = write_table(tmp_path, "mixed", 20)
    options = infer_options("mixed")
    schema = manyhot.infer(path, **options)
    found = manyhot.inspect(path, options["targets"], tags=options["tags"], missing="?")
    assert found.schema.targets == schema.targets
    assert manyhot.inspect(path, schema).to_json()["schema"] == schema.to_json()
    assert manyhot.inspect(path).schema is None
    assert 'targets=["NAME"]' in manyhot.inspect(path).notes[-1]


def test_pictures_that_cannot_be_read_are_named(tmp_path):
    names = write_pictures(tmp_path, 4)
    (tmp_path / names[2]).write_bytes(b"no picture")
    table = manyhot.read({"image": names, "y": ["a", "b", "a", "b"]}, root=tmp_path)
    assert f"cannot be read: row 3, {names[2]}: not a picture that can be read" in repr(
        manyhot.inspect(table, "y")
    )


def test_a_word_that_it_does_not_take_is_named():
    with pytest.raises(manyhot.UserError, match=r"no option 'tag' \(did you mean 'tags'"):
        manyhot.inspect({"x": [1]}, tag="x")
