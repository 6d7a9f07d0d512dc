"""Does a change of the code cost time? Whole runs with the code before and after it, in turn: before ÷ after.

    MANYHOT_DATA=… python benchmarks/before_after.py BEFORE AFTER [REPEATS]

BEFORE and AFTER are the `src` folders of two checkouts, such as one that `git worktree add` made. Three runs
are timed by themselves: `manyhot demo` as a whole command; the fit of `mnist_mlp.py` (row C, the same
perceptron), from the first read to the end of `fit`; the second epoch of MobileNetV2 on 1,200 photos of the
cars at 128 pixels.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from race import data, machine

MNIST = """
import sys, time
sys.path.insert(0, {here!r})
try:
    import mnist_networks
except ImportError:  # an earlier manyhot knows the network itself
    pass
import manyhot, manyhot.fitting
from manyhot.machine import cpu_flags
from mnist_mlp import SETTINGS
start = time.perf_counter()
halves = cpu_flags() & {{"amx_bf16", "avx512_bf16"}}
how = dict(precision="bfloat16" if halves else "float32", channels_last=False)
manyhot.fit(manyhot.read({mnist!r}), "label", seed=0, **how, **SETTINGS)
print(time.perf_counter() - start)
"""
CARS = """
import sys
sys.path.insert(0, {here!r})
import numpy as np
import manyhot
from cars import PRETRAINED, TARGETS, table
cars = table()
some = cars.take(np.flatnonzero(np.array(cars.column("split").to_pylist()) == "train")[:1200])
some = manyhot.Table({{n: c for n, c in some.columns.items() if n != "split"}}, some.source, some.root)
ends = []
def heard(line):
    if line["kind"] == "epoch":
        ends.append(line["seconds"])
name = "tell" if "tell" in manyhot.fit.__code__.co_varnames else "on_event"
options = dict(PRETRAINED, weights="none", size=128, first_size=128, batch_size=32, epochs=2)
options |= dict(augment="crop", validation=0.05)
manyhot.fit(some, manyhot.infer(some, list(TARGETS), image="image"), **options, **{{name: heard}})
print(ends[1] - ends[0])
"""


def seconds(source: str, code: str) -> float:
    """Run Python code with one side's manyhot; return what it prints last."""
    words = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": source}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


DEMO = """
import subprocess, sys, time
start = time.perf_counter()
words = [sys.executable, "-m", "manyhot", "demo", "--out", {out!r}, "--overwrite"]
subprocess.run(words, check=True, capture_output=True)
print(time.perf_counter() - start)
"""


def main() -> None:
    """Print the ratio of each run."""
    sides = [str(Path(side).resolve()) for side in sys.argv[1:3]]
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        here = str(Path(__file__).parent)
        codes = {
            "demo": DEMO.format(out=f"{folder}/demo"),
            "mnist_mlp": MNIST.format(here=here, mnist=str(data("mnist"))),
            "cars epoch": CARS.format(here=here),
        }
        for name, code in codes.items():
            found = []
            for side in sides:
                seconds(side, code)  # caches are filled, and whatever is read is in memory
            for _ in range(repeats):
                before, after = (seconds(side, code) for side in sides)
                found.append(before / after)
                print(f"{name}: {before:.2f} s before, {after:.2f} s after, {before / after:.3f}", flush=True)
            print(f"{name}: before ÷ after, median of {repeats}: {statistics.median(found):.3f}", flush=True)


if __name__ == "__main__":
    main()
