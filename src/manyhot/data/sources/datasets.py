"""Data sets by name: a name and a folder come in, rows that `fit` reads leave. Also the demo's digits.

`cli` and the tests use it. What is in a folder, and what is fetched, each set's own module says.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manyhot import files
from manyhot.data.columns import image_columns
from manyhot.data.sources.sets.cars import NAME, label_cars
from manyhot.data.sources.sets.cifar import SOURCES as CIFAR
from manyhot.data.sources.sets.cifar import unpack
from manyhot.data.sources.sets.corel import label_corel
from manyhot.data.sources.sets.download import StepProgress
from manyhot.data.sources.sets.mnist import SOURCES as IDX
from manyhot.data.sources.sets.mnist import get_idx
from manyhot.data.sources.write import write
from manyhot.data.table import Table
from manyhot.errors import UserError

# What `fit` must be told of each set. A folder of IDX files says itself what its labels are.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "stanford-cars": ("--target", "brand", "--target", "body", "--target", "era"),
    **dict.fromkeys(IDX, ()),
    "cifar10": ("--target", "label"),
    "cifar100": ("--target", "fine", "--target", "coarse"),
    "corel5k": ("--tags", "tags"),
}

# What is true of the shape of each digit as most people write it.
STROKES = {
    0: ("loop", "curve"),
    1: ("straight", "open"),
    2: ("curve", "straight", "open"),
    3: ("curve", "open"),
    4: ("straight", "corner"),
    5: ("straight", "curve", "corner", "open"),
    6: ("loop", "curve"),
    7: ("straight", "corner", "open"),
    8: ("loop", "curve", "crossing"),
    9: ("loop", "straight"),
}


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready: its rows, the file or folder that holds them, and the options of `fit`."""

    table: Table
    path: Path
    options: tuple[str, ...]


def prepare(
    name: str,
    folder: Path,
    brands: Sequence[str] | None = None,
    progress: StepProgress = lambda what, done, total: None,
) -> Prepared:
    """Make a data set ready in a folder, from the files that are there or can be fetched.

    FOLDER/labels.csv is written, whole or not at all, and keeps all columns that it had; the four IDX
    files of MNIST and its like are read as they are. `brands` are the classes of Stanford Cars.

    Raises:
        UserError: files are missing and cannot be fetched, or are not what the set has.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file. Name the folder that holds the data set, or is to hold it.")
    if name in IDX:
        return Prepared(get_idx(name, folder, progress), folder, OPTIONS[name])
    path = folder / "labels.csv"
    for kept in (folder, path):
        if kept.exists() and not files.may_write(kept):
            raise UserError(f"{kept}: cannot be written to. Copy the data set to a folder of your own.")
    if name in CIFAR:
        table = unpack(name, folder, progress)
    else:
        table = label_corel(folder) if name == "corel5k" else label_cars(folder, brands)
    options = OPTIONS[name]
    write(table, path)
    pictures = image_columns(table)
    if pictures:
        table = replace(table, notes=(*table.notes, *_missing(table, pictures[0], folder)))
    elif NAME in table.columns:  # the targets were looked up by it, so as a feature it would tell them
        options = (*options, "--kind", f"{NAME}=ignore")
    return Prepared(table, path, options)


def _missing(table: Table, column: str, folder: Path) -> list[str]:
    """Tell how many pictures are not there, if any."""
    paths = [path for path in table.column(column).to_pylist() if path]
    missing = [path for path in paths if not (folder / path).is_file()]
    what = f"{len(missing):,} of {len(paths):,} pictures are not in {folder}, such as"
    return [f"{what} '{missing[0]}'"] if missing else []


def write_digits(folder: Path, seed: int = 0, empty: float = 0.1) -> Path:
    """Write scikit-learn's 1,797 handwritten digits as PNG files and labels.csv; return the table's path.

    The table has a multi-class column (`digit`), a binary one (`even`) and a multi-label one
    (`strokes`). A share `empty` of all label cells is left out, as in tables that people have.

    Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", 8×8 grey levels.
    """
    from sklearn.datasets import load_digits  # takes a second, so only where it is wanted

    digits = load_digits()
    with files.staged(folder) as beside, files.writing(folder):
        _write_digits(beside, digits, np.random.default_rng(seed), empty)
    return folder / "labels.csv"


def _write_digits(folder: Path, digits: Any, rng: np.random.Generator, empty: float) -> None:
    (folder / "images").mkdir()
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "digit", "even", "strokes"])
        for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            name = f"images/{number:04d}.png"
            Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(folder / name)
            cells = [str(digit), "yes" if digit % 2 == 0 else "no", ";".join(STROKES[int(digit)])]
            writer.writerow([name, *("" if rng.random() < empty else cell for cell in cells)])
