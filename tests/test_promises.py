"""Thresholds with a promise, and sets that hold the right class as often as is asked."""

import numpy as np
import pytest
from scipy.stats import binom

from manyhot.schema import Coverage, Target
from manyhot.targets import possible, unsure
from manyhot.train.conformal import fit_coverage
from manyhot.train.promises import fewest, of_pooled_precision, of_precision, of_recall

PET = Target("pet", "multiclass", ("cat", "dog", "cow"), ("pet",))
TAGS = Target("t", "multilabel", ("a", "b"), ("t",))


def population(rng, rows, share=0.3, apart=2.5):
    truth = rng.random(rows) < share
    scores = rng.normal(size=rows) + apart * truth
    return 1 / (1 + np.exp(-apart * scores + apart**2 / 2 - np.log(share / (1 - share)))), truth


@pytest.mark.parametrize("fit", [of_precision, of_recall])
def test_a_promise_is_seldom_broken(fit):
    made = broken = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        cut = fit(*population(rng, 500), 0.9, 0.9).cut
        if cut is None:
            continue
        scores, truth = population(rng, 50_000)
        made += 1
        broken += (
            truth[scores >= cut].mean() if fit is of_precision else (scores[truth] >= cut).mean()
        ) < 0.9
    assert made > 100
    assert binom.sf(broken - 1, made, 0.1) > 0.01


def test_the_best_cut_of_many_is_lucky_more_often_than_right():
    """Shows that the promise is not a mere picking of what reaches the level on these rows."""
    broken = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        scores, truth = population(rng, 500)
        order = np.argsort(-scores)
        share = np.cumsum(truth[order]) / np.arange(1, 501)
        cut = scores[order][np.flatnonzero(share >= 0.9)[-1]]
        new, real = population(rng, 50_000)
        broken += real[new >= cut].mean() < 0.9
    assert broken > 30


def test_what_cannot_be_promised_says_what_can_and_how_much_is_missing():
    rng = np.random.default_rng(0)
    scores, truth = rng.random(2_000), rng.random(2_000) < 0.75
    found = of_precision(scores, truth, 0.9, 0.9)
    assert (found.cut, found.possible) == (None, 0.7)
    few = of_precision(np.array([0.9, 0.1]), np.array([True, False]), 0.9, 0.9)
    assert (few.cut, few.possible) == (None, None)
    assert few.missing == fewest(0.9, 1 - 0.1 / 3) - 1
    assert of_recall(np.array([0.9, 0.1]), np.array([True, False]), 0.9, 0.9).missing == 21
    assert of_precision(np.zeros(0), np.zeros(0, bool), 0.9, 0.9).cut is None


def test_equal_scores_are_cut_together():
    scores = np.repeat([0.9, 0.4], [100, 100])
    truth = np.repeat([True, False], [100, 100])
    cut = of_precision(scores, truth, 0.9, 0.9).cut
    assert 0.4 < cut < 0.9
    assert of_recall(scores, truth, 0.9, 0.9).cut == 0.9


def test_tags_of_a_row_that_are_wrong_together_count_as_one():
    rng = np.random.default_rng(0)
    scores, truth = population(rng, 60)
    alone = of_pooled_precision(scores[:, None], truth[:, None], np.ones((60, 1), bool), 0.8, 0.9)
    copies = [np.repeat(each[:, None], 20, axis=1) for each in (scores, truth)]
    many = of_pooled_precision(*copies, np.ones((60, 20), bool), 0.8, 0.9)
    assert many == alone
    assert many.possible == 0.7


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95])
def test_sets_hold_the_right_class_as_often_as_asked(level):
    rng = np.random.default_rng(1)

    def draw(rows):
        p = rng.dirichlet(np.ones(3) / 2, rows)
        return p, (p.cumsum(axis=1) > rng.random((rows, 1))).argmax(axis=1)

    coverage = fit_coverage(PET, *draw(2_000), level)
    p, y = draw(20_000)
    sets = possible(PET.deciding(coverage=coverage), p)
    assert sets[np.arange(len(y)), y].mean() == pytest.approx(level, abs=0.03)
    assert sets.any(axis=1).all()
    assert [sets[y == c, c].mean() > level - 0.04 for c in range(3)] == [True] * 3
    doubtful = unsure(PET.deciding(coverage=coverage), p)
    assert (doubtful.any(axis=1) == (sets.sum(axis=1) > 1)).all()


def test_too_few_rows_leave_every_class_possible():
    coverage = fit_coverage(PET, np.array([[0.8, 0.1, 0.1]]), np.array([0]), 0.95)
    assert possible(PET.deciding(coverage=coverage), np.array([[0.98, 0.01, 0.01]])).all()


def test_sets_of_tags_lack_no_more_of_a_rows_tags_than_is_allowed():
    rng = np.random.default_rng(2)

    def draw(rows):
        p = rng.beta(0.5, 1, (rows, 2))
        y = (rng.random((rows, 2)) < p).astype(np.int8)
        return p, np.where(rng.random((rows, 2)) < 0.1, -1, y)

    coverage = fit_coverage(TAGS, *draw(2_000), 0.9)
    p, y = draw(20_000)
    sets, doubtful = (of(TAGS.deciding(coverage=coverage), p) for of in (possible, unsure))
    there = y == 1
    held = (sets & there).sum(axis=1)[there.any(axis=1)] / there.sum(axis=1)[there.any(axis=1)]
    assert held.mean() == pytest.approx(0.9, abs=0.03)
    sure_no = ~sets
    assert (y[sure_no & (y >= 0)] == 0).mean() > 0.9
    assert (y[sets & ~doubtful & (y >= 0)] == 1).mean() > 0.6
    assert doubtful.any()


def test_coverage_is_a_share():
    with pytest.raises(ValueError, match="coverage must be above 0 and below 1"):
        Coverage(1.0, 10, (0.5,))
