"""Held-out rows into decisions: a temperature per target, and thresholds for what it aims at.

`run` and `tune` call it; what it finds is the target's Decision, read by `targets.probabilities` and
`targets.decide`.

Shapes: N rows · C classes · W outputs · P probabilities of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from manyhot import metrics
from manyhot.schema import Target, check_objective
from manyhot.targets import FloatArray, IntArray, known, marginals, probabilities

Measure = Callable[[IntArray, IntArray], float]  # answers and labels → what is to be high
SPREAD = 0.3  # deviation of the logarithm of temperatures, before a row is seen: most are from 0.7 to 1.4
MIN_ROWS = 20  # with fewer known rows a temperature would be noise


def calibrate(target: Target, logits: NDArray[np.float32], y: IntArray) -> Target:
    """Return the target with a temperature and thresholds fitted on held-out rows.

    Shape:
        logits: float32 (N, W), or (N, M, W) of members. y: as `targets.encode` gives it.
    """
    target = fit_temperature(target, logits, y)
    return fit_thresholds(target, probabilities(target, logits), y)


def fit_temperature(target: Target, logits: NDArray[np.float32], y: IntArray) -> Target:
    """Return the target with the temperature that makes its probabilities likeliest.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2.
    """
    rows = known(y)
    if rows.sum() < MIN_ROWS:
        return target
    scores = np.asarray(logits[rows], dtype=np.float64)

    def negative_log_likelihood(log_temperature: float) -> float:
        warmer = target.deciding(temperature=float(np.exp(log_temperature)))
        summed = metrics.row_losses(target, y[rows], probabilities(warmer, scores)).sum()
        return float(summed + (log_temperature / SPREAD) ** 2 / 2)

    # A prior keeps a few held-out rows without a single error from asking for certainty.
    found = minimize_scalar(negative_log_likelihood, bounds=(np.log(0.25), np.log(8)), method="bounded")
    return target.deciding(temperature=round(float(np.exp(found.x)), 4))


def fit_temperatures(
    targets: Sequence[Target], logits: Mapping[str, NDArray[np.float32]], y: Mapping[str, IntArray]
) -> tuple[Target, ...]:
    """Return targets with the temperatures that suit their own logits, as `fit_temperature` finds them."""
    return tuple(fit_temperature(t, logits[t.name], y[t.name]) for t in targets)


def fit_thresholds(target: Target, chances: FloatArray, y: IntArray) -> Target:
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
    if name in ("micro_f1", "exact_match") and not target.exclusive:
        whole = _micro_f1 if name == "micro_f1" else _exact_match
        return target.deciding(thresholds=(_best_cut(scores, truth, whole),) * width)
    measures: dict[str, Measure] = {
        "precision": lambda yes, given: _reaching(yes, given, level or 0, _precision, _recall),
        "recall": lambda yes, given: _reaching(yes, given, level or 0, _recall, _precision),
    }
    measure = measures.get(name, _macro_f1 if target.exclusive else _micro_f1)
    cuts = (_best_cut(scores[:, [c]], truth[:, [c]], measure) for c in range(width))
    return target.deciding(thresholds=tuple(cuts))


def _best_cut(scores: FloatArray, truth: IntArray, measure: Measure) -> float:
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
    found = [(measure(np.where(there, scores >= cut, -1), truth), -abs(cut - 0.5), cut) for cut in cuts]
    return float(max(found)[2])  # not rounded, since neighbours may be nearer than any digits kept


def _counts(yes: IntArray, given: IntArray) -> tuple[int, int, int]:
    """True positives, false positives, false negatives over known entries."""
    return (
        int(((yes == 1) & (given == 1)).sum()),
        int(((yes == 1) & (given == 0)).sum()),
        int(((yes == 0) & (given == 1)).sum()),
    )


def _micro_f1(yes: IntArray, given: IntArray) -> float:
    hit, false, missed = _counts(yes, given)
    return 2 * hit / max(1, 2 * hit + false + missed)


def _macro_f1(yes: IntArray, given: IntArray) -> float:
    flip = (np.where(a < 0, a, 1 - a) for a in (yes, given))
    return (_micro_f1(yes, given) + _micro_f1(*flip)) / 2


def _exact_match(yes: IntArray, given: IntArray) -> float:
    rows = (given >= 0).any(axis=1)
    return float(((yes == given) | (given < 0)).all(axis=1)[rows].mean())


def _precision(yes: IntArray, given: IntArray) -> float:
    hit, false, _ = _counts(yes, given)
    return hit / max(1, hit + false)


def _recall(yes: IntArray, given: IntArray) -> float:
    hit, _, missed = _counts(yes, given)
    return hit / max(1, hit + missed)


def _reaching(
    yes: IntArray,
    given: IntArray,
    level: float,
    wanted: Measure,
    then: Measure,
) -> float:
    """Score a cut: those that reach the level come first, the best of the other measure among them."""
    reached = wanted(yes, given)
    return 1 + then(yes, given) if reached >= level else reached
