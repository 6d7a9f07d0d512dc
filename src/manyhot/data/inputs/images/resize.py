"""Pixels to another size: Pillow's way, and the way of torch for models that were trained on that.

Called by `decode`. Both weigh by triangles as wide as a pixel of the result (bilinear, antialiased), width
first, then height; they part by 2 of 255 at most.

Shapes: H W C height, width and channels, always uint8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manyhot.data.inputs.images.opening import from_array

WEIGHT = 1 << 15  # what a weight as an integer stays below
SHIFT = 22  # by which weights are multiplied at most: 2^22 times 255 and their sum still fit into 32 bits


def by_pillow(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize to (H, W) as Pillow does."""
    image = from_array(pixels).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.array(image).reshape(*size, -1)


def as_torch(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize to (H, W), to the bit what torch's `interpolate(mode="bilinear", antialias=True)` gives.

    Source: aten/src/ATen/native/cpu/UpSampleKernel.cpp of torch, `_compute_index_ranges_int16_weights`.
    """
    across = _one_side(pixels.swapaxes(0, 1), size[1]).swapaxes(0, 1)
    return np.ascontiguousarray(_one_side(across, size[0]))


def _one_side(pixels: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """Bring the first side of some pixels to a length."""
    if len(pixels) == length:
        return pixels
    first, weights, shift = _weights(len(pixels), length)
    last = len(pixels) - 1
    total = np.full((length, *pixels.shape[1:]), 1 << (shift - 1), np.int32)
    for tap in range(weights.shape[1]):
        total += pixels[np.minimum(first + tap, last)] * weights[:, tap, None, None]
    return np.asarray(np.clip(total >> shift, 0, 255), np.uint8)


def _weights(before: int, after: int) -> tuple[NDArray[np.intp], NDArray[np.int32], int]:
    """Return what each pixel of the result is made of: the first, weights (after, taps), and their shift."""
    scale = before / after
    support = max(scale, 1.0)
    centre = scale * (np.arange(after) + 0.5)
    first = np.maximum((centre - support + 0.5).astype(np.intp), 0)
    end = np.minimum((centre + support + 0.5).astype(np.intp), before)
    place = first[:, None] + np.arange((end - first).max())
    weights = np.maximum(1 - np.abs((place - centre[:, None] + 0.5) / support), 0)
    weights[place >= end[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    shift = max(s for s in range(SHIFT + 1) if int(0.5 + weights.max() * (1 << s)) < WEIGHT)
    return first, (weights * (1 << shift) + 0.5).astype(np.int32), shift
