"""What the columns of a table are: which says the split, which holds pictures, which are features.

A Table comes in, names, kinds and reasons leave. `infer`, `describe`, `join` and `split` call it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data import dates, numbers, vocabulary
from manyhot.data.arrays import is_one_of, pc
from manyhot.data.numbers import SAMPLE, is_number
from manyhot.data.plain import is_list
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shortened, suggest
from manyhot.files import is_file
from manyhot.schema import Input

SPLIT = "split"
SPLIT_NAMES = ("train", "val", "test")
SPLIT_ALIASES = {
    **dict.fromkeys(("valid", "validation", "validate", "dev", "eval"), "val"),
    **dict.fromkeys(("training", "fit", "learn"), "train"),
    **dict.fromkeys(("testing", "holdout", "held-out"), "test"),
}
ROW = "row"
SUGGESTED = "suggested"  # the column that says why `suggest` chose a row; others that it adds begin with it
CHOSEN = ("unsure", "typical")  # what it says of rows that are no sample of all
MOSTLY_UNIQUE = 0.5  # share of rows above which a text column is taken for names or free text
MANY = 50  # distinct texts up to which a column is a category whatever their share
# Dates in which month and day cannot be told apart: 03/04/2024, 03042024.
SLASHED = r"\d{1,2}/\d{1,2}/\d{4}.*|[0-3]\d[0-3]\d(19|20)\d\d"
GROUPED = r"[-+]?(0|[1-9]\d{0,2}(\.\d{3})?)"  # plain numbers that may be thousands: 1.234
INDEX_NAMES = frozenset({"id", "idx", "index", "row_id", "rowid", "sample_id", "unnamed: 0"})
ID_WORDS = frozenset({"id", "idx", "identifier", "uid", "uuid", "guid", "rowid"})
TIME_WORDS = frozenset({"date", "datetime", "time", "timestamp", "year", "yr", "when", "epoch"})
MEASURED = TIME_WORDS | {"month", "week", "day", "days", "hour", "minute", "second", "age", "rank", "dose"}
FEW_ROWS = 30  # rows of which unique numbers say nothing yet
UNIQUE = 0.95  # share of the rows of an identifier, the others stand there twice
GAPS = 20  # times as many numbers as rows, at most, where some were left out
INDEX_NAME = r"column \d+|__index_level_\d+__"  # without a name in a CSV; of pandas in Parquet
PICTURE_NAME = r"image|img|photo|picture|file|path|bild|foto"  # within the name of a column of pictures
FIRST = 20  # cells that are compared with the names of pictures
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".avif"),
)


def several(table: Table, words: Iterable[str]) -> list[str]:
    """Return the columns that words of an option name: a name, FIRST:LAST as they stand, or a glob (has_*).

    A name that there is means itself, whatever is in it.

    Raises:
        UserError: a word names no column, or a range is the wrong way round.

    >>> from manyhot.data.table import from_python
    >>> several(from_python(dict.fromkeys(["id", "has_a", "b", "has_c"], [1])), ["has_a:b", "has_*"])
    ['has_a', 'b', 'has_c']
    """
    found: list[str] = []
    names = list(table.names)
    for word in words:
        first, colon, last = word.partition(":")
        if word in table.columns:
            found.append(word)
        elif "*" in word or "?" in word:
            fitting = [name for name in names if fnmatchcase(name, word)]
            if not fitting:
                raise UserError(f"{table.source}: no column is like '{word}'; there are {listed(names)}.")
            found += (name for name in fitting if name not in found)
        elif colon and {first, last} & {*names}:
            for name in (first, last):
                table.column(name)
            start, end = names.index(first), names.index(last)
            if start > end:
                raise UserError(f"{table.source}: '{first}' stands after '{last}'; write {last}:{first}.")
            found += (name for name in names[start : end + 1] if name not in found)
        else:
            table.column(word)
    return found


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
    forms = (name, trimmed, slashed, unquote(slashed))
    return next((form for form in forms if is_file(folder / form)), None)


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


def chosen_rows(table: Table) -> NDArray[np.bool_]:
    """Tell which rows `suggest` chose for what a model says of them, rather than at random; bool (N,)."""
    if SUGGESTED not in table.columns:
        return np.zeros(len(table), bool)
    cells = table.cells(SUGGESTED)
    return np.array([*(value in CHOSEN for value in cells.values), False])[cells.codes]


def row_weights(table: Table, name: str, missing: Sequence[str] = ()) -> NDArray[np.float32]:
    """Return how much each row counts, as a column says: on average 1, and 0 for rows that count nothing.

    Shape:
        out: float32 (N,).

    Raises:
        UserError: there is no such column, or a cell is no number, empty, or below 0; or all are 0.
    """
    if is_list(table.column(name).type):
        raise UserError(f"{table.source}: column '{name}' holds lists, and a row has one weight.")
    weight, strange = table.read_numbers(name, missing)
    wrong = np.flatnonzero(~(weight >= 0) | np.isinf(weight))
    if len(wrong):
        found = "empty" if np.isnan(weight[wrong[0]]) else f"{weight[wrong[0]]:g}"
        if wrong[0] in strange:
            found = f"'{shortened(str(table.column(name)[int(wrong[0])]).strip())}'"
        raise UserError(
            f"{table.source} row {table.rows[wrong[0]]}, column '{name}': a weight must be at least 0, "
            f"and is {found}. Correct the cell; a row of weight 0 is left out."
        )
    if not weight.any():
        raise UserError(f"{table.source}: all weights in column '{name}' are zero, so that no row counts.")
    weight = weight / weight.max()  # so that no sum overflows
    return np.asarray(weight / weight[weight > 0].mean(), np.float32)


def is_text(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


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
    return found or _without_endings(table, exclude)


def _without_endings(table: Table, exclude: Collection[str]) -> list[str]:
    """Return the columns whose first cells all differ and are names of pictures but for their ending."""
    texts = [name for name, column in table.columns.items() if is_text(column.type) and name not in exclude]
    stems: dict[Path, set[str]] = {}
    found = []
    for name in texts if table.root is not None else ():
        sample = [text.strip() for text in table.columns[name].slice(0, FIRST).to_pylist() if text]
        if not sample or len({*sample}) < len(sample):
            continue
        if all(map(is_number, sample)) and not re.search(PICTURE_NAME, name.lower()):
            continue  # which may as well count the rows
        paths = [Path(table.root or "", text) for text in sample]
        for folder in {path.parent for path in paths} - {*stems}:
            stems[folder] = _stems(folder)
        if all(path.name in stems[path.parent] for path in paths):
            found.append(name)
    return found


def _stems(folder: Path) -> set[str]:
    """Return the names of the pictures in a folder, without their endings."""
    try:
        return {entry.stem for entry in folder.iterdir() if is_image_name(entry.name)}
    except (OSError, ValueError):
        return set()


def as_input(table: Table, name: str, missing: Sequence[str] = (), decimal: str | None = None) -> Input:
    """Return what a column is as a feature: numbers or dates where every filled cell is one, else categories.

    Numbers that are codes (00501) are categories, and so is whatever the source itself says is one.
    How its numbers are written, and the usual words for no number among them, stand in the Input. `decimal`
    says which mark comes before a fraction, where cells such as 1,234 leave that open.
    """
    kind = table.column(name).type
    if name in table.categories:
        return Input(name, "category")
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return Input(name, "number")
    if not is_text(kind):
        return Input(name, "category")
    filled = _filled(table, name, missing)
    found = _read(table, name, filled, decimal)
    sample = [text for text in filled.slice(0, SAMPLE).to_pylist() if not numbers.is_empty_word(text)]
    if found is None and (_like_numbers(sample) or _like_dates(sample)):
        rest, words = numbers.without_empty_words(filled)
        found = _read(table, name, rest, decimal) if words else None
        found = found and replace(found, missing=words)
    return found or Input(name, "category")


def _read(table: Table, name: str, texts: pa.ChunkedArray, decimal: str | None) -> Input | None:
    """Read all texts as numbers or as dates; None where they are neither."""
    sample = texts.slice(0, SAMPLE).to_pylist()
    plain = _all_numbers(texts)
    if plain and numbers.code_in(texts):
        return Input(name, "category")
    if plain and not _perhaps_thousands(sample):
        return Input(name, "number")
    if _like_numbers(sample):
        found = numbers.notations(texts, {decimal} if decimal else table.decimals)
        if len(found) == 1 and (found[0].decimal == "," or not plain):
            return Input(name, "number", notation=found[0])
    if plain:
        return Input(name, "number")
    if not (sample and _like_dates(sample)):
        return None
    written = dates.notation(pc.unique(texts).to_pylist())
    return None if written is None else Input(name, "date", notation=written if written.first else None)


def feature(
    table: Table, name: str, missing: Sequence[str] = (), decimal: str | None = None
) -> tuple[Input | None, str]:
    """Return what a column is as a feature and "", or None and why it is no use as one; see `as_input`."""
    column = table.column(name)
    if is_list(column.type):
        return None, "it holds lists"
    filled = _filled(table, name, missing)
    if not len(filled):
        return None, "all its cells are empty"
    first = filled[0]
    if len(filled) == len(table) and pc.all(pc.equal(filled, first)).as_py():
        return None, f"all its cells are '{first.as_py()}'"
    if numbers_rows(table, name):
        return None, f"it numbers the rows; to take it: {shlex.join(['--kind', f'{name}=number'])}"
    found = as_input(table, name, missing, decimal)
    distinct = pc.count_distinct(filled).as_py() if found.kind == "category" else 0
    if distinct > max(MOSTLY_UNIQUE * len(table), MANY):
        if vocabulary.told_by(map(str, filled.slice(0, vocabulary.SEEN).to_pylist())):
            return Input(name, "text"), ""
        almost = codes_or_numbers(table, name, missing) or almost_numbers(table, name, missing)
        hint = f"; {almost}" if almost else ""
        if re.fullmatch(SLASHED, str(first.as_py())):
            hint = "; if these are dates, write them as 2024-01-31"
        return None, f"it has {distinct} different texts in {len(table)} rows{hint}"
    return found, ""


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


def numbers_rows(table: Table, name: str) -> bool:
    """Tell whether a column has a whole number for each row that only says which row it is.

    It does where it is called as an index or an identifier is, in whatever order: rows are often shuffled,
    and then tell by their number which were neighbours. Others do where they count the rows in the order of
    the file, with gaps of no pattern where rows were left out. A year, an age or a rank does not.
    """
    called = is_index(name) or words_of(name) & ID_WORDS
    first = _whole_numbers(table, name, SAMPLE)  # of many rows the first ones mostly say that it does not
    if first is None or not (called or _go_on(first)):
        return False
    values = _whole_numbers(table, name)
    if values is None:
        return False
    if is_index(name) or (words_of(name) & ID_WORDS and len(values) < FEW_ROWS):
        return len(np.unique(values)) == len(values)
    if words_of(name) & ID_WORDS:
        return len(np.unique(values)) >= UNIQUE * len(values)
    return not words_of(name) & MEASURED and _count_the_rows(values)


def is_index(name: str) -> bool:
    """Tell whether a column is called as an index is."""
    return name.strip().lower() in INDEX_NAMES or re.fullmatch(INDEX_NAME, name) is not None


def in_order(table: Table, name: str) -> bool:
    """Tell whether a column has whole numbers that only go up, or down."""
    first = _whole_numbers(table, name, SAMPLE)
    if first is None or not _go_on(first):
        return False
    values = _whole_numbers(table, name)
    return values is not None and _go_on(values)


def _go_on(values: NDArray[np.int64]) -> bool:
    """Tell whether numbers only go up, or down."""
    steps = np.diff(values)
    return bool((steps > 0).all() or (steps < 0).all())


def _whole_numbers(table: Table, name: str, rows: int | None = None) -> NDArray[np.int64] | None:
    """Return the cells of a column, or its first, where there is a whole number in each, else None."""
    column = table.column(name).slice(0, rows)
    if column.null_count or len(column) < 2 or is_list(column.type):
        return None
    try:
        return np.asarray(pc.cast(column, pa.int64()).to_numpy())
    except pa.ArrowInvalid:
        return None


def _count_the_rows(values: NDArray[np.int64]) -> bool:
    """Tell whether numbers count rows in the order of the file, some of which may have been left out."""
    steps, low, high = np.diff(values), int(values.min()), int(values.max())
    if (
        len(values) < FEW_ROWS or not _go_on(values) or low < 0 or (low > 1500 and high < 2200)
    ):  # as years are
        return False
    if (np.abs(steps) == 1).all():
        return True
    place = (np.sort(values) - low) / (high - low)
    off = np.abs(place - np.linspace(0, 1, len(values))).max() * len(values) ** 0.5
    # Kolmogorov and Smirnov's distance from gaps at random; equal ones are those of a scale.
    return bool(high - low <= GAPS * len(values) and off < 1.63 and (steps != steps[0]).any())


def told_in_time(table: Table, name: str, missing: Sequence[str] = ()) -> bool:
    """Tell whether a column says when each row was: by dates, or by numbers that are called so and go up."""
    kind = table.column(name).type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or is_text(kind)):
        return False
    if not is_text(kind) and not words_of(name) & TIME_WORDS:
        return False
    kinds = {"date", "number"} if words_of(name) & TIME_WORDS else {"date"}
    first = Table({name: table.column(name).slice(0, SAMPLE)}, table.source)
    if as_input(first, name, missing).kind not in kinds:  # of many rows the first ones mostly say so
        return False
    found = as_input(table, name, missing)
    if found.kind != "number" or "number" not in kinds:
        return found.kind == "date"
    values = table.numbers(name, (*missing, *found.missing), found.notation)
    return bool((np.diff(values[np.isfinite(values)]) >= 0).all())


def words_of(name: str) -> set[str]:
    """Return the words of a column's name.

    >>> sorted(words_of("PassengerId")), sorted(words_of("row_ID2"))
    (['id', 'passenger'], ['id', 'row'])
    """
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def _filled(table: Table, name: str, missing: Sequence[str]) -> pa.ChunkedArray:
    """Return the cells of a column that are not empty."""
    column = table.column(name).drop_null()
    if is_text(column.type):
        trimmed = pc.utf8_trim_whitespace(column)
        column = column.filter(pc.invert(is_one_of(trimmed, ["", *missing])))
    elif pa.types.is_floating(column.type):
        column = column.filter(pc.invert(pc.is_nan(column)))
    return column


def codes_or_numbers(table: Table, name: str, missing: Sequence[str] = ()) -> str:
    """Say why numbers are read as categories, with the option that reads numbers; "" where they are none."""
    kind = table.column(name).type
    option = shlex.join(["--kind", f"{name}=number"])
    if name in table.categories:
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        return f"so the source has it; to read numbers: {option}" if is_number else ""
    if not is_text(kind):
        return ""
    texts, _ = numbers.without_empty_words(_filled(table, name, missing))
    code = numbers.code_in(texts) if _all_numbers(texts) else ""
    return f"'{code}' begins with 0, as codes do; to read numbers: {option}" if code else ""


def almost_numbers(table: Table, name: str, missing: Sequence[str] = ()) -> str:
    """Say what keeps a column of texts from being read as numbers: a few words, or two readings; else ""."""
    if not is_text(table.column(name).type):
        return ""
    distinct = pa.chunked_array([pc.unique(_filled(table, name, missing)).slice(0, 10_000)])
    texts, _ = numbers.without_empty_words(distinct)
    words = [text for text in texts.to_pylist() if not is_number(text)]
    if words and not _few(words, len(texts)):
        if len(numbers.notations(texts)) > 1:
            return f"'{words[0]}' may be of thousands or have a decimal comma, see --decimal"
        words = [text for text in words if not any(map(str.isdigit, text))]
        rest = texts.filter(pc.invert(is_one_of(texts, words)))
        if not (_few(words, len(texts)) and numbers.notations(rest)):
            return ""
    return f"all but {listed(words)} are numbers, see --missing" if words else ""


def perhaps_thousands(table: Table, name: str, missing: Sequence[str] = ()) -> str:
    """Return a cell such as 1.234 where all cells of a column of texts may be thousands as well, else ""."""
    if not is_text(table.column(name).type):
        return ""
    texts = _filled(table, name, missing)
    sample = texts.slice(0, SAMPLE).to_pylist()
    if not _perhaps_thousands(sample) or len(numbers.notations(texts, table.decimals)) < 2:
        return ""
    return str(next(text.strip() for text in sample if "." in text))


def _perhaps_thousands(sample: Sequence[str]) -> bool:
    """Tell whether three digits stand behind each point of a few plain numbers."""
    return all(re.fullmatch(GROUPED, text.strip()) for text in sample) and "." in "".join(sample)


def _few(words: Sequence[str], texts: int) -> bool:
    """Tell whether words are few enough among so many texts to mean something else."""
    return 0 < len(words) <= max(1, texts // 20) and texts > 5


def _like_numbers(sample: Sequence[str]) -> bool:
    """Tell whether a few texts are numbers as Python or people write them, or there is none of them."""
    return all(map(is_number, sample)) or bool(numbers.possible(sample))


def _like_dates(sample: Sequence[str]) -> bool:
    """Tell whether a few texts are dates, whichever of day and month comes first."""
    return any(all(dates.day(text, first) is not None for text in sample) for first in dates.FIRST)


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
