"""Dates: cells of text into days since 1970, and days into what a network can read.

`columns` asks whether a column holds dates, `features` takes them apart.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from manyhot.errors import UserError
from manyhot.targets import Cells

DAYS = ("%d.%m.%Y", "%Y/%m/%d")  # beside ISO 8601; in 03/04/2024 nobody can tell the month from the day
FORMATS = [f"{day}{time}" for time in ("", " %H:%M", " %H:%M:%S") for day in DAYS]
TIME = r"[0-2]\d:[0-5]\d(:|$)"  # how a time without a date begins
CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}  # days
PARTS = ("days", *(f"{wave} of {cycle}" for cycle in CYCLES for wave in ("sine", "cosine")))


def day(text: str) -> float | None:
    """Return the days from 1970-01-01 to a date, with or without a time; None where it is none.

    A time alone is that of 1970-01-01.

    >>> day("1970-01-02T12:00"), day("1.2.1970 6:00"), day("03/04/2024"), day("soon"), day("06:00")
    (1.5, 31.25, None, None, 0.25)
    """
    text = text.strip()
    if re.match(TIME, text):
        text = f"1970-01-01T{text}"
    if not text[:1].isdigit() or len(text) < 8:
        return None
    moment = _moment(text)
    if moment is None:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment.timestamp() / 86_400


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    for form in FORMATS:
        try:
            return datetime.strptime(text, form)
        except ValueError:
            pass
    return None


def days(cells: Cells) -> NDArray[np.float64]:
    """Return the days since 1970 of each row, as `read_days` does.

    Raises:
        UserError: a cell is no date; the message names its row.
    """
    found, wrong = read_days(cells)
    if wrong:
        raise UserError(
            f"{cells.where(wrong[0])}: '{cells.values[wrong[0]]}' is not a date. Correct the cell (such as "
            "2024-01-31 or 2024-01-31 18:30), or name the words for an empty cell with --missing."
        )
    return found


def read_days(cells: Cells) -> tuple[NDArray[np.float64], list[int]]:
    """Return the days since 1970 of each row, NaN for empty cells; and which distinct values are no date.

    Shape:
        out: float64 (N,).
    """
    each = [day(value) if isinstance(value, str) else None for value in cells.values]
    wrong = [number for number, found in enumerate(each) if found is None]
    return np.array([*each, np.nan], dtype=np.float64)[cells.codes], wrong


def written(since: float) -> str:
    """Write days since 1970 as a date.

    >>> written(31.0)
    '1970-02-01'
    """
    return (datetime(1970, 1, 1) + timedelta(days=since)).date().isoformat()


def part(since: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Return one of PARTS of days since 1970: as they are, or where they stand in a cycle, in [-1, 1].

    >>> part(np.array([0.25]), "sine of day").round(6).tolist()
    [1.0]
    """
    if name == "days":
        return since
    wave, _, cycle = name.partition(" of ")
    angle = since % CYCLES[cycle] * (2 * np.pi / CYCLES[cycle])  # 0, not nearly 0, for each midnight
    return np.asarray(np.sin(angle) if wave == "sine" else np.cos(angle))
