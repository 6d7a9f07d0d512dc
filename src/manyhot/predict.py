"""Rows in, probabilities and answers out: the one way for `evaluate`, `predict` and the server.

It works over whatever gives probabilities, and needs no torch itself.

Shapes: N rows · M members and views · C classes · P probabilities of a row (K sets of a powerset, else C).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from manyhot.data import arrays
from manyhot.data.inputs.fitted import Inputs, read_new
from manyhot.data.inputs.images.paths import Progress, Unreadable
from manyhot.data.inputs.images.stream import X
from manyhot.data.inputs.noticed import Noticed, Rises, together
from manyhot.data.table import Table
from manyhot.ensemble import FAR
from manyhot.errors import UserError
from manyhot.schema import Schema, Target
from manyhot.targets import decide, decode, marginals, possible, probabilities, unsure

log = logging.getLogger("manyhot")

SET, UNSURE = "_set", "_unsure"  # what the columns end in that tell what is possible, and what is not sure
FAR_AWAY = "far from the rows that it learned from"
MANY_FAR = 0.05  # share of far rows above which it is told; one in a hundred is so by chance


class Answering(Protocol):
    """What can answer: a bundle, or whatever else computes the same graph."""

    @property
    def schema(self) -> Schema:
        """The targets, with their decisions."""
        ...

    @property
    def inputs(self) -> Inputs:
        """What turns a table into x."""
        ...

    def probabilities(self, x: X, fold: NDArray[np.int8] | None = None) -> Mapping[str, NDArray[np.float32]]:
        """Return the probabilities for x by target, out of `fold` (N,) if given; float32 (N, P)."""
        ...


@dataclass(frozen=True)
class Predicted:
    """Probabilities of every target, float32 (N, P), NaN in rows whose picture could not be read."""

    probabilities: Mapping[str, NDArray[np.float32]]
    noticed: Noticed = field(default_factory=Noticed)


def predict(
    model: Answering,
    table: Table,
    progress: Progress | None = None,
    hashes: NDArray[np.uint64] | None = None,
    fold: NDArray[np.int8] | None = None,
) -> Predicted:
    """Return the probabilities of every row of a table; `hashes` are its `row_hashes`, where they are known.

    With `fold` (N,) each row is answered by the members that did not learn from it.

    Raises:
        UserError: the table has no column that the model reads.
    """
    x, noticed = read_new(model.inputs, table, progress, hashes)
    unreadable = noticed.unreadable
    fold = None if fold is None else np.delete(fold, list(unreadable))
    there = readable(x, unreadable)
    found = model.probabilities(there, fold) if len(there) else nothing(model.schema)
    away = int(far_rows(model.schema, found).sum())
    if fold is None and away > max(MANY_FAR * len(there), 2):
        noticed = replace(noticed, far=away)
    return Predicted({name: spread(values, unreadable) for name, values in found.items()}, noticed)


def predict_pieces(
    model: Answering, table: Table, progress: Progress | None = None, fold: NDArray[np.int8] | None = None
) -> Predicted:
    """Return what `predict` does of a mapped table of features, whose x is never held whole."""
    from manyhot.data.sources.pieces import pieces  # only large tables need it

    found: list[Predicted] = []
    done = 0
    for piece in pieces(table):
        first, done = done, done + len(piece)
        found.append(predict(model, piece, fold=None if fold is None else fold[first:done]))
        if progress is not None:
            progress(done, len(table))
    names = found[0].probabilities
    whole = {name: np.concatenate([each.probabilities[name] for each in found]) for name in names}
    return Predicted(whole, together([each.noticed.counted() for each in found]))


def nothing(schema: Schema) -> dict[str, NDArray[np.float32]]:
    """Return the probabilities of no rows, float32 (0, P) by target."""
    return {t.name: np.zeros((0, t.outcomes), np.float32) for t in schema.targets}


def tell(noticed: Noticed, rises: Rises | None = None) -> None:
    """Log what was noticed of new rows; `rises` tell what their columns are worth, see `importance`."""
    for line in noticed.lines(rises or {}):
        log.log(logging.WARNING if line.loud else logging.INFO, "%s", line.text)


def from_logits(
    targets: Sequence[Target], logits: Mapping[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return the probabilities that logits stand for, float32 (N, P) by target; what tells far rows stays."""
    found = {t.name: np.asarray(probabilities(t, logits[t.name]), np.float32) for t in targets}
    return found | ({FAR: logits[FAR]} if FAR in logits else {})


