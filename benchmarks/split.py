"""The split of a million rows with 100 tags: its time and memory, beside scikit-learn's plain split.

python benchmarks/split.py [ROWS]

scikit-learn's `train_test_split` shuffles and does not stratify tags; it is here so that a ratio can
be given. The balance of both is printed: the largest difference between a tag's share of the held-out
rows and the share asked for.
"""

from __future__ import annotations

import resource
import sys
import time

import numpy as np
from race import machine
from sklearn.model_selection import train_test_split

from manyhot.data.rows.split import split
from manyhot.schema import Target


def main(rows: int, tags: int = 100) -> None:
    print(machine())
    rng = np.random.default_rng(0)
    y = (rng.random((rows, tags), dtype=np.float32) < rng.uniform(0.001, 0.2, tags)).astype(np.int8)
    y[rng.random(rows) < 0.1] = -1
    names = tuple(map(str, range(tags)))
    target = Target("tags", "multilabel", names, ("tags",))

    start = time.perf_counter()
    part = split([target], {"tags": y}, [0.8, 0.1, 0.1], seed=0)
    ours = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start = time.perf_counter()
    _, held = train_test_split(np.arange(rows), test_size=0.1, random_state=0)
    plain = time.perf_counter() - start

    def worst(index: np.ndarray) -> float:
        counts = (y == 1).sum(axis=0)
        return float(np.abs((y[index] == 1).sum(axis=0) / counts - 0.1).max())

    print(f"{rows:,} rows × {tags} tags: {ours:.1f} s, peak memory of the process {peak:.2f} GiB")
    print(f"ratio, ours ÷ an unstratified split: {ours / plain:.0f}")
    print(f"worst balance of a tag: ours {worst(part == 1):.5f}, unstratified {worst(held):.5f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
