"""Does a search pay? The default against the best of many trials, by test rows that chose neither.

    MANYHOT_DATA=… python benchmarks/search.py [--effort fast] [--trials 20] [--seeds 0,1,2] [TABLE…]

For each table of KEEL and each seed 30 % of the rows are kept back. The default is one `manyhot.fit` on the
rest; the search is `manyhot.search` on the same, whose first trial is that default. Both are judged once by
the rows that were kept back. `promised` is by how much the search is better by the rows that chose it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from race import data, machine, scratch

TABLES = ("heart", "saheart", "vehicle", "german", "contraceptive", "led7digit")


def one(table: Path, seed: int, effort: str, trials: int, out: Path) -> dict[str, float]:
    """Return losses and accuracies of both on the test rows, and the seconds that they took."""
    import manyhot

    read = manyhot.read(table)
    schema = manyhot.infer(read, ["target"])
    how: dict[str, Any] = {"effort": effort, "seed": seed, "test": 0.3, "verbose": False}
    start = time.perf_counter()
    plain = manyhot.fit(read, schema, **how)
    middle = time.perf_counter()
    found = manyhot.search(read, schema, out=out, trials=trials, **how)
    end = time.perf_counter()
    judged = plain.evaluate(read, split="test")["targets"]["target"]
    best = found.test["targets"]["target"]
    return {
        "promised": found.default.score - found.best.score,
        "loss": judged["log_loss"] - best["log_loss"],
        "accuracy": best["accuracy"] - judged["accuracy"],
        "default": judged["accuracy"],
        "times": (end - middle) / (middle - start),
    }


def spread(values: list[float]) -> str:
    """Write a mean with its standard error, where there are several."""
    if len(values) == 1:
        return f"{values[0]:+.4f}"
    return f"{statistics.mean(values):+.4f} ± {statistics.stdev(values) / len(values) ** 0.5:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seeds", default="0,1,2")
    args = parser.parse_args()
    print(machine("torch", "optuna"))
    every = []
    for name in args.tables:
        runs = []
        for seed in map(int, args.seeds.split(",")):
            with scratch() as folder:
                out = Path(folder, "s")
                runs.append(one(data("keel") / f"{name}.csv", seed, args.effort, args.trials, out))
            print(f"{name}, seed {seed}: {told(runs[-1:])}", flush=True)
        every += runs
        print(f"{name}: {told(runs)}", flush=True)
    won = sum(run["loss"] > 0 for run in every)
    print(f"all: {told(every)}; better by the test rows in {won} of {len(every)} runs")


def told(runs: list[dict[str, float]]) -> str:
    """Say by how much the search is better than the default."""
    loss, accuracy, promised = (
        spread([run[key] for run in runs]) for key in ("loss", "accuracy", "promised")
    )
    default = statistics.mean(run["default"] for run in runs)
    times = statistics.mean(run["times"] for run in runs)
    return (
        f"test loss lower by {loss} (held-out rows promised {promised}), accuracy {accuracy} (default "
        f"{default:.4f}), at {times:.1f} times the time"
    )


if __name__ == "__main__":
    main()
