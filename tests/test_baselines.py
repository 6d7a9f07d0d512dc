"""What a constant answer reaches, by hand, and when a model is better by more than chance."""

import numpy as np
import pytest

from manyhot import metrics
from manyhot.baselines import constant, lead
from manyhot.schema import Target
from manyhot.targets import decide

PET = Target("pet", "multiclass", ("cat", "dog", "fish"), ("pet",))
TAME = Target("tame", "binary", ("no", "yes"), ("tame",))
TAGS = Target("tags", "multilabel", ("a", "b", "c"), ("tags",))


def test_the_most_frequent_class_is_answered_and_shares_are_its_probabilities():
    y = np.array([0, 1, 1, 2, 1, -1], np.int32)
    found = constant(PET, y)
    assert (found.name, found.answers.tolist()) == ("dog", [1] * 6)
    assert found.scores["accuracy"] == pytest.approx(3 / 5)
    assert found.scores["balanced_accuracy"] == pytest.approx(1 / 3)
    assert found.scores["auroc"] == 0.5
    shares = np.array([1, 3, 1]) / 5
    assert found.scores["log_loss"] == pytest.approx(-(shares * np.log(shares)).sum())


def test_a_binary_answer_needs_no_threshold_and_rows_count_as_they_weigh():
    y = np.array([[1], [1], [0], [0], [0]], np.int8)
    tuned = TAME.deciding(thresholds=(0.01,))
    assert constant(tuned, y).name == "no"
    found = constant(tuned, y, np.array([3, 3, 1, 1, 1], np.float32))
    assert (found.name, found.answers.shape) == ("yes", (5, 1))
    assert found.scores["accuracy"] == pytest.approx(6 / 9)


def test_tags_are_answered_alike_and_each_score_is_the_best_of_two_answers():
    # `a` and `b` are frequent, so that they give the best micro F1; most often a row has none.
    y = np.array([[1, 1, 0]] * 3 + [[1, 0, 0]] * 1 + [[0, 1, 0]] * 2 + [[0, 0, 0]] * 4, np.int8)
    found = constant(TAGS, y)
    assert found.name == "a;b"
    assert found.scores["micro_f1"] == pytest.approx(2 * 9 / (20 + 9))
    assert found.scores["exact_match"] == 0.4
    every = [np.tile(each, (10, 1)) for each in ([0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1])]
    f1 = [lead(TAGS, y, each, each).ours for each in every]
    assert max(f1) == pytest.approx(found.scores["micro_f1"])


def test_sets_of_tags_are_answered_as_tags():
    y = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1]], np.int8)
    sets = Target("tags", "multilabel", TAGS.classes, ("tags",), label_sets=(("a",), ("b", "c")))
    assert constant(sets, y).scores == constant(TAGS, y).scores


@pytest.mark.parametrize("target", [PET, TAME, TAGS], ids=lambda t: t.kind)
def test_nothing_known_is_nothing_to_beat(target):
    y = np.full({"multiclass": 4, "binary": (4, 1), "multilabel": (4, 3)}[target.kind], -1, np.int8)
    assert set(constant(target, y).scores.values()) == {None}


def test_a_target_without_tags_has_no_answer():
    none = Target("t", "multilabel", (), ("t",))
    assert constant(none, np.zeros((3, 0), np.int8)).name == ""


def test_a_lead_has_the_error_of_a_paired_difference():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    ours, theirs = (np.where(rng.random(400) < share, y, (y + 1) % 3) for share in (0.7, 0.5))
    found = lead(PET, y, ours, theirs)
    each = (ours == y).astype(float) - (theirs == y)
    assert found.ours - found.theirs == pytest.approx(each.mean())
    assert found.error == pytest.approx(each.std(ddof=1) / 20)
    assert found.beyond_chance
    assert not lead(PET, y, ours, ours).beyond_chance


def test_the_error_of_a_lead_in_micro_f1_is_that_of_rows_drawn_again():
    rng = np.random.default_rng(0)
    y = (rng.random((300, 3)) < [0.5, 0.3, 0.1]).astype(np.int8)
    p = np.clip(0.6 * y + rng.random((300, 3)) * 0.6, 0, 1)
    ours, theirs = decide(TAGS, p), np.tile([1, 1, 0], (300, 1))
    found = lead(TAGS, y, ours, theirs)
    assert found.ours == pytest.approx(metrics.scores(TAGS, y, p)["micro_f1"])
    drawn = []
    for _ in range(400):
        rows = rng.integers(0, 300, 300)
        again = lead(TAGS, y[rows], ours[rows], theirs[rows])
        drawn.append(again.ours - again.theirs)
    assert found.error == pytest.approx(np.std(drawn), rel=0.15)


def test_unknown_tags_count_for_nobody():
    y = np.array([[1, -1, 0], [0, 1, -1]], np.int8)
    known = lead(TAGS, y, np.array([[1, 0, 0], [0, 1, 0]]), np.array([[1, 1, 0], [0, 1, 1]]))
    assert (known.ours, known.theirs, known.error) == (1.0, 1.0, 0.0)
