"""What a model must beat: the same answer for every row, and what that reaches in each score.

`judge` scores it beside the model; `report.verdict` says whether the model is better by more than chance.

Shapes: N rows · C classes · W numbers per row in y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray, Weight, decode, weighed

Scores = Mapping[str, float | None]
Floats = NDArray[np.float64]
TINY = 1e-12  # keeps a share of nothing from being 0/0


@dataclass(frozen=True)
class Constant:
    """The same answer for every row.

    answers  as `targets.decide` would give them for these rows
    name     the answer as people read it
    scores   what constant answers reach, as `metrics.scores` gives it
    """

    answers: IntArray
    name: str
    scores: Scores


@dataclass(frozen=True)
class Lead:
    """The main score of two ways to answer, and the standard error of their difference."""

    ours: float
    theirs: float
    error: float

    @property
    def beyond_chance(self) -> bool:
        """True where ours is better by more than two standard errors."""
        return self.ours - self.theirs > 2 * self.error


def main_metric(target: Target) -> str:
    """Name the one score that stands for a target."""
    return "accuracy" if target.exclusive else "micro_f1"


def constant(target: Target, y: IntArray, weight: Weight = None) -> Constant:
    """Return the one answer whose main score is highest on these rows, and the scores of constant answers.

    The answer of a single-class target is its most frequent class; that of tags is as many of the most
    frequent tags as give the highest micro F1. Each score of tags is that of this answer or of the most
    frequent whole set, whichever is better. The probabilities are how often each class is met.

    Shape:
        y: what `targets.encode` gives.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> found = constant(pet, np.array([1, 1, 1, 0]))
    >>> found.name, found.scores["accuracy"]
    ('dog', 0.75)
    """
    counts = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    given = y.reshape(len(y), -1)
    if target.exclusive:
        given = np.where(given == UNKNOWN, UNKNOWN, given == np.arange(len(target.classes)))
    yes, there = counts @ (given == 1), counts @ (given != UNKNOWN)
    shares = np.broadcast_to(yes / np.maximum(there, TINY), given.shape)
    if target.exclusive:
        answer = np.array([yes.argmax()], y.dtype)
        found = metrics.scores(target.deciding(thresholds=()), y, shares, weight)
    else:
        order = np.argsort(-yes, kind="stable")
        f1 = yes[order].cumsum() / np.maximum(there[order].cumsum() + yes.sum(), TINY)
        answer = np.zeros(len(yes), y.dtype)
        answer[order[: np.append(f1, 0.0).argmax() + 1]] = 1  # of no tags at all, none
        each = [_of_tags(target, y, shares, tags, weight) for tags in (answer, _commonest(given, counts))]
        found = {name: _better(name, *(scores[name] for scores in each)) for name in each[0]}
    answers = np.broadcast_to(answer, (len(y), len(answer))).reshape(y.shape)
    return Constant(answers, decode(target, answers[:1])[0] if len(y) else "", found)


def _commonest(given: IntArray, counts: Floats) -> IntArray:
    """Return the whole set of tags, int (C,), that most of the rows have of which all is known."""
    whole = (given != UNKNOWN).all(axis=1)
    if not whole.any():
        return np.zeros(given.shape[1], given.dtype)
    sets, which = np.unique(given[whole], axis=0, return_inverse=True)
    return np.asarray(sets[np.bincount(which.reshape(-1), counts[whole]).argmax()])


def _of_tags(target: Target, y: IntArray, shares: Floats, answer: IntArray, weight: Weight) -> Scores:
    """Score rows of tags that are all answered alike."""
    cuts = tuple(0.0 if yes else 2.0 for yes in answer)
    return metrics.scores(replace(target, label_sets=()).deciding(thresholds=cuts), y, shares, weight)


def _better(metric: str, one: float | None, other: float | None) -> float | None:
    values = [value for value in (one, other) if value is not None]
    best = max if metrics.higher_is_better(metric) else min
    return best(values, default=None)


def lead(target: Target, y: IntArray, answers: IntArray, others: IntArray, weight: Weight = None) -> Lead:
    """Compare two ways to answer the same rows by the main score of a target.

    The error is that of the paired difference: of means for accuracy, and for micro F1, which is a ratio
    of two sums over rows, of its linear part in each row (the delta method).

    Shape:
        y, answers, others: as `targets.encode` gives it.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> y = np.array([0, 1, 1, 1])
    >>> found = lead(pet, y, y, np.array([1, 1, 1, 1]))
    >>> found.ours, found.theirs, round(found.error, 6), found.beyond_chance
    (1.0, 0.75, 0.25, False)
    """
    ours, own = _ratio(target, y, answers, weight)
    theirs, other = _ratio(target, y, others, weight)
    each = own - other
    return Lead(ours, theirs, float((each**2).sum() ** 0.5 * (len(each) / max(1, len(each) - 1)) ** 0.5))


def _ratio(target: Target, y: IntArray, answers: IntArray, weight: Weight) -> tuple[float, Floats]:
    """Return a score that is a ratio of sums over rows, and how much each row moves it, float64 (N,)."""
    given, found = y.reshape(len(y), -1), answers.reshape(len(y), -1)
    there = given != UNKNOWN
    if target.exclusive:
        part, whole = (there & (given == found)).sum(axis=1), there.sum(axis=1)
    else:
        yes, said = given == 1, there & (found == 1)
        part, whole = 2 * (yes & said).sum(axis=1), yes.sum(axis=1) + said.sum(axis=1)
    part, whole = weighed(part.astype(np.float64), weight), weighed(whole.astype(np.float64), weight)
    total = whole.sum() or 1.0
    score = float(part.sum() / total)
    return score, (part - score * whole) / total
