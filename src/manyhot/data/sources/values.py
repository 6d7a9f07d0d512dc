"""Values of Python into columns: rows come in one by one, pyarrow columns of one type each leave.

`jsonl` and `excel` gather with it. No more than BATCH rows are there as objects of Python, so that memory
is that of the columns, or of a batch where these lie in a file. Lists of plain values are tag lists; a column
that mixes types becomes text.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyhot.data.arrays import array, call, cast, texts
from manyhot.errors import UserError

BATCH = 20_000  # rows held as Python objects before they become arrays
LARGEST = 1 << 53  # whole number up to which each is a float
WIDE = pa.uint64()  # stands for whole numbers beyond it, of which no column is
Row = Mapping[str, Any]


def in_batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Give rows BATCH at a time."""
    return iter(lambda: [*islice(rows, BATCH)], [])


class Spooled:
    """Batches that lie in a file, one behind the other."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._file = pa.OSFile(os.fsencode(path), "wb")

    def append(self, batch: pa.RecordBatch, /) -> None:
        """Keep another batch."""
        with pa.ipc.new_stream(self._file, batch.schema) as writer:
            writer.write_batch(batch)
        self.count += 1

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        self._file.flush()
        with pa.OSFile(os.fsencode(self.path)) as file:
            for _ in range(self.count):
                yield from pa.ipc.open_stream(file)

    def close(self) -> None:
        """Write no more."""
        self._file.close()


class Gathered:
    """Columns of the rows that were added; a name that a row lacks is an empty cell.

    `kept` is where they are until all are added, since only then the type of each column is known.
    """

    def __init__(self, path: Path, kept: list[pa.RecordBatch] | Spooled | None = None) -> None:
        self.path = path
        self.rows = 0
        self._kept = [] if kept is None else kept
        self._kinds: dict[str, set[pa.DataType]] = {}  # of the batches, in the order in which names came

    def add(self, batch: Sequence[Row]) -> None:
        """Add some rows: plain values, or lists of these, by the names of their columns."""
        cells: dict[str, pa.Array] = {}
        for key in dict.fromkeys(key for row in batch for key in row):
            try:
                cells[key] = _array([row.get(key) for row in batch])
            except UnicodeEncodeError:
                raise UserError(
                    f"{self.path}: '{key}' holds half a character (a lone surrogate). Correct it."
                ) from None
            self._kinds.setdefault(key, set()).update(_kinds(cells[key]))
        kept = cells or {"": pa.nulls(len(batch))}  # of rows without any cell, how many they are
        self._kept.append(pa.RecordBatch.from_arrays([*kept.values()], [*kept]))
        self.rows += len(batch)

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """Return the columns in the order in which their names came."""
        batches = [*self.batches()]
        whole = pa.Table.from_batches(batches) if batches else pa.table({})
        return dict(zip(whole.column_names, whole.columns, strict=True))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give all rows, some at a time, each column of one type."""
        schema = pa.schema([(name, _shared(kinds)) for name, kinds in self._kinds.items()])
        for batch in self._kept:
            there = dict(zip(batch.schema.names, batch.columns, strict=True))
            cells = [_as(there.get(field.name, pa.nulls(len(batch))), field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(cells, schema=schema)


def _array(values: list[Any]) -> pa.Array:
    """Make one array of values: of their type where they share one, else of text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        return pa.array([_tags(value) for value in values], pa.list_(pa.string()))
    if len(kinds) <= 1 or kinds == {int, float}:
        try:
            return array(values)
        except (pa.ArrowInvalid, OverflowError):  # an integer beyond 64 bits, or one that no float holds
            pass
    return texts([_text(value) for value in values])


def _tags(value: list[Any] | None) -> list[str] | None:
    return None if value is None else [_text(part) or "" for part in value if part is not None]


def _text(value: object) -> str | None:
    """Give a value the text that a CSV has for it; a list stays a JSON list, which `tags_of` reads."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _kinds(cells: pa.Array) -> set[pa.DataType]:
    """Return which types the cells of a batch ask for; none where all are empty."""
    if cells.type == pa.int64() and len(cells) > cells.null_count:
        ends = call("min_max", cells).as_py()
        return {cells.type, *([WIDE] if max(-ends["min"], ends["max"]) > LARGEST else [])}
    return {cells.type} - {pa.null()}


def _shared(kinds: set[pa.DataType]) -> pa.DataType:
    """Return the type of a column whose batches ask for these: theirs, or numbers, else text."""
    if len(kinds) == 1:
        return next(iter(kinds))
    if kinds == {pa.int64(), WIDE}:
        return pa.int64()
    return pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()


def _as(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    """Bring the cells of a batch to the type of their column."""
    if kind == pa.string() != cells.type:
        return texts([_text(value) for value in cells.to_pylist()])
    return cast(cells, kind)
