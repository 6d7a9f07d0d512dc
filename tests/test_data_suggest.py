"""What a table looks like before anybody says what to predict: tags, 0/1 columns, a row for each label."""

import shlex

import pytest

from manyhot.cli.parser import build_parser
from manyhot.data.rows.describe import look, problems
from manyhot.data.rows.infer import infer
from manyhot.data.rows.suggest import suggestions
from manyhot.data.table import from_python
from manyhot.targets import decode, encode

SETS = [(), ("Red",), ("Tall",), ("Red", "Tall")] * 10


def tagged(between, around="{}", none=""):
    """A column of tags as a program writes them, and the rest of a table."""
    cells = [around.format(between.join(tags)) if tags or not none else none for tags in SETS]
    return from_python({"a": range(40), "tags": cells, "b": [0.5, 2] * 20}, "t.csv")


FORMS = [  # how the tags are written, what is said, the options that are said to read them
    (tagged("#"), "separated by '#'", "--tags tags --separator '#'"),
    (tagged(", "), "separated by ','", "--tags tags --separator ,"),
    (tagged(" "), "separated by blanks", "--tags tags --separator ' '"),
    (tagged("|", none="(no genres listed)"), "separated by '|'", "--tags tags --none '(no genres listed)'"),
    (tagged(";"), "separated by ';'", "--tags tags"),
    (tagged(", ", "[{}]"), "in lists", "--tags tags"),
    (tagged(" ", "[{}]"), "in lists", "--tags tags"),
    (tagged("', '", "['{}']", "[]"), "in lists", "--tags tags"),
    (tagged("' '", "['{}']", "[]"), "in lists", "--tags tags"),
    (tagged("', '", "{{'{}'}}", "[]"), "in lists", "--tags tags"),
    (tagged('", "', '["{}"]', "[]"), "in lists", "--tags tags"),
    (tagged('", "', '{{"choices": ["{}"]}}', '{"choices": []}'), "in lists", "--tags tags"),
    (tagged('"]}, {"choices": ["', '[{{"choices": ["{}"]}}]', "[]"), "in lists", "--tags tags"),
    (tagged("><", "<{}>", "[]"), "in lists", "--tags tags"),
    (tagged(",", "{{{}}}", "{}"), "in lists", "--tags tags"),
]


@pytest.mark.parametrize(
    ("table", "said", "options"), FORMS, ids=[table.column("tags")[3].as_py() for table, *_ in FORMS]
)
def test_tags_are_seen_and_read_as_it_is_said(table, said, options):
    (line,) = suggestions(table)
    assert line in look(table)["problems"]
    assert line in (
        f"column 'tags' looks like tags {said}: {options}",
        f"column 'tags' looks like tags: {options}",
    )
    args = build_parser().parse_args(["inspect", "t.csv", *shlex.split(options)])
    none = [args.none] if args.none else []
    (target,) = infer(table, tags={"tags": None}, separator=args.separator, none=none).targets
    given = [";".join(tags) for tags in SETS]
    cells = table.cells("tags")
    assert [answer.replace("[]", "") for answer in decode(target, encode(target, [cells]))] == given


def test_numbers_between_blanks_need_not_stand_alone():
    table = from_python({"Target": ["25 7", "25 0", "7", "0"] * 10})
    assert suggestions(table) == [
        "column 'Target' looks like tags separated by blanks: --tags Target --separator ' '"
    ]


def test_lists_of_a_typed_source_are_seen():
    table = from_python({"a": range(40), "tags": [list(tags) for tags in SETS]})
    assert suggestions(table) == ["column 'tags' looks like tags: --tags tags"]


@pytest.mark.parametrize(
    "cells",
    [
        ["Paris, France", "Lyon, France", "Rome, Italy", "Milan, Italy"] * 10,
        ["New York", "New Jersey", "Ohio", "Iowa"] * 10,
        ["sports car", "sports bike", "car", "truck"] * 10,
        ["dark red", "dark blue", "light red", "light blue"] * 10,
        ["very good", "good", "bad", "very bad", "fair"] * 8,
        ["red", "blue"] * 20,
        [f"a sentence of {n} words, and then some" for n in range(40)],
        [f"2024-01-{day:02}" for day in range(1, 21)] * 2,
        ["1,5", "2,5", "3", "2"] * 10,
        ["C#", "F#", "C", "Java"] * 10,
        ["a/b"] * 40,
        [None] * 40,
    ],
)
def test_what_does_not_behave_as_tags_is_left_alone(cells):
    table = from_python({"a": range(40), "text": cells})
    assert suggestions(table) == []


def test_a_target_of_single_classes_that_looks_like_tags_is_told():
    table = tagged("#")
    told = problems(table, infer(table, ["tags"]))
    assert any(line.endswith("--tags tags --separator '#'") for line in told)
    assert not any("looks like" in line for line in problems(table, infer(table, tags={"tags": None})))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"p": [0, 1, 1], "q": [1, 0, 0]}, "2 columns of 0 and 1 stand together: --tags NAME=p,q"),
        (
            {"p": ["0", "1", ""], "q": ["0", None, "0"]},
            "2 columns of 0 and 1 stand together: --tags NAME=p,q",
        ),
        (
            {"p": [True, False], "q": [True, True]},
            "2 columns of false and true stand together: --tags NAME=p,q",
        ),
        ({"p": ["No", "yes"], "q": ["yes", "no"]}, "2 columns of no and yes stand together: --tags NAME=p,q"),
        (
            {"p": ["1.0", "-1.0", "0.0"], "q": ["", "0.0", "1.0"]},
            "2 columns of 0 and 1 stand together: --tags NAME=p,q --missing=-1.0",
        ),
        (
            {"p": [1.0, -1.0, 0.0], "q": [None, 0.0, 1.0]},
            "2 columns of 0 and 1 stand together: --tags NAME=p,q --missing=-1",
        ),
        (
            {"No Finding": [0, 1], "big one": [1, 0]},
            "2 columns of 0 and 1 stand together: --tags 'NAME=No Finding,big one' --none 'No Finding'",
        ),
    ],
)
def test_columns_of_yes_and_no_are_seen(columns, said):
    rows = len(next(iter(columns.values())))
    assert suggestions(from_python({"x": range(5, 5 + rows), **columns})) == [said]


def test_columns_of_yes_and_no_that_do_not_belong_together():
    assert suggestions(from_python({"p": ["T", "F"], "q": ["Y", "N"]})) == []
    assert suggestions(from_python({"p": [0, 1], "x": [5, 6], "q": [0, 1]})) == []
    assert suggestions(from_python({"p": [0, 1] * 200, "q": [0, 1] * 199 + [2, 1]})) == []
    assert suggestions(from_python({"p": [None, None], "q": ["", ""]})) == []


def test_many_columns_are_not_all_named():
    (line,) = suggestions(from_python({f"c{n}": [0, 1] for n in range(60)}))
    assert line.startswith("60 columns of 0 and 1")
    assert line.endswith("c48,c49,…'")


def test_pictures_in_several_rows_are_seen():
    rows = {"path": ["a.png", "a.png", "b.png"], "label": ["x", "y", "x"], "box": [1, 2, 3]}
    said = "1 of 2 pictures stand in two rows; if a row has one label each: --long --tags label"
    assert suggestions(from_python(rows)) == [said]
    rows |= {"path": ["a.png"] * 3, "who": ["p", "q", "r"]}
    said = "1 of 1 pictures stand in up to 3 rows; if a row has one label each: --long --tags NAME"
    assert suggestions(from_python(rows)) == [said]
    assert suggestions(from_python({"path": ["a.png", "b.png", None, None]})) == []
