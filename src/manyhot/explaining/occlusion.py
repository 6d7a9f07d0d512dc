"""Occlusion: how far the log odds fall where a part of a picture is covered.

Source: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2. It needs
answers only, so that whatever answers can be explained.

Shapes: H W C of a picture · P patches · K classes of a target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manyhot.explaining.scores import LogOdds, Scores

SHARE, SMALLEST = 6, 2  # a patch is this part of the shorter side, and at least so many pixels


def patches(height: int, width: int) -> NDArray[np.bool_]:
    """Return which pixels each patch covers: bool (P, H, W). They overlap by half and cover every pixel.

    >>> patches(28, 28).shape, bool(patches(7, 30).any(axis=0).all())
    ((169, 28, 28), True)
    """
    side = min(height, width, max(SMALLEST, round(min(height, width) / SHARE)))

    def starts(length: int) -> NDArray[np.intp]:
        count = -(-(length - side) // max(1, side // 2)) + 1
        return np.unique(np.linspace(0, length - side, count).round().astype(np.intp))

    rows, columns = starts(height), starts(width)
    found = np.zeros((len(rows), len(columns), height, width), bool)
    for number, top in enumerate(rows):
        for other, left in enumerate(columns):
            found[number, other, top : top + side, left : left + side] = True
    return found.reshape(-1, height, width)


def occlusion(scores: Scores, x: NDArray[np.uint8], fill: NDArray[np.uint8]) -> LogOdds:
    """Return by how much the log odds fall where each patch of a picture is covered, by target.

    Shape:
        x, fill: uint8 (H, W, C). out: float64 (P, K).
    """
    covers = patches(*x.shape[:2])
    odds = scores(np.concatenate([x[None], np.where(covers[..., None], fill, x)]))
    return {name: each[0] - each[1:] for name, each in odds.items()}


def over_pixels(falls: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return what is told of patches (P,) by pixel: the mean of those that cover it, float64 (H, W)."""
    covers = patches(height, width)
    return np.asarray(np.tensordot(falls, covers.astype(np.float64), axes=1) / covers.sum(axis=0))
