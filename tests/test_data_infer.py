"""What columns mean: kinds and classes by the rules, features, splits, and every oddity told."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhot.data.columns import several
from manyhot.data.inputs.images import opening
from manyhot.data.rows.describe import look
from manyhot.data.rows.infer import describe, infer, problems, split_column, split_of
from manyhot.data.sources.read import read
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError
from manyhot.schema import Input, Schema
from manyhot.targets import decode, encode


def table(**columns) -> Table:
    return from_python(columns, "t.csv")


def target_of(cells, **options):
    return infer(table(y=cells, x=list(range(len(cells)))), ["y"], **options).targets[0]


def refused(*args, **options) -> str:
    with pytest.raises(UserError) as caught:
        infer(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


LIKE = table(**{name: [1] for name in ("id", "has_a", "b:c", "has_c", "z*")})


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["b:c"], ["b:c"]),  # as it stands, before anything else
        (["z*"], ["z*"]),
        (["has_?", "id"], ["has_a", "has_c", "id"]),
        (["has_a:has_c", "has_*"], ["has_a", "b:c", "has_c"]),
        (["id:id"], ["id"]),
        (["id", "id"], ["id", "id"]),  # for others to refuse
        ([], []),
    ],
)
def test_words_that_name_several_columns(words, names):
    assert several(LIKE, words) == names


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("has_d", r"no column 'has_d' \(did you mean"),
        ("id:has_b", "no column 'has_b'"),
        ("x:y", "no column 'x:y'"),
        ("had_*", r"no column is like 'had_\*'; there are 'id'"),
        ("has_c:id", "'has_c' stands after 'id'; write id:has_c"),
    ],
)
def test_words_that_name_no_columns(word, message):
    with pytest.raises(UserError, match=message):
        several(LIKE, [word])


@pytest.mark.parametrize(
    ("cells", "kind", "classes"),
    [
        (["b", "a", "b"], "binary", ("a", "b")),
        (["yes", "no", None], "binary", ("no", "yes")),
        (["Positive", "negative", "x"][:2], "binary", ("negative", "Positive")),
        (["1", "0"], "binary", ("0", "1")),
        (["TRUE", "zebra"], "binary", ("zebra", "TRUE")),
        (["y", "yes"], "binary", ("y", "yes")),
        (["T", "F"], "binary", ("F", "T")),
        ([True, False], "binary", ("False", "True")),
        ([2.0, 10.0, None, 9.0], "multiclass", ("2", "9", "10")),
        (["10", "9", "2"], "multiclass", ("2", "9", "10")),
        (["10", "9", "x"], "multiclass", ("10", "9", "x")),
        (["NA", "null", "None", "1e3", "007"], "multiclass", ("007", "1e3", "NA", "None", "null")),
        (["a;b", "c"], "multilabel", ("a", "b", "c")),
        (["a|b", "c"], "multilabel", ("a", "b", "c")),
        (["a", "[]", "b"], "multilabel", ("a", "b")),
        (['["a;b"]', "c"], "multilabel", ("a;b", "c")),
        ([["b", "a"], [], None], "multilabel", ("a", "b")),
        (["a,b", "c", "d"], "multiclass", ("a,b", "c", "d")),
        (["10;9", "1"], "multilabel", ("1", "9", "10")),
    ],
)
def test_kinds_and_classes(cells, kind, classes):
    target = target_of(cells)
    assert (target.kind, target.classes) == (kind, classes)


@pytest.mark.parametrize(
    ("cells", "separators", "classes"),
    [
        (["a,b;c", "c"], (";", "|"), ("a,b", "c")),
        (["a b,c", "c"], (",",), ("a b", "c")),
        (["a b", "c"], (" ",), ("a", "b", "c")),
        (["a", "c"], (";", "|"), ("a", "c")),
    ],
)
def test_tags_find_their_separator(cells, separators, classes):
    target = infer(table(y=cells, x=[1, 2]), tags={"y": None}).targets[0]
    assert (target.kind, target.separators, target.classes) == ("multilabel", separators, classes)


def test_a_given_separator():
    target = target_of(["a, b", "c"], separator=",")
    assert (target.kind, target.separators, target.classes) == ("multilabel", (",",), ("a", "b", "c"))
    message = refused(table(y=["a,b", "c"], x=[1, 2]), ["y"], separator="|")
    assert "separator '|' never occurs in column 'y'; its cells have ','" in message
    both = infer(table(y=["a,b", "c"], z=["p", "q"], x=[1, 2]), ["y", "z"], separator=",")
    assert [target.kind for target in both.targets] == ["multilabel", "binary"]
    assert "at least one character" in refused(table(y=["a", "c"], x=[1, 2]), ["y"], separator="")


def test_flag_columns_are_one_target():
    data = table(a=["1", "0", ""], b=["0", "1", "1"], x=[1, 2, 3])
    schema = infer(data, tags={"t": ["a", "b"]})
    assert schema.targets[0].columns == ("a", "b")
    assert [column.name for column in schema.inputs] == ["x"]
    y = encode(schema.targets[0], [data.cells("a"), data.cells("b")])
    assert y.tolist() == [[1, 0], [0, 1], [-1, 1]]
    assert "two columns or more" in refused(data, tags={"t": ["a"]})
    assert "twice" in refused(data, tags={"t": ["a", "a"]})
    assert "did you mean 'a'" in refused(data, tags={"t": ["A", "b"]})
    assert "all labels are unknown" in refused(
        table(a=["", None], b=[None, ""], x=[1, 2]), tags={"t": ["a", "b"]}
    )
    bad = table(a=["1", "2"], b=["0", "1"], x=[1, 2])
    with pytest.raises(UserError, match="row 2, column 'a': '2' must be 0 or 1"):
        problems(bad, infer(bad, tags={"t": ["a", "b"]}))


def test_targets_keep_their_order_and_tags_come_after():
    data = table(p=["a", "b"], q=["c", "d"], r=["e f", "g"], x=[1, 2])
    schema = infer(data, ["q", "r", "p"], tags={"r": None})
    assert [(target.name, target.kind) for target in schema.targets] == [
        ("q", "binary"),
        ("r", "multilabel"),
        ("p", "binary"),
    ]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["a", "a"], ["column 'y'", "only one class, 'a'"]),
        ([None, ""], ["all labels are unknown"]),
        (["[]", "[]"], ["no row has a tag"]),
        (["a;", "a;"], ["only one class, 'a'"]),
    ],
)
def test_too_few_classes_are_refused(cells, words):
    message = refused(table(y=cells, x=[1, 2]), ["y"])
    assert all(word in message for word in words), message


def test_words_for_missing():
    target = target_of(["a", "NA", "b", "?"], missing=["NA", "?"])
    assert target.classes == ("a", "b")
    schema = infer(table(y=["a", "b"], x=["1", "NA"]), ["y"], missing=["NA"])
    assert (schema.inputs[0].kind, schema.missing) == ("number", ("NA",))


def test_overridden_kinds():
    data = table(y=["a;b", "c", "d"], n=["1", "2", "3"], m=[4, 5, 6])
    schema = infer(data, ["y"], kinds={"y": "multiclass", "n": "category", "m": "ignore"})
    assert schema.targets[0].classes == ("a;b", "c", "d")
    assert [(column.name, column.kind) for column in schema.inputs] == [("n", "category")]
    assert infer(data, ["y"], kinds={"y": "multilabel"}).targets[0].kind == "multilabel"
    assert "has 3" in refused(data, ["y"], kinds={"y": "binary"})
    assert "did you mean 'number'" in refused(data, ["y"], kinds={"n": "numbr"})
    assert "no column 'q'" in refused(data, ["y"], kinds={"q": "number"})


def test_the_target_is_asked_for_with_the_likely_columns_first():
    data = table(
        x=list(range(60)), colour=["r", "g"] * 30, label=[*"aabb"] * 15, split=["train", "test"] * 30
    )
    message = refused(data)
    assert message.endswith("Name one with targets=[\"NAME\"]; there are 'label', 'colour'.")
    assert "did you mean 'colour'" in refused(data, ["color"])
    marked = Table(data.columns, "t", targets=("label",))
    assert infer(marked).targets[0].name == "label"


# Quantities


def cycle(values, rows):
    return [values[row % len(values)] for row in range(rows)]


@pytest.mark.parametrize(
    ("cells", "quantity"),
    [
        (cycle([str(n / 2) for n in range(40)], 400), True),  # fractions, ten rows each
        (cycle([n / 2 for n in range(40)], 400), True),
        ([f"{n * 37 % 101}" for n in range(60)], True),  # hardly one comes again
        (cycle(["NA", *(str(n * 7) for n in range(60))], 240), True),
        ([f"{n / 10:g}" for n in range(12)], True),  # few, but each once
        (cycle([str(n) for n in range(100)], 200), False),  # ids of classes
        (cycle([n + 1 for n in range(100)], 200), False),
        (cycle([f"{n:03d}" for n in range(50)], 60), False),
        (cycle([str(n * 7) for n in range(60)], 300), False),
        (cycle([f"{n / 2:g}" for n in range(2, 11)], 90), False),  # stars
        (cycle([str(n * n) for n in range(30)], 40), False),
        (cycle([f"v{n / 2}" for n in range(40)], 80), False),
        (cycle(["nan", "inf"], 40), False),
    ],
)
def test_a_quantity_is_refused_as_a_class_with_two_ways_on(cells, quantity):
    if not quantity:
        assert target_of(cells).kind in ("binary", "multiclass")
        return
    data = table(y=cells, x=list(range(len(cells))))
    message = refused(data, ["y"])
    assert "looks like a quantity" in message
    assert 'bins={"y": 5}' in message
    assert 'kinds={"y": "multiclass"}' in message
    assert len(infer(data, ["y"], kinds={"y": "multiclass"}).targets[0].classes) > 9


@pytest.mark.parametrize(("first", "told"), [(12, True), (0, False), (1, False)])
def test_classes_that_are_numbers_are_told_unless_they_count(first, told):
    data = table(y=[str(first + row % 20) for row in range(200)], x=list(range(200)))
    notes = problems(data, infer(data, ["y"]))
    assert any("--bins y=5" in note for note in notes) == told


def test_bins_part_a_quantity_where_quantiles_are():
    cells = ["18", "18.0", "2.5", "30", None, "22.5", "18", "99", "23", "40"]
    target = target_of(cells, bins={"y": 3})
    assert (target.kind, target.classes, target.edges) == (
        "multiclass",
        ("below 22.5", "22.5 to 30", "30 or more"),
        (22.5, 30.0),
    )
    both = target_of(cells, bins={"y": 2})
    assert (both.kind, both.classes) == ("binary", ("below 22.5", "22.5 or more"))
    new = table(y=["-5", "22.4999", "22.5", "30.0", "inf", None]).cells("y")
    assert decode(target, encode(target, [new])) == [
        *("below 22.5", "below 22.5", "22.5 to 30", "30 or more", "30 or more", "")
    ]


@given(
    st.lists(st.integers(-30, 30) | st.floats(-5, 5).map(lambda x: round(x, 2)), min_size=2, max_size=60),
    st.integers(2, 8),
)
def test_every_number_has_its_range_and_every_range_a_number(numbers, bins):
    data = table(y=[str(number) for number in numbers], x=list(range(len(numbers))))
    if len({*map(float, numbers)}) < bins:
        assert "bins" in refused(data, ["y"], bins={"y": bins}) or len({*map(float, numbers)}) == 1
        return
    try:
        target = infer(data, ["y"], bins={"y": bins}).targets[0]
    except UserError as error:  # fewer, and as many as are told do
        fewer = int(error.typed.rpartition("y=")[2].rstrip("."))
        target = infer(data, ["y"], bins={"y": fewer}).targets[0]
        assert 2 <= fewer < bins
    y = encode(target, [data.cells("y")]).reshape(-1)
    assert {*y.tolist()} == {*range(len(target.classes))}
    order = np.argsort([float(number) for number in numbers], kind="stable")
    assert (np.diff(y[order]) >= 0).all()


def test_bins_come_from_rows_that_are_not_test():
    data = table(y=[1, 2, 3, 4, 100, 200], x=list(range(6)), split=["train"] * 4 + ["test"] * 2)
    target = infer(data, ["y"], bins={"y": 2}).targets[0]
    assert target.edges == (3.0,)
    assert Schema.from_json(json.loads(json.dumps(infer(data, ["y"], bins={"y": 2}).to_json()))).targets == (
        target,
    )


def test_bins_that_cannot_be_are_refused():
    data = table(
        y=["1", "2", "2", "4"], word=["a", "b", "a", "b"], same=["1", "1", "1", None], x=[1, 2, 3, 4]
    )
    assert 'use bins={"y": 3}' in refused(data, ["y"], bins={"y": 4})
    assert "'a' is none" in refused(data, ["word"], bins={"word": 2})
    assert "only one number" in refused(data, ["same"], bins={"same": 2})
    for number in (1, 0, 1001, 2.5, True, "3"):
        assert "from 2 to 1000" in refused(data, ["y"], bins={"y": number})
    assert "'x' is no target" in refused(data, ["y"], bins={"x": 2})
    assert "is read otherwise" in refused(data, ["y"], bins={"y": 2}, kinds={"y": "multiclass"})


# Words for unknown


def words(n=30, **columns):
    labels = [("yes", "no", "NA")[row % 3] for row in range(n)]
    return table(**{"y": labels, "x": [str(row * 7 % n) for row in range(n)], **columns})


def test_a_word_for_unknown_that_numbers_share_is_unknown_in_the_target():
    data = words(z=["NA" if row == 4 else f"{row}.5" for row in range(30)])
    schema = infer(data, ["y"])
    assert schema.targets[0].classes == ("no", "yes")
    assert schema.missing == ("NA",)
    assert "target 'y': 10 cells with 'NA' read as unknown, as in 'z'" in problems(data, schema)
    kept = infer(data, ["y"], kinds={"y": "multiclass"})
    assert kept.targets[0].classes == ("NA", "no", "yes")


def test_a_word_for_unknown_that_stands_alone_is_asked_about():
    schema = infer(words(), ["y"])
    assert schema.targets[0].classes == ("NA", "no", "yes")
    asked = "target 'y': 'NA' is taken for a class; if it means an unknown label: --missing NA"
    assert asked in problems(words(), schema)
    told = infer(words(), ["y"], missing=["NA"])
    assert "target 'y': 10 cells with 'NA' read as unknown" in problems(words(), told)


@pytest.mark.parametrize(
    "labels",
    [["NA", "yes"], ["-", "+", "o"], ["nano", "nanny", "none of them"], ["naïve", "?!", "x"]],
    ids=["one other class", "signs", "longer words", "marks"],
)
def test_other_words_in_a_target_are_not(labels):
    data = words(y=cycle(labels, 30), z=["-" if row == 4 else f"{row}" for row in range(30)])
    schema = infer(data, ["y"])
    assert {*schema.targets[0].classes} == {*labels}
    assert schema.missing == ()
    assert not any("unknown" in line for line in problems(data, schema))


# Features


def test_features_and_what_is_left_out():
    n = 120
    data = table(
        y=[*"aabbb"] * 24,
        number=[str(i / 7) for i in range(n)],
        words=["1e3", "+5", "inf", "-.5"] * 30,
        colour=["r", "g", "1"] * 40,
        flag=[True, False] * 60,
        same=["k"] * n,
        empty=[None] * n,
        name=[f"n{i}" for i in range(n)],
        tags=[["a"]] * n,
        id=[str(i) for i in range(1, n + 1)],
        row=list(range(n)),
        whole=pa.array([1, None] * 60),
        group=["g", "h"] * 60,
    )
    schema = infer(data, ["y"], ignore=["group"])
    assert {column.name: column.kind for column in schema.inputs} == {
        "number": "number",
        "words": "number",
        "colour": "category",
        "flag": "category",
        "whole": "number",
    }
    told = problems(data, schema)
    assert told == [
        "column 'same' is left out: all its cells are 'k'",
        "column 'empty' is left out: all its cells are empty",
        "column 'name' is left out: it has 120 different texts in 120 rows",
        "column 'tags' is left out: it holds lists",
        "column 'id' is left out: it numbers the rows; to take it: --kind id=number",
        "column 'group' is not used",
    ]
    assert "name" in [column.name for column in infer(data, ["y"], kinds={"name": "category"}).inputs]


def test_words_among_numbers_are_named():
    n = 120
    data = table(
        y=[*"aabbb"] * 24, x=["low", *map(str, range(1, n))], z=[*map(str, range(10)), "so", "5"] * 10
    )
    read_as, left_out = problems(data, infer(data, ["y"]))
    assert read_as == "column 'z' is read as categories: all but 'so' are numbers, see --missing"
    assert left_out.startswith(
        "column 'x' is left out: it has 120 different texts in 120 rows; all but 'low' are"
    )
    kinds = [column.kind for column in infer(data, ["y"], missing=["low", "so"]).inputs]
    assert kinds == ["number", "number"]


def test_no_feature_left_is_refused():
    assert "no column is left" in refused(table(y=["a", "b"], x=["k", "k"]), ["y"])
    assert "no column is left" in refused(table(y=["a", "b"]), ["y"])


def test_pixels_are_the_input():
    data = from_python((np.zeros((4, 5, 6, 3), np.uint8), {"y": [1, 2, 1, 2], "x": [1, 2, 3, 4]}), "t")
    schema = infer(data, ["y"])
    assert [(column.name, column.shape) for column in schema.inputs] == [("pixels", (5, 6, 3))]
    assert problems(data, schema) == ["not used beside the images: 'x'"]
    assert "no column 'x' can be" in refused(data, ["y"], image="x")


def cars(apart=(), **columns):
    """Say what is odd in twenty pictures of brands and what else stands in the table beside them."""
    columns = {"brand": ["Audi"] * 10 + ["Ford"] * 10} | columns
    data = from_python((np.zeros((20, 4, 4, 3), np.uint8), columns), "t")
    return problems(data, infer(data, ["brand"]), apart)


MODELS = ["A4"] * 5 + [None] + ["TT"] * 4 + ["Ka"] * 10


def test_a_column_that_a_target_follows_from_is_worth_learning():
    assert cars(**{"the model": MODELS}) == [
        "not used beside the images: 'the model'",
        "column 'the model' tells 'brand'; where pictures show it, make it a target too, of half the weight "
        "(target_weights.the model=0.5)",
    ]


@pytest.mark.parametrize(
    ("values", "brands"),
    [
        (["A4"] * 5 + ["TT"] * 6 + ["Ka"] * 9, {}),  # one Ford is a TT
        (["a German one"] * 10 + ["an American one"] * 10, {}),  # another word for the same
        (["Audi", "Audi!"] * 5 + ["Ford"] * 10, {"brand": [None, "Audi"] * 5 + ["Ford"] * 10}),  # likewise
        (list(map(str, range(20))), {}),  # a name for each picture
        (["A4", "TT", "Q3"] + [None] * 17, {}),  # a name for few
        (MODELS, {"brand": ["Audi"] + [None] * 18 + ["Ford"]}),  # labels of few
        (["car"] * 20, {}),
        ([None] * 20, {}),
    ],
)
def test_other_columns_are_not(values, brands):
    assert not any("tells" in line for line in cars(model=values, **brands))


def test_columns_that_are_to_stay_unused_are_not():
    assert cars(model=MODELS, apart={"model"}) == ["not used beside the images: 'model'"]


@pytest.fixture
def measured(monkeypatch):
    of_column = lambda table, column, rows=None: Input(column, "image", (8, 9, 3))  # noqa: E731
    monkeypatch.setattr(opening, "image_input", of_column)


def test_the_image_column_is_found(measured):
    data = table(y=["a", "b", "a"], file=["p/1.JPG", None, "2.png"], size=[1, 2, 3])
    schema = infer(data, ["y"])
    assert [(column.name, column.kind, column.shape) for column in schema.inputs] == [
        ("file", "image", (8, 9, 3))
    ]
    two = table(y=["a", "b"], f=["1.png", "2.png"], g=["3.png", "4.png"])
    assert "'f', 'g'" in refused(two, ["y"])
    assert infer(two, ["y"], image="g").inputs[0].name == "g"
    assert infer(two, ["y"], kinds={"f": "category"}).inputs[0].name == "g"
    assert "no column 'h'" in refused(two, ["y"], image="h")
    assert "be no target" in refused(two, ["y"], image="y")


# The split column


def test_split_is_read_in_any_case():
    data = table(split=["Train", "VAL", "test"], x=[1, 2, 3])
    assert split_column(data) == "split"
    assert split_of(data).tolist() == ["train", "val", "test"]
    other = table(split=["left", "right"])
    assert (split_column(other), split_of(other), split_of(table(x=[1]))) == (None, None, None)


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["train", "validation"], ["row 2", "'validation'", "did you mean 'val'"]),
        (["train", "tset"], ["row 2", "'tset'", "did you mean 'test'"]),
        (["train", None, "test"], ["row 2", "empty"]),
        (["train", " test"], ["row 2", "did you mean 'test'"]),
    ],
)
def test_other_words_in_a_split_column_are_refused(cells, words):
    with pytest.raises(UserError) as caught:
        split_column(table(split=cells))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_classes_come_from_rows_that_are_not_test():
    data = table(
        y=["a", "b", "c", "zzz", "zzz"], x=[1, 2, 3, 4, 5], split=["train", "train", "val", "test", "test"]
    )
    schema = infer(data, ["y"])
    assert schema.targets[0].classes == ("a", "b", "c")
    assert [column.name for column in schema.inputs] == ["x"]
    assert "target 'y': 1 class only test rows have: 'zzz' (2 rows)" in problems(data, schema)
    summary = describe(data, schema)
    assert summary["targets"][0]["classes"] == {"a": 1, "b": 1, "c": 1, "zzz": 2}
    assert summary["targets"][0]["unknown"] == 0
    assert "no row is 'train'" in refused(table(y=["a", "b"], x=[1, 2], split=["test", "val"]), ["y"])


# What people are told


def test_labels_that_differ_only_by_case_or_blanks_are_named_never_merged():
    data = table(y=["cat", "Cat", "cat", " cat", "dog", "dog"], x=[1, 2, 3, 4, 5, 6])
    schema = infer(data, ["y"])
    assert set(schema.targets[0].classes) == {"cat", "Cat", " cat", "dog"}
    (line,) = [line for line in problems(data, schema) if "case" in line]
    assert line == (
        "target 'y': classes that differ only by case or blanks are kept apart: "
        "' cat' (1 row), 'Cat' (1 row), 'cat' (2 rows)"
    )


def test_unknown_and_single_rows_are_counted():
    data = table(y=["a", None, "b", "b"], p=["1", "", "0", "0"], q=["0", "", "0", ""], x=[1, 2, 3, 4])
    told = problems(data, infer(data, ["y"], tags={"t": ["p", "q"]}))
    assert "target 'y': 1 of 4 rows have no label" in told
    assert "target 'y': 1 class with one row: 'a'" in told
    assert "target 't': 1 of 4 rows have no label" in told
    assert "target 't': 1 of 4 rows have some labels and lack others" in told
    assert "target 't': no row has 'q'" in told


def test_one_picture_with_two_classes_is_named(measured):
    data = table(
        image=["a.png", "b.png", "a.png", "b.png"], y=["cat", "dog", "dog", "dog"], t=["p;q"] * 3 + ["q"]
    )
    told = problems(data, infer(data, ["y", "t"]))
    line = "target 'y': 1 image has more than one class: 'a.png' is 'cat' (row 1) and 'dog' (row 3)"
    assert [told_line for told_line in told if "image" in told_line] == [line]
    tags = "target 't': 1 picture has different tags: 'b.png' is 'p;q' (row 2) and 'q' (row 4)"
    long = "if each row has one of the labels of its picture, gather them with --long"
    assert told[-3:] == [line, tags, long]


def test_notes_of_reading_are_told(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("y,x\né,1\nb,2\n".encode("cp1252"))
    data = read(path)
    assert "Windows-1252" in problems(data, infer(data, ["y"]))[0]


def test_the_description_is_json():
    data = table(
        y=["a;b", "b", None],
        k=["u", "v", "u"],
        n=[1.5, None, 3.0],
        c=["p", "q", ""],
        split=["train"] * 2 + ["val"],
    )
    summary = describe(data, infer(data, ["y", "k"]))
    assert json.loads(json.dumps(summary)) == summary
    assert summary["rows"] == 3
    assert summary["splits"] == {"train": 2, "val": 1}
    assert summary["inputs"] == [
        {"name": "n", "kind": "number", "missing": 1, "distinct": 2, "min": 1.5, "max": 3.0},
        {"name": "c", "kind": "category", "missing": 1, "distinct": 2, "most": {"p": 1, "q": 1}},
    ]
    assert summary["targets"][0] == {
        "name": "y",
        "kind": "multilabel",
        "columns": ["y"],
        "known": 2,
        "unknown": 1,
        "classes": {"a": 1, "b": 2},
        "examples": ["a;b", "b"],
    }
    assert summary["targets"][1]["classes"] == {"u": 2, "v": 1}


# Properties

name = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).filter(
    lambda text: text.strip() and not set(text) & set(";|[]")
)


@given(st.lists(st.none() | name, min_size=2, max_size=20))
def test_single_classes_encode_and_decode_to_themselves(cells):
    data = table(y=pa.array(cells, pa.string()), x=list(range(len(cells))))
    if len({cell for cell in cells if cell}) < 2:
        assert any(word in refused(data, ["y"]) for word in ("only one class", "unknown"))
        return
    target = infer(data, ["y"]).targets[0]
    texts = {cell for cell in cells if cell}
    padded = len({text.strip() for text in texts}) < len(texts)  # blanks stay where they tell classes apart
    given = [(cell if padded else cell.strip()) if cell else "" for cell in cells]
    assert decode(target, encode(target, [data.cells("y")])) == given


@given(st.lists(st.none() | st.lists(name.map(str.strip), max_size=4, unique=True), min_size=2, max_size=15))
def test_tags_encode_and_decode_to_themselves(cells):
    texts = [None if tags is None else ";".join(tags) or "[]" for tags in cells]
    data = table(y=pa.array(texts, pa.string()), x=list(range(len(cells))))
    try:
        target = infer(
            data, tags={"y": None}, separator=";" if any(";" in t for t in texts if t) else None
        ).targets[0]
    except UserError:
        return
    if target.separators[0] == ";":
        given = [None if text is None else set(tags) for text, tags in zip(texts, cells, strict=True)]
        answers = decode(target, encode(target, [data.cells("y")]))
        assert [None if text == "" else set(text.split(";")) - {"[]"} for text in answers] == given


@given(st.lists(st.integers(0, 3), min_size=4, max_size=20), st.randoms())
def test_classes_do_not_depend_on_the_order_of_rows(numbers, random):
    shuffled = list(numbers)
    random.shuffle(shuffled)
    if len(set(numbers)) > 1:
        assert target_of(numbers).classes == target_of(shuffled).classes


@given(st.permutations(["cat", "Dog", "cow"]))
def test_a_schema_survives_json(words):
    schema = infer(table(y=words, x=[1, 2, 3]), ["y"])
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_folder_order_does_not_matter(tmp_path, measured):
    for path in ("b/1.png", "a/1.png", "c/1.png"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_bytes(b"x")
    schema = infer(read(Path(tmp_path)))
    assert schema.targets[0].classes == ("a", "b", "c")


@pytest.mark.parametrize("name", ["id", "column 1", "__index_level_0__"])
def test_a_shuffled_index_is_no_feature(name):
    """It would tell which rows were neighbours before, and these are often of one class."""
    numbers = np.random.default_rng(0).permutation(40)
    found = table(size=[float(n % 7) for n in range(40)], kind=["a", "b"] * 20, **{name: numbers})
    assert [column.name for column in infer(found, ["kind"]).inputs] == ["size"]
    asked = infer(found, ["kind"], kinds={name: "number"})
    assert {column.name for column in asked.inputs} == {"size", name}
    often = table(size=[1.0, 2.0] * 20, kind=["a", "b"] * 20, **{name: [1, 2, 3, 4] * 10})
    assert name in [column.name for column in infer(often, ["kind"]).inputs]


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([2**70, 1], [str(2**70), "1"]),
        (pd.cut(pd.Series([1.0, 9.0, 2.0]), [0, 5, 10]), ["(0, 5]", "(5, 10]", "(0, 5]"]),
        ([{"a": 1}, None], ["{'a': 1}", None]),
        (pd.Series(["x", pd.NA, 1], dtype=object), ["x", None, "1"]),
        (pd.Series(["x", pd.NaT, 1], dtype=object), ["x", None, "1"]),
    ],
    ids=["beyond 64 bits", "intervals", "dicts", "NA", "NaT"],
)
def test_odd_columns_of_python_become_text(values, cells):
    assert from_python({"a": values}).column("a").to_pylist() == cells


def test_columns_of_a_data_frame_that_are_there_twice_are_refused():
    with pytest.raises(UserError, match="'a' twice"):
        from_python(pd.DataFrame([[1, 2]], columns=["a", "a"]))


def test_a_column_of_dates_may_be_empty():
    found = table(when=["", ""], size=[1.0, 2.0], kind=["a", "b"])
    summary = describe(found, infer(found, ["kind"], kinds={"when": "date"}))
    assert (summary["inputs"][0]["missing"], summary["inputs"][0]["first"]) == (2, None)


# What a column of tags may look like


@pytest.mark.parametrize(
    ("cells", "separators"),
    [
        (["[a, b]", "[a]", "[]", "[old town]"], ("[", ",", "]")),
        (["[a b]", "[b]"], ("[", " ", "]")),
        (["{a,b}", "{b}"], ("{", ",", "}")),
        (["<a><b>", "<c#>"], ("<", ">")),
        (["a#b", "old town#a"], ("#",)),
        (["#a #b", "#b"], ("#",)),
        (["C#, Java", "C#"], (",",)),
        (["a b", "b"], (" ",)),
        (["a;b, c", "b"], (";", "|")),
        (["['a', 'b']", "['b']"], (";", "|")),
        (['{"choices": ["a", "b"]}', "b, or so"], (";", "|")),
        (["a", "b"], (";", "|")),
    ],
)
def test_separators_of_a_column_that_is_said_to_hold_tags(cells, separators):
    target = infer(table(y=cells, x=list(range(len(cells)))), tags={"y": None}).targets[0]
    assert (target.kind, target.separators) == ("multilabel", separators)


def test_tags_between_brackets_are_read_the_same_way_later():
    target = infer(table(y=["[a, b]", "[a]", "[]", "[old town]"], x=[1, 2, 3, 4]), tags={"y": None}).targets[
        0
    ]
    assert target.classes == ("a", "b", "old town")
    again = Schema.from_json(json.loads(json.dumps(Schema((), (target,)).to_json()))).targets[0]
    assert encode(again, [table(y=["[old town, b]", "[]", None]).cells("y")]).tolist() == [
        [0, 1, 1],
        [0, 0, 0],
        [-1, -1, -1],
    ]


def test_lists_in_quotes_are_tags_unasked_and_other_brackets_are_not():
    assert target_of(["['a', 'b']", "['b']"]).classes == ("a", "b")
    assert target_of(['{"choices": ["a", "b"]}', "b", "c"]).classes == ("a", "b", "c")
    assert target_of(["[MASK]", "[UNK]"]).classes == ("[MASK]", "[UNK]")
    assert target_of(["('a', 'b')", "('b')"]).kind == "binary"


def test_words_that_mean_no_tags_are_no_classes():
    data = table(y=["a|b", "(none)", "a"], p=[1, 0, 0], q=[0, 1, 0], healthy=[0, 0, 1], x=[1, 2, 3])
    schema = infer(data, tags={"y": None, "t": ["healthy", "p", "q"]}, none=["(none)", "healthy"])
    assert [target.classes for target in schema.targets] == [("a", "b"), ("p", "q")]
    assert "target 'y': 1 of 3 rows have no tags" in problems(data, schema)
    assert "target 't': where column 'healthy' is 1, empty cells of the others are 0" in problems(
        data, schema
    )
    assert describe(data, schema)["targets"][1]["classes"] == {"p": 1, "q": 1}
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_words_for_no_tags_that_nothing_has_are_refused():
    data = table(y=["a|b", "(none)", "a"], c=["u", "v", "u"], p=[1, 0, 0], q=[0, 1, 0], x=[1, 2, 3])
    assert "'none' is no cell of 'y' (did you mean '(none)'?)" in refused(data, ["y"], none=["none"])
    assert "no target has tags" in refused(data, ["c"], none=["u"])
    assert "all its columns are named by 'none'" in refused(data, tags={"t": ["p", "q"]}, none=["p", "q"])
    assert "'y' is no cell" in refused(data, ["y"], none=["y"])


def test_padded_classes_lose_their_blanks_where_these_tell_nothing_apart():
    data = table(y=[" ja ", "nein ", " ja "], x=[1, 2, 3])
    schema = infer(data, ["y"])
    assert schema.targets[0].classes == ("ja", "nein")
    assert "target 'y': blanks around classes were removed, as in ' ja '" in problems(data, schema)
    data = table(y=["ja ", "ja", "nein "], x=[1, 2, 3])
    schema = infer(data, ["y"])
    assert schema.targets[0].classes == ("ja", "ja ", "nein ")
    assert not any("removed" in line for line in problems(data, schema))


def test_without_a_target_columns_of_words_are_shown_as_fit_would_read_them():
    words = [
        f"{colour} {kind} number {n}" for n in range(40) for colour, kind in (("red", "car"), ("blue", "van"))
    ]
    codes = [f"{n * 7919 % 10_007:x}-{n}" for n in range(80)]
    t = table(said=words, code=codes, kind=["car", "van"] * 40)
    shown = {column["name"]: column["kind"] for column in look(t)["inputs"]}
    assert shown == {"said": "text", "code": "category", "kind": "category"}
    assert {each.name: each.kind for each in infer(t, ["kind"]).inputs} == {"said": "text"}
