"""What a command spends outside its training, by stage, in processor seconds; and before ÷ after a change.

    MANYHOT_DATA=… python benchmarks/beside.py [NAME …] [BEFORE AFTER] [REPEATS]

NAME is one of iris, table, cifar10 and mnist, all unless said. Each is learned by `manyhot fit` as it is, for
one epoch. BEFORE and AFTER are the `src` folders of two checkouts, which run in turn; without them the code
that is installed runs alone. A thread looks every few milliseconds what the program is at, and gives the
processor time that passed to the innermost stage that it finds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from race import data, machine, scratch

TRAINING = "training"
# The functions that are a stage, by where they stand; what is named within another counts for itself.
STAGES = {
    "train/run.py fine_tune": TRAINING,
    "train/run.py learn_heads": TRAINING,
    "train/run.py probe": TRAINING,
    "cli/options.py read_table": "reading",
    "cli/options.py labelled": "looking at the columns",
    "data/rows/describe.py describe": "looking at the columns",
    "train/prepare.py prepare": "preparing rows, decoding",
    "train/run.py try_mirrored": "trial of mirrors",
    "train/checkpoint.py keep": "checkpoints",
    "train/run.py recalibrate_batch_norms": "batch norms",
    "train/run.py select_ensemble": "choosing members",
    "train/trees.py grow": "growing a forest",
    "train/trees.py boost": "boosting trees",
    "train/logistic.py regress": "logistic regression",
    "train/run.py _calibrated": "calibrating and judging",
    "train/run.py _importance": "importance of columns",
    "train/growth.py growth": "worth of more rows",
    "train/far.py fit_far": "what is far",
    "explaining/examples.py examples": "explained examples",
    "report/card.py report_of": "drawing the report",
    "fitting.py _write": "writing",
    "cli/commands/fit.py run": "the rest of the command",
}
WATCHED = """
import collections, json, sys, threading, time
STAGES, words = {stages!r}, {words!r}
spent, main = collections.Counter(), threading.main_thread().ident

def stage(frame):
    while frame is not None:
        where, name = frame.f_code.co_filename, frame.f_code.co_name
        if where.startswith("<frozen importlib"):
            return "imports"
        found = STAGES.get(where.rpartition("/manyhot/")[2] + " " + name)
        if found:
            return found
        frame = frame.f_back
    return "the rest of the command"

def watch():
    before = time.process_time()
    while True:
        time.sleep(0.004)
        at, now = stage(sys._current_frames().get(main)), time.process_time()
        spent[at] += now - before
        before = now

threading.Thread(target=watch, daemon=True).start()
from manyhot.cli import main as run
status = run(words)
print(json.dumps(spent), file=sys.stderr)
sys.exit(status)
"""


def a_table(path: Path, rows: int = 20_000) -> Path:
    """Write a table of eight numbers, four categories and three classes."""
    rng = np.random.default_rng(0)
    x, words = rng.normal(size=(rows, 8)), rng.integers(0, 5, (rows, 4))
    z = x[:, 0] + x[:, 1] * x[:, 2] + 1.5 * (words[:, 0] == 2) - (words[:, 1] > 2)
    z += 0.7 * rng.normal(size=rows)
    names = [f"n{i}" for i in range(8)] + [f"c{i}" for i in range(4)]
    lines = [",".join([*names, "kind"])]
    for numbers, some, kind in zip(x, words, np.digitize(z, [-1, 1]), strict=True):
        cells = [*(f"{number:.5g}" for number in numbers), *("abcde"[word] for word in some)]
        lines.append(",".join([*cells, ("low", "mid", "high")[kind]]))
    path.write_text("\n".join(lines) + "\n")
    return path


def iris(path: Path) -> Path:
    """Write scikit-learn's iris as a table."""
    from sklearn.datasets import load_iris

    found = load_iris()
    rows = [
        ",".join([*map(str, x), str(found.target_names[y])])
        for x, y in zip(found.data, found.target, strict=True)
    ]
    path.write_text("\n".join(["a,b,c,d,kind", *rows]) + "\n")
    return path


def commands(folder: Path, names: list[str]) -> dict[str, list[str]]:
    """Return what each command learns from."""
    every = {
        "iris": lambda: [str(iris(folder / "iris.csv")), "--target", "kind"],
        "table": lambda: [str(a_table(folder / "table.csv")), "--target", "kind"],
        "cifar10": lambda: [str(data("cifar10") / "labels.csv"), "--target", "label"],
        "mnist": lambda: [str(data("mnist")), "--target", "label"],
    }
    return {name: every[name]() for name in names or every}


def spent(words: list[str], folder: Path, source: str | None) -> dict[str, float]:
    """Run a fit; return its processor seconds by stage."""
    words = ["fit", *words, "--out", str(folder / "model"), "--overwrite", "--json"]
    code = WATCHED.format(stages=STAGES, words=[*words, "--epochs", "1", "--set", "patience=0"])
    environment = os.environ | ({"PYTHONPATH": source} if source else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(done.stderr.splitlines()[-1])
    return found


def main(words: list[str]) -> None:
    """Print what each command spends."""
    repeats = int(words.pop()) if words and words[-1].isdigit() else 3
    sides: list[str | None] = [str(Path(word).resolve()) for word in words if Path(word).is_dir()]
    names = [word for word in words if not Path(word).is_dir()]
    print(f"{machine()}; processor seconds, medians of {repeats}")
    with scratch() as name:
        for what, learned in commands(Path(name), names).items():
            runs: list[list[dict[str, float]]] = [[] for _ in sides or [None]]
            for _ in range(repeats):
                for side, found in zip(sides or [None], runs, strict=True):
                    found.append(spent(learned, Path(name), side))
            print(f"{what}:")
            stages = sorted(
                {stage for found in runs for each in found for stage in each},
                key=lambda stage: -statistics.median(each.get(stage, 0) for each in runs[0]),
            )
            for stage in stages:
                each = [statistics.median(one.get(stage, 0) for one in found) for found in runs]
                print(f"  {stage:26}" + "".join(f"{value:8.2f}" for value in each))
            whole = [
                statistics.median(sum(one.values()) - one.get(TRAINING, 0) for one in found) for found in runs
            ]
            ratio = f"   before ÷ after {whole[0] / whole[1]:.2f}" if len(whole) == 2 else ""
            values = "".join(f"{value:8.2f}" for value in whole)
            print(f"  {'all beside the training':26}{values}{ratio}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
