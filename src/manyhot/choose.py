"""Which rows of a table a model is judged by, and which may fit its thresholds.

`judge` asks for a split, `train.tune` for rows that training held out. What a fit left of its own rows tells
them: how they are known again is said here.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data import arrays
from manyhot.data.columns import row_weights, split_of
from manyhot.data.inputs.fitted import row_hashes
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.schema import Schema
from manyhot.targets import Weight, weight_of

CHANCE = (
    5  # times as many rows as equal one of another part, up to which a table has them in common by chance
)
FOLDS = "folds"  # the split of rows that train, each judged by the members that did not learn from it


@dataclass(frozen=True)
class SeenRows:
    """The rows that a fit used.

    hashes  uint64 (N,): what `row_hashes` gives for each
    parts   the part that each was in: "train", "val" or "test"
    rows    int64 (N,): the number of each in its source
    fold    int8 (N,): the fold whose member did not learn from it, −1 for none
    """

    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))
    parts: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, np.object_))
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    fold: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))

    def __len__(self) -> int:
        return len(self.hashes)

    def as_table(self) -> Table:
        """Return a line per row: its number, its split, its hash, and its fold where there are folds."""
        columns: dict[str, Any] = {"row": self.rows, "split": self.parts, "hash": arrays.in_hex(self.hashes)}
        if (self.fold >= 0).any():
            columns["fold"] = self.fold.astype(np.int64)
        return Table({}, "split.csv", rows=self.rows).with_columns(columns if len(self) else {})

    def places(self, rows: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return where each row of a table stands among these; −1 for one whose inputs no fit has seen.

        A row is known again by its number and its inputs, in another order by its inputs alone. Where rows
        of several parts are equal, as by chance in tables of few categories, other rows will equal them too:
        inputs alone then tell only rows of the same table, where equal ones stand for one another in turn, or
        of one that has far more rows in common. So do numbers where few inputs differ.

        Shape:
            rows, hashes: (N,), the numbers of the rows in their source and what `row_hashes` gives.
        """
        found = np.full(len(hashes), -1)
        if not len(self):
            return found
        order, turn = (np.argsort(every, kind="stable") for every in (self.hashes, hashes))
        first, last = (np.searchsorted(self.hashes[order], hashes, side) for side in ("left", "right"))
        again = np.empty(len(hashes), np.intp)  # how many rows before a row equal it
        again[turn] = np.arange(len(hashes)) - np.searchsorted(hashes[turn], hashes[turn])
        there = last > first
        there &= there.mean() > CHANCE * self._by_chance(order) or self._are_all(hashes)
        found[there] = order[(first + again % np.maximum(last - first, 1))[there]]
        order = np.argsort(self.rows, kind="stable")
        at = order[np.searchsorted(self.rows[order], rows) % len(self)]
        numbered = self.rows[at] == rows
        same = numbered & (self.hashes[at] == hashes)
        equal = float(np.sum((np.unique(self.hashes, return_counts=True)[1] / len(self)) ** 2))
        same &= same.sum() > min(CHANCE * equal, (1 + equal) / 2) * numbered.sum()
        found[same] = at[same]
        return found

    def _by_chance(self, order: NDArray[np.intp]) -> float:
        """Return the share of these rows, which `order` sorts, that equal one of another part or fold."""
        kept, parts = self.hashes[order], np.unique(self.parts.astype(str), return_inverse=True)[1]
        where = parts.reshape(-1)[order] * 256 + self.fold[order]
        differs = (kept[1:] == kept[:-1]) & (where[1:] != where[:-1])
        return float(np.isin(kept, kept[1:][differs]).mean())

    def _are_all(self, hashes: NDArray[np.uint64]) -> bool:
        """Tell whether a table has just these rows, in any order."""
        return np.array_equal(np.sort(self.hashes), np.sort(hashes))


