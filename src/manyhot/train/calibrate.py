"""Held-out rows into decisions: a temperature per target, and thresholds for what it aims at.

`run` and `tune` call it; what it finds is the target's Decision, read by `targets.probabilities` and
`targets.decide`.

Shapes: N rows · C classes · W outputs · P probabilities of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from manyhot import metrics
from manyhot.schema import Target, check_objective
from manyhot.targets import (
    WEIGHT,
    FloatArray,
    IntArray,
    Labels,
    Weight,
    known,
    marginals,
    probabilities,
    weighed,
    weight_of,
)

Measure = Callable[[IntArray, IntArray, FloatArray], float]  # answers, labels, weights → what is to be high
SPREAD = 0.3  # deviation of the logarithm of temperatures, before a row is seen: most are from 0.7 to 1.4
MIN_ROWS = 20  # with fewer known rows a temperature would be noise


def calibrate(target: Target, logits: NDArray[np.float32], y: IntArray, weight: Weight = None) -> Target:
    """Return the target with a temperature and thresholds fitted on held-out rows.

    Shape:
        logits: float32 (N, W), or (N, M, W) of members. y: as `targets.encode` gives it.
    """
    target = fit_temperature(target, logits, y, weight)
    return fit_thresholds(target, probabilities(target, logits), y, weight)


def fit_temperature(
    target: Target, logits: NDArray[np.float32], y: IntArray, weight: Weight = None
) -> Target:
    """Return the target with the temperature that makes its probabilities likeliest.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    rows = known(y)
    if rows.sum() < MIN_ROWS:
        return target
    scores = np.asarray(logits[rows], dtype=np.float64)
    counted = weight_of(weight, rows)

    def negative_log_likelihood(log_temperature: float) -> float:
        warmer = target.deciding(temperature=float(np.exp(log_temperature)))
        losses = metrics.row_losses(target, y[rows], probabilities(warmer, scores))
        return float(weighed(losses, counted).sum() + (log_temperature / SPREAD) ** 2 / 2)

    # A prior keeps a few held-out rows without a single error from asking for certainty.
    found = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.25), np.log(8)), method="bounded")
    return target.deciding(temperature=round(float(np.exp(found.x)), 4))


def fit_temperatures(
    targets: Sequence[Target], logits: Mapping[str, NDArray[np.float32]], y: Labels
) -> tuple[Target, ...]:
    """Return targets with the temperatures that suit their own logits, as `fit_temperature` finds them."""
    return tuple(fit_temperature(t, logits[t.name], y[t.name], y.get(WEIGHT)) for t in targets)


def has_thresholds(target: Target) -> bool:
    """Tell whether an objective changes how a target answers; of several classes the likeliest is it."""
    match target.structure:
        case "multiclass":
            return False
        case "binary" | "multilabel" | "powerset":
            return True
        case _:
            assert_never(target.structure)


def fit_thresholds(target: Target, chances: FloatArray, y: IntArray, weight: Weight = None) -> Target:
    """Return the target with thresholds that serve its objective on these rows.

    Shape:
        chances: float (N, P), calibrated probabilities. y: as `targets.encode` gives it.
    """
    name, level = check_objective(target.decision.objective)
    match target.structure:
        case "multiclass":
            return target.deciding(thresholds=())  # the likeliest class serves every objective
        case "binary":
            scores, truth = chances[:, 1:], y
        case "powerset" if name == "exact_match":
            return target.deciding(thresholds=())  # the likeliest set serves
        case "multilabel" | "powerset":
            scores, truth = marginals(target, chances), y
        case _:
            assert_never(target.structure)
    if name in ("hamming",) or (name == "exact_match" and target.exclusive):
        return target.deciding(thresholds=())
    width = truth.shape[1]
    counts = np.ones((len(truth), 1)) if weight is None else weight.astype(np.float64)[:, None]
    if name in ("micro_f1", "exact_match") and not target.exclusive:
        whole = _micro_f1 if name == "micro_f1" else _exact_match
        return target.deciding(thresholds=(_best_cut(scores, truth, counts, whole),) * width)
    measures: dict[str, Measure] = {
        "precision": partial(_reaching, level=level or 0, wanted=_precision, then=_recall),
        "recall": partial(_reaching, level=level or 0, wanted=_recall, then=_precision),
    }
    measure = measures.get(name, _macro_f1 if target.exclusive else _micro_f1)
    cuts = (_best_cut(scores[:, [c]], truth[:, [c]], counts, measure) for c in range(width))
    return target.deciding(thresholds=tuple(cuts))


def _best_cut(scores: FloatArray, truth: IntArray, counts: FloatArray, measure: Measure) -> float:
    """Return the threshold with the highest measure; of equals the one nearest to 0.5.

    Cuts are tried halfway between neighbouring probabilities, 200 of them at most, and at the lowest,
    where every answer is yes.
    """
    there = truth >= 0
    if not (truth[there] == 1).any():
        return 0.5
    values = np.unique(scores[there])
    values = values[:: -(-len(values) // 200)]
    cuts = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, [0.5]])
    found = [
        (measure(np.where(there, scores >= cut, -1), truth, counts), -abs(cut - 0.5), cut) for cut in cuts
    ]
    return float(max(found)[2])  # not rounded, since neighbours may be nearer than any digits kept


def _counts(yes: IntArray, given: IntArray, counts: FloatArray) -> tuple[float, float, float]:
    """True positives, false positives, false negatives over known entries, as much as each row counts."""
    pairs = ((1, 1), (1, 0), (0, 1))
    hit, false, missed = (float((((yes == a) & (given == b)) * counts).sum()) for a, b in pairs)
    return hit, false, missed


def _micro_f1(yes: IntArray, given: IntArray, counts: FloatArray) -> float:
    hit, false, missed = _counts(yes, given, counts)
    return 2 * hit / ((2 * hit + false + missed) or 1)


def _macro_f1(yes: IntArray, given: IntArray, counts: FloatArray) -> float:
    no, not_given = (np.where(a < 0, a, 1 - a) for a in (yes, given))
    return (_micro_f1(yes, given, counts) + _micro_f1(no, not_given, counts)) / 2


def _exact_match(yes: IntArray, given: IntArray, counts: FloatArray) -> float:
    rows = (given >= 0).any(axis=1)
    right = ((yes == given) | (given < 0)).all(axis=1)[rows]
    return float(np.average(right, weights=counts[rows, 0]))


def _precision(yes: IntArray, given: IntArray, counts: FloatArray) -> float:
    hit, false, _ = _counts(yes, given, counts)
    return hit / ((hit + false) or 1)


def _recall(yes: IntArray, given: IntArray, counts: FloatArray) -> float:
    hit, _, missed = _counts(yes, given, counts)
    return hit / ((hit + missed) or 1)


def _reaching(
    yes: IntArray, given: IntArray, counts: FloatArray, level: float, wanted: Measure, then: Measure
) -> float:
    """Score a cut: those that reach the level come first, the best of the other measure among them."""
    reached = wanted(yes, given, counts)
    return 1 + then(yes, given, counts) if reached >= level else reached
