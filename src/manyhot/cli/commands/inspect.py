"""Show how a table is read: inputs, targets, examples, problems; and how `fit` would learn from it here."""

from __future__ import annotations

import argparse
from pathlib import Path

from manyhot import files
from manyhot.cli import options, show
from manyhot.config import APART
from manyhot.errors import UserError
from manyhot.progress import Lines


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a table, a folder of class folders, or an IDX folder")
    options.add_reading(parser)
    options.add_labelling(parser)
    add("--group", metavar="COLUMN", help="rows to be kept together; not a feature")
    add("--weight", metavar="COLUMN", help="how much each row counts; not a feature")
    add("--split-by", metavar="COLUMN", help="where rows stand in time; not a feature")
    add("--write-schema", metavar="FILE", help="write what was found, for editing")
    add("--sheet", metavar="FILE", help="draw sample rows with their labels (PNG)")
    help = "which rows are sampled (default: %(default)s)"
    add("--seed", metavar="N", type=options.seed, default=0, help=help)


def run(args: argparse.Namespace) -> None:
    from manyhot.data.rows.describe import compare_rows, describe, look, open_pictures
    from manyhot.data.rows.plan import plan

    table = options.read_table(args, args.data)
    schema = None
    if args.target or args.tags or args.schema or table.targets:
        table, schema = options.labelled(args, table)
    elif args.write_schema or args.sheet or args.long:
        raise UserError("name what to predict first: --target NAME or --tags NAME.")
    found = (
        describe(table, schema, options.set_apart(args, table), args.group or "") if schema else look(table)
    )
    with Lines() as told:
        open_pictures(table, found, told.reading)
    if schema:
        compare_rows(table, schema, found)
        found["fit"] = plan(table, schema, {name: getattr(args, name) or "" for name in APART})
    if schema and args.write_schema:
        files.write_json(Path(args.write_schema), schema.to_json())
    if schema and args.sheet:
        if not schema.is_image:
            raise UserError("--sheet draws pictures, and this table has none.")
        from manyhot.report.sheet import labelled_sheet  # Pillow is not needed for tables

        files.write_bytes(Path(args.sheet), labelled_sheet(table, schema, args.seed))
    if args.json:
        show.as_json(found | {"schema": schema.to_json()} if schema else found)
        return
    show.description(found)
    for what, path in (("schema", args.write_schema), ("sample rows", args.sheet)):
        if path:
            show.say(f"wrote the {what} to {path}")
