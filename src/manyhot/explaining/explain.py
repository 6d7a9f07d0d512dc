"""Rows → why a model answers each as it does: the pixels or columns that spoke for its answer and against it.

`Classifier.explain` calls it. What is explained are the log odds of a class, since a probability near 0 or 1
hardly moves. Pictures by expected gradients or by occlusion, whichever wins the deletion test on them; tables
by replacing columns.

Shapes: N rows · H W C of a picture · D places in x · G groups of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.bundle import Bundle
from manyhot.data.inputs.features import TableInputs
from manyhot.data.inputs.fitted import Inputs, read_new
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.inputs.noticed import Noticed
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.explaining.columns import Group, groups, replaced
from manyhot.explaining.deletion import gain
from manyhot.explaining.explanation import Explanation, Method, Reason
from manyhot.explaining.occlusion import occlusion, over_pixels
from manyhot.explaining.scores import Scores
from manyhot.predict import readable
from manyhot.schema import Schema, Target
from manyhot.targets import FloatArray, by_meaning, decide, decode, marginals

MOST = 200  # rows explained at once
TAGS = 5  # of a row that are explained, unless classes are named
ROWS, PICTURES = 200, 100  # that the explained ones are held against
# Pictures that gradients come from, beside their mean and black. With either alone an explanation is good at
# the filling that it comes from: 60 digits of MNIST, filled with black and with the mean, had areas of 0.34
# and 0.11 of a random order's from the mean, 0.15 and 0.60 from black, 0.18 and 0.11 from these.
BASELINES = 4
TRIED = 8  # answers on which the methods are compared
FEWEST = 20  # rows beside the explained ones that tell what is usual
METHODS = ("auto", "gradients", "occlusion")
SMOOTH = ("heads", "neighbours")  # kinds of members that have gradients


@dataclass(frozen=True)
class Background:
    """What rows are held against: other rows as x, float32 (B, …), and what they are called."""

    rows: NDArray[np.float32]
    words: str

    @property
    def mean(self) -> NDArray[np.float32]:
        """Their mean, of pictures float32 (H, W, C)."""
        return np.asarray(self.rows.mean(axis=0, dtype=np.float64), np.float32)


class Wanted(NamedTuple):
    """What is to be explained: a class of a target, for a row of x, with the answer of that row."""

    target: Target
    row: int
    number: int
    answer: str


def explain(
    bundle: Bundle,
    table: Table,
    rows: Sequence[int] | None = None,
    targets: Sequence[str] = (),
    classes: Sequence[str] = (),
    method: str = "auto",
    usual: Table | None = None,
    words: str = "",
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Explanation, Noticed]:
    """Explain rows of a table; return what was noticed of them too.

    Args:
        rows: their numbers in the source; all, unless they are said.
        targets, classes: names; all targets, and of each the answer, or the tags answered, unless said.
        method: how pictures are explained, one of METHODS.
        usual: rows that the explained ones are held against, called `words`; those beside them where there
            are none.

    Raises:
        UserError: there is no such row, target or class; no row can be read; or the method does not fit.
    """
    chosen = _rows(table, rows)
    schema, inputs = bundle.schema, bundle.inputs
    asked = _asked(schema, targets, classes)
    if method not in METHODS:
        raise UserError(f"--method {method}: must be one of {listed(METHODS)}{suggest(method, METHODS)}.")
    if method == "gradients" and isinstance(inputs, TableInputs):
        raise UserError("--method gradients: is for pictures; the columns of a table are replaced.")
    scores, part = Scores(bundle), table.take(chosen)
    if method == "gradients" and not has_gradients(scores, [target for target, _ in asked]):
        raise UserError(
            "--method gradients: this model has none (an exported file, or trees); use occlusion."
        )
    x, noticed = read_new(inputs, part, progress)
    bad = noticed.unreadable
    seen = readable(x, bad)
    if not len(seen):
        first = next(iter(bad.values()))
        raise UserError(f"{table.source}: nothing to explain: {first}" + ("" if first[-1] == "." else "."))
    if usual is None:
        others = np.setdiff1d(np.arange(len(table)), chosen)
        usual, words = (
            (table.take(others), "other rows of the input") if len(others) >= FEWEST else (None, "")
        )
    held_against = background(inputs, usual, words, seed, progress)
    chances = bundle.probabilities(seen)
    wanted = [each for target, numbers in asked for each in wanted_of(target, numbers, chances[target.name])]
    places = np.setdiff1d(np.arange(len(part)), [*bad])
    found = reasons_of(scores, np.asarray(seen), wanted, held_against, method, seed)
    reasons = [
        replace(reason, row=int(part.rows[places[reason.place]]), place=int(places[reason.place]))
        for reason in found.reasons
    ]
    return replace(found, table=part, reasons=tuple(reasons), unreadable=bad), noticed


def reasons_of(
    scores: Scores,
    x: NDArray[Any],
    wanted: Sequence[Wanted],
    background: Background,
    method: str = "auto",
    seed: int = 0,
) -> Explanation:
    """Explain rows that were read already; they have no cells, and the numbers 1 to N.

    Shape:
        x: uint8 (N, H, W, C), or float32 (N, D).
    """
    model, parts, gains = scores.model, list[Group](), dict[str, float]()
    how: Method = "replacement"
    if isinstance(model.inputs, TableInputs):
        parts = groups(model.inputs, background.rows)
        found = replaced(scores, x, background.rows, parts, seed)
        values = [found[target.name][row, :, number] for target, row, number, _ in wanted]
    else:
        how, values, gains = _of_pictures(scores, x, background, wanted, method)
    chances, odds = model.probabilities(x), scores(x)
    reasons = [
        Reason(
            row=row + 1,
            place=row,
            target=target.name,
            answer=answer,
            name=target.classes[number],
            chance=float(marginals(target, chances[target.name])[row, number]),
            odds=float(odds[target.name][row, number]),
            values=each,
        )
        for (target, row, number, answer), each in zip(wanted, values, strict=True)
    ]
    table = Table({}, rows=np.arange(1, len(x) + 1))
    names = tuple(group.names for group in parts)
    return Explanation(table, model.schema, how, names, tuple(reasons), gains, background.words, {})


def _rows(table: Table, rows: Sequence[int] | None) -> NDArray[np.intp]:
    """Return the positions of rows by their numbers; all of a table unless they are said."""
    if not len(table):
        raise UserError(f"{table.source}: has no rows to explain.")
    wanted = table.rows.tolist() if rows is None else [*dict.fromkeys(rows)]
    if len(wanted) > MOST:
        raise UserError(
            f"up to {MOST} rows are explained at a time, not {len(wanted):,}; name some with --rows."
        )
    place = {number: position for position, number in enumerate(table.rows.tolist())}
    absent = [number for number in wanted if number not in place]
    if absent or not wanted:
        which = f"has no row {absent[0]}" if absent else "no row is named"
        raise UserError(f"--rows: {table.source} {which}; its rows are {min(place):,} to {max(place):,}.")
    return np.array([place[number] for number in wanted], np.intp)


def _asked(
    schema: Schema, targets: Sequence[str], classes: Sequence[str]
) -> list[tuple[Target, tuple[int, ...]]]:
    """Return the targets to explain, each with the numbers of the classes named; none for the answer."""
    names = [target.name for target in schema.targets]
    for name in targets:
        if name not in names:
            raise UserError(
                f"--target {name}: the model has no such target{suggest(name, names)}; {listed(names)}."
            )
    chosen = [target for target in schema.targets if target.name in targets or not targets]
    numbers: dict[str, list[int]] = {target.name: [] for target in chosen}
    for name in classes:
        found = {target.name: by_meaning(target.classes)(name) for target in chosen}
        if not any(number is not None for number in found.values()):
            every = [each for target in chosen for each in target.classes]
            there = f"{suggest(name, every)}; {listed(every)}"
            raise UserError(f"--class {name}: {listed(numbers)} has no such class{there}.")
        for target, number in found.items():
            numbers[target] += [] if number is None or number in numbers[target] else [number]
    return [(t, tuple(numbers[t.name])) for t in chosen if numbers[t.name] or not classes]


def wanted_of(target: Target, numbers: Sequence[int], chances: FloatArray) -> list[Wanted]:
    """Say which classes are explained of each row: those named, else its answer, or the tags of its answer.

    Of an answer without tags it is the likeliest one.
    """
    decided, each = decide(target, chances), marginals(target, chances)
    answers = decode(target, decided)
    found = []
    for row, answer in enumerate(answers):
        if numbers:
            own = [*numbers]
        elif target.exclusive:
            own = [int(decided.reshape(-1)[row])]
        else:
            likely = np.argsort(-each[row], kind="stable").tolist()
            own = [number for number in likely if decided[row, number] == 1][:TAGS] or likely[:1]
        found += [Wanted(target, row, number, answer) for number in own]
    return found


def background(
    inputs: Inputs, usual: Table | None, words: str, seed: int, progress: Progress | None
) -> Background:
    """Read some of the usual rows; where there are none, what training was like in the middle."""
    most = ROWS if isinstance(inputs, TableInputs) else PICTURES
    if usual is not None:
        some = np.sort(np.random.default_rng(seed).permutation(len(usual))[:most])
        x, noticed = read_new(inputs, usual.take(some), progress)
        rows = np.asarray(readable(x, noticed.unreadable), np.float32)
        if len(rows):
            kind = "values" if isinstance(inputs, TableInputs) else "pictures"
            return Background(rows, f"{kind} of {len(rows):,} {words}")
    if isinstance(inputs, TableInputs):  # numbers are scaled around 0, and 0 is an unknown category
        return Background(np.zeros((1, *inputs.shape), np.float32), "the middle of training")
    even = np.broadcast_to(np.array(inputs.mean, np.float32) * 255, inputs.shape)
    return Background(even[None].copy(), "the mean colour of training")


def has_gradients(scores: Scores, targets: Sequence[Target]) -> bool:
    """Tell whether all that answers for some targets can be differentiated."""
    if scores.predictor is None:
        return False
    members = scores.predictor.ensemble.members
    return all(m.kind in SMOOTH for m in members for t in targets if m.weights[t.name])


def _of_pictures(
    scores: Scores, x: NDArray[np.uint8], background: Background, wanted: Sequence[Wanted], method: str
) -> tuple[Method, list[NDArray[np.float64]], dict[str, float]]:
    """Return by which method pictures are explained, each heat map (H, W), and the gains of those tried."""
    targets = {each.target.name: each.target for each in wanted}
    both = method == "auto" and has_gradients(scores, [*targets.values()])
    if not both:
        only: Method = "gradients" if method == "gradients" else "occlusion"
        return only, _heats(scores, x, background, wanted, only), {}
    places = np.unique(np.linspace(0, len(wanted) - 1, min(TRIED, len(wanted))).round().astype(np.intp))
    tried = [wanted[place] for place in places]
    fills = [np.zeros_like(x[0]), _as_pixels(background.mean)]
    maps: dict[Method, list[NDArray[np.float64]]] = {}
    gains: dict[Method, float] = {}
    name: Method
    for name in ("gradients", "occlusion"):
        maps[name] = _heats(scores, x, background, tried, name)
        each = [
            gain(partial(_chance, scores, one), x[one.row], heat, fills)
            for one, heat in zip(tried, maps[name], strict=True)
        ]
        gains[name] = float(np.mean(each))
    best = max(gains, key=lambda name: gains[name])
    known = dict(zip(places.tolist(), maps[best], strict=True))
    left = [place for place in range(len(wanted)) if place not in known]
    known |= dict(zip(left, _heats(scores, x, background, [wanted[p] for p in left], best), strict=True))
    return (
        best,
        [known[place] for place in range(len(wanted))],
        {str(name): value for name, value in gains.items()},
    )


def _chance(scores: Scores, one: Wanted, x: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the probability of what is explained, for pictures."""
    return np.asarray(1 / (1 + np.exp(-scores(x)[one.target.name][:, one.number])))


def _heats(
    scores: Scores,
    x: NDArray[np.uint8],
    background: Background,
    wanted: Sequence[Wanted],
    method: Method,
) -> list[NDArray[np.float64]]:
    """Return the heat map (H, W) of each class that is to be explained."""
    if method == "occlusion":
        fill = _as_pixels(background.mean)
        falls = {row: occlusion(scores, x[row], fill) for row in dict.fromkeys(each.row for each in wanted)}
        size = x.shape[1:3]
        return [over_pixels(falls[w.row][w.target.name][:, w.number], *size) for w in wanted]
    from manyhot.explaining.gradients import expected_gradients

    assert scores.predictor is not None, "asked by has_gradients"
    mean = background.mean[None]
    some = background.rows[:: -(-len(background.rows) // BASELINES)] if len(background.rows) > 1 else mean[:0]
    baselines = np.concatenate([mean, np.zeros_like(mean), some])
    return [expected_gradients(scores.predictor, w.target, w.number, x[w.row], baselines) for w in wanted]


def _as_pixels(mean: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.asarray(mean.round().clip(0, 255), np.uint8)
