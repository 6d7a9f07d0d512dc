"""Workbooks: the path of an Excel file comes in, a Table of typed columns leaves.

`sources.read` calls it. `python-calamine` (the extra `excel`) reads the format. Dates become text as ISO 8601
has them; what nobody has computed yet is an empty cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from manyhot.data.sources.dialect import ROWS
from manyhot.data.sources.headers import DOUBT, SURE, first_row
from manyhot.data.sources.text import column_names
from manyhot.data.sources.unnamed import name_columns
from manyhot.data.sources.values import Gathered, in_batches
from manyhot.data.sources.xlsx import look_through, notes_on
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shortened, suggest

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook


Row = list[Any]  # what the cells of a row hold, None where they are empty


def read_excel(
    path: Path, root: Path | None = None, header: str | None = None, sheet: str | None = None
) -> Table:
    """Read the one sheet of a workbook that has rows, or the one that is named.

    Merged cells have the value of the first one in each of their rows; titles above the header are left out.

    Raises:
        UserError: the reader is not installed, the file is no workbook or a bomb, several sheets have
            rows, or there is no such sheet.
    """
    parts = look_through(path)
    folder = path.parent if root is None else root
    with _opened(path) as book:
        name, found = _sheet(path, book, sheet)
        rows = _rows(found)
        head = [*islice(rows, ROWS)]
        titles = _titles(head)
        sample = [["" if cell is None else str(cell) for cell in row] for row in head[len(titles) :]]
        if not sample:
            raise UserError(f"{path}, sheet '{name}': has no rows. Name another one with --sheet-name.")
        verdict = first_row(sample, folder) if header is None else "data" if header == "none" else "names"
        above = len(titles) + (verdict != "data")
        if above == len(head):
            raise UserError(f"{path}, sheet '{name}': there is a header and no row below it.")
        columns = _columns(path, chain(head[above:], rows))
        notes = [*titles, *_merged(found), *notes_on(path, name, parts)]
    if verdict == "data":
        unnamed = name_columns(columns)
        notes = [*([SURE] if header is None else []), *unnamed.notes, *notes]
        return Table(unnamed.columns, path.name, folder, targets=unnamed.targets, notes=tuple(notes))
    names, odd = column_names(path, sample[0])
    notes = [*([DOUBT] if verdict == "unsure" else []), *odd, *notes]
    return Table(dict(zip(names, columns, strict=True)), path.name, folder, notes=tuple(notes))


@contextmanager
def _opened(path: Path) -> Iterator[CalamineWorkbook]:
    """Open a workbook; what its reader says of it becomes one line."""
    try:
        from python_calamine import CalamineError, CalamineWorkbook
    except ImportError:
        raise UserError(
            f"{path}: workbooks are read by python-calamine, which is not installed. Run "
            "pip install 'manyhot[excel]', or save the table as CSV (UTF-8)."
        ) from None
    try:
        with CalamineWorkbook.from_path(str(path)) as book:
            yield book
    except CalamineError as error:
        raise UserError(f"{path}: cannot be read as a workbook ({shortened(str(error), 150)}).") from None
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # the reader is written in Rust, and gave up
            raise
        raise UserError(f"{path}: cannot be read as a workbook, it is damaged. Save it again.") from None


def _sheet(path: Path, book: CalamineWorkbook, wanted: str | None) -> tuple[str, CalamineSheet]:
    """Choose a sheet: the one that is named, or the only one that is shown and has rows."""
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    if wanted is not None:
        if wanted not in book.sheet_names:
            raise UserError(
                f"{path}: has no sheet '{wanted}'{suggest(wanted, book.sheet_names)}; "
                f"there are {listed(book.sheet_names)}."
            )
        return wanted, book.get_sheet_by_name(wanted)
    sheets = {
        each.name: book.get_sheet_by_name(each.name)
        for each in book.sheets_metadata
        if each.typ == SheetTypeEnum.WorkSheet and each.visible == SheetVisibleEnum.Visible
    }
    filled = {name: sheet for name, sheet in sheets.items() if sheet.height}
    if not filled:
        raise UserError(f"{path}: has no rows. Give a table with a header line and rows.")
    if len(filled) > 1:
        raise UserError(f"{path}: has rows in sheets {listed(filled)}. Choose one with --sheet-name NAME.")
    ((name, sheet),) = filled.items()
    return name, sheet


def _rows(sheet: CalamineSheet) -> Iterator[Row]:
    """Read the rows of a sheet that hold anything; merged cells have the value of the first one."""
    if not sheet.start:  # it is empty
        return
    left = sheet.start[1]
    # Row → the columns in which cells are merged, and to which row.
    begins: dict[int, list[tuple[int, int]]] = {}
    for first, last in sheet.merged_cell_ranges or ():
        begins.setdefault(first[0], []).append((first[1] - left, last[0]))
    held: dict[int, tuple[Any, int]] = {}  # column → the value of merged cells, and their last row
    for number, cells in enumerate(sheet.iter_rows()):
        row = [_plain(cell) for cell in cells]
        held = {column: merged for column, merged in held.items() if merged[1] >= number}
        for column, (value, _) in held.items():
            row[column] = value
        for column, last_row in begins.get(number, ()):
            if 0 <= column < len(row):
                held[column] = (row[column], last_row)
        if any(cell is not None for cell in row):
            yield row


def _titles(rows: Sequence[Row]) -> list[str]:
    """Say which of the first rows are titles: of a wider table they fill the first cell alone."""
    notes = []
    for row in rows[:-1]:
        if len(row) < 2 or row[0] is None or any(cell is not None for cell in row[1:]):
            break
        notes.append(f"left out: a title above the table ('{shortened(str(row[0]))}')")
    return notes


def _merged(sheet: CalamineSheet) -> list[str]:
    """Say how many groups of cells are merged over several rows."""
    groups = sum(last[0] > first[0] for first, last in sheet.merged_cell_ranges or ())
    return [f"merged cells ({groups} times): each of their rows has the value"] if groups else []


def _plain(cell: Any) -> Any:
    """Give a cell a plain value; a spreadsheet knows no whole numbers, so those that are whole become it."""
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, (date, time)):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    return None if cell == "" else cell


def _columns(path: Path, rows: Iterable[Row]) -> list[pa.ChunkedArray]:
    """Make a column of each place of the rows."""
    gathered = Gathered(path)
    for batch in in_batches({str(place): cell for place, cell in enumerate(row)} for row in rows):
        gathered.add(batch)
    return [*gathered.columns().values()]
