"""A row for each label: a Table with a thing in several rows comes in, one with a row for each thing leaves.

`cli` calls `gather` for `--long`. Rows are of one thing where their inputs are equal: the path of a picture,
or all cells that a model reads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data.sources.read import read
from manyhot.data.table import PIXELS, Table
from manyhot.errors import UserError, listed
from manyhot.schema import Schema, Target
from manyhot.targets import encode, tags_of, text_of

NAMED = 3  # things that a note names
CONFIDENCE = "confidence"  # a column of this name that is 0 says that the label is not there

Index = NDArray[np.int64]


def gather(data: object, schema: Schema, separators: Sequence[str] = ()) -> Table:
    """Return the table with one row for each of the things that its rows are about, where these first stand.

    A target of single classes gets that of most rows, none where classes tie; one of tags those of all rows.
    `separators` stand between tags where the target's own would not, such as blanks in the names of classes.

    Raises:
        UserError: the pictures are in the table itself, or a column of the schema is not.

    >>> from manyhot.data.rows.infer import infer
    >>> from manyhot.data.table import from_python
    >>> rows = from_python({"x": [1, 1, 2], "label": ["sky", "sea", "sky"]})
    >>> gather(rows, infer(rows, tags={"label": None})).column("label").to_pylist()
    [['sky', 'sea'], ['sky']]
    """
    table = data if isinstance(data, Table) else read(data)
    if any(column.name == PIXELS for column in schema.inputs):
        raise UserError(
            f"{table.source}: --long gathers by paths or cells, and this holds its pictures itself."
        )
    inputs = [column.name for column in schema.inputs]
    thing = _things(table, inputs)
    first = np.unique(thing, return_index=True)[1]
    notes = [f"{len(table)} rows are of {len(first)} different inputs; --long gathered their labels"]
    there = _there(table, inputs)
    if not there.all():
        notes.append(f"{(~there).sum()} labels have the confidence 0 and are taken as not there")
    columns: dict[str, pa.ChunkedArray | pa.Array] = {}
    labels = {name for target in schema.targets for name in target.columns}
    differing = [n for n in table.names if n not in labels and _differs(table, n, thing, first)]
    if differing:
        notes.append(f"gathered rows differ in {listed(differing)}; the first row's cells are kept")
    for target in schema.targets:
        if len(target.columns) > 1:
            columns |= _flags(table, target, thing, schema.missing)
        elif target.exclusive:
            columns[target.columns[0]], ties = _majority(table, target, thing, there, schema.missing)
            if len(ties):
                names = listed(_named(table, schema, first[ties]), NAMED)
                notes.append(f"target '{target.name}': {len(ties)} tie between classes, so unknown: {names}")
        else:
            given = tuple(separators) or target.separators
            columns[target.columns[0]] = _tags(table, target.columns[0], given, thing, there, schema.missing)
    gathered = table.take(first).with_columns(columns)
    origin = tuple({**read, "long": [*separators]} for read in table.origin)
    return replace(gathered, notes=(*table.notes, *notes), origin=origin)


def _things(table: Table, names: Sequence[str]) -> Index:
    """Number the rows by what they are about, in the order in which each first stands; int64 (N,)."""
    thing: Index = np.zeros(len(table), np.int64)
    for name in names:
        codes = table.cells(name).codes.astype(np.int64)
        thing = np.unique(thing * (codes.max(initial=0) + 2) + codes + 1, return_inverse=True)[1]
    first = np.unique(thing, return_index=True)[1]
    return np.asarray(np.argsort(np.argsort(first))[thing], np.int64)


def _there(table: Table, inputs: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which labels are there: all but those whose confidence is 0; bool (N,)."""
    there = np.ones(len(table), bool)
    for name in table.names:
        if name.strip().lower() == CONFIDENCE and name not in inputs:
            cells = table.cells(name)
            zero = [text_of(value).strip() in ("0", "0.0") for value in cells.values]
            there &= ~np.array([*zero, False])[cells.codes]
    return there


def _differs(table: Table, name: str, thing: Index, first: Index) -> bool:
    """Tell whether the cells of a column differ between the rows of one thing."""
    codes = table.cells(name).codes
    return bool((codes != codes[first][thing]).any())


def _majority(
    table: Table, target: Target, thing: Index, there: NDArray[np.bool_], missing: Sequence[str]
) -> tuple[pa.ChunkedArray, Index]:
    """Return for each thing a cell with the class of most of its rows, and the things whose classes tie."""
    (name,) = target.columns
    cells = table.cells(name, missing)
    known = np.flatnonzero((cells.codes >= 0) & there)
    pairs = thing[known] * len(cells.values) + cells.codes[known]
    _, row, votes = np.unique(pairs, return_index=True, return_counts=True)
    row = known[row]
    order = np.lexsort((-votes, thing[row]))  # of each thing, the class of most votes first
    row, votes = row[order], votes[order]
    of, start = np.unique(thing[row], return_index=True)
    tie = np.zeros(len(of), bool)
    after = start + 1
    inside = after < np.append(start[1:], len(row))
    tie[inside] = votes[after[inside]] == votes[start[inside]]
    chosen = np.full(thing.max() + 1, -1, np.int64)
    chosen[of[~tie]] = row[start[~tie]]
    return table.column(name).take(pa.array(chosen, mask=chosen < 0)), of[tie]


def _tags(
    table: Table,
    name: str,
    separators: Sequence[str],
    thing: Index,
    there: NDArray[np.bool_],
    missing: Sequence[str],
) -> pa.Array:
    """Return for each thing the list of all tags of its rows, null where no row says anything."""
    cells = table.cells(name, missing)
    tags = [tags_of(value, separators) for value in cells.values]
    found: list[dict[str, None] | None] = [None] * (int(thing.max()) + 1)
    known = np.flatnonzero(cells.codes >= 0)
    for number, code, is_there in zip(thing[known], cells.codes[known], there[known], strict=True):
        so_far = found[number]
        if so_far is None:
            so_far = found[number] = {}
        if is_there:
            so_far.update(dict.fromkeys(tags[code]))
    return pa.array([None if each is None else [*each] for each in found], pa.list_(pa.string()))


def _flags(table: Table, target: Target, thing: Index, missing: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """Return 0/1 columns that are 1 where they are in any row of a thing, else 0 where they are in any."""
    every = Target(target.name, "multilabel", target.columns, target.columns)
    y = encode(every, [table.cells(name, missing) for name in target.columns])
    columns: dict[str, pa.ChunkedArray] = {}
    for number, name in enumerate(target.columns):
        order = np.lexsort((-y[:, number], thing))
        best = order[np.unique(thing[order], return_index=True)[1]]
        columns[name] = table.column(name).take(pa.array(best))
    return columns


def _named(table: Table, schema: Schema, rows: Index) -> Iterable[str]:
    """Name rows for people: by the one cell that their input is, such as a path, else by their number."""
    if len(schema.inputs) > 1:
        return [f"row {number}" for number in table.rows[rows]]
    cells = table.cells(schema.inputs[0].name)
    return [text_of(cells.values[code]) for code in cells.codes[rows]]
