"""Find groups in rows without labels, to look at and to name."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manyhot import files
from manyhot.cli import options, show
from manyhot.config import CHOICES
from manyhot.errors import UserError


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a table, a folder of pictures, or an IDX folder")
    add("--out", metavar="DIR", required=True, help="the folder to write all to")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    options.add_reading(parser)
    add = parser.add_argument_group("what is grouped, and by what").add_argument
    add("--clusters", metavar="K|auto", type=_clusters, help="how many groups (default: auto)")
    help = "what rows are compared by: a model, or a safetensors file with weights for --backbone"
    add("--features", metavar="MODEL|PATH|auto", default="auto", help=help)
    add("--target", metavar="NAME", help="a column of known labels, to compare the groups with")
    add(
        "--spread",
        action="store_true",
        help="label the rows without a --target as those around them, where these agree",
    )
    options.add_columns(add, "number, category, date, image or ignore")
    add = parser.add_argument_group("learning (what is not given follows from the data)").add_argument
    add("--effort", choices=CHOICES["effort"], help="how long to try (default: balanced)")
    add("--epochs", metavar="N", help="how often to see every picture")
    add("--backbone", metavar="NAME", help="cnn, or any name of timm's that has weights")
    add("--size", metavar="PIXELS", help="the side that pictures are brought to")
    add("--device", choices=CHOICES["device"], help="where to compute (default: auto)")
    add("--seed", metavar="N", help="the same seed gives the same groups (default: 0)")
    add("--config", metavar="FILE", help="settings from a JSON or TOML file")
    add("--set", metavar="KEY=VALUE", action="append", default=[], help="any setting of fit by its name")


def run(args: argparse.Namespace) -> None:
    settings = options.settings_of(args)
    files.check_out(Path(args.out), args.overwrite)
    if args.spread and not args.target:
        raise UserError("--spread takes the labels of --target NAME; name the column.")
    table = options.read_table(args, args.data)
    from manyhot.bundle import MARKS  # torch is loaded here, after all cheap mistakes are found
    from manyhot.clustering.cluster import cluster
    from manyhot.clustering.names import fit_words

    files.check_ours(Path(args.out), MARKS)
    found = cluster(
        table,
        clusters=args.clusters,
        features=None if args.features == "auto" else args.features,
        target=args.target,
        image=args.image,
        missing=options.missing_of(args),
        kinds=options.kinds_of(args, table),
        spread=args.spread,
        source=args.data,
        **settings,
    )
    if not args.json:
        show.say("drawing the map")
    found.save(args.out, args.overwrite)
    if args.json:
        show.as_json({"out": args.out, **found.scores})
        return
    show.notes(found.notes)
    _show(found.scores, args.data)
    show.tell()
    then = f"written to {args.out}; look at {args.out}/clusters.html, then name what you see there:"
    show.prose(then, stderr=False)
    show.tell(f"  manyhot name {shlex.join([args.out])} 0=NAME 1=NAME")
    if args.spread:
        spread = Path(args.out, "spread.csv")
        model = Path(f"{Path(args.out)}-model")
        words = fit_words(found.scores, spread, args.target, model, ignored=[f"{args.target}_spread"])
        show.tell()
        show.prose(f"the spread labels are in {spread}; train on them with:", stderr=False)
        show.tell(f"  manyhot {shlex.join(words)}")


def _clusters(text: str) -> int | None:
    """Read a number of clusters, None for "auto"; argparse makes the mistake a line."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be a whole number from 2 on, or auto, got '{text}'")
    return int(text)


def _show(scores: Mapping[str, Any], source: str) -> None:
    """Show what was found: how many groups, how large, how well parted, how like the known labels."""
    sizes = scores["sizes"]
    with show.console() as out:
        out.print(
            f"[bold]{show.escape(source)}[/]: {scores['rows']:,} rows in {len(sizes)} clusters, "
            f"silhouette {show.number(scores['silhouette'])}"
        )
        out.print(f"why {len(sizes)}: {scores['why']}")
        out.print("sizes: " + show.counts(sizes))
        left_out = [f"{word} {scores[word]:,}" for word in ("outliers", "unreadable") if scores[word]]
        if left_out:
            out.print(f"{', '.join(left_out)}: their cluster is empty")
        for name, each in scores["targets"].items():
            values = ", ".join(f"{key} {show.number(value)}" for key, value in each.items())
            out.print(f"beside '{show.escape(name)}': {values}")
        if "spread" in scores:
            given = scores["spread"]
            out.print(f"{given['rows']:,} rows were given a known label of '{show.escape(given['target'])}'")
