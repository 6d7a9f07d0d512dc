"""CIFAR-10 and CIFAR-100: the archive of the binary version comes in, PNG files and a Table leave.

`data.datasets` calls it. The version for Python is made of pickles, which can run anything:
it is never read.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; 60,000 pictures of 32×32.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manyhot import files
from manyhot.data.sources.read import read
from manyhot.data.sources.sets.download import StepProgress, fetch, md5_of
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError, listed

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
PIXELS = 3 * 32 * 32  # bytes of a picture: all red, all green, all blue, row by row
LIMIT = 1 << 28  # bytes of a file in the archive; the largest has 154 million
SPLITS = ("train", "test")


@dataclass(frozen=True)
class Source:
    """One of the two sets.

    archive  the file as distributed
    md5      its sum, as the page of the data set has it
    folder   what its files lie in
    parts    the files of the train and of the test rows
    columns  label column → the file with its names, in the order of the bytes before each picture
    """

    archive: str
    md5: str
    folder: str
    parts: tuple[tuple[str, ...], tuple[str, ...]]
    columns: Mapping[str, str]

    @property
    def members(self) -> list[str]:
        """All files that are read."""
        return [*self.parts[0], *self.parts[1], *self.columns.values()]


SOURCES: dict[str, Source] = {
    "cifar10": Source(
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        (tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)),
        {"label": "batches.meta.txt"},
    ),
    "cifar100": Source(
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        (("train.bin",), ("test.bin",)),
        {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"},
    ),
}


def unpack(name: str, folder: Path, progress: StepProgress) -> Table:
    """Write the pictures to FOLDER/images; return their paths, labels and splits.

    Where labels.csv is there already, nothing is unpacked and its rows are returned.

    Raises:
        UserError: the archive is not the published one or cannot be fetched, a file in it is missing
            or broken, or FOLDER/images is there already.
    """
    source = SOURCES[name]
    if (folder / "labels.csv").is_file():
        table = read(folder / "labels.csv")
        for column in ("image", *source.columns, "split"):
            table.column(column)
        note = "labels.csv is there already; remove it and images to unpack them again"
        return replace(table, notes=(*table.notes, note))
    images = folder / "images"
    if images.exists():
        raise UserError(f"{images}: is there already, without labels.csv. Move it away, or use another DIR.")
    data, notes = _contents(source, folder, progress)
    order = ("image", *reversed([*source.columns]), "split")
    columns: dict[str, list[str]] = {column: [] for column in order}
    pixels = []
    for split, members in zip(SPLITS, source.parts, strict=True):
        rows = np.concatenate([_records(member, data[member], len(source.columns)) for member in members])
        for number, (column, file) in enumerate(source.columns.items()):
            columns[column] += _names(file, data[file], rows[:, number])
        columns["image"] += [f"images/{split}/{number:05d}.png" for number in range(len(rows))]
        columns["split"] += [split] * len(rows)
        pixels.append(rows[:, len(source.columns) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    paths = [path.removeprefix("images/") for path in columns["image"]]
    files.replace_folder(images, lambda beside: _write(beside, paths, np.concatenate(pixels), progress))
    return replace(from_python(columns, "labels.csv"), notes=notes)


def _write(folder: Path, paths: list[str], pixels: NDArray[np.uint8], progress: StepProgress) -> None:
    """Write the pictures below a folder as PNG, which changes no pixel."""
    for split in SPLITS:
        (folder / split).mkdir()
    for number, (path, picture) in enumerate(zip(paths, pixels, strict=True), 1):
        Image.fromarray(picture).save(folder / path)
        if number % 1000 == 0 or number == len(paths):
            progress("writing pictures", number, len(paths))


def _contents(
    source: Source, folder: Path, progress: StepProgress
) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """Return the bytes of each file by its name, from the archive or its unpacked folder; and notes."""
    archive, unpacked = folder / source.archive, folder / source.folder
    if not archive.is_file() and unpacked.is_dir():
        missing = [name for name in source.members if not (unpacked / name).is_file()]
        if missing:
            raise UserError(f"{unpacked}: lacks {listed(missing)}. Unpack {source.archive} again.")
        note = f"{source.folder} is unchecked: a sum is published for {source.archive} only"
        return {name: (unpacked / name).read_bytes() for name in source.members}, (note,)
    by_hand = f"Put {source.archive} into {folder} by hand; the version for Python is not read."
    if not archive.is_file():
        fetch(ADDRESS + source.archive, archive, source.md5, by_hand, progress)
    with archive.open("rb") as file:
        if md5_of(file) != source.md5:
            raise UserError(
                f"{archive}: is not the file that was published (its MD5 sum differs). Remove it."
            )
    return _from_archive(archive, source), ()


def _from_archive(archive: Path, source: Source) -> dict[str, bytes]:
    """Read the files that are known by name; nothing is extracted, so no path or link leads anywhere."""
    wanted = {f"{source.folder}/{name}": name for name in source.members}
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = wanted.get(member.name)
                if name and member.isreg() and member.size <= LIMIT and (file := tar.extractfile(member)):
                    found[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}). Remove it.") from None
    missing = [name for name in source.members if name not in found]
    if missing:
        raise UserError(f"{archive}: lacks {listed(missing)}. Remove it.")
    return found


def _records(name: str, data: bytes, num_labels: int) -> NDArray[np.uint8]:
    """Cut a file into its rows: a byte for each label, then the picture.

    Shape:
        out: uint8 (N, num_labels + PIXELS).
    """
    width = num_labels + PIXELS
    if not data or len(data) % width:
        raise UserError(
            f"{name}: {len(data):,} bytes are no whole number of pictures of {width:,}. Fetch it again."
        )
    return np.frombuffer(data, np.uint8).reshape(-1, width)


def _names(file: str, data: bytes, labels: NDArray[np.uint8]) -> list[str]:
    """Turn the numbers of classes into the names that a file lists, one per line."""
    names = [line.strip() for line in data.decode("latin-1").splitlines() if line.strip()]
    if labels.max() >= len(names):
        raise UserError(
            f"{file}: has {len(names)} names, and a row has label {labels.max()}. Fetch it again."
        )
    return [names[label] for label in labels]
