"""Equal rows: copies of one row, or rows that are equal by chance, as in a table of few categories.

Copies belong on one side of a split, since they are one observation. Rows that are equal by chance do not: a
new row will look like an old one too. Nothing marks either, but by chance as many rows would be equal but for
one column. `prepare` asks it before it parts rows, `twins` before it speaks of rows that came into two parts.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from manyhot.targets import IntArray

Hashes = NDArray[np.uint64]

FEW = 3  # rows, on average, of one kind, from which on the kinds are few
FREE = 0.1  # of the freedom that a column has alone, what it has at least beside others, by chance
VARIED = 0.6  # of all pairs of rows, those that are equal in a column which tells rows apart, at most
OFTEN = 0.05  # of all pairs of rows, those that are equal in a column of few values
REPEATED = 20  # different rows whose times all have one divisor, as they would not by chance


class Columns(Protocol):
    """Hashes of the cells of some columns, (N,) of each, which may be gone through several times."""

    def __iter__(self) -> Iterator[Hashes]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Some:
    """Some rows of columns."""

    columns: Columns
    rows: NDArray[np.intp]

    def __iter__(self) -> Iterator[Hashes]:
        return (column[self.rows] for column in self.columns)

    def __len__(self) -> int:
        return len(self.columns)


def any_equal(values: Hashes) -> bool:
    """Tell whether any two are equal."""
    values = np.sort(values)
    return bool((values[1:] == values[:-1]).any())


def copies(columns: Columns, labels: IntArray) -> IntArray | None:
    """Return a key that rows share which are copies of one another; None where rows are equal by chance.

    Where each row of a class, or of the whole table, stands there twice, or ten times, it was copied so
    often; beyond that rows may be equal by chance.

    Shape:
        columns: uint64 (N,) each, a number for each value. labels: int (N,), a number for each class.
        out: int (N,).

    >>> a, b = (np.arange(60, dtype=np.uint64) for _ in "ab")
    >>> key = copies([np.tile(a, 2), np.tile(b * 7, 2)], np.zeros(120, int))
    >>> bool((key[:60] == key[60:]).all()), copies([a % 3, b % 4], np.zeros(60, int))
    (True, None)
    """
    _, same = np.unique(together(columns), return_inverse=True)
    if same.max(initial=-1) + 1 == len(same):
        return None
    _, cell = np.unique(same * (int(labels.max()) + 1) + labels, return_inverse=True)
    order = np.argsort(cell, kind="stable")
    counts = np.bincount(cell)
    first = np.cumsum(counts) - counts
    turn = np.empty(len(cell), np.intp)
    turn[order] = np.arange(len(cell)) - first[cell[order]]
    turn //= _times(counts, labels[order[first]])[cell]
    _, firsts, unit = np.unique(cell * len(cell) + turn, return_index=True, return_inverse=True)
    if not by_chance(Some(columns, firsts)):
        return same
    return unit if len(firsts) < len(cell) else None


def _times(counts: IntArray, labels: IntArray) -> IntArray:
    """Return how often the rows of each kind were copied, from how often they stand there and their class."""
    times = np.ones(len(counts), np.intp)
    for label in np.unique(labels):
        mine = labels == label
        if mine.sum() >= REPEATED:
            times[mine] = np.gcd.reduce(counts[mine])
    return times if len(counts) < REPEATED else np.maximum(times, np.gcd.reduce(counts))


def by_chance(columns: Columns) -> bool:
    """Tell whether rows that are equal in all columns are so by chance.

    They are where there are few different rows, or where some column is free to differ: of the pairs of rows
    that are equal in all others, many differ in it. Copies differ in no column.
    """
    every = together(columns)
    equal, pairs = _pairs(every), len(every) * (len(every) - 1) / 2
    if not equal or FEW * len(np.unique(every)) <= len(every):
        return True
    but_for_one = 0.0
    for column in columns:
        share, differ = _pairs(column) / pairs, _pairs(every - column) - equal
        if share <= VARIED and differ >= FREE * equal * (1 / share - 1):
            return True
        but_for_one += differ if share >= OFTEN else 0
    return but_for_one >= equal


def together(columns: Columns) -> Hashes:
    """Return a number for each row, of which that of a column may be taken away again."""
    total: Hashes | None = None
    for column in columns:
        total = column.copy() if total is None else np.add(total, column, out=total)
    return np.zeros(0, np.uint64) if total is None else total


def _pairs(values: Hashes) -> float:
    """Count the pairs of equal values."""
    values = np.sort(values)
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    counts = np.diff(ends, prepend=-1).astype(np.float64)
    return float((counts * (counts - 1)).sum() / 2)
