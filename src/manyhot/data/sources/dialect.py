"""How a text is to be taken apart: a path and its encoding come in, a Dialect leaves.

`sources.text` calls it. Only the head of the file is looked at.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path

from manyhot.data.columns import is_image_name
from manyhot.data.sources.headers import names_rows
from manyhot.errors import shortened

DELIMITERS = (",", ";", "\t", "|")
DELIMITER_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar", " ": "a blank"}
HEAD = 1 << 16  # characters looked at
ROWS = 200  # of them
# The line with which Excel is told the delimiter: any sign of ASCII but the quote.
SAID = re.compile(r'"?sep=([\t!#-/:-@\[-`{-~]|\\t)"?', re.IGNORECASE)
LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Dialect:
    """An encoding, what stands between fields, how many lines stand before the table, and notes on these."""

    encoding: str
    delimiter: str
    skip: int = 0
    notes: tuple[str, ...] = ()

    @property
    def codec(self) -> str:
        """The name of Python's codec that also skips a mark at the beginning."""
        return codec_of(self.encoding)


def codec_of(encoding: str) -> str:
    """Name the codec of Python's that also skips a mark at the beginning."""
    return "utf-8-sig" if encoding == "utf-8" else encoding


def dialect_of(path: Path, encoding: str) -> Dialect:
    """Find out the delimiter, and which lines before the table say it, or are comments."""
    with path.open(encoding=codec_of(encoding), newline="") as file:
        head = file.read(HEAD)
        whole = len(head) < HEAD
    usual = "\t" if path.suffix.lower() in (".tsv", ".tab") else ","
    lines = LINE_END.split(head)
    said = SAID.fullmatch(lines[0].strip(" "))
    skip = 1 if said else 0
    comments = _comments(lines, skip)
    given = {"\\t": "\t"}.get(said[1], said[1]) if said else ""
    if comments:
        after = "\n".join(lines[comments[-1] + 1 :])
        delimiter = given or _delimiter(after, whole, usual)
        rows = _rows(after, delimiter, whole)
        width = len(rows[0]) if rows else 0
        last = len(next(csv.reader([lines[comments[-1]]], delimiter=delimiter)))
        if last == width and not names_rows(rows):
            comments.pop()  # it has the names
        if comments and width > 1:
            first = shortened(lines[comments[0]].lstrip("# "))
            what = f"{len(comments)} lines" if len(comments) > 1 else "a line"
            note = f"left out: {what} of comments before the table ('{first}')"
            return Dialect(encoding, delimiter, comments[-1] + 1, (note,))
    rest = "\n".join(lines[skip:]) if skip else head
    return Dialect(encoding, given or _delimiter(rest, whole, usual), skip)


def _comments(lines: list[str], start: int) -> list[int]:
    """Return which lines before the first other one are comments; empty lines may stand between them."""
    found = []
    for number, line in enumerate(lines[start:], start):
        if line.startswith("#"):
            found.append(number)
        elif line.strip():
            return found
    return []  # there is nothing else


def _delimiter(head: str, whole: bool, usual: str) -> str:
    """Return what gives the rows the fields of the first one, and pictures a field of their own."""
    best, best_score = "", (0.0, False, False, 0)
    for delimiter in DELIMITERS:
        rows = _rows(head, delimiter, whole)
        width = len(rows[0]) if rows else 0
        if width < 2:
            continue
        share = sum(len(row) == width for row in rows[1:]) / max(len(rows) - 1, 1)
        score = (share, _has_pictures(rows), delimiter == usual, width)
        if score > best_score:
            best, best_score = delimiter, score
    if best:
        return best
    lines = LINE_END.split(head)
    rows = [line.split() for line in (lines if whole else lines[:-1])[:ROWS] if line.strip()]
    pictures = len(rows) > 1 and all(is_image_name(row[0]) for row in rows[1:])
    return " " if pictures and any(len(row) > 1 for row in rows) else usual


def _rows(head: str, delimiter: str, whole: bool) -> list[list[str]]:
    """Take the first rows apart, without the last where it is cut off."""
    rows = [row for row in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter) if row][:ROWS]
    return rows if whole or len(rows) < 2 else rows[:-1]


def _has_pictures(rows: list[list[str]]) -> bool:
    """Tell whether a field of all rows below the first names a picture."""
    width = min(map(len, rows))
    return any(all(is_image_name(row[i].strip()) for row in rows[1:]) for i in range(width))
