"""Held-out rows into decisions: a temperature per target, and thresholds for what it aims at.

`run` and `tune` call it; what it finds is the target's Decision, read by `targets.probabilities` and
`targets.decide`.

Shapes: N rows · C classes · W outputs · P probabilities of a row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from manyhot import metrics
from manyhot.priors import log_odds
from manyhot.schema import Decision, Target, check_objective
from manyhot.targets import (
    UNKNOWN,
    WEIGHT,
    FloatArray,
    IntArray,
    Labels,
    Weight,
    known,
    marginals,
    probabilities,
    serves,
    weighed,
    weight_of,
)
from manyhot.train.conformal import fit_coverage
from manyhot.train.promises import Promised, of_pooled_precision, of_precision, of_recall

Floats = NDArray[np.float64]
SPREAD = 0.3  # deviation of the logarithm of temperatures, before a row is seen: most are from 0.7 to 1.4
MIN_ROWS = 20  # with fewer known rows a temperature would be noise
FEWEST = 10  # answers of yes that a precision is measured by, or as many as there are rows of yes
TINY = 1e-12  # keeps 0/0 at 0


def calibrate(
    target: Target,
    logits: NDArray[np.float32],
    y: IntArray,
    weight: Weight = None,
    confidence: float = 0.0,
    coverage: float = 0.0,
) -> Fitted:
    """Return the target with a temperature, thresholds and, with a `coverage`, sets fitted on held-out rows.

    Where its objective cannot be reached it decides by none: the likelier answer is given.

    Shape:
        logits: float32 (N, W), or (N, M, W) of members. y: as `targets.encode` gives it.
    """
    target = fit_temperature(target, logits, y, weight)
    chances = probabilities(target, logits)
    found = fit_thresholds(target, chances, y, weight, confidence)
    if not found.reached:
        found = found._replace(target=target.deciding(objective=Decision.objective, thresholds=()))
    if coverage and known(y).any():
        sets = fit_coverage(found.target, chances, y, coverage)
        found = found._replace(target=found.target.deciding(coverage=sets))
    return found


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


@dataclass(frozen=True)
class Short:
    """A class or tag of which no threshold reaches the precision that is aimed at.

    best    the highest at any threshold, and `recall` there
    """

    target: str
    name: str
    level: float
    best: float
    recall: float

    def __str__(self) -> str:
        what = f"'{self.name}'" if self.name == self.target else f"'{self.name}' of '{self.target}'"
        return (
            f"no threshold reaches a precision of {self.level:g} for {what}: the highest on these rows is "
            f"{self.best:.3f}, with a recall of {self.recall:.3f}"
        )


@dataclass(frozen=True)
class Unpromised:
    """A class or tag of which the aim is reached on these rows, which are too few to promise it for others.

    aim       precision or recall
    possible  the highest of some levels that could be promised, None where there is none
    missing   how many more rows that are yes are needed at the least
    """

    target: str
    name: str
    aim: str
    level: float
    possible: float | None
    missing: int

    def __str__(self) -> str:
        what = f"'{self.name}'" if self.name in (self.target, "") else f"'{self.name}' of '{self.target}'"
        what = what if self.name else f"all tags of '{self.target}' together"
        could = "none could be" if self.possible is None else f"{self.possible:g} could be"
        more = f"; {self.missing} more rows of it are needed at the least" if self.missing else ""
        return f"{what}: a {self.aim} of {self.level:g} is reached here and not promised ({could}{more})"


class Fitted(NamedTuple):
    """A target with the thresholds that were fitted.

    short       of which classes or tags its objective is not reached: these decide as they did
    reached     whether it is reached of any; where not, the target is as it was
    unpromised  of which it is reached on these rows alone
    """

    target: Target
    short: tuple[Short, ...] = ()
    reached: bool = True
    unpromised: tuple[Unpromised, ...] = ()


class Question(NamedTuple):
    """One yes or no that a threshold answers, on the rows where it is known: a class, a tag, or all tags.

    scores  float64 (N,), the probability of yes. yes: bool (N,). counts: float64 (N,), of each row
    """

    name: str
    scores: Floats
    yes: NDArray[np.bool_]
    counts: Floats


def fit_thresholds(
    target: Target, chances: FloatArray, y: IntArray, weight: Weight = None, confidence: float = 0.0
) -> Fitted:
    """Return the target with thresholds that serve its objective on these rows.

    A precision or recall is promised for new rows where they suffice for this `confidence`; see `promises`.
    There each row counts once.

    Shape:
        chances: float (N, P), calibrated probabilities. y: as `targets.encode` gives it.
    """
    objective = target.decision.objective
    name, level = check_objective(objective)
    plain = Fitted(target.deciding(thresholds=()))  # the likelier of two, the likeliest of several
    if not serves(target, objective) or name == "hamming":
        return plain
    if name == "exact_match" and (target.exclusive or target.structure == "powerset"):
        return plain
    if name == "balanced_accuracy":
        return Fitted(target.deciding(thresholds=_as_often_as_met(target, y, weight)))
    counts = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    if name == "exact_match":
        return _of_all_tags(target, _best_for_rows(marginals(target, chances), y, counts))
    asked = _questions(target, chances, y, counts)
    if name == "micro_f1" and not target.exclusive:
        return _of_all_tags(target, _best_for_f1(_together(asked), _f1))
    if level is None:
        measure = _macro_f1 if target.exclusive else _f1
        return Fitted(target.deciding(thresholds=tuple(_best_for_f1(each, measure) for each in asked)))
    before = target.decision.thresholds or (0.5,) * len(asked)
    if name == "micro_precision":
        given = (marginals(target, chances).astype(np.float64), y == 1, y != UNKNOWN)
        promise = partial(of_pooled_precision, *given, level, confidence)
        one = _aimed(target, "precision", level, [_together(asked)], before[:1], [promise], bool(confidence))
        width = len(target.classes)
        found = one.target.decision
        if not one.reached:
            return one
        cuts, promised = found.thresholds * width, found.promised * width
        return one._replace(target=target.deciding(thresholds=cuts, promised=promised))
    promises = [
        partial(of_precision if name == "precision" else of_recall, q.scores, q.yes, level, confidence)
        for q in asked
    ]
    return _aimed(target, name, level, asked, before, promises, bool(confidence))


def _aimed(
    target: Target,
    aim: str,
    level: float,
    asked: Sequence[Question],
    before: Sequence[float],
    promises: Sequence[Callable[[], Promised]],
    promising: bool,
) -> Fitted:
    """Return the target with thresholds that reach a precision or recall, promised where they can be.

    `before` are the thresholds that stay where it is not reached, and where no row is yes.
    """
    reach = partial(_reaching_precision if aim == "precision" else _reaching_recall, level=level)
    cuts, promised, short, unpromised = [], [], [], []
    for each, old, promise in zip(asked, before, promises, strict=True):
        found = reach(each) if each.yes.any() else old  # where nothing is yes, nothing can be told
        kept = promise() if promising and each.yes.any() and not isinstance(found, tuple) else Promised(None)
        if isinstance(found, tuple):
            short.append(Short(target.name, each.name, level, *found))
        elif kept.cut is None and promising and each.yes.any():
            unpromised.append(Unpromised(target.name, each.name, aim, level, kept.possible, kept.missing))
        cuts.append(old if isinstance(found, tuple) else found if kept.cut is None else kept.cut)
        promised.append(0.0 if kept.cut is None else kept.confidence)
    if len(short) == sum(each.yes.any() for each in asked) and short:
        return Fitted(target, tuple(short), reached=False)
    decided = target.deciding(thresholds=tuple(cuts), promised=tuple(promised) if promising else ())
    return Fitted(decided, tuple(short), unpromised=tuple(unpromised))


def _of_all_tags(target: Target, cut: float) -> Fitted:
    return Fitted(target.deciding(thresholds=(cut,) * len(target.classes)))


def _as_often_as_met(target: Target, y: IntArray, weight: Weight) -> tuple[float, ...]:
    """Return how often each class or tag is met, of two the positive one: thresholds that weigh all alike.

    Where a class is answered that is the largest multiple of that, all classes are answered rightly equally
    often on average, as far as probabilities are true.

    Source: Menon et al. 2021, "Long-tail learning via logit adjustment", section 4.
    """
    tags = replace(target, label_sets=()).deciding(temperature=1.0)  # of sets, their tags
    shares = probabilities(tags, log_odds(tags, y, weight).astype(np.float64)[None])[0]
    if target.exclusive:
        only = target.kind == "binary"
        return (float(shares[target.classes.index(target.positive)]),) if only else tuple(map(float, shares))
    return tuple(float(share) if (y[:, tag] == 1).any() else 0.5 for tag, share in enumerate(shares))


def _questions(target: Target, chances: FloatArray, y: IntArray, counts: Floats) -> list[Question]:
    """Return what thresholds decide of a target: whether a row is of the positive class, or has each tag."""
    given = y.reshape(len(y), -1)
    scores, names, wanted = marginals(target, chances).astype(np.float64), target.classes, [1] * y.shape[-1]
    if target.exclusive:
        place = target.classes.index(target.positive)
        scores, names, wanted = scores[:, [place]], (target.positive,), [place]
    found = []
    for column, name in enumerate(names):
        there = given[:, column] != UNKNOWN
        yes = given[there, column] == wanted[column]
        found.append(Question(name, scores[there, column], yes, counts[there]))
    return found


def _together(asked: Sequence[Question]) -> Question:
    """Return the questions of all tags as one."""
    return Question("", *(np.concatenate(part) for part in list(zip(*asked, strict=True))[1:]))


def _cuts(scores: Floats) -> Floats:
    """Return the thresholds that part scores in different ways: halfway between neighbours, the lowest, 0.5.

    They are not rounded, since neighbours may be nearer than any digits kept.
    """
    values = np.unique(scores)
    return np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, [0.5]])


def _at(cuts: Floats, scores: Floats, counts: Floats) -> Floats:
    """Return how much the scores count together that reach each cut; those that reach −∞ first."""
    order = np.argsort(scores, kind="stable")
    sums = np.append(counts[order][::-1].cumsum()[::-1], 0.0)
    return np.asarray(sums[np.append(0, np.searchsorted(scores[order], cuts))])


def _nearest(cuts: Floats, worth: Floats) -> float:
    """Return the cut that is worth most; of equals the one nearest to 0.5."""
    best = cuts[worth == worth.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def _outcomes(asked: Question, cuts: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Return hits, false alarms, what is missed and what is left out rightly, at each cut."""
    yes = asked.yes
    hit, false = (_at(cuts, asked.scores[of], asked.counts[of]) for of in (yes, ~yes))
    return hit[1:], false[1:], hit[0] - hit[1:], false[0] - false[1:]


