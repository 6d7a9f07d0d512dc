"""Tell whether one model answers better than another, where, and by more than chance."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from manyhot import files
from manyhot.cli import options, show
from manyhot.errors import RunError

SHOWN = 10  # classes of a target, and slices


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("a", metavar="A", help="the model that there is: a folder that `fit` wrote, or an exported file")
    add("b", metavar="B", help="the model that may take its place")
    add("data", metavar="DATA", help="labelled rows that neither was trained on")
    help = (
        "end with status 1 where it is not shown that B is worse by so much at most (default: surely worse)"
    )
    add("--margin", metavar="SHARE", type=_share, help=help)
    add("--out", metavar="FILE", help="write a page with all scores and the rows that changed (.html)")
    help = "write the rows answered otherwise, those that got worse first (.csv, .tsv, .jsonl or .parquet)"
    add("--changes", metavar="FILE", help=help)
    add("--overwrite", action="store_true", help="replace --out and --changes where they exist")
    options.add_reading(parser)
    options.add_long(add)
    add = parser.add_argument_group("what is compared").add_argument
    help = "a target to compare by; repeat it for several (default: all that both answer)"
    add("--target", metavar="NAME", action="append", default=[], help=help)
    help = "train, val, test, folds or all (default: test where there is one, else all)"
    add("--split", metavar="NAME", help=help)
    help = "a column, or a target, each of whose parts is tested; repeat it (others are searched)"
    add("--slice", metavar="COLUMN", action="append", default=[], help=help)
    help = "rows that belong together and are drawn together (default: what `fit` was given)"
    add("--group", metavar="COLUMN", help=help)
    add("--seed", metavar="N", type=options.seed, default=0, help="of what is drawn (default: 0)")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.comparing.compare import compare
    from manyhot.data.rows.long import gather
    from manyhot.data.sources.write import check_ending, write

    for option, path in (("--out", args.out), ("--changes", args.changes)):
        if path:
            files.check_out(Path(path), args.overwrite, option)
    if args.changes:
        check_ending(Path(args.changes), "--changes")
    table, a = options.read_table(args, args.data), load(args.a)
    found = compare(
        a,
        args.b,
        gather(table, a.schema) if args.long else table,
        split=args.split,
        targets=args.target,
        slices=args.slice,
        group=args.group,
        margin=args.margin,
        seed=args.seed,
    )
    if args.out:
        found.save(args.out, args.overwrite)
    if args.changes:
        write(found.changes(), Path(args.changes))
    details = found.details()
    if args.json:
        show.as_json(details)
    else:
        _show(details, args.data)
        for path in filter(None, (args.out, args.changes)):
            show.say(f"wrote {path}")
    if found.fails:
        raise RunError(found.verdict)


def _share(text: str) -> float:
    """Read a margin; argparse makes the mistake a line."""
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 1, such as 0.01, got '{text}'")
    return found


def _show(found: Mapping[str, Any], data: str) -> None:
    """Show what `Comparison.details` says."""
    from manyhot.report.text import grid, put

    every = dict(found["targets"])
    if len(every) > 1:
        every["all targets"] = found["overall"]
    decides = [*every.values()][-1]
    with show.console() as out:
        names = f"A is {show.escape(found['a'])}, B is {show.escape(found['b'])}"
        out.print(f"[bold]{show.escape(data)}[/], split {found['split']}: {found['rows']:,} rows; {names}")
        scores = grid("target", "score", "A", "B", "difference", "95 % interval")
        for name, each in every.items():
            for score, d in each["scores"].items():
                if d is not None:
                    ends = f"{d['interval'][0]:+.4f} to {d['interval'][1]:+.4f}"
                    cells = [show.number(d["a"]), show.number(d["b"]), f"{d['difference']:+.4f}", ends]
                    less = " (less is better)" if score == "log_loss" else ""
                    scores.add_row(show.escape(name), f"{score}{less}", *cells)
        put(out, scores)
        for name, each in every.items():
            p = "" if each["p"] is None else f"; McNemar's exact p {each['p']:.3g}"
            rows = f"{each['rows']:,} rows, {each['broken']:,} only A has right, {each['fixed']:,} only B"
            out.print(f"  {show.escape(name)}: {rows}{p}")
        if decides["shown"] is not None:
            least = f"a difference of {decides['shown']:.4f} in {decides['metric']}"
            out.print(f"as many such rows show {least}, in 4 of 5 comparisons")
        for name, each in found["targets"].items():
            _classes(out, name, each["classes"])
        _slices(out, found["slices"])
        out.print(f"\n{show.escape(found['verdict'])}")
    show.problems(found["notes"])


def _classes(out: Any, name: str, classes: Sequence[Mapping[str, Any]]) -> None:
    """Show the classes whose answers changed most."""
    from manyhot.report.text import grid, put

    changed = [each for each in classes if each["fixed"] + each["broken"]]
    changed.sort(key=lambda each: -abs(each["fixed"] - each["broken"]))
    if not changed:
        return
    lines = grid(show.escape(name), "rows", "F1 of A", "F1 of B", "better", "worse", "p (Holm)")
    for each in changed[:SHOWN]:
        f1 = each["f1"] or {"a": None, "b": None}
        counts = [
            f"{each['fixed']:,}",
            f"{each['broken']:,}",
            "" if each["p"] is None else f"{each['p']:.3g}",
        ]
        both = [show.number(f1["a"]), show.number(f1["b"])]
        lines.add_row(show.escape(each["name"]), f"{each['support']:,}", *both, *counts)
    out.print()
    put(out, lines)
    if len(changed) > SHOWN:
        out.print(f"… and {len(changed) - SHOWN} more classes; --json has all")


def _slices(out: Any, slices: Sequence[Mapping[str, Any]]) -> None:
    """Show the slices that were asked for, and of those found by searching the sure ones."""
    from manyhot.report.text import grid, put

    searched = [each for each in slices if each["searched"]]
    shown = [each for each in slices if each["sure"] or not each["searched"]]
    lines = grid("slice", "rows", "A right", "B right", "better", "worse", "p (Holm)", "")
    for each in shown[:SHOWN]:
        sure = f"surely {'worse' if each['worse'] else 'better'}" if each["sure"] else ""
        counts = (f"{each['rows']:,}", f"{each['a']:.3f}", f"{each['b']:.3f}", f"{each['fixed']:,}")
        more = (f"{each['broken']:,}", f"{each['p']:.3g}", sure)
        lines.add_row(show.escape(each["slice"]), *counts, *more)
    if shown:
        out.print()
        put(out, lines)
    if len(shown) > SHOWN:
        out.print(f"… and {len(shown) - SHOWN} more slices; --json has all")
    if searched and not any(each["sure"] for each in searched):
        out.print(
            f"\nno slice is surely worse or better: of {len(searched)} found on one half of the rows, none "
            "stood the test on the other"
        )
