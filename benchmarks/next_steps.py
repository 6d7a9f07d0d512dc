"""Does what the report expects of its next steps come true? Expected of held-out rows beside what came of it.

    MANYHOT_DATA=… python benchmarks/next_steps.py [SEEDS] [TABLE …]

A model learns from a third of a table of MANYHOT_DATA/keel, and another from two thirds; the last one judges.
Asked: what more rows are expected to bring where it is told (its interval above 0), against what twice the
rows brought, as means over tables and seeds; the share of rows left to people, and how many of the others are
right, as the step with the most gain says, against new rows after `tune` with that coverage; and the share of
a fit's time that both and the explained examples take (each below 0.1).
"""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from typing import Any

import numpy as np
from race import data, machine

import manyhot
from manyhot import metrics
from manyhot.report.steps import steps
from manyhot.targets import unsure
from manyhot.train import run
from manyhot.train.growth import growth

TABLES = ("banana", "phoneme", "satimage", "segment", "spambase", "tic-tac-toe", "vehicle", "vowel")
MOST = 3_000
COVERAGE = re.compile(r"--coverage ([\d.]+)` about (\d+) .*?of 100 .* of the others (\d+) % ")
took: dict[str, float] = defaultdict(float)


def timed(name: str, function: Any) -> Any:
    """Return a function that adds up how long it takes."""

    def of(*given: Any) -> Any:
        begun = time.perf_counter()
        found = function(*given)
        took[name] += time.perf_counter() - begun
        return found

    return of


def main(seeds: int, tables: list[str]) -> None:
    print(machine())
    vars(run)["growth"] = timed("more rows", growth)
    curves, left = [], []
    for name in tables:
        table = manyhot.read(data(f"keel/{name}.csv"))
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(table))[:MOST]
            thirds = np.arange(len(order)) % 3
            some, twice, new = (np.sort(order[part]) for part in (thirds == 0, thirds < 2, thirds == 2))
            options = {"effort": "fast", "seed": seed, "verbose": False}
            fit = timed("fit", lambda rows, t=table, o=options: manyhot.fit(t.take(rows), ["target"], **o))
            small, large = fit(some), fit(twice)
            judged = small.run.judged
            timed("examples", small._examples)(judged)
            judges = [model.judge(table.take(new), "all") for model in (small, large)]
            score = [100 * each.scores["targets"]["target"]["accuracy"] for each in judges]
            grown = judged.growth.get("target")
            if grown is not None:
                curves.append((grown.gain, score[1] - score[0], grown.low > 0))
            for line in steps(judged, "MODEL"):
                if found := COVERAGE.search(line):
                    level, share, right = map(float, found.groups())
                    tuned = small.tune(table.take(some), coverage=level)
                    after = tuned.judge(table.take(new), "all")
                    target = after.schema.targets[0]
                    wrong = metrics.wrong_rows([target], after.y, after.probabilities)[0][:, 0]
                    doubts = metrics.any_of(unsure(target, after.probabilities["target"]))
                    left.append((share, 100 * doubts.mean(), right, 100 * (~wrong[~doubts]).mean()))
            print(name, seed, grown, f"came {score[1] - score[0]:+.2f}", flush=True)
    told = np.array([line[:2] for line in curves if line[2]])
    silent = np.array([line[:2] for line in curves if not line[2]])
    error = told[:, 1].std() / len(told) ** 0.5
    (expected, came), without = told.mean(axis=0), silent[:, 1].mean()
    print(f"more rows, told {len(told)} times: {expected:.2f} of 100 expected, {came:.2f} ± {error:.2f} came")
    print(f"more rows, not told {len(silent)} times: {without:.2f} came")
    share, came, right, true = np.mean(left, axis=0)
    print(f"left to people, told {len(left)} times: {share:.1f} of 100 rows expected, {came:.1f} came;")
    print(f"of the others {right:.1f} % right expected, {true:.1f} % came")
    print(
        f"share of the time of fits: more rows {took['more rows'] / took['fit']:.3f}, examples "
        f"{took['examples'] / took['fit'] * 2:.3f} (asked: each below 0.1)"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, sys.argv[2:] or [*TABLES])
