"""Write a model as one ONNX file that answers without torch."""

from __future__ import annotations

import argparse

from manyhot.cli import show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("--format", choices=("onnx",), default="onnx", help="what to write (default: %(default)s)")
    help = "the file to write (default: model.onnx in MODEL, by which MODEL then answers)"
    add("--out", metavar="FILE", help=help)
    add("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load

    show.say("making its graph and trying it beside the model (some seconds to a minute)")
    written = load(args.model).export(args.out, overwrite=args.overwrite)
    size = written.stat().st_size
    if args.json:
        show.as_json({"out": str(written), "bytes": size})
        return
    show.say(f"wrote {written} ({size / 1e6:,.1f} MB); it answers as {args.model} does, without torch")
    show.say(f"try it: manyhot predict {args.model if args.out is None else written} NEW --out answers.csv")
