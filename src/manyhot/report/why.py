"""What a page shows of the reasons for an answer: heat over a picture, or bars of columns.

`explaining` makes panels; `explained` shows them on a page of their own, `page` beside a model's mistakes,
both by why.html and why.css.

Shapes: H W of what a network sees of a picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manyhot.report.mistakes import source
from manyhot.report.sheet import as_png

PIXELS = 320  # of a picture's longer side
FOR, AGAINST = (217, 84, 18), (25, 98, 190)  # told apart by all eyes; as in explained.html
PALE = 0.4  # how much of a picture's light stays under the colours
STRONGEST = 0.99  # share of pixels that are weaker than full colour
BARS = 20  # columns shown of a row


@dataclass(frozen=True)
class Panel:
    """Why one row has one class: `heat` (H, W) of a picture, else `bars`, the strongest first.

    place  the position of the row
    bars   the cells of columns by their names, and what they did
    """

    place: int
    target: str
    answer: str
    name: str
    chance: float
    heat: NDArray[np.float64] | None
    bars: Sequence[tuple[Mapping[str, str], float]]

    @property
    def title(self) -> str:
        """The class that is explained, with its probability."""
        return f"{self.target}: {self.name} {self.chance:.3f}"


@dataclass(frozen=True)
class Example:
    """A judged row that a report explains: why it is shown, what it is given as and answered, and why that.

    place   its position among the judged rows; `number` that in their source
    """

    kind: str
    target: str
    place: int
    number: int
    given: str
    answer: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Examples:
    """Rows that a report explains, and how that was found."""

    told: str
    rows: Sequence[Example]


def overlay(png: bytes, heat: NDArray[np.float64]) -> Image.Image:
    """Lay what spoke for a class in orange, what spoke against it in blue, over a pale grey picture."""
    grey = np.asarray(Image.open(io.BytesIO(png)).convert("L"), np.float32)[..., None]
    most = float(np.quantile(np.abs(heat), STRONGEST)) or float(np.abs(heat).max())
    part = Image.fromarray((heat / max(most, 1e-30)).clip(-1, 1).astype(np.float32))
    height, width = grey.shape[:2]
    coarse = width >= 2 * heat.shape[1]
    way = (
        Image.Resampling.NEAREST
        if coarse and width <= PIXELS and heat.shape[1] < 64
        else Image.Resampling.BILINEAR
    )
    strength = np.asarray(part.resize((width, height), way), np.float32)[..., None]
    pale = 255 - PALE * (255 - grey)
    colour = np.where(strength > 0, np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    share = np.abs(strength) * 0.9
    return Image.fromarray((pale * (1 - share) + colour * share).round().astype(np.uint8))


def shown(panel: Panel, png: bytes | None, pixels: int = PIXELS) -> dict[str, Any]:
    """Return what is shown of one class of a row, whose picture is `png`."""
    drawn = ""
    if panel.heat is not None and png is not None:
        drawn = source(as_png(overlay(png, panel.heat)), pixels)
    most = max((abs(effect) for _, effect in panel.bars), default=0) or 1
    bars = [
        {"cells": cells, "effect": effect, "share": round(50 * abs(effect) / most, 2)}
        for cells, effect in panel.bars[:BARS]
    ]
    return {"panel": panel, "drawn": drawn, "bars": bars, "more": max(0, len(panel.bars) - BARS)}
