"""Do the whole job once, on 1,797 handwritten digits.

Every step is a command line that goes through `main`, so that what is printed at the end is what was run.
"""

from __future__ import annotations

import argparse
import csv
import shlex
from pathlib import Path

from manyhot import files
from manyhot.cli import options, show
from manyhot.errors import RunError


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", metavar="DIR", default="manyhot-demo", help="a folder for all (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace --out where it exists")
    help = "the same seed, the same run (default: %(default)s)"
    add("--seed", metavar="N", type=options.seed, default=0, help=help)


def run(args: argparse.Namespace) -> None:
    from manyhot.cli import main
    from manyhot.data.sources.datasets import write_digits

    out = Path(args.out)
    files.check_out(out, args.overwrite)
    files.check_ours(out, ["few.csv"])
    files.clear(out)
    table = write_digits(out, args.seed)
    show.prose(f"wrote 1,797 handwritten digits and {table}, a tenth of its label cells left empty")
    few = out / "few.csv"
    files.write_text(few, "".join(table.read_text(encoding="utf-8").splitlines(keepends=True)[:6]))

    data, model = str(table), str(out / "model")
    targets = ["--target", "digit", "--target", "even", "--tags", "strokes"]
    commands = [
        ["inspect", data, *targets, "--sheet", str(out / "sheet.png")],
        ["fit", data, *targets, "--test", "0.2", "--epochs", "30", "--seed", str(args.seed), "--out", model],
        ["evaluate", model, data],
        ["report", model, data, "--out", str(out / "report.html")],
        ["predict", model, str(few), "--out", str(out / "answers.csv")],
    ]
    for words in commands:
        show.say()
        show.say(f"$ manyhot {shlex.join(words)}")
        # With --json one document at the end is all that standard output gets.
        if main([*words, "--json"] if args.json and words[0] != "evaluate" else words) != 0:
            raise RunError(f"the demo stopped at: manyhot {shlex.join(words)}")
    lines = [f"manyhot {shlex.join(words)}" for words in commands]
    if args.json:
        show.as_json({"out": str(out), "commands": lines})
        return
    with (out / "answers.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            given = {name: row[f"{name}_given"] or "unknown" for name in ("digit", "even", "strokes")}
            answers = ", ".join(f"{name} {row[name]} (given: {label})" for name, label in given.items())
            show.tell(f"  {row['image']}: {answers}")
    show.tell()
    then = "These commands did it, and do the same with a table of your own:"
    show.prose(f"Look at {out}/sheet.png and {out}/report.html. {then}", stderr=False)
    show.tell()
    for line in lines:
        show.tell(f"  {line}")
