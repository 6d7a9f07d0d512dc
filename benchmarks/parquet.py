"""Answering a long Parquet file or CSV into another: memory and time as its rows grow, and after a stop.

python benchmarks/parquet.py [ROWS] [csv]

`manyhot predict` on a quarter of ROWS (default: a million) of 100 columns, and on all of them; the ratio of
the largest memory of its own (asked: 1.05), and of the seconds. A CSV is mapped, as where a machine has
little memory, and is answered twice, since the first run converts it. Then the longer run again, killed
half-way, and gone on with: its answers must be those of the run that nobody stopped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from race import machine, scratch

COLUMNS = 100
GROUP = 100_000  # rows of a group in the file
LITTLE = """
import sys
from manyhot.cli import main
from manyhot.data import disk
disk.half_of_memory = lambda: 0.01
sys.exit(main(sys.argv[1:]))
"""


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
        kind = pa.csv.CSVWriter if path.suffix == ".csv" else pq.ParquetWriter
        writer = writer or kind(path, table.schema)
        writer.write_table(table)
    writer.close()


def predict(folder: Path, name: str, out: str, *more: str) -> subprocess.Popen[bytes]:
    words = ["predict", folder / "model", folder / name, "--out", folder / out, *more]
    return subprocess.Popen([sys.executable, "-c", LITTLE, *map(str, words)])


def measured(process: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Return the seconds that a process took, and the most memory of its own, no page of a file, in MB."""
    start, most = time.perf_counter(), 0.0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        most = max([most, *(float(line.split()[1]) / 1e3 for line in lines if line.startswith("RssAnon"))])
        time.sleep(0.01)
    if process.returncode:
        sys.exit(process.returncode)
    return time.perf_counter() - start, most


def main(rows: int, ending: str) -> None:
    print(machine())
    with scratch() as name:
        folder = Path(name)
        os.environ["MANYHOT_CACHE"] = str(folder / "cache")
        write(folder / "train.parquet", 3_000)
        for stem, count in (("quarter", rows // 4), ("all", rows)):
            write(folder / f"{stem}.{ending}", count)
        words = ["fit", folder / "train.parquet", "--target", "sign", "--target", "tags", "--effort", "fast"]
        words += ["--out", folder / "model", "--json"]
        subprocess.run([sys.executable, "-m", "manyhot", *map(str, words)], check=True, capture_output=True)
        found = {}
        for stem in ("quarter", "all"):
            if ending == "csv":
                before = measured(predict(folder, f"{stem}.{ending}", f"before-{stem}.{ending}"))
                print(f"{stem}, converted first: {before[0]:.1f} s, at most {before[1]:,.0f} MB", flush=True)
            found[stem] = measured(predict(folder, f"{stem}.{ending}", f"{stem}-answers.{ending}"))
            print(f"{stem}: {found[stem][0]:.1f} s, at most {found[stem][1]:,.0f} MB", flush=True)
        times, memory = (found["all"][i] / found["quarter"][i] for i in (0, 1))
        print(f"4 times the rows: {times:.2f} times the seconds, {memory:.2f} times the memory")
        stopped = predict(folder, f"all.{ending}", f"again.{ending}")
        time.sleep(found["all"][0] / 2)
        stopped.send_signal(signal.SIGKILL)
        stopped.wait()
        kept = len(list((folder / f"again.{ending}.parts").glob("*.parquet")))
        seconds, _ = measured(predict(folder, f"all.{ending}", f"again.{ending}", "--resume"))
        again, at_once = (folder / f"{stem}.{ending}" for stem in ("again", "all-answers"))
        same = again.read_bytes() == at_once.read_bytes()
        print(f"killed with {kept} pieces done, gone on with: {seconds:.1f} s, the same answers: {same}")


if __name__ == "__main__":
    main(int((sys.argv[1:] or ["1000000"])[0]), (sys.argv[2:] or ["parquet"])[0])
