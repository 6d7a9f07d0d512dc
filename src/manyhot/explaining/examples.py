"""Judged rows → a few of them with the reasons for their answers, for the report.

`classifier` asks for them where it writes a page. Of each of the first targets some rows that are answered
rightly and surely, wrongly and surely, and with doubt; fewer, or none, where reasons take long.

Shapes: N judged rows · C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from manyhot.bundle import Bundle
from manyhot.choose import FOLDS
from manyhot.data.inputs.fitted import read_new
from manyhot.explaining.columns import FEWEST
from manyhot.explaining.explain import Wanted, background, reasons_of
from manyhot.explaining.occlusion import patches
from manyhot.explaining.scores import Scores
from manyhot.judge import Judged
from manyhot.predict import readable
from manyhot.report.why import Example, Examples
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, decide, decode, marginals

TARGETS, EACH = 3, 2  # that have examples, and rows of each kind
DELETION = 320  # passes of a picture through the model in the deletion test of both methods, and by gradients
# Of the passes of a fit that its examples may take; those of a table's rows, in large batches, cost little.
SHARE = {"picture": 1 / 10, "row": 1 / 6}
DOUBT = 0.25  # of an answer, from which on it is in doubt
LOOKED_AT = 1_000  # rows of a kind, the surest or the most in doubt
RIGHT, WRONG, UNSURE = "right and sure", "wrong and sure", "not sure"


class Chosen(NamedTuple):
    """A row to explain: why it was chosen, and which classes of a target are explained, by their numbers."""

    kind: str
    target: Target
    row: int
    numbers: tuple[int, ...]


def examples(bundle: Bundle, judged: Judged, learned: int) -> Examples | None:
    """Return some of the judged rows with their reasons; None where there are none that can be had soon.

    Args:
        learned: how often a row went through the network while it learned, there and back.
    """
    shape, columns = bundle.inputs.shape, len(bundle.inputs.columns)
    cost = FEWEST * columns if columns else len(patches(*shape[:2])) + DELETION
    most = learned * SHARE["row" if columns else "picture"] / cost
    each = min(EACH, round(most / 3 / min(TARGETS, len(judged.schema.targets))))
    chosen = [one for number in range(TARGETS) for one in _of_target(bundle, judged, number, each)]
    if not chosen:
        return None
    rows = np.unique([one.row for one in chosen])
    x, noticed = read_new(bundle.inputs, judged.table.take(rows))
    if noticed.unreadable:
        return None  # files have gone since these rows were judged
    x = np.asarray(readable(x, noticed.unreadable))
    place = {row: number for number, row in enumerate(rows.tolist())}
    wanted = [Wanted(one.target, place[one.row], c, "") for one in chosen for c in one.numbers]
    usual = np.sort(np.random.default_rng(0).permutation(len(judged.table))[: FEWEST if columns else None])
    held = background(bundle.inputs, judged.table.take(usual), "held-out rows", 0, None)
    found = replace(reasons_of(Scores(bundle), x, wanted, held), table=judged.table.take(rows))
    reasons = iter(found.reasons)
    shown = []
    for one in chosen:
        panels = [found.panel(next(reasons)) for _ in one.numbers]
        given, answer = _words(one, judged)
        number = int(judged.table.rows[one.row])
        shown.append(Example(one.kind, one.target.name, one.row, number, given, answer, panels))
    told = found.told()
    if judged.split == FOLDS:
        told.append("Explained is the whole model, which learned from these rows.")
    return Examples(" ".join(told), shown)


def _of_target(bundle: Bundle, judged: Judged, number: int, each: int) -> Iterator[Chosen]:
    """Choose rows of a target, none of a kind about the same class."""
    if number >= len(judged.schema.targets):
        return
    target, judged_as = bundle.schema.targets[number], judged.schema.targets[number]
    y, chances = judged.y[target.name], judged.probabilities[target.name]
    if not each or not len(y):
        return
    y = y.reshape(len(y), -1)
    answers = decide(judged_as, chances).reshape(y.shape)
    every = marginals(judged_as, chances)[:, : len(target.classes)]
    known = y != UNKNOWN
    wrong = (answers != y) & known
    rows = np.flatnonzero(known.any(axis=1))
    if target.exclusive:
        doubt = 1 - every[np.arange(len(y)), np.minimum(answers[:, 0], every.shape[1] - 1)]
        order = np.argsort(-every, axis=1, kind="stable")
        about = {RIGHT: answers[:, :1], WRONG: np.hstack([answers[:, :1], y[:, :1]]), UNSURE: order[:, :2]}
    else:
        even = 0.5 - np.abs(every - 0.5)
        doubt = even.max(axis=1)
        worst = np.where(wrong, 0.5 - even, -1.0)
        about = {RIGHT: every.argmax(axis=1)[:, None], WRONG: worst.argmax(axis=1)[:, None]}
        about[UNSURE] = even.argmax(axis=1)[:, None]
    bad, rows = wrong.any(axis=1), rows[np.argsort(doubt[rows], kind="stable")]
    lists = {RIGHT: rows[~bad[rows]], WRONG: rows[bad[rows]], UNSURE: rows[doubt[rows] >= DOUBT][::-1]}
    taken: set[int] = set()
    for kind, candidates in lists.items():
        classes: set[int] = set()
        for row in candidates[:LOOKED_AT].tolist():
            numbers = tuple(dict.fromkeys(c for c in about[kind][row].tolist() if 0 <= c < every.shape[1]))
            if numbers and row not in taken and numbers[0] not in classes and len(classes) < each:
                classes.add(numbers[0])
                taken.add(row)
                yield Chosen(kind, target, row, numbers)


def _words(one: Chosen, judged: Judged) -> tuple[str, str]:
    """Return what a row is given as and what was answered."""
    target = next(t for t in judged.schema.targets if t.name == one.target.name)
    rows = slice(one.row, one.row + 1)
    answer = decide(target, judged.probabilities[target.name][rows])
    return decode(target, judged.y[target.name][rows])[0], decode(target, answer)[0]
