"""Train a classifier for every target of a table."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from manyhot import files
from manyhot.cli import options, progress, show
from manyhot.config import APART


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", metavar="DATA", help="a table, a folder of class folders, or an IDX folder")
    add("--out", metavar="MODEL", required=True, help="the folder to write the model to")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    add("--resume", action="store_true", help="go on from where a run was stopped")
    help = "go on from this model: DATA has new rows, perhaps with new classes, and may have the old ones too"
    add("--from", metavar="MODEL", dest="start", help=help)
    options.add_reading(parser)
    options.add_labelling(parser)
    options.add_training(parser)


def run(args: argparse.Namespace) -> None:
    start = time.perf_counter()
    settings = options.settings_of(args)
    model = settings.pop("start", "") or None
    for name in APART:
        setattr(args, name, settings.get(name))  # --config and --set may name it too
    args.start = model
    if not args.resume:
        files.check_out(Path(args.out), args.overwrite)
    table, schema = options.labelled(args, options.read_table(args, args.data, settings.get("memory")))
    from manyhot.data.columns import split_of
    from manyhot.data.rows.describe import describe
    from manyhot.fitting import fit  # torch is loaded here, after all cheap mistakes are found
    from manyhot.report.verdict import problems

    if model:
        from manyhot.starting import going_on

        going = going_on(model, table, settings)
        table, schema = going.table, going.schema
    said: list[str] = []
    if not args.json:
        described = describe(table, schema, options.set_apart(args, table), args.group or "")
        show.description(described, stderr=True)
        said = described["problems"]
    training = progress.Training()
    with training:
        classifier = fit(
            table,
            None if model else schema,
            out=args.out,
            start=model,
            positive=options.positive_of(args, schema) if model else None,
            resume=args.resume,
            overwrite=args.overwrite,
            begin=training.begin,
            on_event=training.on_event,
            progress=training.reading,
            **settings,
        )
    done = classifier.run
    if done is None:
        show.say(f"{args.out}: training is finished already")
    if args.json:
        record = done.judged.record if done else files.read_json(Path(args.out, "metrics.json"))
        found = {
            "model": args.out,
            "rows": done.counts if done else None,
            "epochs": done.history[-1]["epoch"] if done else None,
            "validation": {name: record.get(name) for name in ("rows", "targets", "overall")},
            "baselines": record.get("baselines"),
            "config": classifier.bundle.config.to_json(),
        }
        show.as_json(found)
    elif done is not None:
        show.notes([note for note in done.notes if note not in said])
        training.end(done, classifier.bundle.ensemble)
        heading = "rows held back to choose the best epoch and to calibrate"
        show.scores({**done.judged.scores, "baselines": done.judged.baselines}, heading)
        show.problems(problems(done.judged, args.out))
        show.say(f"all of it took {show.duration(time.perf_counter() - start)}")
        parts = split_of(table)
        _say_next(args, tested=done.counts["test"] > 0 or (parts is not None and "test" in parts))


def _say_next(args: argparse.Namespace, tested: bool) -> None:
    """Print the commands that judge and use the model, with the options that read such a table.

    NEW stands for rows that it has not seen; those of DATA would flatter it, unless some were kept back to
    test it (`tested`).
    """
    new = [args.out, "NEW", *options.reading_words(args, without=("--labels", "--map"))]
    judging = [args.out, "NEW", *options.reading_words(args, without=("--labels",))]
    judging = [args.out, args.data, *options.reading_words(args)] if tested else judging
    judging += ["--long"] if args.long else []
    judging += ["--weight", args.weight] if args.weight else []
    show.tell()
    show.prose(f"model written to {args.out}; look at {args.out}/report.html, then:", stderr=False)
    show.tell(f"  manyhot evaluate {shlex.join(judging)}")
    show.tell(f"  manyhot predict {shlex.join(new)} --out answers.csv")
    needs = "" if tested else "; `evaluate` needs their labels too"
    show.prose(f"where NEW is a table or folder of rows that the model has not seen{needs}", stderr=False)
