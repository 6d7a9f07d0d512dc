"""What to do next: each step by rows that call for it, and by rows that do not."""

from dataclasses import replace

import numpy as np
import pytest
from test_verdict import ORDER, PET, TAGS, TAME, binary, judged, sure

import manyhot
from manyhot.judge import Growth
from manyhot.report.steps import steps
from manyhot.report.verdict import verdict
from manyhot.schema import Coverage


def told(found, words, model="m"):
    return [line for line in steps(found, model) if words in line]


def in_doubt(rows=400):
    """Rows of which every tenth is in doubt, and wrong every other time."""
    y = np.arange(rows) % 2
    p = binary(np.where(y == 1, 0.97, 0.03))
    doubts = np.arange(rows) % 10 < 2
    p[doubts] = [0.45, 0.55]
    return y[:, None], p


def test_what_is_left_to_people():
    y, p = in_doubt()
    (line,) = told(judged(TAME, y, p), "--coverage", "'my model'")
    assert line.startswith(
        "'tame': leave to a person what it is not sure of. After `manyhot tune 'my model' NEW"
    )
    assert "about 20 (16 to 24) of 100 new rows are said to be unsure, of which 50 % (39 to 61) are" in line
    assert "of the others 100 % (99 to 100) are right, where of all 90.0 % are." in line
    asked = TAME.deciding(coverage=Coverage(0.9, 50, (0.3, 0.3)))
    assert not told(judged(asked, y, p), "--coverage")  # it is asked for already
    assert not told(judged(TAME, y[:40], p[:40]), "--coverage")  # too few rows to tell
    assert not told(judged(PET, ORDER, sure(ORDER)), "--coverage")  # nothing is wrong
    blind = np.random.default_rng(0).integers(0, 2, (400, 1))
    assert not told(judged(TAME, blind, p), "--coverage")  # the sure ones are no better


@pytest.mark.parametrize(("wrong", "expected"), [(0, False), (1, False), (9, True)])
def test_labels_to_review(wrong, expected):
    """Of 120 answers that are 98 % sure, two or so are wrong by nature."""
    y = ORDER.copy()
    y[:wrong] = 1
    lines = told(judged(PET, y, sure(ORDER, chance=0.98)), "`manyhot audit DATA --model m --out AUDIT`")
    assert bool(lines) == expected
    if lines:
        assert "To 9 of 120 held-out ones the model gives less than 5%, where 2 would be" in lines[0]
        assert "about 7 (1 to 12) may be wrong" in lines[0]
    tags, given = np.eye(3)[ORDER], np.eye(3)[y]
    assert bool(told(judged(TAGS, given, np.where(tags == 1, 0.99, 0.01)), "manyhot audit")) == expected


def test_classes_that_few_rows_train():
    y, answers = np.repeat([0, 1, 2], [100, 100, 20]), np.repeat([0, 1, 2], [100, 100, 20])
    answers[200:215] = 0
    found = judged(PET, y, sure(answers))
    few = {"pet": {"cat": 500, "dog": 500, "fish": 40}}
    (line,) = told(replace(found, taught=few), "label more rows of what is rare")
    assert (
        "the model finds 'fish' (40 rows train) in 25% of 20; of classes with as many rows as usual" in line
    )
    assert "up to 6.8 more of 100 rows would be right. `manyhot suggest m POOL --count 100`" in line
    even = {"pet": {"cat": 500, "dog": 500, "fish": 400}}
    assert not told(replace(found, taught=even), "rare")  # rows are not what it lacks
    assert not told(replace(judged(PET, y, sure(y)), taught=few), "rare")  # found as often as others


def test_more_rows():
    found = judged(PET, ORDER, sure(ORDER))
    (line,) = told(replace(found, growth={"pet": Growth(300, 2.5, 1.25, 3.75)}), "twice the 300")
    assert "about 2.5 (1.2 to 3.8) fewer of 100 new rows are expected to be wrong" in line
    assert not told(replace(found, growth={"pet": Growth(300, 2.5, -0.1, 3.75)}), "twice")


def test_another_objective():
    y = np.tile([[1]] * 20 + [[0]] * 80, (4, 1))
    p = binary(np.tile(np.r_[np.full(5, 0.9), np.full(15, 0.4), np.full(10, 0.4), np.full(70, 0.05)], 4))
    (line,) = told(judged(TAME, y, p), "`manyhot tune m NEW --objective macro_f1`")
    assert "where what is rare counts as much as what is frequent: macro F1 0.8" in line
    assert "answers right 90.0% for 85.0%" in line
    assert not told(judged(TAME.deciding(objective="macro_f1", thresholds=(0.3,)), y, p), "--objective")
    assert not told(judged(PET, ORDER, sure(ORDER)), "--objective")
    tags = np.random.default_rng(0).random((300, 3)) < 0.3
    lines = told(judged(TAGS, tags.astype(int), np.where(tags, 0.45, 0.2)), "--objective micro_f1")
    assert len(lines) == 1
    assert "single yes and no right 100.0% for" in lines[0]


def test_the_best_comes_first_and_not_all_are_told():
    y, p = in_doubt()
    found = replace(judged(TAME, y, p), growth={"tame": Growth(300, 99.0, 9.0, 99.9)})
    first, second = verdict(found).steps
    assert "twice the 300" in first
    assert "--coverage" in second


def test_a_fit_tells_what_more_rows_bring(tmp_path):
    """A chessboard, of which few rows tell little."""
    rng = np.random.default_rng(0)
    x = rng.random((1200, 2)).round(4)
    y = ((x[:, 0] * 7).astype(int) + (x[:, 1] * 7).astype(int)) % 2
    table = manyhot.read({"a": x[:, 0], "b": x[:, 1], "y": [("even", "odd")[value] for value in y]})
    model = manyhot.fit(table, ["y"], effort="fast", epochs=2, threads=1, verbose=False, out=tmp_path / "m")
    (found,) = model.run.judged.growth.values()
    assert found.low > 0
    assert found.low < found.gain < found.high
    assert found.rows < 1200
    page = (tmp_path / "m" / "report.html").read_text()
    assert "What to do next" in page
    assert f"With twice the {found.rows:,} that train" in page
    tuned = manyhot.load(tmp_path / "m").tune(table, "macro_f1")
    tuned.update(tmp_path / "m")
    assert f"With twice the {found.rows:,} that train" in (tmp_path / "m" / "report.html").read_text()
