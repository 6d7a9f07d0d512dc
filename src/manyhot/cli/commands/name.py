"""Give the groups that `cluster` found names, as labels for `fit`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from manyhot import files
from manyhot.cli import show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("dir", metavar="DIR", help="a folder that `cluster` wrote")
    help = "what a cluster is, or several (7+9=bird); or a table with a line for each cluster"
    add("names", metavar="N=NAME", nargs="*", help=help)
    add("--interactive", action="store_true", help="ask for each cluster in turn")
    help = "what the column is called (default: %(default)s)"
    add("--label", metavar="COLUMN", default="label", help=help)
    add("--out", metavar="FILE", help="where to write (default: DIR/named.csv)")
    add("--overwrite", action="store_true", help="replace the file where it exists")


def run(args: argparse.Namespace) -> None:
    from manyhot.clustering import names
    from manyhot.data.sources.write import check_ending, write

    folder = Path(args.dir)
    out = Path(args.out) if args.out else folder / "named.csv"
    found = names.read_names(folder)
    files.check_out(out, args.overwrite)
    check_ending(out)
    given = names.parse(args.names, found)
    if args.interactive:
        given |= _ask(found.sizes, given)
    named = names.label(found, given, args.label)
    write(named, out)
    words = names.fit_words(found.metrics, out, args.label, Path(f"{folder}-model"), given.values())
    rows = len(named) - named.column(args.label).null_count
    line = f"manyhot {shlex.join(words)}" if len(set(given.values())) > 1 else None
    if args.json:
        show.as_json({"out": str(out), "rows": len(named), "named": rows, "fit": line})
        return
    then = "train on them with:" if line else "give two different names at least, then train on them"
    show.prose(f"wrote {out}: {rows:,} of {len(named):,} rows have a name; {then}")
    if line:
        show.tell(f"  {line}")


def _ask(sizes: Mapping[str, int], given: Mapping[str, str]) -> dict[str, str]:
    """Ask on the terminal for the name of each cluster that has none; an empty line leaves it unknown."""
    found = {}
    for cluster in [name for name in sizes if name not in given]:
        show.say(f"cluster {cluster} ({sizes[cluster]:,} rows): ", end="")
        line = sys.stdin.readline()
        if not line:
            break
        if line.strip():
            found[cluster] = line.strip()
    return found
