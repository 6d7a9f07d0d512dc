"""What data sets of Hugging Face add to Parquet and Arrow files: pictures in cells, and names of classes.

`sources.arrow` calls it. A picture is a struct of its `bytes` and its `path`, or bytes alone; the names stand
in the metadata of the schema. What these say is believed as far as the cells allow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data.arrays import pc
from manyhot.data.columns import is_image_name, is_text
from manyhot.data.numbers import SAMPLE
from manyhot.data.plain import is_binary, is_list

KEY = b"huggingface"
# How the files of pictures begin that `opening` reads; AVIF says so after a length, WebP too.
STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", *(b"P%d" % n for n in range(1, 7)))
INSIDE = ((4, b"ftypavi"), (8, b"WEBP"))

Held = tuple[pa.ChunkedArray, NDArray[np.object_]]  # the names of pictures, and their files


def held_pictures(column: pa.ChunkedArray) -> Held | None:
    """Return a name and the file of each cell where a column holds pictures, else None.

    A cell that names a file outside has the name alone; one without a name is called by its row, as are names
    that several cells have.

    Shape:
        out: text (N,), and object (N,): `pyarrow.Buffer`, or None where there is none.
    """
    kind = column.type
    if pa.types.is_struct(kind):
        fields = {kind.field(i).name: kind.field(i).type for i in range(kind.num_fields)}
        if fields.keys() != {"bytes", "path"} or not is_binary(fields["bytes"]):
            return None
        if not (is_text(fields["path"]) or pa.types.is_null(fields["path"])):
            return None
        data, paths = pc.struct_field(column, "bytes"), pc.struct_field(column, "path").cast(pa.string())
    elif is_binary(kind):
        data, paths = column, pa.chunked_array([pa.nulls(len(column), pa.string())])
    else:
        return None
    sample = [
        (cell["bytes"], cell["path"]) if isinstance(cell, dict) else (cell, None)
        for cell in column.drop_null().slice(0, SAMPLE).to_pylist()
    ]
    if sum(_is_picture(*cell) for cell in sample) * 2 <= len(sample):
        return None
    names = paths.to_pylist()
    buffers = [cell.as_buffer() if cell.is_valid else None for cell in data]
    held_names = [name for name, held in zip(names, buffers, strict=True) if held is not None and name]
    twice = len(set(held_names)) < len(held_names)
    for row, held in enumerate(buffers):
        if held is not None and (twice or not names[row]):
            names[row] = f"{row + 1}/{names[row]}" if names[row] else f"picture {row + 1}"
    files = np.empty(len(buffers), dtype=object)
    files[:] = buffers
    return pa.chunked_array([pa.array(names, pa.string())]), files


def class_names(data: pa.Table) -> tuple[pa.Table, list[str]]:
    """Give the numbers of classes the names that the metadata have for them; −1 is an empty cell.

    Returns the notes too: whose numbers stay, since the metadata cannot be true.
    """
    notes = []
    for name, names in _declared(data.schema.metadata).items():
        if name not in data.column_names:
            continue
        column = data[name]
        numbers = column.type.value_type if is_list(column.type) else column.type
        if not pa.types.is_integer(numbers):
            continue
        wrong = _wrong(column, names)
        if wrong:
            notes.append(f"column '{name}' keeps its numbers: {wrong}")
        else:
            data = data.set_column(data.column_names.index(name), name, _named(column, names))
    return data, notes


def _declared(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return the columns that the metadata call classes, each with what is said to be the list of names."""
    try:
        features = json.loads((metadata or {})[KEY])["info"]["features"]
        return {str(name): _names_of(feature) for name, feature in features.items() if _names_of(feature)}
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError):
        return {}


def _names_of(feature: Any) -> Any:
    """Return the names of a class, or of the classes in a list, as the versions of `datasets` write them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _names_of(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return _names_of(feature.get("feature"))
    return feature.get("names") if feature.get("_type") == "ClassLabel" else None


def _wrong(column: pa.ChunkedArray, names: Any) -> str:
    """Say why the metadata cannot be true, or ""."""
    if not isinstance(names, list) or not all(isinstance(name, str) and name.strip() for name in names):
        return "what the metadata say of its classes is no list of names"
    if len(set(names)) < len(names):
        return "the metadata give two classes one name"
    flat = pc.list_flatten(column) if is_list(column.type) else column
    ends = pc.min_max(flat).as_py()
    if ends["max"] is not None and (ends["max"] >= len(names) or ends["min"] < -1):
        odd = ends["min"] if ends["min"] < -1 else ends["max"]
        return f"the metadata name {len(names)} classes, and a cell is {odd}"
    return ""


def _named(column: pa.ChunkedArray, names: list[str]) -> pa.ChunkedArray:
    """Look the names of classes up, in cells or in lists of them."""
    every = pa.array(names, pa.string())
    if not is_list(column.type):
        return every.take(pc.if_else(pc.less(column, 0), None, column))
    listed = [
        None if cell is None else [names[number] for number in cell if number is not None and number >= 0]
        for cell in column.to_pylist()
    ]
    return pa.chunked_array([pa.array(listed, pa.list_(pa.string()))])


def _is_picture(data: bytes | None, name: str | None) -> bool:
    """Tell whether a cell holds a picture by how it begins, or by its name."""
    data = data or b""
    begins = data.startswith(STARTS) or any(data[at:].startswith(mark) for at, mark in INSIDE)
    return begins or is_image_name(name or "")
