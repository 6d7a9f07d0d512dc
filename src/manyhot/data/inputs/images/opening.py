"""Opening pictures with Pillow, which reads all kinds: bytes enter, an upright grey or colour picture leaves.

`infer` measures a column of paths, `inspect` opens all of it, `report` shows some, and `decode` comes with
what is not a plain JPEG. Why a picture cannot be read is said here.
"""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from manyhot.data.columns import is_image_name
from manyhot.data.inputs.images import headers, levels
from manyhot.data.inputs.images.alike import Compared
from manyhot.data.inputs.images.headers import BEGINNING, JPEG, is_grey, jpeg_frame
from manyhot.data.inputs.images.levels import USUAL
from manyhot.data.inputs.images.paths import (
    NO_FILE,
    Picture,
    Progress,
    Unreadable,
    locate,
    picture_column,
    pictures_of,
    read_file,
)
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.machine import num_cores
from manyhot.schema import Input, Levels, Schema

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
CLEAR_MODES = ("RGBA", "LA", "PA", "RGBa", "La")  # those with transparent parts
MAX_PIXELS = 100_000_000  # of a picture that is no JPEG; above this it is refused before it is decoded
SMALL = ("1", "L")  # modes that take a quarter of the memory of others, so may have four times the pixels
PART = 500  # pictures whose headers a thread reads in one go
SAMPLE = 200  # pictures whose headers are read to measure a column
LEVELLED = 50_000_000  # pixels that are decoded to find levels, of 16 pictures at least
NEAR = 64  # pixels of a side at which pictures are opened to see whether they can be
MOST = 20_000  # pictures that are opened to find those that cannot be: some minutes


def open_image(data: bytes, near: tuple[int, int] | None = None, to: Levels = USUAL) -> Image.Image:
    """Open one picture upright, its first frame, in mode L or RGB.

    Args:
        near: the (height, width) wanted; JPEGs are decoded at the next larger eighth, which is
            several times as fast, and takes little memory.
        to: how pictures of more than 8 bits, or with transparent parts, become others.

    Raises:
        UserError: it is truncated, too large, or of no listed format.
    """
    with _opened(data, near) as image:
        return _flat(image, to)


