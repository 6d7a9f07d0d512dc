"""Show which pixels or columns spoke for an answer, and which against it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from manyhot.cli import options, show

if TYPE_CHECKING:
    from manyhot.explaining.explanation import Explanation, Reason

FEW = 5  # rows explained unless they are named
SHOWN = 8  # columns of a row
BAR, CELLS = 20, 24  # characters of the longest bar; and cells, two characters wide, of a picture's side
SHADES, AGAINST = " ░▒▓█", "-"


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote, or a file that `export` wrote")
    add("data", metavar="INPUT", help="a table, a folder or an image file")
    help = f"the rows to explain, such as 3,17 or 3:8, counted from 1 (default: the first {FEW})"
    add("--rows", metavar="NUMBERS", type=_rows, help=help)
    help = "a target to explain; repeat it for several (default: all)"
    add("--target", metavar="NAME", action="append", default=[], help=help)
    help = "a class to explain; repeat it for several (default: the answer, or the tags answered)"
    add("--class", metavar="NAME", dest="classes", action="append", default=[], help=help)
    help = "of pictures auto, gradients or occlusion (default: whichever wins a test on them)"
    add("--method", metavar="METHOD", default="auto", help=help)
    help = (
        "rows like those of training, which INPUT is held against (default: those that `fit` held back, "
        "where the model has them, else the other rows of INPUT)"
    )
    add("--background", metavar="DATA", help=help)
    add("--out", metavar="FILE", help="write a page (.html), or of one picture a drawing (.png)")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    add("--seed", metavar="N", type=options.seed, default=0, help="of what is drawn (default: 0)")
    options.add_reading(parser)


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.data.columns import is_image_name
    from manyhot.data.sources.read import read_pictures
    from manyhot.errors import UserError
    from manyhot.explaining.explanation import check_out

    classifier = load(args.model)
    if args.out:
        check_out(Path(args.out), classifier.schema, args.overwrite)
    if is_image_name(args.data):
        if not classifier.schema.is_image:
            raise UserError("the model reads features, not pictures; INPUT must be a table.")
        table = read_pictures([args.data], args.root)
    else:
        table = options.read_table(args, args.data)
    found = classifier.explain(
        table,
        rows=[*map(int, table.rows[:FEW])] if args.rows is None else args.rows,
        targets=args.target,
        classes=args.classes,
        method=args.method,
        background=args.background,
        seed=args.seed,
    )
    if args.out:
        found.save(args.out, args.overwrite)
    if args.json:
        show.as_json(found.details() | ({"out": args.out} if args.out else {}))
        return
    if not args.out:
        _show(found)
    for line in found.told():
        show.prose(line)
    for place, why in found.unreadable.items():
        show.prose(f"note: row {found.table.rows[place]} has no reasons: {why}")
    if args.rows is None and len(table) > FEW:
        show.prose(f"explained are the first {FEW} of {len(table):,} rows; --rows names others.")
    if args.out:
        show.say(f"wrote {args.out}")


def _rows(text: str) -> list[int]:
    """Read numbers and ranges of rows; argparse makes the mistake a line.

    >>> _rows("3,17:19")
    [3, 17, 18, 19]
    """
    found: list[int] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        ends = (first, last if colon else first)
        if not all(end.isdecimal() and len(end) < 16 for end in ends):
            raise argparse.ArgumentTypeError(f"must be numbers of rows, such as 3,17 or 3:8, got '{text}'")
        low, high = map(int, ends)
        found += range(low, min(high, low + 1_000_000) + 1)
    return found


def _show(found: Explanation) -> None:
    """Show what moved each answer: columns with bars, or the picture in blocks."""
    from manyhot.report.text import grid, put

    with show.console() as out:
        for reason in found.reasons:
            answered = "" if reason.answer == reason.name else f", answered {show.escape(reason.answer)}"
            title = f"{show.escape(reason.target)}: [bold]{show.escape(reason.name)}[/]"
            out.print(f"row {reason.row}, {title} {reason.chance:.3f}{answered}")
            if found.method != "replacement":
                out.print("\n".join(_drawn(reason)))
                continue
            effects = found.effects(reason)
            most = max((abs(value) for _, value in effects), default=0) or 1
            lines = grid("column", "value", "effect", "")
            for cells, value in effects[:SHOWN]:
                bar = ("█" if value > 0 else AGAINST) * round(BAR * abs(value) / most)
                names = (show.escape(", ".join(cells)), show.escape(", ".join(cells.values())))
                lines.add_row(*names, f"{value:+.3f}", bar)
            put(out, lines)
            if len(effects) > SHOWN:
                out.print(f"… and {len(effects) - SHOWN} more columns; --json and a page (--out) have them")
        out.print(f"{SHADES[-1]} spoke for it, {AGAINST} against it")


def _drawn(reason: Reason) -> list[str]:
    """Draw a heat map in characters, two for each block of pixels."""
    from manyhot.explaining.explanation import blocks

    heat, _ = blocks(reason.values, CELLS)
    most = float(abs(heat).max()) or 1.0
    last = len(SHADES) - 1
    return [
        "  "
        + "".join(
            2 * (SHADES[round(v / most * last)] if v >= 0 else AGAINST if v < -most / (2 * last) else " ")
            for v in line
        )
        for line in heat.tolist()
    ]
