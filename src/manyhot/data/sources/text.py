"""Delimited text: the path of a CSV or TSV file comes in, a Table of text columns leaves.

`sources.read` calls it. Every cell stays the text it is (`NA`, `007` and `1e3` too); only an empty cell
is null. The parsing is pyarrow's; Python looks at the first lines, and at a broken file to name the row.
"""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from manyhot.data.sources.write import ESCAPED, restore
from manyhot.data.table import Table
from manyhot.errors import UserError, listed

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
CHUNK = 1 << 22  # bytes held at a time while the encoding is checked
HEAD = 1 << 16  # characters looked at to find the delimiter
BLOCKS = (1 << 20, 1 << 25, 1 << 30)  # bytes pyarrow parses at a time; a longer row needs the next one
BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
END = "\x1fend of file\x1f"


@dataclass(frozen=True)
class Encoding:
    """What a file is written in, whether its quotes come in pairs, and a note when that was a guess."""

    name: str
    paired: bool = True
    note: str = ""


def read_text(path: Path, root: Path | None = None) -> Table:
    """Read a CSV or TSV file; the delimiter and the encoding are found out.

    Raises:
        UserError: the file is binary or empty or has a header only, columns have the same name,
            or a row has more or fewer fields than the header; the message names the row.
    """
    encoding = encoding_of(path)
    delimiter = sniff(path, encoding.name)
    with _rows(path, encoding.name, delimiter) as rows:
        header = next((row for row in rows if row and row != [END]), None)
    if header is None:
        raise UserError(f"{path}: the file is empty. Give a table with a header line and rows.")
    raw = _parse(path, encoding, delimiter, len(header))
    if not encoding.paired:
        _explain(path, encoding.name, delimiter, len(header))
    first = [str(raw[i][0].as_py() or "") for i in range(raw.num_columns)]
    names, notes = column_names(path, [re.sub(ESCAPED, r"\1", name) for name in first])
    body = raw.slice(1)
    if not body.num_rows:
        raise UserError(f"{path}: there is a header and no row below it.")
    columns = {name: _restored(column) for name, column in zip(names, body.columns, strict=True)}
    notes = (*notes, encoding.note) if encoding.note else notes
    return Table(columns, path.name, path.parent if root is None else root, notes=notes)


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


def sniff(path: Path, encoding: str) -> str:
    """Return the delimiter that gives the rows at the head of a file the columns of the header."""
    with path.open(encoding=_codec(encoding), newline="") as file:
        head = file.read(HEAD)
        whole = len(head) < HEAD
    usual = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    best, best_score = usual, (0.0, 0, 0)
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if row][:200]
        if not whole and len(rows) > 1:
            rows.pop()
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        share = sum(len(row) == width for row in rows[1:]) / max(len(rows) - 1, 1)
        score = (share, int(delimiter == usual), width)
        if score > best_score:
            best, best_score = delimiter, score
    return best


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


def _parse(path: Path, encoding: Encoding, delimiter: str, width: int) -> pa.Table:
    """Read all rows as text, the header among them, so that no name or value is interpreted."""
    types = {f"f{number}": pa.string() for number in range(width)}
    parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    convert = pacsv.ConvertOptions(column_types=types, strings_can_be_null=True, null_values=[""])
    for block in BLOCKS:
        options = pacsv.ReadOptions(autogenerate_column_names=True, block_size=block)
        try:
            with _as_utf_8(path, encoding.name) as file:
                raw = pacsv.read_csv(file, read_options=options, parse_options=parse, convert_options=convert)
            break
        except pa.ArrowInvalid as error:
            if "straddl" in str(error) and block != BLOCKS[-1]:
                continue
            if "Empty CSV" in str(error):  # a header without an end of line
                raise UserError(f"{path}: there is a header and no row below it.") from None
            _explain(path, encoding.name, delimiter, width)
            reason = str(error).splitlines()[0]
            raise UserError(f"{path}: cannot be read as delimited text ({reason}).") from None
    if raw.num_columns != width or any(kind != pa.string() for kind in raw.schema.types):
        raise UserError(f"{path}: the quotes in the header cannot be read. Remove them.")
    return raw


def _as_utf_8(path: Path, encoding: str) -> pa.NativeFile:
    """Open a text for pyarrow such that its threads call no Python: one that still does so at exit aborts."""
    if encoding == "utf-8":
        return pa.OSFile(os.fsencode(path))
    return pa.BufferReader(path.read_bytes().decode(_codec(encoding)).encode())


def _explain(path: Path, encoding: str, delimiter: str, width: int) -> None:
    """Raise a UserError that names the row with a wrong number of fields or an open quote, if any."""
    number = -1
    with _rows(path, encoding, delimiter) as rows:
        for row in rows:
            if not row or row == [END]:
                continue
            number += 1
            where = f"{path} row {number}" if number else f"{path}, header"
            if any(END in field for field in row):
                raise UserError(f"{where}: a quote is opened and never closed. Add or double the quote.")
            if len(row) != width:
                fields = "field" if len(row) == 1 else "fields"
                raise UserError(
                    f"{where}: {len(row)} {fields}, the header has {width}. Correct the row; "
                    f'a field that holds {DELIMITER_NAMES[delimiter]} stands in quotes ("…").'
                )


@contextmanager
def _rows(path: Path, encoding: str, delimiter: str) -> Iterator[Iterator[list[str]]]:
    """Open a file for row-by-row reading; a last row [END] follows unless an open quote swallows it."""
    limit = csv.field_size_limit(1 << 30)
    try:
        with path.open(encoding=_codec(encoding), newline="") as file:

            def lines() -> Iterator[str]:
                yield from file
                yield END

            yield csv.reader(lines(), delimiter=delimiter)
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


def _codec(encoding: str) -> str:
    """Name the Python codec that also skips a mark at the beginning."""
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _restored(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take away the quote that was written before text a spreadsheet would run as a formula."""
    found = pc.any(pc.match_substring_regex(column, ESCAPED)).as_py()
    return restore(column) if found else column
