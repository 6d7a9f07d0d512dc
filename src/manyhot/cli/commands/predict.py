"""Answer for new rows: tables, folders or image files."""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from manyhot import files
from manyhot.cli import options, show
from manyhot.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote, or a file that `export` wrote")
    add("inputs", metavar="INPUT", nargs="+", help="tables, folders or image files")
    options.add_reading(parser)
    add("--out", metavar="FILE", help="a .csv, .tsv, .jsonl or .parquet file (default: print CSV)")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    add("--resume", action="store_true", help="go on from where it was stopped (from Parquet to Parquet)")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.data.columns import is_image_name
    from manyhot.data.sources.read import read_pictures
    from manyhot.data.sources.write import check_ending, write, write_to

    if args.out:
        check_ending(Path(args.out))
        files.check_out(Path(args.out), args.overwrite or args.resume)
    in_pieces = resumes(args)
    if args.resume and not in_pieces:
        raise UserError("--resume is for one Parquet file answered into another, without --labels and --map.")
    classifier = load(args.model)
    if in_pieces and not classifier.schema.is_image:
        how = {"resume": args.resume, "overwrite": args.overwrite}
        rows = classifier.answer_file(args.inputs[0], args.out, **how)
        _say_written(args, rows)
        return
    are_pictures = all(map(is_image_name, args.inputs))
    if len(args.inputs) > 1 and not are_pictures:
        raise UserError("INPUT must be one table or folder, or any number of image files.")
    if are_pictures and not classifier.schema.is_image:
        raise UserError("the model reads features, not pictures; INPUT must be a table.")
    one = args.inputs[0]
    table = read_pictures(args.inputs, args.root) if are_pictures else options.read_table(args, one)
    show.notes([note for note in table.notes if note.startswith("left out")])  # which have no answer
    answers = classifier.answers(table)
    if are_pictures:
        answers = answers.with_columns({"image": args.inputs})  # as they were typed
    if args.out:
        write(answers, Path(args.out))
        _say_written(args, len(answers))
    elif args.json:
        columns = {name: column.to_pylist() for name, column in answers.columns.items()}
        lines = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        show.as_json({"rows": lines})
    elif sys.stdout.isatty():
        drawn = io.BytesIO()
        write_to(answers, drawn)
        for line in drawn.getvalue().decode().rstrip("\n").split("\n"):
            show.tell(line)
    else:
        write_to(answers, sys.stdout.buffer)


def resumes(args: argparse.Namespace) -> bool:
    """Tell whether one file is answered into another without ever being held whole, and so goes on."""
    alone = len(args.inputs) == 1 and not any((args.labels, args.map, args.header, args.sheet_name))
    paths = [Path(args.inputs[0]), Path(args.out or "")]
    return alone and all(path.suffix.lower() == ".parquet" for path in paths) and paths[0].is_file()


def _say_written(args: argparse.Namespace, rows: int) -> None:
    if args.json:
        show.as_json({"rows": rows, "out": args.out})
    else:
        show.say(f"wrote {rows:,} rows to {args.out}")
