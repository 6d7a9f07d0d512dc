"""The verdict: each rule by an example that it speaks of, and one that it does not."""

import numpy as np

from manyhot import metrics
from manyhot.data.table import from_python
from manyhot.judge import Judged, constants
from manyhot.report.verdict import problems, verdict
from manyhot.schema import Coverage, Schema, Target

PET = Target("pet", "multiclass", ("cat", "dog", "fish"), ("pet",))
TAME = Target("tame", "binary", ("no", "yes"), ("tame",))
TAGS = Target("tags", "multilabel", ("a", "b", "c"), ("tags",))


def judged(target, y, p):
    y, p = {target.name: np.asarray(y, np.int8)}, {target.name: np.asarray(p, float)}
    scores = {"rows": len(y[target.name]), "overall": metrics.overall([target], y, p)}
    scores["targets"] = {target.name: metrics.scores(target, y[target.name], p[target.name])}
    table = from_python({"x": [0.0] * scores["rows"]}, source="t.csv")
    return Judged("val", table, Schema((), (target,)), y, p, scores, {}, constants((target,), y))


def sure(answers, classes=3, chance=0.8):
    """Probabilities of an answer for each row."""
    p = np.full((len(answers), classes), (1 - chance) / (classes - 1))
    p[np.arange(len(answers)), answers] = chance
    return p


def binary(yes):
    return np.stack([1 - np.asarray(yes), yes], axis=1)


def epochs(losses, held):
    lines = [
        {"kind": "epoch", "loss": a, "validation": {"overall": {"loss": b}}} for a, b in zip(losses, held)
    ]
    lines[int(np.argmin(held))]["best"] = True
    return lines


ORDER = np.repeat([0, 1, 2], 40)


def test_a_good_model_has_no_problem_and_two_sentences():
    found = judged(PET, ORDER, sure(ORDER))
    assert problems(found) == []
    assert verdict(found) == (
        ["Of 100 new rows about 100 (97 to 100) are answered rightly in 'pet'."],
        [],
        ["'pet': accuracy 1.000, where answering 'cat' to every row reaches 0.333."],
    )


def test_a_constant_is_told_of():
    y = np.array([[1]] * 30 + [[0]] * 70)
    (line,) = problems(judged(TAME, y, np.tile([0.7, 0.3], (100, 1))))
    assert line == (
        "'tame': accuracy 0.700 is no better than answering 'no' to every row (0.700); more rows may help, "
        "or inputs that say more of it."
    )
    ranked = binary(np.linspace(0.45, 0.05, 100))  # the yes are the likelier ones
    (line,) = problems(judged(TAME, y, ranked), "my model")
    assert "tell rows apart (AUROC 1.00)" in line
    assert "`manyhot tune 'my model' NEW --objective macro_f1` answers more" in line


def test_chance_is_no_lead():
    y = np.array([[1]] * 30 + [[0]] * 70)
    few, many = np.full(100, 0.3), np.full(100, 0.3)
    few[:2], many[:20] = 0.9, 0.9
    assert (
        "beats answering 'no' to every row (0.700) by no more than chance"
        in problems(judged(TAME, y, binary(few)))[0]
    )
    assert problems(judged(TAME, y, binary(many))) == []


def test_tags_that_are_never_answered():
    y = np.tile(np.array([[1, 0, 0], [0, 1, 0], [1, 1, 1]]), (30, 1))
    p = np.where(y == 1, 0.9, 0.1)
    p[:, 2] = np.where(y[:, 2] == 1, 0.4, 0.1)
    found = judged(TAGS, y, p)
    assert problems(found, "m") == [
        "'tags': 1 of 3 tags is never answered ('c'); `manyhot tune m NEW --objective macro_f1` answers more."
    ]
    tuned = TAGS.deciding(objective="macro_f1", thresholds=(0.5, 0.5, 0.5))
    assert "thresholds are those for macro F1 already" in problems(judged(tuned, y, p))[0]


