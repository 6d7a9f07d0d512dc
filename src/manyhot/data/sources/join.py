"""Labels kept in a file of their own: a Table and a Table of labels come in, one Table leaves.

`sources.read` calls it for `--labels FILE`. Rows are matched by the path of the picture, or by `row`,
the number of the row counted from 1.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data.arrays import pc
from manyhot.data.columns import image_columns
from manyhot.data.table import Table
from manyhot.errors import UserError, listed

ROW = "row"


def join(table: Table, labels: Table) -> Table:
    """Return the table with the columns of `labels` beside its own; rows without labels stay empty.

    Where both have a column, the cell of `labels` counts for the rows it names, and a note says so.

    Raises:
        UserError: there is nothing to match by, or a row of `labels` matches none or is there twice.
    """
    path, key = _keys(table, labels)
    match = _by_path(table, path, labels, key) if path else _by_row(table, labels)
    index = np.full(len(table), -1, dtype=np.int64)  # (N,): the row of labels for each row of the table
    for row, position in enumerate(match):
        if index[position] >= 0:
            first, second = labels.rows[index[position]], labels.rows[row]
            raise UserError(f"{labels.source}: rows {first} and {second} are for the same row. Remove one.")
        index[position] = row
    taken = pa.array(index, mask=index < 0)
    added: dict[str, pa.ChunkedArray] = {}
    notes: list[str] = []
    for name, column in labels.columns.items():
        if name == key:
            continue
        cells = column.take(taken)
        if name in table.columns:
            cells, changed = _over(table.columns[name], cells, index >= 0)
            if changed:
                notes.append(f"column '{name}': {changed} cells are those of {labels.source}")
        added[name] = cells
    targets = table.targets or tuple(name for name in labels.targets if name in added)
    joined = table.with_columns(added)
    return replace(joined, targets=targets, notes=(*table.notes, *labels.notes, *notes))


def _keys(table: Table, labels: Table) -> tuple[str, str]:
    """Name the columns to match by, in the table and in the labels; ("", "row") for row numbers."""
    ours = ["image"] if "image" in table.columns else image_columns(table)
    theirs = ["image"] if "image" in labels.columns else image_columns(labels)
    # The names of pictures in cells may be made up, or lacking.
    by_row = bool(table.files) and ROW in labels.columns
    if len(ours) == 1 and len(theirs) == 1 and not by_row:
        return ours[0], theirs[0]
    if ROW in labels.columns:
        return "", ROW
    raise UserError(
        f"{labels.source}: no column to match it by with {table.source}; there are {listed(labels.names)}. "
        "Add a column 'image' (paths as in the data) or 'row' (numbers from 1)."
    )


def _by_path(table: Table, path: str, labels: Table, key: str) -> list[int]:
    """Return for each row of labels the position of the row of the table with its path."""
    positions: dict[str, int] = {}
    twice: dict[str, int] = {}
    for position, text in enumerate(table.columns[path].to_pylist()):
        if text is not None and positions.setdefault(_path(text), position) != position:
            twice[_path(text)] = position
    texts = ["" if text is None else str(text) for text in labels.columns[key].to_pylist()]
    match = [positions.get(_path(text), -1) for text in texts]
    if labels.root is not None and table.root is not None and -1 in match:
        # Paths in the labels may be meant from the folder of the labels' own file.
        ours, theirs = table.root.absolute(), labels.root.absolute()
        for row, text in enumerate(texts):
            if match[row] < 0:
                match[row] = positions.get(_path(os.path.relpath(theirs / text, ours)), -1)
    _all_found(table, labels, key, match, texts)
    clash = next((text for text in texts if _path(text) in twice), None)
    if clash is not None:
        raise UserError(f"{table.source}: '{clash}' is in more than one row. Match by 'row' instead.")
    return match


def _by_row(table: Table, labels: Table) -> list[int]:
    """Return for each row of labels the position of the row of the table with its number."""
    positions: Mapping[int, int] = {int(row): position for position, row in enumerate(table.rows)}
    numbers = labels.numbers(ROW)
    match = [positions.get(int(n), -1) if np.isfinite(n) and n == int(n) else -1 for n in numbers]
    _all_found(table, labels, ROW, match, [str(cell) for cell in labels.columns[ROW].to_pylist()])
    return match


def _all_found(table: Table, labels: Table, key: str, match: list[int], texts: list[str]) -> None:
    """Raise UserError that names some of the rows of labels that match nothing."""
    lost = [row for row, found in enumerate(match) if found < 0]
    if lost:
        some = listed((texts[row] for row in lost), 3)
        raise UserError(
            f"{labels.source} row {labels.rows[lost[0]]}, column '{key}': {len(lost)} of {len(match)} rows "
            f"match no row of {table.source}: {some}. Correct or remove them."
        )


def _path(text: str) -> str:
    """Write a path in one way: forward slashes, no leading './', composed letters."""
    return str(PurePosixPath(unicodedata.normalize("NFC", text.strip().replace("\\", "/"))))


def _over(
    own: pa.ChunkedArray, given: pa.ChunkedArray, named: NDArray[np.bool_]
) -> tuple[pa.ChunkedArray, int]:
    """Lay the given cells over the own ones where they are named; return them and how many changed."""
    if own.type != given.type:
        own, given = pc.cast(own, pa.string()), pc.cast(given, pa.string())
    same = pc.fill_null(pc.equal(own, given), False).to_numpy() | (
        pc.is_null(own).to_numpy() & pc.is_null(given).to_numpy()
    )
    merged = pc.if_else(pa.array(named), given.combine_chunks(), own.combine_chunks())
    merged = merged if isinstance(merged, pa.ChunkedArray) else pa.chunked_array([merged])
    return merged, int((named & ~same).sum())
