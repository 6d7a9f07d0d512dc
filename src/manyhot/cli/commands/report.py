"""Write a page about a model: its data, its training, its mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path

from manyhot import files
from manyhot.cli import options, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("data", metavar="DATA", nargs="?", help="rows to judge (default: the page that `fit` wrote)")
    options.add_reading(parser)
    add("--split", metavar="NAME", help="train, val, test, folds or all, as for evaluate")
    add("--out", metavar="FILE", default="report.html", help="an HTML file (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    files.check_out(Path(args.out), args.overwrite)
    from manyhot.classifier import load

    classifier = load(args.model)
    table = None if args.data is None else options.read_table(args, args.data)
    classifier.report(table, args.out, split=args.split, overwrite=args.overwrite)
    if args.json:
        show.as_json({"out": args.out})
    else:
        show.say(f"wrote {args.out}")
