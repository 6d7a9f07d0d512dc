"""New rows are answered: words match by meaning, what cannot be read counts as missing, and it is told."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import QUICK, write_csv
from PIL import Image

import manyhot
from manyhot import predict
from manyhot.cli import main
from manyhot.cli.parser import build_parser
from manyhot.data.inputs.features import MAX_CATEGORIES, table_inputs
from manyhot.data.inputs.noticed import Noticed, Odd, together
from manyhot.data.rows.infer import infer
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.schema import Input, Schema, Target
from manyhot.targets import Cells, as_known, by_meaning, encode, unseen_classes
from manyhot.wording import OPTION, in_command

ROWS = 40
SOURCE = Path(manyhot.__file__).parent


@pytest.mark.parametrize(
    ("names", "text", "meant"),
    [
        (["Paris", "Rome"], "PARIS", "Paris"),
        (["Paris", "Rome"], " paris\u00a0", "Paris"),
        (["New York", "Rome"], "new  york", "New York"),
        (["Zürich", "Bern"], "Zu\u0308rich", "Zürich"),
        (["Zu\u0308rich", "Bern"], "ZÜRICH", "Zu\u0308rich"),
        (["Straße", "Weg"], "STRASSE", "Straße"),
        (["A1", "B2"], "\uff21\uff11", "A1"),
        (["file", "ink"], "\ufb01le", "file"),
        (["semi-detached", "flat"], "Semi\u2011detached", "semi-detached"),
        (["l'Oréal", "x"], "L\u2019Oréal", "l'Oréal"),
        (["a", "b"], "\ufeffa\u200b", "a"),
        (["1.0", "0.0"], "1", "1.0"),
        (["1", "0"], "1.00", "1"),
        (["True", "False"], "TRUE", "True"),
        (["true", "false"], "0", "false"),
        (["1", "0"], "True", "1"),
        (["no", "yes"], "Y", "yes"),
        (["yes", "no"], "False", "no"),
        (["negative", "positive"], "1", "positive"),
        (["00501", "10001"], "501", "00501"),
        (["00501", "10001"], "501.0", "00501"),
        # two that differ by it are never one
        (["Paris", "PARIS"], "paris", None),
        (["a", "A"], "A", "A"),
        (["1", "1.0"], "1.00", None),
        (["7", "007"], "07", None),
        (["yes", "true", "no"], "1", "true"),
        (["yes", "y"], "YES", "yes"),
        (["Paris", "Rome"], "Pari", None),
        (["1e3", "2"], "1000", None),
        (["001", "02"], "1", None),
        ([], "a", None),
    ],
)
def test_words_match_by_meaning_where_one_fits(names, text, meant):
    place = by_meaning(names)(text)
    assert (None if place is None else names[place]) == meant
    assert [by_meaning(names)(name) for name in names] == [*range(len(names))]


def labels(kind, classes, cells, columns=("y",), **more):
    target = Target("y", kind, classes, columns, **more)
    values = tuple(dict.fromkeys(cells))
    given = Cells(values, np.array([values.index(cell) for cell in cells]), "y")
    (known,), (changed,) = as_known(target, [given])
    return encode(target, [known], "missing").tolist(), unseen_classes(target, [known]), changed


def test_labels_match_by_meaning():
    found = labels("multiclass", ("Cat", "dog", "1.0"), ["CAT", "dog", " Dog ", "1", "cow"])
    assert found == ([0, 1, 1, 2, -1], ("cow",), {0: "Cat", 2: "dog", 3: "1.0"})
    found = labels("binary", ("no", "yes"), ["YES", "0", "maybe"])
    assert found == ([[1], [0], [-1]], ("maybe",), {0: "yes", 1: "no"})
    found = labels("multilabel", ("Red", "round"), ["red;ROUND", "[]", "None", "blue"], none=("none",))
    assert found == ([[1, 1], [0, 0], [0, 0], [0, 0]], ("blue",), {0: "Red", 2: "none"})


def test_a_label_that_says_neither_yes_nor_no_is_unknown():
    target = Target("t", "multilabel", ("a", "b"), ("a", "b"))
    a, b = Cells(("Yes", "maybe"), np.array([0, 1]), "a"), Cells(("0", "7"), np.array([1, 0]), "b")
    known, changed = as_known(target, [a, b])
    assert encode(target, known).tolist() == [[1, -1], [-1, 0]]
    assert changed == [{1: ""}, {1: ""}]


def fitted(**columns):
    data = from_python(columns, "t.csv")
    return table_inputs(infer(data, ["y"]), data, np.arange(len(data)))


CITIES = ["Paris", "London", "Rome", "Berlin"] * 10
DAYS = [f"2024-{1 + i % 12:02d}-15" for i in range(ROWS)]
INPUTS = fitted(
    city=CITIES,
    x=[i * 0.5 for i in range(ROWS)],
    day=DAYS,
    flag=[i % 2 for i in range(ROWS)],
    y=["a", "b"] * 20,
)
GOOD = {"city": CITIES[:20], "x": [*map(str, range(20))], "day": DAYS[:20], "flag": ["0", "1"] * 10}


def noticed(changes, inputs=INPUTS, rises=None, rows=20):
    """Return the lines about new rows, which differ from GOOD by some columns, or lack them."""
    columns = {name: cells for name, cells in (GOOD | changes).items() if cells is not None}
    x, found = inputs.read(from_python(columns, "new.csv"))
    assert len(x) == found.rows == rows
    return x, found, [(line.loud, line.text) for line in found.lines(rises or {})]


def test_of_rows_as_in_training_nothing_is_said():
    x, found, lines = noticed({})
    assert lines == []
    assert found.reasons() == found.words() == {}
    assert (x == INPUTS.transform(from_python(GOOD))[0]).all()
    typed = {"x": [*range(20)], "flag": [True, False] * 10}
    assert noticed(typed)[2] == []


def one(cell, name):
    return {name: [*GOOD[name][:19], cell]}


@pytest.mark.parametrize(
    ("changes", "loud", "said"),
    [
        (
            one("n/a", "x"),
            True,
            "column 'x': 1 of 20 cells is no number, such as 'n/a', and counts as missing; every row is "
            "answered",
        ),
        (one("12 cm", "x"), True, "is no number, such as '12 cm'"),
        (one("1,234", "x"), True, "is no number, such as '1,234'"),
        (one("15 %", "x"), True, "is no number, such as '15 %'"),
        (
            {"x": [f"{number},5" for number in range(20)]},
            False,
            "column 'x': 20 of 20 cells are written otherwise than in training and were matched, such as "
            "'0,5' for '0.5'",
        ),
        (one("31.31.2024", "day"), True, "column 'day': 1 of 20 cells is no date, such as '31.31.2024'"),
        (one("", "x"), None, ""),
        (
            one("Oslo", "city"),
            False,
            "column 'city': 1 of 20 cells (5.0%) has a word that training never saw",
        ),
        (
            {"city": [*CITIES[:10], *["Oslo", "Bonn"] * 5]},
            True,
            "10 of 20 cells (50.0%) have words that training never saw, such as 'Oslo' or 'Bonn' (1 of the 4",
        ),
        (
            {"city": [city.upper() for city in CITIES[:20]]},
            False,
            "column 'city': 20 of 20 cells are written otherwise than in training and were matched, such as "
            "'PARIS' for 'Paris'",
        ),
        ({"flag": ["TRUE", "no"] * 10}, False, "and were matched, such as 'TRUE' for '1'"),
        (one("perhaps", "flag"), True, "column 'flag': 1 of 20 cells is no number, such as 'perhaps'"),
        ({"x": None}, True, "column 'x' is absent: all 20 rows are answered without (1 of the 4 columns"),
        ({"x": None, "day": None}, True, "columns 'x', 'day' are absent"),
        ({"city": [""] * 20}, True, "column 'city' is empty: all 20 rows are answered without"),
        ({"x": [None] * 20}, True, "column 'x' is empty"),
        ({"day": [""] * 20}, True, "column 'day' is empty"),
        ({"x": ["much"] * 20}, True, "20 of 20 cells are no number, such as 'much', and count as missing"),
        ({"city": DAYS[:20]}, True, "column 'city': 20 of 20 cells (100.0%) have words that training never"),
        ({"day": [45_000 + i for i in range(20)]}, True, "20 of 20 cells are no date, such as '45000' or"),
        ({"x": [["a"], ["b"]] * 10}, True, "20 of 20 cells are no number"),
        ({"x": None, "X ": GOOD["x"]}, False, "column 'X ' is read as 'x', as training had it"),
    ],
)
def test_what_is_odd_is_told_once(changes, loud, said):
    _, _, lines = noticed(changes)
    assert [found for found, _ in lines] == ([] if loud is None else [loud])
    assert all(said in line for _, line in lines)


def test_what_is_matched_is_read_as_it_is_meant():
    usual, _, _ = noticed({})
    names = [f" {city.upper()}\u00a0" for city in CITIES[:20]]
    numbers = [f"{number},0" for number in range(20)]
    changes = {"city": names, "flag": ["False", "yes"] * 10, "x": None, "X": numbers}
    assert (noticed(changes)[0] == usual).all()
    assert len(INPUTS.read(from_python(GOOD).take(np.arange(0)))[0]) == 0


def test_what_cannot_be_read_is_as_an_empty_cell():
    empty, _, _ = noticed(one("", "x") | one("", "day"))
    odd, found, _ = noticed(one("?!", "x") | one("soon", "day"))
    assert np.array_equal(odd, empty, equal_nan=True)
    assert found.reasons() == {19: "'x': '?!' is not a number; 'day': 'soon' is not a date"}
    absent, _, _ = noticed({"x": None})
    assert np.array_equal(absent, noticed({"x": [""] * 20})[0], equal_nan=True)


def test_what_a_column_is_worth_is_told():
    rises = {"y": {"x": (0.5, 0.1), "city": (0.7, 0.1), "day": (-0.01, 0.1)}}
    (line,) = noticed({"x": None}, rises=rises)[2]
    assert line[1].endswith(
        "shuffling 'x' after training raised the log loss of 'y' by 0.500, as number 2 of 3 columns"
    )
    (line,) = noticed({"x": None, "city": None}, rises=rises)[2]
    assert line[1].endswith(
        "shuffling 'city' after training raised the log loss of 'y' by 0.700, the most of 3 columns"
    )


def test_a_few_rows_without_a_cell_are_nothing_odd():
    few = {name: cells[:3] for name, cells in GOOD.items()} | {"x": [None] * 3}
    assert noticed(few, rows=3)[2] == []


def test_words_that_are_rare_by_nature_are_no_news():
    """Where most words were met once, most of the new ones are new; they are told only beyond that."""
    names = [f"street {i}" for i in range(30)] + ["main"] * 30
    inputs = fitted(street=names, y=["a", "b"] * 30)
    assert inputs.features[0].novelty == 0.5
    new = from_python({"street": [f"road {i}" for i in range(10)] + ["main"] * 10})
    assert inputs.read(new)[1].lines({}) == []
    new = from_python({"street": [f"road {i}" for i in range(20)]})
    assert [line.loud for line in inputs.read(new)[1].lines({})] == [True]


def test_words_beyond_those_that_are_kept_are_not_called_unseen():
    names = [f"c{i}" for i in range(MAX_CATEGORIES + 200)] * 2
    schema = Schema((Input("c", "category"),), ())
    data = from_python({"c": names})
    inputs = table_inputs(schema, data, np.arange(len(names)))
    assert inputs.read(data)[1].lines({}) == []


def test_pieces_are_counted_together():
    first = noticed(one("n/a", "x") | {"city": [""] * 20})[1]
    second = noticed(one("?", "x"))[1]
    found = together([first, second])
    assert [line.text for line in found.lines({})] == [
        "column 'x': 2 of 40 cells are no number, such as 'n/a' or '?', and count as missing; every row is "
        "answered"
    ]
    assert all(len(odd.rows) == 0 for odd in found.odd)
    many = Noticed(9, 40, odd=tuple(Odd(f"c{i}", "absent", 9) for i in range(30)))
    assert "'c7' and 22 more are absent: all 9 rows" in many.lines({})[0].text


def test_the_wrong_table_is_refused():
    with pytest.raises(UserError, match="lacks 'city', 'x', 'day', 'flag', which the model was trained with"):
        INPUTS.read(from_python({"other": [1]}, "new.csv"))


@pytest.mark.parametrize("cell", ["n/a", "soon"])
def test_training_refuses_what_it_cannot_read(cell):
    data = from_python(GOOD | one(cell, "x"), "new.csv")
    with pytest.raises(UserError, match=f"new.csv row 20, column 'x': '{cell}' is not a number"):
        INPUTS.transform(data)
    with pytest.raises(UserError, match="lacks 'x'"):
        INPUTS.transform(from_python({"city": ["Paris"], "day": DAYS[:1], "flag": [1]}))


@pytest.fixture(scope="module")
def market(tmp_path_factory):
    """A model of two columns, where it lies, and its rows."""
    folder = tmp_path_factory.mktemp("market")
    columns = {"city": CITIES, "x": [i % 7 for i in range(ROWS)]}
    columns["sold"] = ["yes" if city in ("Paris", "Rome") else "no" for city in CITIES]
    manyhot.fit(columns, ["sold"], **QUICK | {"epochs": 8}).save(folder / "m")
    return folder / "m", columns


def test_predict_answers_every_row_and_says_what_is_odd(market, tmp_path, capsys):
    model, columns = market
    table = {"city": [c.upper() for c in CITIES], "x": ["n/a", *columns["x"][1:]], "error": ["mine"] * ROWS}
    new, out = write_csv(tmp_path / "new.csv", table), tmp_path / "out.csv"
    assert main(["predict", str(model), str(new), "--out", str(out)]) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "warning: column 'x': 1 of 40 cells is no number, such as 'n/a', and counts as missing; every row is "
        "answered",
        "column 'city': 40 of 40 cells are written otherwise than in training and were matched, such as "
        "'PARIS' for 'Paris'",
        "column 'error_input' says which rows, and why",
        f"wrote 40 rows to {out}",
    ]
    answers = manyhot.read(out)
    assert answers.column("error").to_pylist() == ["mine"] * ROWS
    assert answers.column("error_input").to_pylist() == ["'x': 'n/a' is not a number", *[None] * (ROWS - 1)]
    same = manyhot.load(model).predict(columns)["sold"]
    assert answers.column("sold").to_pylist()[1:] == same[1:]


def test_evaluate_judges_every_row_by_what_its_label_means(market, tmp_path, capsys):
    model, columns = market
    right = manyhot.load(model).evaluate(columns, split="all")
    flags = [int(word == "yes") for word in columns["sold"]]
    for sold in (flags, [float(flag) for flag in flags], [word.upper() for word in columns["sold"]]):
        new = write_csv(tmp_path / "new.csv", {**columns, "sold": sold})
        assert main(["evaluate", str(model), str(new), "--split", "all", "--json"]) == 0
        found = capsys.readouterr()
        assert json.loads(found.out)["targets"] == right["targets"]
        assert "column 'sold': 40 of 40 labels are written otherwise than in training, such as" in found.err
        assert "not in training" not in found.err
    odd = {**columns, "x": ["?!", *columns["x"][1:]], "sold": ["perhaps", *columns["sold"][1:]]}
    found = manyhot.load(model).judge(odd, split="all")
    assert found.scores["rows"] == ROWS
    assert manyhot.load(model).report(odd, tmp_path / "odd.html", split="all").is_file()
    capsys.readouterr()
    main(["evaluate", str(model), str(write_csv(tmp_path / "odd.csv", odd)), "--split", "all"])
    told = capsys.readouterr().err
    assert "target 'sold': 'perhaps' were not in training and count as wrong (1 of 40 labels)" in told
    assert "column 'x': 1 of 40 cells is no number, such as '?!'" in told


def test_absent_columns_cost_what_the_report_says(market, log_lines):
    model, columns = market
    found = manyhot.load(model).predict({"x": columns["x"]})
    assert len(found["sold"]) == ROWS
    assert manyhot.load(model).predict({"city": [], "x": []}) == {"sold": []}
    (said,) = log_lines
    assert said.startswith(
        "column 'city' is absent: all 40 rows are answered without; shuffling 'city' after"
    )
    assert said.endswith("the most of 2 columns")


def test_pieces_of_parquet_are_answered(market, tmp_path, capsys, monkeypatch):
    from manyhot.data.sources import pieces

    model, columns = market
    monkeypatch.setattr(pieces, "ROWS", 16)
    x = [*map(str, columns["x"][:-1]), "n/a"]
    pq.write_table(pa.table({"city": columns["city"], "x": x}), tmp_path / "new.parquet")
    out = tmp_path / "out.parquet"
    assert main(["predict", str(model), str(tmp_path / "new.parquet"), "--out", str(out)]) == 0
    assert "column 'x': 1 of 40 cells is no number, such as 'n/a'" in capsys.readouterr().err
    answers = pq.read_table(out)
    assert answers.column("sold").null_count == 0
    assert answers.column("error").to_pylist() == [None] * (ROWS - 1) + ["'x': 'n/a' is not a number"]


def test_a_target_called_error_keeps_its_answers(tmp_path):
    random = np.random.default_rng(0)
    for i in range(12):
        pixels = random.integers(0, 80, (8, 8, 3)) + 150 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"{i:02d}.png")
    names = [f"{i:02d}.png" for i in range(12)]
    write_csv(tmp_path / "t.csv", {"image": names, "error": ["dent", "scratch"] * 6})
    model = manyhot.fit(tmp_path / "t.csv", ["error"], **QUICK)
    (tmp_path / "03.png").write_bytes(b"x")
    answers = model.answers(tmp_path / "t.csv")
    assert answers.names[-1] == "error_input"
    assert answers.column("error_given").to_pylist() == ["dent", "scratch"] * 6
    there = [cell is not None for cell in answers.column("error").to_pylist()]
    assert there == [i != 3 for i in range(12)]
    assert answers.column("error_input").to_pylist()[3] == "not a picture that can be read"


def test_the_name_of_the_reasons_is_free():
    table = from_python({"error": ["a"], "error_input": ["b"]})
    found = predict.beside(table, {"y": ["c"]}, ["y"], {0: "why"})
    assert found.names == ("error", "error_input", "y", "error_input_input")


def strings(tree):
    """Yield the texts of a module that are no docstrings; a value put into one is {}."""
    inner = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            inner.add(body[0].value)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inner:
            yield node.value


MESSAGES = sorted(
    {
        text
        for path in SOURCE.rglob("*.py")
        for text in strings(ast.parse(path.read_text()))
        if OPTION.search(text)
    }
)
OPTIONS = build_parser().options


def wrong_options(text, command):
    """Return the options which a text names that its command does not have, without saying whose they are."""
    wrong = []
    for found in OPTION.finditer(text):
        owners = [name for name, own in OPTIONS.items() if f"--{found['name']}" in own]
        sentence = re.split(r"[.;] ", text[: found.start()])[-1]
        if command not in owners and not any(
            re.search(rf"(?:`|manyhot ){name}\b", sentence) for name in owners
        ):
            wrong.append(found["name"])
    return wrong


def test_every_option_that_a_message_names_is_one():
    assert len(MESSAGES) > 100
    every = {option for own in OPTIONS.values() for option in own} | {"--version"}
    named = {f"--{found['name']}" for text in MESSAGES for found in OPTION.finditer(text)}
    assert named <= every
    assert wrong_options("name the words with --missing NA", "predict") == ["missing"]


@pytest.mark.parametrize("command", OPTIONS)
def test_every_option_that_a_command_prints_is_its_own_or_said_to_be_anothers(command):
    placed = [in_command(text, command, OPTIONS) for text in MESSAGES if "--version" not in text]
    assert [text for text in placed if wrong_options(text, command)] == []
    own = f"pass {OPTIONS[command][0]}"
    assert in_command(own, command, OPTIONS) == own


def test_what_is_printed_says_whose_an_option_is(market, tmp_path, capsys, monkeypatch):
    def fails(*_, **__):
        raise UserError("t.csv: 'x' is no number. Name the words for an empty cell with --missing 'x'.")

    monkeypatch.setattr("manyhot.classifier.load", fails)
    assert main(["predict", "m", "t.csv"]) == 2
    assert capsys.readouterr().err.strip().endswith("for an empty cell with `fit` --missing 'x'.")


@pytest.mark.parametrize(
    "words",
    [["predict", "m", "t.csv", "--missing", "x"], ["tune", "m", "d", "--objective=hamming", "--missing=x"]],
)
def test_an_option_of_another_command_is_never_suggested_for_itself(words, capsys):
    with pytest.raises(SystemExit):
        main(words)
    told = capsys.readouterr().err
    owners = "'inspect', 'audit', 'fit', 'cluster', 'search'"
    assert f"`manyhot {words[0]}` takes no --missing; it is an option of {owners}." in told
