"""A table: columns of cells, and pictures when these came as an array. Every source becomes one.

`sources.read` makes them from files, `from_python` from arrays and data frames; `infer`, `split` and
the fitted inputs read them. Cells stay as the source has them (pyarrow arrays, null for empty);
what they mean is decided later, by the schema.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot import notebook
from manyhot.data import arrays, disk, numbers
from manyhot.data.plain import column_of
from manyhot.errors import UserError, listed, shortened, suggest
from manyhot.schema import Notation
from manyhot.targets import Cell, Cells

T = TypeVar("T")

SHOWN = 5  # rows that a notebook shows
PIXELS = "pixels"  # what the pictures are called when the table holds them itself


class NoRowsError(UserError):
    """A source has no rows, which is a mistake to whoever learns from it; `table` has its columns."""

    def __init__(self, message: str, table: Table) -> None:
        super().__init__(message)
        self.table = table


@dataclass(frozen=True)
class Table:
    """Rows as they were read.

    columns  name → pyarrow array; null is an empty cell
    source   what messages call it, such as "train.csv"
    root     the folder that image paths are relative to and may not leave
    pixels   (N, H, W, C) when the pictures are in the table itself: uint8, or other numbers as they came
    files    name of a column → object (N,): the files of its pictures as the table itself holds them
             (`pyarrow.Buffer`, None where there is none); the column has their names
    targets  the columns that the source itself marks as labels (`label` of a folder)
    categories  the columns that it marks as categories, whatever their cells look like (`category` of pandas)
    notes    what reading left out or found odd, for people
    mapped   the columns from which others were looked up, and which would tell these
    rows     int64 (N,): the number of each row in the source, counted from 1
    trusted  the paths in `image` are of files that the user named, or that lie in a folder that the user
             named, and not what somebody wrote: links among them may lead out of `root`
    on_disk  its cells lie in a file, as those of its rows then do; see `disk`
    origin   how each file that the rows are of was read, as keywords of `sources.read.read`; () in memory
    """

    columns: Mapping[str, pa.ChunkedArray]
    source: str = ""
    root: Path | None = None
    pixels: NDArray[Any] | None = None
    targets: tuple[str, ...] = ()
    categories: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    mapped: tuple[str, ...] = ()
    rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    files: Mapping[str, NDArray[np.object_]] = field(default_factory=dict)
    trusted: bool = False
    on_disk: bool = False
    origin: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns.values()}
        if self.pixels is not None:
            lengths.add(len(self.pixels))
        if len(lengths) > 1:
            raise UserError(f"{self.source or 'table'}: columns differ in length: {sorted(lengths)}.")
        if len(self.rows) == 0 and lengths:
            object.__setattr__(self, "rows", np.arange(1, lengths.pop() + 1))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        held = "" if self.pixels is None else f"pictures of {'×'.join(map(str, self.pixels.shape[1:]))}"
        types = notebook.names(f"{name} ({column.type})" for name, column in self.columns.items())
        first = (f"{name}={column[0]}" for name, column in self.columns.items()) if len(self) else ()
        return notebook.lines(
            f"Table {self.source}: {len(self):,} rows, {len(self.columns):,} columns",
            ", ".join(filter(None, [held, types])),
            f"row {self.rows[0]}: {notebook.names(first) or 'no columns'}" if len(self) else "no rows",
        )

    def _repr_html_(self) -> str:
        names = self.names[: notebook.ROWS]
        few = {name: self.columns[name].slice(0, SHOWN).to_pylist() for name in names}
        title = repr(self).partition("\n")[0]
        rows = zip(self.rows[:SHOWN], *few.values(), strict=True)
        return notebook.grid(title, ("row", *names), rows)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in the order of the source."""
        return tuple(self.columns)

    @property
    def holds_pictures(self) -> bool:
        """Whether pictures are in the table itself, as pixels or as files."""
        return self.pixels is not None or bool(self.files)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column; raise UserError with a suggestion when there is none."""
        if name not in self.columns:
            raise UserError(
                f"{self.source}: no column '{name}'{suggest(name, self.names)}; "
                f"there are {listed(self.names)}."
            )
        return self.columns[name]

    def cells(self, name: str, missing: Sequence[str] = ()) -> Cells:
        """Return one column with each distinct cell once; empty cells and `missing` are unknown.

        Numbers and booleans of a typed source become the text that a CSV has for them; floats
        that are all whole numbers become whole (a missing value alone makes floats of integers).
        """
        column = self.column(name)
        kind = column.type
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            values, codes = _distinct_lists(column)
        else:
            encoded = arrays.call("dictionary_encode", column).chunks  # which share their dictionary
            values = _texts(encoded[-1].dictionary) if encoded else ()
            codes = np.empty(len(column), np.int32)
            for place, chunk in arrays.placed(encoded):
                codes[place] = np.nan_to_num(arrays.numbers(chunk.indices), nan=-1)
        values, codes = _merged(values, codes, {"", *missing})
        typed = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        return Cells(values, codes, name, self.source, typed, self.rows)

    @cached_property
    def _found(self) -> dict[Hashable, Any]:
        return {}

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what `find` finds out of all rows, which takes long where these are many; once for a key."""
        if key not in self._found:
            self._found[key] = find()
        found: T = self._found[key]
        return found

    @cached_property
    def decimals(self) -> frozenset[str]:
        """The decimal marks that the texts of the columns show, by their first cells."""
        texts = [column for column in self.columns.values() if pa.types.is_string(column.type)]
        marks = (numbers.decimal_of(filter(None, c.slice(0, numbers.SAMPLE).to_pylist())) for c in texts)
        return frozenset(filter(None, marks))

    def numbers(
        self, name: str, missing: Sequence[str] = (), notation: Notation | None = None
    ) -> NDArray[np.float64]:
        """Return one column as floats, as `read_numbers` does.

        Raises:
            UserError: a cell is not a number; the message names its row.
        """
        found, wrong = self.read_numbers(name, missing, notation)
        if len(wrong):
            raise self._no_number(name, int(wrong[0]), numbers.written_like(notation))
        return found

    def read_numbers(
        self, name: str, missing: Sequence[str] = (), notation: Notation | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return one column as floats, NaN for empty cells; and the positions of cells that are no number.

        `notation` says how its texts are written. Where a usual word for no number means an empty cell, the
        others do too; see `numbers.alike`.
        """
        found, wrong = np.empty(len(self), np.float64), [np.zeros(0, np.intp)]
        for place, chunk in arrays.placed(self.column(name).chunks):  # a whole column takes much memory
            found[place], odd = _read_numbers(chunk, missing, notation)
            wrong.append(odd + place.start)
        return found, np.concatenate(wrong)

    def _no_number(self, name: str, index: int, how: str = "") -> UserError:
        text = str(self.columns[name][index].as_py()).strip()
        option = f"--missing={text}" if text.startswith("-") else f"--missing '{text}'"
        return UserError(
            f"{self.source} row {self.rows[index]}, column '{name}': '{text}' is not a number{how}. "
            f"Correct the cell, or name the words for an empty cell with {option}."
        )

    def take(self, index: NDArray[Any]) -> Table:
        """Return the rows at these positions (integers), or where a mask is True; row numbers stay."""
        positions = np.flatnonzero(index) if index.dtype == bool else index
        if self.on_disk:
            columns = disk.taken(dict(self.columns), positions)
            disk.let_go()
        else:
            columns = {name: arrays.take(c, positions) for name, c in self.columns.items()}
        return replace(
            self,
            columns=columns,
            pixels=None if self.pixels is None else self.pixels[positions],
            rows=self.rows[positions],
            files={name: held[positions] for name, held in self.files.items()},
        )

    def only(self, name: str) -> Table:
        """Return the table with one of its columns alone."""
        return Table({name: self.column(name)}, self.source, rows=self.rows)

    def slice(self, rows: slice) -> Table:
        """Return the rows from one position to another, without a copy."""
        first, last, _ = rows.indices(len(self))
        return replace(
            self,
            columns={name: c.slice(first, last - first) for name, c in self.columns.items()},
            pixels=None if self.pixels is None else self.pixels[rows],
            rows=self.rows[rows],
            files={name: held[rows] for name, held in self.files.items()},
        )

    def with_columns(self, columns: Mapping[str, Any]) -> Table:
        """Return the table with columns added or replaced."""
        added = {str(name): column_of(column, str(name)) for name, column in columns.items()}
        marked = {name for name, (_, is_category) in added.items() if is_category}
        return replace(
            self,
            columns={**self.columns, **{name: column for name, (column, _) in added.items()}},
            categories=(self.categories - {*added}) | marked,
            trusted=self.trusted and "image" not in added,
        )


def from_python(data: Any, source: str = "table") -> Table:
    """Make a table from a DataFrame, an Arrow table, a dict of arrays, rows as dicts, or (images, labels).

    A dict of single values is one row, and so is a Series with a value for each column.

    Shape:
        images: uint8 or other numbers, (N, H, W) or (N, H, W, C); (H, W, 3) is one.
        labels: (N,), or a dict of these.

    Raises:
        UserError: the data are none of these, or arrays differ in length.

    >>> from_python({"size": 3, "ripe": "yes"}).column("size").to_pylist()
    [3]
    >>> from_python([{"size": 3}, {"size": 4, "ripe": "no"}]).column("ripe").to_pylist()
    [None, 'no']
    """
    if isinstance(data, Table):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        images, labels = data
        count = None if isinstance(labels, Mapping) else len(labels)
        return labelled(Table({}, source, pixels=as_pixels(images, count=count)), labels)
    if isinstance(data, np.ndarray) and data.ndim in (3, 4):
        return Table({}, source, pixels=as_pixels(data))
    if hasattr(data, "to_arrow"):  # polars
        data = data.to_arrow()
    elif hasattr(data, "iloc") and hasattr(data, "columns"):  # pandas
        names = [str(name) for name in data.columns]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise UserError(f"{source}: {listed(twice)} twice among the columns; rename one.")
        columns = {name: data.iloc[:, place] for place, name in enumerate(names)}
        return Table({}, source).with_columns(columns)
    elif hasattr(data, "iloc") and hasattr(data, "to_dict"):  # a Series of pandas, such as a row of a frame
        data = data.to_dict()
    if isinstance(data, pa.Table):
        return Table({}, source).with_columns(dict(zip(data.column_names, data.columns, strict=True)))
    if isinstance(data, np.ndarray) and data.dtype.names:
        data = {name: data[name].ravel() for name in data.dtype.names}
    if isinstance(data, list) and data and all(isinstance(row, Mapping) for row in data):
        names = [*dict.fromkeys(name for row in data for name in row)]
        data = {name: [row.get(name) for row in data] for name in names}
    if isinstance(data, Mapping):
        return Table({}, source).with_columns(dict(_each_a_list(data, source)))
    raise UserError(
        "data must be a path, a DataFrame, a dict of columns, a list of dicts, pictures or (images, labels), "
        f"got {_kind(data)}."
    )


def _read_numbers(
    column: pa.Array, missing: Sequence[str], notation: Notation | None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Read a part of a column as floats; see `Table.read_numbers`."""
    wrong = np.zeros(0, np.intp)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = arrays.call("utf8_trim_whitespace", column)
        column = arrays.without(column, arrays.is_one_of(column, ["", *numbers.alike(missing)]))
        if notation is not None:
            is_none = arrays.call("invert", numbers.matches(column, notation))
            wrong = np.flatnonzero(np.array(is_none.to_pylist(), bool))  # a null is not wrong
            column = arrays.without(column, is_none) if len(wrong) else column
            column = numbers.as_plain(column, notation)
    try:
        floats = arrays.cast(column, pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        found, odd = _parse_numbers(column.to_pylist())
        return found, np.union1d(wrong, odd)
    return np.asarray(arrays.numbers(floats), dtype=np.float64), wrong


def _parse_numbers(values: Sequence[Any]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Read numbers one by one, for the spellings Arrow does not know (1e3, inf, +5); see `read_numbers`."""
    found, wrong = np.full(len(values), np.nan), list[int]()
    for index, value in enumerate(values):
        if value is not None:
            try:
                found[index] = float(value)
            except (ValueError, TypeError):
                wrong.append(index)
    return found, np.array(wrong, np.intp)


def _each_a_list(data: Mapping[Any, Any], source: str) -> Iterable[tuple[Any, Any]]:
    """Give the columns of a dict; where each has a single value, that is a row."""
    single = [name for name, values in data.items() if _is_single(values)]
    if 0 < len(single) < len(data):
        several = next(name for name in data if name not in single)
        raise UserError(
            f"{source}: column '{shortened(str(single[0]))}' is one value and '{shortened(str(several))}' is "
            "several. Give each column a list, or each one value for a single row."
        )
    return ((name, [values] if single else values) for name, values in data.items())


def _is_single(value: object) -> bool:
    """Tell a cell from a column of cells."""
    no_dimension = getattr(value, "ndim", 1) == 0
    return isinstance(value, (str, bytes)) or not hasattr(value, "__iter__") or no_dimension


def _kind(data: object) -> str:
    """Name what was given, for a message."""
    if isinstance(data, np.ndarray):
        return f"an array of shape {data.shape}"
    if isinstance(data, (list, tuple)):
        of = f" of {type(data[0]).__name__}" if data else " without anything in it"
        return f"a {type(data).__name__}{of}"
    return type(data).__name__


def labelled(pictures: Table, labels: Any) -> Table:
    """Return a table of pictures with its labels beside them: an array (N,), or a dict of these."""
    labels = labels if isinstance(labels, Mapping) else {"label": labels}
    table = pictures.with_columns(labels)
    return replace(table, targets=tuple(map(str, labels)))


def as_pixels(images: Any, like: tuple[int, ...] | None = None, count: int | None = None) -> NDArray[Any]:
    """Return images as (N, H, W, C): uint8, or whole numbers or floats of which `inputs` finds the range.

    Whether three numbers are those of one picture or of several follows from how many there are to be
    (`count`), or from the shape (H, W, C) of those that a model knows (`like`), else from the numbers.

    Raises:
        UserError: the array is not (N, H, W), (N, H, W, 1 or 3) or (H, W, 1 or 3), or holds no numbers.

    >>> as_pixels(np.zeros((9, 9, 3))).shape, as_pixels(np.zeros((9, 9, 3)), like=(9, 3, 1)).shape
    ((1, 9, 9, 3), (9, 9, 3, 1))
    """
    array = np.asarray(images)
    if array.ndim == 2 and (like is not None or count == 1):
        array = array[None, ..., None]
    if array.ndim == 3:
        array = array[None] if _is_one(array.shape, like, count) else array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3):
        remedy = ""
        if array.shape[-1:] == (4,):
            remedy = " Leave out the fourth channel: images[..., :3]."
        elif array.ndim == 4 and array.shape[1] in (1, 3):
            remedy = " Bring the channels to the end: images.transpose(0, 2, 3, 1)."
        raise UserError(
            f"images must be (N, H, W), (N, H, W, 1 or 3) or (H, W, 3), got shape {np.shape(images)}.{remedy}"
        )
    if array.dtype.kind not in "buif":
        raise UserError(f"images must be numbers, such as uint8, or floats in [0, 1]; got {array.dtype}.")
    return array.astype(np.uint8) * 255 if array.dtype.kind == "b" else array


def _is_one(shape: tuple[int, ...], like: tuple[int, ...] | None, count: int | None) -> bool:
    """Tell the shape of one picture (H, W, C) from that of several grey ones (N, H, W).

    Raises:
        UserError: it may as well be a picture whose channels come first.
    """
    ends_in_channels = shape[2] in (1, 3, 4) and shape[1] > shape[2]
    if count is not None:
        return count == 1 and (shape[2] == 1 or ends_in_channels)
    if like is not None and like[2] == 3 and shape[0] == 3 and not ends_in_channels:
        raise UserError(
            f"images of shape {shape} are three grey ones, or one of colours whose channels come first. Give "
            "images[..., None] for three, images.transpose(1, 2, 0) for one."
        )
    return ends_in_channels and (like is None or shape[1:] != like[:2])


def _texts(dictionary: pa.Array) -> tuple[Cell, ...]:
    """Give each distinct value the text that a CSV has for it."""
    kind = dictionary.type
    values = dictionary.to_pylist()
    if pa.types.is_floating(kind):
        real = [v for v in values if v is not None and np.isfinite(v)]
        whole = all(float(v).is_integer() for v in real)
        return tuple(str(int(v)) if whole and np.isfinite(v) else str(v) for v in values)
    return tuple(str(v) for v in values)


def _distinct_lists(column: pa.ChunkedArray) -> tuple[tuple[Cell, ...], NDArray[np.int32]]:
    seen: dict[Cell, int] = {}
    codes = np.full(len(column), -1, dtype=np.int32)
    for index, items in enumerate(column.to_pylist()):
        if items is not None:
            cell = tuple(str(item) for item in items if item is not None)
            codes[index] = seen.setdefault(cell, len(seen))
    return tuple(seen), codes


def _merged(
    values: tuple[Cell, ...], codes: NDArray[np.int32], empty: set[str]
) -> tuple[tuple[Cell, ...], NDArray[np.int32]]:
    """Drop the values that mean an empty cell. Blanks around a text stay: ' a' is not 'a'."""
    seen: dict[Cell, int] = {}
    renumber = np.full(len(values) + 1, -1, dtype=np.int32)
    for number, value in enumerate(values):
        if (value.strip() if isinstance(value, str) else value) not in empty:
            renumber[number] = seen.setdefault(value, len(seen))
    return tuple(seen), renumber[codes]