@dataclass(frozen=True)
class Chosen:
    """The rows to judge by.

    split    what they are called, as `Judged.split`; "new" where some of another table are left out
    hashes   what `row_hashes` gives for each
    parts    the part that each was in when the model was fitted; "" for none
    fold     int8 (N,): the fold of each, −1 for none
    weights  how much each counts; None where all count alike
    """

    split: str
    table: Table
    hashes: NDArray[np.uint64]
    parts: NDArray[np.object_]
    fold: NDArray[np.int8]
    weights: Weight = None

    @property
    def folded(self) -> NDArray[np.bool_]:
        """Which rows trained the members of all folds but their own."""
        return np.asarray((self.parts == "train") & (self.fold >= 0))

    def take(self, rows: NDArray[np.bool_], split: str = "") -> Chosen:
        """Return some of them, under another name where one is given.

        Raises:
            UserError: there are none.
        """
        split = split or self.split
        if not rows.any():
            raise UserError(
                f"{self.table.source}: no rows to judge in split '{split}'; pass --split all or another name."
            )
        weights = weight_of(self.weights, rows)
        return Chosen(
            split, self.table.take(rows), self.hashes[rows], self.parts[rows], self.fold[rows], weights
        )


def choose(schema: Schema, table: Table, seen: SeenRows, split: str | None = None) -> Chosen:
    """Return the rows of a split, as `judge` describes them.

    Raises:
        UserError: there are none.
    """
    given, name = split_of(table), split or "test"
    if given is not None and split != "all" and (split is None or (given == name).any()):
        mine = np.asarray(given == name)
        return _known_again(schema, table.take(mine), seen).take(np.ones(mine.sum(), bool), name)
    every = _known_again(schema, table, seen)
    if split == "all" or (split is None and not {"train", "test"} <= {*every.parts}):
        return every.take(np.ones(len(table), bool))  # perhaps not the table that fit cut its test rows from
    return every.take(every.folded if name == FOLDS else every.parts == name, name)


def held_out(schema: Schema, table: Table, seen: SeenRows) -> tuple[Chosen, bool]:
    """Return the rows of a table that may fit a model's thresholds, and whether `fit` held out just these.

    Of the table that a model was fitted on these are its validation rows, by the column `split` or as `fit`
    cut them, and with folds all rows that train, each answered out of fold. Of another table they are those
    that neither train the model nor are kept back to test it.

    Raises:
        UserError: there are none.
    """
    given = split_of(table)
    if given is not None and (given == "val").any():
        chosen = choose(schema, table, seen, "val")
        return chosen, len(chosen.parts) == (chosen.parts == "val").sum() == (seen.parts == "val").sum()
    every = _known_again(schema, table, seen)
    no_test = np.ones(len(table), bool) if given is None else np.asarray(given != "test")
    for name, mine, there in (
        ("val", no_test & (every.parts == "val"), (seen.parts == "val").sum()),
        (FOLDS, no_test & every.folded, ((seen.parts == "train") & (seen.fold >= 0)).sum()),
    ):
        if there and mine.sum() >= there / 2:  # it is the table, or most of it
            return every.take(mine, name), bool(mine.sum() == there)
    free = no_test & np.isin(every.parts, ("", "val"))
    if not free.any():
        raise UserError(
            f"{table.source}: all of its rows train the model or are kept back to test it; give other "
            "labelled rows, or name a part with --split."
        )
    return every.take(free, "all" if free.all() else "new"), False


def weighed_by(chosen: Chosen, column: str | None, missing: Sequence[str]) -> Chosen:
    """Let a column say how much each row counts; one of weight 0 is left out."""
    if column is None:
        return chosen
    weights = row_weights(chosen.table, column, missing)
    counts = weights > 0
    return replace(chosen.take(counts), weights=weights[counts])


def _known_again(schema: Schema, table: Table, seen: SeenRows) -> Chosen:
    """Return all rows of a table, with what the model did with each."""
    hashes = row_hashes(schema, table)
    places = seen.places(table.rows, hashes)
    parts, fold = np.append(seen.parts, ""), np.append(seen.fold, np.int8(-1))  # −1 is the place of none
    return Chosen("all", table, hashes, parts[places], fold[places])
