"""Tables without a header: rows or columns come in, columns with names leave, and what they evidently are.

`text` and `excel` call it where the first row is data. Tools that label pictures write such tables: a split,
a picture, and then as many labels as it has, or 0 and 1 for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from manyhot.data.arrays import pc
from manyhot.data.columns import SPLIT, SPLIT_ALIASES, image_columns, is_image_name, is_text
from manyhot.data.numbers import is_number
from manyhot.data.sources.headers import is_split
from manyhot.data.table import Table

FLAGS = r"^\s*[01](\s*[,; ]\s*[01])+\s*$"  # such as 0,1,0


@dataclass(frozen=True)
class Unnamed:
    """Columns that were given names, those of them that are labels, and notes."""

    columns: dict[str, pa.ChunkedArray]
    targets: tuple[str, ...]
    notes: tuple[str, ...]


def name_columns(columns: Sequence[pa.ChunkedArray]) -> Unnamed:
    """Number the columns from 1; one of nothing but train, val and test is called `split`."""
    named = {f"column {number}": column for number, column in enumerate(columns, 1)}
    notes: list[str] = []
    for name in [name for name, column in named.items() if _says_split(column)][:1]:
        words = [str(cell).strip().lower() for cell in named[name].to_pylist()]
        split = pa.chunked_array([pa.array([SPLIT_ALIASES.get(word, word) for word in words])])
        named = {SPLIT if n == name else n: split if n == name else c for n, c in named.items()}
        notes.append(f"{name} says train, val or test, so it is called 'split'")
    if image_columns(Table(named)):
        for name, column in named.items():
            tags = _tags_of_flags(column) if is_text(column.type) else None
            if tags is not None:
                named[name] = tags
                notes.append(
                    f"{name} holds 0 and 1 for each tag: these are called by their place, '1', '2' …"
                )
    lists = tuple(name for name, column in named.items() if pa.types.is_list(column.type))
    return Unnamed(named, lists, tuple(notes))


def gather(rows: Sequence[Sequence[str]]) -> tuple[list[pa.ChunkedArray], str] | None:
    """Make columns of rows of differing length, the last a list of labels, and a note; None where it is none.

    The list begins at the last field of the shortest row, or behind it where that is something else.
    """
    rows = [_without_empty_end(row) for row in rows]
    least, most = min(map(len, rows)), max(map(len, rows))
    start = least - 1
    last, rest = [row[start] for row in rows], [cell for row in rows for cell in row[least:]]
    numbered = all(map(is_number, last)) and not all(map(is_number, filter(None, rest)))
    if numbered or all(map(is_split, last)) or 2 * sum(map(_is_picture, last)) > len(last):
        start = least
    labelled = any(2 * sum(_is_picture(row[i]) for row in rows) > len(rows) for i in range(start))
    if not labelled and any(map(is_number, rest)):
        return None
    lists = [[cell.strip() for cell in row[start:] if cell.strip()] for row in rows]
    columns = [pa.array([row[i] or None for row in rows], pa.string()) for i in range(start)]
    name = f"column {start + 1}"
    note = f"rows have {least} to {most} fields: those from number {start + 1} on are the list '{name}'"
    columns.append(pa.array(lists, pa.list_(pa.string())))
    return [pa.chunked_array([column]) for column in columns], note


def _without_empty_end(row: Sequence[str]) -> Sequence[str]:
    filled = len(row)
    while filled > 1 and not row[filled - 1].strip():
        filled -= 1
    return row[:filled]


def _is_picture(cell: str) -> bool:
    return is_image_name(cell.strip())


def _says_split(column: pa.ChunkedArray) -> bool:
    """Tell whether all cells say train, val or test."""
    if not is_text(column.type) or column.null_count or not is_split(column[0].as_py()):
        return False
    return all(map(is_split, pc.unique(column).to_pylist()))


def _tags_of_flags(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Turn cells such as 0,1,0 into lists of the places of their ones; None where one is something else."""
    filled = column.drop_null()
    if not len(filled) or not pc.all(pc.match_substring_regex(filled, FLAGS)).as_py():
        return None
    flags = [None if cell is None else [c for c in cell if c in "01"] for cell in column.to_pylist()]
    if len({len(each) for each in flags if each is not None}) > 1:
        return None
    tags = [
        None if each is None else [str(place) for place, flag in enumerate(each, 1) if flag == "1"]
        for each in flags
    ]
    return pa.chunked_array([pa.array(tags, pa.list_(pa.string()))])
