"""IDX: the folder of MNIST as distributed comes in, a Table that holds the pictures leaves.

`sources.read` calls it. Any of the four files may be missing, packed (.gz) or not; names such as
`train-images-idx3-ubyte.gz` and `t10k-labels.idx1-ubyte` tell which is which.

Source: http://yann.lecun.com/exdb/mnist/, "the IDX file format".
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data import arrays
from manyhot.data.table import Table
from manyhot.errors import UserError, listed

PLACES = ("", "raw", "MNIST/raw")  # where downloads and torchvision put the files
IMAGES, LABELS = "idx3-ubyte", "idx1-ubyte"
PACKING = 1100  # deflate packs no more than about 1,032 to 1: a header that claims more lies


def find_idx(folder: Path) -> Path | None:
    """Return the folder in or below `folder` that holds IDX files, or None."""
    places = [folder / place for place in PLACES]
    nested = sorted(path for path in folder.glob("*/raw") if path.is_dir())
    for place in [*places, *(nested if len(nested) == 1 else [])]:
        if place.is_dir() and _files(place):
            return place
    return None


def read_idx(folder: Path) -> Table:
    """Read the IDX files of one folder: pixels, `label`, and `split` where there is more than one part.

    Raises:
        UserError: a file is not what its header says, labels have no images, or the counts differ.
    """
    pixels: list[NDArray[np.uint8]] = []
    labels: list[NDArray[np.int16]] = []
    splits: list[str] = []
    parts = _parts(folder)
    for part, files in parts.items():
        if IMAGES not in files:
            raise UserError(f"{files[LABELS]}: labels without images. Put the {IMAGES} file beside it.")
        images = _read(files[IMAGES], 3)
        if pixels and images.shape[1:] != pixels[0].shape[1:]:
            raise UserError(
                f"{files[IMAGES]}: pictures of {images.shape[1:]}, others are {pixels[0].shape[1:]}."
            )
        known = _read(files[LABELS], 1).astype(np.int16) if LABELS in files else None
        if known is not None and len(known) != len(images):
            raise UserError(
                f"{files[LABELS]}: {len(known)} labels for the {len(images)} images of {files[IMAGES].name}. "
                "Fetch both files again."
            )
        pixels.append(images)
        labels.append(np.full(len(images), -1, np.int16) if known is None else known)
        splits += [part] * len(images)
    joined = np.concatenate(labels)
    if not len(joined):
        raise UserError(f"{folder}: the IDX files hold no picture.")
    columns: dict[str, pa.ChunkedArray] = {}
    if (joined >= 0).any():
        names = arrays.texts([str(number) for number in range(256)])
        columns["label"] = pa.chunked_array([names.take(arrays.codes(joined))])
    if len(parts) > 1:
        columns["split"] = pa.chunked_array([arrays.texts(splits)])
    array = np.concatenate(pixels)[..., None] if len(pixels) > 1 else pixels[0][..., None]
    return Table(
        columns, folder.resolve().name, folder, array, targets=("label",) if "label" in columns else ()
    )


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if (IMAGES in path.name or LABELS in path.name) and not path.name.startswith(".") and path.is_file()
    )


def _parts(folder: Path) -> dict[str, dict[str, Path]]:
    """Sort the files by part and kind; an unpacked file goes before its packed twin."""
    parts: dict[str, dict[str, Path]] = {"train": {}, "test": {}}
    for path in _files(folder):
        part = "test" if "t10k" in path.name.lower() or "test" in path.name.lower() else "train"
        kind = IMAGES if IMAGES in path.name else LABELS
        twin = parts[part].get(kind)
        if twin is None or path.name == f"{twin.name}.gz":
            parts[part].setdefault(kind, path)
        else:
            raise UserError(
                f"{folder}: holds more than one {part} set, {listed([twin.name, path.name])}. "
                "Keep the files of one data set in one folder."
            )
    return {part: files for part, files in parts.items() if files}


def _read(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one file after checking its header against its size.

    Shape:
        out: uint8 (N, H, W) with 3 dimensions, (N,) with 1.
    """
    header = 4 + 4 * dimensions
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            head = file.read(header)
            if len(head) < header or head[:4] != bytes((0, 0, 8, dimensions)):
                raise UserError(f"{path}: is not an IDX file of bytes with {dimensions} dimensions.")
            shape = struct.unpack(f">{dimensions}I", head[4:])
            size = math.prod(shape)
            if size > path.stat().st_size * (PACKING if packed else 1):
                raise UserError(f"{path}: the header promises {shape}, the file is shorter. Fetch it again.")
            data = file.read(size)
            if len(data) != size or file.read(1):
                less = "fewer" if len(data) != size else "more"
                raise UserError(
                    f"{path}: holds {less} bytes than the {shape} its header promises. Fetch it again."
                )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: is damaged or cut short ({error}). Fetch it again.") from None
    return np.frombuffer(data, np.uint8).reshape(shape)
