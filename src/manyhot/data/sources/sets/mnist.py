"""MNIST and two sets made like it: a folder comes in, its IDX files are checked or fetched, a Table leaves.

`data.datasets` calls it. The files stay as they are, since `data.idx` reads them.

Source: LeCun, Cortes and Burges 1998, MNIST; Xiao et al. 2017, Fashion-MNIST; Clanuwat et al. 2018,
Kuzushiji-MNIST.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from manyhot.data.sources.idx import find_idx, read_idx
from manyhot.data.sources.sets.download import StepProgress, fetch, md5_of
from manyhot.data.table import Table
from manyhot.errors import UserError, listed

FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
SHAPE = (70_000, 28, 28, 1)


@dataclass(frozen=True)
class Source:
    """Where a set is, and the MD5 sums of its four files, in the order of FILES.

    packed    as torchvision has them
    unpacked  of what is in them, since others pack the same bytes otherwise; none where none are published
    """

    address: str
    packed: tuple[str, ...]
    unpacked: tuple[str, ...] = ("", "", "", "")


SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            *("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
            *("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        (
            *("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            *("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashion-mnist": Source(
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        (
            *("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            *("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        (
            *("f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9"),
            *("8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
    ),
    "kmnist": Source(
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (
            *("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
            *("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
    ),
}


def get_idx(name: str, folder: Path, progress: StepProgress) -> Table:
    """Check the four files of a set, fetch those that are not there, and read them.

    Raises:
        UserError: a file is not the published one, is missing and cannot be fetched, or has another shape.
    """
    source = SOURCES[name]
    place = find_idx(folder) or folder
    there = [_find(place, file) for file in FILES]
    notes = [
        _check(name, path, packed, unpacked)
        for path, packed, unpacked in zip(there, source.packed, source.unpacked, strict=True)
        if path is not None
    ]
    missing = [
        (f"{file}.gz", md5)
        for file, path, md5 in zip(FILES, there, source.packed, strict=True)
        if path is None
    ]
    names = listed((file for file, _ in missing), 2)
    by_hand = f"Put {names if len(missing) < len(FILES) else 'all four files'} into {place} by hand."
    for file, md5 in missing:
        fetch(source.address + file, place / file, md5, by_hand, progress)
    table = read_idx(place)
    if table.pixels is None or table.pixels.shape != SHAPE:
        raise UserError(
            f"{place}: holds {len(table):,} pictures, {name} has {SHAPE[0]:,}. Fetch the files again."
        )
    return replace(table, notes=tuple(filter(None, notes)))


def _find(place: Path, file: str) -> Path | None:
    """Return the file that `read_idx` reads: unpacked before packed, and with a dot as some have it."""
    dotted = file.replace("-idx", ".idx")
    names = (file, dotted, f"{file}.gz", f"{dotted}.gz")
    return next((place / name for name in names if (place / name).is_file()), None)


def _check(name: str, path: Path, packed: str, unpacked: str) -> str:
    """Compare a file with the published sums; return a note where there is none for it.

    Raises:
        UserError: it is not what was published.
    """
    with path.open("rb") as file:
        content = md5_of(file)
    if path.suffix == ".gz":
        if content == packed:
            return ""
        try:
            with gzip.open(path) as unpacking:
                content = md5_of(unpacking)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{path}: is damaged or cut short ({error}). Remove it, to fetch it again."
            ) from None
    elif not unpacked:
        return f"{path.name} is unchecked: sums are published for the packed files only"
    if content != unpacked:
        raise UserError(
            f"{path}: is not the file of {name} that was published (its MD5 sum differs). "
            "Remove it, to fetch it again, or keep each data set in a folder of its own."
        )
    return ""
