"""Refit a model's thresholds to an objective, without training."""

from __future__ import annotations

import argparse

from manyhot.cli import options, show


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("data", metavar="DATA", help="labelled rows that training did not see")
    add("--objective", metavar="AIM", required=True, help="as for fit")
    options.add_reading(parser)
    add("--split", metavar="NAME", help="train, val, test or all (default: val where there is one)")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load

    classifier = load(args.model).tune(options.read_table(args, args.data), args.objective, args.split)
    classifier.update(args.model)
    found = {t.name: list(t.decision.thresholds) for t in classifier.schema.targets}
    if args.json:
        show.as_json({"objective": args.objective, "thresholds": found})
        return
    show.say(f"{args.model} now aims at {args.objective}; its probabilities are as before")
    for target in classifier.schema.targets:
        thresholds = target.decision.thresholds
        if thresholds and not (target.exclusive and len(target.classes) > 2):
            pairs = zip(target.classes[-len(thresholds) :], thresholds, strict=True)
            cuts = ", ".join(f"{name} {cut:.3f}" for name, cut in pairs)
            show.say(f"  {target.name}: yes from {cuts}")
