"""A row for each label: rows of equal inputs become one, with all that they say."""

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manyhot.cli import main
from manyhot.data.rows.infer import infer
from manyhot.data.rows.long import gather
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.schema import Input, Schema, Target

PATHS = (Input("path", "image", (8, 8, 3)),)
TAGS = Target("label", "multilabel", ("a", "b"), ("label",))
ONE = Target("label", "multiclass", ("a", "b", "c"), ("label",))


def gathered(target, separators=(), missing=(), **columns):
    return gather(from_python(columns, "t"), Schema(PATHS, (target,), missing), separators)


def test_tags_are_those_of_all_rows():
    table = gathered(
        TAGS,
        path=["2.png", "1.png", "2.png", "1.png", "3.png", "4.png"],
        label=["b", "a;b", "a", "b", None, "[]"],
    )
    assert table.column("path").to_pylist() == ["2.png", "1.png", "3.png", "4.png"]
    assert table.column("label").to_pylist() == [["b", "a"], ["a", "b"], None, []]
    assert table.rows.tolist() == [1, 2, 5, 6]
    assert table.notes == ("6 rows are of 4 different inputs; --long gathered their labels",)


def test_names_with_blanks_and_commas_stay_whole():
    rows = {"path": ["1", "1", "2"], "label": ["Traffic light", "Glasses, round", "?"]}
    labels = gathered(TAGS, (";", "|"), ("?",), **rows).column("label").to_pylist()
    assert labels == [["Traffic light", "Glasses, round"], None]


def test_a_class_is_that_of_most_rows_and_ties_are_unknown():
    table = gathered(
        ONE,
        path=[*"1112234455"],
        label=["a", "b", "b", "c", "a", "c", "a", None, None, None],
    )
    assert table.column("label").to_pylist() == ["b", None, "c", "a", None]
    assert table.notes[1] == "target 'label': 1 tie between classes, so unknown: '2'"


def test_numbers_stay_numbers():
    table = gathered(Target("label", "binary", ("0", "1"), ("label",)), path=[*"112"], label=[1, 1, 0])
    assert table.column("label").type == pa.int64()
    assert table.column("label").to_pylist() == [1, 0]


def test_flags_are_those_of_any_row():
    target = Target("t", "multilabel", ("p", "q"), ("p", "q", "none"), none=("none",))
    table = gathered(
        target, path=[*"1122"], p=["0", "1", "", "0"], q=["", "", "", ""], none=["", "0", "1", ""]
    )
    assert [table.column(name).to_pylist() for name in ("p", "q", "none")] == [
        ["1", "0"],
        ["", ""],
        ["0", "1"],
    ]


def test_other_columns_are_those_of_the_first_row_and_named_where_they_differ():
    table = gathered(TAGS, path=[*"112"], label=[*"aba"], box=["x", "y", "z"], size=[5, 5, 6])
    assert table.column("box").to_pylist() == ["x", "z"]
    assert table.notes[1] == "gathered rows differ in 'box'; the first row's cells are kept"


def test_a_confidence_of_zero_says_that_the_label_is_not_there():
    confidence = {"Confidence": ["1", "0", "0.0", "0.7"]}
    table = gathered(TAGS, path=[*"1123"], label=[*"abab"], **confidence)
    assert table.column("label").to_pylist() == [["a"], [], ["b"]]
    assert "2 labels have the confidence 0 and are taken as not there" in table.notes
    assert gathered(ONE, path=[*"1123"], label=[*"abab"], **confidence).column("label").to_pylist() == [
        "a",
        None,
        "b",
    ]


def test_rows_of_a_table_are_one_where_all_that_is_read_is_equal():
    rows = from_python({"x": [1, 1, 1, None, None], "c": ["r", "r", "g", "g", "g"], "label": [*"ababa"]})
    table = gather(rows, infer(rows, tags={"label": None}))
    assert table.column("label").to_pylist() == [["a", "b"], ["a"], ["b", "a"]]


def test_pictures_in_the_table_itself_are_refused():
    rows = from_python((np.zeros((4, 8, 8), np.uint8), [*"abab"]))
    with pytest.raises(UserError, match=r"manyhot\.gather gathers by paths or cells"):
        gather(rows, infer(rows))


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), min_size=2, max_size=30))
def test_gathering_is_what_counting_by_hand_gives(rows):
    things, labels = zip(*rows, strict=True)
    columns = {"path": [str(thing) for thing in things], "label": labels}
    tags = gathered(TAGS, **columns)
    single = gathered(ONE, **columns)
    for row, name in enumerate(tags.column("path").to_pylist()):
        mine = [label for thing, label in rows if str(thing) == name]
        assert set(tags.column("label")[row].as_py()) == set(mine)
        votes = sorted((mine.count(label), label) for label in set(mine))
        clear = len(votes) == 1 or votes[-1][0] > votes[-2][0]
        assert single.column("label")[row].as_py() == (votes[-1][1] if clear else None)


def test_a_long_table_from_inspect_to_evaluate(tmp_path, capsys):
    rng = np.random.default_rng(0)
    lines = ["a,b,label,confidence"]
    for a, b in rng.normal(size=(60, 2)).round(3):
        lines += [f"{a},{b},{name},0.9" for name, there in (("big one", a > 0), ("odd, one", b > 0)) if there]
        lines += [f"{a},{b},rest,0.8"]
    lines = [line.replace("odd, one", '"odd, one"') for line in lines]
    path, model = str(tmp_path / "long.csv"), str(tmp_path / "model")
    (tmp_path / "long.csv").write_text("\n".join(lines))
    words = ["--long", "--tags", "label", "--kind", "confidence=ignore"]
    assert main(["inspect", path, *words]) == 0
    printed = capsys.readouterr().out
    assert f"{len(lines) - 1} rows are of 60 different inputs" in printed
    assert "odd, one" in printed
    assert main(["fit", path, *words, "--out", model, "--epochs", "1", "--effort", "fast"]) == 0
    assert f"manyhot evaluate {model} NEW --long" in capsys.readouterr().out
    assert main(["evaluate", model, path, "--long"]) == 0
    assert "60 rows" in capsys.readouterr().out
    tune = ["tune", model, path, "--objective", "macro_f1", "--split", "all", "--json"]
    for more, rows in (([], len(lines) - 1), (["--long"], 60)):
        assert main([*tune, *more]) == 0
        assert json.loads(capsys.readouterr().out)["rows"] == rows
    assert main(["inspect", path, "--long"]) == 2
    assert "name what to predict first" in capsys.readouterr().err
