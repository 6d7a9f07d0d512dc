"""Columns of any type into the few that everything else reads: texts, numbers, booleans, lists.

`table` makes its columns by it, whether they come from a file or from memory. What a type says beyond its
cells, that a column is of categories, is told beside.

Shapes: N rows · C numbers of a cell that is a row of a matrix.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from manyhot.data import arrays
from manyhot.data.arrays import pc
from manyhot.errors import UserError

SAMPLE = 200  # cells looked at before all of them are
SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}  # of each unit in one


def column_of(values: Any, name: str = "") -> tuple[pa.ChunkedArray, bool]:
    """Return anything column-like as a column of a plain type, and whether its type says categories.

    NaN, None and NaT become null. A dictionary, as of a DataFrame's `category`, is taken apart, since a
    category that no row has must not become a class. Dates become texts, durations seconds.

    Raises:
        UserError: the values are complex numbers.

    >>> column_of(np.array([0.5, np.nan], np.float16))[0].to_pylist()
    [0.5, None]
    >>> column_of(pa.array([7, 8, 7]).dictionary_encode())[1]
    True
    """
    found = _as_arrow(values, name)
    return _plain(found), pa.types.is_dictionary(found.type)


def is_nested(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are neither plain values nor lists of these."""
    if is_list(kind):
        return bool(pa.types.is_nested(kind.value_type))
    return bool(pa.types.is_nested(kind))


def is_list(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are lists."""
    forms = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(pa.types, f"is_{form}")(kind) for form in forms)


def is_binary(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are bytes."""
    forms = ("binary", "large_binary", "binary_view", "fixed_size_binary")
    return any(getattr(pa.types, f"is_{form}")(kind) for form in forms)


def bare(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the cells of an extension's type as they are kept, and bytes and lists out of a dictionary."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):  # such as a UUID, which is bytes
        return bare(pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type))
    if pa.types.is_dictionary(kind) and (is_binary(kind.value_type) or pa.types.is_nested(kind.value_type)):
        return bare(arrays.cast(column, kind.value_type))
    return column


def _as_arrow(values: Any, name: str) -> pa.ChunkedArray:
    """Make an Arrow column of whatever type fits the values."""
    if isinstance(values, pa.ChunkedArray):
        return values
    if isinstance(values, pa.Array):
        return pa.chunked_array([values])
    kind = getattr(values, "dtype", None)
    if isinstance(kind, np.dtype):
        if kind.kind == "c":
            raise _complex(name)
        if kind.kind in "iuf" and (not kind.isnative or kind.itemsize > 8):  # which Arrow does not know
            values = np.asarray(values).astype(f"{kind.kind}{min(kind.itemsize, 8)}")
    if str(kind).startswith("Sparse"):
        values = np.asarray(values)
    if isinstance(values, np.ndarray) and values.ndim == 2:
        values = list(values)
    try:
        array = arrays.array(values)
        if isinstance(getattr(array.type, "value_type", array.type), pa.BaseExtensionType):
            array = _as_text(values, name)  # such as the intervals of pandas.cut
            array = array.dictionary_encode() if str(kind) == "category" else array
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
        array = _as_text(values, name)  # mixed types in one object column, or whole numbers beyond 64 bits
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _as_text(values: Iterable[Any], name: str) -> pa.Array:
    """Give each cell its own text, as a CSV would have it."""
    cells = [None if _is_empty(value) else value for value in values]
    if any(isinstance(cell, (complex, np.complexfloating)) for cell in cells):
        raise _complex(name)
    return arrays.texts([None if cell is None else str(cell) for cell in cells])


def _is_empty(value: object) -> bool:
    """Tell whether a cell is empty: None, NaN, or one of the marks of pandas."""
    if isinstance(value, float):
        return bool(np.isnan(value))
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _complex(name: str) -> UserError:
    return UserError(
        f"column '{name}' holds complex numbers. Give columns of what counts of them: .real, .imag or abs()."
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a column one of the few types that the rest reads."""
    column = bare(column)
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(arrays.cast(column, kind.value_type))
    if pa.types.is_run_end_encoded(kind):
        decoded = [pc.run_end_decode(chunk) for chunk in column.chunks]
        return _plain(pa.chunked_array(decoded, kind.value_type))
    if pa.types.is_decimal(kind):
        return arrays.cast(column, pa.float64())
    if pa.types.is_float16(kind):
        return _plain(arrays.cast(column, pa.float32()))
    if pa.types.is_floating(kind):
        is_nan = arrays.call("is_nan", column)
        return arrays.without(column, is_nan) if arrays.some(is_nan) else column
    if is_binary(kind):
        try:
            return _plain(arrays.cast(column, pa.string()))  # as NumPy's S holds texts
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return pa.chunked_array([_as_text(column.to_pylist(), "")])
    if pa.types.is_duration(kind):
        ticks = arrays.cast(arrays.cast(column, pa.int64()), pa.float64())
        return pc.divide(ticks, float(SECONDS[kind.unit]))
    if is_list(kind):
        usual = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return _of_matrix(column if usual else arrays.cast(column, pa.list_(kind.value_type)))
    if pa.types.is_null(kind) or pa.types.is_temporal(kind) or kind in (pa.large_string(), pa.string_view()):
        return arrays.cast(column, pa.string())
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return pa.chunked_array([_as_text(column.to_pylist(), "")])
    return column


def _of_matrix(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Read lists that are the rows of a matrix of 0 and 1: a single 1 in each is a class, else they are tags.

    A class is its place in the row, as Keras's `to_categorical` writes it, and so are tags.

    Shape:
        column: N cells of C values. out: int64 (N,), or lists of int64.
    """
    kind = column.type.value_type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return column
    sample = [cell for cell in column.slice(0, SAMPLE).to_pylist() if cell is not None]
    if not sample or len(sample[0]) < 2 or not {value for cell in sample for value in cell} <= {0, 1, None}:
        return column
    there = column.drop_null()
    lengths = pc.min_max(pc.list_value_length(there)).as_py()
    if lengths["min"] != lengths["max"]:
        return column
    rows = arrays.numbers(arrays.cast(pc.list_flatten(there), pa.float64())).reshape(len(there), -1)
    unknown = np.isnan(rows).all(axis=1)
    if not np.isin(rows[~unknown], (0, 1)).all():
        return column
    found: list[Any] = [None] * len(column)
    known = np.flatnonzero(np.asarray(pc.is_valid(column)))[~unknown]
    rows = rows[~unknown]
    single = bool((rows.sum(axis=1) == 1).all())
    places = rows.argmax(axis=1).tolist() if single else [np.flatnonzero(row).tolist() for row in rows]
    for row, place in zip(known.tolist(), places, strict=True):
        found[row] = place
    return pa.chunked_array([pa.array(found, pa.int64() if single else pa.list_(pa.int64()))])
