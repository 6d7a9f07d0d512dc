"""Scores as text and as files: what `evaluate` and `tune` show, and the rows that were answered wrongly."""

import json

import numpy as np
import pytest
from making import TAGS, write_table

import manyhot
from manyhot.cli import main
from manyhot.judge import Judged, document
from manyhot.report.scores import CLASSES, HARDEST, Scores
from manyhot.schema import Schema, Target


@pytest.fixture
def run(capsys):
    def command(*words):
        status = main([str(word) for word in words])
        return (status, *capsys.readouterr())

    return command


def of_classes(count):
    """Rows of so many classes, of which the first is answered for the second."""
    target = Target("m", "multiclass", tuple(f"class {i}" for i in range(count)), ("m",))
    y = {"m": np.arange(2 * count) % count}
    answers = {"m": np.eye(count)[np.where(y["m"] == 1, 0, y["m"])]}
    table = manyhot.Table({}, "many.csv").with_columns({"m": y["m"]})
    return Judged("all", table, Schema((), (target,)), y, answers, document((target,), y, answers), {})


def test_scores_print_as_the_command_does_and_are_its_document(run, fitted_tables):
    table, model = fitted_tables / "table.csv", fitted_tables / "model"
    scores = manyhot.load(model).evaluate(table)
    assert json.loads(run("evaluate", model, table, "--json")[1]) == scores
    shown = [line.rstrip() for line in run("evaluate", model, table)[1].split("\n")]
    assert shown[0] == f"{table}, split all: 60 rows"
    assert str(scores).split("\n") == ["table.csv, split all: 60 rows", *shown[1:-1]]
    assert isinstance(scores, dict)
    assert list(scores)[:3] == ["rows", "targets", "overall"]
    for name, ends in scores["intervals"]["targets"].items():
        for metric, (low, high) in ends.items():
            assert 0 <= low <= scores["targets"][name][metric] <= high <= 1
            assert f"{metric} {scores['targets'][name][metric]:.4f} ({low:.4f} to {high:.4f})" in str(scores)
    assert scores["known"]["ripe"] < 60
    assert f"ripe, {scores['known']['ripe']} rows: accuracy" in str(scores)
    assert [each["name"] for each in scores["classes"]["tags"]] == list(
        manyhot.load(model).schema.target("tags").classes
    )


def test_many_classes_show_the_hardest_or_all():
    few, many = Scores(of_classes(CLASSES)), Scores(of_classes(CLASSES + 1))
    assert str(few).count("class ") == CLASSES + 3  # three in the sentence of the two that are confused
    assert (
        f"the {HARDEST} of {CLASSES + 1} classes with the lowest F1; text(every_class=True) shows every one:"
        in str(many)
    )
    lines = str(many).split("\n")
    assert sum(line.startswith("class ") for line in lines) == HARDEST
    header = ["m", "precision", "recall", "f1", "support"]
    assert lines[[line.split() for line in lines].index(header) + 1].startswith("class 1 ")
    assert many.text(every_class=True).count("class ") == CLASSES + 4
    assert "given 'class 1', answered 'class 0': 2 rows, 100% of 'class 1'" in str(many)


def test_by_class_is_an_option(run, fitted_tables):
    words = ("evaluate", fitted_tables / "model", fitted_tables / "table.csv")
    assert run(*words, "--by", "class")[1] == run(*words)[1]  # of few classes all are shown anyway


