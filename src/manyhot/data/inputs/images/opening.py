"""Opening pictures with Pillow, which reads all kinds: bytes enter, an upright grey or colour picture leaves.

`infer` measures a column of paths, `inspect` opens all of it, `report` shows some, and `decode` comes with
what is not a plain JPEG. Why a picture cannot be read is said here.
"""

from __future__ import annotations

import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from manyhot.data.columns import is_image_name
from manyhot.data.inputs.images.paths import Progress, Unreadable, picture_column, pictures_of, read_file
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.machine import num_cores
from manyhot.schema import Schema

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
MAX_PIXELS = 100_000_000  # above this a picture is refused before it is decoded
SAMPLE = 200  # pictures whose headers are read to measure a column
MOST = 20_000  # pictures that are opened to find those that cannot be: some minutes


def open_image(data: bytes, near: tuple[int, int] | None = None) -> Image.Image:
    """Open one picture upright, its first frame, in mode L or RGB.

    Args:
        near: the (height, width) wanted; JPEGs are decoded at the next larger eighth, which is
            several times as fast.

    Raises:
        UserError: it is truncated, too large, or of no listed format.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata that nobody can mend here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{image.width} × {image.height} pixels are more than {MAX_PIXELS:,}")
                if near is not None:
                    image.draft("L" if image.mode == "L" else "RGB", (near[1], near[0]))
                image.load()
                return _flat(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise UserError("not a picture that can be read") from None
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise UserError(f"damaged ({error})") from None


class Measured(NamedTuple):
    """How large the pictures of a column are, by the headers of a sample of at most 400.

    shape    the usual (H, W, C)
    heights  the least and the greatest, in pixels; widths alike
    """

    shape: tuple[int, int, int]
    heights: tuple[int, int]
    widths: tuple[int, int]


def measure(table: Table, column: str) -> Measured:
    """Return how large the pictures of a column are.

    Raises:
        UserError: not one of the sampled pictures can be opened.
    """
    sizes, grey = [], True
    pictures = pictures_of(table, column)
    sample = pictures[:: max(1, len(pictures) // SAMPLE)]
    for picture in sample:
        try:
            if isinstance(picture, pa.Buffer) or (isinstance(picture, Path) and picture.is_file()):
                # of no pipe, which would wait forever; of a file no more than its header
                opened = pa.BufferReader(picture) if isinstance(picture, pa.Buffer) else picture
                with Image.open(opened, formats=FORMATS) as image:
                    turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 lie on their side
                    width, height = image.size
                    if isinstance(image, TiffImageFile):  # whose size Pillow has turned already
                        width, height = image.tag_v2[256], image.tag_v2[257]
                    sizes.append((width, height) if turned else (height, width))
                    grey = grey and image.mode in GREY_MODES
        except Exception:
            continue
    if not sizes:
        reasons = sorted({picture for picture in sample if isinstance(picture, str)})
        if column in table.files:
            where = "they stand in the table itself"
        else:
            where = f"they are looked for in {(table.root or Path()).resolve()}. Pass --root FOLDER"
            if is_image_name(column):
                where += ", and --header none if the first row is no header"
            reasons = reasons or ["no such files, or not pictures"]
        raise UserError(
            f"{table.source}: none of the pictures in column '{column}' can be read "
            f"({'; '.join(reasons[:2])}); {where}."
        )
    found = np.array(sizes)
    height, width = (int(side) for side in np.median(found, axis=0))
    heights, widths = ((int(sides.min()), int(sides.max())) for sides in found.T)
    return Measured((height, width, 1 if grey else 3), heights, widths)


def unreadable(table: Table, column: str, progress: Progress | None = None) -> tuple[Unreadable, int]:
    """Open the pictures of a column, of more than 20,000 an evenly spread sample.

    Returns those that cannot be read, and how many were opened.
    """
    pictures = pictures_of(table, column)
    rows = range(0, len(pictures), -(-len(pictures) // MOST))

    def reason(row: int) -> str:
        try:
            open_image(read_file(pictures[row]), near=(64, 64))
        except UserError as error:
            return str(error)
        return ""

    found = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for done, (row, why) in enumerate(zip(rows, pool.map(reason, rows), strict=True), start=1):
            if why:
                found[row] = why
            if progress is not None:
                progress(done, len(rows))
    return found, len(rows)


def picture(table: Table, schema: Schema, index: int, longest: int = 160) -> bytes | None:
    """Return the picture of one row as a small PNG for people to look at, None when unreadable."""
    (column,) = schema.inputs
    if table.pixels is not None:
        image = from_array(table.pixels[index])
    else:
        (found,) = pictures_of(table.take(np.array([index])), picture_column(table, column.name))
        try:
            image = open_image(read_file(found), near=(longest, longest))
        except UserError:
            return None
    if max(image.size) <= longest // 2:  # enlarge tiny pictures, keeping their pixels sharp
        factor = longest // (2 * max(image.size)) + 1
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _flat(image: Image.Image) -> Image.Image:
    """Bring any mode to L or RGB: 16 bits and floats keep their range, alpha lies on white."""
    if image.mode.startswith(("I", "F")):
        levels = np.array(image, dtype=np.float64)
        levels[np.isnan(levels)] = 0
        highest = levels[np.isfinite(levels)].max(initial=0)
        top = 65535.0 if image.mode.startswith("I") else 1.0 if highest <= 1 else 255.0
        return Image.fromarray(np.clip(levels / top * 255, 0, 255).round().astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return pixels (H, W, C) as a picture of Pillow's."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
