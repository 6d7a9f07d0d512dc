"""The page about answers: which pixels or columns spoke for each; also one drawing of a picture.

`explaining` writes them. The words and the layout are in explained.html, the colours in page.css.

Shapes: H W of what a network sees of a picture.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from manyhot.data.inputs.images.opening import picture
from manyhot.data.table import Table
from manyhot.report.mistakes import source
from manyhot.report.page import made, template
from manyhot.report.sheet import FONT, INK, PAPER, as_png
from manyhot.schema import Schema

PIXELS = 320  # of a picture's longer side
FOR, AGAINST = (217, 84, 18), (25, 98, 190)  # told apart by all eyes; as in explained.html
PALE = 0.4  # how much of a picture's light stays under the colours
STRONGEST = 0.99  # share of pixels that are weaker than full colour
BARS = 20  # columns shown of a row
GAP, LINE = 12, 18  # pixels of a drawing


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
class Page:
    """All that the page shows: rows, why each is answered so, how it was found, what could not be read."""

    table: Table
    schema: Schema
    told: Sequence[str]
    panels: Sequence[Panel]
    unreadable: Mapping[int, str]


def render(page: Page) -> str:
    """Return the page as HTML that loads nothing, with everything given by users escaped."""
    names = [each.name for each in page.schema.inputs if each.name in page.table.columns]
    rows = []
    for place, number in enumerate(page.table.rows.tolist()):
        png = _seen(page, place)
        where = page.table.columns[names[0]][place].as_py() if page.schema.is_image and names else None
        rows.append(
            {
                "number": number,
                "where": "" if where is None else str(where),
                "error": page.unreadable.get(place, ""),
                "picture": source(png, PIXELS),
                "panels": [_panel(each, png) for each in page.panels if each.place == place],
            }
        )
    return template("explained.html").render(
        page=page,
        title=f"Why: {page.table.source}",
        **made(),
        allowed="",
        rows=rows,
    )


def drawing(page: Page) -> bytes:
    """Return the picture of the first row, and beside it what spoke for each class; PNG bytes."""
    first = page.panels[0].place
    own = [each for each in page.panels if each.place == first and each.heat is not None]
    png = _seen(page, first)
    assert png is not None, "what was explained was read"
    plain = Image.open(io.BytesIO(png)).convert("RGB")
    images = [plain, *(overlay(png, each.heat) for each in own if each.heat is not None)]
    titles = ["", *(each.title for each in own)]
    step = plain.width + GAP
    sheet = Image.new("RGB", (GAP + step * len(images), plain.height + 2 * GAP + 2 * LINE), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT)
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        sheet.paste(image, (GAP + number * step, GAP))
        while title and font.getlength(title) > step - 4:
            title = f"{title[:-2]}…"
        draw.text((GAP + number * step, plain.height + GAP + 4), title, INK, font=font)
    legend = "orange spoke for it, blue against it"
    draw.text((GAP, plain.height + GAP + 4 + LINE), legend, INK, font=font)
    return as_png(sheet)


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


def _seen(page: Page, place: int) -> bytes | None:
    """Return the picture of a row as it is shown, PNG bytes; None where it has none that can be read."""
    return picture(page.table, page.schema, place, PIXELS) if page.schema.is_image else None


def _panel(panel: Panel, png: bytes | None) -> dict[str, Any]:
    """Return what is shown of one class of a row."""
    drawn = ""
    if panel.heat is not None and png is not None:
        drawn = f"data:image/png;base64,{base64.b64encode(as_png(overlay(png, panel.heat))).decode()}"
    most = max((abs(effect) for _, effect in panel.bars), default=0) or 1
    bars = [
        {"cells": cells, "effect": effect, "share": round(50 * abs(effect) / most, 2)}
        for cells, effect in panel.bars[:BARS]
    ]
    return {"panel": panel, "drawn": drawn, "bars": bars, "more": max(0, len(panel.bars) - BARS)}
