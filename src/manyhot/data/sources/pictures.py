"""Pictures held in Python: Pillow's, or arrays of different sizes come in, a Table of files in memory leaves.

`read` calls it. Each is held as a file (PNG, without loss), so that it is read as every other.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from manyhot.data.table import Table, as_pixels, from_python
from manyhot.errors import UserError


def held(source: object) -> Table | None:
    """Make a table of a picture of Pillow's, or of a list of such and of arrays; None of all else.

    Shape:
        arrays: uint8 (H, W), (H, W, 1) or (H, W, 3), or floats in [0, 1].

    >>> held([np.zeros((4, 4), np.uint8), np.zeros((5, 6, 3), np.uint8)]).column("image").to_pylist()
    ['picture 1', 'picture 2']
    """
    if not are_pictures(source):
        return None
    items = [*source] if isinstance(source, (list, np.ndarray)) else [source]
    names = [f"picture {number}" for number in range(1, len(items) + 1)]
    files = np.empty(len(items), dtype=object)
    files[:] = [_file(item, name) for item, name in zip(items, names, strict=True)]
    return replace(from_python({"image": names}, "pictures"), files={"image": files})


def are_pictures(source: object) -> bool:
    """Tell a picture of Pillow's, and a list or an array of objects of such and of arrays."""
    if isinstance(source, np.ndarray) and (source.dtype != object or source.ndim != 1):
        return False
    items = source if isinstance(source, (list, np.ndarray)) else [source]
    return len(items) > 0 and all(map(_is_picture, items))


def _is_picture(item: object) -> bool:
    return hasattr(item, "getexif") or (isinstance(item, np.ndarray) and item.ndim in (2, 3))


def _file(picture: Any, name: str) -> pa.Buffer:
    """Return a picture as the bytes of a PNG file.

    Raises:
        UserError: an array is no picture, or Pillow cannot write it.
    """
    from PIL import Image, ImageOps  # not needed for tables

    if not hasattr(picture, "getexif"):
        try:
            pixels = as_pixels(picture, count=1)
        except UserError as error:
            raise UserError(f"{name}: {error.typed}") from None
        if len(pixels) != 1:
            raise UserError(f"{name}: an array must be (H, W) or (H, W, 3), got shape {np.shape(picture)}.")
        picture = Image.fromarray(pixels[0, ..., 0] if pixels.shape[-1] == 1 else pixels[0])
    found = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(picture)
        plain = upright.mode in ("1", "L", "LA", "I", "I;16", "P", "RGB", "RGBA")
        (upright if plain else upright.convert("RGB")).save(found, "PNG", compress_level=1)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read ({error}).") from None
    return pa.py_buffer(found.getvalue())
