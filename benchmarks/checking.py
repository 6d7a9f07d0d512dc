"""What do the checks of the data cost? `inspect`, and what `fit` does before it trains: after ÷ before.

    python benchmarks/checking.py BEFORE AFTER [REPEATS]

BEFORE and AFTER are the `src` folders of two checkouts, in turns. A CSV of 1,000,000 rows × 20 columns
(numbers, dates, categories, an identifier, a label) and a folder of 10,000 small pictures are made anew.
Counted is processor time, so that other work on the machine says little; the caches of pictures are off.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from race import machine

ROWS, PICTURES = 1_000_000, 10_000
RUN = """
import json, resource, sys
import manyhot
from manyhot.inspection import inspect
def spent():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
path, target, what = sys.argv[1:]
if what == "fit":
    from manyhot.train.prepare import prepare
    import manyhot.fitting
start = spent()
if what == "inspect":
    inspect(path, [target])
else:
    table = manyhot.read(path)
    prepare(table, manyhot.infer(table, [target]), {"cache": 0.0, "device": "cpu"})
print(json.dumps(spent() - start))
"""


def make_table(path: Path) -> None:
    import pyarrow as pa
    from pyarrow import csv

    rng = np.random.default_rng(0)
    columns: dict[str, np.ndarray] = {f"n{i}": rng.normal(size=ROWS).round(4) for i in range(12)}
    columns |= {f"c{i}": rng.choice([f"word {k}" for k in range(3 + 20 * i)], ROWS) for i in range(5)}
    columns["when"] = np.datetime64("2020-01-01") + rng.integers(0, 2_000, ROWS)
    columns["id"] = rng.permutation(ROWS) + 7
    columns["label"] = np.where(columns["n0"] > 0, "yes", "no")
    csv.write_csv(pa.table(columns), path)


def make_pictures(folder: Path) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for number in range(PICTURES):
        place = folder / "ab"[number % 2]
        place.mkdir(exist_ok=True, parents=True)
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.jpg")


def spent(source: str, *words: str) -> float:
    paths = {"PYTHONPATH": source, "MANYHOT_CACHE": tempfile.mkdtemp()}
    found = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        env=os.environ | paths,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(json.loads(found.stdout.splitlines()[-1]))


def main(before: str, after: str, repeats: int) -> None:
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        table, pictures = Path(folder, "table.csv"), Path(folder, "pictures")
        make_table(table)
        make_pictures(pictures)
        for path, target in ((table, "label"), (pictures, "label")):
            for what in ("inspect", "fit"):
                pairs = [
                    (spent(before, str(path), target, what), spent(after, str(path), target, what))
                    for _ in range(repeats)
                ]
                old, new = (statistics.median(each) for each in zip(*pairs, strict=True))
                name = "before it trains, fit" if what == "fit" else what
                print(f"{path.name}, {name}: {new:.2f} s ÷ {old:.2f} s = {new / old:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3)
