"""`manyhot.inspect` shows what the command shows, in the words of Python."""

import numpy as np
import pytest
from making import infer_options, write_pictures, write_table

import manyhot
from manyhot.cli import main
from manyhot.data.rows import split
from manyhot.data.rows.plan import plan
from manyhot.device import described
from manyhot.resolve import estimate
from manyhot.train.prepare import prepare
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


def columns(rows, **others):
    return {"a": np.arange(rows) % 7, "y": np.arange(rows) % 3, **others}


def parts(rows, *names):
    return np.array(names)[np.arange(rows) % len(names)]


PLANNED = {
    "small": (columns(90), {}),
    "folds": (columns(400), {}),
    "large": (columns(12_000), {}),
    "wide": (columns(300, **{f"x{i}": np.arange(300) % (i + 2) for i in range(25)}), {}),
    "test rows": (columns(400, split=parts(400, "train", "train", "test")), {}),
    "validation rows": (columns(400, split=parts(400, "train", "val", "train", "test")), {}),
    "by time": (columns(400, when=np.arange(400)), {"split_by": "when"}),
    "groups": (columns(400, who=np.arange(400) // 4), {"group": "who"}),
    "grey": (
        (np.zeros((60, 12, 9), np.uint8) + np.arange(60, dtype=np.uint8)[:, None, None], parts(60, "a", "b")),
        {},
    ),
}


@pytest.mark.parametrize("name", PLANNED)
def test_what_fit_would_do_is_what_it_does(name):
    data, options = PLANNED[name]
    table = manyhot.read(data)
    schema = manyhot.infer(table, ["label" if name == "grey" else "y"], ignore=[*options.values()])
    found, prepared = plan(table, schema, options), prepare(table, schema, options)
    assert found["settings"] == prepared.config.to_json()
    train, values = len(prepared.of_part(split.TRAIN)), int(np.prod(prepared.x.shape[1:]))
    assert found["estimate"] == estimate(prepared.config, train, values, described())


def test_nothing_is_planned_where_nothing_is_left_to_learn():
    found = manyhot.inspect(columns(4, split=np.array(["train", "val", "val", "test"])), "y")
    assert found.to_json()["fit"] == {}
    assert "fit would train" not in repr(found)


def test_nothing_is_planned_without_a_target():
    assert "fit" not in manyhot.inspect(columns(4)).to_json()
