"""What to do next: held-out rows enter, steps leave, each with what it is expected to bring; the best first.

`verdict` shows them below the share of rows that is answered rightly. A step is told only where held-out rows
show that it pays beyond chance, with their 95 % interval; what is to be typed stands between backquotes.

Shapes: N rows · C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot import metrics
from manyhot.judge import Growth, Judged
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, WEIGHT, FloatArray, IntArray, Weight, decide, marginals, unsure
from manyhot.train.conformal import fit_coverage

MOST = 5  # steps that are told
FEWEST, PARTED = 50, 100  # held-out rows by which one is told, and of which some judge what others fit
PARTS = 5
LOOKED_AT = 20_000  # rows; of more, some drawn at random
LEVELS = (0.995, 0.99, 0.95, 0.9, 0.8)  # of coverage, the strictest first
TO_LOOK_AT = 0.2  # share of rows that a person may be asked to answer, at most
UNSURE = 10  # rows of these at least, to say how they are answered
# A label is suspected where the model gives it less than this, and something else nearly all of the rest.
UNLIKELY, SURE = 0.05, 0.9
SELDOM = 0.5  # of the rows that classes usually train with; below, a class has few
GAINED = 0.01  # of a score that another objective serves
DRAWS = 200  # samples of rows that say how sure that is
NAMED, LETTERS = 3, 24  # classes in a sentence, and letters of a class

Bools = NDArray[np.bool_]


class Step(NamedTuple):
    """What to do: of 100 new rows so many fewer are wrong, or not left to chance; and how to say it."""

    gain: float
    words: str


def steps(judged: Judged, model: str) -> list[str]:
    """Return what is worth doing next, in sentences; nothing where nothing is shown to be."""
    weight, found = judged.y.get(WEIGHT), list[Step]()
    every = metrics.wrong_rows(judged.schema.targets, judged.y, judged.probabilities)
    for target, wrong, known in zip(judged.schema.targets, every[0].T, every[1].T, strict=True):
        rows = np.flatnonzero(known)
        rows = np.sort(np.random.default_rng(0).permutation(rows)[:LOOKED_AT])
        y, chances = judged.y[target.name][rows], judged.probabilities[target.name][rows]
        if len(y) < FEWEST:
            continue
        found += _leave_to_people(target, y, chances, wrong[rows], model)
        found += _review_labels(target, y, chances, model)
        found += _more_of_the_rare(target, y, chances, judged.taught.get(target.name, {}), model)
        found += _more_rows(target, judged.growth.get(target.name), model)
        found += _aim_otherwise(target, y, chances, None if weight is None else weight[rows], model)
    return [step.words for step in sorted(found, key=lambda step: -step.gain)[:MOST]]


def _leave_to_people(
    target: Target, y: IntArray, chances: FloatArray, wrong: Bools, model: str
) -> Iterator[Step]:
    """Tell what becomes of the rows that the model is least sure of, where it can be asked to say so."""
    if target.decision.coverage is not None or len(y) < PARTED:
        return
    for level in LEVELS:
        doubts = _doubts(target, y, chances, level)
        if doubts.mean() > TO_LOOK_AT:
            continue
        if doubts.sum() < UNSURE or doubts.all():
            return
        low, high = _ends(wrong[doubts])
        best, worst = (1 - end for end in _ends(wrong[~doubts]))
        least, most = _ends(doubts)
        share = f"{100 * doubts.mean():.0f} ({100 * least:.0f} to {100 * most:.0f})"
        if low > 1 - worst:
            yield Step(
                100 * float((wrong & doubts).mean()),
                f"'{short(target.name)}': leave to a person what it is not sure of. After `manyhot tune "
                f"{model} NEW --coverage {level:g}` about {share} of 100 new rows are said to be unsure, "
                f"of which {_share(wrong[doubts].mean(), low, high)} are answered wrongly; of "
                f"the others {_share((~wrong[~doubts]).mean(), worst, best)} are right, where of all "
                f"{100 * (~wrong).mean():.1f} % are.",
            )
        return


def _doubts(target: Target, y: IntArray, chances: FloatArray, level: float) -> Bools:
    """Tell which rows are unsure at a coverage, each part by limits that are fitted on the others."""
    found = np.zeros(len(y), bool)
    for part in _parts(len(y)):
        sets = fit_coverage(target, chances[~part], y[~part], level)
        found[part] = metrics.any_of(unsure(target.deciding(coverage=sets), chances[part]))
    return found


def _review_labels(target: Target, y: IntArray, chances: FloatArray, model: str) -> Iterator[Step]:
    """Count the labels that the model, which did not learn them, holds for most unlikely, if beyond chance.

    Of probabilities that come true as often as they say, some labels are unlikely by nature.
    """
    given = marginals(target, chances).astype(np.float64)
    if target.exclusive:
        unlikely = (given < UNLIKELY) & (given.max(axis=1) > SURE)[:, None]
        met = unlikely & (y.reshape(-1)[:, None] == np.arange(given.shape[1]))
        expected = float(given[unlikely].sum())
    else:
        rare = np.minimum(given, 1 - given)
        unlikely = (rare < UNLIKELY) & (y != UNKNOWN)
        met = unlikely & (y == (given < 0.5))
        expected = float(rare[unlikely].sum())
    count = int(met.sum())
    if count <= expected + 2 * expected**0.5:
        return
    beyond, half = count - expected, 1.96 * count**0.5
    low, labels = max(0.0, beyond - half), int((y != UNKNOWN).sum())
    rows = 100 * float(metrics.any_of(met.reshape(len(y), -1)).mean()) * beyond / count
    yield Step(
        rows,
        f"'{short(target.name)}': review labels. To {count:,} of {labels:,} held-out ones the model gives "
        f"less than {UNLIKELY:.0%}, where {expected:,.0f} would be by chance: about {beyond:,.0f} "
        f"({low:,.0f} to {beyond + half:,.0f}) may be wrong, and as many for their number of those that "
        f"train. `manyhot audit DATA --model {model} --out AUDIT` lists the likeliest first; some are under "
        "“Most wrong”.",
    )


def _more_of_the_rare(
    target: Target, y: IntArray, chances: FloatArray, taught: Mapping[str, int], model: str
) -> Iterator[Step]:
    """Name classes that few rows train and that are found less often than the others."""
    usual = float(np.median([*taught.values()])) if len(taught) > 2 else 0.0
    given, answered, _ = metrics.as_tags(target, y, decide(target, chances))
    few = np.array([taught.get(name, usual) < SELDOM * usual for name in target.classes], bool)
    if not few.any() or few.all():
        return
    others = (given & answered)[:, ~few][given[:, ~few]]
    found = []
    for c in np.flatnonzero(few & given.any(axis=0)).tolist():
        own = answered[given[:, c], c]
        if len(others) and _ends(own)[1] < _ends(others)[0]:
            found.append((100 * len(own) / len(y) * float(others.mean() - own.mean()), c, own))
    if not found:
        return
    named = sorted(found, key=lambda one: -one[0])[:NAMED]
    each = ", ".join(
        f"'{short(target.classes[c])}' ({taught[target.classes[c]]:,} rows train) in {own.mean():.0%} of "
        f"{len(own):,}"
        for _, c, own in named
    )
    gain = sum(part for part, _, _ in named)
    what, more = (
        ("classes", "rows would be right") if target.exclusive else ("tags", "rows would have theirs")
    )
    yield Step(
        gain if target.exclusive else gain / len(target.classes),
        f"'{short(target.name)}': label more rows of what is rare. Of held-out rows the model finds {each}; "
        f"of {what} with as many rows as usual ({usual:,.0f}) {_share(others.mean(), *_ends(others))}. "
        f"Found as often, up to {gain:.1f} more of 100 {more}. `manyhot suggest {model} POOL --count 100` "
        "picks rows.",
    )


def _more_rows(target: Target, growth: Growth | None, model: str) -> Iterator[Step]:
    """Tell what twice the rows are expected to bring, as a learning curve says."""
    if growth is None or growth.low <= 0:
        return
    yield Step(
        growth.gain,
        f"'{short(target.name)}': label more rows. With twice the {growth.rows:,} that train about "
        f"{growth.gain:.1f} ({growth.low:.1f} to {growth.high:.1f}) fewer of 100 new rows are expected to be "
        f"wrong. `manyhot suggest {model} POOL --count {growth.rows}` picks those that teach most.",
    )


def _aim_otherwise(
    target: Target, y: IntArray, chances: FloatArray, weight: Weight, model: str
) -> Iterator[Step]:
    """Tell what thresholds for another objective bring, each part of the rows by those of the others."""
    if target.decision.objective != "hamming" or len(y) < PARTED:
        return
    from manyhot.train.calibrate import fit_thresholds

    aims = ["micro_f1", "macro_f1"] if not target.exclusive else ["macro_f1"]
    if target.exclusive and len(target.classes) > 2:
        aims = ["balanced_accuracy"]
    before = decide(target, chances)
    counts = np.random.default_rng(0).multinomial(len(y), np.full(len(y), 1 / len(y)), DRAWS)
    draws = np.vstack([np.ones(len(y)), counts]) * (1.0 if weight is None else weight)
    for aim in aims:
        aimed, after = target.deciding(objective=aim), before.copy()
        for part in _parts(len(y)):
            fitted = fit_thresholds(
                aimed, chances[~part], y[~part], None if weight is None else weight[~part]
            )
            after[part] = decide(fitted.target, chances[part])
        old, new = (_score(aim, target, y, answers, draws) for answers in (before, after))
        low, high = np.quantile((new - old)[1:], (0.025, 0.975)).tolist()
        if low <= 0 or new[0] - old[0] < GAINED:
            continue
        was, becomes = (_right(y, answers) for answers in (before, after))
        cost = f"{'answers' if target.exclusive else 'single yes and no'} right {becomes:.1%} for {was:.1%}"
        yield Step(
            0.0,  # no row more is right: other mistakes count
            f"'{short(target.name)}': `manyhot tune {model} NEW --objective {aim}`, where "
            f"{_WORTH[aim]}: {aim.replace('_', ' ').replace('f1', 'F1')} {new[0]:.3f} for {old[0]:.3f}, "
            f"{low:.3f} to {high:.3f} more; {cost}.",
        )
        return


_WORTH = {
    "balanced_accuracy": "rare classes count as much as frequent ones",
    "macro_f1": "what is rare counts as much as what is frequent",
    "micro_f1": "a yes that is missed is as bad as one too many",
}


def _score(
    aim: str, target: Target, y: IntArray, answers: IntArray, draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return what an objective aims at, by draws (D, N) of how often each row counts; float64 (D,)."""
    given, answered, known = metrics.as_tags(target, y, answers)
    answered = answered & known
    hits, has, said = (draws @ part.astype(np.float64) for part in (given & answered, given, answered))
    if aim == "micro_f1":
        return np.asarray(2 * hits.sum(axis=1) / np.maximum((has + said).sum(axis=1), 1e-9))
    ratio = (
        hits / np.maximum(has, 1e-9)
        if aim == "balanced_accuracy"
        else 2 * hits / np.maximum(has + said, 1e-9)
    )
    there = has > 0 if aim == "balanced_accuracy" else has + said > 0
    return np.asarray((ratio * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def _right(y: IntArray, answers: IntArray) -> float:
    """Return the share of the known single answers that are right."""
    known = y != UNKNOWN
    return float((answers == y.reshape(answers.shape))[known.reshape(answers.shape)].mean())


def _parts(rows: int) -> list[Bools]:
    """Part rows by chance, the same for as many rows; each part is judged by what is fitted on the others."""
    order = np.random.default_rng(0).permutation(rows)
    return [order % PARTS == number for number in range(PARTS)]


def _ends(right: Bools) -> tuple[float, float]:
    low, high = metrics.interval(right) or (0.0, 1.0)
    return low, high


def _share(share: float, low: float, high: float) -> str:
    return f"{100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def short(name: str) -> str:
    """Return a name, or its first letters where it has many."""
    return name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
