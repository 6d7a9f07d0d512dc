"""Find the settings with which `fit` answers best, and keep that model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from manyhot import files
from manyhot.cli import options, progress, show
from manyhot.config import APART

if TYPE_CHECKING:
    from manyhot.searching.search import Search


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a table, a folder of class folders, or an IDX folder")
    help = "the folder for the best model (DIR/model), the page about the search and its journal"
    add("--out", metavar="DIR", required=True, help=help)
    help = "how many settings to try in all, all defaults first (default: %(default)s)"
    add("--trials", metavar="N", type=options.count, default=20, help=help)
    help = "processes that share the trials, and the cores (default: 1); the same command elsewhere joins in"
    add("--workers", metavar="N", type=options.count, default=1, help=help)
    add("--overwrite", action="store_true", help="forget another search that is in --out")
    options.add_reading(parser)
    options.add_labelling(parser)
    options.add_training(parser)


def resumes(args: argparse.Namespace) -> bool:
    return True


def run(args: argparse.Namespace) -> None:
    settings = options.settings_of(args)
    for name in APART:
        setattr(args, name, settings.get(name))  # --config and --set may name it too
    files.check_out(Path(args.out), overwrite=True)
    table, schema = options.labelled(args, options.read_table(args, args.data))
    from manyhot.data.rows.describe import describe
    from manyhot.searching.search import search

    if not args.json:
        described = describe(table, schema, options.set_apart(args, table), args.group or "")
        show.description(described, stderr=True)
    training = progress.Training()
    with training:
        found = search(
            table,
            schema,
            out=args.out,
            trials=args.trials,
            workers=args.workers,
            overwrite=args.overwrite,
            on_event=training.on_event,
            progress=training.reading,
            **settings,
        )
    if args.json:
        show.as_json(found.details())
    else:
        _show(found)


def _show(found: Search) -> None:
    """Show the best model beside the default, what mattered, and how to go on."""
    from manyhot.report.text import grid, put

    best, out = found.best, found.folder
    assert best is not None, "there is a model"
    lines = grid("setting", "default", "best", "share of what mattered")
    for each in sorted(found.space, key=lambda each: -found.importance.get(each.name, 0.0)):
        both = each.default, best.settings.get(each.name, "the same")
        mattered = f"{found.importance[each.name]:.0%}" if each.name in found.importance else ""
        lines.add_row(each.name, *(show.escape(str(value)) for value in both), mattered)
    with show.console() as console:
        count = {state: sum(each.state == state for each in found.trials) for state in ("pruned", "failed")}
        ended = "".join(f", {number} {state}" for state, number in count.items() if number)
        console.print(
            f"{len(found.trials)} trials{ended}; the best is trial {best.number}: {show.escape(found.score)} "
            f"{show.number(best.score)}, of the default {show.number(found.default.score)}"
        )
        put(console, lines)
    if found.test is not None:
        show.scores(found.test, "test rows, which chose nothing")
    show.notes(found.notes)
    show.tell()
    show.prose(
        f"the best model is in {out}/model; look at {out}/search.html. It is trained again by", stderr=False
    )
    show.tell(f"  {found.command}")
