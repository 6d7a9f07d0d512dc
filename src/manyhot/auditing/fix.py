"""What a person decided, written into a new table: a table and REVIEWED.csv come in, a table leaves.

The page of an audit makes REVIEWED.csv: a line for each cell that is to be changed, for each row to be left
out, and for each finding that is to stay as it is.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from manyhot.auditing.findings import cell
from manyhot.data import arrays
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shortened
from manyhot.predict import beside
from manyhot.targets import list_of, tags_of

COLUMNS = ("row", "action", "column", "given", "value")
ACTIONS = ("change", "remove", "keep")


def fixed(table: Table, reviewed: Table) -> tuple[Table, dict[str, int]]:
    """Return the table with the decisions in it, and how many cells were changed and rows left out.

    Raises:
        UserError: REVIEWED.csv is of another table, or no such file.
    """
    absent = [name for name in COLUMNS if name not in reviewed.columns]
    if absent:
        raise UserError(
            f"{reviewed.source}: lacks {listed(absent)}; --fix takes the file that audit.html gives."
        )
    places = {int(number): place for place, number in enumerate(table.rows)}
    changes: dict[str, dict[int, str]] = {}
    gone: set[int] = set()
    lines = zip(*(reviewed.columns[name].to_pylist() for name in COLUMNS), strict=True)
    for line, (row, action, column, given, value) in enumerate(lines, 1):
        where = f"{reviewed.source} row {line}"
        place = places.get(_number(row))
        if place is None:
            raise UserError(
                f"{where}: '{row}' is no row of {table.source}; is it the review of another table?"
            )
        if action not in ACTIONS:
            raise UserError(f"{where}: action must be one of {listed(ACTIONS)}, got '{action}'.")
        if action == "remove":
            gone.add(place)
        if action != "change":
            continue
        if column not in table.columns:
            raise UserError(
                f"{where}: {table.source} has no column '{column}'; is it the review of another table?"
            )
        is_now = cell(table, column, place)
        if is_now != _text(given):
            raise UserError(
                f"{where}: row {row} of {table.source} has '{shortened(is_now)}' in column '{column}', not "
                f"'{shortened(_text(given))}'; is it the review of another table?"
            )
        changes.setdefault(column, {})[place] = _text(value)
    columns: dict[str, Any] = {name: _with(table.columns[name], new) for name, new in changes.items()}
    new = table.with_columns(columns)
    kept = np.setdiff1d(np.arange(len(table)), sorted(gone))
    done = {"changed": sum(map(len, changes.values())), "removed": len(gone)}
    return beside(new.take(kept) if gone else new, {}, (), {}), done


def _with(column: pa.ChunkedArray, new: dict[int, str]) -> Any:
    """Return a column with some cells written anew; numbers and lists become such where they can."""
    cells = column.to_pylist()
    lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    for place, value in new.items():
        tags = list_of(value)
        cells[place] = [*(tags if tags is not None else tags_of(value, (";",)))] if lists else value or None
    if lists:
        return pa.chunked_array([pa.array(cells, column.type)])
    texts = arrays.texts([None if each is None else str(each) for each in cells])
    try:
        return pa.chunked_array([arrays.cast(texts, column.type)])
    except pa.ArrowInvalid:  # a word in a column of numbers
        return pa.chunked_array([texts])


def _number(value: object) -> int:
    try:
        return int(float(str(value)))
    except ValueError:
        return -1


def _text(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value) if isinstance(value, list) else "" if value is None else str(value)
