"""Pictures of 16 bits, of floats, and with transparent parts into such of 8 bits without.

`opening` measures pictures by `find` and brings each to 8 bits by `to_bytes`; `images` those that a table
holds as an array. What is found stands in the schema, and in a model's inputs.json: all rows are read alike.

Shapes: N pictures · H W C height, width and channels · P pixels of several pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.table import PIXELS, Table
from manyhot.schema import Input, Levels

USUAL = Levels()
SAMPLE = 200  # pictures that are looked at
PIXELS_EACH = 10_000  # of each
OUTER = 0.001  # share of the pixels at either end that may be stray ones
APART = 2  # ranges of all else by which a level at an end is away that stands for a missing pixel
FEW = 8  # different levels, of which none is taken for that
LARGEST = 1e30  # what is larger stands for a missing pixel
MIXED = 0.1  # share of pictures within 0 and 1 from which on each says by itself which way it is meant
SEEN = 32.0  # by how many levels a drawing must differ from its ground to be seen well
GROUNDS = (255, 0, 128)  # white, as long as it serves


def to_bytes(pixels: NDArray[Any], levels: Levels = USUAL) -> NDArray[np.uint8]:
    """Bring one picture to 8 bits; what is missing (NaN) is black.

    Shape:
        pixels: whole numbers or floats, (H, W) or (H, W, C).
    """
    if pixels.dtype == np.uint8:
        return pixels
    wide = pixels.astype(np.float64)
    wide[np.isnan(wide)] = 0 if not levels.real else levels.real[0]
    if pixels.dtype.kind == "f":
        highest = wide[np.isfinite(wide)].max(initial=0)
        low, high = levels.real or (0.0, 1.0 if highest <= 1 else 255.0)
    else:
        low, high = levels.whole or (0.0, 65535.0)
    return np.asarray(np.clip((wide - low) / (high - low) * 255, 0, 255).round(), np.uint8)


def find(
    whole: Sequence[NDArray[Any]], real: Sequence[NDArray[Any]], drawn: Sequence[NDArray[np.uint8]]
) -> Levels | None:
    """Return how some pictures become such of 8 bits; None where the usual way serves.

    Shape:
        whole, real: (P,) pixels of each picture of whole numbers, and of floats.
        drawn: uint8 (H, W, 4), each with transparent parts.
    """
    found = Levels(_whole(whole), _real(real), _ground(drawn))
    return None if found == USUAL else found


def held_input(table: Table) -> Input:
    """Return what the pictures are that a table holds as an array, by a sample of them."""
    assert table.pixels is not None, "there are pictures"
    pixels, levels = table.pixels, None
    if pixels.dtype != np.uint8:
        some = [thin(picture) for picture in pixels[:: -(-max(1, len(pixels)) // SAMPLE)]]
        levels = find(some, [], []) if pixels.dtype.kind != "f" else find([], some, [])
    return Input(PIXELS, "image", tuple(pixels.shape[1:]), levels=levels)


def thin(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return every so many pixels of a picture, (P,): at most about 10,000."""
    every = int(np.ceil((pixels.shape[0] * pixels.shape[1] / PIXELS_EACH) ** 0.5))
    return np.asarray(pixels[:: max(1, every), :: max(1, every)]).ravel()


def _whole(pictures: Sequence[NDArray[Any]]) -> tuple[float, ...]:
    """Return the range of pictures of whole numbers; () where they use much of 16 bits."""
    ends = _ends(pictures)
    if not ends or (ends[0] >= 0 and ends[1] - ends[0] >= 32768 and ends[1] <= 65535):
        return ()
    return (0.0, 255.0) if ends[0] >= 0 and ends[1] - ends[0] >= 128 and ends[1] <= 255 else ends


def _real(pictures: Sequence[NDArray[Any]]) -> tuple[float, ...]:
    """Return the range of pictures of floats; () where some are meant from 0 to 1, and others to 255."""
    ends = _ends(pictures)
    if not ends:
        return ()
    low, high = ends
    tops = np.array([picture[np.isfinite(picture)].max(initial=0) for picture in pictures])
    if low >= 0 and 1 < high <= 255 and (tops <= 1).mean() >= MIXED:
        return ()
    for usual in (1.0, 255.0):
        if low >= 0 and usual / 2 <= high - low and high <= usual:
            return (0.0, usual)
    return ends


def _ends(pictures: Sequence[NDArray[Any]]) -> tuple[float, ...]:
    """Return the least and the greatest level of some pictures, strays and missing pixels apart; () of none.

    Strays are what lies farther beyond nearly all levels than these are apart.
    """
    every = np.concatenate([np.zeros(0), *(picture.astype(np.float64) for picture in pictures)])
    every = _without_missing(every[np.isfinite(every) & (np.abs(every) < LARGEST)])
    if not len(every):
        return ()
    least, greatest = float(every.min()), float(every.max())
    low, high = map(float, np.quantile(every, [OUTER, 1 - OUTER]))
    if low < high:
        least, greatest = max(least, 2 * low - high), min(greatest, 2 * high - low)
    return (least, greatest) if least < greatest else (least, least + 1)


def _without_missing(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out a level at either end that is far from all others, such as -9999 among heights; (P,)."""
    if not len(levels):
        return levels
    lowest, highest = levels.min(), levels.max()
    others = levels[(levels > lowest) & (levels < highest)]
    if len(np.unique(others[: SAMPLE * PIXELS_EACH])) <= FEW:
        return levels
    least, greatest = others.min(), others.max()
    away = APART * (greatest - least)
    ends = [end for end, by in ((lowest, least - lowest), (highest, highest - greatest)) if by > away]
    return np.asarray(levels[~np.isin(levels, ends)])


def _ground(drawn: Sequence[NDArray[np.uint8]]) -> int:
    """Return the grey on which most can be seen of what is drawn: white, unless another serves better."""
    if not drawn:
        return USUAL.ground

    def seen(ground: int) -> float:
        total = 0.0
        for picture in drawn:
            share = picture[..., 3] / 255
            apart = np.abs(picture[..., :3].astype(np.float64) - ground).max(axis=-1)
            total += min(float((apart * share).sum() / share.sum()), SEEN)
        return total / len(drawn)

    best = max(GROUNDS, key=seen)  # the first of equals
    return best if seen(best) > 1.1 * seen(USUAL.ground) else USUAL.ground
