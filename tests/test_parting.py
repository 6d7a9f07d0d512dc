"""Which rows train and judge: copies together, equal rows by chance apart, groups of few members, time."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import manyhot
from manyhot.data.inputs import hashing
from manyhot.data.rows.copies import by_chance, copies
from manyhot.data.rows.describe import compare_rows, describe, look
from manyhot.data.rows.infer import infer
from manyhot.data.rows.order import keeps, stretches
from manyhot.data.rows.split import split
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.schema import Target
from manyhot.train.prepare import prepare

RNG = np.random.default_rng(0)
N = 300
NUMBERS = RNG.normal(size=(N, 3)).round(4)
CATEGORIES = RNG.integers(0, 4, (N, 3)).astype(float)
AGE = RNG.integers(18, 80, (N, 1)).astype(float)
LABELS = (RNG.random(N) < 0.2).astype(int)


def again(rows, labels, index):
    every = np.concatenate([np.arange(len(rows)), *index])
    return rows[every], labels[every]


def key_of(rows, labels):
    columns = [np.unique(column, return_inverse=True)[1].astype(np.uint64) for column in rows.T]
    hashes = [
        (codes + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15 + 2 * k) for k, codes in enumerate(columns)
    ]
    return copies([each ^ (each >> np.uint64(29)) for each in hashes], labels)


MINORITY = [np.flatnonzero(LABELS == 1)] * 9


@pytest.mark.parametrize(
    ("rows", "index"),
    [
        (NUMBERS, [np.arange(N)]),
        (NUMBERS, [np.arange(5)]),
        (NUMBERS, MINORITY),
        (NUMBERS, [RNG.integers(0, N, N)]),
        (NUMBERS[:, :1], [np.arange(N)]),
        (np.hstack([CATEGORIES, NUMBERS[:, :1]]), [np.arange(10)]),
        (np.hstack([CATEGORIES, AGE]), [np.arange(N)]),
        (np.hstack([CATEGORIES, AGE]), MINORITY),
    ],
    ids=[
        "doubled",
        "few",
        "oversampled",
        "drawn again",
        "one column",
        "mixed",
        "ages doubled",
        "ages ten times",
    ],
)
def test_copies_share_a_key(rows, index):
    key = key_of(*again(rows, LABELS, index))
    start = len(rows)
    for each in index:
        assert (key[start : start + len(each)] == key[each]).mean() > 0.95
        start += len(each)


@pytest.mark.parametrize(
    "rows",
    [
        CATEGORIES,
        CATEGORIES[:, :2],
        CATEGORIES[:, :1],
        np.hstack([CATEGORIES, AGE]),
        NUMBERS[:, :1].round(2),
        np.stack([CATEGORIES[:, 0] * 16 + CATEGORIES[:, 1] * 4 + CATEGORIES[:, 2], CATEGORIES[:, 0]], 1),
        (RNG.multivariate_normal([5, 3, 4], 0.3 + 0.2 * np.eye(3), N) * 5).round() / 5,
    ],
    ids=["cells", "two", "one", "and an integer", "rounded", "derived", "measured"],
)
def test_rows_equal_by_chance_have_none(rows):
    assert key_of(rows, LABELS) is None


def test_no_equal_rows_are_by_chance():
    assert by_chance([np.arange(5, dtype=np.uint64)])


def table(**columns):
    return manyhot.read({"y": np.array(["a", "b"])[LABELS].tolist(), **columns})


def prepared(data, ignore=(), **options):
    return prepare(data, manyhot.infer(data, ["y"], ignore=ignore), {"epochs": 1, **options})


def test_cells_are_parted_row_by_row_and_told():
    cells = {name: [f"v{int(v)}" for v in column] for name, column in zip("uvw", CATEGORIES.T, strict=True)}
    found = prepared(table(**cells))
    _, cell = np.unique(found.rows.hashes, return_inverse=True)
    large = np.flatnonzero(np.bincount(cell) >= 8)
    assert all(len(set(found.rows.fold[cell == number])) > 1 for number in large)
    assert any("by chance rather than as copies" in note for note in found.notes)


def test_groups_of_few_members_leave_no_fold_of_one_class():
    rows = np.repeat(np.arange(12), 25)
    data = manyhot.read(
        {"y": np.array(["well", "sick"])[rows % 2], "who": rows, "x": RNG.normal(size=300).round(4)}
    )
    for seed in range(3):
        found = prepared(data, ["who"], group="who", seed=seed)
        y = found.rows.y["y"][:, 0]
        assert all(len(set(y[found.rows.fold == fold])) == 2 for fold in range(5))
        assert all(len(set(found.rows.fold[rows == who])) == 1 for who in range(12))


def test_both_classes_of_groups_are_dealt():
    group = np.repeat(np.arange(12), 25)
    target = Target("y", "binary", ("no", "yes"), ("y",))
    for y in (group % 2, group < 6):
        part = split([target], {"y": y[:, None].astype(np.int8)}, [0.2] * 5, 0, [group])
        assert all(len(set(y[part == number])) == 2 for number in range(5))


def test_stretches_keep_a_moment_together():
    order = RNG.integers(0, 30, 200).astype(float)
    part = stretches(order, [0.6, 0.2, 0.2])
    assert [order[part == p].max() < order[part == p + 1].min() for p in (0, 1)] == [True, True]
    assert abs((part == 2).mean() - 0.2) < 0.05
    assert stretches(order, [0.8, 0.0, 0.2]).tolist().count(1) == 0


WHEN = RNG.permutation(N)
DAYS = (np.datetime64("2024-01-01") + WHEN // 2).astype(str).tolist()


@pytest.mark.parametrize("when", [WHEN.tolist(), DAYS], ids=["numbers", "dates"])
def test_the_last_rows_by_a_column_are_the_test_rows(when):
    found = prepared(table(x=NUMBERS[:, 0], when=when), ["when"], split_by="when")
    late = found.rows.part == 2
    assert late.sum() == 60
    assert WHEN[late].min() > WHEN[~late].max()
    assert "the last 60 of 300 rows, by column 'when', are the test rows" in found.notes
    assert [column.name for column in found.schema.inputs] == ["x"]


def test_folds_in_time_are_stretches():
    found = prepared(table(x=NUMBERS[:, 0], when=WHEN), ["when"], split_by="when", time_series=True)
    rows = found.rows
    ends = [
        (WHEN[(rows.fold == f) & (rows.part == 0)].min(), WHEN[(rows.fold == f) & (rows.part == 0)].max())
        for f in range(5)
    ]
    assert all(early[1] < late[0] for early, late in pairwise(ends))
    assert any("blocked cross-validation" in note for note in found.notes)


def test_validation_rows_in_time_are_the_last_that_are_no_test_rows():
    found = prepared(table(x=NUMBERS[:, 0]), time_series=True, test=0.2, folds=1, validation=0.2)
    assert found.rows.part.tolist() == [0] * 180 + [1] * 60 + [2] * 60


def test_groups_in_time_stay_whole():
    who = (np.arange(N) // 7) % 20
    found = prepared(
        table(x=NUMBERS[:, 0], when=np.arange(N), who=who), ["when", "who"], split_by="when", group="who"
    )
    late = found.rows.part == 2
    assert not {*who[late]} & {*who[~late]}
    assert late.any()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (
            {"when": ["a", "b", "c"] * 100},
            {"split_by": "when"},
            "column 'when': rows are put in order by numbers or dates",
        ),
        ({"when": [1] * N}, {"split_by": "when"}, "column 'when' parts the rows into 1 moment"),
        ({}, {"split_by": "when"}, "no column 'when'"),
        (
            {"when": WHEN, "split": ["train", "test", "train"] * 100},
            {"split_by": "when"},
            "leave 'split_by' out",
        ),
    ],
    ids=["words", "one moment", "absent", "a split"],
)
def test_what_cannot_be_put_in_order_is_refused(columns, options, message):
    data = table(x=NUMBERS[:, 0], **columns)
    with pytest.raises(UserError, match=message):
        prepared(data, [name for name in columns if name == "when"], **options)


def test_rows_without_a_moment_come_first_and_are_told():
    when = [None if row < 10 else row for row in range(N)]
    found = prepared(table(x=NUMBERS[:, 0], when=when), ["when"], split_by="when")
    assert (found.rows.part[:10] == 0).all()
    assert any(note.startswith("10 rows have no value in column 'when'") for note in found.notes)


TIME = np.arange(400.0)
LONG = (np.arange(400) // 10) % 2


@pytest.mark.parametrize(
    ("order", "y", "found"),
    [
        (TIME, LONG, True),
        (TIME, np.where(RNG.random(400) < 0.05, 1 - LONG, LONG), True),
        (TIME // 3, LONG, True),
        (TIME, np.arange(400) // 200, False),
        (TIME, RNG.integers(0, 2, 400), False),
        (RNG.permutation(TIME), LONG, False),
        (TIME // 100, np.arange(400) // 50 % 2, False),  # sorted by class within each of four moments
        (TIME[:30], LONG[:30], False),
    ],
    ids=["kept", "noisy", "three a day", "sorted", "chance", "shuffled", "sorted within", "few"],
)
def test_labels_that_keep_for_long(order, y, found):
    assert keeps(order, y) == found


def test_rows_in_time_are_told_with_what_judges_them_right():
    days = (np.datetime64("2024-01-01") + np.arange(400)).astype(str).tolist()
    data = {"y": np.array(["down", "up"])[LONG].tolist(), "x": RNG.normal(size=400), "day": days}
    (line,) = [note for note in manyhot.inspect(data, "y").notes if "near each other" in note]
    assert "by column 'day'" in line
    assert "let `fit` hold the last ones back" in line  # also where another command says it
    data["y"] = RNG.permutation(data["y"]).tolist()
    assert not [note for note in manyhot.inspect(data, "y").notes if "near each other" in note]


def parted_twins(rows, more, **columns):
    every = np.concatenate([rows, more])
    where = ["train" if row % 3 else "test" for row in range(len(rows))] + ["test"] * len(more)
    data = {"y": (["p", "n"] * len(every))[: len(every)], "split": where}
    data |= dict(zip("abcdefgh", every.T.tolist(), strict=False)) | columns
    return [note for note in manyhot.inspect(data, "y").notes if "split 'test'" in note]


TRAINING = NUMBERS[np.arange(N) % 3 > 0][:30]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            TRAINING,
            "30 rows of 130 in split 'test' are exact twins of training rows, such as row 301 of row 2;",
        ),
        (
            TRAINING + 1e-7,
            "30 rows of 130 in split 'test' are near copies of training rows, equal but for rounding",
        ),
        (
            TRAINING * [1, 1, 0],
            "30 rows of 130 in split 'test' are near copies of training rows, equal but for column 'c'",
        ),
    ],
    ids=["exact", "rounded", "one column"],
)
def test_twins_in_two_parts_are_told(more, told):
    (line,) = parted_twins(NUMBERS, more)
    assert line.startswith(told)


def test_pictures_in_parts_are_looked_at_without_a_target_and_by_group(tmp_path):
    lines = ["image,y,who,split"]
    for i in range(12):
        Image.fromarray(np.full((4, 4), 20 * i, np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{'pn'[i % 2]},w{i // 3},{'test' if i % 3 else 'train'}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = look(manyhot.read(tmp_path / "t.csv"))
    assert not any("split 'test'" in line for line in found["problems"])
    table = manyhot.read(tmp_path / "t.csv")
    found = describe(table, manyhot.infer(table, ["y"], ignore=["who"]), group="who")
    told = "8 rows of 8 in split 'test' are of the same 'who' as training rows"
    assert any(line.startswith(told) for line in found["problems"])


@pytest.mark.parametrize("rows", [NUMBERS, CATEGORIES, np.hstack([CATEGORIES, AGE]), NUMBERS.round(1)])
def test_rows_alike_by_chance_are_no_twins(rows):
    assert parted_twins(rows, rows[:0]) == []


def test_a_group_in_two_parts_is_told():
    data = {
        "y": ["p", "n"] * 150,
        "a": NUMBERS[:, 0],
        "who": np.arange(N) // 2,
        "split": ["train", "train", "test"] * 100,
    }
    found = manyhot.fit(
        data, manyhot.infer(data, ["y"], ignore=["who"]), group="who", verbose=False, effort="fast", epochs=1
    )
    assert any(
        "100 rows of 100 in split 'test' are of the same 'who' as training rows" in n for n in found.run.notes
    )


def test_rows_of_another_table_are_not_known_by_few_values_alone(log_lines):
    names = dict(zip("uvw", CATEGORIES.astype(int).astype(str).T.tolist(), strict=True))
    model = manyhot.fit(table(**names), ["y"], verbose=False, effort="fast", epochs=1, test=0.2)
    order = RNG.permutation(N)
    shuffled = {name: [values[row] for row in order] for name, values in names.items()}
    labels = np.array(["a", "b"])[LABELS][order].tolist()
    assert abs(model.evaluate({"y": labels, **shuffled})["rows"] - 60) < 5  # the same table in another order
    log_lines.clear()
    more = {name: values[:100] for name, values in shuffled.items()}
    assert model.evaluate({"y": labels[:100], **more})["rows"] == 100
    assert not any("seen in training" in line for line in log_lines)


def test_rows_of_a_table_are_hashed_once_for_all_who_ask(monkeypatch):
    asked, hashes = [], hashing.ColumnHashes.__iter__
    monkeypatch.setattr(hashing.ColumnHashes, "__iter__", lambda self: asked.append(1) or hashes(self))
    rows = [f"c{row % 7}" for row in range(90)]
    data = {"a": NUMBERS[:90, 0], "b": rows, "y": ["p", "n"] * 45, "split": ["train", "val", "test"] * 30}
    table = from_python(data)
    schema = infer(table, "y")
    found = describe(table, schema)
    compare_rows(table, schema, found)
    before = len(asked)
    again = describe(table, schema)
    compare_rows(table, schema, again)
    assert (again, len(asked)) == (found, before)
    prepare(table, schema, {"epochs": 1})
    assert len(asked) == before + 1  # of the rows that are left without those of `test`
    assert describe(table, infer(table, "y", kinds={"a": "category"})) != found
