"""The one question that is asked of inputs: pictures or features? Everything else is theirs.

`fitting.fit` fits inputs, the bundle stores them as JSON, `predict` reads them back; whoever
holds one calls `transform` for rows to train on and `read_new` for others, and need not know which it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.features import TableInputs, table_inputs
from manyhot.data.inputs.images.images import ImageInputs, image_inputs
from manyhot.data.inputs.images.paths import Progress, Unreadable
from manyhot.data.inputs.images.stream import Pictures, X
from manyhot.data.inputs.noticed import Noticed
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.schema import Schema

Inputs = ImageInputs | TableInputs


class ReadRows(NamedTuple):
    """What is known of a table before its rows are parted: their hashes, and their pictures, if any.

    `x` is uint8 (N, H, W, C) or stands for it, None for features; `hashes` is uint64 (N,), see `row_hashes`;
    `notes` say what is odd about the pictures.
    """

    hashes: NDArray[np.uint64]
    x: NDArray[np.uint8] | Pictures | None
    unreadable: Unreadable
    notes: tuple[str, ...] = ()


def read_rows(
    schema: Schema,
    table: Table,
    size: int,
    progress: Progress | None = None,
    memory: float | None = None,
    cache: float | None = None,
    inputs: Inputs | None = None,
) -> ReadRows:
    """Read the pictures of a table, each file once, and hash its rows; see `ImageInputs.read`.

    They are read as `inputs` do it, where these are known, else at a size.
    """
    if not schema.is_image:
        return ReadRows(row_hashes(schema, table, progress), None, {})
    reading = inputs if isinstance(inputs, ImageInputs) else image_inputs(schema, size)
    found = reading.read(table, progress, memory, cache)
    return ReadRows(found.hashes, found.x, found.unreadable, (*found.notes, *found.twins))


def fit_transform(
    schema: Schema,
    table: Table,
    train: NDArray[np.intp],
    size: int,
    raw: X | None,
    seed: int = 0,
    **how: Any,
) -> tuple[Inputs, X]:
    """Fit the inputs on the training rows (positions) and turn every row of the table into x.

    `raw` are the pictures that `read_rows` gave, without the rows that have none; `how` features are turned
    into x is said to `TableInputs.transform`.

    Shape:
        x: uint8 (N, H, W, C) for pictures, which may be `Pictures`; float32 (N, D) for features.
    """
    if raw is None:
        inputs = table_inputs(schema, table, train, seed, how.get("progress"))
        return inputs, inputs.transform(table, **how)[0]
    return image_inputs(schema, size).standardised(raw, train), raw


def read_new(
    inputs: Inputs,
    table: Table,
    progress: Progress | None = None,
    hashes: NDArray[np.uint64] | None = None,
) -> tuple[X, Noticed]:
    """Turn the rows of a table that nobody trains on into x, and say what is odd about them.

    A cell that cannot be read counts as missing and its row is answered; a picture that cannot be read has no
    answer. `hashes` are those of `row_hashes`, where they are known.

    Shape:
        out: uint8 (N, H, W, C) for pictures, or what stands for it; float32 (N, D) for features.

    Raises:
        UserError: the table has none of the columns, or a path leaves its folder.
    """
    if isinstance(inputs, TableInputs):
        return inputs.read(table)
    x, unreadable = inputs.transform(table, progress, hashes)
    return x, Noticed(len(table), 1, unreadable)


def from_json(data: object) -> Inputs:
    """Read inputs from a bundle. Raises UserError when they are not what a bundle holds."""
    kinds: dict[object, type[ImageInputs] | type[TableInputs]] = {"image": ImageInputs, "table": TableInputs}
    try:
        if not isinstance(data, dict) or data.get("kind") not in [*kinds]:
            raise UserError("unknown kind")
        return kinds[data["kind"]].from_json(data)
    except UserError as error:
        raise UserError(f"inputs.json: not the inputs of a model ({error.typed.rstrip('.')}).") from None


def row_hashes(schema: Schema, table: Table, progress: Progress | None = None) -> NDArray[np.uint64]:
    """Return a number per row that equal inputs share, whatever their labels; uint64 (N,).

    Pictures are compared by the bytes of their files, rows of features by their cells.
    """
    from manyhot.data.inputs.hashing import hash_cells, hash_files, hash_pixels

    if table.pixels is not None and schema.is_image:
        return hash_pixels(table.pixels)
    if schema.is_image:
        return hash_files(table, schema.inputs[0].name)
    how = (schema.inputs, schema.missing)
    return table.once(("hashes", *how), lambda: hash_cells(table, *how, progress))
