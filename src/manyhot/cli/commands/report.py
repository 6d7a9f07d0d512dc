"""Write a page about a model: its data, its training, its mistakes."""

from __future__ import annotations

import argparse
from pathlib import Path

from manyhot import files
from manyhot.cli import options, progress, show
from manyhot.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("data", metavar="DATA", nargs="?", help="rows to judge (default: the page that `fit` wrote)")
    options.add_reading(parser)
    add("--split", metavar="NAME", help="train, val, test or all")
    add("--out", metavar="FILE", default="report.html", help="an HTML file (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    from manyhot import bundle
    from manyhot.classifier import load
    from manyhot.judge import explained, recalled
    from manyhot.report.card import report_of

    out = Path(args.out)
    files.check_out(out, args.overwrite)
    if args.data is None:
        bundle.check(Path(args.model))
        page = Path(args.model, "report.html")
        if not page.is_file():
            raise UserError(
                f"{args.model} has no report of its own; name rows to judge: manyhot report MODEL DATA"
            )
        files.write_bytes(out, page.read_bytes())
    else:
        classifier = load(args.model)
        table = options.read_table(args, args.data)
        judged = classifier.judge(table, args.split, progress=progress.of_rows(args.json))
        judged = recalled(explained(classifier.bundle, judged), Path(args.model))
        lines = bundle.history(Path(args.model))
        notes = classifier.bundle.ensemble.notes
        files.write_text(out, report_of(classifier.bundle, judged, args.data, lines, notes=notes))
    if args.json:
        show.as_json({"out": args.out})
    else:
        show.say(f"wrote {args.out}")
