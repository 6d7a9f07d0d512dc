"""One picture for the network: the bytes of its file enter, pixels of one size leave.

The one rule for training, judging and predicting, called by `reading`. JPEGs that need nothing else are
decoded by torchvision, all others by Pillow; all are resized by torch. Whoever changes what pixels come of it
raises the number in `cache.rule`.

Shapes: H W C height, width and channels (1 grey, 3 colour), always uint8.
"""

from __future__ import annotations

import struct

import numpy as np
import torch
import torchvision  # noqa: F401  gives torch.ops.image, the operators behind its functions
from numpy.typing import NDArray
from PIL import Image
from torch.nn.functional import interpolate

from manyhot.data.inputs.images.opening import MAX_PIXELS, open_image

# An EXIF entry that says "upright", in either order of bytes, and the number by which it begins
UPRIGHT = (b"\x01\x12\0\3\0\0\0\1\0\1", b"\x12\1\3\0\1\0\0\0\1\0")
ORIENTATION = (b"\x01\x12", b"\x12\1", b"Orientation")  # how EXIF and XMP name it


def decode(data: bytes, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """Decode one picture at a size; uint8 (H, W, C).

    Raises:
        UserError: it is truncated, too large, or of no listed format.
    """
    pixels = _plain_jpeg(data, size, channels)
    return fitted(open_image(data, size), size, channels) if pixels is None else _resized(pixels, size)


def fitted(image: Image.Image, size: tuple[int, int], channels: int) -> NDArray[np.uint8]:
    """Bring an opened picture to a size and to grey or colour; uint8 (H, W, C)."""
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"))
    return _resized(pixels.reshape(*pixels.shape[:2], channels), size)


def _plain_jpeg(data: bytes, size: tuple[int, int], channels: int) -> NDArray[np.uint8] | None:
    """Decode a JPEG by torchvision; None where it is anything special, or damaged, or much too large.

    At twice the size wanted Pillow, which decodes at a fraction, is as fast; beyond that it is faster.
    """
    height, width, components = _frame(data)
    draft = min(height // size[0], width // size[1]) >= 2
    if draft or not 0 < height * width <= MAX_PIXELS or components not in (1, channels):
        return None
    try:
        decoded = _decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), channels)
    except (RuntimeError, AttributeError):
        return None
    return np.asarray(decoded.permute(1, 2, 0).numpy())


def _decode_jpeg(data: torch.Tensor, channels: int) -> torch.Tensor:
    """Call torchvision's operator; uint8 (C, H, W).

    Its function `decode_jpeg` warns since 0.29 that it will be removed. Where the operator is gone, an
    AttributeError sends all JPEGs to Pillow, which gives the same pixels more slowly.
    """
    decoded: torch.Tensor = torch.ops.image.decode_jpeg(data, channels, False)
    return decoded


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


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize by triangles as wide as a pixel of the result; torch's takes half the time of Pillow's."""
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    # A batch of one first: so torch sees that channels come last, and resizes them as they lie.
    x = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = interpolate(x, size, mode="bilinear", antialias=True)
    return np.asarray(resized.permute(0, 2, 3, 1)[0].contiguous().numpy())
