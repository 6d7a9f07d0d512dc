"""Dates: cells of text into days since 1970, and days into what a network can read.

`columns` asks whether a column holds dates, `features` takes them apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from manyhot.errors import UserError
from manyhot.schema import Notation
from manyhot.targets import Cells

FIRST = ("day", "month")  # of 03/04/2024, which nobody can tell of one such cell, though mostly of a column
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
TIME = r"[0-2]\d:[0-5]\d(:|$)"  # how a time without a date begins
CLOCK = r"(?:[T,\s]+(?P<h>\d{1,2}):(?P<min>\d\d)(?::(?P<s>\d\d)(?:\.\d+)?)?\s*(?P<half>[ap]\.?m\.?)?"
CLOCK += r"(?:\s*(?:UTC|GMT|Z|(?P<zone>[-+]\d\d:?\d\d))(?:\s+\([a-z ]+\))?)?)?"  # as in the head of an e-mail
NAMED = r"(?P<name>" + "|".join(MONTHS) + r")[a-z]*\.?"
# In the order in which people write them: the year first, a point or named months, and what is open.
WRITTEN = [
    re.compile(form + CLOCK, re.IGNORECASE)
    for form in (
        r"(?P<y>\d{4})/(?P<m>\d{1,2})/(?P<d>\d{1,2})",
        r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})",
        rf"(?:[a-z]{{3,9}},?\s+)?(?P<d>\d{{1,2}})[\s-]{NAMED}[\s,-]+(?P<y>\d{{4}}|\d\d)",
        rf"(?:[a-z]{{3,9}},?\s+)?{NAMED}\s+(?P<d>\d{{1,2}}),?\s+(?P<y>\d{{4}})",
        r"(?P<one>\d{1,2})(?:/(?P<two>\d{1,2})/|-(?P<dashed>\d{1,2})-)(?P<y>\d{4}|(?<=/)\d\d)",
    )
]
CENTURY = 69  # years of two digits from here on are of 1900, as in POSIX
CYCLES = {"year": 365.2425, "week": 7.0, "day": 1.0}  # days
PARTS = ("days", *(f"{wave} of {cycle}" for cycle in CYCLES for wave in ("sine", "cosine")))


def day(text: str, first: str = "") -> float | None:
    """Return the days from 1970-01-01 to a date, with or without a time; None where it is none.

    A time alone is that of 1970-01-01. `first`, one of FIRST, is needed where month and day are both numbers.

    >>> day("1970-01-02T12:00"), day("1.2.1970 6:00"), day("Feb 1, 1970"), day("soon"), day("06:00")
    (1.5, 31.25, 31.0, None, 0.25)
    >>> day("Thu, 1 Jan 1970 18:00:00 GMT"), day("Fri, 2 Jan 1970 02:00:00 +0200 (EET)")
    (0.75, 1.0)
    >>> day("01/02/1970"), day("01/02/1970", "day"), day("1/2/70 6:00 pm", "month")
    (None, 31.0, 1.75)
    """
    text = text.strip()
    if re.match(TIME, text):
        text = f"1970-01-01T{text}"
    if len(text) < 6:
        return None
    try:
        moment = datetime.fromisoformat(text) if len(text) >= 8 else _moment(text, first)
    except ValueError:
        moment = _moment(text, first)
    if moment is None:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return moment.timestamp() / 86_400


def _moment(text: str, first: str) -> datetime | None:
    found = next((match for form in WRITTEN if (match := form.fullmatch(text))), None)
    if found is None:
        return None
    part = {"h": "0", "min": "0", "s": "0"} | {k: v for k, v in found.groupdict().items() if v is not None}
    if "one" in part:
        if not first:
            return None
        both = part["one"], part.get("two") or part["dashed"]
        part["d"], part["m"] = both if first == "day" else both[::-1]
    hour, year = int(part["h"]), int(part["y"])
    if "half" in part:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if part["half"][0] in "pP" else 0)
    if len(part["y"]) == 2:
        year += 1900 if year >= CENTURY else 2000
    month = MONTHS.index(part["name"].lower()) + 1 if "name" in part else int(part["m"])
    try:
        zone = datetime.strptime(part.get("zone", "+0000"), "%z").tzinfo
        return datetime(year, month, int(part["d"]), hour, int(part["min"]), int(part["s"]), tzinfo=zone)
    except ValueError:
        return None


def notation(texts: Sequence[str]) -> Notation | None:
    """Return how all of these texts are written as dates; None where they are none, or two ways are open.

    Where both are, days are what stays the same while months pass: 01/02/2024, 01/03/2024.

    >>> columns = ["2024-01-31"], ["3/4/2024", "13/4/2024"], ["3/4/2024"]
    >>> [how and how.first for how in map(notation, columns)]
    ['', 'day', None]
    """
    if all(day(text) is not None for text in texts):
        return Notation()
    found = [first for first in FIRST if all(day(text, first) is not None for text in texts)]
    if len(found) > 1 and len(texts) > 1:
        places = [{re.split("[/-]", text.strip())[place] for text in texts} for place in (0, 1)]
        found = [first for first, days in zip(FIRST, places, strict=True) if len(days) == 1]
    return Notation(first=found[0]) if len(found) == 1 else None


def days(cells: Cells, notation: Notation | None = None) -> NDArray[np.float64]:
    """Return the days since 1970 of each row, as `read_days` does.

    Raises:
        UserError: a cell is no date; the message names its row.
    """
    found, wrong = read_days(cells, notation)
    if wrong:
        raise UserError(
            f"{cells.where(wrong[0])}: '{cells.values[wrong[0]]}' is not a date. Correct the cell (such as "
            "2024-01-31 or 2024-01-31 18:30), or name the words for an empty cell with --missing."
        )
    return found


def read_days(cells: Cells, notation: Notation | None = None) -> tuple[NDArray[np.float64], list[int]]:
    """Return the days since 1970 of each row, NaN for empty cells; and which distinct values are no date.

    `notation` says which of day and month comes first.

    Shape:
        out: float64 (N,).
    """
    first = notation.first if notation else ""
    each = [day(value, first) if isinstance(value, str) else None for value in cells.values]
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
