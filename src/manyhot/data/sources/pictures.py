"""Pictures held in Python: Pillow's, or arrays of different sizes come in, a Table of files in memory leaves.

`read` calls it. Each is held as a file (PNG or TIFF, without loss), so that it is read as every other.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data.table import Table, as_pixels, from_python
from manyhot.errors import UserError


def held(source: object) -> Table | None:
    """Make a table of a picture of Pillow's, or of a list of such and of arrays; None of all else.

    Shape:
        arrays: uint8, or floats in [0, 1], (H, W), (H, W, 1) or (H, W, 3); grey ones of any range.

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
        if pixels.shape[-1] == 3:
            picture = Image.fromarray(_coloured(pixels[0], name))
        else:
            picture = Image.fromarray(_grey(pixels[0, ..., 0]))
    found = io.BytesIO()
    try:
        upright = ImageOps.exif_transpose(picture)
        plain = upright.mode in ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
        if upright.mode in ("I", "F"):  # for which PNG has no room
            upright.save(found, "TIFF")
        else:
            (upright if plain else upright.convert("RGB")).save(found, "PNG", compress_level=1)
    except (OSError, ValueError) as error:
        raise UserError(f"{name}: cannot be read ({error}).") from None
    return pa.py_buffer(found.getvalue())


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return pixels (H, W) as one of the four types that files have."""
    if pixels.dtype in (np.uint8, np.uint16):
        return pixels
    return pixels.astype(np.float32 if pixels.dtype.kind == "f" else np.int32)


def _coloured(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Return pixels (H, W, 3) as bytes, which is all that files of colours have.

    Raises:
        UserError: they are neither bytes nor floats in [0, 1].
    """
    if pixels.dtype != np.uint8 and not (pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 1):
        low, high = pixels.min(), pixels.max()
        raise UserError(
            f"{name}: colours must be uint8, or floats in [0, 1]; got {pixels.dtype} from {low} to {high}. "
            "Pictures of one size may have any range, as one array."
        )
    return pixels if pixels.dtype == np.uint8 else np.round(pixels * 255).astype(np.uint8)
