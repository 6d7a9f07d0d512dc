"""Thresholds with a promise: a precision or a recall that holds for new rows, with a stated confidence.

`calibrate` calls it. A threshold picked as the best of many that reach a precision on held-out rows is lucky
more often than right. Here cuts are tested one after the other, in an order that the labels have no part in,
and the first that fails ends it: the chance that the cut which is kept breaks its promise is then no larger
than that of one test, however many are made.

Sources: Angelopoulos et al. 2021, "Learn then Test", section 3.2 (fixed-sequence testing); Clopper and
Pearson 1934 (the exact binomial test).

Shapes: N rows · C tags · K cuts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Precision is not monotone, so that one unlucky row at the top would end a single sequence: one begins at
# each of these many times the fewest rows, with its share of the error.
STARTS = (1.0, 8 / 3, 20 / 3)
LEVELS = (0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)  # of which the highest that can be promised is told
DRAWS = 1_000
CUTS = 200
ALMOST = 1e-9  # nothing, but for rounding


@dataclass(frozen=True)
class Promised:
    """What held-out rows can promise.

    cut         the threshold that keeps the promise; None where there is none
    confidence  with which it is kept
    possible    the highest of some levels that could be promised, None where there is none
    missing     how many more rows that are yes are needed at the least, answered without an error
    """

    cut: float | None
    confidence: float = 0.0
    possible: float | None = None
    missing: int = 0


def fewest(level: float, confidence: float) -> int:
    """Return how many answers in a row must be right, without an error, to show a share of `level`.

    >>> fewest(0.9, 0.9), fewest(0.95, 0.9)
    (22, 45)
    """
    return 1 if level <= 0 else math.ceil(math.log(1 - confidence) / math.log(min(level, 1 - 1e-9)))


def of_precision(scores: Floats, truth: Bools, level: float, confidence: float) -> Promised:
    """Return the lowest threshold from which on a share of `level` of those answered yes is right.

    Shape:
        scores: (N,), probabilities of yes on rows that trained nothing. truth: (N,), whether it is yes.
    """
    needed = fewest(level, 1 - (1 - confidence) / len(STARTS))
    return _promised(partial(_precise, scores, truth), level, confidence, needed - int(truth.sum()))


def of_recall(scores: Floats, truth: Bools, level: float, confidence: float) -> Promised:
    """Return the highest threshold from which on a share of `level` of those that are yes is found.

    Recall falls with the threshold, so that one sequence from the lowest threshold up does.
    """
    yes = np.sort(scores[truth])
    return _promised(partial(_recalled, yes), level, confidence, fewest(level, confidence) - len(yes))


def of_pooled_precision(
    scores: Floats, truth: Bools, known: Bools, level: float, confidence: float
) -> Promised:
    """Return one threshold for all tags, from which on a share of `level` of all tags answered is right.

    The tags of a row are right or wrong together, so that rows are drawn anew (bootstrap) rather than tags.

    Shape:
        scores, truth, known: (N, C).
    """
    there = np.where(known, scores, -1.0)
    cuts = np.unique(there[known])[::-1]
    cuts = cuts[:: -(-len(cuts) // CUTS) or 1]
    weights = np.random.default_rng(0).multinomial(len(scores), np.full(len(scores), 1 / len(scores)), DRAWS)

    def last(level: float, error: float) -> float | None:
        kept = None
        for cut in cuts:
            yes = there >= cut
            answered, right = yes.sum(axis=1), (yes & truth).sum(axis=1)
            if (answered > 0).sum() < fewest(level, 1 - error):
                continue
            short = float((weights @ (right - level * answered) < ALMOST).mean())
            if short > error:
                break
            kept = float(cut)
        return kept

    return _promised(last, level, confidence, fewest(level, confidence) - int(truth.sum()))


def _promised(
    cut_of: Callable[[float, float], float | None], level: float, confidence: float, missing: int
) -> Promised:
    """Return the threshold that keeps a promise, or which lower level could be promised.

    Args:
        cut_of: gives the threshold for a level and the chance of an error, None where there is none.
        missing: rows of yes that are needed at the least beside those there are.
    """
    error = 1 - confidence
    cut = cut_of(level, error)
    if cut is not None:
        return Promised(cut, confidence)
    lower = [other for other in LEVELS if other < level]
    # Each level that is tried is one more test.
    possible = (other for other in lower if cut_of(other, error / len(lower)) is not None)
    return Promised(None, 0.0, next(possible, None), max(0, missing))


def _precise(scores: Floats, truth: Bools, level: float, error: float) -> float | None:
    order = np.argsort(-scores, kind="stable")
    values = scores[order]
    last = np.flatnonzero(np.append(values[1:] < values[:-1], True)) if len(values) else np.zeros(0, int)
    answered, right = last + 1, np.cumsum(truth[order])[last]
    error = error / len(STARTS)
    passed = _by_chance(right, answered, level) <= error
    kept = []
    for times in STARTS:
        begin = int(np.searchsorted(answered, math.ceil(times * fewest(level, 1 - error))))
        failed = np.flatnonzero(~passed[begin:])
        end = begin + (int(failed[0]) if len(failed) else len(passed) - begin)
        if end > begin:
            kept.append(end - 1)
    if not kept:
        return None
    at = last[max(kept)]
    below = values[at + 1] if at + 1 < len(values) else values[at]
    return float((values[at] + below) / 2)


def _recalled(yes: Floats, level: float, error: float) -> float | None:
    """Return the highest of the sorted scores of yes such that a share of `level` reaches it."""
    found = len(yes) - np.arange(len(yes))  # how many reach each
    first = np.searchsorted(yes, yes)  # equal ones are reached together
    passed = _by_chance(found[first], len(yes), level) <= error
    failed = np.flatnonzero(~passed)
    end = int(failed[0]) if len(failed) else len(yes)
    return float(yes[end - 1]) if end else None


def _by_chance(right: Any, of: Any, level: float) -> Floats:
    """Return how likely so many rows, or more, are right where each is so with a chance of `level`."""
    from scipy.stats import binom  # which takes half as long as torch, and most fits promise nothing

    return np.asarray(binom.sf(right - 1, of, level))
