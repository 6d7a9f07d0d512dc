"""A verdict in words: what was judged enters, sentences leave that say what stands out and what to do next.

`page` shows all of them above everything else, `cli` those of `problems` after `fit` and `evaluate`. Each
sentence follows from a rule; what is to be typed stands between backquotes.

Shapes: N rows · C classes.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from manyhot import metrics
from manyhot.baselines import Lead, constant, lead, main_metric
from manyhot.errors import listed
from manyhot.judge import Judged
from manyhot.report.steps import short, steps
from manyhot.schema import Target, check_objective
from manyhot.targets import UNKNOWN, WEIGHT, FloatArray, IntArray, decide, marginals, unsure

WEAK = 0.8  # F1 below which a class is called weak
FEWEST = 5  # rows that a class must have for that
CONFUSED = 0.1  # share of a class's rows, for a pair to be named
TELLS_APART = 0.65  # AUROC from which on probabilities say something though answers do not
RISEN = 0.1  # of the held-out loss after the epoch that was kept
LEAST_RISE = 0.005  # which anybody would notice
NAMED = 3  # classes, or pairs of them, in a sentence


class Answered(NamedTuple):
    """A target of which something is known, and how it is answered.

    y, chances  as `Judged` has them
    classes     what `metrics.per_class` tells
    same        the best constant answer, and `ahead` the lead over that
    """

    target: Target
    y: IntArray
    chances: FloatArray
    classes: Sequence[Mapping[str, Any]]
    same: str
    ahead: Lead


class Verdict(NamedTuple):
    """What people should know of a model first, in sentences.

    expected  what becomes of a hundred new rows
    steps     what to do next, the best first; see `steps`
    found     what else stands out
    """

    expected: list[str]
    steps: list[str]
    found: list[str]


def verdict(judged: Judged, history: Sequence[Mapping[str, Any]] = (), model: str = "MODEL") -> Verdict:
    """Return what people should know of a model first, and what to do about it."""
    every = [*_each(judged)]
    expected = [_of_a_hundred(each, judged) for each in every[:NAMED]]
    found = [*_problems(every, judged, shlex.quote(model))]
    for target, y, chances, classes, same, ahead in every:
        if _aims_otherwise(target):
            found += _aim(target, classes)
        elif not ahead.beyond_chance:
            continue  # its classes say nothing yet
        else:
            found.append(
                f"'{target.name}': {_score(target)} {ahead.ours:.3f}, where answering '{same}' to every row "
                f"reaches {ahead.theirs:.3f}."
            )
        found += _weakest(target, classes)
        found += _confused(target, y, chances)
    found += _overfitted(history)
    return Verdict(expected, steps(judged, shlex.quote(model)), found)


def _of_a_hundred(answered: Answered, judged: Judged) -> str:
    """Say what becomes of a hundred new rows."""
    target, chances = answered.target, answered.chances
    wrong, known = (rows[:, 0] for rows in metrics.wrong_rows([target], judged.y, judged.probabilities))
    right, weight = ~wrong[known], judged.y.get(WEIGHT)
    low, high = metrics.interval(right, None if weight is None else weight[known]) or (0.0, 1.0)
    whole = "" if target.exclusive else " in all tags"
    said = f"Of 100 new rows about {100 * np.average(right):.0f} ({100 * low:.0f} to {100 * high:.0f}) are"
    said = f"{said} answered rightly in '{short(target.name)}'{whole}"
    if target.decision.coverage is None:
        return f"{said}."
    doubts = metrics.any_of(unsure(target, chances))[known]
    sure = right[~doubts]
    rest = f", and of the others {100 * sure.mean():.0f} % are right" if len(sure) else ""
    return f"{said}; about {100 * doubts.mean():.0f} are said to be unsure{rest}."


def problems(judged: Judged, model: str = "MODEL") -> list[str]:
    """Say where the answers are no better than one answer for all rows, and what is never answered."""
    return [*_problems(_each(judged), judged, shlex.quote(model))]


def _problems(every: Iterable[Answered], judged: Judged, model: str) -> Iterator[str]:
    for target, _, chances, classes, answer, ahead in every:
        scores = judged.scores["targets"].get(target.name, {})
        others = judged.baselines.get(target.name, {}).get("constant", {})
        same = "" if ahead.beyond_chance or _aims_otherwise(target) else _no_better(ahead, target, answer)
        known = np.flatnonzero(marginals(target, chances).any(axis=0))  # not what only the judged rows have
        never = _never(target, [classes[c] for c in known.tolist()])
        more = _more(target, model)
        told: list[str] = []
        if target.exclusive and same:
            told.append(same + _what_may_help(scores, more))
        elif same or never:
            told.append(f"{', and '.join(filter(None, (same, never)))}; {more}")
        if not target.exclusive:
            told += _no_more_exact(scores, others, target, model)
        yield from (f"'{target.name}': {line}." for line in told)


def _aims_otherwise(target: Target) -> bool:
    """Tell whether answers are decided for something else than to be right most often."""
    name, level = check_objective(target.decision.objective)
    return level is not None or name == "balanced_accuracy"


def _aim(target: Target, classes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say what single classes are answered for, and what is reached."""
    name, level = check_objective(target.decision.objective)
    row = next((row for row in classes if row["name"] == target.positive), None)
    if level is not None and row is not None and row["support"]:
        right = f", and {row['precision']:.0%} of its answers are right" if row["predicted"] else ""
        whose = f"{row['recall']:.0%} of the rows of '{short(row['name'])}' are found{right}"
        yield f"'{target.name}' aims at a {name} of {level:g}: {whose}."
    elif level is None and target.exclusive:
        found = [row["recall"] for row in classes if row["support"]]
        yield (
            f"'{target.name}' aims at balanced accuracy: {sum(found) / len(found):.3f}, where answering one "
            f"class to every row reaches {1 / len(found):.3f}."
        )


