"""Find wrong labels, copies, contradictions, leaks and misspellings in a labelled table."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyhot import files
from manyhot.cli import options, show
from manyhot.config import CHOICES
from manyhot.errors import UserError

if TYPE_CHECKING:
    from manyhot.auditing.audit import Audit

WORDS = {
    "unreadable": "cannot be read, or have no input",
    "contradiction": "equal another with another label",
    "leak": "column gives the answer away",
    "label": "labels may be wrong",
    "spelling": "have a class that is misspelt",
    "duplicate": "copy another row, exactly or nearly",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a table, a folder of class folders, or an IDX folder")
    help = "the folder to write audit.csv and audit.html to; with --fix the new table"
    add("--out", metavar="DIR", required=True, help=help)
    add("--overwrite", action="store_true", help="replace --out where it exists")
    help = "a model of this DATA, whose folds judge the labels (default: models are fitted here)"
    add("--model", metavar="MODEL", help=help)
    help = "write DATA anew with what was accepted on audit.html, which gives this file; DATA stays"
    add("--fix", metavar="REVIEWED.csv", help=help)
    options.add_reading(parser)
    options.add_labelling(parser)
    add = parser.add_argument_group("learning (what is not given follows from the data)").add_argument
    add("--effort", choices=CHOICES["effort"], help="how long to try (default: balanced)")
    add("--epochs", metavar="N", help="how often to see every row, at most")
    add("--backbone", metavar="NAME", help="mlp, tabm, linear, cnn, resnet9, or any name of timm's")
    help = "what the backbone starts from: its own pretrained weights, nothing, or a safetensors file"
    add("--weights", metavar="auto|none|PATH", help=help)
    help = "rows with the same value here are judged together, by what learned none of them"
    add("--group", metavar="COLUMN", help=help)
    add("--device", choices=CHOICES["device"], help="where to compute (default: auto)")
    add("--seed", metavar="N", help="the same seed gives the same list (default: 0)")
    add("--config", metavar="FILE", help="settings from a JSON or TOML file")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting of fit by its name")
    parser.set_defaults(weight=None)


def run(args: argparse.Namespace) -> None:
    if args.fix:
        _fix(args)
        return
    settings = options.settings_of(args)
    args.group = settings.get("group")
    files.check_out(Path(args.out), args.overwrite)
    from manyhot.auditing.audit import RECORD, audit, without_split

    files.check_ours(Path(args.out), (RECORD,))
    table = options.read_table(args, args.data)
    if args.model:
        said = [name for name in ("target", "tags", "kind", "schema") if getattr(args, name)]
        if said:
            raise UserError(f"--model says all of what --{said[0]} says; leave one out.")
        schema = None
    else:
        schema = options.labelled(args, without_split(table))[1]
        table = options.labelled(args, table)[0] if args.long else table
    found = audit(table, schema, model=args.model, **settings)
    found.save(args.out, args.overwrite)
    if args.json:
        show.as_json({"out": args.out, **found.to_json()})
        return
    show.notes(found.notes)
    _show(found)
    show.tell()
    show.prose(
        f"look at {args.out}/audit.html and decide by keyboard; it gives REVIEWED.csv. Then:", stderr=False
    )
    words = ["audit", args.data, *options.reading_words(args), "--fix", "REVIEWED.csv", "--out", "NEW.csv"]
    show.tell(f"  manyhot {shlex.join(words)}")


def _show(found: Audit) -> None:
    """Show how many problems there are of each kind, and how far the lists of labels can be trusted."""
    document: Mapping[str, Any] = found.to_json()
    with show.console() as out:
        out.print(f"[bold]{show.escape(document['source'])}[/]: {document['rows']:,} rows")
        for problem, count in document["problems"].items():
            if count:
                out.print(f"{problem:>14}  {count:,}  {WORDS[problem]}")
        if not any(document["problems"].values()):
            out.print("nothing was found")
        for each in document["labels"]:
            low, high = (f"{max(0, round(end)):,}" for end in each["interval"])
            out.print(
                f"target '{show.escape(each['target'])}', labels {each['list']}: about {each['errors']:,.0f} "
                f"({low} to {high}); of labels changed as a trial, "
                f"{each['planted_found']:.0%} came to its top"
            )


def _fix(args: argparse.Namespace) -> None:
    """Write a table with the decisions of a review."""
    from manyhot.auditing.fix import fixed
    from manyhot.data.sources.read import read
    from manyhot.data.sources.write import check_ending, write

    if args.model:
        raise UserError("--fix writes what a person decided, and asks no --model; leave one out.")
    out = Path(args.out)
    check_ending(out)
    if out.exists() and any(out.resolve() == Path(each).resolve() for each in (args.data, args.fix)):
        raise UserError(f"--out {out} is what is read; name another file, so that it stays as it is.")
    files.check_out(out, args.overwrite)
    table = options.read_table(args, args.data)
    new, done = fixed(table, read(args.fix))
    write(new, out)
    if args.json:
        show.as_json({"out": args.out, "rows": len(new), **done})
        return
    changed, removed = _count(done["changed"], "cell"), _count(done["removed"], "row")
    show.say(f"wrote {len(new):,} rows to {args.out}: {changed} changed, {removed} left out")
    root = (
        ["--root", str((table.root or Path()).absolute())] if table.root and not table.holds_pictures else []
    )
    if table.holds_pictures:
        show.tell(f"  manyhot fit {shlex.join([args.data, '--labels', args.out])} --out MODEL")
    elif table.targets:
        named = [word for name in table.targets for word in ("--target", name)]
        show.tell(f"  manyhot fit {shlex.join([args.out, *root, *named])} --out MODEL")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
