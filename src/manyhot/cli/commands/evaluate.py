"""Judge a model by rows whose labels are known."""

from __future__ import annotations

import argparse

from manyhot.cli import options, progress, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("data", metavar="DATA", help="labelled rows, such as those that `fit` was given")
    options.add_reading(parser)
    options.add_long(add)
    add("--split", metavar="NAME", help="train, val, test or all (default: test where there is one)")
    help = "what a class counts as that training never saw (default: %(default)s)"
    add("--unknown-class", choices=("wrong", "missing"), default="wrong", help=help)
    add("--weight", metavar="COLUMN", help="how much each row counts; one of weight 0 is left out")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.data.rows.long import gather

    classifier, table = load(args.model), options.read_table(args, args.data)
    table = gather(table, classifier.schema) if args.long else table
    reading = progress.of_rows(args.json)
    judged = classifier.judge(table, args.split, args.unknown_class, reading, args.weight)
    if args.json:
        show.as_json(judged.scores)
    else:
        weighed = f", by the weights in '{args.weight}'" if args.weight else ""
        show.scores(judged.scores, f"{args.data}, split {judged.split}{weighed}")
