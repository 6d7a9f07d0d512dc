"""Answering a long Parquet file into another: memory and time as its rows grow, and after a stop.

python benchmarks/parquet.py [ROWS]

`manyhot predict` on a quarter of ROWS (default: a million) of 100 columns, and on all of them; the ratio of
the largest memory, and of the seconds. Then the longer run again, killed half-way, and gone on with: its
answers must be those of the run that nobody stopped.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from race import machine, scratch

COLUMNS = 100
GROUP = 100_000  # rows of a group in the file


def write(path: Path, rows: int) -> None:
    """Write random numbers, and for training two targets that follow from the first columns."""
    rng = np.random.default_rng(0)
    writer = None
    for first in range(0, rows, GROUP):
        values = rng.normal(size=(min(GROUP, rows - first), COLUMNS))
        table = pa.table({f"c{i}": values[:, i] for i in range(COLUMNS)})
        if path.stem == "train":
            tags = [["big"] * int(v > 1) + ["low"] * int(v < 0) for v in values[:, 1]]
            table = table.append_column("sign", pa.array(np.where(values[:, 0] > 0, "plus", "minus")))
            table = table.append_column("tags", pa.array(tags))
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def predict(folder: Path, name: str, out: str, *more: str) -> subprocess.Popen[bytes]:
    words = ["predict", folder / "model", folder / name, "--out", folder / out, *more]
    return subprocess.Popen([sys.executable, "-m", "manyhot", *map(str, words)])


def measured(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return the seconds that a process took, and the most memory it held, in MB."""
    start, most = time.perf_counter(), 0.0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        most = max([most, *(float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.05)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, most


def main(rows: int) -> None:
    print(machine())
    with scratch() as name:
        folder = Path(name)
        for stem, count in (("train", 3_000), ("quarter", rows // 4), ("all", rows)):
            write(folder / f"{stem}.parquet", count)
        words = ["fit", folder / "train.parquet", "--target", "sign", "--target", "tags", "--effort", "fast"]
        words += ["--out", folder / "model", "--json"]
        subprocess.run([sys.executable, "-m", "manyhot", *map(str, words)], check=True, capture_output=True)
        found = {}
        for stem in ("quarter", "all"):
            found[stem] = measured(predict(folder, f"{stem}.parquet", f"{stem}-answers.parquet"))
            print(f"{stem}: {found[stem][0]:.1f} s, at most {found[stem][1]:,.0f} MB", flush=True)
        times, memory = (found["all"][i] / found["quarter"][i] for i in (0, 1))
        print(f"4 times the rows: {times:.2f} times the seconds, {memory:.2f} times the memory")
        stopped = predict(folder, "all.parquet", "again.parquet")
        time.sleep(found["all"][0] / 2)
        stopped.send_signal(signal.SIGKILL)
        stopped.wait()
        kept = len(list((folder / "again.parquet.parts").glob("*.parquet")))
        seconds, _ = measured(predict(folder, "all.parquet", "again.parquet", "--resume"))
        same = pq.read_table(folder / "again.parquet").equals(pq.read_table(folder / "all-answers.parquet"))
        print(f"killed with {kept} pieces done, gone on with: {seconds:.1f} s, the same answers: {same}")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1000000"])[0]))
