"""What the columns of a table are: which says the split, which holds pictures, which are features.

A Table comes in, names, kinds and reasons leave. `infer`, `describe`, `join` and `split` call it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manyhot.data import dates
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.schema import InputKind

SPLIT = "split"
SPLIT_NAMES = ("train", "val", "test")
SPLIT_ALIASES = {
    **dict.fromkeys(("valid", "validation", "validate", "dev", "eval"), "val"),
    **dict.fromkeys(("training", "fit", "learn"), "train"),
    **dict.fromkeys(("testing", "holdout", "held-out"), "test"),
}
ROW = "row"
SAMPLE = 200  # cells looked at before all of them are
MOSTLY_UNIQUE = 0.5  # share of rows above which a text column is taken for names or free text
MANY = 50  # distinct texts up to which a column is a category whatever their share
SLASHED = r"\d{1,2}/\d{1,2}/\d{4}.*"  # dates in which month and day cannot be told apart
INDEX_NAMES = frozenset({"id", "idx", "index", "row_id", "rowid", "sample_id", "unnamed: 0"})
INDEX_NAME = r"column \d+|__index_level_\d+__"  # without a name in a CSV; of pandas in Parquet
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)


def is_image_name(name: str) -> bool:
    """Tell whether a file's name ends as pictures do.

    >>> is_image_name("a/B.JPG"), is_image_name("notes.txt")
    (True, False)
    """
    return name.lower().endswith(IMAGE_ENDINGS)


def picture_there(folder: Path, name: str) -> str | None:
    r"""Return the form of a picture's name that is there: itself, without blanks around it, as Windows or a
    URL would mean it; None where none is.

    >>> picture_there(Path("/nowhere"), r"im\my%20cat.png") is None
    True
    """
    trimmed = name.strip()
    slashed = trimmed.replace("\\", "/")
    for form in (name, trimmed, slashed, unquote(slashed)):
        with suppress(OSError):  # such as a name that is too long
            if (folder / form).is_file():
                return form
    return None


def split_column(table: Table) -> str | None:
    """Return "split" when the table has such a column and it says train, val or test; else None.

    Raises:
        UserError: only some of its cells are train, val or test; the message names a row.
    """
    if SPLIT not in table.columns:
        return None
    cells = table.cells(SPLIT)
    words = [value.lower() if isinstance(value, str) else "" for value in cells.values]
    if not set(words) & set(SPLIT_NAMES):
        return None
    for number, word in enumerate(words):
        if word not in SPLIT_NAMES:
            near = SPLIT_ALIASES.get(word.strip())
            hint = f" (did you mean '{near}'?)" if near else suggest(word.strip(), SPLIT_NAMES)
            value = cells.values[number]
            raise UserError(f"{cells.where(number)}: '{value}' must be train, val or test{hint}.")
    if (cells.codes < 0).any():
        raise UserError(f"{cells.where(-1)}: an empty cell must be train, val or test.")
    return SPLIT


def split_of(table: Table) -> NDArray[np.object_] | None:
    """Return what the split column says of each row: "train", "val" or "test"; None without one.

    Shape:
        out: object (N,).

    Raises:
        UserError: as `split_column`.
    """
    name = split_column(table)
    if name is None:
        return None
    cells = table.cells(name)
    words = np.array([str(value).lower() for value in cells.values], dtype=object)
    return words[cells.codes]


def is_text(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_list(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def image_columns(table: Table, exclude: Collection[str] = ()) -> list[str]:
    """Return the columns that hold pictures, or most of whose first cells end as their names do."""
    found = []
    for name, column in table.columns.items():
        if name in exclude or not is_text(column.type):
            continue
        if name in table.files:
            found.append(name)
            continue
        sample = [text for text in column.slice(0, SAMPLE).to_pylist() if text]
        sample = sample or [text for text in column.drop_null().slice(0, SAMPLE).to_pylist() if text]
        if sum(is_image_name(text.strip()) for text in sample) > len(sample) / 2:
            found.append(name)
    return found


def feature_kind(table: Table, name: str, missing: Sequence[str] = ()) -> InputKind:
    """Return "number" or "date" when every cell that is not empty is one, else "category"."""
    kind = table.column(name).type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if not is_text(kind):
        return "category"
    filled = _filled(table, name, missing)
    if _all_numbers(filled):
        return "number"
    return "date" if _all_dates(filled) else "category"


def feature(table: Table, name: str, missing: Sequence[str] = ()) -> tuple[InputKind | None, str]:
    """Return what kind of feature a column is and "", or None and why it is no use as one."""
    column = table.column(name)
    if is_list(column.type):
        return None, "it holds lists"
    filled = _filled(table, name, missing)
    if not len(filled):
        return None, "all its cells are empty"
    first = filled[0]
    if len(filled) == len(table) and pc.all(pc.equal(filled, first)).as_py():
        return None, f"all its cells are '{first.as_py()}'"
    if is_index(table, name):
        return None, "it numbers the rows"
    kind = feature_kind(table, name, missing)
    distinct = pc.count_distinct(filled).as_py() if kind == "category" else 0
    if distinct > max(MOSTLY_UNIQUE * len(table), MANY):
        words = words_among_numbers(table, name, missing)
        hint = f"; all but {listed(words)} are numbers, see --missing" if words else ""
        if re.fullmatch(SLASHED, str(first.as_py())):
            hint = "; if these are dates, write them as 2024-01-31"
        return None, f"it has {distinct} different texts in {len(table)} rows{hint}"
    return kind, ""


def repeated(table: Table, names: Sequence[str]) -> dict[str, str]:
    """Return the columns among `names` whose cells are all those of an earlier one, with that one's name."""
    first: dict[object, list[str]] = {}
    found: dict[str, str] = {}
    for name in names:
        column = table.column(name)
        alike = first.setdefault((str(column.type), str(column.slice(0, SAMPLE).to_pylist())), [])
        twin = next((other for other in alike if table.column(other).equals(column)), None)
        if twin is None:
            alike.append(name)
        else:
            found[name] = twin
    return found


