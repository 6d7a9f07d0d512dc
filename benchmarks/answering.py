"""What a committee costs when it answers: all members of a table beside the network alone.

python benchmarks/answering.py [ROWS] [COLUMNS]

Both are learned from 1,000 rows of three classes and answer a Parquet file of ROWS (default: 100,000) ×
COLUMNS (50) numbers with `manyhot predict`, three times in turn: the ratio of the medians of the seconds,
start and reading included, and the most memory of each; then of the committee on four times the rows.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from parquet import measured
from race import machine, scratch

LEARNED, REPEATS = 1_000, 3


def write(path: Path, rows: int, columns: int, labels: bool = False) -> None:
    """Write random numbers; with labels, a class that follows partly from sums, partly from steps."""
    rng = np.random.default_rng(rows)
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    table = pa.table({f"c{i}": x[:, i] for i in range(columns)})
    if labels:
        likelier = np.stack([x[:, 0] + x[:, 1], 2.0 * (x[:, 2] > 0) * (x[:, 3] > 0), x[:, 4] * x[:, 5]])
        y = (likelier + rng.gumbel(size=likelier.shape)).argmax(0)
        table = table.append_column("y", pa.array([f"class{c}" for c in y]))
    pq.write_table(table, path)


def run(*words: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "manyhot", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def main() -> None:
    rows, columns = (int(word) for word in [*sys.argv[1:], "100000", "50"][:2])
    print(machine())
    with scratch() as name:
        folder = Path(name)
        for file, count in {"rows": rows, "more": 4 * rows}.items():
            write(folder / f"{file}.parquet", count, columns)
        write(folder / "learned.parquet", LEARNED, columns, labels=True)
        sides: dict[str, list[float]] = {}
        most = dict.fromkeys(("network", "committee", "committee, 4 times the rows"), 0.0)
        for side, options in {"network": ["--members", "network"], "committee": []}.items():
            print(f"{side}: learned in {measured(fit(folder, side, options))[0]:.1f} s", end="; ")
            ensemble = json.loads((folder / side / "predictor.json").read_text())
            print(", ".join(f"{m['kind']} {m['weights']['y']:.2f}" for m in ensemble["members"]))
        for _ in range(REPEATS):
            for side in ("network", "committee"):
                seconds, memory = measured(answer(folder, side, "rows"))
                sides.setdefault(side, []).append(seconds)
                most[side] = max(most[side], memory)
                print(f"  {side}: {seconds:.1f} s, {memory:.0f} MB")
        most["committee, 4 times the rows"] = measured(answer(folder, "committee", "more"))[1]
        network, committee = (statistics.median(sides[side]) for side in ("network", "committee"))
        print(f"{rows:,} rows × {columns}: {committee:.1f} s ÷ {network:.1f} s = {committee / network:.2f}")
        print("; ".join(f"{side} {memory:.0f} MB" for side, memory in most.items()))


def fit(folder: Path, side: str, options: list[str]) -> subprocess.Popen[bytes]:
    return run("fit", folder / "learned.parquet", "--target", "y", "--out", folder / side, *options)


def answer(folder: Path, side: str, rows: str) -> subprocess.Popen[bytes]:
    out = folder / f"{side}-{rows}.parquet"
    return run("predict", folder / side, folder / f"{rows}.parquet", "--out", out, "--overwrite")


if __name__ == "__main__":
    main()
