"""Refit a model's thresholds to an objective, without training."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from manyhot.cli import options, show
from manyhot.errors import listed
from manyhot.schema import Schema, Target

if TYPE_CHECKING:
    from manyhot.train.tune import Tuning


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="a folder that `fit` wrote")
    add("data", metavar="DATA", help="labelled rows: those that `fit` was given, or others")
    add(
        "--objective",
        metavar="AIM",
        help="hamming, exact_match, micro_f1, macro_f1, balanced_accuracy, precision=P or recall=R of each "
        "class or tag, micro_precision=P of all tags together",
    )
    options.add_promises(add)
    help = "the class that precision and recall are of (default: as `fit` took it)"
    add("--positive", metavar="NAME=CLASS", action="append", default=[], help=help)
    help = "a target to tune; repeat it for several (default: all that have thresholds)"
    add("--target", metavar="NAME", action="append", default=[], help=help)
    options.add_reading(parser)
    options.add_long(add)
    help = "train, val, test, folds or all (default: the rows that `fit` held out; of other DATA, all)"
    add("--split", metavar="NAME", help=help)
    add("--weight", metavar="COLUMN", help="how much each row counts; one of weight 0 is left out")


def run(args: argparse.Namespace) -> None:
    from manyhot.classifier import load
    from manyhot.data.rows.long import gather
    from manyhot.report.scores import rows_of

    table = options.read_table(args, args.data)
    model = load(args.model)
    classifier = model.tune(
        gather(table, model.schema) if args.long else table,
        args.objective,
        args.split,
        weight=args.weight,
        targets=args.target,
        positive=options.positive_of(args, model.schema),
        **options.promises_of(args),
    )
    classifier.update(args.model)
    assert classifier.tuning is not None, "tune says what it did"
    found = classifier.tuning.details()
    if args.json:
        cuts = {name: each["after"]["thresholds"] for name, each in found["targets"].items()}
        show.as_json({"objective": args.objective, "thresholds": cuts, **found})
        return
    where = f" in {listed(found['targets'])}" if {*found.get("short", {})} - {*found["targets"]} else ""
    aims = [f"aims at {args.objective}{where}"] if args.objective else []
    aims += [f"tells what stays possible in {float(args.coverage):.3g} of new rows"] if args.coverage else []
    show.prose(f"{args.model} now {' and '.join(aims)}; its probabilities are as before")
    weighed = f", by the weights in '{args.weight}'" if args.weight else ""
    show.prose(f"fitted on {rows_of(found)}{weighed}, which flatter it; `evaluate` judges it by others")
    for name, each in found["targets"].items():
        if args.objective:
            for line in _sentences(classifier.schema.target(name), args.objective, each):
                show.prose(f"  {line}")
    for line in _promises(classifier.schema, classifier.tuning):
        show.prose(f"  {line}")
    for short in classifier.tuning.short[: show.MAX_NOTES]:
        show.prose(f"  {short}; it is decided as before")
    if len(classifier.tuning.short) > show.MAX_NOTES:
        show.prose(f"  and {len(classifier.tuning.short) - show.MAX_NOTES} more miss it, which --json names")
    show.tuning(found)
    if model.bundle.graph is not None:
        again = f"manyhot export {shlex.quote(args.model)}"
        show.prose(f"its model.onnx is gone, since it had the old thresholds: {again}")


def _promises(schema: Schema, tuning: Tuning) -> Iterator[str]:
    """Say what holds for new rows, and what these rows cannot promise."""
    for name in tuning.targets:
        decision = schema.target(name).decision
        kept = [confidence for confidence in decision.promised if confidence]
        if kept and decision.objective.startswith("micro_precision"):
            yield f"{name}: {decision.objective} is promised for new rows with confidence {kept[0]:g}"
        elif kept:
            of = f" of {len(kept)} of its {len(decision.promised)} tags" if len(decision.promised) > 1 else ""
            each = ", of each by itself and not of all at once" if of else ""
            line = f"{name}: {decision.objective}{of} is promised for new rows with confidence {kept[0]:g}"
            yield f"{line}{each}"
    for left in tuning.unpromised[: show.MAX_NOTES]:
        yield str(left)
    if len(tuning.unpromised) > show.MAX_NOTES:
        yield f"and {len(tuning.unpromised) - show.MAX_NOTES} more are not promised, which --json names"


def _sentences(target: Target, objective: str, found: Mapping[str, Any]) -> Iterator[str]:
    """Say how a target is decided now."""
    before, cuts = found["before"], found["after"]["thresholds"]
    if target.exclusive and len(cuts) < 2 and (cuts or len(target.classes) == 2):
        now, yes, was = (cuts or [0.5])[0], target.positive, "the likeliest class"
        if len(before["thresholds"]) == 1 or len(target.classes) == 2:
            was = f"'{before['positive']}' from {(before['thresholds'] or [0.5])[0]:.3f} on"
        yield f"{target.name}: the answer is '{yes}' from a probability of {now:.3f} on (before: {was})"
    elif target.exclusive:
        compared = ", in comparison to how often each is met" if cuts else ""
        yield f"{target.name}: the likeliest class is the answer{compared}"
    elif not cuts and objective == "exact_match":
        yield f"{target.name}: the likeliest set of tags is the answer"
    elif len(set(cuts)) < 2:
        yield f"{target.name}: a tag is answered from a probability of {(cuts or [0.5])[0]:.3f} on"
    else:
        yield f"{target.name}: each tag is answered from a probability of its own on, its threshold"
