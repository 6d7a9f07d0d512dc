"""A part of CIFAR-10: what manyhot reaches in the time of a hand-written ResNet-9.

MANYHOT_DATA=… python benchmarks/cifar.py [SEEDS] [EFFORT] [EPOCHS]

MANYHOT_DATA/cifar10/labels.csv names 10,000 training and 2,000 test pictures. Prints the test accuracy of
`manyhot fit` at an effort (balanced), and its seconds as a share of those of 24 hand-written epochs, of which
EPOCHS are run (24; with fewer the time is stretched, and their accuracy says nothing). Imports are excluded
on both sides.
"""

from __future__ import annotations

import json
import sys
import time

from race import by_hand, data, machine, timed

WHOLE = 24  # epochs by hand


def ours(effort: str, seed: int) -> tuple[float, float]:
    """Return the test accuracy and the seconds of one fit with every setting left to its default."""
    import manyhot.fitting

    start = time.perf_counter()
    table = manyhot.read(data("cifar10") / "labels.csv")
    classifier = manyhot.fit(table, manyhot.infer(table, ["label"]), effort=effort, seed=seed, cache=0.0)
    seconds = time.perf_counter() - start
    return classifier.evaluate(table)["overall"]["exact_match"], seconds


def main(seeds: int, effort: str, epochs: int) -> None:
    print(machine())
    hand, _ = by_hand("cifar_resnet9", data("cifar10"), epochs)
    _, hand_score, last = hand[-1]
    hand_seconds = last * WHOLE / epochs
    print(f"by hand: {hand_score:.4f} after {epochs} epochs, {hand_seconds:.1f} s for {WHOLE}", flush=True)
    for seed in range(seeds):
        printed, _ = timed([sys.executable, __file__, "--side", effort, str(seed)])
        score, seconds = json.loads(printed.splitlines()[-1])
        share = seconds / hand_seconds
        print(f"{effort}, seed {seed}: {score:.4f} in {share:.2f} of its time, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(json.dumps(ours(sys.argv[2], int(sys.argv[3]))))
    else:
        count, effort, epochs = [*sys.argv[1:], *["3", "balanced", "24"][len(sys.argv) - 1 :]]
        main(int(count), effort, int(epochs))