def test_mistakes_are_written_with_what_was_given_and_answered(run, fitted_tables, tmp_path):
    table, model, out = fitted_tables / "table.csv", fitted_tables / "model", tmp_path / "w.csv"
    status, _, err = run("evaluate", model, table, "--mistakes", out)
    judged = manyhot.load(model).judge(table)
    wrong = manyhot.read(out)
    assert (status, err.split("\n")[-2]) == (0, f"wrote {len(wrong)} rows answered wrongly to {out}")
    exact = judged.scores["overall"]["exact_match"]
    assert len(wrong) == round((1 - exact) * 60)
    columns = {name: column.to_pylist() for name, column in wrong.columns.items()}
    assert {"width", "weight", "origin", "ripe_given", "ripe", "ripe.probability", "flags_given"} <= set(
        columns
    )
    answers = manyhot.load(model).predict({name: columns[name] for name in ("width", "weight", "origin")})
    assert all(columns[name] == answers[name] for name in answers)
    for given, answer, chance in zip(*(columns[f"ripe{end}"] for end in ("_given", "", ".probability"))):
        assert (given is None or given == answer) == (chance is None)  # an unknown label is no mistake
        assert chance is None or float(chance) >= 0.5
    for given, answer, chance in zip(*(columns[f"tags{end}"] for end in ("_given", "", ".probability"))):
        assert (chance is None) == (given is None or set(given.split(";")) == set(answer.split(";")))
    found = json.loads(run("evaluate", model, table, "--mistakes", out, "--overwrite", "--json")[1])
    assert found["mistakes"] == {"rows": len(wrong), "out": str(out)}
    assert (run("evaluate", model, table, "--mistakes", out)[0], len(manyhot.read(out))) == (2, len(wrong))


def test_mistakes_name_their_pictures_and_come_worst_first(fitted_pictures):
    table, model = manyhot.read(fitted_pictures / "table.csv"), manyhot.load(fitted_pictures / "model")
    judged = model.judge(table)
    wrong = judged.mistakes()
    assert set(wrong.column("image").to_pylist()) <= set(table.column("image").to_pylist())
    scores = [model.evaluate(table.take(wrong.rows[[i]] - 1), "all")["overall"]["loss"] for i in (0, -1)]
    assert scores[0] > scores[1]


def test_the_surest_wrong_tag_says_how_sure_an_answer_was():
    target = Target("t", "multilabel", TAGS, ("t",))
    y, chances = {"t": np.array([[1, 0, -1], [0, 1, 1]])}, {"t": np.array([[0.4, 0.7, 0.9], [0.1, 0.9, 0.8]])}
    table = manyhot.Table({}, "t.csv").with_columns({"t": [TAGS[0], ";".join(TAGS[1:])]})
    scores = document((target,), y, chances)
    wrong = Judged("all", table, Schema((), (target,)), y, chances, scores, {}).mistakes()
    assert {name: column.to_pylist() for name, column in wrong.columns.items()} == {
        "t_given": [TAGS[0]],
        "t": [";".join(TAGS[1:])],
        "t.probability": [0.7],  # not 0.9, of a tag that is unknown
    }


def test_a_class_that_training_never_saw_is_a_mistake(fitted_tables):
    columns = {
        name: column.to_pylist() for name, column in manyhot.read(fitted_tables / "table.csv").columns.items()
    }
    rows = {**columns, "fruit": ["kiwi"] * 60}
    judged = manyhot.load(fitted_tables / "model").judge(rows)
    assert len(judged.mistakes()) == 60
    kiwi = judged.details()["classes"]["fruit"][-1]
    assert (kiwi["name"], kiwi["support"], kiwi["recall"]) == ("kiwi", 60, 0)


@pytest.mark.parametrize("objective", ["recall=0.9", "exact_match"])
def test_tune_says_what_it_did_and_what_it_reached(run, model, fitted_tables, objective):
    table = fitted_tables / "table.csv"
    before = manyhot.load(model)
    _, out, err = run("tune", model, table, "--objective", objective, "--target", "ripe", "--target", "tags")
    after = manyhot.load(model)
    judged = after.judge(table, "val")
    lines = err.split("\n")
    cut = (after.schema.target("ripe").decision.thresholds or (0.5,))[0]
    now = f"  ripe: the answer is 'yes' from a probability of {cut:.3f} on"
    assert f"{now} (before: 'yes' from 0.500 on)" in lines
    recall = judged.details()["classes"]["ripe"][1]["recall"]
    assert f"→ {recall:.4f}" in out
    assert f"fitted on {len(judged.table)} validation rows" in err
    assert all(any(line.startswith(tag) for line in out.split("\n")) for tag in TAGS)
    assert after.schema.target("flags") == before.schema.target("flags")


def test_what_cannot_be_reached_is_said(run, model, tmp_path):
    noise = write_table(tmp_path, "mixed", 40, seed=9)
    status, _, err = run("tune", model, noise, "--objective", "precision=1", "--target", "tags")
    assert status == 1
    assert "no threshold reaches a precision of 1 for '" in err
    assert "Nothing was changed" in err
