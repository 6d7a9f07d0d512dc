"""Pictures into arrays: one way to read a picture, for training, judging, predicting and serving.

`infer` measures a column of paths, `classifier.fit` fits ImageInputs, everything later calls
`transform`. Reading a picture is Pillow's; what stands here are the rules around it.

Shapes: N rows · H W C height, width and channels (1 grey, 3 colour), always uint8.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from manyhot.config import half_of_memory, num_cores
from manyhot.data.stream import Pictures
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.files import inside
from manyhot.schema import Schema

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
GREY_MODES = ("1", "L", "I;16", "I;16B", "I;16L", "I;16N", "I", "F")
MAX_PIXELS = 100_000_000  # above this a picture is refused before it is decoded
FOLDER_COLUMN = "image"  # what the paths of a folder of pictures are called
MAX_MEASURED = 100_000_000  # values that the mean and the deviation are taken from
CHUNK = 512  # pictures read at a time
SAMPLE = 200  # pictures whose headers are read to measure a column

Unreadable = dict[int, str]  # position of a row → why its picture could not be read
Progress = Callable[[int, int], None]  # rows done, rows in all


@dataclass(frozen=True)
class ImageInputs:
    """How the pictures of a table become arrays: their column, size, channels, mean and deviation.

    `mean` and `std` are per channel on the scale 0 to 1; the model's first layer uses them.
    """

    column: str
    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    kind: str = "image"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the arrays that `transform` gives."""
        return (*self.size, self.channels)

    def transform(
        self, table: Table, progress: Progress | None = None, memory: float | None = None
    ) -> tuple[NDArray[np.uint8] | Pictures, Unreadable]:
        """Read all pictures of a table.

        Args:
            memory: GB that the pictures may take, half of this machine's unless said. Where they take
                more, all are read once to know which can be, and again when they are asked for.

        Shape:
            out: uint8 (N, H, W, C); the rows of unreadable pictures are zero, or cannot be asked for.

        Raises:
            UserError: the column is missing, or a path leaves the table's folder.
        """
        if table.pixels is not None:
            return self._from_pixels(table.pixels), {}
        paths = picture_paths(table, picture_column(table, self.column))
        streamed = Pictures(self._read, np.array(paths, dtype=object), self.shape)
        x = None
        if streamed.size <= (memory or half_of_memory()) * 1e9:
            x = np.zeros(streamed.shape, dtype=np.uint8)
        unreadable: Unreadable = {}
        with ThreadPoolExecutor(num_cores()) as pool:
            for first in range(0, len(paths), CHUNK):  # few at a time, so that results do not pile up
                for index, result in enumerate(pool.map(self._read, paths[first : first + CHUNK]), first):
                    if isinstance(result, str):
                        unreadable[index] = result
                    elif x is not None:
                        x[index] = result
                    if progress is not None:
                        progress(index + 1, len(paths))
        return streamed if x is None else x, unreadable

    def standardised(self, x: NDArray[np.uint8] | Pictures) -> ImageInputs:
        """Return the inputs with the mean and deviation of these pictures (of some, where they are many)."""
        sample = np.asarray(x[:: max(1, x.size // MAX_MEASURED)]).reshape(-1, self.channels)
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
        """Read what `to_json` gave."""
        lists: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        return cls(**lists)

    def _read(self, path: Path | str) -> NDArray[np.uint8] | str:
        """Return one picture as uint8 (H, W, C), or the reason why it cannot be read."""
        if isinstance(path, str):
            return path
        try:
            image = open_image(path, near=self.size)
        except UserError as error:
            return str(error)
        return self._to_array(image)

    def _to_array(self, image: Image.Image) -> NDArray[np.uint8]:
        height, width = self.size
        image = image.convert("L" if self.channels == 1 else "RGB")
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(image).reshape(self.shape)

    def _from_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if pixels.shape[1:] == self.shape:
            return pixels
        return np.stack([self._to_array(_from_array(picture)) for picture in pixels])


def image_inputs(schema: Schema, size: int) -> ImageInputs:
    """Return inputs for the image column of a schema: its own size where `size` is 0, else a square."""
    (column,) = schema.inputs
    height, width, channels = column.shape
    return ImageInputs(column.name, (size, size) if size else (height, width), channels)


def picture_column(table: Table, name: str) -> str:
    """Return the column of a table that holds its pictures: the one named, or a folder's `image`."""
    return name if name in table.columns or FOLDER_COLUMN not in table.columns else FOLDER_COLUMN


def open_image(path: Path, near: tuple[int, int] | None = None) -> Image.Image:
    """Open one picture upright, its first frame, in mode L or RGB.

    Args:
        near: the (height, width) wanted; JPEGs are decoded at the next larger eighth, which is
            several times as fast.

    Raises:
        UserError: it is missing, empty, truncated, too large, or of no listed format.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata that nobody can mend here
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise UserError(f"{image.width}×{image.height} pixels are more than {MAX_PIXELS:,}")
                if near is not None:
                    image.draft("L" if image.mode == "L" else "RGB", (near[1], near[0]))
                image.load()
                return _flat(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise UserError("no such file") from None
    except IsADirectoryError:
        raise UserError("is a folder") from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        raise UserError("empty file" if empty else "not a picture that can be read") from None
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"more than {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        raise UserError(f"damaged ({error})") from None


def measure(table: Table, column: str) -> tuple[int, int, int]:
    """Return the usual (H, W, C) of a column of pictures, from the headers of some of them.

    Raises:
        UserError: not one of the sampled pictures can be opened.
    """
    sizes, grey = [], True
    paths = picture_paths(table, column)
    step = max(1, len(paths) // SAMPLE)
    for path in paths[::step]:
        try:
            if isinstance(path, Path):
                with Image.open(path, formats=FORMATS) as image:
                    turned = image.getexif().get(0x0112, 1) >= 5  # EXIF orientations 5 to 8 lie on their side
                    width, height = image.size
                    if isinstance(image, TiffImageFile):  # whose size Pillow has turned already
                        width, height = image.tag_v2[256], image.tag_v2[257]
                    sizes.append((width, height) if turned else (height, width))
                    grey = grey and image.mode in GREY_MODES
        except Exception:
            continue
    if not sizes:
        reasons = {path for path in paths[::step] if isinstance(path, str)} or {
            "no such files, or not pictures"
        }
        raise UserError(
            f"{table.source}: none of the pictures in column '{column}' can be read "
            f"({'; '.join(sorted(reasons)[:2])}); they are looked for in {table.root}. Pass --root FOLDER."
        )
    height, width = (int(side) for side in np.median(np.array(sizes), axis=0))
    return height, width, 1 if grey else 3


def picture_paths(table: Table, column: str) -> list[Path | str]:
    """Return the path of each row's picture, or the reason why there is none.

    Raises:
        UserError: a path leaves the table's folder.
    """
    root = table.root or Path()
    base = root.resolve()
    out: list[Path | str] = []
    leaves: dict[Path, bool] = {}  # folders → whether a link on the way leads out of the table's folder
    for index, name in enumerate(table.column(column).to_pylist()):
        if name is None or not str(name).strip():
            out.append("no path")
            continue
        path = Path(base, str(name))
        if path.parent not in leaves:
            leaves[path.parent] = not path.parent.resolve().is_relative_to(base)
        if leaves[path.parent] or ".." in path.parts or path.is_symlink():
            try:
                path = inside(base, str(name))
            except UserError as error:
                raise UserError(f"{table.source} row {table.rows[index]}: {error}") from None
        out.append(path)
    return out


def picture(table: Table, schema: Schema, index: int, longest: int = 160) -> bytes | None:
    """Return the picture of one row as a small PNG for people to look at, None when unreadable."""
    (column,) = schema.inputs
    if table.pixels is not None:
        image = _from_array(table.pixels[index])
    else:
        (path,) = picture_paths(table.take(np.array([index])), picture_column(table, column.name))
        if isinstance(path, str):
            return None
        try:
            image = open_image(path, near=(longest, longest))
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


def _from_array(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
