"""Show where decoded pictures are kept, and how many."""

from __future__ import annotations

import argparse

from manyhot.cli import show


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove them; the next run decodes anew")


def run(args: argparse.Namespace) -> None:
    from manyhot.data.inputs.images import cache

    if args.clear:
        cache.clear()
    found = cache.usage()
    if args.json:
        show.as_json(found)
    else:
        size = f"{found['bytes'] / 1e6:,.1f} MB"
        show.tell(f"{found['folder']}: {found['pictures']:,} decoded pictures, {size}")
