"""Pictures into arrays: how a column of pictures is brought to one size for the network.

`fitting.fit` fits ImageInputs, everything later calls `transform`, a server `pixels_of`. How a picture is
read stands in `decode`, which is loaded when the first one is.

Shapes: N rows · H W C height, width and channels (1 grey, 3 colour), always uint8.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.hashing import hash_pixels
from manyhot.data.inputs.images.alike import Compared
from manyhot.data.inputs.images.cache import Cache
from manyhot.data.inputs.images.levels import USUAL, to_bytes
from manyhot.data.inputs.images.paths import Progress, Unreadable, locate, picture_column
from manyhot.data.inputs.images.stream import Pictures
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.machine import cache_folder, half_of_memory, num_cores
from manyhot.schema import Levels, Schema, checked

if TYPE_CHECKING:
    from manyhot.data.inputs.images.reading import ReadPictures

log = logging.getLogger("manyhot")

RULES = (1, 2)  # from bytes to pixels, see `decode`; a model is trained by the last, and keeps its own
MAX_MEASURED = 100_000_000  # values that the mean and the deviation are taken from


@dataclass(frozen=True)
class ImageInputs:
    """How the pictures of a table become arrays: their column, size, channels, mean and deviation.

    `mean` and `std` are per channel on the scale 0 to 1; the model's first layer uses them. `rule` says how
    pixels follow from the bytes of a file, `levels` how they come to have 8 bits and no transparent parts.
    """

    column: str
    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    kind: str = "image"
    rule: int = RULES[-1]
    levels: Levels = USUAL

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the arrays that `transform` gives."""
        return (*self.size, self.channels)

    @property
    def columns(self) -> dict[str, list[int]]:
        """No place in x is a column of its own."""
        return {}

    def pixels_of(self, data: bytes) -> NDArray[np.uint8]:
        """Turn the bytes of one picture file into pixels; uint8 (H, W, C). Any thread may call it.

        Raises:
            UserError: the picture is truncated, too large, or of no listed format.
        """
        from manyhot.data.inputs.images.decode import decode  # loads Pillow, which a table does without

        return decode(data, self.size, self.channels, self.rule, self.levels)

    def transform(
        self, table: Table, progress: Progress | None = None, hashes: NDArray[np.uint64] | None = None
    ) -> tuple[NDArray[np.uint8] | Pictures, Unreadable]:
        """Read all pictures of a table, see `read`; `hashes` are those of `row_hashes`, where known.

        Shape:
            out: uint8 (N, H, W, C); the rows of unreadable pictures are zero, or cannot be asked for.

        Raises:
            UserError: the column is missing, or a path leaves the table's folder.
        """
        found = self.read(table, progress, hashes=hashes)
        for note in found.notes:
            log.warning("%s: %s", table.source, note)
        return found.x, found.unreadable

    def read(
        self,
        table: Table,
        progress: Progress | None = None,
        memory: float | None = None,
        cache: float | None = None,
        hashes: NDArray[np.uint64] | None = None,
    ) -> ReadPictures:
        """Read all pictures of a table, with the hash of each.

        Args:
            memory: GB that the pictures may take, half of this machine's unless said. Where they take
                more, all are read once to know which can be, and again when they are asked for.
            cache: GB of the disk for decoded pictures. None only looks there, 0 does not even that.

        Raises:
            UserError: the column is missing, or a path leaves the table's folder.
        """
        from manyhot.data.inputs.images.reading import ReadPictures, read_pictures  # only pictures need it

        if table.pixels is not None:
            hashes = hash_pixels(table.pixels) if hashes is None else hashes
            x, alike = self._from_pixels(table.pixels), Compared(len(table))
            for row in range(0, len(x), alike.every):
                alike.add(row, int(hashes[row]), x[row])
            return _told(ReadPictures(x, {}, hashes), alike, lambda row: f"row {table.rows[row]}")
        name = picture_column(table, self.column)
        located = locate(table, name)
        kept = Cache(self.shape, self._reading, None if cache == 0 else cache_folder(), (cache or 0) * 1e9)
        limit = (memory or half_of_memory()) * 1e9
        found, alike = read_pictures(
            located.pictures, self.pixels_of, self.shape, kept, limit, num_cores(), progress, hashes
        )
        found = found._replace(notes=tuple(located.told()))
        return _told(found, alike, lambda row: str(table.column(name)[row].as_py()))

    def standardised(self, x: NDArray[np.uint8] | Pictures, rows: NDArray[np.intp]) -> ImageInputs:
        """Return the inputs with the mean and deviation of these rows of x (of some, where they are many)."""
        every = max(1, len(rows) * math.prod(x.shape[1:]) // MAX_MEASURED)
        sample = np.asarray(x[rows[::every]]).reshape(-1, self.channels)
        levels = np.arange(256) / 255
        mean, std = [], []
        for channel in range(self.channels):
            counts = np.zeros(256)
            for part in np.array_split(sample[:, channel], max(1, len(sample) // 1_000_000)):
                counts += np.bincount(part, minlength=256)
            middle = float(counts @ levels / counts.sum())
            mean.append(round(middle, 4))
            std.append(round(max(float(counts @ (levels - middle) ** 2 / counts.sum()) ** 0.5, 1e-3), 4))
        return replace(self, mean=tuple(mean), std=tuple(std))

    def with_pixels(self, mean: tuple[float, ...], std: tuple[float, ...]) -> ImageInputs:
        """Return the inputs with a mean and deviation that are given; for grey pictures their means."""
        if len(mean) != self.channels:
            mean, std = ((sum(values) / len(values),) * self.channels for values in (mean, std))
        return replace(self, mean=tuple(mean), std=tuple(std))

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ImageInputs:
        """Read what `to_json` gave; a document that names no rule is older than the second."""
        if isinstance(data.get("levels"), dict):
            data = {**data, "levels": Levels(**checked(Levels, data["levels"], "inputs levels"))}
        found = cls(**checked(cls, {"rule": RULES[0], **data}, "inputs"))
        if found.rule not in RULES:
            raise UserError(f"inputs: they read pictures by rule {found.rule!r}; update manyhot.")
        if len(found.size) != 2 or min(found.shape) < 1:
            raise UserError(f"inputs: no picture is of the shape {found.shape}.")
        return found

    @property
    def _reading(self) -> str:
        """What tells apart the pixels that two inputs of one shape make of the same file."""
        said = json.dumps(asdict(self.levels))
        return str(self.rule) + ("" if self.levels == USUAL else f"-{zlib.crc32(said.encode()):08x}")

    def _from_pixels(self, pixels: NDArray[Any]) -> NDArray[np.uint8]:
        if len(pixels) == 0:
            return np.zeros((0, *self.shape), np.uint8)
        if pixels.dtype != np.uint8:
            pixels = self._of_known_range(pixels)
            pixels = np.stack([to_bytes(picture, self.levels) for picture in pixels])
        if pixels.shape[1:] == self.shape:
            return pixels
        from manyhot.data.inputs.images.decode import fitted
        from manyhot.data.inputs.images.opening import from_array

        return np.stack(
            [fitted(from_array(picture), self.size, self.channels, self.rule) for picture in pixels]
        )

    def _of_known_range(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """Return pictures in memory of which the range is known, from training or by their type.

        Raises:
            UserError: the model learned from pictures of 8 bits, and these leave all ranges that such have.
        """
        is_real = pixels.dtype.kind == "f"
        if self.levels.real if is_real else self.levels.whole:
            return pixels
        there = pixels[np.isfinite(pixels)] if is_real else pixels
        low, high = there.min(initial=0), there.max(initial=0)
        if low < 0 or high > (255 if is_real else 65535):
            raise UserError(
                "images must be uint8, or floats in [0, 1], as in training; "
                f"got {pixels.dtype} from {low} to {high}."
            )
        wide_bytes = not is_real and pixels.dtype != np.uint16 and high <= 255  # as a list of numbers gives
        return pixels.astype(np.uint8) if wide_bytes else pixels


def image_inputs(schema: Schema, size: int) -> ImageInputs:
    """Return inputs for the image column of a schema: its own size where `size` is 0, else a square."""
    (column,) = schema.inputs
    height, width, channels = column.shape
    side = (size, size) if size else (height, width)
    return ImageInputs(column.name, side, channels, levels=column.levels or USUAL)


def _told(found: ReadPictures, alike: Compared, name: Callable[[int], str]) -> ReadPictures:
    """Add what there is to say of pictures that are alike."""
    notes = (*found.notes, *alike.blank_told(name))
    return found._replace(notes=notes, twins=tuple(alike.twins_told(name)))