@contextmanager
def _opened(data: bytes, near: tuple[int, int] | None = None) -> Iterator[Image.Image]:
    """Give one picture upright, in whatever mode it has; see `open_image`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata that nobody can mend here
            with _by_header(io.BytesIO(data)) as image:
                _refuse_large(image, data, near)
                if near is not None:
                    image.draft("L" if image.mode == "L" else "RGB", (near[1], near[0]))
                image.load()
                yield ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise UserError("not a picture that can be read") from None
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise UserError(f"damaged ({error})") from None


def _by_header(file: Any) -> Image.Image:
    """Let Pillow read the header of a file: of a JPEG of any size, of others what it thinks safe."""
    begins = file.read(3)
    file.seek(0)
    if begins == JPEG:
        with suppress(SyntaxError):  # the general way says what is wrong
            return JpegImageFile(file)
        file.seek(0)
    return Image.open(file, formats=FORMATS)


def _refuse_large(image: Image.Image, data: bytes, near: tuple[int, int] | None) -> None:
    """Refuse a picture that would take too much memory to decode, of a JPEG at a fraction.

    Raises:
        UserError: it would.
    """
    if data.startswith(JPEG):
        if image.width * image.height * headers.MOST_EACH <= headers.MOST_BYTES:
            return
        frame = jpeg_frame(data)
        if frame is not None and frame.is_too_large(near):
            what = "progressive JPEG" if frame.progressive else "JPEG"
            raise UserError(f"{image.width} × {image.height} pixels of a {what} take too much memory")
        return
    most = MAX_PIXELS * (4 if image.mode in SMALL else 1)
    if image.width * image.height > most:
        raise UserError(f"{image.width} × {image.height} pixels are more than {most:,}")


class Measured(NamedTuple):
    """How large the pictures of a column are, by the headers of a sample of at most 400.

    usual    height and width
    heights  the least and the greatest, in pixels; widths alike
    """

    usual: tuple[int, int]
    heights: tuple[int, int]
    widths: tuple[int, int]


class _Header(NamedTuple):
    """What the header of a picture says: its sides as it stands, whether it is grey, and what it needs.

    special  it has more than 8 bits, or parts that may be transparent
    """

    height: int
    width: int
    grey: bool
    special: bool


def measure(table: Table, column: str) -> Measured:
    """Return how large the pictures of a column are.

    Raises:
        UserError: not one of the sampled pictures can be opened.
    """
    pictures = pictures_of(table, column)
    return _measured(table, column, pictures, _headers(pictures))


def image_input(table: Table, column: str, rows: NDArray[np.bool_] | None = None) -> Input:
    """Return what the pictures of a column are, by those that `rows` (N,) marks, of all unless said.

    They are grey where not one of them is coloured.

    Raises:
        UserError: not one of the sampled pictures can be opened.
    """
    pictures = pictures_of(table, column)
    if rows is not None:
        pictures = [picture for picture, meant in zip(pictures, rows, strict=True) if meant]
    found = _headers(pictures)
    height, width = _measured(table, column, pictures, found).usual
    grey = all(header.grey for header in found.values()) and not _any_coloured(pictures, found)
    shape = (height, width, 1 if grey else 3)
    return Input(column, "image", shape, levels=_levels(pictures, found))


def _headers(pictures: Sequence[Picture]) -> dict[int, _Header]:
    """Read the headers of an even sample; those that can be read, by position."""
    found = {}
    for place in range(0, len(pictures), max(1, len(pictures) // SAMPLE)):
        picture = pictures[place]
        with suppress(Exception), warnings.catch_warnings(), _beginning(picture) as file:
            warnings.simplefilter("ignore")  # of sizes, for which `open_image` looks
            with _by_header(file) as image:
                turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 lie on their side
                width, height = image.size
                if isinstance(image, TiffImageFile):  # whose size Pillow has turned already
                    width, height = image.tag_v2[256], image.tag_v2[257]
                sides = (width, height) if turned else (height, width)
                clear = image.mode in CLEAR_MODES or "transparency" in image.info
                deep = image.mode.startswith(("I", "F"))
                found[place] = _Header(*sides, image.mode in GREY_MODES, clear or deep)
    return found


@contextmanager
def _beginning(picture: Picture) -> Iterator[Any]:
    """Open a picture to read its header and no more: of no pipe, which would wait forever.

    Raises:
        UserError: there is no such file.
    """
    if isinstance(picture, pa.Buffer):
        yield pa.BufferReader(picture)
    elif isinstance(picture, Path) and picture.is_file():
        with picture.open("rb") as file:
            yield file
    else:
        raise UserError(NO_FILE)


def _measured(
    table: Table, column: str, pictures: Sequence[Picture], headers: Mapping[int, _Header]
) -> Measured:
    if not headers:
        reasons = sorted({picture for picture in pictures if isinstance(picture, str)})
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
    sizes = np.array([(header.height, header.width) for header in headers.values()])
    height, width = (int(side) for side in np.median(sizes, axis=0))
    heights, widths = ((int(sides.min()), int(sides.max())) for sides in sizes.T)
    return Measured((height, width), heights, widths)


def _any_coloured(pictures: Sequence[Picture], apart: Collection[int]) -> bool:
    """Tell whether a picture is coloured, by the first bytes of all files but those `apart`."""

    def any_of(places: Sequence[int]) -> bool:
        return any(_is_coloured(pictures[place]) for place in places)

    rest = [place for place in range(len(pictures)) if place not in apart]
    with ThreadPoolExecutor(num_cores()) as pool:
        parts = pool.map(any_of, (rest[start : start + PART] for start in range(0, len(rest), PART)))
        found = any(parts)
        pool.shutdown(cancel_futures=True)
    return found


def _is_coloured(picture: Picture) -> bool:
    """Tell whether a picture is coloured, which one that cannot be read is not."""
    try:
        grey = is_grey(_first_bytes(picture))
        if grey is None:
            with warnings.catch_warnings(), _beginning(picture) as file, _by_header(file) as image:
                grey = image.mode in GREY_MODES
    except Exception:
        return False
    return not grey


def _first_bytes(picture: Picture) -> bytes:
    """Return how a picture begins; of a pipe nothing, without waiting for it."""
    if not isinstance(picture, Path):
        return bytes(picture[:BEGINNING]) if isinstance(picture, pa.Buffer) else b""
    handle = os.open(picture, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        return os.read(handle, BEGINNING)
    finally:
        os.close(handle)


def _levels(pictures: Sequence[Picture], headers: Mapping[int, _Header]) -> Levels | None:
    """Return how the pictures of a column become such of 8 bits, by some of those of which that is asked."""
    special = {place: header for place, header in headers.items() if header.special}
    if not special:
        return None
    pixels = int(np.mean([header.height * header.width for header in special.values()]))
    most = min(levels.SAMPLE, max(16, LEVELLED // max(1, pixels)))
    places = [*special][:: -(-len(special) // most)]
    whole: list[NDArray[Any]] = []
    real: list[NDArray[Any]] = []
    drawn: list[NDArray[np.uint8]] = []

    def look(place: int) -> Image.Image | None:
        with suppress(UserError), _opened(read_file(pictures[place])) as image:
            return image
        return None

    with ThreadPoolExecutor(num_cores()) as pool:
        for image in filter(None, pool.map(look, places)):
            if image.mode.startswith(("I", "F")):
                (real if image.mode == "F" else whole).append(levels.thin(np.array(image)))
            elif _is_clear(image):
                small = np.array(image.convert("RGBA").reduce(max(1, max(image.size) // 128)))
                if small[..., 3].min() < 128 <= small[..., 3].max():
                    drawn.append(small)
    return levels.find(whole, real, drawn)


class Looked(NamedTuple):
    """What opening the pictures of a column has shown.

    unreadable  those that cannot be read
    opened      how many were opened
    notes       what is odd about the others
    """

    unreadable: Unreadable
    opened: int
    notes: list[str]


def look(table: Table, column: Input, progress: Progress | None = None) -> Looked:
    """Open the pictures of a column, of more than 20,000 an evenly spread sample."""
    located = locate(table, picture_column(table, column.name))
    pictures, to = located.pictures, column.levels or USUAL
    rows = range(0, len(pictures), -(-len(pictures) // MOST))
    compared = Compared(len(rows))
    size = (min(column.shape[0], NEAR), min(column.shape[1], NEAR))

    def one(place: int) -> tuple[str, tuple[int, NDArray[np.uint8]] | None]:
        try:
            data = read_file(pictures[rows[place]])
            image = open_image(data, (NEAR, NEAR), to)
        except UserError as error:
            return str(error), None
        if not compared.takes(place):
            return "", None
        image = image.resize(size[::-1], Image.Resampling.BILINEAR, reducing_gap=2.0)
        return "", (zlib.crc32(data), np.array(image.convert("L" if column.shape[2] == 1 else "RGB")))

    found = {}
    with ThreadPoolExecutor(num_cores()) as pool:
        for place, (why, seen) in enumerate(pool.map(one, range(len(rows)))):
            if why:
                found[rows[place]] = why
            elif seen is not None:
                compared.add(place, *seen)
            if progress is not None:
                progress(place + 1, len(rows))
    cells = table.column(picture_column(table, column.name))

    def name(place: int) -> str:
        return str(cells[rows[place]])

    notes = [*located.told(), *compared.blank_told(name), *compared.twins_told(name)]
    return Looked(found, len(rows), notes)


def picture(table: Table, schema: Schema, index: int, longest: int = 160) -> bytes | None:
    """Return the picture of one row as a small PNG for people to look at, None when unreadable."""
    (column,) = schema.inputs
    to = column.levels or USUAL
    if table.pixels is not None:
        image = from_array(levels.to_bytes(table.pixels[index], to))
    else:
        (found,) = pictures_of(table.take(np.array([index])), picture_column(table, column.name))
        try:
            image = open_image(read_file(found), (longest, longest), to)
        except UserError:
            return None
    if max(image.size) <= longest // 2:  # enlarge tiny pictures, keeping their pixels sharp
        factor = longest // (2 * max(image.size)) + 1
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((longest, longest))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _is_clear(image: Image.Image) -> bool:
    return image.mode in CLEAR_MODES or "transparency" in image.info


def _flat(image: Image.Image, to: Levels) -> Image.Image:
    """Bring any mode to L or RGB."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(levels.to_bytes(np.array(image), to))
    if _is_clear(image):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (to.ground, to.ground, to.ground, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image.convert("L" if image.mode in GREY_MODES else "RGB")


def from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return pixels (H, W, C) as a picture of Pillow's."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