def out_of_fold(
    raw: Mapping[str, NDArray[np.float32]], fold: NDArray[np.int8] | None, folds: int, members: int
) -> Mapping[str, NDArray[np.float32]]:
    """Return for each row the logits of the members that were trained without it, where there are folds.

    `members` are those of all folds, of one fold after the other.
    """
    if fold is None:
        return raw
    rows = np.arange(len(fold))
    found = {}
    for name, values in raw.items():
        if name == FAR:
            found[name] = values
            continue
        by_fold = values.reshape(len(rows), -1, folds, members // folds, values.shape[-1])
        found[name] = by_fold[rows, :, fold].reshape(len(rows), -1, values.shape[-1])
    return found


def readable(x: X, unreadable: Unreadable) -> X:
    """Return the rows of x that could be read; x itself, not a copy, where all could."""
    return x[np.setdiff1d(np.arange(len(x)), list(unreadable))] if unreadable else x


def spread(values: NDArray[np.float32], unreadable: Unreadable) -> NDArray[np.float32]:
    """Put back the rows that `readable` left out, as NaN."""
    if not unreadable:
        return values
    out = np.full((len(values) + len(unreadable), *values.shape[1:]), np.nan, dtype=np.float32)
    out[np.setdiff1d(np.arange(len(out)), list(unreadable))] = values
    return out


def blank_rows(found: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Tell which rows have no answer: bool (N,) of probabilities by target, float32 (N, P)."""
    return np.asarray(np.logical_or.reduce([np.isnan(values).any(axis=1) for values in found.values()]))


def answers(schema: Schema, table: Table, predicted: Predicted) -> Table:
    """Return the table with the answers beside it, as `manyhot predict` writes it.

    For each target come NAME and the probabilities NAME.CLASS; where it has a coverage, NAME_set, the classes
    that stay possible, and NAME_unsure, why it is not sure; and what `beside` adds.
    """
    added: dict[str, Any] = {}
    far = far_rows(schema, predicted.probabilities)
    for target in schema.targets:
        names = np.array(target.classes, dtype=object)
        values = predicted.probabilities[target.name]
        texts = decode(target, decide(target, values))
        added[target.name] = arrays.texts([text if text else None for text in texts])
        chances = marginals(target, values)
        for number, name in enumerate(target.classes):
            column = chances[:, number].astype(np.float64).round(6)
            added[f"{target.name}.{name}"] = arrays.array(column)  # NaN becomes an empty cell
        if target.decision.coverage is not None:
            sets, doubts = in_doubt(target, values, far)
            named = [
                ";".join(names[row]) or "[]" if text else None for row, text in zip(sets, texts, strict=True)
            ]
            added[f"{target.name}{SET}"] = arrays.texts(named)
            added[f"{target.name}{UNSURE}"] = arrays.texts([text or None for text in doubts])
    return beside(table, added, {target.name for target in schema.targets}, predicted.noticed.reasons())


def far_rows(schema: Schema, found: Mapping[str, NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Tell which rows are far from all that the model learned from; (N,) of what gives probabilities."""
    rows = len(next(iter(found.values())))
    if schema.far is None or FAR not in found:
        return np.zeros(rows, bool)
    distance, outside = found[FAR].T
    return np.asarray((distance > schema.far.distance) | (outside > schema.far.outside))


def in_doubt(
    target: Target, values: NDArray[np.float32], far: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which classes stay possible for each row, and why its answer is not sure, "" where it is.

    Of a row without an answer, nothing is possible and nothing is said.

    Shape:
        values: float32 (N, P). far: (N,), see `far_rows`. out: bool (N, C), and N texts.
    """
    names = np.array(target.classes, dtype=object)
    known = np.asarray(~np.isnan(values).any(axis=1))
    doubts = unsure(target, values) & known[:, None]
    said = []
    for row, away in zip(doubts, far & known, strict=True):
        why = []
        if row.any():
            between = f"between {' and '.join(names[row])}"
            why.append(between if target.exclusive else f"unsure of {', '.join(names[row])}")
        said.append("; ".join([*why, FAR_AWAY] if away else why))
    return possible(target, values) & known[:, None], said


def answer_columns(schema: Schema) -> list[str]:
    """Return the names of the columns that answers add to a table, in their order."""
    return [
        name
        for t in schema.targets
        for name in (
            t.name,
            *(f"{t.name}.{c}" for c in t.classes),
            *(f"{t.name}{end}" for end in (SET, UNSURE) if t.decision.coverage is not None),
        )
    ]


def refuse_clashes(table: Table, added: Sequence[str], names: Collection[str]) -> None:
    """Refuse a table beside which columns could not stand that are `added`, before they are there.

    Those called like one of `names` give way: they become NAME_given.

    Raises:
        UserError: a column of the table is in the way.
    """
    columns: list[str] = []
    for name in table.names:
        given = f"{name}_given" if name in names else name
        if given in columns or (given != name and given in table.columns):
            raise UserError(f"{table.source}: the column '{given}' is in the way of '{name}'; rename it.")
        columns.append(given)
    clashing = sorted({*columns, *(["row"] if table.holds_pictures else [])} & {*added})
    if clashing:
        raise UserError(f"{table.source}: the column '{clashing[0]}' is in the way of an answer; rename it.")


def reasons_column(taken: Collection[str]) -> str:
    """Return what the column is called that says what of a row could not be read.

    >>> reasons_column(["age"]), reasons_column(["error"])
    ('error', 'error_input')
    """
    name = "error"
    while name in taken:
        name += "_input"
    return name


def beside(table: Table, added: Mapping[str, Any], names: Collection[str], reasons: Unreadable) -> Table:
    """Return the table with columns added, and one of the `reasons` where an input could not be read.

    A column that is called like one of `names` becomes NAME_given. Pictures without files get their number.

    Raises:
        UserError: a column of the table is in the way.
    """
    refuse_clashes(table, [*added], names)
    if reasons:
        name = reasons_column({*added, *table.columns})
        added = {**added, name: [reasons.get(index) for index in range(len(table))]}
    columns: dict[str, Any] = {"row": [*map(int, table.rows)]} if table.holds_pictures else {}
    columns |= {f"{name}_given" if name in names else name: column for name, column in table.columns.items()}
    return Table({}, table.source, rows=table.rows).with_columns(columns | dict(added))
