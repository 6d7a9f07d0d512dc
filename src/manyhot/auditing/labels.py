"""Labels that are probably wrong: labels and out-of-fold probabilities come in, ranked suspects leave.

`audit` calls `suspects` for each target. A target of single classes has one list; tags have two, those
wrongly there and those wrongly absent, since the two go wrong at different rates. Each list is ranked in the
way that finds most of some labels which are changed here for the purpose; the share found is how far the list
can be trusted.

Shapes: N rows · C classes or tags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from manyhot.schema import Target
from manyhot.targets import UNKNOWN, FloatArray, IntArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Side = Literal["class", "there", "absent"]  # of single classes; of tags given, and of tags not given
PLANTED, DRAWS = 200, 5  # labels that are changed to try a ranking, and how often
MOST = 0.1  # share of the rows that are, at most
DEEPEST = 0.25  # share of the rows that the top of a list has beside them, at most
LIKELY = 0.5  # of the changed labels, those that are changed to what is mistaken for them
SUREST, ENOUGH = (0.5, 0.25, 0.1, 0.05), 200  # parts of the labels by which errors are counted; labels in one
DEALS = 2_000  # of the interval of that number
SOFT = 0.1  # temperature of the mean of a row's tags; Source: cleanlab's multilabel_scorer
TINY = 1e-12


@dataclass(frozen=True)
class Suspects:
    """One list of labels that may be wrong.

    side      whose it is
    method    how it is ranked: "margin", "posterior", "softmin" or "sets"
    score     float (N,), the larger the likelier the label is wrong; NaN where nothing is known of a row
    rows      the positions of those that are listed, the worst first
    suggested what `encode` would give for all N rows, were each suspect right
    chance    float (N,), the probability of what is suggested; of tags of the one that is least sure
    tags      of tags: bool (N, C), those that are suspected
    number    how many of the N labels are wrong, by estimate, and its 95 % interval
    trust     share of the changed labels that stood in the top as many; by each method in `tried`
    """

    target: str
    side: Side
    method: str
    score: Floats
    rows: NDArray[np.intp]
    suggested: IntArray
    chance: Floats
    tags: Bools | None
    number: tuple[float, float, float]
    trust: float
    tried: Mapping[str, float]


def suspects(target: Target, y: IntArray, chances: FloatArray, seed: int = 0) -> list[Suspects]:
    """Return the lists of a target.

    Args:
        chances: marginal probabilities by models that did not learn the row; NaN where there are none.

    Shape:
        y: what `encode` gives. chances: float (N, C).
    """
    p = np.clip(np.asarray(chances, np.float64), TINY, 1 - TINY)
    random = np.random.default_rng(seed)
    if target.exclusive:
        found = _of_classes(target, y.reshape(-1).astype(np.int64), p, random)
        return [] if found is None else [found]
    sides: tuple[Side, ...] = ("there", "absent")
    return [each for side in sides if (each := _of_tags(target, y, p, side, random)) is not None]


# One class


def joint(y: IntArray, p: Floats) -> Floats:
    """Return how many rows are given a class (lines) and are truly of another (columns), by estimate; (C, C).

    A row counts as truly j where p_j is at least the mean of p_j over the rows given j, and largest among
    such. Each line is scaled to the number of rows given its class.

    Source: Northcutt, Jiang and Chuang 2021, "Confident Learning", sections 3.1 and 3.2.

    Shape:
        y: int (N,), all known. p: float (N, C).
    """
    size = p.shape[1]
    given = np.bincount(y, minlength=size)
    own = p[np.arange(len(y)), y]
    cuts = np.bincount(y, weights=own, minlength=size) / np.maximum(given, 1)
    cuts[given == 0] = np.inf
    sure = np.where(p >= cuts, p, -1.0)
    truly = sure.argmax(axis=1)
    counts = np.zeros((size, size))
    some = sure.max(axis=1) > 0
    np.add.at(counts, (y[some], truly[some]), 1.0)
    lines = counts.sum(axis=1)
    counts[lines == 0, lines == 0] = 1.0
    return np.asarray(counts * (given / np.maximum(counts.sum(axis=1), 1))[:, None])


def margin(y: IntArray, p: Floats) -> Floats:
    """Return log p(likeliest) − log p(given) of each row; 0 where they are the same."""
    logs = np.log(p)
    return np.asarray(logs.max(axis=1) - logs[np.arange(len(y)), y])


def posterior(y: IntArray, p: Floats) -> Floats:
    """Return how little likely each row's label is to be right, knowing which labels are taken for which.

    That is −log of N_gg p_g / Σ_j N_gj p_j, where N_gj is how often rows truly of j are given g.
    """
    counts = joint(y, p)
    noise = (counts + 0.5 * np.eye(len(counts))) / (counts.sum(axis=0) + 0.5)
    rows = np.arange(len(y))
    own = noise[y, y] * p[rows, y]
    return np.asarray(np.log((noise[y] * p).sum(axis=1)) - np.log(np.maximum(own, TINY**2)))


BY_CLASS: dict[str, Callable[[IntArray, Floats], Floats]] = {"margin": margin, "posterior": posterior}


def _of_classes(target: Target, y: IntArray, p: Floats, random: np.random.Generator) -> Suspects | None:
    known = np.flatnonzero((y != UNKNOWN) & ~np.isnan(p).any(axis=1))
    if len(known) < 2:
        return None
    ours, seen = y[known], p[known]
    answer = seen.argmax(axis=1)
    errors = number(answer, seen.max(axis=1), answer != ours, random)
    tried = _tried(BY_CLASS, errors[0], lambda: _with_changed_classes(ours, seen, random), seen)
    method = max(tried, key=lambda name: tried[name])
    score = BY_CLASS[method](ours, seen)
    others = seen.copy()
    others[np.arange(len(ours)), ours] = -1
    best = others.argmax(axis=1)
    rows = np.flatnonzero(seen.argmax(axis=1) != ours)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    suggested, chance = y.copy(), np.full(len(y), np.nan)
    suggested[known], chance[known] = best, seen[np.arange(len(ours)), best]
    return Suspects(
        target.name,
        "class",
        method,
        _spread(score, known, len(y)),
        known[rows],
        suggested,
        chance,
        None,
        errors,
        tried[method],
        tried,
    )


def _with_changed_classes(y: IntArray, p: Floats, random: np.random.Generator) -> tuple[IntArray, Bools]:
    """Change some labels, half to any other class, half to what is taken for it; return which they are."""
    rows = random.permutation(len(y))[: _planted(len(y))]
    counts = joint(y, p).T  # truly j → given g
    np.fill_diagonal(counts, 0)
    size = len(counts)
    even = (np.ones((size, size)) - np.eye(size)) / max(size - 1, 1)
    sums = counts.sum(axis=1, keepdims=True)
    likely = np.where(sums > 0, counts / np.maximum(sums, TINY), even)
    chosen = (LIKELY * likely + (1 - LIKELY) * even)[y[rows]]
    changed = y.copy()
    changed[rows] = (chosen.cumsum(axis=1) < random.random((len(rows), 1))).sum(axis=1).clip(0, size - 1)
    return changed, changed != y


# Any number of tags


def _cells(y: IntArray, side: Side) -> Bools:
    return np.asarray(y == (1 if side == "there" else 0))


def softmin(y: IntArray, p: Floats, side: Side) -> Floats:
    """Return how little sure a row's tags of one side are, its least sure weighing most; 0 without any.

    Source: the softmin of cleanlab, of one side's cells only.
    """
    wrong = np.where(_cells(y, side), (1 - p) if side == "there" else p, 0.0)
    powers = np.exp(wrong / SOFT) * _cells(y, side)
    return np.asarray((wrong * powers).sum(axis=1) / np.maximum(powers.sum(axis=1), TINY))


def tag_posterior(y: IntArray, p: Floats, side: Side) -> Floats:
    """Return the largest −log of the probability that a tag is right, knowing how often each goes wrong."""
    return np.asarray(
        np.where(_cells(y, side), _tag_posteriors(y, p, side), -np.inf).max(axis=1, initial=0.0)
    )


def _tag_posteriors(y: IntArray, p: Floats, side: Side) -> Floats:
    other, own = (1 - p, p) if side == "there" else (p, 1 - p)
    goes, stays = np.zeros(p.shape[1]), np.ones(p.shape[1])
    for c in range(p.shape[1]):
        there = y[:, c] != UNKNOWN
        counts = joint(y[there, c].astype(np.int64), np.stack([1 - p[there, c], p[there, c]], axis=1))
        given = 1 if side == "there" else 0
        truly = counts.sum(axis=0)
        goes[c] = counts[given, 1 - given] / max(truly[1 - given], 1)
        stays[c] = counts[given, given] / max(truly[given], 1)
    return np.asarray(np.log1p(goes * other / np.maximum(stays * own, TINY)))


def by_sets(y: IntArray, p: Floats, side: Side) -> Floats:
    """Return by how much the likeliest row with one tag of a side changed is likelier than the row as given.

    How often each set of tags is met counts beside the probabilities: one that hardly any other row has is
    less likely than its neighbour that many have.
    """
    gains = np.where(_cells(y, side), _gains(y, p, side), -np.inf)
    return np.asarray(gains.max(axis=1, initial=-50.0))


def _gains(y: IntArray, p: Floats, side: Side) -> Floats:
    """Return log P(the row with a tag changed) − log P(the row as given), for each tag; (N, C)."""
    there = (y == 1) & (y != UNKNOWN)
    prior = np.clip((y == 1).sum(axis=0) / np.maximum((y != UNKNOWN).sum(axis=0), 1), 1e-6, 1 - 1e-6)
    odds = np.log(p / (1 - p)) - np.log(prior / (1 - prior))
    gains = -odds if side == "there" else odds
    keys = random_keys(y.shape[1])
    sets = (there * keys).sum(axis=1, dtype=np.uint64)
    whole = (y != UNKNOWN).all(axis=1)
    names, counts = np.unique(sets[whole], return_counts=True)

    def met(wanted: NDArray[np.uint64]) -> Floats:
        place = np.minimum(np.searchsorted(names, wanted), max(len(names) - 1, 0))
        return (
            np.where(names[place] == wanted, counts[place], 0).astype(np.float64) if len(names) else 0 * place
        )

    before = np.log(np.maximum(met(sets) - whole, 0) + 0.5)[:, None]
    with np.errstate(over="ignore"):
        changed = sets[:, None] - keys if side == "there" else sets[:, None] + keys
    after = np.stack([np.log(met(column) + 0.5) for column in changed.T], axis=1)
    # of a row that is partly unknown the set is not known
    return np.asarray(gains + np.where(whole[:, None], after - before, 0.0))


def random_keys(size: int) -> NDArray[np.uint64]:
    """Return a number for each tag, whose sums tell sets of them apart."""
    return np.random.default_rng(0).integers(1, 1 << 63, size, dtype=np.uint64)


BY_TAGS: dict[str, Callable[[IntArray, Floats, Side], Floats]] = {
    "softmin": softmin,
    "posterior": tag_posterior,
    "sets": by_sets,
}


def _of_tags(
    target: Target, y: IntArray, p: Floats, side: Side, random: np.random.Generator
) -> Suspects | None:
    seen_rows = ~np.isnan(p).any(axis=1)
    known = np.flatnonzero(seen_rows & _cells(y, side).any(axis=1))
    if len(known) < 2:
        return None
    ours, seen = y[known], p[known]
    methods = {name: (lambda a, b, f=f: f(a, b, side)) for name, f in BY_TAGS.items()}
    errors = _wrong_tags(y[seen_rows], p[seen_rows], side, random)
    tried = _tried(methods, errors[0], lambda: _with_changed_tags(ours, seen, side, random), seen)
    method = max(tried, key=lambda name: tried[name])
    score = methods[method](ours, seen)
    doubted = _doubted(ours, seen, side, method)
    rows = np.flatnonzero(doubted.any(axis=1))
    rows = rows[np.argsort(-score[rows], kind="stable")]
    suggested, tags = y.copy(), np.zeros(y.shape, bool)
    tags[known] = doubted
    suggested[tags] = 0 if side == "there" else 1
    chance = np.full(len(y), np.nan)
    sure = np.where(doubted, (1 - seen) if side == "there" else seen, np.inf).min(axis=1)
    chance[known] = np.where(np.isfinite(sure), sure, np.nan)
    whole = _spread(score, known, len(y))
    return Suspects(
        target.name, side, method, whole, known[rows], suggested, chance, tags, errors, tried[method], tried
    )


def _doubted(y: IntArray, p: Floats, side: Side, method: str) -> Bools:
    """Tell which tags of a side are likelier wrong than right."""
    cells = _cells(y, side)
    likelier = p < 0.5 if side == "there" else p > 0.5
    if method == "sets":
        gains = np.where(cells, _gains(y, p, side), -np.inf)
        likelier |= (gains > 0) & (gains == gains.max(axis=1, keepdims=True))
    elif method == "posterior":
        likelier |= _tag_posteriors(y, p, side) > np.log(2)
    return np.asarray(cells & likelier)


def _wrong_tags(
    y: IntArray, p: Floats, side: Side, random: np.random.Generator
) -> tuple[float, float, float]:
    """Return how many cells of a side are wrong, by estimate, and its interval."""
    answered = ((p < 0.5) if side == "there" else (p >= 0.5)) & (y != UNKNOWN)
    tags = np.nonzero(answered)[1]
    chances = (1 - p if side == "there" else p)[answered]
    return number(tags, chances, _cells(y, side)[answered], random)


def _with_changed_tags(
    y: IntArray, p: Floats, side: Side, random: np.random.Generator
) -> tuple[IntArray, Bools]:
    """Change one tag of a side in some rows; return which rows they are."""
    # A tag is wrongly absent in as many rows as it is there in: rare ones are seldom forgotten.
    share = np.maximum((y == 1).mean(axis=0), 1e-9)
    able = (y == 0) if side == "there" else (y == 1)  # a tag is added, or one that was there is removed
    rows = np.flatnonzero(able.any(axis=1))
    rows = random.permutation(rows)[: _planted(len(y))]
    weights = np.where(y[rows] == 0, share, 0) if side == "there" else (y[rows] == 1).astype(np.float64)
    sums = weights.cumsum(axis=1)
    picked = (sums < random.random((len(rows), 1)) * sums[:, -1:]).sum(axis=1).clip(0, y.shape[1] - 1)
    changed = y.copy()
    changed[rows, picked] = 1 if side == "there" else 0
    return changed, np.asarray((changed != y).any(axis=1))


# What they share


def _planted(rows: int) -> int:
    return max(1, min(PLANTED, int(MOST * rows)))


def _tried(
    methods: Mapping[str, Callable[[IntArray, Floats], Floats]],
    errors: float,
    change: Callable[[], tuple[IntArray, Bools]],
    p: Floats,
) -> dict[str, float]:
    """Return for each ranking the share of changed labels in the top as many, with the errors there are.

    The model has learned from none of these changes, so the share is a little too kind.
    """
    shares: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(DRAWS):
        changed, which = change()
        top = int(which.sum() + min(errors, DEEPEST * len(p)))
        for name, method in methods.items():
            order = np.argsort(-method(changed, p), kind="stable")[:top]
            shares[name].append(float(which[order].sum() / max(which.sum(), 1)))
    return {name: float(np.mean(found)) for name, found in shares.items()}


def number(
    answer: IntArray, sure: Floats, wrong: Bools, random: np.random.Generator
) -> tuple[float, float, float]:
    """Return how many labels are wrong, by estimate, and a 95 % interval of it.

    Where models are surest, what differs from them is an error rather than a hard case, so its share there is
    taken for the share everywhere: of the surest half of the labels that are answered alike, or of a smaller
    part where clearly fewer differ there.

    Source: the anchor points of Patrini et al. 2017, "Making deep neural networks robust to label noise",
    section 4.3, with counts in the place of probabilities.

    Shape:
        answer: int (n,), of models. sure: float (n,), how surely. wrong: bool (n,), where labels differ.
    """
    if not len(answer):
        return 0.0, 0.0, 0.0
    order = np.lexsort((-sure, answer))
    sizes = np.bincount(answer)
    sizes = sizes[sizes > 0]
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = (np.arange(len(order)) - first + 0.5) / np.repeat(sizes, sizes)
    group = np.repeat(np.arange(len(sizes)), sizes)
    differs = wrong[order]
    best: tuple[NDArray[np.intp], NDArray[np.intp]] | None = None
    for part in SUREST:
        inside = place <= part
        hits = np.bincount(group[inside], weights=differs[inside], minlength=len(sizes)).astype(np.intp)
        rows = np.bincount(group[inside], minlength=len(sizes))
        if best is None or (rows.sum() >= ENOUGH and _clearly_less((hits, rows), best)):
            best = hits, rows
    assert best is not None, "there is a part"
    hits, rows = best
    found = float((sizes * hits / np.maximum(rows, 1)).sum())
    # Classes of few rows say little by themselves; so the interval is that of all together.
    share = hits.sum() / max(rows.sum(), 1)
    spread = random.beta(hits.sum() + 0.5, rows.sum() - hits.sum() + 0.5, DEALS)
    low, high = np.quantile(spread, [0.025, 0.975])
    scale = found / share if share else float(len(answer))
    return found, float(low * scale), float(high * scale)


def _clearly_less(
    inner: tuple[NDArray[np.intp], NDArray[np.intp]], outer: tuple[NDArray[np.intp], NDArray[np.intp]]
) -> bool:
    """Tell whether a share, hits of rows, is below that of what surrounds it by three standard errors."""
    (hits, rows), (of_hits, of_rows) = ([float(each.sum()) for each in pair] for pair in (inner, outer))
    share = of_hits / max(of_rows, 1)
    error = math.sqrt(share * (1 - share) / max(rows, 1))
    return hits / max(rows, 1) < share - 3 * error


def _spread(values: Floats, rows: NDArray[np.intp], size: int) -> Floats:
    out = np.full(size, np.nan)
    out[rows] = values
    return out
