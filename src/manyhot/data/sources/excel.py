"""Workbooks: the path of an Excel file comes in, a Table of typed columns leaves.

`sources.read` calls it. `python-calamine` (the extra `excel`) reads the format, and with it old workbooks and
those of LibreOffice. Dates become text as ISO 8601 has them; what nobody has computed yet is an empty cell.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any
from xml.etree import ElementTree

import pyarrow as pa

from manyhot.data.sources.dialect import ROWS
from manyhot.data.sources.headers import DOUBT, SURE, first_row
from manyhot.data.sources.packed import limit
from manyhot.data.sources.text import column_names
from manyhot.data.sources.unnamed import name_columns
from manyhot.data.sources.values import Gathered
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shown, suggest

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

ENDINGS = (".xlsx", ".xlsm", ".xls", ".ods")
OLD = b"\xd0\xcf\x11\xe0"  # how .xls begins, and a workbook that is encrypted
BLOCK = 1 << 20  # bytes held at a time
# A cell of a formula that no spreadsheet has computed yet: programs write these.
FORMULA = re.compile(rb'<c\b[^>]*?\br="([A-Z]+\d+)"[^>]*><f\b[^>]*?(?:/>|>[^<]*</f>)(?:<v\s*/>|<v></v>)?</c>')
LONGEST = 1 << 14  # bytes of such a cell; Excel allows a formula half of it
NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATIONS = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"

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
    check(path)
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
        notes = [*titles, *_merged(found), *_uncomputed(path, name)]
    if verdict == "data":
        unnamed = name_columns(columns)
        notes = [*([SURE] if header is None else []), *unnamed.notes, *notes]
        return Table(unnamed.columns, path.name, folder, targets=unnamed.targets, notes=tuple(notes))
    names, odd = column_names(path, sample[0])
    notes = [*([DOUBT] if verdict == "unsure" else []), *odd, *notes]
    return Table(dict(zip(names, columns, strict=True)), path.name, folder, notes=tuple(notes))


def check(path: Path) -> None:
    """Refuse an archive that is damaged, encrypted, or would become too large, before all of it is read.

    Raises:
        UserError: it is one of these.
    """
    with path.open("rb") as file:
        is_old = file.read(len(OLD)) == OLD
    if path.suffix.lower() == ".xls":
        return
    if is_old:
        raise UserError(
            f"{path}: has a password, or is an old .xls file. Save it as .xlsx without a password."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > limit(path, path.parent):
                raise UserError(f"{path}: would become {size:,} bytes, which no workbook of its size is.")
            damaged = archive.testzip()  # a part that is larger than it says is damaged too
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: is damaged, cut short or no workbook ({error}).") from None
    if damaged:
        raise UserError(f"{path}: is damaged ('{shown(damaged)}'). Save it again.")


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
        raise UserError(f"{path}: cannot be read as a workbook ({shown(str(error), 150)}).") from None
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
    left = sheet.start[1] if sheet.start else 0
    begins: dict[
        int, list[tuple[int, int]]
    ] = {}  # row → the columns in which cells are merged, and to which row
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
        notes.append(f"left out: a title above the table ('{shown(str(row[0]))}')")
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
    for row in rows:
        gathered.add({str(place): cell for place, cell in enumerate(row)})
    return [*gathered.columns().values()]


def _uncomputed(path: Path, sheet: str) -> list[str]:
    """Say how many cells of a sheet are formulas without a value, which a reader finds empty."""
    if path.suffix.lower() not in (".xlsx", ".xlsm"):
        return []
    found: list[bytes] = []
    with zipfile.ZipFile(path) as archive:
        part = _part(archive, sheet)
        if part:
            with archive.open(part) as file:
                found = _formulas(file)
    if not found:
        return []
    cells = f"{len(found)} cells are formulas" if len(found) > 1 else "a cell is a formula"
    return [
        f"{cells} without a value, such as {found[0].decode()}, and so empty: open the file in a spreadsheet "
        "and save it"
    ]


def _formulas(file: IO[bytes]) -> list[bytes]:
    """Return the names of cells that are formulas without a value, a block of the XML at a time."""
    found, text = [], b""
    while block := file.read(BLOCK):
        text += block
        ends = 0
        for match in FORMULA.finditer(text):
            found.append(match[1])
            ends = match.end()
        text = text[max(ends, len(text) - LONGEST) :]
    return found


def _part(archive: zipfile.ZipFile, sheet: str) -> str:
    """Return the part of a workbook that holds a sheet, "" where it does not say so."""
    try:
        book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
        relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    except (KeyError, ElementTree.ParseError):
        return ""
    number = next(
        (each.get(f"{RELATIONS}id") for each in book.iter(f"{NAMESPACE}sheet") if each.get("name") == sheet),
        "",
    )
    target = next((each.get("Target", "") for each in relations if each.get("Id") == number), "")
    part = target.lstrip("/") if target.startswith("/") else str(PurePosixPath("xl", target))
    return part if part in archive.namelist() else ""
