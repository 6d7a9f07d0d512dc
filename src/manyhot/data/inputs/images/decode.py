"""One picture for the network: the bytes of its file enter, pixels of one size leave.

`ImageInputs.pixels_of` calls it with the rule of its model, for training, judging and predicting alike:

2   JPEGs that need nothing else are decoded by libjpeg-turbo, all others by Pillow, which resizes all
1   of models trained before there was a rule 2: all are resized as torch does

Whoever changes what pixels come of it adds a rule.

Shapes: H W C height, width and channels (1 grey, 3 colour), always uint8.
"""

from __future__ import annotations

import struct

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from manyhot.data.inputs.images.opening import MAX_PIXELS, open_image
from manyhot.data.inputs.images.resize import as_torch, by_pillow

# An EXIF entry that says "upright", in either order of bytes, and the number by which it begins
UPRIGHT = (b"\x01\x12\0\3\0\0\0\1\0\1", b"\x12\1\3\0\1\0\0\0\1\0")
ORIENTATION = (b"\x01\x12", b"\x12\1", b"Orientation")  # how EXIF and XMP name it


def decode(data: bytes, size: tuple[int, int], channels: int, rule: int) -> NDArray[np.uint8]:
    """Decode one picture at a size; uint8 (H, W, C).

    Raises:
        UserError: it is truncated, too large, or of no listed format.
    """
    pixels = _plain_jpeg(data, size, channels)
    return (
        fitted(open_image(data, size), size, channels, rule)
        if pixels is None
        else _resized(pixels, size, rule)
    )


def fitted(image: Image.Image, size: tuple[int, int], channels: int, rule: int) -> NDArray[np.uint8]:
    """Bring an opened picture to a size and to grey or colour; uint8 (H, W, C)."""
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return _resized(pixels.reshape(*pixels.shape[:2], channels), size, rule)


def _plain_jpeg(data: bytes, size: tuple[int, int], channels: int) -> NDArray[np.uint8] | None:
    """Decode a JPEG by libjpeg-turbo; None where it is anything special, damaged, or too large.

    One of twice the size wanted or more is decoded at a half, a quarter or an eighth, as Pillow does.
    """
    height, width, components = _frame(data)
    if not 0 < height * width <= MAX_PIXELS or components not in (1, channels):
        return None
    factor = max(f for f in (1, 2, 4, 8) if f <= max(1, min(height // size[0], width // size[1])))
    try:
        # The least size is exact: other fractions are slower.
        least = {"min_height": -(-height // factor), "min_width": -(-width // factor), "min_factor": factor}
        return np.asarray(simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", **least))
    except ValueError:
        return None


def _frame(data: bytes) -> tuple[int, int, int]:
    """Return height, width and components of a JPEG of 8 bits that stands upright; else zeros."""
    at, frame = 2, (0, 0, 0)
    while data[:2] == b"\xff\xd8" and at + 10 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker == 0xDA:  # the pixels begin
            return frame
        if marker in (0xC0, 0xC1, 0xC2):
            bits, *sides = struct.unpack(">BHHB", data[at + 4 : at + 10])
            frame = (sides[0], sides[1], sides[2] if bits == 8 else 0)
        elif marker == 0xE1 and _may_be_turned(data[at + 4 : at + 2 + length]):
            break
        at += 2 + length
    return 0, 0, 0


def _may_be_turned(metadata: bytes) -> bool:
    """Tell whether EXIF or XMP may say that a picture lies on its side; Pillow then reads what they say."""
    for entry in UPRIGHT:
        metadata = metadata.replace(entry, b"")
    return any(mark in metadata for mark in ORIENTATION)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int], rule: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    return as_torch(pixels, size) if rule == 1 else by_pillow(pixels, size)
