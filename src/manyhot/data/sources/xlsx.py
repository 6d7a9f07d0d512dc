"""The archive of a workbook, looked through before it is read: a path comes in, what its XML says leaves.

`sources.excel` calls it. The reader holds a sheet as one block from its first cell to its last, however few
are between, and finds empty what nobody has computed yet; both are seen here, a block of bytes at a time.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO
from xml.etree import ElementTree

from manyhot.data.sources.packed import BLOCK, limit
from manyhot.errors import UserError
from manyhot.machine import half_of_memory

OLD = b"\xd0\xcf\x11\xe0"  # how .xls begins, and a workbook that has a password
CELL_BYTES = 32  # of the reader, for each cell
LONGEST = 2 * BLOCK  # bytes of the XML of a cell; its formula has 2^13 characters at most
CELL = re.compile(rb"<(?:\w+:)?c\s[^<>]*?\br=[\"']([A-Z]+)([0-9]+)[\"']")
FORMULA = re.compile(
    rb'<c\s[^<>]*?\br="([A-Z]+[0-9]+)"[^<>]*><f\b[^<>]*?(?:/>|>[^<]*</f>)(?:<v\s*/>|<v></v>)?</c>'
)
BEGUN = re.compile(rb"<(?:\w+:)?c\s")
ERROR = re.compile(rb'<c\s[^<>]*?\bt="e"')
SHEETS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}sheet"
ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


@dataclass
class Part:
    """What a part has: cells of formulas without a value and the first of them, errors, and its extent."""

    formulas: int = 0
    first: str = ""
    errors: int = 0
    columns: set[bytes] = field(default_factory=set)
    rows: tuple[int, int] = (1 << 62, 0)

    @property
    def area(self) -> int:
        """How many cells lie between the first and the last."""
        numbers = [_number(letters) for letters in self.columns]
        return (max(numbers) - min(numbers) + 1) * (self.rows[1] - self.rows[0] + 1) if numbers else 0


def look_through(path: Path) -> Mapping[str, Part]:
    """Read the archive once, and return what its parts have.

    Raises:
        UserError: it is damaged, has a password, or it or one of its sheets would become too large.
    """
    with path.open("rb") as file:
        if file.read(len(OLD)) == OLD:
            raise UserError(f"{path}: has a password, or is an old .xls file. Save it as .xlsx without one.")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > limit(path, path.parent):
                raise UserError(f"{path}: would become {size:,} bytes, which no workbook of its size is.")
            parts = {}
            for member in archive.infolist():
                with archive.open(member) as opened:  # which refuses more bytes than are told
                    parts[member.filename] = _look(opened)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: is damaged, cut short or no workbook ({error}).") from None
    for part in parts.values():
        if part.area * CELL_BYTES > half_of_memory() * 1e9:
            raise UserError(
                f"{path}: its last cell is in row {part.rows[1]:,}, so a sheet has {part.area:,} cells. "
                "Remove what stands far from the table."
            )
    return parts


def notes_on(path: Path, sheet: str, parts: Mapping[str, Part]) -> list[str]:
    """Say which cells of a sheet are empty for its reader, though they are not for people."""
    part = parts.get(_part_of(path, sheet), Part())
    notes = []
    if part.formulas:
        notes.append(
            f"formulas without a value ({part.formulas} cells, such as {part.first}) are empty: "
            "open the file in a spreadsheet and save it"
        )
    if part.errors:
        notes.append(f"errors such as #N/A ({part.errors} cells) are empty")
    return notes


def _look(file: IO[bytes]) -> Part:
    """Look for cells in the XML of a part."""
    part, text = Part(), b""
    while block := file.read(BLOCK):
        text += block
        ends = text.rfind(b"</c>")
        cut = ends + len(b"</c>") if ends >= 0 else max(text.rfind(b"<"), 0)
        _look_at(text[:cut], part)
        text = text[cut:]
        if len(text) > LONGEST:
            if BEGUN.match(text):
                raise zipfile.BadZipFile("a cell has no end")
            text = b""
    _look_at(text, part)
    return part


def _look_at(text: bytes, part: Part) -> None:
    cells = CELL.findall(text)
    part.columns.update({letters for letters, _ in cells})
    rows = [int(row[:18]) for row in {row for _, row in cells}]
    part.rows = (min([part.rows[0], *rows]), max([part.rows[1], *rows]))
    if formulas := FORMULA.findall(text) if b"<f" in text else []:
        part.formulas += len(formulas)
        part.first = part.first or formulas[0].decode()
    part.errors += len(ERROR.findall(text))


def _number(letters: bytes) -> int:
    """Return the number of a column by its letters.

    >>> _number(b"A"), _number(b"AA")
    (1, 27)
    """
    number = 0
    for letter in letters[:9]:
        number = number * 26 + letter - ord("A") + 1
    return number


def _part_of(path: Path, sheet: str) -> str:
    """Return the part that holds a sheet, "" where the workbook does not say so."""
    try:
        with zipfile.ZipFile(path) as archive:
            book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
            relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    except (KeyError, ElementTree.ParseError):
        return ""
    number = next((each.get(ID) for each in book.iter(SHEETS) if each.get("name") == sheet), "")
    target = next((each.get("Target", "") for each in relations if each.get("Id") == number), "")
    return str(PurePosixPath("/xl", target)).lstrip("/")
