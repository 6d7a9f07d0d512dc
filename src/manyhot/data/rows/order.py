"""Rows in time: by what they are in order, parts that are stretches of it, and whether labels keep for long.

`prepare` parts the rows of --split-by and --time-series by it, `describe` says where they should be.

Shapes: N rows · P parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from manyhot.data import dates
from manyhot.data.columns import as_input, in_order, numbers_rows, told_in_time
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.schema import Schema
from manyhot.targets import IntArray, encode

FEWEST = 40  # rows of which runs of labels are judged
SURE = 5.0  # standard deviations: less than one table of a million would show so much by chance
KEPT = 0.2  # share of the neighbours that would differ by chance and do not
RETURNS = 3  # runs of a class, on average: where there are fewer, the rows are sorted by class


def by_column(table: Table, name: str, missing: Sequence[str] = ()) -> NDArray[np.float64]:
    """Return where each row stands in time; NaN where its cell is empty; float64 (N,).

    Raises:
        UserError: there is no such column, or it holds neither numbers nor dates.
    """
    table.column(name)
    found = as_input(table, name, missing)
    missing = (*missing, *found.missing)
    match found.kind:
        case "number":
            return table.numbers(name, missing, found.notation)
        case "date":
            return dates.days(table.cells(name, missing), found.notation)
    raise UserError(
        f"{table.source}, column '{name}': rows are put in order by numbers or dates, and it holds others. "
        "Name another one, or write its cells as 2024-01-31."
    )


def of_groups(order: NDArray[np.float64], groups: IntArray) -> NDArray[np.float64]:
    """Return the place of the last row of each row's group, so that no part has rows of one before."""
    _, group = np.unique(groups, return_inverse=True)
    last = np.full(group.max(initial=-1) + 1, -np.inf)
    np.maximum.at(last, group, order)
    return last[group]


def stretches(order: NDArray[np.float64], fractions: Sequence[float]) -> NDArray[np.int8]:
    """Part rows in order into stretches of about these shares; rows of one place stay together; int8 (N,).

    >>> stretches(np.array([3.0, 1.0, 2.0, 2.0]), [0.5, 0.5]).tolist()
    [1, 0, 1, 1]
    """
    _, place, counts = np.unique(order, return_inverse=True, return_counts=True)
    before = np.cumsum(counts) - counts  # rows that are earlier
    cuts = np.cumsum(fractions)[:-1] * len(order)
    later = np.searchsorted(before, cuts)  # the place before which, or before the one before, is cut
    ends, earlier = np.append(before, len(order)), np.maximum(later - 1, 0)
    first = np.where(np.abs(ends[earlier] - cuts) <= np.abs(ends[later] - cuts), earlier, later)
    return np.searchsorted(first, np.arange(len(counts)), side="right").astype(np.int8)[place]


def keeping(table: Table, schema: Schema) -> Iterator[tuple[str, str]]:
    """Give each column that orders the rows in time, with the first target whose label keeps for long."""
    exclusive = [target for target in schema.targets if target.exclusive]
    labels = {
        t.name: encode(t, [table.cells(name, schema.missing) for name in t.columns], "missing").reshape(-1)
        for t in exclusive
    }
    used = {name for target in schema.targets for name in target.columns}
    used |= {column.name for column in schema.inputs if column.kind in ("category", "image")}
    for name in table.names if labels else ():
        runs = name not in used and in_order(table, name) and numbers_rows(table, name)
        if name in used or not (runs or told_in_time(table, name, schema.missing)):
            continue
        order = by_column(table, name, schema.missing)
        target = next((target for target, y in labels.items() if keeps(order, y)), None)
        if target is not None:
            yield name, target


def keeps(order: NDArray[np.float64], y: IntArray) -> bool:
    """Tell whether neighbours in an order have the same label much more often than rows at random.

    A label that comes once and never again, as where rows are sorted by it, does not count.

    Shape:
        order: float (N,), NaN for none. y: int (N,), −1 for unknown.

    Source: the runs test of Wald and Wolfowitz 1940, of any number of classes.

    >>> time, n = np.arange(400.0), np.arange(400)
    >>> keeps(time, n // 10 % 2), keeps(time, n // 200), keeps(time, n % 2)
    (True, False, False)
    """
    there = np.flatnonzero((y >= 0) & np.isfinite(order))
    if len(there) < FEWEST:
        return False
    there = np.random.default_rng(0).permutation(there)  # rows of one moment are in no order
    labels = y[there[np.argsort(order[there], kind="stable")]]
    counts = np.bincount(labels)
    same, chance = np.mean(labels[1:] == labels[:-1]), float(np.sum((counts / len(labels)) ** 2))
    runs = 1 + (1 - same) * (len(labels) - 1)
    if chance == 1 or runs < RETURNS * (counts > 0).sum():
        return False
    sure = (same - chance) / np.sqrt(chance * (1 - chance) / (len(labels) - 1))
    return bool(sure > SURE and same - chance > KEPT * (1 - chance))
