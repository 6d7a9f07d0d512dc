"""Columns that give an answer away are named; what only helps, or numbers the rows, is not."""

import numpy as np
import pytest

from manyhot.data.rows.infer import infer, problems
from manyhot.data.rows.leaks import telling_alone
from manyhot.data.table import from_python
from manyhot.targets import encode

N = 120
RNG = np.random.default_rng(0)
ALIVE = RNG.permutation([0, 1] * (N // 2))
PLACE = RNG.permutation([0, 1, 2] * (N // 3))


def named(target="alive", labels=ALIVE, **columns):
    table = from_python({target: [f"c{label}" for label in labels], "chance": RNG.random(N), **columns}, "t")
    return [line for line in problems(table, infer(table, [target])) if "away" in line]


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (ALIVE, np.array(["no", "yes"])[ALIVE]),  # another word for the same
        (ALIVE, 7.0 - ALIVE),
        (ALIVE, [None if row % 3 == 0 else str(label) for row, label in enumerate(ALIVE)]),
        (PLACE, [f"{label}{row % 4}" for row, label in enumerate(PLACE)]),  # a finer one
        (ALIVE, ALIVE + RNG.random(N) / 2),  # parted by a threshold
        (PLACE, (PLACE + 1) % 3 + RNG.random(N) / 2),
        (ALIVE, [f"20{21 + label}-01-{1 + row % 28:02d}" for row, label in enumerate(ALIVE)]),
    ],
    ids=["words", "numbers", "gaps", "finer", "threshold", "ranges", "dates"],
)
def test_a_column_that_gives_the_target_away_is_named(labels, values):
    (line,) = named(labels=labels, the_column=values)
    assert line == (
        "column 'the_column' gives 'alive' away: the class of each row follows from it; if it is known only "
        "with the answer, leave it out: --kind the_column=ignore"
    )


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (ALIVE, RNG.permutation(N) + 1),  # an id
        (ALIVE, [f"r{row // 2}" for row in range(N)]),  # a word for few rows
        (ALIVE, np.where(np.arange(N) == 7, 1 - ALIVE, ALIVE)),  # one row is otherwise
        (PLACE, np.minimum(PLACE, 1)),  # one class of three
        (ALIVE, [label if row < 40 else None for row, label in enumerate(ALIVE)]),  # of few rows
        (np.arange(N) % 40 == 0, np.round(RNG.random(N), 1)),
    ],
    ids=["id", "rare words", "but for one row", "one class", "gaps", "chance"],
)
def test_other_columns_are_not(labels, values):
    assert named(labels=labels, the_column=values) == []


def test_rows_too_few_to_tell_are_not_judged():
    table = from_python({"y": ["a", "b"] * 4, "x": [0, 1] * 4}, "t")
    assert not any("away" in line for line in problems(table, infer(table, ["y"])))


def test_how_much_each_column_tells_alone():
    columns = {"y": ALIVE, "same": ALIVE * 2.0, "id": RNG.random(N), "word": [f"w{row}" for row in range(N)]}
    table = from_python(columns | {"half": np.where(np.arange(N) < 60, ALIVE, 9).astype(str)}, "t")
    schema = infer(table, ["y"], kinds={"word": "category"})
    (target,) = schema.targets
    y = encode(target, [table.cells("y")])
    told = dict(telling_alone(table, schema, target, y))
    assert next(iter(told)) == "same"
    assert told["same"] == 1
    assert 0.5 <= told["half"] < 0.9
    assert told["id"] < 0.7
    assert told["word"] == 0


SORTED = np.sort(ALIVE)
GAPS = np.cumsum(RNG.integers(1, 6, N))


def left_out(names, labels=SORTED, **columns):
    data = {"y": [f"c{label}" for label in labels], "x": RNG.random(N), **columns}
    table = from_python(data, "t")
    schema = infer(table, ["y"])
    assert {column.name for column in schema.inputs} == {"x", *columns} - {*names}
    return [line for line in problems(table, schema) if any(f"'{name}'" in line for name in names)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PassengerId", np.arange(N) + 1),
        ("PassengerId", RNG.permutation(N)),
        ("customer_id", RNG.permutation(10**6)[:N]),
        ("nr", np.arange(N)),
        ("nr", np.arange(N)[::-1]),
        ("record", GAPS),
    ],
    ids=["id", "shuffled", "large", "counts", "downward", "gaps"],
)
def test_what_numbers_the_rows_is_left_out(name, values):
    (line,) = left_out([name], **{name: values})
    assert line == f"column '{name}' is left out: it numbers the rows; to take it: --kind {name}=number"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("year", 1880 + np.arange(N)),
        ("founded", 1880 + np.arange(N)),
        ("age", np.arange(N)),
        ("petal", np.sort(RNG.random(N)).round(6)),
        ("income", np.sort(np.exp(RNG.normal(8, 1, N)).astype(int) + np.arange(N))),
        ("dose", np.arange(N) * 5),
        ("weight", RNG.permutation(N)),
        ("level", np.arange(N) - 60),
    ],
    ids=["year", "years", "age", "sorted", "amounts", "scale", "any order", "below 0"],
)
def test_what_is_measured_is_not(name, values):
    left_out([], RNG.permutation(ALIVE), **{name: values})


def test_a_number_of_the_rows_is_taken_where_asked_for_and_where_there_is_nothing_else():
    data = {"y": [f"c{label}" for label in SORTED], "x": RNG.random(N), "nr": np.arange(N)}
    assert len(infer(from_python(data, "t"), ["y"], kinds={"nr": "number"}).inputs) == 2
    del data["x"]
    assert [column.name for column in infer(from_python(data, "t"), ["y"]).inputs] == ["nr"]


@pytest.mark.parametrize(
    ("name", "values"),
    [("again", [f"C{label} " for label in ALIVE]), ("y_code", 7 - ALIVE)],
    ids=["the same texts", "its name"],
)
def test_a_copy_of_the_target_is_left_out(name, values):
    (line,) = left_out([name], ALIVE, **{name: values})
    assert line.startswith(f"column '{name}' is left out: it is a copy of the target 'y'; to take it: --kind")


def test_a_column_that_may_decide_is_not_left_out():
    assert left_out([], ALIVE, colour=np.array(["red", "blue"])[ALIVE]) == []
