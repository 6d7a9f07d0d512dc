"""The deletion test: an explanation is good where the answer falls as soon as what spoke for it is gone.

It is the area under the curve of the class's probability as pixels are taken away, those that speak most for
it first, and those that speak least first. What fills them decides much, so two fillings are tried; the
gain, area(least first) − area(most first), is one in which any random order cancels.

Source: Petsiuk et al. 2018, "RISE", section 4.3 (deletion); Blücher et al. 2024, "Decoupling Pixel Flipping
and Occlusion Strategy for Consistent XAI Benchmarks" (both orders).

Shapes: H W C of a picture · K fillings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

STEPS = 20  # at which a curve is taken, beside its start
Chance = Callable[[NDArray[np.uint8]], NDArray[np.float64]]  # of the explained class, for pictures


def area(chance: Chance, x: NDArray[np.uint8], order: NDArray[np.intp], fill: NDArray[np.uint8]) -> float:
    """Return the area under the curve of a probability as pixels are taken away in an order, in [0, 1].

    Shape:
        x, fill: uint8 (H, W, C). order: (H · W,), positions of pixels, the first to go first.
    """
    pixels = x.reshape(-1, x.shape[-1])
    filled = fill.reshape(pixels.shape)
    ends = np.linspace(0, len(order), STEPS + 1).round().astype(np.intp)
    seen = np.repeat(pixels[None], len(ends), axis=0)
    for number, end in enumerate(ends):
        seen[number, order[:end]] = filled[order[:end]]
    values = chance(seen.reshape(-1, *x.shape))
    return float(np.trapezoid(values, ends / len(order)))


def gain(
    chance: Chance, x: NDArray[np.uint8], heat: NDArray[np.float64], fills: Sequence[NDArray[np.uint8]]
) -> float:
    """Return area(least first) − area(most first) of a heat map (H, W), its mean over the fillings."""
    order = np.argsort(-heat.reshape(-1), kind="stable")
    each = [area(chance, x, order[::-1], fill) - area(chance, x, order, fill) for fill in fills]
    return float(np.mean(each))
