"""Show where decoded pictures and converted tables are kept, and how many."""

from __future__ import annotations

import argparse

from manyhot.cli import show


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove them; the next run makes them anew")


def run(args: argparse.Namespace) -> None:
    from manyhot.data import disk
    from manyhot.data.inputs.images import cache

    if args.clear:
        cache.clear()
        disk.clear()
    found, tables = cache.usage(), disk.usage()
    found |= {"tables": tables["tables"], "bytes_of_tables": tables["bytes"]}
    if args.json:
        show.as_json(found)
    else:
        size = f"{found['bytes'] / 1e6:,.1f} MB"
        show.tell(f"{found['folder']}: {found['pictures']:,} decoded pictures, {size}")
        if tables["tables"]:
            count = "1 converted table" if tables["tables"] == 1 else f"{tables['tables']:,} converted tables"
            show.tell(f"{found['folder']}: {count}, {tables['bytes'] / 1e6:,.1f} MB")
