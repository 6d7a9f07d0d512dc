"""Choose the rows to label next, and write a table to fill in."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from manyhot import files
from manyhot.cli import options, show

OUT = "suggest.csv"


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote, or a file that `export` wrote")
    add("pool", metavar="POOL", help="rows without labels, or with some: a table or a folder of pictures")
    add("--count", metavar="N", type=int, required=True, help="how many rows to suggest")
    help = "the table to fill in: a .csv, .tsv, .jsonl or .parquet file (default: %(default)s)"
    add("--out", metavar="FILE", default=OUT, help=help)
    add("--overwrite", action="store_true", help="replace --out where it exists")
    add("--seed", metavar="N", type=options.seed, default=0, help="of what is drawn (default: 0)")
    options.add_reading(parser)


def run(args: argparse.Namespace) -> None:
    from manyhot.bundle import is_graph
    from manyhot.data.sources.write import check_ending, write
    from manyhot.suggesting import MARKS, suggest

    check_ending(Path(args.out))
    files.check_out(Path(args.out), args.overwrite)
    table = options.read_table(args, args.pool)
    found = suggest(args.model, table, args.count, seed=args.seed)
    write(found.table, Path(args.out))
    details = {"out": args.out, **found.details()}
    if args.json:
        show.as_json(details)
        return
    show.say(f"wrote {len(found.table):,} rows of {args.pool} to {args.out}:")
    for word, number in details["why"].items():
        show.say(f"  {number:,} {word}: {MARKS[word]}")
    left = ", ".join(f"{number:,} {why}" for why, number in details["left_out"].items())
    if left:
        show.prose(f"left out: {left}")
    show.notes(found.notes)
    if "random" in details["why"]:
        show.prose(
            "judge and tune the model by rows that nobody chose: of these only by those that the column "
            "'suggested' calls random."
        )
    if is_graph(Path(args.model)):
        return
    root = table.root or Path()
    inside = table.holds_pictures or root.resolve() == Path(args.out).resolve().parent
    words = [args.out, "--from", args.model]
    words += [] if inside else ["--root", str(root)]
    show.prose(
        "fill in its empty label columns; the model then goes on with them and the rows that trained it by:"
    )
    show.say(f"  manyhot fit {shlex.join(words)} --out {shlex.quote(f'{Path(args.model)}-2')}")