def is_index(table: Table, name: str) -> bool:
    """Tell whether a column is called as an index is and has a whole number of its own for each row.

    They need not be in order: rows are often shuffled, and then tell by their number which were neighbours.
    """
    if name.strip().lower() not in INDEX_NAMES and not re.fullmatch(INDEX_NAME, name):
        return False
    column = table.column(name)
    if column.null_count or len(column) < 2:
        return False
    try:
        numbers = pc.cast(column, pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return False
    return len(np.unique(numbers)) == len(numbers)


def _filled(table: Table, name: str, missing: Sequence[str]) -> pa.ChunkedArray:
    """Return the cells of a column that are not empty."""
    column = table.column(name).drop_null()
    if is_text(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        column = column.filter(pc.invert(pc.is_in(trimmed, value_set=pa.array(["", *missing], column.type))))
    elif pa.types.is_floating(column.type):
        column = column.filter(pc.invert(pc.is_nan(column)))
    return column


def words_among_numbers(table: Table, name: str, missing: Sequence[str] = ()) -> list[str]:
    """Return the few texts of a column whose other texts are numbers; they may mean an empty cell."""
    if not is_text(table.column(name).type):
        return []
    texts = pc.unique(_filled(table, name, missing)).slice(0, 10_000).to_pylist()
    words = [text for text in texts if not is_number(text)]
    return words if len(texts) > 5 and len(words) <= max(1, len(texts) // 20) else []


def _all_numbers(texts: pa.ChunkedArray) -> bool:
    """Tell whether every text is a number, at Arrow's speed where it knows the spelling."""
    sample = texts.slice(0, SAMPLE).to_pylist()
    if not sample or not all(is_number(text) for text in sample):
        return False
    try:
        pc.cast(pc.utf8_trim_whitespace(texts), pa.float64())
    except pa.ArrowInvalid:
        return all(is_number(text) for text in pc.unique(texts).to_pylist())
    return True


def _all_dates(texts: pa.ChunkedArray) -> bool:
    """Tell whether every text is a date."""
    sample = texts.slice(0, SAMPLE).to_pylist()
    if not sample or any(dates.day(text) is None for text in sample):
        return False
    return all(dates.day(text) is not None for text in pc.unique(texts).to_pylist())


def is_number(text: str) -> bool:
    """Tell whether a text is a number as Python reads one."""
    try:
        float(text)
    except ValueError:
        return False
    return True