def test_tags_that_are_all_answered_alike():
    y = np.tile(np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 1]]), (30, 1))
    lines = problems(judged(TAGS, y, np.tile([0.6, 0.3, 0.3], (120, 1))))
    assert "micro F1 0.667 is no better than answering 'a' to every row" in lines[0]
    assert "and 2 of 3 tags are never answered" in lines[0]
    assert "exact match 0.500 is no better than one set of tags for every row (0.500)" in lines[1]
    assert len(lines) == 2
    aimed = TAGS.deciding(objective="micro_f1", thresholds=(0.5,) * 3)
    assert len(problems(judged(aimed, y, np.tile([0.6, 0.3, 0.3], (120, 1))))) == 1


def test_classes_that_are_never_answered():
    answers = np.where(ORDER == 2, 1, ORDER)
    (line,) = problems(judged(PET, ORDER, sure(answers)))
    assert line.startswith("'pet': 1 of 3 classes is never answered ('fish'); `manyhot tune MODEL NEW")


def test_a_class_that_the_model_has_not_is_no_problem_of_its_answers():
    p = np.column_stack([sure(ORDER), np.zeros(len(ORDER))])
    y = np.where(np.arange(len(ORDER)) % 50, ORDER, 3)
    assert problems(judged(Target("pet", "multiclass", (*PET.classes, "owl"), ("pet",)), y, p)) == []


def test_the_weakest_class_and_what_it_is_taken_for():
    answers = ORDER.copy()
    answers[40:65] = 2
    expected, _, lines = verdict(judged(PET, ORDER, sure(answers)))
    assert expected == ["Of 100 new rows about 79 (71 to 85) are answered rightly in 'pet'."]
    assert lines[1:] == [
        "'pet': the weakest class is 'dog': 38% of its 40 rows are found, and 100% of its 15 answers are "
        "right.",
        "'pet': most often taken for each other: 'dog' and 'fish' (25 of 80 rows).",
    ]


def test_overfitting():
    found = judged(PET, ORDER, sure(ORDER))
    (line,) = [x for x in verdict(found, epochs([3, 2, 1], [2.0, 1.0, 1.5])).found if "Overfitting" in x]
    assert "rose from 1.000 in epoch 2, which was kept, to 1.500 in epoch 3" in line
    by_chance = epochs([3, 2, 1], [2.0, 1.0, 1.5])
    by_chance[2]["best"] = True
    assert not any("Overfitting" in x for x in verdict(found, by_chance).found)
    unseen = epochs([3, 2, 1], [2.0, 0.0001, 0.0004])
    assert not any("Overfitting" in x for x in verdict(found, unseen).found)
    for losses, held in (([3, 2, 1], [2.0, 1.0, 1.05]), ([3, 2, 2.5], [2.0, 1.0, 1.5]), ([1], [1.0])):
        assert not any("Overfitting" in x for x in verdict(found, epochs(losses, held)).found)


def test_sentences_stay_short():
    names = tuple(f"{number} " + "very long " * 30 for number in range(3))
    found = judged(Target("t", "multilabel", names, ("t",)), np.eye(3)[ORDER], np.full((120, 3), 0.1))
    assert [len(line) for line in problems(found) if len(line) > 300] == []


def test_nothing_known_says_nothing():
    found = judged(PET, np.full(9, -1), sure(ORDER[:9]))
    assert verdict(found, [{"kind": "step", "loss": 1.0}]) == ([], [], [])


def test_a_hundred_new_rows_with_those_in_doubt():
    chances = np.tile([0.6, 0.4], (100, 1))
    chances[:80] = [0.95, 0.05]
    y = np.zeros((100, 1), int)
    y[80:90] = 1
    told = TAME.deciding(coverage=Coverage(0.9, 50, (0.3, 0.3)))
    (line,) = verdict(judged(told, y, chances)).expected
    assert line == (
        "Of 100 new rows about 90 (83 to 94) are answered rightly in 'tame'; about 20 are said to be unsure, "
        "and of the others 100 % are right."
    )
