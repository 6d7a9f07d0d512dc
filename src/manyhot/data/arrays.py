"""Arrow's arrays, made and worked on without what pyarrow would load for it.

`pa.array` and `to_numpy` import pandas wherever that is installed, and `import pyarrow.compute`, which most
methods of arrays do too, takes as long as pyarrow itself. A few rows are read and answered without either;
what looks for the meaning of columns takes `pc`, which is `pyarrow.compute` from the first use on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

try:
    from pyarrow import _compute as compiled  # what pyarrow.compute wraps
except ImportError:
    import pyarrow.compute as compiled

NUMBERS = "iufb"  # kinds of NumPy's numbers and booleans
DTYPES = {pa.from_numpy_dtype(code): np.dtype(code) for code in np.typecodes["AllInteger"] + "efd"}
WIDE = 64  # numbers of a row, of more than which blocks have fewer rows
BLOCK = 1 << 17  # cells at a time, where a whole column would take too much memory
MANY = 500_000  # cells, beyond which the third of a second that pyarrow's imports take is earned back


class _Late:
    """A stand-in for `pyarrow.compute`, which is imported when something of it is asked for."""

    def __getattr__(self, name: str) -> Any:
        import pyarrow.compute

        return getattr(pyarrow.compute, name)


pc: Any = _Late()


def array(values: Any) -> pa.Array:
    """Make an array of anything column-like, of the type that its values share; NaN and None become null.

    >>> array([1.5, None]).null_count, str(array(["a", None]).type), str(array(np.array([True])).type)
    (1, 'string', 'bool')
    """
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype == object:
        values = values.tolist()
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.isnative:
        if values.dtype.kind in NUMBERS:
            return _of_numbers(values, np.isnan(values) if values.dtype.kind == "f" else None)
    elif isinstance(values, (list, tuple)) and len(values) <= MANY:
        match [*{type(value) for value in values if value is not None}]:
            case []:
                return pa.nulls(len(values))
            case [kind] if kind is str:
                return texts(values)
            case [kind] if kind in (int, float, bool):
                filled = np.array([kind() if value is None else value for value in values], kind)
                missing = np.array([value is None or value != value for value in values])
                return _of_numbers(filled, missing)
    return pa.array(values, from_pandas=True)


def texts(values: Sequence[str | None]) -> pa.Array:
    """Make an array of texts, also where all are null."""
    if len(values) > MANY:
        return pa.array(values, pa.string())
    builder = pa.lib.StringBuilder()
    builder.append_values(values)
    return builder.finish()


def in_hex(values: NDArray[np.uint64]) -> pa.ChunkedArray:
    """Write each number as sixteen digits.

    >>> in_hex(np.array([255], np.uint64)).to_pylist(), from_hex(in_hex(np.array([255], np.uint64))).tolist()
    (['00000000000000ff'], [255])
    """
    chunks = []
    for rows in blocks(len(values)):
        block = values[rows].astype(">u8")
        ends = pa.py_buffer(np.arange(0, 16 * len(block) + 1, 16, dtype=np.int32))
        chunks.append(
            pa.Array.from_buffers(
                pa.string(), len(block), [None, ends, pa.py_buffer(block.tobytes().hex().encode())]
            )
        )
    return pa.chunked_array(chunks, pa.string())


def from_hex(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Read numbers that `in_hex` wrote. Raises ValueError or TypeError where a cell is another text."""
    found = np.empty(len(column), np.uint64)
    for place, part in placed(column.chunks):
        found[place] = [int(text, 16) for text in part.to_pylist()]
    return found


def codes(numbers: NDArray[Any]) -> pa.Array:
    """Make an array of the numbers of distinct cells, −1 for an empty one, which becomes null."""
    return _of_numbers(numbers, numbers < 0)


def _of_numbers(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> pa.Array:
    """Make an array of numbers (N,), null where they are missing."""
    valid = None if missing is None or not missing.any() else _bits(~missing)
    data = _bits(values) if values.dtype.kind == "b" else pa.py_buffer(np.ascontiguousarray(values))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [valid, data])


def _bits(flags: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))


def numbers(column: Any) -> NDArray[Any]:
    """Return a column of numbers as NumPy's, float64 with NaN where there is a null."""
    found = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if not len(found):
        return np.zeros(0, DTYPES[found.type])  # `to_pandas_dtype` of older ones imports pandas
    valid, data = found.buffers()
    end = found.offset + len(found)
    values = np.frombuffer(data, DTYPES[found.type], end)[found.offset :]
    if not found.null_count:
        return values
    known = np.unpackbits(np.frombuffer(valid, np.uint8), bitorder="little")[found.offset : end]
    return np.where(known, values, np.nan)


def blocks(rows: int, width: int = 1) -> Iterator[slice]:
    """Give slices of so many rows, BLOCK of them at a time, or fewer of more than WIDE numbers each."""
    size = max(1, BLOCK * WIDE // max(width, WIDE))
    return (slice(first, min(first + size, rows)) for first in range(0, rows, size))


def placed(chunks: Iterable[pa.Array]) -> Iterator[tuple[slice, pa.Array]]:
    """Give the parts of a column, none larger than BLOCK, each with its place in the whole."""
    first = 0
    for chunk in chunks:
        for rows in blocks(len(chunk)):
            part = chunk.slice(rows.start, rows.stop - rows.start)
            yield slice(first, first + len(part)), part
            first += len(part)


def take(column: pa.ChunkedArray, positions: NDArray[np.intp]) -> pa.ChunkedArray:
    """Return some rows of a column; of rows in order without a copy of all, as Arrow makes of many parts."""
    if column.num_chunks < 2 or not (np.diff(positions) >= 0).all():
        return call("take", column, array(positions))
    ends = np.cumsum([len(chunk) for chunk in column.chunks])
    cuts = np.searchsorted(positions, [0, *ends])
    parts = [
        call("take", chunk, array(positions[first:last] - (end - len(chunk))))
        for chunk, end, first, last in zip(column.chunks, ends, cuts, cuts[1:], strict=False)
        if last > first
    ]
    return pa.chunked_array(parts, column.type)


def call(name: str, *arrays: Any, options: Any = None) -> Any:
    """Call one of Arrow's functions by its name."""
    return compiled.call_function(name, [*arrays], options)


def cast(column: Any, kind: pa.DataType) -> Any:
    """Bring a column to a type; raises ArrowInvalid where a cell does not fit."""
    return column if column.type == kind else call("cast", column, options=compiled.CastOptions.safe(kind))


def contains(column: Any, pattern: str) -> Any:
    """Tell of each text whether a regular expression is found in it; null for null."""
    return call("match_substring_regex", column, options=compiled.MatchSubstringOptions(pattern))


def is_one_of(column: Any, words: Sequence[str]) -> Any:
    """Tell of each text whether it is one of some words; False for null."""
    among = cast(texts(words), column.type)
    return call("is_in", column, options=compiled.SetLookupOptions(among, skip_nulls=True))


def without(column: Any, unwanted: Any) -> Any:
    """Return a column with null where a flag is True."""
    return call("if_else", unwanted, pa.nulls(1, column.type)[0], column)


def some(flags: Any) -> bool:
    """Tell whether any flag is True."""
    return bool(call("any", flags).as_py())
