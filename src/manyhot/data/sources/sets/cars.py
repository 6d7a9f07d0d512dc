"""Stanford Cars: a folder comes in, a Table with brand, body and era of each photo leaves.

`data.datasets` calls it. The folder holds `labels.csv` with a column `class_name`, or the `.mat` files of
the devkit, which hold no pickles.

Source: Krause et al. 2013, "3D Object Representations for Fine-Grained Categorization", 16,185 photos.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from manyhot.data.sources.mapping import add_mapped
from manyhot.data.sources.read import read
from manyhot.data.sources.sets.matlab import read_mat
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError, suggest

NAME = "class_name"  # such as "Audi TTS Coupe 2012": brand first, year last
COLUMNS = ("brand", "body", "era")
BRANDS = ("Audi", "BMW", "Chevrolet", "Dodge", "Ford")  # those with over 1,000 of the 16,185 photos
BODIES = ("Convertible", "Coupe", "SUV", "Van")  # the first that is a word of the name: Minivan is none
ERAS = ("up to 2009", "from 2010")
OTHER = "Other"
DEVKIT = ("cars_annos.mat", "cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat")


def label_cars(folder: Path, brands: Sequence[str] | None = None) -> Table:
    """Return the rows of labels.csv, or else of the devkit, with the columns brand, body and era renewed.

    Raises:
        UserError: there is neither, a file is broken, a class name does not end in a year, or
            labels.csv has one of the three columns from elsewhere.
    """
    table = read(folder / "labels.csv") if (folder / "labels.csv").is_file() else _from_devkit(folder)
    names = table.cells(NAME)
    derived = [
        labels_of(str(name), brands or BRANDS, names.where(code)) for code, name in enumerate(names.values)
    ]
    _check_written(table)
    classes = {name: [labels[i] for labels in derived] for i, name in enumerate(COLUMNS)}
    starts = {str(name).split()[0] for name in names.values}
    unused = [brand for brand in brands or () if brand not in classes["brand"]]
    notes = [f"no {NAME} begins with '{brand}'{suggest(brand, starts)}" for brand in unused]
    others = {name: column for name, column in table.columns.items() if name not in COLUMNS}
    table = replace(table, columns=others, notes=(*table.notes, *notes))
    return add_mapped(table, NAME, from_python({NAME: names.values, **classes}))


def labels_of(name: str, brands: Sequence[str] = BRANDS, where: str = NAME) -> tuple[str, str, str]:
    """Return the brand, the body and the era of a class; `where` is what a message calls its place.

    Raises:
        UserError: the last word of the name is no year.

    >>> labels_of("Ford E-Series Wagon Van 2012"), labels_of("Honda Odyssey Minivan 2007")
    (('Ford', 'Van', 'from 2010'), ('Other', 'Other', 'up to 2009'))
    """
    words = name.split()
    if not re.fullmatch("(19|20)[0-9][0-9]", words[-1]):
        raise UserError(
            f"{where}: '{name}' does not end in a year, as 'Audi TTS Coupe 2012' does. "
            "Correct the cell, or leave it empty."
        )
    brand = next((brand for brand in brands if _begins(name, brand)), OTHER)
    body = next((body for body in BODIES if body in words), OTHER)
    return brand, body, ERAS[int(words[-1]) > 2009]


def _begins(name: str, brand: str) -> bool:
    """Tell whether a class name begins with a brand, word by word."""
    words = brand.split()
    return name.split()[: len(words)] == words


def _check_written(table: Table) -> None:
    """Refuse to renew a column that was not written here.

    Any brand that a class name begins with may have been: the list of brands is a setting.
    """
    names = [str(name) for name in table.cells(NAME).values]
    known = {"body": {*BODIES, OTHER}, "era": {*ERAS}, "brand": {*BRANDS, OTHER}}
    for column in known.keys() & table.columns.keys():
        cells = table.cells(column)
        for code, value in enumerate(map(str, cells.values)):
            if value not in known[column] and not (
                column == "brand" and any(_begins(name, value) for name in names)
            ):
                raise UserError(
                    f"{cells.where(code)}: '{value}' was not written by manyhot, which keeps the {column} "
                    "here. Rename that column, so that it is not replaced."
                )


def _from_devkit(folder: Path) -> Table:
    """Read `image`, `class_name` and, where it is known, `split` from the .mat files."""
    full, train, test, meta = (_find(folder, name) for name in DEVKIT)
    rows, notes = [], []
    if full is not None and ((folder / "car_ims").is_dir() or train is None):
        found = read_mat(full, "annotations", "class_names")
        rows = [*_rows(full, found["annotations"], found["class_names"], "relative_im_path")]
    elif meta is not None and (train is not None or test is not None):
        names = read_mat(meta, "class_names")["class_names"]
        for part, path in (("train", train), ("test", test)):
            if path is None:
                notes.append(f"the annotations of the {part} photos are not there, so {part} rows are not")
            else:
                rows += _rows(path, read_mat(path, "annotations")["annotations"], names, "fname", part)
    else:
        raise UserError(
            f"{folder}: holds no labels.csv and no devkit of Stanford Cars, which its authors no longer "
            f"offer. Put labels.csv with a column {NAME} there by hand, or {DEVKIT[0]} and the folder "
            f"car_ims, or {', '.join(DEVKIT[1:])} and the folders cars_train and cars_test."
        )
    images, classes, splits = zip(*rows, strict=True)
    columns = {"image": images, NAME: classes, **({"split": splits} if all(splits) else {})}
    return replace(from_python(columns, "devkit"), notes=tuple(notes))


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / "devkit" / name) if path.is_file()), None)


def _rows(
    path: Path, marks: list[Any], names: list[str], field: str, part: str = ""
) -> Iterator[tuple[str, str, str]]:
    """Yield the photo, the class name and the split ("" where unknown) of each annotation of a file."""
    if not marks or not {field, "class"} <= {*marks[0]}:
        raise UserError(f"{path}: has no annotations with '{field}' and 'class'. Put the devkit's own there.")
    numbered: dict[float, str] = dict(enumerate(names, 1))
    for number, mark in enumerate(marks, 1):
        try:
            name = numbered[float(mark["class"])]
            split = part or {0.0: "train", 1.0: "test"}.get(float(mark.get("test", "nan")), "")
        except (KeyError, ValueError):
            raise UserError(
                f"{path}, annotation {number}: class {mark['class']} is none of the {len(names)} that "
                "have names. Put files of the same devkit together."
            ) from None
        yield (f"cars_{part}/" if part else "") + mark[field], name, split
