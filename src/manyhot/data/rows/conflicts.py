"""Equal rows with different labels: hashes and labels come in, the rows that contradict each other leave.

`prepare` and `describe` ask; `classifier` writes what is found beside the model, the report shows it.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.paths import picture_column
from manyhot.data.rows.copies import any_equal
from manyhot.data.table import Table, from_python
from manyhot.errors import MAX_LIST, shortened
from manyhot.schema import Schema
from manyhot.targets import UNKNOWN, Labels, decode

SHOWN = 3  # sets that a note names
FILE = "conflicts.csv"  # in the folder of a model


@dataclass(frozen=True)
class Conflict:
    """Rows of equal inputs to which one target gives different labels.

    index  their positions in the table
    rows   their numbers in the source
    names  what people call them: the path of a picture, else the row
    given  their labels
    """

    target: str
    index: NDArray[np.intp]
    rows: tuple[int, ...]
    names: tuple[str, ...]
    given: tuple[str, ...]

    @property
    def sides(self) -> dict[str, str]:
        """The labels, each with the first row that has it."""
        found: dict[str, str] = {}
        for name, label in zip(self.names, self.given, strict=True):
            found.setdefault(label, name)
        return found

    def __str__(self) -> str:
        sides = [*self.sides.items()][:SHOWN]
        return " and ".join(f"{shortened(name)} is '{shortened(label)}'" for label, name in sides)


def without_input(table: Table, schema: Schema) -> NDArray[np.bool_]:
    """Tell which rows are empty in every column to predict from; bool (N,). Pictures are read elsewhere."""
    empty = np.ones(len(table), bool)
    for column in schema.inputs:
        missing = (*schema.missing, *column.missing)
        match column.kind:
            case "image":
                empty[:] = False
            case "number":
                empty &= np.isnan(table.numbers(column.name, missing, column.notation))
            case "category" | "date" | "text":
                empty &= table.cells(column.name, missing).codes < 0
            case _:
                assert_never(column.kind)
        if not empty.any():
            break
    return empty


def find(
    table: Table, schema: Schema, y: Labels, hashes: NDArray[np.uint64], empty: NDArray[np.bool_]
) -> list[Conflict]:
    """Return the sets of equal rows with different labels, those `empty` apart, target by target."""
    if not any_equal(hashes):
        return []
    _, same = np.unique(hashes, return_inverse=True)
    again = (np.bincount(same) > 1)[same] & ~empty
    found: list[Conflict] = []
    for target in schema.targets if again.any() else ():
        labels = y[target.name]
        values = labels.reshape(len(labels), -1)
        whole = np.flatnonzero(again & (values != UNKNOWN).all(axis=1))
        pairs = np.unique(np.column_stack([same[whole], values[whole]]), axis=0)
        clashing = np.flatnonzero(np.bincount(pairs[:, 0].astype(np.int64)) > 1)
        rows = whole[np.isin(same[whole], clashing)]
        rows = rows[np.argsort(same[rows], kind="stable")]
        sets = np.split(rows, np.flatnonzero(np.diff(same[rows])) + 1) if len(rows) else []
        for index in sorted(sets, key=lambda each: int(each[0])):
            given = tuple(decode(target, labels[index]))
            rows_of, names = tuple(map(int, table.rows[index])), _names(table, schema, index)
            found.append(Conflict(target.name, index, rows_of, names, given))
    return found


def told(found: Sequence[Conflict], empty: NDArray[np.bool_], more: str = "") -> Iterator[str]:
    """Say how many rows are empty, and which sets conflict, the first by name; `more` says where all are."""
    if empty.any():
        yield "1 row without any input" if empty.sum() == 1 else f"{empty.sum()} rows without any input"
    for target in dict.fromkeys(conflict.target for conflict in found):
        mine = [conflict for conflict in found if conflict.target == target]
        sets = "1 set" if len(mine) == 1 else f"{len(mine)} sets"
        named = [str(conflict) for conflict in mine[:SHOWN]]
        while len(named) > 1 and len("; ".join(named)) > MAX_LIST:
            named.pop()
        rest = [f"and {len(mine) - len(named)} more"] if len(mine) > len(named) else []
        shown = "; ".join([*named, *rest])
        yield f"target '{target}': {sets} of equal rows with different labels{more}: {shown}"


def as_table(found: Sequence[Conflict]) -> Table:
    """Return a line for each row that conflicts: its target, its set, its number, its name, its label."""
    lines = [
        (each.target, number, row, name, label)
        for number, each in enumerate(found, 1)
        for row, name, label in zip(each.rows, each.names, each.given, strict=True)
    ]
    columns = ([*cells] for cells in zip(*lines, strict=True))
    return from_python(dict(zip(("target", "set", "row", "name", "given"), columns, strict=True)), FILE)


def _names(table: Table, schema: Schema, index: NDArray[np.intp]) -> tuple[str, ...]:
    for column in schema.inputs:
        path = picture_column(table, column.name)
        if column.kind == "image" and path in table.columns:
            return tuple(str(table.column(path)[int(position)].as_py()) for position in index)
    return tuple(f"row {table.rows[position]}" for position in index)
