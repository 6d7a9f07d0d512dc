"""Whether the first row of a table is names or data: its first rows come in, a verdict leaves.

`text` and `excel` ask. Without a doubt it is data where it names a picture as all rows below do, and these
are there; anything else is only said, since names may be numbers too, such as years.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from manyhot.data.columns import SPLIT_ALIASES, SPLIT_NAMES, is_image_name, picture_there
from manyhot.data.numbers import is_number
from manyhot.errors import UserError, suggest

Verdict = Literal["names", "unsure", "data"]
CHOICES = ("first", "none")  # where names are: in the first row, nowhere
LOOKED = 20  # pictures looked for
ALIKE = 3  # texts that stand below in their own column: so many, and half of the row, are no accident
DOUBT = "the first row looks like data, not names: if it is, pass --header none"
SURE = (
    "there is no header, the first row is data; the columns are numbered (--header first reads it as names)"
)


def check_header(header: str | None) -> None:
    """Refuse what is no choice. Raises UserError."""
    if header is not None and header not in CHOICES:
        raise UserError(f"--header {header}: must be first or none{suggest(header, CHOICES)}.")


def first_row(rows: Sequence[Sequence[str]], root: Path) -> Verdict:
    """Judge the first of some rows by those below it; pictures are looked for in `root`."""
    first = [cell.strip() for cell in rows[0]]
    below = _columns(rows)
    for cell, column in zip(first, below, strict=False):
        if is_image_name(cell) and all(map(is_image_name, column)):
            names = [cell, *column[: LOOKED - 1]]
            there = sum(picture_there(root, name) is not None for name in names)
            return "data" if 2 * there > len(names) else "unsure"
    pairs = [*zip(first, below, strict=False)]
    numbers = [cell for cell, column in pairs if _number(cell) and all(map(_number, column))]
    alike = sum(cell in column for cell, column in pairs if cell and not _number(cell))
    splits = any(is_split(cell) and all(map(is_split, column)) for cell, column in pairs)
    doubtful = splits or (numbers and not _counts(numbers)) or alike >= max(ALIKE, len(first) / 2)
    return "unsure" if doubtful else "names"


def names_rows(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a first row evidently is names: text above numbers, or above pictures.

    >>> names_rows([["a", "b"], ["1", "x"]]), names_rows([["0", "y"], ["1", "x"]])
    (True, False)
    """
    return any(
        column and any(all(map(test, column)) and not test(cell.strip()) for test in (_number, is_image_name))
        for cell, column in zip(rows[0] if rows else (), _columns(rows), strict=False)
    )


def is_split(cell: str) -> bool:
    """Tell whether a cell says train, val or test, by one of their names."""
    return cell.strip().lower() in {*SPLIT_NAMES, *SPLIT_ALIASES}


def _columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the columns that all rows have, of the cells below the first row those that are filled."""
    width = min(map(len, rows), default=0)
    return [[row[i].strip() for row in rows[1:] if row[i].strip()] for i in range(width)]


def _number(cell: str) -> bool:
    return is_number(cell.replace(",", "."))


def _counts(names: Sequence[str]) -> bool:
    """Tell whether names count from 0 or 1, as pandas calls columns without names."""
    return len(names) > 2 and [*names] in ([str(n + first) for n in range(len(names))] for first in (0, 1))
