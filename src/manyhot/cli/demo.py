"""`manyhot demo`: the whole job once, by the commands that a user would type.

Every step is a command line that goes through `main`, so that what is printed at the end is what
was run.
"""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

from manyhot import files
from manyhot.cli import show
from manyhot.data.sources.datasets import write_digits
from manyhot.errors import RunError


def run(out: Path, overwrite: bool, seed: int, as_json: bool) -> None:
    """Write the digits, then inspect, fit, evaluate, report and predict; end with the commands run."""
    files.check_out(out, overwrite)
    files.check_ours(out, ["few.csv"])
    files.clear(out)
    table = write_digits(out, seed)
    show.say(f"wrote 1,797 handwritten digits and {table}, a tenth of its label cells left empty")
    few = out / "few.csv"
    few.write_text("".join(table.read_text(encoding="utf-8").splitlines(keepends=True)[:6]), encoding="utf-8")

    data, model = str(table), str(out / "model")
    targets = ["--target", "digit", "--target", "even", "--tags", "strokes"]
    commands = [
        ["inspect", data, *targets, "--sheet", str(out / "sheet.png")],
        ["fit", data, *targets, "--test", "0.2", "--epochs", "30", "--seed", str(seed), "--out", model],
        ["evaluate", model, data],
        ["report", model, data, "--out", str(out / "report.html")],
        ["predict", model, str(few), "--out", str(out / "answers.csv")],
    ]
    from manyhot.cli import main

    for words in commands:
        show.say(f"\n$ manyhot {shlex.join(words)}")
        # With --json one document at the end is all that standard output gets.
        if main([*words, "--json"] if as_json and words[0] != "evaluate" else words) != 0:
            raise RunError(f"the demo stopped at: manyhot {shlex.join(words)}")
    lines = [f"manyhot {shlex.join(words)}" for words in commands]
    if as_json:
        show.document({"out": str(out), "commands": lines})
        return
    with (out / "answers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        shown = (
            (name, row[name], row[f"{name}_given"] or "unknown") for name in ("digit", "even", "strokes")
        )
        said = ", ".join(f"{name} {answer} (given: {given})" for name, answer, given in shown)
        print(f"  {row['image']}: {said}")
    print(f"\nLook at {out}/sheet.png and {out}/report.html. These commands did it, and do the same")
    print("with a table of your own:\n")
    for line in lines:
        print(f"  {line}")
