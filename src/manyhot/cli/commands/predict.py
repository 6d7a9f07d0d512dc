"""Answer for new rows: tables, folders or image files."""

from __future__ import annotations

import argparse
import io
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from manyhot import files
from manyhot.cli import options, show
from manyhot.errors import RunError, UserError, listed

if TYPE_CHECKING:
    from manyhot.data.table import Table


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote, or a file that `export` wrote")
    add("inputs", metavar="INPUT", nargs="+", help="tables, folders or image files; tables by URI, as s3://…")
    options.add_reading(parser)
    help = "a .csv, .tsv, .jsonl or .parquet file, or a folder for the answers of any number of INPUTs"
    add("--out", metavar="FILE|FOLDER", help=f"{help} (default: print CSV)")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    help = "go on from where it was stopped (large tables, or Parquet to Parquet; a folder does so by itself)"
    add("--resume", action="store_true", help=help)
    many = parser.add_argument_group("many inputs, into a folder").add_argument
    many("--workers", metavar="N", help="how many processes (default: as many as the work is worth)")
    many("--part", metavar="I/N", help="answer every N-th input, from the I-th on; others do the rest")
    help = "who answers: processes of this machine, or a cluster of Dask or Ray (default: %(default)s)"
    many("--engine", metavar="local|dask|ray", default="local", help=help)


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.data.columns import is_image_name
    from manyhot.data.sources.read import read_pictures
    from manyhot.data.sources.remote import as_local

    args.inputs = [as_local(text) for text in args.inputs]
    args.out = as_local(args.out or "")
    if _into_folder(args):
        _answer_folder(args)
        return
    if args.out:
        files.check_out(Path(args.out), args.overwrite or args.resume)
    classifier = load(args.model)
    how = {"resume": args.resume, "overwrite": args.overwrite}
    if _is_in_pieces(args) and classifier.in_pieces(Path(args.inputs[0])):
        _say_written(args, classifier.answer_file(args.inputs[0], args.out, **how))
        return
    are_pictures = all(map(is_image_name, args.inputs))
    if len(args.inputs) > 1 and not are_pictures:
        raise UserError(
            "INPUT must be one table or folder, or any number of image files; any number of all of these is "
            "answered into a folder: --out FOLDER."
        )
    if are_pictures and not classifier.schema.is_image:
        raise UserError("the model reads features, not pictures; INPUT must be a table.")
    one = args.inputs[0]
    table = read_pictures(args.inputs, args.root) if are_pictures else options.read_table(args, one)
    show.notes([note for note in table.notes if note.startswith("left out")])  # which have no answer
    if args.out and classifier.in_pieces(table):
        _say_written(args, classifier.answer_file(table, args.out, **how))
        return
    if args.resume:
        raise UserError(
            "--resume is for what is answered in pieces: a Parquet file into another, without --labels and "
            "--map, or a table that takes more than an eighth of this machine's memory."
        )
    answers = classifier.answers(table)
    if are_pictures:
        answers = answers.with_columns({"image": args.inputs})  # as they were typed
    _give(args, answers)


def _into_folder(args: argparse.Namespace) -> bool:
    """Tell whether --out is a folder: it is one, ends as one, or has no ending.

    Raises:
        UserError: it is not, and an option is given that says something about a folder only; or it has an
            ending that nothing is written by.
    """
    from manyhot.data.sources.write import ENDINGS

    if args.out:
        ending = Path(args.out).suffix
        if not ending or args.out.endswith(("/", os.sep)) or Path(args.out).is_dir():
            return True
        if ending.lower() not in ENDINGS:
            raise UserError(f"--out {args.out}: must end in one of {listed(ENDINGS)}, or in / for a folder.")
    given = [("--workers", args.workers), ("--part", args.part), ("--engine", args.engine != "local")]
    for option, value in given:
        if value:
            raise UserError(f"{option} is for many inputs, answered into a folder: --out FOLDER.")
    return False


def _answer_folder(args: argparse.Namespace) -> None:
    from manyhot.scale.folder import answer_folder

    if args.labels:
        raise UserError("--labels belongs to one table; answer that into a file: --out FILE.")
    if args.workers is not None and not args.workers.isdecimal():
        raise UserError(f"--workers must be a whole number from 1 on, got {args.workers}.")
    how = {"workers": None if args.workers is None else int(args.workers), "part": args.part}
    how |= {"engine": args.engine, "overwrite": args.overwrite, **options.reading(args)}
    found = answer_folder(args.model, args.inputs, args.out, **how)
    if args.json:
        show.as_json({**asdict(found), "out": args.out, "done": found.done})
    else:
        rows, tables = found.rows - found.pictures, _count(found.tables, "table")
        what = [f"{_count(rows, 'row')} of {tables}"] if found.tables else []
        what += [_count(found.pictures, "picture")] if found.pictures else []
        all_of = " and ".join(what) or "nothing"
        show.say(f"wrote {all_of} to {args.out}" if found.new else f"nothing was left to do in {args.out}")
        if found.unreadable:
            show.say(f"of these {found.unreadable:,} cannot be read and are left empty; see column 'error'")
        if found.waiting:
            show.say(f"inputs that other parts are to answer: {found.waiting:,}")
    if found.failed:
        it = "it" if len(found.failed) == 1 else "them"
        raise RunError(
            f"{listed(found.failed, 3)} could not be answered. Mend {it}, or leave {it} out, and give "
            "the same command again: what is answered stays."
        )


def _give(args: argparse.Namespace, answers: Table) -> None:
    """Write the answers into --out, or print them."""
    from manyhot.data.sources.write import write, write_to

    if args.out:
        write(answers, Path(args.out))
        _say_written(args, len(answers))
    elif args.json:
        columns = {name: column.to_pylist() for name, column in answers.columns.items()}
        lines = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        show.as_json({"rows": lines})
    elif sys.stdout.isatty():
        drawn = io.BytesIO()
        write_to([answers], drawn)
        for line in drawn.getvalue().decode().rstrip("\n").split("\n"):
            show.tell(line)
    else:
        write_to([answers], sys.stdout.buffer)


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def resumes(args: argparse.Namespace) -> bool:
    """Tell whether what is answered of the inputs stays after a stop, and so goes on."""
    from manyhot.data.sources.pieces import folder_of

    begun = bool(args.out) and folder_of(Path(args.out)).is_dir()
    return _into_folder(args) or _is_in_pieces(args) or begun


def _is_in_pieces(args: argparse.Namespace) -> bool:
    """Tell whether one file is answered into another without ever being held whole."""
    alone = len(args.inputs) == 1 and not any((args.labels, args.map, args.header, args.sheet_name))
    paths = [Path(args.inputs[0]), Path(args.out or "")]
    return alone and all(path.suffix.lower() == ".parquet" for path in paths) and paths[0].is_file()


def _say_written(args: argparse.Namespace, rows: int) -> None:
    if args.json:
        show.as_json({"rows": rows, "out": args.out})
    else:
        show.say(f"wrote {rows:,} rows to {args.out}")
