"""What a class stands for: a Table and a small table of classes come in, a Table with more columns leaves.

`sources.read` calls it for `--map COLUMN=FILE`. FILE has a row per class of COLUMN in its first column, and
what follows from the class in the others: tags, or other labels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest


def add_mapped(table: Table, column: str, mapping: Table) -> Table:
    """Return the table with the columns of `mapping` beside its own, looked up by the class in `column`.

    A class in `mapping` that no row has is passed over; an empty cell in `column` stays empty in all.

    Raises:
        UserError: a row has a class that `mapping` lacks, `mapping` has a class twice or no second
            column, or the table has a column of the same name already.

    >>> from manyhot.data.table import from_python
    >>> pets = from_python({"pet": ["cat", "carp", None, "cat"]})
    >>> classes = from_python({"pet": ["carp", "cat"], "tags": ["wet", "furry;loud"]})
    >>> add_mapped(pets, "pet", classes).column("tags").to_pylist()
    ['furry;loud', 'wet', None, 'furry;loud']
    """
    key, *added = mapping.names
    if not added:
        raise UserError(
            f"{mapping.source}: has one column, '{key}'; it must have the classes of '{column}' in the "
            "first column and what they stand for in a second."
        )
    for name in added:
        if name in table.columns:
            raise UserError(
                f"{mapping.source}: {table.source} has a column '{name}' too. Rename it in {mapping.source}."
            )
    cells, classes = table.cells(column), mapping.cells(key)
    if (classes.codes < 0).any():
        raise UserError(f"{classes.where(-1)}: names no class. Fill in the cell, or remove the row.")
    position = {classes.values[code]: row for row, code in enumerate(classes.codes)}
    if len(position) < len(mapping):
        code = int(np.flatnonzero(np.bincount(classes.codes) > 1)[0])
        raise UserError(f"{classes.where(code)}: '{classes.values[code]}' is there twice. Remove one row.")
    for number, value in enumerate(cells.values):
        if value not in position:
            near = suggest(str(value), map(str, classes.values))
            raise UserError(
                f"{cells.where(number)}: {mapping.source} has no row for '{value}'{near}; "
                f"it has {listed(map(str, classes.values))}. Add one."
            )
    rows = np.array([*(position[value] for value in cells.values), 0], dtype=np.int64)[cells.codes]
    taken = pa.array(rows, mask=cells.codes < 0)
    notes = (*table.notes, *mapping.notes)
    found = table.with_columns({name: mapping.column(name).take(taken) for name in added})
    return replace(found, notes=notes, mapped=(*table.mapped, column))