def _each(judged: Judged) -> Iterator[Answered]:
    weight = judged.y.get(WEIGHT)
    for target in judged.schema.targets:
        y, chances = judged.y[target.name], judged.probabilities[target.name]
        if (y != UNKNOWN).any():
            same = constant(target, y, weight)
            ahead = lead(target, y, decide(target, chances), same.answers, weight)
            classes = metrics.per_class(target, y, chances)
            yield Answered(target, y, chances, classes, short(same.name), ahead)


def _score(target: Target) -> str:
    return main_metric(target).replace("_", " ").replace("f1", "F1")


def _no_better(ahead: Lead, target: Target, answer: str) -> str:
    same = f"answering '{answer}' to every row ({ahead.theirs:.3f})"
    if ahead.ours > ahead.theirs:
        return f"{_score(target)} {ahead.ours:.3f} beats {same} by no more than chance"
    return f"{_score(target)} {ahead.ours:.3f} is no better than {same}"


def _what_may_help(scores: Mapping[str, float | None], more: str) -> str:
    """Say what to do about a class that is answered no better than by a constant."""
    area = scores.get("auroc")
    if area is None or area < TELLS_APART:
        return "; more rows may help, or inputs that say more of it"
    return f", though its probabilities tell rows apart (AUROC {area:.2f}): {more}"


def _no_more_exact(
    scores: Mapping[str, float | None], others: Mapping[str, float | None], target: Target, model: str
) -> Iterator[str]:
    """Say that no more rows have all their tags right than one set of tags for all of them gives."""
    if target.decision.objective not in ("hamming", "exact_match"):
        return  # other aims were chosen
    ours, theirs = scores.get("exact_match"), others.get("exact_match")
    if ours is not None and theirs is not None and ours <= theirs:
        words = f"exact match {ours:.3f} is no better than one set of tags for every row ({theirs:.3f})"
        if target.decision.objective == "hamming":
            words += f"; `manyhot tune {model} NEW --objective exact_match` aims at it"
        yield words


def _never(target: Target, classes: Sequence[Mapping[str, Any]]) -> str:
    """Say which of the classes that some rows have are never answered; "" where there are none."""
    classes = [row for row in classes if row["support"]]
    never = [short(row["name"]) for row in classes if not row["predicted"]]
    if not never:
        return ""
    what = ("class" if len(classes) == 1 else "classes") if target.exclusive else "tags"
    names = f" ({listed(never, NAMED)})" if len(never) <= NAMED or target.exclusive else ""
    return f"{len(never)} of {len(classes)} {what} {'is' if len(never) == 1 else 'are'} never answered{names}"


def _more(target: Target, model: str) -> str:
    """Say what lets a model answer more of the rare classes or tags."""
    aim, name = "macro_f1", "macro F1"
    if target.exclusive and len(target.classes) > 2:
        aim, name = "balanced_accuracy", "balanced accuracy"
    if target.decision.objective == aim:
        return f"its thresholds are those for {name} already, so more rows of them may help"
    return f"`manyhot tune {model} NEW --objective {aim}` answers more"


def _weakest(target: Target, classes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Name the class that is answered worst, of those with some rows."""
    classes = [row for row in classes if row["support"] >= FEWEST]
    answered = [row for row in classes if row["predicted"]]
    if len(classes) < 2 or not answered:
        return
    row = min(answered, key=lambda row: row["f1"])
    what = "class" if target.exclusive else "tag"
    if row["f1"] < WEAK:
        yield (
            f"'{target.name}': the weakest {what} is '{short(row['name'])}': {row['recall']:.0%} of its "
            f"{row['support']:,} rows are found, and {row['precision']:.0%} of its {row['predicted']:,} "
            "answers are right."
        )


def _confused(target: Target, y: IntArray, chances: FloatArray) -> Iterator[str]:
    """Name the pairs of classes that are most often taken for each other."""
    if not target.exclusive or len(target.classes) < 3:
        return
    counts = metrics.confusion(target, y, chances)
    rows, names = counts.sum(axis=1), [short(name) for name in target.classes]
    wrong = counts + counts.T
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-np.triu(wrong), axis=None, kind="stable")[:NAMED]
    pairs = [(int(at) // len(rows), int(at) % len(rows)) for at in order]
    named = [
        f"'{names[a]}' and '{names[b]}' ({wrong[a, b]:,} of {rows[a] + rows[b]:,} rows)"
        for a, b in pairs
        if wrong[a, b] > 1 and wrong[a, b] >= CONFUSED * min(rows[a], rows[b])
    ]
    if named:
        yield f"'{target.name}': most often taken for each other: {'; '.join(named)}."


def _overfitted(history: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Say that held-out rows were answered worse after the epoch that was kept, and training rows better.

    The last epoch is kept unless another is better by more than chance.
    """
    epochs = [line for line in history if line.get("kind") == "epoch"]
    held = [line.get("validation", {}).get("overall", {}).get("loss") for line in epochs]
    kept = max((i for i, line in enumerate(epochs) if line.get("best")), default=len(epochs) - 1)
    if not epochs or held[kept] is None or held[-1] is None:
        return
    if held[-1] > held[kept] * (1 + RISEN) + LEAST_RISE and epochs[-1]["loss"] < epochs[kept]["loss"]:
        yield (
            f"Overfitting: the held-out loss rose from {held[kept]:.3f} in epoch {kept + 1}, which was kept, "
            f"to {held[-1]:.3f} in epoch {len(epochs)} while the training loss fell. More rows help most; "
            "fewer `--epochs` lose nothing."
        )
