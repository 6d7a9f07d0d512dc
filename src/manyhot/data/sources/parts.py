"""A table in several files of one folder: these come in, one Table leaves.

`sources.read` calls it. Rows are in the order of the files' names, and numbered through all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from manyhot.data.arrays import cast
from manyhot.data.sources.folder import is_litter
from manyhot.data.table import NoRowsError, Table
from manyhot.errors import UserError, listed


def parts_of(folder: Path, is_table: Callable[[Path], bool]) -> list[Path]:
    """Return the files of a folder that are parts of one table: several tables of one ending, and no others.

    What systems and engines leave beside them, such as _SUCCESS, does not count.
    """
    entries = sorted(folder.iterdir())
    there = [path for path in entries if not (is_litter(path.name) or path.name.startswith(("_", ".")))]
    alike = len({path.suffix.lower() for path in there}) == 1
    return there if len(there) > 1 and alike and all(p.is_file() and is_table(p) for p in there) else []


def together(folder: Path, tables: Sequence[Table]) -> Table:
    """Put tables of the same columns one below the other.

    A column is of one type in all of them, but for whole numbers beside others, and for parts without a cell.

    Raises:
        UserError: one of them has other columns than the first, or a column of another type; or no rows are
            there at all.
    """
    first = tables[0]
    for table in tables[1:]:
        lacking = [name for name in first.names if name not in table.columns]
        more = [name for name in table.names if name not in first.columns]
        if lacking or more:
            what = f"lacks {listed(lacking)}" if lacking else f"has {listed(more)} as well"
            raise UserError(
                f"{folder}: is read as one table in {len(tables)} files, and '{table.source}' {what}, unlike "
                f"'{first.source}'. Give all the same columns, or name one of these files."
            )
        if table.files or table.pixels is not None:
            raise UserError(f"{folder}: '{table.source}' holds pictures itself; name one of these files.")
    columns = {name: _joined(folder, name, tables) for name in first.names}
    if not any(map(len, tables)):
        raise NoRowsError(f"{folder}: none of its {len(tables)} files has rows.", Table(columns, folder.name))
    return Table(
        columns,
        folder.resolve().name,
        first.root,
        targets=first.targets,
        categories=frozenset[str]().union(*(table.categories for table in tables)),
        notes=(
            f"one table in {len(tables)} files, from {first.source} to {tables[-1].source}",
            *dict.fromkeys(note for table in tables for note in table.notes),
        ),
        on_disk=any(table.on_disk for table in tables),
    )


def _joined(folder: Path, name: str, tables: Sequence[Table]) -> pa.ChunkedArray:
    """Return one column of all tables."""
    columns = [table.columns[name] for table in tables]
    filled = [column for column in columns if column.null_count < len(column)] or columns[:1]
    kinds = [*dict.fromkeys(column.type for column in filled)]
    with suppress(pa.ArrowException):  # whole numbers that no float holds
        if len(kinds) == 1 or all(pa.types.is_integer(each) or pa.types.is_floating(each) for each in kinds):
            whole = all(map(pa.types.is_integer, kinds))
            kind = kinds[0] if len(kinds) == 1 else pa.int64() if whole else pa.float64()
            alike = [_as(column, kind) for column in columns]
            return pa.chunked_array([chunk for column in alike for chunk in column.chunks], kind)
    other = next(table for table in tables if table.columns[name].type == kinds[1])
    raise UserError(
        f"{folder}: column '{name}' is of type {kinds[1]} in '{other.source}', and of type {kinds[0]} "
        "before it. Write it alike in all files."
    )


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """Bring a column to a type; one without a cell fits any."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    found: pa.ChunkedArray = cast(column, kind)
    return found
