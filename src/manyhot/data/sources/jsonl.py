"""JSON lines: the path of a file with one object a line comes in, a Table of typed columns leaves.

`sources.read` calls it. Lists of plain values are tag lists; a column that mixes types becomes text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyhot.data.sources.text import Encoding, column_names, encoding_of
from manyhot.data.table import Table
from manyhot.errors import UserError, listed

BATCH = 20_000  # rows held as Python objects before they become arrays


def read_jsonl(path: Path, root: Path | None = None) -> Table:
    """Read a file of JSON objects, one a line; a key that a line lacks is an empty cell.

    Raises:
        UserError: a line is no JSON object or holds nested objects (the message names the line),
            or the file has no rows.
    """
    encoding: Encoding = encoding_of(path)
    codec = "utf-8-sig" if encoding.name == "utf-8" else encoding.name
    columns: dict[str, list[pa.Array]] = {}
    batch: list[dict[str, Any]] = []
    done = 0
    with path.open(encoding=codec) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                batch.append(_object(line, f"{path} line {number}"))
            if len(batch) == BATCH:
                done = _flush(path, columns, batch, done)
    done = _flush(path, columns, batch, done)
    if not done:
        raise UserError(f"{path}: the file has no rows. Write one JSON object a line.")
    names, notes = column_names(path, list(columns))
    joined = {name: _joined(chunks) for name, chunks in zip(names, columns.values(), strict=True)}
    notes = (*notes, encoding.note) if encoding.note else notes
    return Table(joined, path.name, path.parent if root is None else root, notes=notes)


def _object(line: str, where: str) -> dict[str, Any]:
    """Read one line, and check that its values are plain or lists of plain ones."""
    try:
        item = json.loads(line, object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, character {error.colno}: is not valid JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: cannot be read ({error}). Correct the line.") from None
    if not isinstance(item, dict):
        raise UserError(
            f'{where}: must be a JSON object such as {{"image": "a.png"}}, got {line.strip()[:40]}.'
        )
    for key, value in item.items():
        nested = isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value)
        )
        if nested:
            raise UserError(f"{where}: '{key}' holds nested values. Write it as columns of their own.")
    return item


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of an object's keys; the same key twice would silently lose a value."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {listed({key for key in keys if keys.count(key) > 1})} stands twice")
    return dict(pairs)


def _flush(path: Path, columns: dict[str, list[pa.Array]], batch: list[dict[str, Any]], done: int) -> int:
    """Turn the batch into one array a column, and empty it; return how many rows there are now."""
    if not batch:
        return done
    for key in dict.fromkeys(key for item in batch for key in item):
        if key not in columns:
            columns[key] = [pa.nulls(done)] if done else []
    for key, chunks in columns.items():
        try:
            chunks.append(_array([item.get(key) for item in batch]))
        except UnicodeEncodeError:
            raise UserError(
                f"{path}: '{key}' holds half a character (a lone surrogate). Correct it."
            ) from None
    done += len(batch)
    batch.clear()
    return done


def _array(values: list[Any]) -> pa.Array:
    """Make one array of values: of their type where they share one, else of text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        return pa.array([_tags(value) for value in values], pa.list_(pa.string()))
    if len(kinds) <= 1 or kinds == {int, float}:
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, OverflowError):  # an integer beyond 64 bits, or one that no float holds
            pass
    return pa.array([_text(value) for value in values], pa.string())


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
        return pa.chunked_array(chunks).cast(pa.string())
    kind = kinds.pop()
    if kinds == ({pa.int64(), pa.float64()} - {kind}) and kinds:
        kind = pa.float64()
    elif kinds:
        kind = pa.string()
        chunks = [pa.array([_text(value) for value in chunk.to_pylist()], kind) for chunk in chunks]
    return pa.chunked_array([chunk.cast(kind) for chunk in chunks], kind)
