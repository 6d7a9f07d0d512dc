"""Parquet and Arrow files: the path of a file comes in, a Table of typed columns leaves.

`sources.read` calls it, `pieces` reads Parquet through it. What Hugging Face's data sets add, pictures in
cells and names for the numbers of classes, is read by `hugging_face`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from manyhot.data.plain import is_binary, is_nested
from manyhot.data.sources.hugging_face import class_names, held_pictures
from manyhot.data.sources.text import column_names
from manyhot.data.table import NoRowsError, Table, from_python
from manyhot.errors import UserError, listed

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

ARROW = b"ARROW1"  # how files begin, and a stream of Arrow's does not
# What is raised of broken files; the last two where a header promises too much, and where a name is no text.
BROKEN = (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError)


def read_parquet(path: Path, root: Path | None = None) -> Table:
    """Read a Parquet file; columns of nested values are left out and named in the notes.

    Raises:
        UserError: the file is no Parquet file, has no rows, or has two columns of the same name.
    """
    with open_parquet(path) as file:
        return from_arrow(file.read(), path, root)


def read_arrow(path: Path, root: Path | None = None) -> Table:
    """Read a file of Arrow's (Feather is one), or a stream of its messages, as `datasets` keeps them.

    Raises:
        UserError: the file is neither, has no rows, or has two columns of the same name.
    """
    with path.open("rb") as file:
        head = file.read(len(ARROW))
    try:
        with pa.OSFile(os.fsencode(path)) as stream:
            data = (pa.ipc.open_file if head == ARROW else pa.ipc.open_stream)(stream).read_all()
        data.validate(full=True)  # what a broken file says of its cells is believed by all that reads them
        if not data.num_rows:
            raise NoRowsError(f"{path}: the file has no rows.", from_arrow(data, path, root))
        return from_arrow(data, path, root)
    except BROKEN as error:
        raise UserError(f"{path}: cannot be read as Arrow ({_reason(error)}).") from None


@contextmanager
def open_parquet(path: Path) -> Iterator[ParquetFile]:
    """Open a Parquet file, of which no more is read than is asked for. Raises UserError as `read_parquet`."""
    from pyarrow.parquet import ParquetFile

    try:
        stream = pa.OSFile(os.fsencode(path))  # no file of Python's, see `text._as_utf_8`
        with stream, ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False) as file:
            if not file.metadata.num_rows:
                columns = from_arrow(file.schema_arrow.empty_table(), path)
                raise NoRowsError(f"{path}: the file has no rows.", columns)
            yield file
    except BROKEN as error:
        raise UserError(f"{path}: cannot be read as Parquet ({_reason(error)}).") from None


def from_arrow(data: pa.Table, path: Path, root: Path | None = None) -> Table:
    """Make a table of what was read from a file; columns of nested values are left out and named."""
    names, notes = column_names(path, data.column_names)
    data, said = class_names(data.rename_columns(names).replace_schema_metadata(data.schema.metadata))
    files = {}
    for name in names:
        found = held_pictures(data[name])
        if found is not None:
            column, files[name] = found
            data = data.set_column(data.column_names.index(name), name, column)
    left = [name for name in names if is_nested(data[name].type) or is_binary(data[name].type)]
    table = from_python(data.drop_columns(left), path.name)
    if left:
        notes = (*notes, f"left out: columns of nested values, {listed(left)}")
    folder = path.parent if root is None else root
    marked = table.categories | (_marked(data) & {*table.names})
    return replace(table, root=folder, notes=(*notes, *said), files=files, categories=marked)


def _marked(data: pa.Table) -> set[str]:
    """Return the columns that pandas wrote as categories; Parquet itself keeps that of texts only."""
    try:
        columns = json.loads((data.schema.metadata or {})[b"pandas"])["columns"]
        return {str(column["name"]) for column in columns if column["pandas_type"] == "categorical"}
    except (KeyError, TypeError, ValueError, RecursionError):
        return set()


def _reason(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")[:150]
