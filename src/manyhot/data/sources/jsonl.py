"""JSON: the path of a file with one object a line, or an array of objects, comes in; a Table leaves.

`sources.read` calls it. What the values become is said in `values`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any

import pyarrow as pa

from manyhot.data.disk import Room, columns
from manyhot.data.plain import is_list
from manyhot.data.sources.dialect import codec_of
from manyhot.data.sources.text import Encoding, column_names, encoding_of
from manyhot.data.sources.values import Gathered, Row, Spooled, in_batches
from manyhot.data.table import NoRowsError, Table
from manyhot.errors import UserError, listed, shortened

BLOCK = 1 << 16  # characters of an array read at a time
LONGEST = 1 << 26  # characters after which an item that cannot be read is no longer taken for one cut short
ROOM = Room()
NO_BLANK = re.compile(r"\S|\Z")
OBJECT = 'must be a JSON object such as {"image": "a.png"}'
RowsOf = Callable[[IO[str], Path], Iterator[Row]]


def read_jsonl(path: Path, root: Path | None = None, room: Room = ROOM) -> Table:
    """Read a file of JSON objects, one a line; a key that a line lacks is an empty cell.

    A file that is too large for `room` is converted once, and mapped; see `disk`.

    Raises:
        UserError: a line is no JSON object or holds nested objects (the message names the line),
            or the file has no rows.
    """
    return _table(path, root, encoding_of(path), _lines, room)


def read_json(path: Path, root: Path | None = None, room: Room = ROOM) -> Table:
    """Read an array of JSON objects, or, where the file does not begin as an array, one object a line.

    Raises:
        UserError: as `read_jsonl`, or a part of the array is no object (the message names which).
    """
    encoding = encoding_of(path)
    with path.open(encoding=codec_of(encoding.name)) as file:
        is_array = file.read(BLOCK).lstrip()[:1] == "["
    if is_array:
        return _table(path, root, encoding, _items, room)
    try:
        table = read_jsonl(path, root, room)
        if len(table) == 1 and all(is_list(column.type) for column in table.columns.values()):
            raise UserError(f"{path}: is one object of lists.")
        return table
    except UserError as error:
        raise UserError(
            f"{error.typed} A .json file holds an array, [{{…}}, {{…}}], or one object a line."
        ) from None


def _table(path: Path, root: Path | None, encoding: Encoding, rows_of: RowsOf, room: Room) -> Table:
    """Gather rows into a table."""

    def gather(kept: list[pa.RecordBatch] | Spooled) -> Iterator[pa.RecordBatch]:
        gathered = Gathered(path, kept)
        with path.open(encoding=codec_of(encoding.name)) as file:
            batches = in_batches(rows_of(file, path))
            for batch in room.told(f"rows of {path.name} read", batches):
                gathered.add(batch)
        yield from gathered.batches()
        if not gathered.rows:
            raise NoRowsError(
                f"{path}: the file has no rows. Write one JSON object a line.", Table({}, path.name)
            )

    def convert() -> Iterator[pa.RecordBatch]:
        with TemporaryDirectory(prefix="manyhot-") as folder, closing(Spooled(Path(folder, "rows"))) as kept:
            yield from gather(kept)

    size, whole = path.stat().st_size, None
    if not room.fits(size):
        whole = columns(path, encoding.name, size, convert, room.keeps)
    on_disk = whole is not None
    if whole is None:
        whole = pa.Table.from_batches(gather([]))
    names, notes = column_names(path, whole.column_names)
    named = dict(zip(names, whole.columns, strict=True))
    notes = (*notes, encoding.note) if encoding.note else notes
    folder = path.parent if root is None else root
    return Table(named, path.name, folder, notes=notes, on_disk=on_disk)


def _lines(file: IO[str], path: Path) -> Iterator[dict[str, Any]]:
    """Read one object from each line that is not empty."""
    for number, line in enumerate(file, 1):
        if line.strip():
            yield _object(line, f"{path} line {number}")


class _Array:
    """The items of a JSON array, of which no more than the present one is held as text."""

    def __init__(self, file: IO[str]) -> None:
        self.file, self.text, self.at = file, "", 0

    def mark(self) -> str:
        """Return the next character that is no blank, without passing it; "" at the end of the file."""
        while True:
            self.at = NO_BLANK.search(self.text, self.at).start()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self._more(BLOCK):
                return self.text[self.at : self.at + 1]

    def item(self) -> Any:
        """Read the value that begins here; where it cannot be read, try again with more of the file."""
        size = BLOCK
        while True:
            try:
                value, self.at = DECODER.raw_decode(self.text, self.at)
                return value
            except json.JSONDecodeError:
                size *= 2
                if size > LONGEST or not self._more(size):
                    raise

    def _more(self, size: int) -> bool:
        more = self.file.read(size)
        self.text, self.at = self.text[self.at :] + more, 0
        return bool(more)


def _items(file: IO[str], path: Path) -> Iterator[dict[str, Any]]:
    """Read the objects of an array one by one."""
    array, number, before = _Array(file), 0, "["
    while array.mark() == before:
        array.at += 1
        if number == 0 and array.mark() == "]":
            break
        number += 1
        where = f"{path} item {number}"
        if array.mark() not in ("{", ""):
            found = array.text[array.at : array.at + 40]
            raise UserError(f"{where}: {OBJECT}, got {found}.")
        try:
            item = array.item()
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: is not valid JSON, or cut short ({error.msg}).") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{where}: cannot be read ({error}). Correct it.") from None
        yield _checked(item, where)
        before = ","
    if array.mark() != "]":
        raise UserError(
            f"{path}: after item {number} the array must go on with , or end with ] (is it cut short?)."
        )
    array.at += 1
    if array.mark():
        raise UserError(f"{path}: something follows the end of the array. Remove it.")


def _object(line: str, where: str) -> dict[str, Any]:
    """Read one line."""
    try:
        item = json.loads(line.rstrip(), object_pairs_hook=_pairs)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}, character {error.colno}: is not valid JSON ({error.msg}).") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: cannot be read ({error}). Correct the line.") from None
    if not isinstance(item, dict):
        raise UserError(f"{where}: {OBJECT}, got {line.strip()[:40]}.")
    return _checked(item, where)


def _checked(item: dict[str, Any], where: str) -> dict[str, Any]:
    """Refuse nested values."""
    for key, value in item.items():
        nested = isinstance(value, dict) or (
            isinstance(value, list) and any(isinstance(part, (dict, list)) for part in value)
        )
        if nested:
            raise UserError(
                f"{where}: '{shortened(key)}' holds nested values. Write it as columns of their own."
            )
    return item


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of an object's keys; the same key twice would silently lose a value."""
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        raise ValueError(f"the key {listed({key for key in keys if keys.count(key) > 1})} stands twice")
    return dict(pairs)


DECODER = json.JSONDecoder(object_pairs_hook=_pairs)
