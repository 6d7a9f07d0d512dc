"""One picture for the network: the bytes of its file enter, pixels of one size leave.

`ImageInputs.pixels_of` calls it with the rule of its model, for training, judging and predicting alike:

2   JPEGs that need nothing else are decoded by libjpeg-turbo, all others by Pillow, which resizes all
1   of models trained before there was a rule 2: all are resized as torch does

Whoever changes what pixels come of it adds a rule.

Shapes: H W C height, width and channels (1 grey, 3 colour), always uint8.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from manyhot.data.inputs.images.headers import jpeg_frame
from manyhot.data.inputs.images.levels import USUAL
from manyhot.data.inputs.images.opening import open_image
from manyhot.data.inputs.images.resize import as_torch, by_pillow
from manyhot.schema import Levels


def decode(
    data: bytes, size: tuple[int, int], channels: int, rule: int, levels: Levels = USUAL
) -> NDArray[np.uint8]:
    """Decode one picture at a size; uint8 (H, W, C). `levels` are of those that no JPEG can be.

    Raises:
        UserError: it is truncated, too large, or of no listed format.
    """
    pixels = _plain_jpeg(data, size, channels)
    return (
        fitted(open_image(data, size, levels), size, channels, rule)
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
    frame = jpeg_frame(data)
    if frame is None or not (frame.plain and frame.height and frame.width):
        return None
    if frame.components not in (1, channels) or frame.is_too_large(size):
        return None
    factor, height, width = frame.decoded(size), frame.height, frame.width
    try:
        # The least size is exact: other fractions are slower.
        least = {"min_height": -(-height // factor), "min_width": -(-width // factor), "min_factor": factor}
        return np.asarray(simplejpeg.decode_jpeg(data, "GRAY" if channels == 1 else "RGB", **least))
    except ValueError:
        return None


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int], rule: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size:
        return np.ascontiguousarray(pixels)
    return as_torch(pixels, size) if rule == 1 else by_pillow(pixels, size)