def _f1(hit: Floats, false: Floats, missed: Floats, left: Floats) -> Floats:
    return np.asarray(2 * hit / np.maximum(2 * hit + false + missed, TINY))


def _macro_f1(hit: Floats, false: Floats, missed: Floats, left: Floats) -> Floats:
    return np.asarray((_f1(hit, false, missed, left) + _f1(left, missed, false, hit)) / 2)


def _best_for_f1(asked: Question, measure: Callable[..., Floats]) -> float:
    """Return the threshold with the highest F1."""
    if not asked.yes.any():
        return 0.5
    cuts = _cuts(asked.scores)
    return _nearest(cuts, measure(*_outcomes(asked, cuts)))


def _best_for_rows(scores: FloatArray, y: IntArray, counts: Floats) -> float:
    """Return the one threshold for all tags with which most rows have all of these right.

    A row has them at a cut above its highest score of a tag that it lacks, up to its lowest of one it has.
    """
    scores, known = scores.astype(np.float64), (y != UNKNOWN).any(axis=1)
    if not (y == 1).any():
        return 0.5
    highest = np.where(y == 0, scores, -np.inf).max(axis=1)
    lowest = np.where(y == 1, scores, np.inf).min(axis=1)
    can = known & (highest < lowest)
    cuts = _cuts(scores[y != UNKNOWN])
    return _nearest(cuts, _at(cuts, lowest[can], counts[can])[1:] - _at(cuts, highest[can], counts[can])[1:])


def _reaching_recall(asked: Question, level: float) -> float:
    """Return the threshold of the highest precision among those whose recall is that high."""
    cuts = _cuts(asked.scores)
    hit, false, missed, _ = _outcomes(asked, cuts)
    recall, precision = hit / (hit + missed).max(), hit / np.maximum(hit + false, TINY)
    return _nearest(cuts, np.where(recall >= level, precision, -1.0))


def _reaching_precision(asked: Question, level: float) -> float | tuple[float, float]:
    """Return the threshold of the highest recall among those whose precision is that high.

    Where there is none: the highest precision, and the recall there. It must be that of several answers,
    since the surest of many rows is right by chance.
    """
    cuts = _cuts(asked.scores)
    hit, false, missed, _ = _outcomes(asked, cuts)
    enough = hit + false >= min(FEWEST, (hit + missed).max())
    precision = np.where(enough, hit / np.maximum(hit + false, TINY), 0.0)
    recall = hit / (hit + missed).max()
    if precision.max() >= level:
        return _nearest(cuts, np.where(precision >= level, recall, -1.0))
    best = precision == precision.max()
    return float(precision.max()), float(recall[best].max())
