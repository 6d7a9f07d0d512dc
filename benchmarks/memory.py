"""A table larger than memory: what it takes, whether its weights are those in memory, how fast it goes.

python benchmarks/memory.py [ROWS] [COLUMNS] [MEMBERS]     # 1,000,000 × 50 and the network alone, unless said

A Parquet file of ROWS × COLUMNS float32 numbers and three targets is made by blocks. `fit --effort fast`
learns from it with `--set memory` such that the table takes four times as much, and again with all it wants.
Compared are the anonymous memory of the process (RssAnon, every 5 ms: what is its own, and no page of a
mapped file), the weights, and the seconds of the last epoch. Then two processes under torchrun share the
table: their proportional memory (Pss) is compared with that of one process that holds it. At last a run of
the mapped table is killed after its first epoch and goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from race import machine, scratch

BLOCK = 1 << 17
MOST_BYTES_A_ROW, MOST_MB = 64, 700
TARGETS = ("kind", "big", "late")


def make(path: Path, rows: int, columns: int) -> None:
    """Write a table, a block at a time."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(columns, 3)).astype(np.float32) / np.sqrt(columns)
    writer = None
    for first in range(0, rows, BLOCK):
        x = rng.normal(size=(min(BLOCK, rows - first), columns)).astype(np.float32)
        z = x @ weights + 0.1 * rng.normal(size=(len(x), 3)).astype(np.float32)
        cells = {f"f{number}": x[:, number] for number in range(columns)}
        cells["kind"] = np.array(["a", "b", "c"])[np.digitize(z[:, 0], [-0.5, 0.5])]
        cells["big"] = np.where(z[:, 1] > 0, "yes", "no")
        cells["late"] = np.where(z[:, 2] > 0.5, "yes", "no")
        table = pa.table(cells)
        writer = writer or pa.parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def number_in(path: str, name: str) -> float:
    """Return a number of MB that the kernel tells of a process; 0 where it has just ended."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def run(words: Sequence[str], until: Path | None = None, shared: bool = False) -> tuple[float, float]:
    """Run a command; return the most memory of a process of it in MB, and its seconds.

    With `until` it is killed once this file has a line of an epoch.
    """
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    began, most = time.perf_counter(), 0.0
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", *words],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        time.sleep(0.1 if shared else 0.005)
        if shared:  # the processes that torchrun started, or the one
            found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True)
            pids = found.stdout.split() if "torch.distributed.run" in words else [str(process.pid)]
            own = [number_in(f"/proc/{pid}/smaps_rollup", "Pss:") for pid in pids]
        else:
            own = [number_in(f"/proc/{process.pid}/status", "RssAnon:")]
        most = max([most, *own])
        if until is not None and until.exists() and '"epoch"' in until.read_text():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return most, time.perf_counter() - began
    if process.returncode:
        sys.exit(f"{' '.join(words)} failed")
    return most, time.perf_counter() - began


def weights(model: Path) -> str:
    return hashlib.sha256((model / "weights.safetensors").read_bytes()).hexdigest()[:16]


def epoch_seconds(model: Path) -> float:
    """Return how long the last epoch took."""
    lines = [json.loads(line) for line in (model / "history.jsonl").read_text().splitlines()]
    ends = [line["seconds"] for line in lines if line["kind"] == "epoch"]
    return float(ends[-1] - ends[-2])


def main(rows: int, columns: int, members: str) -> None:
    print(machine("torch", "pyarrow", "numpy"))
    with scratch() as folder:
        os.environ["MANYHOT_CACHE"] = str(Path(folder, "cache"))
        data = Path(folder, "table.parquet")
        make(data, rows, columns)
        size = rows * columns * 4
        fit = ["fit", str(data), "--effort", "fast", "--epochs", "2", "--members", members]
        fit += [word for name in TARGETS for word in ("--target", name)]
        little, plenty = f"memory={size / 4e9:.4f}", "memory=1000"

        def words(out: str, memory: str, many: bool = False) -> list[str]:
            start = ["-m", "torch.distributed.run", "--nproc-per-node", "2"] if many else []
            return [*start, "-m", "manyhot", *fit, "--out", str(Path(folder, out)), "--set", memory]

        found = {}
        for out, memory in (("mapped", little), ("mapped again", little), ("held", plenty)):
            found[out] = run(words(out, memory))
            print(
                f"{out:13s} peak {found[out][0]:,.0f} MB of its own, {found[out][1]:.0f} s, "
                f"epoch {epoch_seconds(Path(folder, out)):.1f} s, weights {weights(Path(folder, out))}"
            )
        allowed = MOST_MB + rows * MOST_BYTES_A_ROW / 1e6
        most = max(found["mapped"][0], found["mapped again"][0])
        print(f"{rows:,} rows × {columns}, {size / 1e9:.2f} GB, four times --set {little}")
        print(f"weights equal: {len({weights(Path(folder, out)) for out in found}) == 1} (asked: True)")
        print(f"peak of anonymous memory: {most:,.0f} MB (asked: {allowed:,.0f}, 64 bytes a row + 700 MB)")
        ratio = epoch_seconds(Path(folder, "mapped again")) / epoch_seconds(Path(folder, "held"))
        print(f"warm epoch, mapped ÷ held: {ratio:.2f} (asked: 1.3)")
        alone, _ = run(words("alone", plenty), shared=True)
        each, _ = run(words("two", little, many=True), shared=True)
        print(f"memory of each of two ÷ of one that holds it: {each / alone:.2f} (asked: 0.7)")
        killed = Path(folder, "killed")
        run(words("killed", little), until=killed / "history.jsonl")
        run([*words("killed", little), "--resume"])
        equal = weights(killed) == weights(Path(folder, "held"))
        print(f"killed and resumed: weights equal {equal} (asked: True)")
        left = [path for path in Path(folder, "cache", "tables").iterdir() if path.suffix == ".array"]
        print(f"prepared rows left on the disk: {len(left)} (asked: 0)")
        shutil.rmtree(Path(folder, "cache"))


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        int(float(given[0])) if given else 1_000_000,
        int(given[1]) if len(given) > 1 else 50,
        given[2] if len(given) > 2 else "network",
    )
