"""Going on from a model against training from nothing: time, and how right it is on rows of their own.

MANYHOT_DATA=… python benchmarks/fit_from.py [mnist|NAME of MANYHOT_DATA/keel|SEED …]

Two things come to a model: a tenth more rows of the classes that it knows; or, beside these, all rows of a
class that it has never seen. Steps are counted; seconds are those of the processor, of each fit on one
thread, so that others on the machine change them little.
"""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from race import data, machine

NAMES = ("mnist", "segment")
SEEDS = (0, 1)
ROWS, MORE, JUDGING = 6_000, 600, 5_000  # of MNIST
EFFORT = "fast"


def rows_of(name: str, seed: int) -> tuple[Any, Any, Any, str]:
    """Return the table, the positions of the old rows and of those that judge, and the target's name."""
    import manyhot

    if name == "mnist":
        table = manyhot.read(data("mnist"))
        order = np.random.default_rng(seed).permutation(len(table))
        count, judging = ROWS + MORE, JUDGING
        target = table.targets[0]
    else:
        table = manyhot.read(data("keel") / f"{name}.csv")
        order = np.random.default_rng(seed).permutation(len(table))
        judging, target = len(table) // 4, "target"
        count = len(table) - judging
    table = table.take(order[: count + judging])
    if "split" in table.columns:
        columns = {column: cells for column, cells in table.columns.items() if column != "split"}
        table = replace(table, columns=columns)
    old = round(count * ROWS / (ROWS + MORE))
    return table, np.arange(old), np.arange(count, count + judging), target


def fitted(table: Any, **how: Any) -> tuple[Any, int, float]:
    """Return a model, its steps and its seconds."""
    import manyhot

    begun = time.process_time()
    model = manyhot.fit(table, verbose=False, **how)
    seconds = time.process_time() - begun
    return model, model.run.history[-1]["step"], seconds


def main() -> None:
    print(machine())
    given = [word for word in sys.argv[1:] if not word.isdecimal()]
    seeds = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    for name in given or NAMES:
        found: dict[str, list[list[float]]] = {}
        for seed in seeds or SEEDS:
            table, old, judging, target = rows_of(name, seed)
            every = table.take(np.arange(judging[0]))
            options = {"effort": EFFORT, "seed": seed, "threads": 1}
            labels = np.array(every.column(target).to_pylist(), object).astype(str)
            known = old[labels[old] != max(labels)]

            def right(model: Any, table: Any = table, judging: Any = judging, target: str = target) -> float:
                scores = model.evaluate(table.take(judging), split="all")
                return float(scores["targets"][target]["accuracy"])

            whole = fitted(every, schema=target, **options)
            for what, rows in (("more rows", old), ("a new class", known)):
                first, *_ = fitted(every.take(rows), schema=target, **options)
                more = fitted(every, start=first, seed=seed, threads=1)
                line = [
                    more[1] / whole[1],
                    more[2] / whole[2],
                    right(more[0]) - right(whole[0]),
                    right(whole[0]),
                ]
                found.setdefault(what, []).append(line)
                print(
                    f"  {name}, seed {seed}, {what}: {more[1]} steps and {more[2]:.0f} s of {whole[1]} and "
                    f"{whole[2]:.0f} s; right {right(first):.4f} → {right(more[0]):.4f}, else {line[3]:.4f}",
                    flush=True,
                )
        for what, lines in found.items():
            steps, seconds, better, _ = map(statistics.mean, zip(*lines, strict=True))
            shares = f"{steps:.2f} of the steps, {seconds:.2f} of the time"
            print(f"{name}, {what}: {shares}, {100 * better:+.2f} points", flush=True)


if __name__ == "__main__":
    main()
