"""The one question that is asked of inputs: pictures or features? Everything else is theirs.

`classifier.fit` fits inputs, the bundle stores them as JSON, `predict` reads them back; whoever
holds one calls `transform` and need not know which it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manyhot.data.features import TableInputs, table_inputs
from manyhot.data.images import ImageInputs, Progress, Unreadable, image_inputs
from manyhot.data.stream import X
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.schema import Schema

Inputs = ImageInputs | TableInputs


def fit_transform(
    schema: Schema,
    table: Table,
    train: NDArray[np.intp],
    size: int,
    progress: Progress | None = None,
    memory: float | None = None,
) -> tuple[Inputs, X, Unreadable]:
    """Fit the inputs on the training rows (positions) and turn every row of the table into x.

    Shape:
        x: uint8 (N, H, W, C) for pictures, which may be `Pictures`; float32 (N, D) for features.
    """
    if not schema.is_image:
        inputs = table_inputs(schema, table, train)
        return inputs, *inputs.transform(table)
    pictures = image_inputs(schema, size)
    x, unreadable = pictures.transform(table, progress, memory)
    return pictures.standardised(x[np.setdiff1d(train, list(unreadable))]), x, unreadable


def from_json(data: object) -> Inputs:
    """Read inputs from a bundle. Raises UserError when they are not what a bundle holds."""
    kinds: dict[object, type[ImageInputs] | type[TableInputs]] = {"image": ImageInputs, "table": TableInputs}
    try:
        if not isinstance(data, dict) or data.get("kind") not in kinds:
            raise TypeError("unknown kind")
        return kinds[data["kind"]].from_json(data)
    except (TypeError, KeyError) as error:
        raise UserError(f"inputs.json: not the inputs of a model ({error}).") from None


def row_hashes(schema: Schema, table: Table) -> NDArray[np.uint64]:
    """Return a number per row that equal inputs share, whatever their labels; uint64 (N,).

    Pictures are compared by the bytes of their files, rows of features by their cells.
    """
    from manyhot.data.hashing import hash_cells, hash_files, hash_pixels

    if table.pixels is not None and schema.is_image:
        return hash_pixels(table.pixels)
    if schema.is_image:
        return hash_files(table, schema.inputs[0].name)
    return hash_cells(table, [column.name for column in schema.inputs], schema.missing)
