"""A number per row that equal inputs share: for finding exact duplicates and rows seen in training.

Called through `inputs.row_hashes`.

Shapes: N rows; every function gives uint64 (N,).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.arrays import blocks
from manyhot.data.inputs.images.paths import Progress, by_columns, picture_column, pictures_of, read_file
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.machine import num_cores
from manyhot.schema import Input
from manyhot.targets import value_of

BYTES = 1e-2  # by how much of a level the floats of a picture of 8 bits may be off


def hash_pixels(pixels: NDArray[Any]) -> NDArray[np.uint64]:
    """Hash pictures (N, H, W, C) by their pixels; the 256 levels of bytes from 0 to 1 are these bytes."""
    flat = np.ascontiguousarray(pixels).reshape(len(pixels), int(np.prod(pixels.shape[1:])))
    return np.array([_hash(_plain(row).tobytes()) for row in flat], dtype=np.uint64)


def _plain(row: NDArray[Any]) -> NDArray[Any]:
    """Return the pixels of a picture as bytes, where they are such over 255; else as they are."""
    if row.dtype.kind != "f" or not (row.min(initial=0) >= 0 and row.max(initial=0) <= 1):
        return row
    steps = (row * 255).round()
    return steps.astype(np.uint8) if np.abs(row * 255 - steps).max(initial=0) < BYTES else row


def hash_files(table: Table, column: str) -> NDArray[np.uint64]:
    """Hash pictures by the bytes of their files; those that cannot be read by their path."""
    pictures = pictures_of(table, picture_column(table, column))

    def one(index: int) -> int:
        try:
            return hash_bytes(read_file(pictures[index]))
        except UserError:
            return _hash(f"{pictures[index]} {table.rows[index]}".encode())

    with ThreadPoolExecutor(num_cores()) as pool:
        return np.fromiter(pool.map(one, range(len(pictures))), np.uint64, len(pictures))


def hash_bytes(data: bytes) -> int:
    """Hash a file by its bytes; no two of ten million share its 64 bits by chance."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little")


def hash_cells(
    table: Table, inputs: Sequence[Input], missing: Sequence[str], progress: Progress | None = None
) -> NDArray[np.uint64]:
    """Hash rows of features by their cells, one column at a time, so that a million rows take seconds.

    What is no number in a column of numbers is as an empty cell; who trains on it refuses it.
    """
    total, columns = np.zeros(len(table), dtype=np.uint64), ColumnHashes(table, inputs, missing)
    for number, found in enumerate(columns, 1):
        for rows in blocks(len(table)):
            total[rows] = _mix(total[rows] ^ found[rows])
        del found  # before the next one is made
        by_columns(progress, number, len(columns), len(table))
    return total


@dataclass(frozen=True)
class ColumnHashes:
    """The cells of each feature that the table has as hashes (N,), in the order of their names.

    They are made whenever they are asked for: all at once take more memory than most tables.
    """

    table: Table
    inputs: Sequence[Input]
    missing: Sequence[str]

    @property
    def there(self) -> list[Input]:
        """The features that the table has."""
        return sorted((c for c in self.inputs if c.name in self.table.columns), key=lambda c: c.name)

    def __len__(self) -> int:
        return len(self.there)

    def __iter__(self) -> Iterator[NDArray[np.uint64]]:
        for column in self.there:
            found = _cells(self.table, column, self.missing)
            found ^= np.uint64(_hash(column.name.encode()))
            yield found


def _cells(table: Table, column: Input, missing: Sequence[str]) -> NDArray[np.uint64]:
    """Hash the cells of one column by what they stand for: 7 and 7.0 are equal inputs."""
    missing = (*missing, *column.missing)
    if column.kind == "number":
        return hash_numbers(table.read_numbers(column.name, missing, column.notation)[0])
    cells = table.cells(column.name, missing)
    texts = (value if isinstance(value, str) else "\x1f".join(value) for value in cells.values)
    same = (str(value_of(text)).encode() for text in texts)
    return np.array([*map(_hash, same), 0], dtype=np.uint64)[cells.codes]


def hash_numbers(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Hash numbers by their value, NaN as one of its own."""
    found = np.empty(values.shape, np.uint64)
    for rows in blocks(len(values)):
        numbers = values[rows] + 0.0  # which makes 0.0 of -0.0
        numbers[np.isnan(numbers)] = np.nan  # of all whose bits are no number, one
        found[rows] = _mix(numbers.view(np.uint64))
    return found


def _hash(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64 bits. Source: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
