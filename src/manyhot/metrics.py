"""Scores: how right the answers and the probabilities of each target are.

Given labels (as `targets.encode` gives them) and probabilities enter; plain numbers leave, None where
there was nothing to measure. The trainer calls `scores` and `overall` on every epoch, `judge` and the
report once more. Metrics take probabilities only and never guess; answers come from `targets.decide`.
Unknown entries (−1) are left out of every number.

Shapes: N rows · C classes · W numbers per row in y · P probabilities of a row (`targets.decide`) ·
R rankings of n entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Target
from manyhot.targets import (
    UNKNOWN,
    WEIGHT,
    FloatArray,
    IntArray,
    Labels,
    Weight,
    decide,
    marginals,
    possible,
    unsure,
    weighed,
    weight_of,
)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BINS = 15  # of confidence, for `ece`, as in Guo et al. 2017, section 2
UNLIKELY, FEWEST = 0.01, 20  # of `reliability`: one bin's end, and answers in the others
EPS = float(np.finfo(np.float64).eps)  # where scikit-learn's log_loss clips float64
SINGLE = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "log_loss", "ece")
OF_YES = ("precision", "recall", "f1")  # of the positive class of a target that has one
TAGS = (
    *("exact_match", "hamming_loss", "micro_f1", "macro_f1"),
    *("mean_average_precision", "lrap", "log_loss", "ece"),
)
Z95 = 1.959964  # standard deviations of a normal distribution to either side that hold 95 % of it
LOWER_IS_BETTER = frozenset({"hamming_loss", "log_loss", "ece", "loss"})


def names(target: Target) -> tuple[str, ...]:
    """Name the scores that a target has."""
    match target.kind:
        case "binary" | "multiclass":
            return (*SINGLE, *OF_YES) if target.positive else SINGLE
        case "multilabel":
            return TAGS
        case _:
            assert_never(target.kind)


def scores(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None
) -> dict[str, float | None]:
    """Score one target, by scikit-learn's definitions; None for what cannot be measured.

    `macro_f1` is over the classes that are given or answered (scikit-learn's default) for a
    single-class target and over every tag with a known entry for tags; both count 0 for a class
    whose F1 is 0/0. `auroc` of several classes is one against the rest, over the classes that some
    rows have and some have not. `lrap` counts a row without tags, or with all, as 1. `ece` has 15
    bins of equal width: of the answer's probability, or of each tag's, then averaged over tags.
    `precision`, `recall` and `f1` are of the positive class, where there is one; None for 0/0.
    A row of weight 2 counts as two.

    Shape:
        y: what `targets.encode` gives. probabilities: float (N, P) in [0, 1], without NaN; the two
        of a binary target sum to 1. weight: float (N,) above 0, or None.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3 (`ece`).

    A probability equal to the threshold counts as yes, so the second of these rows matches:

    >>> tags = Target("t", "multilabel", ("a", "b", "c"), ("t",))
    >>> two = scores(tags, np.array([[0, 0, 1], [0, 1, 0]]), np.array([[.2, .5, .8], [.4, .7, .1]]))
    >>> two["exact_match"]
    0.5
    >>> one = scores(tags, np.array([[0, 0, 1]]), np.array([[.2, .6, .8]]))
    >>> round(one["log_loss"], 4), one["exact_match"]
    (0.4542, 0.0)
    """
    assert not np.isnan(probabilities).any(), "rows without an answer must be left out before scoring"
    match target.kind:
        case "binary" | "multiclass":
            return _single_scores(target, y, probabilities, weight)
        case "multilabel":
            return _tag_scores(target, y, probabilities, weight)
        case _:
            assert_never(target.kind)


def overall(
    targets: Iterable[Target], y: Labels, probabilities: Mapping[str, FloatArray]
) -> dict[str, float | None]:
    """Score all targets at once: rows with every known entry right, and the sum of the log losses.

    A row of which nothing is known is left out of `exact_match`, a target of which nothing is known
    out of `loss`.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> y = {"pet": np.array([0, 1, -1])}
    >>> overall([pet], y, {"pet": np.array([[.5, .5], [.5, .5], [.5, .5]])})
    {'exact_match': 0.5, 'loss': 0.6931471805599453}
    """
    targets, weight = tuple(targets), y.get(WEIGHT)
    if not targets:
        return {"exact_match": None, "loss": None}
    wrong, known = map(any_of, wrong_rows(targets, y, probabilities))
    losses = (_log_loss(t, y[t.name], probabilities[t.name], weight) for t in targets)
    measured = [loss for loss in losses if loss is not None]
    right = _share(~wrong, known, weight)
    return {"exact_match": right, "loss": sum(measured) if measured else None}


def wrong_rows(
    targets: Sequence[Target], y: Labels, probabilities: Mapping[str, FloatArray]
) -> tuple[Bools, Bools]:
    """Tell of which rows a known label is answered wrongly, and of which any is known; bool (N, targets)."""
    wrong, known = [], []
    for target in targets:
        given = y[target.name]
        lines = (len(given), given.size // max(len(given), 1))
        labels = given.reshape(lines)
        answers = decide(target, probabilities[target.name]).reshape(lines)
        wrong.append(((answers != labels) & (labels != UNKNOWN)).any(axis=1))
        known.append((labels != UNKNOWN).any(axis=1))
    return np.stack(wrong, axis=1), np.stack(known, axis=1)


def any_of(entries: Bools) -> Bools:
    """Tell which rows of bool (N, C) have an entry that is true; bool (N,)."""
    return np.asarray(entries.any(axis=1))


def interval(right: Bools, weight: Weight = None) -> list[float] | None:
    """Return the ends of the 95 % interval of a share of rows; None where there is no row.

    Rows that count unequally say as much as (Σw)² / Σw² equal ones.

    Shape:
        right: bool (N,). weight: float (N,) above 0, or None.

    Source: Wilson 1927, "Probable inference"; Kish 1965, "Survey Sampling" (the effective number of rows).

    >>> [round(end, 4) for end in interval(np.array([True] * 8 + [False] * 2))]
    [0.4902, 0.9433]
    """
    if not len(right):
        return None
    share = np.average(right, weights=weight)
    rows = len(right) if weight is None else weight.sum(dtype=float) ** 2 / (weight.astype(float) ** 2).sum()
    low, high = wilson(share, rows)
    return [max(0.0, float(low)), 1.0 if share == 1 else float(high)]


def wilson(share: Any, rows: Any) -> tuple[Any, Any]:
    """Return the ends of Wilson's 95 % interval of shares of so many rows; numbers, or float (N,)."""
    wide = Z95**2 / rows
    middle = (share + wide / 2) / (1 + wide)
    half = np.sqrt(wide * share * (1 - share) + wide**2 / 4) / (1 + wide)
    return middle - half, middle + half


def intervals(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None
) -> dict[str, list[float] | None]:
    """Return the intervals of the scores that are shares of rows, by the names of these."""
    given, answered, known = as_tags(target, y, decide(target, probabilities))
    rows, right = any_of(known), ~any_of((given != answered) & known)
    among = {"accuracy" if target.exclusive else "exact_match": rows}
    if target.positive:
        place = target.classes.index(target.positive)
        among |= {"precision": rows & answered[:, place], "recall": given[:, place]}
    return {name: interval(right[part], weight_of(weight, part)) for name, part in among.items()}


def as_tags(target: Target, y: IntArray, answers: IntArray) -> tuple[Bools, Bools, Bools]:
    """Return what is given, answered and known, each (N, C), whatever the kind."""
    if not target.exclusive:
        return y == 1, answers == 1, y != UNKNOWN
    classes = np.arange(len(target.classes))
    given = _numbers(y)[:, None]
    known = np.broadcast_to(given != UNKNOWN, (len(given), len(classes)))
    return given == classes, _numbers(answers)[:, None] == classes, known


def row_losses(target: Target, y: IntArray, probabilities: FloatArray) -> Floats:
    """Return the log loss of each row, for tags the mean over its known tags; NaN if nothing is known.

    Shape:
        y, probabilities: as `scores`. out: float64 (N,).

    Sigmoids of two rows of three tags, whose mean binary cross-entropy is known:

    >>> tags = Target("t", "multilabel", ("a", "b", "c"), ("t",))
    >>> p = np.array([[.6293, .1712, .6457], [.5994, .8830, .1837]])
    >>> round(float(row_losses(tags, np.array([[1, 0, 0], [0, 0, 1]]), p).mean()), 4)
    1.0739
    """
    match target.kind:
        case "binary" | "multiclass":
            given = _numbers(y)
            if not probabilities.size:
                return np.full(len(given), np.nan)
            picked = probabilities[np.arange(len(given)), np.maximum(given, 0)].astype(np.float64)
            return np.where(given == UNKNOWN, np.nan, -np.log(np.clip(picked, EPS, 1 - EPS)))
        case "multilabel":
            losses = _tag_losses(y, marginals(target, probabilities))
            return _ratio(losses.sum(axis=1), (y != UNKNOWN).sum(axis=1))
        case _:
            assert_never(target.kind)


def crossed(
    y: IntArray, labels: IntArray, classes: int, clusters: int, weight: Weight = None
) -> NDArray[Any]:
    """Count the rows of each cluster (line) by their known class (column); int64 (clusters, classes).

    Answers serve as clusters too: of them `confusion` is made.
    """
    known = y != UNKNOWN
    pairs = labels[known].astype(np.int64) * classes + y[known]
    counts = np.bincount(pairs, weight_of(weight, known), minlength=clusters * classes)
    return counts.reshape(clusters, classes)


def confusion(target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None) -> NDArray[Any]:
    """Count the rows of each given class (line) by the class answered (column).

    Shape:
        y, probabilities: as `scores`, of a single-class target. out: int64 (C, C), of weights float.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> confusion(pet, np.array([0, 1, 1]), np.array([[.9, .1], [.6, .4], [.2, .8]])).tolist()
    [[1, 0], [1, 1]]
    """
    assert target.exclusive, "tags have no confusion matrix; see per_class"
    given, answers = _numbers(y), _numbers(decide(target, probabilities))
    return crossed(given, answers, len(target.classes), len(target.classes), weight).T


def confused(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None, most: int = 30
) -> list[dict[str, Any]]:
    """List the pairs of classes most often taken for each other: of tags, one missed and another answered.

    `share` is of the rows that are given the first. A row that misses two tags and is answered three others
    is in six pairs.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> confused(pet, np.array([0, 1, 1]), np.array([[.9, .1], [.6, .4], [.2, .8]]))
    [{'given': 'dog', 'answered': 'cat', 'rows': 1, 'share': 0.5}]
    """
    given, answered, known = as_tags(target, y, decide(target, probabilities))
    missed, extra = given & ~answered, answered & known & ~given
    counts = missed.T.astype(np.float32) @ extra.astype(np.float32)
    worst = np.argsort(-counts, axis=None, kind="stable")[:most]
    support = given.sum(axis=0)
    return [
        {
            "given": target.classes[i],
            "answered": target.classes[j],
            "rows": int(counts[i, j]),
            "share": float(counts[i, j] / support[i]),
        }
        for i, j in zip(*np.unravel_index(worst, counts.shape), strict=True)
        if counts[i, j]
    ]


def per_class(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None
) -> list[dict[str, Any]]:
    """Score each class (one against the rest) or tag; None where a number has nothing to measure.

    `support` and `predicted` count rows, the others go by the weights of these.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> per_class(pet, np.array([0, 0]), np.array([[.9, .1], [.4, .6]]))[0]["recall"]
    0.5
    >>> [row["recall"] for row in per_class(pet, np.array([0]), np.array([[.9, .1]]))]
    [1.0, None]
    """
    assert not np.isnan(probabilities).any(), "rows without an answer must be left out before scoring"
    given, answered, known = as_tags(target, y, decide(target, probabilities))
    probabilities = marginals(target, probabilities)
    answered &= known
    support, predicted = given.sum(axis=0), answered.sum(axis=0)
    columns = _of_yes(given, answered, weight) | {
        "average_precision": _average_precision(probabilities.T, given.T, known.T, weight)
    }
    return [
        {"name": name, "support": int(support[c]), "predicted": int(predicted[c])}
        | {key: _number(values[c]) for key, values in columns.items()}
        for c, name in enumerate(target.classes)
    ]


def support(target: Target, y: IntArray) -> list[int]:
    """Count the rows that are given each class or tag.

    >>> support(Target("pet", "multiclass", ("cat", "dog"), ("pet",)), np.array([1, 1, -1]))
    [0, 2]
    """
    if not target.exclusive:
        return [int(total) for total in (y == 1).sum(axis=0)]
    return [int(total) for total in np.bincount(_numbers(y)[_numbers(y) >= 0], minlength=len(target.classes))]


def reliability(target: Target, y: IntArray, probabilities: FloatArray) -> tuple[Floats, Floats, Floats]:
    """Bin the confidences into equally many: answers per bin, their mean confidence, the share that is right.

    For tags the confidence is the probability of yes, over every tag's known entries together. There are
    20 answers or more in a bin, and 15 bins at most; equal confidences share one. What is below 0.01, as most
    tags of most rows are, is a bin of its own.

    Shape:
        out: three float64 (B,), of B bins that are not empty.

    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> count, confidence, right = reliability(pet, np.array([0, 1]), np.array([[.9, .1], [.9, .1]]))
    >>> count.tolist(), confidence.tolist(), right.tolist()
    ([2.0], [0.9], [0.5])
    """
    confidence, right = _confidence(target, y, probabilities)
    likely = confidence[confidence >= UNLIKELY]
    parts = int(np.clip(len(likely) // FEWEST, 1, BINS))
    cuts = np.quantile(likely, np.arange(parts) / parts)[1:] if len(likely) else likely
    bins = np.searchsorted(np.unique([UNLIKELY, *cuts]), confidence, side="right")
    count = np.bincount(bins).astype(np.float64)
    sums = [np.bincount(bins, values)[count > 0] for values in (confidence, right.astype(np.float64))]
    count = count[count > 0]
    return count, sums[0] / count, sums[1] / count


def ece_floor(target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None) -> float | None:
    """Return the mean `ece` of a perfectly calibrated model with these probabilities, on so many rows.

    It is above 0, since in each bin chance lets more or fewer rows be right than the confidence says; an
    `ece` near it says that there is nothing left to calibrate. Confidences within a bin count as equal.

    Source: the mean absolute deviation of a binomial distribution; Diaconis and Zabell 1991, "Closed Form
    Summation for Classical Distributions", section 1 (De Moivre's formula).

    >>> coin = Target("coin", "binary", ("heads", "tails"), ("coin",))
    >>> round(ece_floor(coin, np.zeros((100, 1), int), np.full((100, 2), 0.5)), 4)
    0.0398
    """
    if target.exclusive:
        confidence, _ = _confidence(target, y, probabilities)
        counts = weight_of(weight, _numbers(y) != UNKNOWN)
        columns = [(confidence, np.ones(len(confidence)) if counts is None else counts)]
    else:
        given, chances = y != UNKNOWN, marginals(target, probabilities)
        every = np.ones(len(y)) if weight is None else weight
        columns = [(chances[rows, tag], every[rows]) for tag, rows in enumerate(given.T)]
    floors = [_floor(confidence, counts) for confidence, counts in columns if len(confidence)]
    return float(np.mean(floors)) if floors else None


def coverage(target: Target, y: IntArray, probabilities: FloatArray) -> dict[str, Any]:
    """Tell how well the sets of possible classes do what the coverage of a target asks for.

    `level` is what was asked, by `rows` held-out rows; of the rows judged here `covered` is the share whose
    class is in their set, or of whose tags, on average, all are; `size` is how many are in a set, `unsure`
    the share of rows with a doubt, and `classes` the share covered of each class or tag.

    >>> from manyhot.schema import Coverage
    >>> pet = Target("pet", "multiclass", ("cat", "dog"), ("pet",))
    >>> pet = pet.deciding(coverage=Coverage(0.9, 99, (0.3, 0.3)))
    >>> found = coverage(pet, np.array([0, 0]), np.array([[.6, .4], [.2, .8]]))
    >>> found["covered"], found["size"], found["unsure"]
    (0.5, 1.5, 0.5)
    """
    asked = target.decision.coverage
    assert asked is not None, "asked of targets that have one"
    given, _, known = as_tags(target, y, decide(target, probabilities))
    rows = any_of(known)
    sets, doubts, there = (
        possible(target, probabilities)[rows],
        unsure(target, probabilities)[rows],
        given[rows],
    )
    held, count = sets & there, there.sum(axis=1)
    each = zip(target.classes, _ratio(held.sum(axis=0), there.sum(axis=0)), strict=True)
    return {
        "level": asked.level,
        "rows": asked.rows,
        "covered": _mean(_ratio(held.sum(axis=1), count)),
        "size": _mean(sets.sum(axis=1).astype(np.float64)),
        "unsure": _mean(any_of(doubts).astype(np.float64)),
        "classes": {name: _number(value) for name, value in each},
    }


def _floor(confidence: FloatArray, counts: NDArray[Any]) -> float:
    """Return the mean calibration error of confidences that are right; rows count as `counts` say."""
    bins, confidence = _bins(confidence), confidence.astype(np.float64)
    rows, squares, sure = (np.bincount(bins, each) for each in (counts, counts**2.0, counts * confidence))
    rows, squares, sure = (each[rows > 0] for each in (rows, squares, sure))
    worth, share = rows**2 / squares, sure / rows  # unequal rows say as much as so many equal ones
    gaps = [_deviation(n, p) / n for n, p in zip(worth, share, strict=True)]
    return float(np.average(gaps, weights=rows))


def _deviation(n: float, p: float) -> float:
    """Return the mean of |X − np| for a binomial X."""
    if not 0 < p < 1:
        return 0.0
    m = math.floor(n * p) + 1
    if m > n:  # of a broken number of rows the last step is a part of one
        return float(2 * n * p * (1 - p) ** (n * p))
    ways = math.lgamma(n + 1) - math.lgamma(m + 1) - math.lgamma(n - m + 1)
    return float(2 * m * math.exp(ways + m * math.log(p) + (n - m + 1) * math.log1p(-p)))


def higher_is_better(metric: str) -> bool:
    """Tell whether more of a metric is better.

    Raises:
        UserError: there is no such metric.

    >>> higher_is_better("accuracy"), higher_is_better("loss")
    (True, False)
    """
    every = {*SINGLE, *OF_YES, *TAGS, "loss", "average_precision"}
    if metric not in every:
        raise UserError(
            f"no metric '{metric}'{suggest(metric, every)}; there are {listed(sorted(every), 20)}."
        )
    return metric not in LOWER_IS_BETTER


def _single_scores(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight
) -> dict[str, float | None]:
    keep = _numbers(y) != UNKNOWN
    if not keep.any():
        return dict.fromkeys(names(target))
    y, probabilities, weight = y[keep], probabilities[keep], weight_of(weight, keep)
    given = _numbers(y)
    counts = confusion(target, y, probabilities, weight)
    right, support, answered = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    confidence, hit = _confidence(target, y, probabilities)
    if target.kind == "binary":
        areas = _auroc(probabilities[:, 1:].T, (given == 1)[None], weight)
    else:
        areas = _auroc(probabilities.T, given == np.arange(len(target.classes))[:, None], weight)
    gap = weighed(confidence - hit, weight)
    found: dict[str, float | None] = {
        "accuracy": float(np.average(hit, weights=weight)),
        "balanced_accuracy": _mean(_ratio(right, support)),
        "macro_f1": _mean(_ratio(2 * right, support + answered)),
        "auroc": _mean(areas),
        "log_loss": _log_loss(target, y, probabilities, weight),
        "ece": float(np.abs(np.bincount(_bins(confidence), gap, BINS)).sum() / counts.sum()),
    }
    return found | of_yes(target, y, probabilities, weight) if target.positive else found


def _tag_scores(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight
) -> dict[str, float | None]:
    rows = (y != UNKNOWN).any(axis=1)
    if not rows.any():
        return dict.fromkeys(TAGS)
    if not rows.all():
        y, probabilities, weight = y[rows], probabilities[rows], weight_of(weight, rows)
    given, answered, known = as_tags(target, y, decide(target, probabilities))
    probabilities = marginals(target, probabilities)
    answered &= known
    wrong = given != answered
    both, total = _counted(given & answered, weight), _counted(given, weight) + _counted(answered, weight)
    entries, losses = _counted(known, weight), _tag_losses(y, probabilities)
    f1 = np.where(entries == 0, np.nan, 2 * both / np.where(total > 0, total, 1))
    lrap = _average_precision(probabilities, given, known)
    return {
        "exact_match": float(np.average(~wrong.any(axis=1), weights=weight)),
        "hamming_loss": float(_counted(wrong, weight).sum() / entries.sum()),
        "micro_f1": float(2 * both.sum() / (total.sum() or 1)),
        "macro_f1": _mean(f1),
        "mean_average_precision": _mean(_average_precision(probabilities.T, given.T, known.T, weight)),
        "lrap": float(np.average(np.where(np.isnan(lrap), 1.0, lrap), weights=weight)),
        "log_loss": float(weighed(losses, weight).sum() / entries.sum()),
        "ece": _mean(_tag_ece(given, known, probabilities, weight)),
    }


def _counted(entries: Bools, weight: Weight) -> NDArray[Any]:
    """Count the entries (N, C) of each column, each as much as its row counts; (C,)."""
    return entries.sum(axis=0) if weight is None else weight.astype(np.float64) @ entries


def _of_yes(given: Bools, answered: Bools, weight: Weight) -> dict[str, Floats]:
    """Return precision, recall and F1 of each column, NaN for 0/0; answers to what is unknown are False."""
    both, there, yes = (_counted(part, weight) for part in (given & answered, given, answered))
    found = (_ratio(both, yes), _ratio(both, there), _ratio(2 * both, there + yes))
    return dict(zip(OF_YES, found, strict=True))


def of_yes(
    target: Target, y: IntArray, probabilities: FloatArray, weight: Weight = None, positive: str = ""
) -> dict[str, float | None]:
    """Return precision, recall and F1 of the positive class, or of another, or of all tags together (micro).

    Of several classes none of which is meant, they are None.

    >>> pet = Target("t", "multilabel", ("a", "b"), ("t",))
    >>> of_yes(pet, np.array([[1, 0], [1, -1]]), np.array([[.9, .8], [.2, .9]]))
    {'precision': 0.5, 'recall': 0.5, 'f1': 0.5}
    """
    given, answered, known = as_tags(target, y, decide(target, probabilities))
    if target.exclusive:
        columns = [
            number for number, name in enumerate(target.classes) if name == (positive or target.positive)
        ]
        given, answered = given[:, columns], answered[:, columns]
    answered = answered & known[:, : answered.shape[1]]
    counts = np.ones(len(given)) if weight is None else weight
    every = np.repeat(counts, given.shape[1])
    found = _of_yes(given.reshape(-1, 1), answered.reshape(-1, 1), every)
    return {name: _number(value[0]) for name, value in found.items()}


def _numbers(y: IntArray) -> IntArray:
    """Return class numbers (N,) of a single-class target, whose y is (N,) or (N, 1)."""
    return y.reshape(-1)


def _confidence(target: Target, y: IntArray, probabilities: FloatArray) -> tuple[Floats, Bools]:
    """Return the probability of each answer (of yes, for tags) and whether it came true; known only."""
    if not target.exclusive:
        chances = marginals(target, probabilities)
        return chances[y != UNKNOWN].astype(np.float64), y[y != UNKNOWN] == 1
    keep = _numbers(y) != UNKNOWN
    answers = _numbers(decide(target, probabilities[keep]))
    confidence = np.take_along_axis(probabilities[keep], answers[:, None].astype(np.intp), axis=1)[:, 0]
    return confidence.astype(np.float64), answers == _numbers(y)[keep]


def _bins(confidence: FloatArray) -> NDArray[np.intp]:
    """Number the bin of each confidence: bin b holds [b/15, (b+1)/15), the last one 1 too."""
    return np.minimum(confidence * BINS, BINS - 1).astype(np.intp)


def _tag_ece(given: Bools, known: Bools, probabilities: FloatArray, weight: Weight) -> Floats:
    """Return the calibration error of each tag, NaN where no entry is known; float64 (C,)."""
    size = given.shape[1]
    gap = weighed((probabilities - given) * known, weight)
    cells = _bins(probabilities) + np.arange(size) * BINS
    sums = np.bincount(cells.ravel(), gap.ravel(), size * BINS).reshape(size, BINS)
    return _ratio(np.abs(sums).sum(axis=1), _counted(known, weight))


def _tag_losses(y: IntArray, probabilities: FloatArray) -> Floats:
    """Return the binary cross-entropy of each entry, 0 for unknown; float64 (N, C)."""
    chances = probabilities.astype(np.float64)
    chances = np.where(y == 1, chances, 1 - chances)
    return np.where(y == UNKNOWN, 0.0, -np.log(np.clip(chances, EPS, 1 - EPS)))


def _log_loss(target: Target, y: IntArray, probabilities: FloatArray, weight: Weight) -> float | None:
    known = y != UNKNOWN
    if not known.any():
        return None
    if target.exclusive:
        rows = known.reshape(-1)
        losses = row_losses(target, y, probabilities)[rows]
        return float(np.average(losses, weights=weight_of(weight, rows)))
    losses = _tag_losses(y, marginals(target, probabilities))
    return float(weighed(losses, weight).sum() / _counted(known, weight).sum())


def _cuts(
    scores: FloatArray, positive: Bools, known: Bools | None, weight: Weight = None
) -> tuple[Any, Any, Any, Any]:
    """Rank each line by falling score and cut it after each distinct score, as scikit-learn does.

    Unknown entries rank last and are no positives, so that they change no cut before them.

    Shape:
        scores, positive, known: (R, n), n ≥ 1. weight: (n,), how much each entry of every line counts.
        out: for all cuts of all lines in a row, the positives and the entries up to each cut and
        those gained since the cut before; and the index at which each line's cuts begin, (R,).
    """
    # A float's bits order as integers do when it is not negative, so that one sort of whole numbers
    # with the label as last bit replaces a slower argsort and two gathers.
    floats = scores.dtype if scores.dtype in (np.float32, np.float64) else np.dtype(np.float64)
    integers = np.int32 if floats == np.float32 else np.int64
    bits: NDArray[Any] = np.ascontiguousarray(scores, dtype=floats).view(integers)
    keys = (bits << 1) | positive
    if known is not None:
        keys[~known] = -2
    if weight is None:
        keys.sort(axis=1)
        keys = keys[:, ::-1]
    else:
        order = np.argsort(keys, axis=1)[:, ::-1]
        keys, each = np.take_along_axis(keys, order, axis=1), weight.astype(np.float64)[order]
    hit, level = keys & 1, keys >> 1
    last = np.ones(keys.shape, dtype=np.bool_)
    np.not_equal(level[:, 1:], level[:, :-1], out=last[:, :-1])
    at = np.flatnonzero(last)
    starts = np.arange(len(keys)) * keys.shape[1]
    begins = np.searchsorted(at, starts)
    if weight is None:
        found = hit.cumsum(axis=1, dtype=np.int32).ravel()[at]
        entries = at + 1 - np.repeat(starts, np.diff(begins, append=len(at)))
    else:
        found, entries = ((hit * each).cumsum(axis=1).ravel()[at], each.cumsum(axis=1).ravel()[at])
    return found, entries, _gained(found, begins), begins


def _gained(found: Any, begins: Any) -> Any:
    gained = found.copy()
    gained[1:] -= found[:-1]
    gained[begins] = found[begins]
    return gained


def _average_precision(scores: FloatArray, positive: Bools, known: Bools, weight: Weight = None) -> Floats:
    """Return the average precision of each line, NaN without positives; of a row's tags it is LRAP.

    Shape:
        scores, positive, known: (R, n). weight: (n,). out: float64 (R,).
    """
    out = np.full(len(positive), np.nan)
    # A few lines at a time, so that the steps of one sort find their numbers in the cache.
    step = max(1, 65_536 // max(positive.shape[1], 1))
    for at in range(0, len(positive) if positive.size else 0, step):
        part = slice(at, at + step)
        found, entries, gained, begins = _cuts(scores[part], positive[part], known[part], weight)
        total = _counted(positive[part].T, weight)
        out[part] = _ratio(np.add.reduceat(gained * (found / entries), begins), total)
    return out


def _auroc(scores: FloatArray, positive: Bools, weight: Weight) -> Floats:
    """Return the area under the ROC curve of each line, NaN where all or none are positive; (R,)."""
    found, entries, gained, begins = _cuts(scores, positive, None, weight)
    others = _gained(entries - found, begins)
    area = np.add.reduceat(others * (found - gained / 2), begins)
    return _ratio(area, _counted(positive.T, weight) * _counted(~positive.T, weight))


def _ratio(part: Any, whole: Any) -> Floats:
    """Divide; NaN, not a warning, where there is nothing to divide by."""
    whole = np.asarray(whole, dtype=np.float64)
    out = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=out, where=whole != 0)
    return out


def _mean(values: Floats) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _share(values: Bools, rows: Bools, weight: Weight) -> float | None:
    return float(np.average(values[rows], weights=weight_of(weight, rows))) if rows.any() else None


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
