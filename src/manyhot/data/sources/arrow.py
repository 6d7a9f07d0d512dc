"""Parquet and Arrow files: the path of a file comes in, a Table of typed columns leaves.

`sources.read` calls it, `pieces` reads Parquet through it. What Hugging Face's data sets add, pictures in
cells and names for the numbers of classes, is read by `hugging_face`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from manyhot.data.arrays import call, some
from manyhot.data.disk import ROWS, Room, columns
from manyhot.data.plain import bare, column_of, is_binary, is_list, is_nested
from manyhot.data.sources.hugging_face import class_names, held_pictures
from manyhot.data.sources.text import column_names
from manyhot.data.table import NoRowsError, Table, from_python
from manyhot.errors import UserError, listed

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

ROOM = Room()
TEXT = 20  # bytes of a cell of text, about
CATEGORIES = b"manyhot categories"  # key of the columns that were categories before they were converted
ARROW = b"ARROW1"  # how files begin, and a stream of Arrow's does not
# What is raised of broken files; the last two where a header promises too much, and where a name is no text.
BROKEN = (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError)


def read_parquet(path: Path, root: Path | None = None, room: Room = ROOM) -> Table:
    """Read a Parquet file; columns of nested values are left out and named in the notes.

    One that is too large for `room` is converted once, and mapped; see `disk`.

    Raises:
        UserError: the file is no Parquet file, has no rows, or has two columns of the same name.
    """
    with open_parquet(path) as file:
        rows, schema = int(file.metadata.num_rows), file.schema_arrow
        size = max(
            _width(schema) * rows,
            sum(file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)),
        )
        if not room.fits(size):
            batches = room.told(f"rows of {path.name} converted", file.iter_batches(ROWS), rows)
            kept = columns(path, "rows", size, lambda: _plain(batches), room.keeps)
            if kept is not None:
                return replace(from_arrow(kept, path, root), on_disk=True)
        return from_arrow(file.read(), path, root)


def read_arrow(path: Path, root: Path | None = None, room: Room = ROOM) -> Table:
    """Read a file of Arrow's (Feather is one), or a stream of its messages, as `datasets` keeps them.

    One that is too large for `room` is mapped as it is, or converted once where its cells are packed or are
    not as the rest wants them.

    Raises:
        UserError: the file is neither, has no rows, or has two columns of the same name.
    """
    with path.open("rb") as file:
        head = file.read(len(ARROW))
    try:
        opened = pa.ipc.open_file if head == ARROW else pa.ipc.open_stream
        data = None if room.fits(path.stat().st_size) else _mapped(path, opened, room)
        on_disk = data is not None
        if data is None:
            with pa.OSFile(os.fsencode(path)) as stream:
                data = opened(stream).read_all()
            # What a broken file says of its cells is believed by all that reads them.
            data.validate(full=True)
        if not data.num_rows:
            raise NoRowsError(f"{path}: the file has no rows.", from_arrow(data, path, root))
        return replace(from_arrow(data, path, root), on_disk=on_disk)
    except BROKEN as error:
        raise UserError(f"{path}: cannot be read as Arrow ({_reason(error)}).") from None


def _mapped(path: Path, opened: Callable[[Any], Any], room: Room) -> pa.Table | None:
    """Map a file of Arrow's, or what it is converted to; None of one without rows, or that cannot be kept."""
    with pa.memory_map(os.fsencode(path)) as stream:
        before = pa.total_allocated_bytes()
        first = next(_batches(opened(stream)), None)
        if first is None:
            return None
        packed = pa.total_allocated_bytes() - before > 0
        if not packed and all(map(_is_plain, first.schema.types)):
            stream.seek(0)
            data = opened(stream).read_all()
            data.validate(full=True)
            if not any(_holds_nan(column) for column in data.columns):
                return data
    with pa.memory_map(os.fsencode(path)) as stream:
        told = room.told(f"rows of {path.name} converted", _batches(opened(stream)))
        return columns(path, "rows", path.stat().st_size, lambda: _plain(told), room.keeps)


def _batches(reader: Any) -> Iterator[pa.RecordBatch]:
    """Give the batches of a file or a stream, the rows of large ones some at a time."""
    several = (
        (reader.get_batch(number) for number in range(reader.num_record_batches))
        if hasattr(reader, "num_record_batches")
        else reader
    )
    for batch in several:
        batch.validate(full=True)  # what a broken file says of its cells is believed by all that reads them
        for first in range(0, len(batch), ROWS):
            yield batch.slice(first, ROWS)


def _holds_nan(column: pa.ChunkedArray) -> bool:
    return pa.types.is_floating(column.type) and some(call("is_nan", column))


def _width(schema: pa.Schema) -> float:
    """Return how many bytes a row takes, texts of usual length."""
    width = 0.0
    for kind in schema.types:
        try:
            width += kind.bit_width / 8
        except ValueError:
            width += TEXT
    return width


def _is_plain(kind: pa.DataType) -> bool:
    """Tell whether cells of a type are read as they are; of floats those that are numbers."""
    plain = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or kind == pa.string()
    return bool(plain or kind in (pa.float32(), pa.float64()))


def _plain(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Give the columns of batches plain types, but for those of which the whole must be seen for that."""
    for batch in batches:
        cells, fields = [], []
        categories = [field.name for field in batch.schema if pa.types.is_dictionary(field.type)]
        for column, field in zip(batch.columns, batch.schema, strict=True):
            found = bare(pa.chunked_array([column]))
            if not (is_nested(found.type) or is_list(found.type) or is_binary(found.type)):
                (found, _) = column_of(found, field.name)
            cells.append(found.combine_chunks())
            fields.append(pa.field(field.name, found.type))
        told = {**(batch.schema.metadata or {}), CATEGORIES: json.dumps(categories).encode()}
        yield pa.RecordBatch.from_arrays(cells, schema=pa.schema(fields, told))


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
    cells = pa.table([*map(bare, data.columns)], names=names, metadata=data.schema.metadata)
    data, said = class_names(cells)
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
    said_so = {*json.loads((data.schema.metadata or {}).get(CATEGORIES, b"[]"))} | _marked(data)
    marked = table.categories | (said_so & {*table.names})
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
