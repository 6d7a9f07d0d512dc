"""The page about answers: which pixels or columns spoke for each; also one drawing of a picture.

`explaining` writes them. The words and the layout are in explained.html, the colours in page.css.

Shapes: H W of what a network sees of a picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from manyhot.data.inputs.images.opening import picture
from manyhot.data.table import Table
from manyhot.report.mistakes import source
from manyhot.report.page import made, template
from manyhot.report.sheet import FONT, INK, PAPER, as_png
from manyhot.report.why import PIXELS, Panel, overlay, shown
from manyhot.schema import Schema

GAP, LINE = 12, 18  # pixels of a drawing


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
                "panels": [shown(each, png) for each in page.panels if each.place == place],
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


def _seen(page: Page, place: int) -> bytes | None:
    """Return the picture of a row as it is shown, PNG bytes; None where it has none that can be read."""
    return picture(page.table, page.schema, place, PIXELS) if page.schema.is_image else None
