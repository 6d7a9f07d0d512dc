"""Rows of one thing in two parts of a table: a Table with a split column comes in, words leave.

`describe` and `prepare` ask. Twins have equal inputs; near copies are equal but for rounding, or but for one
column; others share a group. Rows that are equal by chance, see `copies`, are none of these.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from manyhot.data.columns import split_of
from manyhot.data.inputs.hashing import ColumnHashes, hash_numbers
from manyhot.data.rows.copies import Columns, Hashes, by_chance, together
from manyhot.data.table import Table
from manyhot.schema import Schema

FEWEST, SHARE = 3, 0.01  # near copies that are told of: so many rows, and such a share of their part
MOST = 20_000  # rows, drawn at random, that near copies are looked for among
CELLS = 50  # of a standard deviation: numbers in one cell are equal but for rounding


def told(table: Table, schema: Schema, group: str = "") -> list[str]:
    """Say which rows to be judged by are copies of training rows, or of their groups.

    Copies of pictures are found where these are read.
    """
    return table.once(("twins", schema.inputs, schema.missing, group), lambda: [*_told(table, schema, group)])


def _told(table: Table, schema: Schema, group: str) -> Iterator[str]:
    given = split_of(table)
    if given is None:
        return
    columns: Columns = [] if schema.is_image else ColumnHashes(table, schema.inputs, schema.missing)
    for part in ("test", "val"):
        here, there = np.flatnonzero(given == part), np.flatnonzero(given == "train")
        if not len(here) or not len(there):
            continue
        if columns:
            yield from _copied(table, schema, columns, part, here, there)
        if group:
            cells = table.cells(group, schema.missing).codes
            shared = np.intersect1d(cells[here][cells[here] >= 0], cells[there])
            if len(shared):
                both = np.isin(cells[here], shared).sum()
                yield (
                    f"{_rows(both)} of {len(here):,} in split '{part}' {_are(both)} of the same '{group}' as "
                    f"training rows; {_flatters(part)}"
                )


def _copied(
    table: Table,
    schema: Schema,
    columns: Columns,
    part: str,
    here: NDArray[np.intp],
    there: NDArray[np.intp],
) -> Iterator[str]:
    """Say which rows of one part are twins or near copies of training rows."""
    names = sorted(column.name for column in schema.inputs if column.name in table.columns)
    every = together(columns)
    twins = np.isin(every[here], every[there])
    if twins.any() and not by_chance(columns):
        place = here[twins.argmax()]
        first = table.rows[there[(every[there] == every[place]).argmax()]]
        yield (
            f"{_rows(twins.sum())} of {len(here):,} in split '{part}' {_are(twins.sum())} exact twins of "
            f"training rows, such as row {table.rows[place]} of row {first}; {_flatters(part)}"
        )
    found = _near(table, schema, names, here[~twins], there)
    if found is not None:
        number, how = found
        yield (
            f"{_rows(number)} of {len(here):,} in split '{part}' are near copies of training rows, equal "
            f"but for {how}; {_flatters(part)}"
        )


def _near(
    table: Table,
    schema: Schema,
    names: Sequence[str],
    here: NDArray[np.intp],
    there: NDArray[np.intp],
) -> tuple[int, str] | None:
    """Return how many rows are near copies, and what tells them from what they are copied from."""
    rng = np.random.default_rng(0)
    here, there = (np.sort(rng.permutation(rows)[:MOST]) for rows in (here, there))
    both = np.union1d(here, there)
    table, is_here = table.take(both), np.isin(both, here)
    some = [*ColumnHashes(table, schema.inputs, schema.missing)]
    least = max(FEWEST, SHARE * len(here))

    def copied(left: Sequence[Hashes]) -> int:
        rows = together(left)
        number = int(np.isin(rows[is_here], rows[~is_here]).sum())
        return number if number >= least and not by_chance(left) else 0

    numbers = {column.name: column for column in schema.inputs if column.kind == "number"}
    found = [(0, "")]
    if numbers:
        for shift in (0.0, 0.5):  # one of two numbers that are nearly equal may lie beyond the edge of a cell
            rounded = list(some)
            for name, column in numbers.items():
                values = table.numbers(name, (*schema.missing, *column.missing), column.notation)
                with np.errstate(all="ignore"):
                    cell = np.floor(values / np.nanstd(values[np.isfinite(values)]) * CELLS + shift)
                if name in names:
                    rounded[names.index(name)] = hash_numbers(cell) + np.uint64(names.index(name))
            found.append((copied(rounded), "rounding"))
    for number, name in enumerate(names) if len(names) > 2 else ():
        found.append((copied([*some[:number], *some[number + 1 :]]), f"column '{name}'"))
    best = max(found, key=lambda pair: pair[0])
    return best if best[0] else None


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _flatters(part: str) -> str:
    what = "scores on them flatter the model" if part == "test" else "they choose what was learned by heart"
    return f"{what}. Give what belongs together the same split"
