"""Schemas: JSON and back unchanged, and every edit that makes no sense refused in one line."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Decision, Input, Schema, Target, check_objective

TARGETS = (
    Target(
        "b", "binary", ("no", "yes"), ("b",), decision=Decision(thresholds=(0.3,), objective="precision=0.9")
    ),
    Target("m", "multiclass", ("a", "ü", "c;d"), ("m",), numeric=True, decision=Decision(temperature=1.25)),
    Target("t", "multilabel", ("x", "y"), ("x", "y"), decision=Decision(thresholds=(0.1, 0.2))),
)
SCHEMA = Schema((Input("photo", "image", (8, 9, 3)),), TARGETS, ("NA", "?"))


def document(**changes):
    """SCHEMA's JSON with one target, one of its keys changed; DELETE removes it."""
    found = json.loads(json.dumps(SCHEMA.to_json()))
    found["targets"] = found["targets"][1:2]
    for key, value in changes.items():
        if value is ...:
            del found["targets"][0][key]
        else:
            found["targets"][0][key] = value
    return found


def refused(data) -> str:
    with pytest.raises(UserError) as caught:
        Schema.from_json(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_json_and_back():
    text = json.dumps(SCHEMA.to_json(), allow_nan=False)
    assert Schema.from_json(json.loads(text)) == SCHEMA
    assert Schema.from_json(SCHEMA.to_json()) == SCHEMA


words = st.text(min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(words, min_size=3, max_size=6, unique=True), words, st.lists(words, max_size=3), st.booleans()
)
def test_any_names_survive_json(classes, name, missing, numeric):
    target = Target(name, "multiclass", tuple(classes), (name,), numeric=numeric)
    schema = Schema((Input("x", "number"),), (target,), tuple(missing))
    assert Schema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


def test_what_may_be_left_out():
    schema = Schema.from_json(
        {
            "inputs": [{"name": "a", "kind": "number"}],
            "targets": [{"name": "y", "kind": "multiclass", "classes": ["p", "q", "r"], "columns": ["y"]}],
        }
    )
    assert schema.targets[0] == Target("y", "multiclass", ("p", "q", "r"), ("y",))
    assert schema.missing == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"clases": ["a"]}, "did you mean 'classes'"),
        ({"kind": "multi"}, "kind must be one of"),
        ({"kind": 3}, "'kind' must be"),
        ({"kind": "binary"}, "a binary target has 2 classes, got 3"),
        ({"classes": "abc"}, "'classes' must be"),
        ({"classes": ["a", 1]}, "'classes' must be"),
        ({"classes": ["a", "a"]}, "classes must differ"),
        ({"classes": ...}, "lacks 'classes'"),
        ({"columns": []}, "names no column"),
        ({"columns": ["p", "q"]}, "several columns are 0 or 1 for a class each"),
        ({"columns": ["p", "q"], "kind": "multilabel"}, "2 columns and 3 classes"),
        ({"temperature": 0}, "temperature must be above 0"),
        ({"temperature": -1.0}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"temperature": float("inf")}, "temperature must be above 0"),
        ({"temperature": "1"}, "'temperature' must be"),
        ({"temperature": True}, "'temperature' must be"),
        ({"numeric": 1}, "'numeric' must be"),
        ({"thresholds": [0.5]}, "thresholds must be 3 numbers, got 1"),
        ({"thresholds": ["a", "b", "c"]}, "'thresholds' must be"),
        ({"objective": "micro"}, "did you mean 'micro_f1'"),
        ({"objective": "precision"}, "objective must be one of"),
        ({"objective": "precision=2"}, "precision must be a number above 0"),
        ({"objective": "hamming=1"}, "objective must be one of"),
    ],
)
def test_a_target_that_makes_no_sense(changes, words):
    assert words in refused(document(**changes))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "must be an object"),
        (None, "must be an object"),
        ({}, "lacks 'inputs', 'targets'"),
        ({"inputs": [], "targets": 3}, "'targets' must be"),
        ({"inputs": ["a"], "targets": []}, "'inputs' must be"),
        ({"inputs": [{"name": "a"}], "targets": []}, "lacks 'kind'"),
        ({"inputs": [{"name": "a", "kind": "sound"}], "targets": []}, "kind must be one of"),
        ({"inputs": [{"name": "a", "kind": "image"}], "targets": []}, "shape must be"),
        ({"inputs": [{"name": "a", "kind": "image", "shape": [8, 0, 1]}], "targets": []}, "shape must be"),
        ({"inputs": [{"name": "a", "kind": "image", "shape": "8"}], "targets": []}, "'shape' must be"),
        ({"inputs": [], "targets": [], "missing": "NA"}, "'missing' must be"),
        ({"input": []}, "did you mean 'inputs'"),
    ],
)
def test_a_schema_that_makes_no_sense(data, words):
    assert words in refused(data)


def test_two_image_columns_or_two_targets_of_a_name():
    image = Input("a", "image", (8, 8, 1))
    with pytest.raises(UserError, match="one image column at a time"):
        Schema((image, Input("b", "number")), TARGETS)
    with pytest.raises(UserError, match="different names"):
        Schema((image,), (TARGETS[0], TARGETS[0]))


def test_asking_for_a_target():
    assert SCHEMA.target("m") is TARGETS[1]
    with pytest.raises(UserError, match=r"no target 'mm'.*did you mean 'm'"):
        SCHEMA.target("mm")


def test_what_may_be_asked_of_a_kind():
    assert [target.exclusive for target in TARGETS] == [True, True, False]
    assert SCHEMA.is_image
    assert not Schema((), TARGETS).is_image


def test_objectives():
    assert check_objective("hamming") == ("hamming", None)
    assert check_objective("precision=1") == ("precision", 1.0)
    for wrong in ("recall=", "recall=x", "recall=0", "recall=1.01", "recall=nan", "", "f1"):
        with pytest.raises(UserError):
            check_objective(wrong)


def test_suggestions():
    assert suggest("VIRGINCA", ["virginica"]) == " (did you mean 'virginica'?)"
    assert suggest("x", []) == ""
    assert listed([]) == ""
    assert listed("abc", 3) == "'a', 'b', 'c'"
