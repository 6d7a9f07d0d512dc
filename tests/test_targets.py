"""Cells into numbers and back, for every kind: the contract's paragraph on kinds, and round trips."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manyhot.data.rows.infer import infer
from manyhot.data.sources.read import read
from manyhot.data.table import from_python
from manyhot.errors import UserError
from manyhot.schema import Decision, Target
from manyhot.targets import (
    UNKNOWN,
    Cells,
    classes_in,
    decide,
    decode,
    dense,
    encode,
    known,
    num_outputs,
    number_of,
    probabilities,
    tags_of,
    unseen_classes,
    with_unseen_classes,
)

BINARY = Target("b", "binary", ("no", "yes"), ("b",))
ONE = Target("m", "multiclass", ("a", "b", "c"), ("m",))
MANY = Target("t", "multilabel", ("x", "y", "z"), ("t",))
FLAGS = Target("f", "multilabel", ("f1", "f2"), ("f1", "f2"))


def cells(*values, typed=False, name="col"):
    distinct = [v for v in dict.fromkeys(values) if v is not None]
    codes = np.array([-1 if v is None else distinct.index(v) for v in values], dtype=np.int32)
    return Cells(tuple(distinct), codes, name, "t.csv", typed)


def test_encode_and_decode_each_kind():
    y = encode(BINARY, [cells("yes", None, "no")])
    assert (y.tolist(), y.dtype) == ([[1], [-1], [0]], np.int8)
    assert decode(BINARY, y) == ["yes", "", "no"]
    y = encode(ONE, [cells("c", None, "a")])
    assert (y.tolist(), y.dtype) == ([2, -1, 0], np.int32)
    assert decode(ONE, y) == ["c", "", "a"]
    y = encode(MANY, [cells("z;x", None, "[]", "y|z")])
    assert (y.tolist(), y.dtype) == ([[1, 0, 1], [-1, -1, -1], [0, 0, 0], [0, 1, 1]], np.int8)
    assert decode(MANY, y) == ["x;z", "", "[]", "y;z"]
    y = encode(FLAGS, [cells("1", "0", None), cells("0", None, None)])
    assert y.tolist() == [[1, 0], [0, -1], [-1, -1]]
    assert decode(FLAGS, y) == ["f1", "[]", ""]


def test_encode_no_rows():
    for target in (BINARY, ONE, MANY):
        y = encode(target, [cells()])
        assert len(y) == 0
        assert decode(target, y) == []
        assert dense(target, y).shape == (0, num_outputs(target))


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "Yes", "y", "t", " 1 ", "+", "positive", "pos"])
def test_words_for_yes_in_flag_columns(word):
    assert encode(FLAGS, [cells(word), cells("0")]).tolist() == [[1, 0]]


@pytest.mark.parametrize("word", ["0", "false", "No", "n", "f", "-", "negative", "neg"])
def test_words_for_no_in_flag_columns(word):
    assert encode(FLAGS, [cells(word), cells("1")]).tolist() == [[0, 1]]


def test_typed_flag_columns():
    table = from_python({"f1": [1.0, 0.0, None], "f2": [True, False, None]})
    assert encode(FLAGS, [table.cells("f1"), table.cells("f2")]).tolist() == [[1, 1], [0, 0], [-1, -1]]


@pytest.mark.parametrize("word", ["2", "maybe", "-1", "0.5"])
def test_a_flag_that_is_neither_is_named_with_its_row(word):
    with pytest.raises(UserError, match=f"t.csv row 2, column 'f1': '{word}' must be 0 or 1"):
        encode(FLAGS, [cells("1", word, name="f1"), cells("0", "0")])


def test_a_class_that_is_not_known_is_named_with_a_suggestion():
    column = cells("a", "virginca", name="species")
    target = Target("m", "multiclass", ("a", "virginica"), ("m",))
    with pytest.raises(UserError, match=r"t.csv row 2, column 'species': 'virginca' .*did you mean 'virgin"):
        encode(target, [column])
    assert encode(target, [column], "missing").tolist() == [0, -1]
    assert encode(MANY, [cells("x;w")], "missing").tolist() == [[1, 0, 0]]
    with pytest.raises(UserError, match="'w' is not a known class"):
        encode(MANY, [cells("x;w")])


# The contract's paragraph on kinds: what text is, and what a typed source equals


def y_of(trained_on, asked):
    """Infer from one column, encode another."""
    target = infer(from_python({"y": trained_on, "x": [*range(len(trained_on))]}), ["y"]).targets[0]
    return target, encode(target, [from_python({"y": asked}).cells("y")], "missing").ravel().tolist()


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        (["0", "1"], [0, 1]),
        (["0", "1"], [0.0, 1.0]),
        (["0", "1"], [False, True]),
        (["0.0", "1.0"], [0, 1]),
        (["False", "True"], [False, True]),
        (["false", "true"], [0, 1]),
        (["0.5", "1.5", "2"], [0.5, 1.5, 2]),
        (["-1", "0", "1"], [-1, 0, 1]),
    ],
)
def test_numbers_of_a_typed_source_equal_the_text_of_them(text, typed):
    wanted = list(range(len(text)))
    assert y_of(text, typed)[1] == wanted
    assert y_of(text, pd.DataFrame({"y": typed})["y"])[1] == wanted
    assert y_of(typed, text)[1] == wanted


def test_a_missing_value_makes_floats_of_integers_and_changes_nothing():
    target, y = y_of([1, 2, 3], pd.Series([1, None, 3]))
    assert (target.classes, y) == (("1", "2", "3"), [0, -1, 2])
    assert y_of(pd.Series([1, None, 2, 3.0]), ["1", "3.0"])[1] == [0, 2]


@pytest.mark.parametrize("odd", ["007", "07", "7e0", "+7", "1e3"])
def test_text_is_compared_as_it_stands(odd):
    value = int(float(odd))
    assert y_of([odd, "8", "9"], [str(value)])[1] == [-1]
    assert y_of([odd, "8", "9"], [value])[1] == [-1]
    assert y_of([value, 8, 9], [odd])[1] == [-1]
    target, y = y_of([odd, str(value), "9"], [odd, str(value)])
    assert [target.classes[i] for i in y] == [odd, str(value)]


def test_two_texts_of_one_number_stay_two_classes():
    target, y = y_of(["1", "1.0", "2"], ["1", "1.0"])
    assert len(target.classes) == 3
    assert y[0] != y[1]


def test_words_that_others_read_as_empty_are_classes():
    words = ["NA", "null", "None", "nan", "1e3", "007", "-", "N/A"]
    target, y = y_of(words, words)
    assert [target.classes[i] for i in y] == words


def test_blanks_and_case_are_part_of_a_class():
    target, y = y_of(["cat", "Cat", "cat "], ["cat", "Cat", "cat "])
    assert [target.classes[i] for i in y] == ["cat", "Cat", "cat "]


def test_number_of():
    assert [number_of(text) for text in ("1", "1.0", "True", "false", "x", "")] == [1, 1, 1, 0, None, None]


# Tags


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("a;b", ("a", "b")),
        (" a ; b;", ("a", "b")),
        ("a;a", ("a",)),
        ("[]", ()),
        (" [] ", ()),
        ('["a;b", "c"]', ("a;b", "c")),
        ('["a", "a", ""]', ("a",)),
        ("[1, 2]", ("1", "2")),
        ("[a", ("[a",)),
        (("p", "q", "p", ""), ("p", "q")),
        ((), ()),
    ],
)
def test_tags_of(cell, tags):
    assert tags_of(cell, (";", "|")) == tags


def test_no_tag_is_empty_text():
    target = infer(from_python({"t": [["a", ""], ["b"], []], "x": [1, 2, 3]}), ["t"]).targets[0]
    assert target.classes == ("a", "b")


# dense, known, decide


def test_dense():
    assert dense(ONE, np.array([2, -1]))[0].tolist() == [0, 0, 1]
    assert np.isnan(dense(ONE, np.array([2, -1]))[1]).all()
    out = dense(MANY, np.array([[1, 0, -1]], np.int8))
    assert (out.dtype, out[0, :2].tolist(), np.isnan(out[0, 2])) == (np.float32, [1, 0], True)
    assert dense(BINARY, np.array([[1]], np.int8)).tolist() == [[1]]


def test_known():
    assert known(np.array([1, -1])).tolist() == [True, False]
    assert known(np.array([[1, -1], [-1, -1]])).tolist() == [True, False]


def test_a_probability_equal_to_the_threshold_counts_as_yes():
    assert decide(MANY, np.array([[0.5, 0.49999, 0.50001]])).tolist() == [[1, 0, 1]]
    assert decide(BINARY, np.array([[0.5, 0.5]])).tolist() == [[1]]
    cut = Target("t", "multilabel", ("x", "y"), ("t",), decision=Decision(thresholds=(0.3, 0.9)))
    assert decide(cut, np.array([[0.3, 0.9], [0.29, 0.89]])).tolist() == [[1, 1], [0, 0]]
    cut = Target("b", "binary", ("n", "y"), ("b",), decision=Decision(thresholds=(0.2,)))
    assert decide(cut, np.array([[0.8, 0.2], [0.81, 0.19]])).tolist() == [[1], [0]]


def test_decide_leaves_rows_without_a_probability_unknown():
    nan = np.nan
    assert decide(ONE, np.array([[nan, nan, nan], [0.1, 0.2, 0.7]])).tolist() == [-1, 2]
    assert decide(BINARY, np.array([[nan, nan]])).tolist() == [[-1]]
    assert decide(MANY, np.array([[nan, nan, nan]])).tolist() == [[-1, -1, -1]]
    for target in (ONE, BINARY, MANY):
        assert len(decide(target, np.zeros((0, len(target.classes))))) == 0


def test_decide_several_classes_with_and_without_thresholds():
    p = np.array([[0.4, 0.35, 0.25]])
    assert decide(ONE, p).tolist() == [0]
    assert decide(
        Target("m", "multiclass", ONE.classes, ("m",), decision=Decision(thresholds=(0.3, 0.1, 0.1))), p
    ).tolist() == [1]


# Classes that only judged rows have


def test_novel_and_widen():
    column = cells("a", "d", "e")
    assert classes_in(ONE, [column]) == ("a", "d", "e")
    assert unseen_classes(ONE, [column]) == ("d", "e")
    wide = with_unseen_classes(ONE, ("d", "e"))
    assert wide.classes == ("a", "b", "c", "d", "e")
    assert encode(wide, [column]).tolist() == [0, 3, 4]
    assert with_unseen_classes(ONE, ()) is ONE
    assert unseen_classes(FLAGS, [cells("1"), cells("0")]) == ()
    assert unseen_classes(
        Target("n", "multiclass", ("1", "2", "3"), ("n",), numeric=True), [cells("1.0", "4")]
    ) == ("4",)


@pytest.mark.parametrize("thresholds", [(), (0.5,), (0.2,), (0.9,), (0.0,), (1.0,)])
def test_a_widened_binary_target_keeps_its_decisions(thresholds):
    target = Target("b", "binary", ("no", "yes"), ("b",), decision=Decision(thresholds=thresholds))
    wide = with_unseen_classes(target, ("maybe",))
    assert wide.kind == "multiclass"
    yes = np.linspace(0, 1, 101)
    p = np.stack([1 - yes, yes], axis=1)
    sure = np.abs(yes - (thresholds or (0.5,))[0]) > 1e-9
    before = decide(target, p)[:, 0]
    after = decide(wide, np.pad(p, ((0, 0), (0, 1))))
    assert (before[sure] == after[sure]).all()
    assert not (after == 2).any()


def test_widened_tags_are_never_answered():
    cut = Target("t", "multilabel", ("x", "y"), ("t",), decision=Decision(thresholds=(0.1, 0.9)))
    for target in (MANY, cut):
        wide = with_unseen_classes(target, ("new",))
        p = np.random.default_rng(0).random((50, len(target.classes)))
        answers = decide(wide, np.pad(p, ((0, 0), (0, 1))))
        assert (answers[:, :-1] == decide(target, p)).all()
        assert not answers[:, -1].any()


# Properties

names = st.text(st.characters(codec="utf-8", exclude_characters=";|[]\x00"), min_size=1, max_size=6).filter(
    lambda text: text == text.strip()
)


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=3, max_size=6, unique=True), st.data())
def test_a_class_comes_back_as_it_went_in(classes, data):
    target = Target("m", "multiclass", tuple(classes), ("m",))
    rows = data.draw(st.lists(st.one_of(st.none(), st.sampled_from(classes)), max_size=12))
    y = encode(target, [cells(*rows)])
    assert decode(target, y) == [row or "" for row in rows]
    assert (known(y) == [row is not None for row in rows]).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=2, max_size=5, unique=True), st.data())
def test_tags_come_back_through_their_answers(classes, data):
    target = Target("t", "multilabel", tuple(classes), ("t",))
    y = np.array(
        data.draw(st.lists(st.lists(st.integers(0, 1), min_size=len(classes), max_size=len(classes)))),
        dtype=np.int8,
    ).reshape(-1, len(classes))
    assert (encode(target, [cells(*decode(target, y))]) == y).all()
    p = np.where(y == 1, 0.7, 0.3)
    assert (decide(target, p) == y).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1, 2), max_size=20))
def test_dense_and_encode_agree_on_what_is_unknown(numbers):
    y = np.array(numbers, dtype=np.int32)
    rows = dense(ONE, y)
    assert (np.isnan(rows).all(axis=1) == (y == UNKNOWN)).all()
    assert (rows.argmax(axis=1)[y >= 0] == y[y >= 0]).all()


def test_lists_of_a_frame_and_text_of_a_file_are_the_same_tags(tmp_path):
    (tmp_path / "t.csv").write_text('t,x\na;b,1\n[],2\n"[""b""]",3\n,4\n')
    text = read(tmp_path / "t.csv")
    typed = from_python(pd.DataFrame({"t": [["a", "b"], [], ["b"], None], "x": [1, 2, 3, 4]}))
    target = infer(text, ["t"]).targets[0]
    assert target.classes == infer(typed, ["t"]).targets[0].classes
    assert (encode(target, [text.cells("t")]) == encode(target, [typed.cells("t")])).all()


# Probabilities: the link, beside torch's


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_probabilities_are_torchs(temperature):
    logits = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32) * 20
    scaled = torch.from_numpy(logits) / temperature
    one, many, two = (
        probabilities(replace(t, decision=Decision(temperature=temperature)), logits[:, : num_outputs(t)])
        for t in (ONE, MANY, BINARY)
    )
    assert np.allclose(one, torch.softmax(scaled, dim=1), atol=2e-7)
    assert np.allclose(many, torch.sigmoid(scaled), atol=2e-7)
    assert np.allclose(two[:, 1], torch.sigmoid(scaled[:, 0]), atol=2e-7)
    for found in (one, two):
        assert np.allclose(found.sum(axis=1), 1, atol=1e-6)
    for found in (one, many, two):
        assert found.dtype == np.float32
        assert ((found >= 0) & (found <= 1)).all()


def test_probabilities_of_members_are_their_mean():
    logits = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    each = [probabilities(ONE, logits[:, member]) for member in range(4)]
    assert np.allclose(probabilities(ONE, logits), np.mean(each, axis=0), atol=1e-7)


def test_logits_beyond_all_measure_give_probabilities_and_no_warning():
    far = np.array([[1e30, 0.0, -1e30]], np.float32)
    assert probabilities(ONE, far).tolist() == [[1, 0, 0]]
    assert probabilities(MANY, far).tolist() == [[1, 0.5, 0]]
    assert np.isnan(probabilities(ONE, np.full((1, 3), np.nan, np.float32))).all()


def test_a_temperature_changes_no_answer():
    logits = np.random.default_rng(2).normal(size=(200, 3))
    for target in (ONE, MANY):
        warm = probabilities(target.deciding(temperature=4.0), logits)
        assert (decide(target, warm) == decide(target, probabilities(target, logits))).all()


def test_probabilities_of_no_rows():
    for target in (ONE, MANY, BINARY):
        assert probabilities(target, np.zeros((0, num_outputs(target)))).shape == (0, len(target.classes))


@pytest.mark.parametrize(
    ("cell", "tags"),
    [
        ("['a', 'b']", ("a", "b")),
        ("['a' 'b']", ("a", "b")),  # as numpy writes an array
        ("['a'\n 'b']", ("a", "b")),
        ("('a', 'b,c',)", ("a", "b,c")),
        ("{'a', \"it's\"}", ("a", "it's")),
        (r"['it\'s', 'a']", ("it's", "a")),
        ('["é", "caf\\u00e9"]', ("é", "café")),
        ('{"choices": ["a", "b;c"]}', ("a", "b;c")),
        ('{"choices": []}', ()),
        ('[{"choices": ["a"]}, {"choices": ["b", "a"]}]', ("a", "b")),
        ('[{"x": 1.5, "rectanglelabels": ["a"]}, {"x": 2, "rectanglelabels": ["b"]}]', ("a", "b")),
        ("a", ("a",)),
        ("[a, b]", ("[a, b]",)),  # only a column of such cells has these brackets among its separators
        ("['a', b]", ("['a', b]",)),
        ('{"x": 1}', ('{"x": 1}',)),
        ("[" * 5000, ("[" * 5000,)),
        ('["a", {"b": 1}]', ("a", "{'b': 1}")),
    ],
)
def test_lists_in_text(cell, tags):
    assert tags_of(cell, (";", "|")) == tags


@given(st.lists(st.text(min_size=1).filter(str.strip), unique=True, max_size=5))
def test_lists_that_python_and_json_write_are_read_back(tags):
    printable = [tag for tag in tags if tag.isprintable() and "\\" not in tag]
    assert tags_of(str(printable), (";",)) == tuple(printable)
    assert tags_of(json.dumps(tags), (";",)) == tuple(tags)


def test_words_that_mean_no_tags():
    target = Target("t", "multilabel", ("a", "b"), ("t",), none=("(no genres listed)", "No Finding"))
    cells = from_python({"t": ["a;b", " (no genres listed) ", "No Finding;b", '["No Finding"]', ""]}).cells(
        "t"
    )
    assert encode(target, [cells]).tolist() == [[1, 1], [0, 0], [0, 1], [0, 0], [-1, -1]]


def test_a_column_that_says_that_there_is_none():
    target = Target("t", "multilabel", ("a", "b"), ("none", "a", "b"), none=("none", "other"))
    table = from_python({"none": [1, 1, 0, None], "a": [None, 1, None, 0], "b": [0, None, None, 1]})
    y = encode(target, [table.cells(name) for name in target.columns])
    assert y.tolist() == [[0, 0], [1, 0], [-1, -1], [0, 1]]
    assert classes_in(target, []) == ("a", "b")
    with pytest.raises(UserError, match="1 columns and 2 classes"):
        Target("t", "multilabel", ("a", "b"), ("none", "a"), none=("none",))


def test_padded_cells_are_the_classes_without_blanks():
    target, y = y_of(["ja", "nein "], ["ja", " ja ", "nein"])
    assert target.classes == ("ja", "nein")
    assert y == [0, 0, 1]
    assert unseen_classes(target, [from_python({"y": ["ja ", "Ja"]}).cells("y")]) == ("Ja",)


@pytest.mark.parametrize(
    ("cell", "option"), [("-1.0", "--missing=-1.0"), ("not sure", "'--missing=not sure'")]
)
def test_a_third_word_among_flags_is_named_with_its_option(cell, option):
    target = Target("t", "multilabel", ("a", "b"), ("a", "b"))
    table = from_python({"a": ["1.0", cell], "b": ["0.0", ""]}, "t.csv")
    with pytest.raises(UserError, match=rf"t.csv row 2, column 'a': '{cell}' must be 0 or 1 ") as caught:
        encode(target, [table.cells(name) for name in ("a", "b")])
    assert caught.value.typed.endswith(f" with {option}.")
    assert str(caught.value).endswith(f' with missing=["{cell}"].')
