"""A table into a file: CSV, TSV, JSON lines or Parquet, by the name's ending.

`cli` writes answers with it. What `write` writes, `read` reads back unchanged.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.csv

from manyhot.data.arrays import blocks, call, cast, contains, pc, some, texts
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.files import write_with

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")
# A spreadsheet runs a cell that begins like this. An apostrophe in front makes it text; cells that
# begin with apostrophes already get one more, so that reading can always take one away.
FORMULA = r"^('*[=+\-@\t\r])"
ESCAPED = r"^'('*[=+\-@\t\r])"
NUMBER = r"^[+-]?\p{Sc}?[ \d.,'’]*\d[ \d.,'’]*([eE][+-]?\d+)?[ %\p{Sc}]*$"  # as people write them too


def write(table: Table, path: Path) -> None:
    """Write a table to a file, whole or not at all. Raises UserError as `write_pieces`."""
    write_pieces([table], path)


def write_pieces(pieces: Iterable[Table], path: Path) -> None:
    """Write tables of the same columns, one at least, below each other into a file, whole or not at all.

    Raises:
        UserError: the name's ending is none of .csv .tsv .jsonl .parquet.
    """
    check_ending(path)

    def fill(temporary: Path) -> None:
        with temporary.open("wb") as file:
            write_to(pieces, file, path.suffix.lower())

    write_with(path, fill)


def check_ending(path: Path, option: str = "--out") -> None:
    """Refuse a name that says no known format, before any work is done."""
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{option} {path}: must end in one of {listed(ENDINGS)}.")


def write_to(pieces: Iterable[Table], file: IO[bytes], ending: str = ".csv") -> None:
    """Write tables below each other to an open binary file, in the format of an ending."""
    if ending == ".parquet":
        from pyarrow.parquet import ParquetWriter

        arrows = (pa.table(dict(table.columns)) for table in pieces)
        first = next(arrows)
        with ParquetWriter(file, first.schema) as writer:
            for arrow in chain([first], arrows):
                writer.write_table(arrow)
    elif ending == ".jsonl":
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n", write_through=True)
        for table in _in_blocks(pieces):
            for row in pa.table(dict(table.columns)).to_pylist():
                text.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
        text.detach()
    else:
        delimiter = "\t" if ending == ".tsv" else ","
        for number, table in enumerate(_in_blocks(pieces)):
            flat = pa.table({_escape_text(name): _flat(column) for name, column in table.columns.items()})
            how = {"delimiter": delimiter, "quoting_style": "needed", "include_header": number == 0}
            pa.csv.write_csv(flat, file, pa.csv.WriteOptions(**how))


def _in_blocks(pieces: Iterable[Table]) -> Iterator[Table]:
    """Give the rows of tables some at a time, since texts of them take more memory; an empty one as it is."""
    return (table.slice(rows) for table in pieces for rows in blocks(max(len(table), 1)))


def escape(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Put an apostrophe before text that a spreadsheet would run as a formula; numbers stay."""
    risky = call("and_not", contains(column, FORMULA), contains(column, NUMBER))
    if not some(risky):
        return column
    return pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)


def restore(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Take away the apostrophe that `escape` put there."""
    return pc.replace_substring_regex(column, ESCAPED, r"\1")


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Make a column one that a CSV can hold: lists become JSON, text is escaped."""
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = column.to_pylist()
        return pa.chunked_array(
            [texts([None if items is None else json.dumps(items, ensure_ascii=False) for items in lists])]
        )
    if pa.types.is_dictionary(kind):
        column = cast(column, kind.value_type)
    return (
        escape(column) if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) else column
    )


def _escape_text(text: str) -> str:
    return str(escape(pa.chunked_array([texts([text])]))[0])
