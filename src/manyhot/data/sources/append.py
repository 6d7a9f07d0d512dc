"""The rows of two tables in one: the old ones, then the new ones.

`starting` calls it where a fit goes on from a model with new rows alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from manyhot.data import arrays
from manyhot.data.columns import SPLIT, picture_there, split_of
from manyhot.data.plain import is_list
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.targets import text_of


def append(old: Table, new: Table, paths: str | None = None) -> Table:
    """Return the rows of both tables; a column that one of them lacks is empty in its rows.

    The rows of `new` are numbered after those of `old`. The paths in the column `paths` become relative to a
    folder that both have in common. Where only one has a column 'split', its test rows are left out.

    Raises:
        UserError: the pictures of one are in the table itself and those of the other are not, or differ.
    """
    first, second = _split_alike(old, new)
    if (first.pixels is None) != (second.pixels is None):
        raise UserError(f"{new.source}: its pictures are not held as those of {old.source} are.")
    pixels = None
    if first.pixels is not None and second.pixels is not None:
        alike = [(each.dtype, each.shape[1:]) for each in (first.pixels, second.pixels)]
        if alike[0] != alike[1]:
            raise UserError(
                f"{new.source}: its pictures have another size or type than those of {old.source}."
            )
        pixels = np.concatenate([first.pixels, second.pixels])
    root = _common(first.root, second.root) if paths else first.root or second.root
    if paths:
        first, second = (_below(table, root, paths) for table in (first, second))
    names = dict.fromkeys((*first.names, *second.names))
    files = dict.fromkeys((*first.files, *second.files))
    none = [np.full(len(table), None, object) for table in (first, second)]
    held = {n: np.concatenate([first.files.get(n, none[0]), second.files.get(n, none[1])]) for n in files}
    return Table(
        {name: _joined(first, second, name) for name in names},
        f"{old.source} and {new.source}",
        root,
        pixels,
        first.targets or second.targets,
        first.categories | second.categories,
        notes=tuple(dict.fromkeys((*old.notes, *new.notes))),
        mapped=tuple(dict.fromkeys((*old.mapped, *new.mapped))),
        rows=np.concatenate([first.rows, second.rows + first.rows.max(initial=0)]),
        files=held,
        trusted=first.trusted and second.trusted,
        origin=(*old.origin, *new.origin),
    )


def _split_alike(old: Table, new: Table) -> tuple[Table, Table]:
    """Take the test rows and the split out of a table that has a split, where the other has none."""
    splits = [split_of(table) for table in (old, new)]
    if all(each is None for each in splits) or all(each is not None for each in splits):
        return old, new
    first, second = (
        table if given is None else _without(table.take(np.asarray(given != "test")), SPLIT)
        for table, given in zip((old, new), splits, strict=True)
    )
    return first, second


def _without(table: Table, column: str) -> Table:
    return replace(table, columns={name: c for name, c in table.columns.items() if name != column})


def _common(first: Path | None, second: Path | None) -> Path | None:
    """Return the folder that two roots are below."""
    if first is None or second is None or first.absolute() == second.absolute():
        return first or second
    try:
        return Path(os.path.commonpath([first.absolute(), second.absolute()]))
    except ValueError:  # of two drives
        raise UserError(
            f"{second}: its pictures are on another drive than {first}. Bring them together."
        ) from None


def _below(table: Table, root: Path | None, column: str) -> Table:
    """Return a table whose paths of pictures are relative to a folder above its own."""
    if root is None or table.root is None or table.root.absolute() == root.absolute() or table.files:
        return table
    own, ahead = table.root, os.path.relpath(table.root.absolute(), root.absolute())

    def path(cell: str | None) -> str | None:
        if (
            cell is None
            or not cell.strip()
            or Path(cell).is_absolute()
            or os.path.normpath(cell).startswith("..")
        ):
            return cell  # which leaves the folder, or is none: that is told where it is opened
        return str(Path(ahead) / (picture_there(own, cell) or cell.strip()))

    changed = arrays.texts([*map(path, table.column(column).to_pylist())])
    return replace(table.with_columns({column: changed}), root=root, trusted=table.trusted)


def _joined(first: Table, second: Table, name: str) -> pa.ChunkedArray:
    """Return the cells of one column of both; as texts where they are of two types."""
    both = [table.columns.get(name) for table in (first, second)]
    kinds = {column.type for column in both if column is not None and column.null_count < len(column)}
    if len(kinds) > 1:
        both = [_texts(table, name) if name in table.columns else None for table in (first, second)]
        kinds = {pa.string()}
    kind = next(iter(kinds), pa.string())
    chunks = [
        arrays.cast(column, kind) if column is not None else pa.chunked_array([pa.nulls(len(table), kind)])
        for table, column in zip((first, second), both, strict=True)
    ]
    return pa.chunked_array([chunk for column in chunks for chunk in column.chunks], kind)


def _texts(table: Table, name: str) -> pa.ChunkedArray:
    """Return cells as the texts that they stand for, lists as JSON."""
    if is_list(table.column(name).type):
        lists = table.column(name).to_pylist()
        return pa.chunked_array(
            [arrays.texts([None if each is None else json.dumps(each) for each in lists])]
        )
    cells = table.cells(name)
    texts = np.array([*map(text_of, cells.values), None], object)
    return pa.chunked_array([arrays.texts(texts[cells.codes].tolist())])
