"""Are probabilities as right as they say? ECE ÷ its floor, and log loss ÷ that of the best scaling.

    MANYHOT_DATA=… python benchmarks/calibration.py [SPLITS] [SET …]

The floor is the ECE that a perfectly calibrated model would show on so many rows (`metrics.ece_floor`). The
best scaling is fitted on the test rows themselves, so that no method could know it: one temperature, and the
same with a bias for each class or tag. Means over splits of fits with the defaults. SETs: digits (the
demo's), a table of `suite.py`, mnist (12,000 digits to learn), rowa (the same as 100 tags). Default: digits
and four tables.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from typing import Any

import numpy as np
from race import data, machine
from scipy.optimize import minimize
from suite import split_of

import manyhot
from manyhot import metrics
from manyhot.fitting import fit
from manyhot.schema import Target

TABLES = ("contraceptive", "satimage", "vehicle", "german")
LEAST = 1e-12


def best_losses(target: Target, y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Return the log loss with the best temperature for these very rows, and with biases besides."""
    p = np.clip(p.astype(float), LEAST, 1 - LEAST)
    if target.exclusive:
        logs, given, rows = np.log(p), y.reshape(-1), np.arange(len(y))

        def loss(z: np.ndarray) -> float:
            return float((np.logaddexp.reduce(z, axis=1) - z[rows, given]).mean())
    else:
        logs = np.log(p) - np.log1p(-p)

        def loss(z: np.ndarray) -> float:
            return float(np.logaddexp(0, np.where(y == 1, -z, z))[y >= 0].mean())

    one = minimize(lambda v: loss(logs * np.exp(v[0])), np.zeros(1), method="L-BFGS-B")
    if p.shape[1] > 20:
        return float(one.fun), float("nan")
    start = np.append(one.x, np.zeros(p.shape[1]))
    every = minimize(lambda v: loss(logs * np.exp(v[0]) + v[1:]), start, method="L-BFGS-B")
    return float(one.fun), float(every.fun)


def rows(name: str, split: int) -> tuple[Any, Any, list[str], dict[str, Any]]:
    """Return rows to learn from, rows to judge by, the targets, and settings that are not defaults."""
    if name in ("mnist", "rowa"):
        table = manyhot.read(data("mnist"))
        parts = np.array(table.column("split").to_pylist())
        learn = np.random.default_rng(split).permutation(np.flatnonzero(parts == "train"))[:12_000]
        digits = [int(digit) for digit in table.column("label").to_pylist()]
        tags = [[str(digit), str(digit + 10), str(digit + 50)] for digit in digits]
        table = table.without(["split"]).with_columns({"tags": tags})
        target = "label" if name == "mnist" else "tags"
        return table.take(learn), table.take(np.flatnonzero(parts == "test")), [target], {}
    part = split_of("digits-pictures" if name == "digits" else name, split, False)
    if part.kind == "tags":
        raise SystemExit(f"{name}: tags of a table are not taken here")
    table, held = part.train.table, part.test.table
    if name != "digits":
        return table, held, ["target"], {}
    even = [
        {"even": ["no" if c[-1] in "13579" else "yes" for c in t.column("target").to_pylist()]}
        for t in (table, held)
    ]
    return table.with_columns(even[0]), held.with_columns(even[1]), ["target", "even"], {"epochs": 30}


def main(splits: int, names: list[str]) -> None:
    print(machine())
    for name in names:
        found = defaultdict(list)
        for split in range(splits):
            learn, held, targets, options = rows(name, split)
            model = fit(learn, targets, seed=split, verbose=False, **options)
            judged = model.judge(held, "all")
            for target in judged.schema.targets:
                y, p = judged.y[target.name], judged.probabilities[target.name]
                scores, floor = judged.scores["targets"][target.name], metrics.ece_floor(target, y, p)
                right = scores["accuracy" if target.exclusive else "exact_match"]
                line = (scores["ece"], floor, scores["log_loss"], *best_losses(target, y, p), right)
                found[target.name].append(line)
        for target_name, lines in found.items():
            ece, floor, loss, warm, biased, right = np.mean(lines, axis=0)
            print(
                f"{name} {target_name}: ECE {ece:.4f} ÷ floor {floor:.4f} = {ece / floor:.2f}; log loss "
                f"{loss:.4f} ÷ best temperature {loss / warm:.3f}, with biases {loss / biased:.3f}; right "
                f"{right:.4f} (n = {splits})",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10, sys.argv[2:] or ["digits", *TABLES])
