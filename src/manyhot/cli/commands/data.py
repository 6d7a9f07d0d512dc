"""Make a known data set ready for `fit`, from files you have or fetched."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from manyhot.cli import show
from manyhot.errors import UserError
from manyhot.progress import Lines

# Named here, since data.datasets loads more than `--help` may wait for; a test compares the two.
DATASETS = ("stanford-cars", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "corel5k")


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", choices=DATASETS, help=f"one of {', '.join(DATASETS)}")
    add("dir", metavar="DIR", help="the folder that holds its files, or is to hold them")
    help = 'of stanford-cars: the brands that are classes (default: "Audi,BMW,Chevrolet,Dodge,Ford")'
    add("--brands", metavar="NAMES", help=help)


def run(args: argparse.Namespace) -> None:
    from manyhot.data.sources.datasets import prepare

    brands = None
    if args.brands is not None:
        brands = [brand.strip() for brand in args.brands.split(",") if brand.strip()]
        if args.name != "stanford-cars" or not brands:
            raise UserError('--brands names the classes of stanford-cars, such as --brands "Audi,BMW".')
    with Lines() as told:
        found = prepare(args.name, Path(args.dir), brands, told.on_step)
    for note in found.table.notes:
        show.prose(f"note: {note}")
    words = [str(found.path), *found.options, "--out", f"{args.name}-model"]
    line = f"manyhot fit {shlex.join(words)}"
    rows, columns = len(found.table), list(found.table.names)
    if args.json:
        document = {"name": args.name, "out": str(found.path), "rows": rows, "columns": columns, "fit": line}
        show.as_json(document)
    else:
        have = f"{rows:,} rows with {', '.join(columns)}"
        show.prose(f"{found.path}: {have}; train on them with:", stderr=False)
        show.tell(f"  {line}")
