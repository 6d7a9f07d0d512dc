"""Delimited text: the path of a CSV or TSV file comes in, a Table of text columns leaves.

`sources.read` calls it. Every cell stays the text it is (`NA`, `007` and `1e3` too); only an empty cell
is null. The parsing is pyarrow's; Python looks at the first lines, at a broken file to name the row, and at
rows of differing length.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

from manyhot.data import disk
from manyhot.data.arrays import contains, some
from manyhot.data.disk import Room
from manyhot.data.sources.dialect import DELIMITER_NAMES, ROWS, Dialect, codec_of, dialect_of
from manyhot.data.sources.headers import DOUBT, SURE, first_row
from manyhot.data.sources.unnamed import Unnamed, gather, name_columns
from manyhot.data.sources.write import ESCAPED, restore
from manyhot.data.table import NoRowsError, Table
from manyhot.errors import UserError, listed, shortened

CHUNK = 1 << 22  # bytes held at a time while the encoding is checked
# Bytes pyarrow parses at a time; a longer row needs the next one.
BLOCKS = (1 << 20, 1 << 22, 1 << 25, 1 << 30)
TOO_LONG = ("straddl", "cannot infer number of columns")  # what it says of one, and of such a first one
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
IN_MEMORY = 2  # times the bytes of a file that its cells take
ROOM = Room()
END = "\x1fend of file\x1f"


class RaggedError(UserError):
    """A row has more or fewer fields than the first one."""


@dataclass(frozen=True)
class Encoding:
    """What a file is written in, whether its quotes come in pairs, and a note when that was a guess."""

    name: str
    paired: bool = True
    note: str = ""


def read_text(path: Path, root: Path | None = None, header: str | None = None, room: Room = ROOM) -> Table:
    """Read a CSV or TSV file; the delimiter, the encoding and whether it has a header are found out.

    Without a header, which `header="none"` says too, columns are numbered from 1. Rows may then differ in
    length where the last field is a list of labels.

    A file that is too large for `room` is converted once, and mapped; see `disk`.

    Raises:
        UserError: the file is binary or empty or has a header only, columns have the same name,
            or a row has more or fewer fields than the header; the message names the row.
    """
    encoding = encoding_of(path)
    dialect = dialect_of(path, encoding.name)
    folder = path.parent if root is None else root
    with _rows(path, dialect) as rows:
        sample = [*islice((row for row in rows if row and row != [END]), ROWS)]
    if not sample:
        raise UserError(f"{path}: the file is empty. Give a table with a header line and rows.")
    large = not room.fits(path.stat().st_size * IN_MEMORY)
    verdict = first_row(sample, folder) if header is None else "data" if header == "none" else "names"
    notes = [*dialect.notes, *([encoding.note] if encoding.note else [])]
    if verdict == "data":
        found = _read_unnamed(path, encoding, dialect, sample, room)
        said = (*([SURE] if header is None else []), *found.notes, *notes)
        return Table(found.columns, path.name, folder, targets=found.targets, notes=said, on_disk=large)
    try:
        columns, odd = _read_named(path, encoding, dialect, sample, room)
    except UserError as error:
        if verdict == "unsure":
            error.args = (f"{error.typed} {DOUBT.capitalize()}.",)
        raise
    doubts = [DOUBT] if verdict == "unsure" else []
    return Table(columns, path.name, folder, notes=(*doubts, *odd, *notes), on_disk=large)


def _read_named(
    path: Path, encoding: Encoding, dialect: Dialect, sample: list[list[str]], room: Room
) -> tuple[dict[str, pa.ChunkedArray], tuple[str, ...]]:
    """Read the columns of a table that has a header, with notes on their names."""
    if len(sample) == 1:
        names, notes = column_names(path, [re.sub(ESCAPED, r"\1", name) for name in sample[0]])
        empty = dict.fromkeys(names, pa.chunked_array([], pa.string()))
        table = Table(empty, path.name, path.parent)
        raise NoRowsError(f"{path}: there is a header and no row below it.", table)
    raw = _parse(path, encoding, dialect, len(sample[0]), room=room)
    names, notes = column_names(path, [str(column[0].as_py() or "") for column in raw.columns])
    return dict(zip(names, raw.slice(1).columns, strict=True)), notes


def _read_unnamed(
    path: Path, encoding: Encoding, dialect: Dialect, sample: list[list[str]], room: Room
) -> Unnamed:
    """Read the columns of a table without a header; rows of differing length end in a list of labels."""
    if len({*map(len, sample)}) == 1:
        try:
            return name_columns(_parse(path, encoding, dialect, len(sample[0]), False, room).columns)
        except RaggedError:  # a row beyond the sample is longer or shorter
            pass
    with _rows(path, dialect) as rows:
        every = [row for row in rows if row and row != [END]]
    _refuse_open_quote(every[-1], f"{path} row {len(every)}")
    found = gather(every)
    if found is None:
        _explain(path, dialect, len(sample[0]), named=False)
        raise UserError(f"{path}: its rows differ in length, and end in no labels. Correct them.")
    columns, note = found
    unnamed = name_columns(columns)
    return replace(unnamed, notes=(note, *unnamed.notes))


def encoding_of(path: Path) -> Encoding:
    """Find out the encoding of a text file: by its mark, else UTF-8 where it is valid, else Windows-1252.

    Raises:
        UserError: the file holds NUL bytes or bytes that no known encoding has.
    """
    with path.open("rb") as file:
        head = file.read(4)
    for mark, name in BOMS:
        if head.startswith(mark):
            if _decodes(path, name):
                return Encoding(name)
            raise UserError(f"{path}: begins as {name.upper()} and is not. Save it as UTF-8.")
    paired, nul = True, False
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            nul = nul or b"\0" in block
            paired ^= block.count(b'"') % 2 == 1
    if nul:
        raise UserError(f"{path}: holds NUL bytes, so it is not text. Export the table as CSV (UTF-8).")
    if _decodes(path, "utf-8"):
        return Encoding("utf-8", paired)
    if _decodes(path, "cp1252"):
        return Encoding("cp1252", paired, f"{path.name} is not UTF-8: read as Windows-1252")
    raise UserError(f"{path}: is neither UTF-8 nor Windows-1252 (cp1252). Save it as UTF-8.")


def column_names(path: Path, names: list[str]) -> tuple[list[str], tuple[str, ...]]:
    """Check the names of a header; give a column without one a name, and say so.

    Raises:
        UserError: two columns have the same name, or none has any.
    """
    stripped = [name.strip() for name in names]
    if not any(stripped):
        raise UserError(
            f"{path}: the header names no column. Write the names of the columns in the first line."
        )
    named = [name or f"column {number}" for number, name in enumerate(stripped, 1)]
    twice = [name for name in dict.fromkeys(named) if named.count(name) > 1]
    if twice:
        raise UserError(
            f"{path}: more than one column is called {listed(twice)}. Rename or remove one of them."
        )
    given = [name for name, old in zip(named, stripped, strict=True) if not old]
    notes = [f"a column without a name is called {listed(given)}"] if given else []
    if stripped != names:
        notes.append("blanks around column names were removed")
    return named, tuple(notes)


def _parse(
    path: Path, encoding: Encoding, dialect: Dialect, width: int, named: bool = True, room: Room = ROOM
) -> pa.Table:
    """Read all rows as text, a header among them; no name or value is interpreted, but see `_restored`."""
    if dialect.delimiter == " ":  # any number of which stands between two fields
        _explain(path, dialect, width, named)
        with _rows(path, dialect) as rows:
            columns = zip(*(row for row in rows if row), strict=True)
            cells = {f"f{i}": pa.array(column, pa.string()) for i, column in enumerate(columns)}
            return _restored(pa.table(cells))
    types = {f"f{number}": pa.string() for number in range(width)}
    parse = pacsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    size = path.stat().st_size * IN_MEMORY
    for block in BLOCKS if room.fits(size) else BLOCKS[1:]:
        read = pacsv.ReadOptions(autogenerate_column_names=True, block_size=block, skip_rows=dialect.skip)
        how = {"read_options": read, "parse_options": parse, "convert_options": convert}
        try:
            raw: Any = None if room.fits(size) else _kept(path, encoding, dialect, how, room)
            if raw is None:
                with _as_utf_8(path, encoding.name, block) as file:
                    raw = _restored(pacsv.read_csv(file, **how))
            break
        except pa.ArrowInvalid as error:
            if any(words in str(error) for words in TOO_LONG) and block != BLOCKS[-1]:
                continue
            _explain(path, dialect, width, named)
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read as delimited text ({shortened(reason, 150)}).") from None
    if raw.num_columns != width or any(kind != pa.string() for kind in raw.schema.types):
        raise UserError(f"{path}: the quotes in the header cannot be read. Remove them.")
    if not encoding.paired:
        _explain(path, dialect, width, named)
    return raw


def _kept(path: Path, encoding: Encoding, dialect: Dialect, how: dict[str, Any], room: Room) -> Any:
    """Convert all rows some at a time, and map them; None where they cannot be kept."""
    block = how["read_options"].block_size
    told = [dialect.delimiter, dialect.skip, encoding.name, block]

    def convert() -> Iterator[pa.RecordBatch]:
        with _as_utf_8(path, encoding.name, block) as file:
            batches = room.told(f"rows of {path.name} converted", pacsv.open_csv(file, **how))
            yield from map(_restored, batches)

    return disk.columns(path, told, path.stat().st_size * IN_MEMORY, convert, room.keeps)


@contextmanager
def _as_utf_8(path: Path, encoding: str, block: int) -> Iterator[pa.NativeFile]:
    """Open a text for pyarrow such that its threads call no Python: one that still does so at exit aborts.

    Where a `block` of it ends between \\r and \\n, pyarrow passes over the \\n, which is missed in a cell.
    """
    if encoding == "utf-8" and not _parts_a_newline(path, block):
        with pa.OSFile(os.fsencode(path)) as file:
            yield file
        return
    with tempfile.TemporaryDirectory(prefix="manyhot-") as folder:  # which memory need not hold
        inside = Path(folder, "text")
        with path.open(encoding=codec_of(encoding), newline="") as text, inside.open("wb") as out:
            pieces = iter(lambda: text.read(CHUNK).encode(), b"")
            out.writelines(_with_newlines_twice(pieces, block))
        with pa.OSFile(os.fsencode(inside)) as file:
            yield file


def _parts_a_newline(path: Path, block: int) -> bool:
    """Tell whether a block of a file ends between \\r and \\n in quotes."""
    place, quotes, last = 0, 0, b""
    with path.open("rb") as file:
        while piece := file.read(min(block, CHUNK)):
            if place % block == 0 and quotes % 2 and last + piece[:1] == b"\r\n":
                return True
            place, quotes, last = place + len(piece), quotes + piece.count(b'"'), piece[-1:]
    return False


def _with_newlines_twice(pieces: Iterable[bytes], block: int) -> Iterator[bytes]:
    """Give a text with a second \\n wherever a block would else begin with one that ends \\r\\n."""
    place, last = 0, b""
    for piece in pieces:
        while piece:
            if place % block == 0 and last + piece[:1] == b"\r\n":
                piece = b"\n" + piece
            part, piece = piece[: block - place % block], piece[block - place % block :]
            place, last = place + len(part), part[-1:]
            yield part


def _explain(path: Path, dialect: Dialect, width: int, named: bool = True) -> None:
    """Raise a UserError that names the row with a wrong number of fields or an open quote, if any.

    Raises:
        RaggedError: it is the number of fields.
    """
    number = -1 if named else 0
    with _rows(path, dialect) as rows:
        for row in rows:
            if not row or row == [END]:
                continue
            number += 1
            where = f"{path} row {number}" if number else f"{path}, header"
            _refuse_open_quote(row, where)
            if len(row) != width:
                fields = "field" if len(row) == 1 else "fields"
                mark = DELIMITER_NAMES.get(dialect.delimiter, f"'{dialect.delimiter}'")
                raise RaggedError(
                    f"{where}: {len(row)} {fields}, the {'header' if named else 'first row'} has {width}. "
                    f'Correct the row; a field that holds {mark} stands in quotes ("…").'
                )


def _refuse_open_quote(row: list[str], where: str) -> None:
    if any(END in field for field in row):
        raise UserError(f"{where}: a quote is opened and never closed. Add or double the quote.")


@contextmanager
def _rows(path: Path, dialect: Dialect) -> Iterator[Iterator[list[str]]]:
    """Open a file for row-by-row reading; a last row [END] follows unless an open quote swallows it."""
    limit = csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding=dialect.codec, newline="") as file:

            def lines() -> Iterator[str]:
                yield from file
                yield END

            for _ in range(dialect.skip):
                next(file)
            if dialect.delimiter == " ":
                yield (line.split() for line in file)
            else:
                yield csv.reader(lines(), delimiter=dialect.delimiter)
    finally:
        csv.field_size_limit(limit)


def _decodes(path: Path, encoding: str) -> bool:
    """Tell whether a whole file is valid in an encoding, a block at a time."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _restored(rows: Any) -> Any:
    """Take away the quote that was written before text a spreadsheet would run as a formula; see `write`."""
    for place, column in enumerate(rows.columns):
        if pa.types.is_string(column.type) and some(contains(column, ESCAPED)):
            rows = rows.set_column(place, rows.schema.names[place], restore(column))
    return rows
