"""Rows A and C by accuracy: what manyhot reaches in the time of the 10 hand-written epochs.

MANYHOT_DATA=… python benchmarks/mnist_accuracy.py c|a|best [SEEDS] [EFFORT]

c: `manyhot fit` on MNIST with the default effort; test accuracy, and its seconds as a share of the
   hand-written 10 epochs'.
a: the 100 tags of row A, in an eighth of the hand-written time (`--effort fast`) and in all of it
   (the default effort), both with `--objective exact_match`; test exact match.

best: as c, with `--effort best`. EFFORT leaves the other efforts of a row out.

The hand-written script runs once, before ours; imports are excluded on both sides.
docs/experiments.md says what rows A to E are.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

from race import by_hand, data, machine, scratch, timed, unzipped_mnist

EFFORTS = {"c": ["balanced"], "a": ["fast", "balanced"], "best": ["best"]}


def ours(row: str, effort: str, seed: int) -> tuple[float, float]:
    """Return the test score and the seconds of one fit with every setting left to its default."""
    import manyhot.fitting

    start = time.perf_counter()
    table = manyhot.read(data("mnist"))
    targets, objective = ["label"], "hamming"
    if row == "a":
        digits = map(int, table.column("label").to_pylist())
        tags = [[str(digit), str(digit + 10), str(digit + 50)] for digit in digits]
        table, targets = table.with_columns({"tags": tags}), ["tags"]
        objective = "exact_match"
    classifier = manyhot.fit(
        table, manyhot.infer(table, targets), effort=effort, seed=seed, objective=objective
    )
    seconds = time.perf_counter() - start
    return classifier.evaluate(table)["overall"]["exact_match"], seconds


def main(row: str, seeds: int, only: str) -> None:
    print(machine())
    script = "mnist_multilabel" if row == "a" else "mnist_multiclass"
    with scratch() as folder:
        hand, _ = by_hand(script, unzipped_mnist(Path(folder)))
    _, hand_score, hand_seconds = hand[-1]
    print(f"by hand: {hand_score:.4f} after 10 epochs, {hand_seconds:.1f} s", flush=True)
    for effort in [only] if only else EFFORTS[row]:
        found = []
        for seed in range(seeds):
            printed, _ = timed([sys.executable, __file__, "--side", row, effort, str(seed)])
            found.append(json.loads(printed.splitlines()[-1]))
            score, seconds = found[-1]
            share = seconds / hand_seconds
            print(
                f"{effort}, seed {seed}: {score:.4f} in {share:.2f} of its time, {seconds:.0f} s", flush=True
            )
        mean = statistics.mean(score for score, _ in found)
        share = statistics.mean(seconds for _, seconds in found) / hand_seconds
        print(f"{effort}: mean {mean:.4f} of {seeds} seeds in {share:.2f} of the hand-written time")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(ours(sys.argv[2], sys.argv[3], int(sys.argv[4]))))
    else:
        row, seeds, only = [*sys.argv[1:], *["3", ""][len(sys.argv) - 2 :]]
        main(row, int(seeds), only)
