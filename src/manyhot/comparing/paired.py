"""The statistics of two models that answered the same rows: answers in, differences and p-values out.

`compare` calls it for every target and for rows as a whole, `slices` for parts of them. Everything is paired:
what both get right or wrong alike says nothing about which is better.

Shapes: N rows · C classes · U units, which are drawn together · K counts of a unit · D draws · S scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.metrics import Z95
from manyhot.targets import UNKNOWN, IntArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

DRAWS = 2_000
UNITS = 5_000  # more are put into so many at random, which draws as well and takes bounded time
CHUNK = 1 << 21  # counts of draws that are held at a time
ALPHA = 0.05  # how often a comparison of two equal models may call one of them worse
Z_ONE, Z_POWER = 1.644854, 0.841621  # standard deviations: 95 % to one side, and 80 %


@dataclass(frozen=True)
class Answers:
    """How two models answered one target, in one numbering of its classes.

    classes  those of either model and of the rows
    y        what is given: int (N,), or of tags int8 (N, C); −1 for unknown
    a, b     what was answered, alike
    losses   float (N, 2): the log loss of each model in each row, NaN where nothing is known
    """

    classes: tuple[str, ...]
    y: IntArray
    a: IntArray
    b: IntArray
    losses: Floats

    @property
    def exclusive(self) -> bool:
        """Whether a row has exactly one of the classes."""
        return self.y.ndim == 1

    @property
    def known(self) -> Bools:
        """The rows of which anything is known; bool (N,)."""
        there = np.asarray(self.y != UNKNOWN)
        return there if self.exclusive else np.asarray(there.any(axis=1))

    def errors(self, answers: IntArray) -> IntArray:
        """Count the known entries that answers have wrong in each row; int64 (N,)."""
        wrong = ((answers != self.y) & (self.y != UNKNOWN)).reshape(len(self.y), -1)
        return np.asarray(wrong.sum(axis=1))

    def of(self, number: int) -> tuple[Bools, Bools, Bools, Bools]:
        """Tell of one class where it is known, given, and answered by each model; bool (N,) each."""
        if self.exclusive:
            known = np.asarray(self.y != UNKNOWN)
            return known, self.y == number, known & (self.a == number), known & (self.b == number)
        known = np.asarray(self.y[:, number] != UNKNOWN)
        a, b = (known & (each[:, number] == 1) for each in (self.a, self.b))
        return known, self.y[:, number] == 1, a, b

    def right(self) -> tuple[Bools, Bools, Bools]:
        """Tell which rows are known, and which of these each model has wholly right; bool (N,) each."""
        known = self.known
        return known, known & (self.errors(self.a) == 0), known & (self.errors(self.b) == 0)


@dataclass(frozen=True)
class Difference:
    """A score of both models, and how much higher that of B is.

    low, high    ends of the 95 % interval of the difference
    least, most  its one-sided 95 % bounds
    error        its standard error
    """

    a: float
    b: float
    low: float
    high: float
    least: float
    most: float
    error: float

    @property
    def value(self) -> float:
        """The score of B less that of A."""
        return self.b - self.a

    @property
    def shown(self) -> float:
        """The difference that as many such rows call sure in 4 of 5 comparisons."""
        return (Z_ONE + Z_POWER) * self.error

    def to_json(self) -> dict[str, float | list[float]]:
        """Return the numbers by name."""
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.value,
            "interval": [self.low, self.high],
            "one_sided": [self.least, self.most],
        }


@dataclass(frozen=True)
class Units:
    """What is drawn: rows that count alike together, or groups of rows.

    counts  float64 (U, K): sums over the rows of a unit; the first column is how many of them are known
    times   int64 (U,): how many units each line stands for
    changed how many units the models answer differently
    grouped whether these are groups of rows, of which no exact test speaks
    """

    counts: Floats
    times: NDArray[np.int64]
    changed: int
    grouped: bool = False

    @property
    def total(self) -> Floats:
        """The counts of all of them; float64 (K,)."""
        return np.asarray(self.times @ self.counts)

    def draws(self, seed: int, draws: int = DRAWS) -> Iterator[Floats]:
        """Give the counts of resamples with replacement, some at a time; float64 (d, K)."""
        rng = np.random.default_rng(seed)
        whole = int(self.times.sum())
        shares = self.times / max(whole, 1)
        some = max(1, min(draws, CHUNK // max(1, len(self.times))))
        for at in range(0, draws if whole else 0, some):
            yield rng.multinomial(whole, shares, min(some, draws - at)) @ self.counts


def units_of(
    columns: Callable[[NDArray[np.intp]], Iterator[NDArray[np.generic]]],
    key: IntArray | None,
    changed: Bools,
    groups: IntArray | None,
    seed: int,
) -> Units:
    """Sum columns of rows over what is drawn together.

    Args:
        columns: gives the counts of some rows, by positions: (n,) each.
        key: rows with an equal number have equal counts, (N,); None where that is seldom so.
        changed: (N,), which rows the models answer differently.
        groups: (N,), rows of an equal number are drawn together; None for rows by themselves.
    """
    rows = np.arange(len(changed))
    if groups is None and key is not None:
        _, first, times = np.unique(key, return_index=True, return_counts=True)
        counts = np.stack([np.asarray(c, np.float64) for c in columns(first)], axis=1)
        return Units(counts, times, int(changed.sum()))
    unit = rows if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    differ = len(np.unique(unit[changed]))
    many = int(unit.max(initial=-1)) + 1
    if many > UNITS:
        unit = (np.random.default_rng(seed).permutation(many) % UNITS)[unit]
        many = UNITS
    counts = np.stack([np.bincount(unit, np.asarray(c, float), many) for c in columns(rows)], axis=1)
    return Units(counts, np.ones(many, np.int64), differ, groups is not None)


def units_of_rows(known: Bools, a: Bools, b: Bools, groups: IntArray | None, seed: int) -> Units:
    """Return what is drawn of rows that each model has right or wrong."""
    key = known.astype(np.int8) * 4 + a * 2 + b
    columns = (known, a, b)
    return units_of(lambda rows: (c[rows] for c in columns), key, known & (a != b), groups, seed)


def units_of_target(found: Answers, groups: IntArray | None, seed: int) -> Units:
    """Return what is drawn of a target: known, right by each, and of each class known, given, answered."""
    size = len(found.classes) + 1
    key = None
    if found.exclusive:
        key = ((found.y + 1).astype(np.int64) * size + found.a + 1) * size + found.b + 1

    def columns(rows: NDArray[np.intp]) -> Iterator[NDArray[np.generic]]:
        part = Answers(found.classes, found.y[rows], found.a[rows], found.b[rows], found.losses[rows])
        yield from part.right()
        for number in range(len(found.classes)):
            known, given, a, b = part.of(number)
            yield from (known, given, a, b, given & a, given & b)

    known_differ = (found.a != found.b) & (found.y != UNKNOWN)
    changed = known_differ.reshape(len(found.y), -1).any(axis=1)
    return units_of(columns, key, changed, groups, seed)


def shares(counts: Floats) -> Floats:
    """Return the share of known rows that each model has right; float64 (…, 1, 2) of counts (…, K)."""
    return _ratio(counts[..., None, 1:3], counts[..., None, :1])


def f1s(counts: Floats) -> Floats:
    """Return the F1 of each class by each model, NaN for 0/0; float64 (…, C, 2) of counts (…, K)."""
    each = counts[..., 3:].reshape(*counts.shape[:-1], -1, 6)
    return _ratio(2 * each[..., 4:6], each[..., 1:2] + each[..., 2:4])


def of_classes(exclusive: bool, counts: Floats) -> Floats:
    """Return macro F1, and of tags micro F1 before it; float64 (…, S, 2) of counts (…, K).

    As `metrics.scores` has them: a class neither given nor answered is left out, a known tag counts 0.
    """
    each = counts[..., 3:].reshape(*counts.shape[:-1], -1, 6)
    found = f1s(counts)
    counted = ~np.isnan(found) if exclusive else np.broadcast_to(each[..., :1] > 0, found.shape)
    macro = _ratio(np.where(counted, np.nan_to_num(found), 0).sum(axis=-2), counted.sum(axis=-2))
    if exclusive:
        return macro[..., None, :]
    total = each.sum(axis=-2)
    micro = _ratio(2 * total[..., 4:6], total[..., 1:2] + total[..., 2:4])
    return np.stack([np.nan_to_num(micro), macro], axis=-2)


def differences(units: Units, score: Callable[[Floats], Floats], seed: int) -> list[Difference | None]:
    """Return the difference in each of some scores, by the paired bootstrap.

    Few changed rows make resamples too much alike; of so few, ends are no nearer than exact ones would be.

    Args:
        score: gives float64 (…, S, 2) for counts (…, K).

    Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", section 13.3 (percentiles).
    """
    whole = score(units.total)
    drawn = np.concatenate([score(part) for part in units.draws(seed)] or [whole[None]])
    gains = drawn[..., 1] - drawn[..., 0]
    out: list[Difference | None] = []
    for number, (a, b) in enumerate(whole):
        found = gains[:, number]
        found = found[~np.isnan(found)]
        if np.isnan(a) or np.isnan(b) or not len(found):
            out.append(None)
            continue
        rows = int(units.times.sum())
        ends = np.quantile(found, [0.025, 0.975, ALPHA, 1 - ALPHA])
        if not units.changed:  # what happens in none of n rows happens in fewer than this share of all
            two, one = (1 - tail ** (1 / max(rows, 1)) for tail in (0.025, ALPHA))
            ends, error = np.array([-two, two, -one, one]), math.sqrt(3) / max(rows, 1)
        else:
            error = float(found.std())
        low, high, least, most = map(float, ends)
        out.append(Difference(float(a), float(b), low, high, least, most, error))
    return out


def difference_of_shares(units: Units, seed: int) -> Difference | None:
    """Return the difference in the share of rows that are right.

    Where rows are drawn by themselves the ends are also no nearer than those of a normal distribution with
    half a row added to each of the four cells.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions".
    """
    (found,) = differences(units, shares, seed)
    if found is None or units.grouped:
        return found
    known, a, b = units.counts[:, 0], units.counts[:, 1], units.counts[:, 2]
    rows = float(units.times @ known) + 2
    fixed, broken = (float(units.times @ (known * only)) + 0.5 for only in ((b > a), (a > b)))
    middle = (fixed - broken) / rows
    error = math.sqrt(max(fixed + broken - (fixed - broken) ** 2 / rows, 0)) / rows
    return Difference(
        found.a,
        found.b,
        min(found.low, middle - Z95 * error),
        max(found.high, middle + Z95 * error),
        min(found.least, middle - Z_ONE * error),
        max(found.most, middle + Z_ONE * error),
        max(found.error, error),
    )


def loss_difference(losses: Floats, groups: IntArray | None) -> Difference | None:
    """Return the difference in mean log loss, of which less is better; a mean of pairs, so by its error."""
    there = ~np.isnan(losses).any(axis=1)
    if not there.any():
        return None
    a, b = (float(mean) for mean in losses[there].mean(axis=0))
    off: NDArray[Any] = losses[there, 1] - losses[there, 0] - (b - a)
    if groups is not None:
        off = np.bincount(np.unique(groups[there], return_inverse=True)[1].reshape(-1), off)
    count = len(off)
    error = math.sqrt(float((off**2).sum()) * count / max(1, count - 1)) / int(there.sum())
    low, high, least, most = (b - a + z * error for z in (-Z95, Z95, -Z_ONE, Z_ONE))
    return Difference(a, b, low, high, least, most, error)


def sign_test(fixed: int, broken: int) -> float:
    """Return how likely so uneven a change is where both models are equally good: McNemar's exact test.

    Source: McNemar 1947; the binomial distribution with ½, both sides.

    >>> sign_test(1, 9), sign_test(0, 0)
    (0.021484375, 1.0)
    """
    return min(1.0, 2 * below(fixed + broken, min(fixed, broken)))


def below(trials: int, most: int) -> float:
    """Return the probability of at most so many heads of a fair coin.

    >>> below(5, 0), below(4, 2)
    (0.03125, 0.6875)
    """
    if most >= trials:
        return 1.0
    if trials <= 60:
        return float(sum(math.comb(trials, k) for k in range(most + 1)) / 2**trials)
    k = np.arange(most + 1)
    steps = np.log((trials - k[:-1]) / (k[:-1] + 1))  # of one binomial coefficient to the next
    logs = np.concatenate([[0.0], np.cumsum(steps)]) - trials * math.log(2)
    return float(min(1.0, np.exp(logs).sum()))


def holm(p: Sequence[float]) -> list[float]:
    """Adjust p-values so that of all hypotheses that hold one falls with at most the probability of one test.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    >>> holm([0.01, 0.5, 0.02])
    [0.03, 0.5, 0.04]
    """
    out, worst = [1.0] * len(p), 0.0
    for place, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - place) * p[index]))
        out[index] = worst
    return out


@dataclass(frozen=True)
class Compared:
    """One target, or rows as a whole, as two models answer it.

    rows        how many are known
    metric      the score that decides
    scores      differences by name, of which more is better, but for log_loss
    fixed       rows that only B has right; broken, those that only A has
    p           McNemar's exact p-value; None where rows are drawn in groups
    classes     of each class what is given of it, its F1 and how often it is answered better and worse
    """

    rows: int
    metric: str
    scores: Mapping[str, Difference | None]
    fixed: int
    broken: int
    changed: int
    p: float | None
    classes: Sequence[Mapping[str, object]] = field(default_factory=tuple)

    @property
    def main(self) -> Difference | None:
        """The difference that decides."""
        return self.scores[self.metric]

    @property
    def surely_worse(self) -> bool:
        """Whether B is worse by more than chance: the one-sided 95 % interval lies under 0.

        Of rows that are right or wrong the exact test must say so too; fewer than five changes say nothing.
        """
        if self.main is None or self.main.most >= 0:
            return False
        if self.p is not None and self.metric in ("accuracy", "exact_match"):
            return below(self.fixed + self.broken, self.fixed) <= ALPHA
        return 0.5**self.changed <= ALPHA

    @property
    def surely_better(self) -> bool:
        """The same of A."""
        if self.main is None or self.main.least <= 0:
            return False
        if self.p is not None and self.metric in ("accuracy", "exact_match"):
            return below(self.fixed + self.broken, self.broken) <= ALPHA
        return 0.5**self.changed <= ALPHA

    def within(self, margin: float) -> bool:
        """Whether it is shown that B is worse by no more than `margin`."""
        return self.main is not None and self.main.least >= -margin

    def to_json(self) -> dict[str, object]:
        """Return what `compare --json` says of it."""
        found = {
            "rows": self.rows,
            "metric": self.metric,
            "scores": {name: None if d is None else d.to_json() for name, d in self.scores.items()},
            "fixed": self.fixed,
            "broken": self.broken,
            "p": self.p,
            "surely_worse": self.surely_worse,
            "surely_better": self.surely_better,
            "shown": None if self.main is None else self.main.shown,
        }
        return found | ({"classes": [dict(each) for each in self.classes]} if self.classes else {})


def compared_rows(known: Bools, a: Bools, b: Bools, groups: IntArray | None, seed: int) -> Compared:
    """Compare the share of rows that are wholly right."""
    units = units_of_rows(known, a, b, groups, seed)
    return Compared(
        int(known.sum()),
        "exact_match",
        {"exact_match": difference_of_shares(units, seed)},
        *_changes(a, b, units),
    )


def compared_target(found: Answers, groups: IntArray | None, seed: int) -> Compared:
    """Compare the answers to one target, and to each of its classes."""
    units = units_of_target(found, groups, seed)
    known, a, b = found.right()
    by_class = differences(units, partial(of_classes, found.exclusive), seed)
    names = ("macro_f1",) if found.exclusive else ("micro_f1", "macro_f1")
    share = "accuracy" if found.exclusive else "exact_match"
    exact = difference_of_shares(units_of_rows(known, a, b, groups, seed), seed)
    scores = {share: exact, **dict(zip(names, by_class, strict=True))}
    scores["log_loss"] = loss_difference(found.losses, groups)
    main = share if found.exclusive else "micro_f1"
    changes = _changes(a, b, units)
    return Compared(int(known.sum()), main, scores, *changes, _classes(found, units, seed))


def _changes(a: Bools, b: Bools, units: Units) -> tuple[int, int, int, float | None]:
    fixed, broken = int((b & ~a).sum()), int((a & ~b).sum())
    return fixed, broken, units.changed, None if units.grouped else sign_test(fixed, broken)


def _classes(found: Answers, units: Units, seed: int) -> list[dict[str, object]]:
    """Compare each class against the rest; the p-values are Holm's, over all classes."""
    f1 = differences(units, f1s, seed)
    lines: list[dict[str, object]] = []
    tests = []
    for number, name in enumerate(found.classes):
        known, given, a, b = found.of(number)
        fixed = int((known & (a != given) & (b == given)).sum())
        broken = int((known & (b != given) & (a == given)).sum())
        tests.append(sign_test(fixed, broken))
        each = f1[number]
        lines.append(
            {
                "name": name,
                "support": int(given.sum()),
                "f1": None if each is None else each.to_json(),
                "fixed": fixed,
                "broken": broken,
            }
        )
    for line, p in zip(lines, holm(tests), strict=True):
        line["p"] = None if units.grouped else p
    return lines


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide; NaN, not a warning, where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    out = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=out, where=whole != 0)
    return out
