"""Judge a model by rows whose labels are known."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manyhot import files
from manyhot.cli import options, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote, or a file that `export` wrote")
    add("data", metavar="DATA", help="labelled rows, such as those that `fit` was given")
    options.add_reading(parser)
    options.add_long(add)
    help = (
        "train, val, test, all, or folds: all that train, each judged by the member of the network that did "
        "not learn from it (default: test where there is one, else all)"
    )
    add("--split", metavar="NAME", help=help)
    help = "how labels count that training never saw: as wrong, or as missing (default: %(default)s)"
    add("--unknown-class", choices=("wrong", "missing"), default="wrong", help=help)
    add("--weight", metavar="COLUMN", help="how much each row counts; one of weight 0 is left out")
    add("--by", choices=("class",), help="show every class, where a target has many")
    help = "write the rows answered wrongly, the worst first (.csv, .tsv, .jsonl or .parquet)"
    add("--mistakes", metavar="FILE", help=help)
    add("--overwrite", action="store_true", help="replace --mistakes where it exists")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.data.rows.long import gather
    from manyhot.data.sources.write import check_ending, write
    from manyhot.report.verdict import problems

    if args.mistakes:
        check_ending(Path(args.mistakes), "--mistakes")
        files.check_out(Path(args.mistakes), args.overwrite, "--mistakes")
    classifier, table = load(args.model), options.read_table(args, args.data)
    table = gather(table, classifier.schema) if args.long else table
    show.notes(table.notes)
    judged = classifier.judge(table, args.split, args.unknown_class, weight=args.weight)
    found: dict[str, Any] = judged.details()
    if args.mistakes:
        wrong = judged.mistakes()
        write(wrong, Path(args.mistakes))
        found["mistakes"] = {"rows": len(wrong), "out": args.mistakes}
    if args.json:
        show.as_json(found)
        return
    weighed = f", by the weights in '{args.weight}'" if args.weight else ""
    show.scores(found, f"{args.data}, split {judged.split}{weighed}", args.by == "class")
    unknown = "which rows trained this model is not known; if these did, the scores are too good."
    show.problems([*([] if len(classifier.seen.parts) else [unknown]), *problems(judged, args.model)])
    if args.mistakes:
        show.say(f"wrote {len(wrong):,} rows answered wrongly to {args.mistakes}")
