"""How long a default fit of a table takes, beside CatBoost with 500 trees: ours ÷ CatBoost's.

MANYHOT_DATA=… python benchmarks/seconds.py [NAME …]

Tables of MANYHOT_DATA/keel and scikit-learn's wine, the training rows of the first split of `suite.py`. Each
side learns once, in turn, on as many threads as there are cores, reading and imports excluded. CatBoost is to
be installed beside the project.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import numpy as np
import suite
from race import machine

NAMES: tuple[str, ...] = (
    "heart",
    "german",
    "vehicle",
    "contraceptive",
    "titanic",
    "phoneme",
    "banana",
    "segment",
)
NAMES += ("vowel", "saheart", "wine", "satimage")
TREES = 500


def main() -> None:
    import catboost

    import manyhot

    print(machine())
    ratios, longest = [], 0.0
    for name in sys.argv[1:] or NAMES:
        train = suite.split_of(name, 0, choose=False).train
        texts = [i for i in range(train.x.shape[1]) if any(isinstance(cell, str) for cell in train.x[:, i])]
        x = np.asarray(train.x) if texts else np.asarray(train.x, float)
        options = {"verbose": 0, "allow_writing_files": False, "cat_features": texts}
        start = time.perf_counter()
        catboost.CatBoostClassifier(TREES, thread_count=os.cpu_count(), **options).fit(x, train.y)
        theirs, start = time.perf_counter() - start, time.perf_counter()
        manyhot.fit(train.table, "target", seed=0, verbose=False)
        ours = time.perf_counter() - start
        ratios.append(ours / theirs)
        longest = max(longest, ours)
        rows, columns = x.shape
        print(f"  {name}: {rows:,} × {columns}, {ours:.1f} s ÷ {theirs:.2f} s = {ratios[-1]:.1f}", flush=True)
    print(f"median {statistics.median(ratios):.1f}, longest {longest:.1f} s")


if __name__ == "__main__":
    main()
