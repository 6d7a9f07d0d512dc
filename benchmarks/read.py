"""Does a change of the code cost time or memory where a CSV file is read? Both sides in turn: after ÷ before.

    python benchmarks/read.py BEFORE AFTER [ROWS] [REPEATS]

BEFORE and AFTER are the `src` folders of two checkouts. Of 12 columns (6 of numbers, 3 of texts, 3 of
categories) and ROWS rows (default: 3 million), `manyhot.read` is timed by itself, and with `infer`, which
looks at what the cells mean; the memory is the most that the process held by then.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from race import machine, scratch

CODE = """
import re, sys, time
import manyhot
most = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1e6
start = time.perf_counter()
table = manyhot.read(sys.argv[1])
print(time.perf_counter() - start, most())
manyhot.infer(table, ["kind 0"])
print(time.perf_counter() - start, most())
"""
MEASURED = ("read, seconds", "read, GB", "read and infer, seconds", "read and infer, GB")


def write(path: Path, rows: int) -> None:
    """Write a table of numbers, texts and categories."""
    rng = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {f"number {i}": rng.normal(size=rows).round(4) for i in range(4)}
    columns |= {f"count {i}": rng.integers(0, 10**6, rows) for i in range(2)}
    texts = np.array([f"a text of some words, the {i}th" for i in range(100_000)])
    columns |= {f"text {i}": texts[rng.integers(0, len(texts), rows)] for i in range(3)}
    columns |= {
        f"kind {i}": np.array(["red", "green", "blue", "grey"])[rng.integers(0, 4, rows)] for i in range(3)
    }
    pacsv.write_csv(pa.table(columns), path)


def measured(source: str, path: Path) -> list[float]:
    """Return what one side takes, in the order of MEASURED."""
    words = [sys.executable, "-c", CODE, str(path)]
    environment = os.environ | {"PYTHONPATH": source}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main(before: str, after: str, rows: int = 3_000_000, repeats: int = 3) -> None:
    """Print the ratio of each of MEASURED."""
    print(machine())
    with scratch() as folder:
        path = Path(folder, "rows.csv")
        write(path, rows)
        measured(before, path)  # the file is in memory from here on
        pairs = [(measured(before, path), measured(after, path)) for _ in range(repeats)]
    for number, name in enumerate(MEASURED):
        old, new = (statistics.median(pair[side][number] for pair in pairs) for side in (0, 1))
        ratio = statistics.median(pair[1][number] / pair[0][number] for pair in pairs)
        print(f"{name}: {old:.2f} before, {new:.2f} after, {ratio:.3f} (median of {repeats})")


if __name__ == "__main__":
    before, after = (str(Path(side).resolve()) for side in sys.argv[1:3])
    main(before, after, *map(int, sys.argv[3:]))
