"""Values of Python into columns: rows come in one by one, pyarrow columns of one type each leave.

`jsonl` and `excel` gather with it. Rows wait as objects of Python until there are BATCH of them, so that
memory is that of the columns. Lists of plain values are tag lists; a column that mixes types becomes text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyhot.data.arrays import array, cast, texts
from manyhot.errors import UserError

BATCH = 20_000  # rows held as Python objects before they become arrays


class Gathered:
    """Columns of the rows that were added; a name that a row lacks is an empty cell."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = 0
        self._columns: dict[str, list[pa.Array]] = {}
        self._batch: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row: plain values, or lists of these, by the names of their columns."""
        self._batch.append(row)
        if len(self._batch) == BATCH:
            self._flush()

    def columns(self) -> dict[str, pa.ChunkedArray]:
        """Return the columns in the order in which their names came."""
        self._flush()
        return {name: _joined(chunks) for name, chunks in self._columns.items()}

    def _flush(self) -> None:
        """Turn the batch into one array a column, and empty it."""
        for key in dict.fromkeys(key for row in self._batch for key in row):
            if key not in self._columns:
                self._columns[key] = [pa.nulls(self.rows)] if self.rows else []
        for key, chunks in self._columns.items():
            try:
                chunks.append(_array([row.get(key) for row in self._batch]))
            except UnicodeEncodeError:
                raise UserError(
                    f"{self.path}: '{key}' holds half a character (a lone surrogate). Correct it."
                ) from None
        self.rows += len(self._batch)
        self._batch.clear()


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


def _joined(chunks: list[pa.Array]) -> pa.ChunkedArray:
    """Put the batches of a column together; where their types differ, as numbers or else as text."""
    kinds = {chunk.type for chunk in chunks if chunk.type != pa.null()}
    if not kinds:
        return cast(pa.chunked_array(chunks), pa.string())
    kind = kinds.pop()
    if kinds == ({pa.int64(), pa.float64()} - {kind}) and kinds:
        kind = pa.float64()
    elif kinds:
        kind = pa.string()
        chunks = [texts([_text(value) for value in chunk.to_pylist()]) for chunk in chunks]
    return pa.chunked_array([cast(chunk, kind) for chunk in chunks], kind)
