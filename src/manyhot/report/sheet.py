"""Small pictures: PNG bytes or rows enter, a thumbnail or a contact sheet leaves, as bytes too.

`inspect` shows rows on a sheet, `mistakes` puts thumbnails into the report, `card` a training batch.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from manyhot.data.inputs.images.opening import picture
from manyhot.data.table import Table
from manyhot.schema import Schema
from manyhot.targets import decode, encode

if TYPE_CHECKING:
    from manyhot.train.preview import BatchPreview  # which needs torch, and `inspect` does not

SIDE, GAP, LINE = 112, 12, 16  # pixels: of a picture, between two, of a line of caption
FONT = 12
QUALITY = 82  # of JPEG
PAPER, INK, FRAME = (250, 250, 248), (40, 42, 46), (222, 222, 216)


def thumbnail(png: bytes, side: int) -> bytes:
    """Shrink a picture so that neither side is longer than `side` pixels; a smaller one stays as it is."""
    with Image.open(io.BytesIO(png)) as image:
        if max(image.size) <= side:
            return png
        small = image.convert("RGB")
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return as_png(small)


def as_jpeg(png: bytes) -> bytes:
    """Return a picture as JPEG bytes; those of a photo are a tenth of its PNG."""
    out = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def contact_sheet(pictures: Sequence[bytes], captions: Sequence[str], columns: int = 8) -> bytes:
    """Lay pictures out in lines with a caption of up to two lines below each; PNG bytes.

    Raises:
        ValueError: there are not as many captions as pictures, or no column.
    """
    if len(pictures) != len(captions) or columns < 1:
        raise ValueError(
            f"{len(pictures)} pictures need as many captions, not {len(captions)}, and a column."
        )
    columns = max(1, min(columns, len(pictures)))
    lines = -(-len(pictures) // columns)
    step_x, step_y = SIDE + GAP, SIDE + GAP + 2 * LINE + 4
    sheet = Image.new("RGB", (GAP + columns * step_x, GAP + max(lines, 1) * step_y), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT)
    for index, (png, caption) in enumerate(zip(pictures, captions, strict=True)):
        left, top = GAP + index % columns * step_x, GAP + index // columns * step_y
        image = _fitted(png)
        at = (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2)
        sheet.paste(image, at)
        edge = (at[0] - 1, at[1] - 1, at[0] + image.width, at[1] + image.height)
        draw.rectangle(edge, outline=FRAME)
        for number, words in enumerate(_wrapped(caption, font)):
            middle = left + SIDE / 2
            draw.text((middle, top + SIDE + 4 + number * LINE), words, INK, font=font, anchor="ma")
    return as_png(sheet)


def batch_sheet(preview: BatchPreview) -> bytes:
    """Lay the pictures of a training batch out with their labels; PNG bytes."""
    pictures = [as_png(Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p)) for p in preview.pixels]
    return contact_sheet(pictures, preview.captions)


def labelled_sheet(table: Table, schema: Schema, seed: int, count: int = 40) -> bytes:
    """Draw up to `count` rows of pictures, chosen at random, with their labels; PNG bytes."""
    sample = table.take(np.sort(np.random.default_rng(seed).permutation(len(table))[:count]))
    labels = [(t, [sample.cells(column, schema.missing) for column in t.columns]) for t in schema.targets]
    answers = [decode(target, encode(target, cells, "missing")) for target, cells in labels]
    pictures = {row: picture(sample, schema, row) for row in range(len(sample))}
    shown = {row: png for row, png in pictures.items() if png is not None}
    captions = [" · ".join(names[row] or "?" for names in answers) for row in shown]
    return contact_sheet([*shown.values()], captions)


def _fitted(png: bytes) -> Image.Image:
    """Scale a picture to the side of a thumbnail; small ones by whole pixels, so that they stay sharp."""
    with Image.open(io.BytesIO(png)) as image:
        picture = image.convert("RGB")
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    way = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
    return picture.resize(size, way)


def _wrapped(caption: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    """Break a caption into at most two lines that fit below a picture; cut the rest."""
    words = " ".join(caption.split())
    lines: list[str] = []
    while words and len(lines) < 2:
        end = _fitting(words, font)
        if end < len(words) and len(lines) == 0:
            blank = max(words.rfind(mark, 0, end + 1) + (mark != " ") for mark in " ;,")
            end = blank if blank > end // 3 else end
            lines.append(words[:end].strip())
        elif end < len(words):
            lines.append(words[: max(end - 1, 1)].strip() + "…")
        else:
            lines.append(words)
        words = words[end:].strip()
    return lines


def _fitting(words: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> int:
    """Count the characters that fit in one line, at least one."""
    end = len(words)
    while end > 1 and font.getlength(words[:end]) > SIDE + GAP - 4:
        end -= 1
    return end


def as_png(image: Image.Image) -> bytes:
    """Return a picture as PNG bytes."""
    out = io.BytesIO()
    image.save(out, "PNG")  # a fiftieth larger than `optimize` makes it, in a quarter of the time
    return out.getvalue()
