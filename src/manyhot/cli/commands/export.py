"""Write a model as one ONNX file that answers without torch."""

from __future__ import annotations

import argparse
import shlex

from manyhot.cli import options, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("--format", choices=("onnx",), default="onnx", help="what to write (default: %(default)s)")
    help = "the file to write (default: model.onnx in MODEL, by which MODEL then answers)"
    add("--out", metavar="FILE", help=help)
    help = "float32, or int8 for pictures: a third of the size (default: %(default)s)"
    add("--precision", choices=("float32", "int8"), default="float32", help=help)
    help = "(int8) labelled pictures, such as those that `fit` was given: those held out judge the file"
    add("--data", metavar="DATA", help=help)
    help = "(int8) by how much the log loss of a target may rise (default: %(default)s)"
    add("--tolerance", metavar="X", type=float, default=0.01, help=help)
    options.add_reading(parser)
    add("--overwrite", action="store_true", help="replace --out where it exists")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load

    data = options.read_table(args, args.data) if args.data else None
    path, losses = load(args.model).export(
        args.out,
        precision=args.precision,
        data=data,
        tolerance=args.tolerance,
        overwrite=args.overwrite,
    )
    size = path.stat().st_size
    if args.json:
        show.as_json({"out": str(path), "bytes": size, "log_loss": losses})
        return
    for name, (before, after) in losses.items():
        show.say(f"{name}: log loss {before:.4f} with float32, {after:.4f} with int8, on rows held out")
    how = "" if losses else f" it answers as {args.model} does, without torch"
    show.say(f"wrote {path} ({size / 1e6:,.1f} MB)" + (f";{how}" if how else ""))
    model = shlex.quote(str(args.model if args.out is None else path))
    show.say(f"try it: manyhot predict {model} NEW --out answers.csv")
    show.say(f"or over HTTP: manyhot serve {model}")
