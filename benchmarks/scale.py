"""Answering many inputs into a folder: killed workers and drivers, a broken input, memory, two workers.

python benchmarks/scale.py kill [ENGINE] [TRIALS] [ROWS]
python benchmarks/scale.py broken
python benchmarks/scale.py memory [ROWS]
python benchmarks/scale.py two [ROWS]

`kill`: 8 shards of ROWS rows and 300 photos are answered by two workers of an engine; a worker, the driver or
both get SIGKILL at a random moment, and the same command is given until it ends well. Every row must be there
once, with the answers of one process that nobody killed: tables bit for bit, photos within 1e-5.
`broken`: a shard that is cut short must cost itself alone. `memory`: the most that a worker holds, for 80
shards of ROWS rows beside 8. `two`: how much sooner two workers are done than one, for ROWS rows in 8 shards.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from race import machine, scratch

COLUMNS = 50
SHARDS, PHOTOS = 8, 300


def table(rows: int, first: int, labels: bool = False) -> pa.Table:
    values = np.random.default_rng(first).normal(size=(rows, COLUMNS)).astype(np.float32)
    columns = {f"c{i}": values[:, i] for i in range(COLUMNS)} | {"id": np.arange(first, first + rows)}
    if labels:
        columns |= {"sign": np.where(values[:, 0] > 0, "plus", "minus")}
        columns |= {"tags": pa.array([["big"] * int(v > 1) + ["low"] * int(v < 0) for v in values[:, 1]])}
    return pa.table(columns)


def shards(folder: Path, count: int, rows: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pq.write_table(table(rows, number * rows), folder / f"part-{number:05d}.parquet")
    return folder


def photos(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        pixels = rng.integers(0, 120, (96, 96, 3), dtype=np.uint8)
        pixels[:, (number % 2) * 48 : (number % 2) * 48 + 30] = 250
        path = folder / "ab"[number % 2] / f"{number:03d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def manyhot(*words: object, **how: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "manyhot", *map(str, words)], **how)  # type: ignore[call-overload]


def models(folder: Path) -> tuple[Path, Path]:
    pq.write_table(table(3_000, 10**9, labels=True), folder / "train.parquet")
    out = folder / "tables", folder / "pictures"
    quick = ("--effort", "fast", "--epochs", 1)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    targets = ("--target", "sign", "--target", "tags", "--kind", "id=ignore")
    manyhot("fit", folder / "train.parquet", *targets, *quick, "--out", out[0], **quiet).wait()
    manyhot("fit", photos(folder / "photos"), *quick, "--size", 32, "--out", out[1], **quiet).wait()
    for path in out:
        assert manyhot("export", path, **quiet).wait() == 0  # workers then start without torch
    return out


def children(pid: int) -> list[int]:
    """Return the processes below one, and theirs."""
    found, parents = [], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    ahead = [pid]
    while ahead:
        above = ahead.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found += below
        ahead += below
    return found


def is_worker(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(mark in words for mark in (b"serve()", b"ray::", b"spawn_main"))


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def trial(words: list[object], which: str, after: float, rng: np.random.Generator) -> tuple[int, int]:
    """Run a command, kill as told, run it again until it ends well; return the runs and what was killed."""
    killed = 0
    for run in range(1, 6):
        process = manyhot(*words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if run == 1:
            deadline = time.monotonic() + after
            while time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.02)
            workers = [pid for pid in children(process.pid) if is_worker(pid)]
            if which in ("worker", "both") and workers:
                kill(int(rng.choice(workers)))
                killed += 1
            if which in ("driver", "both") and process.poll() is None:
                process.kill()
                killed += 1
        if process.wait() == 0:
            return run, killed
    return 0, killed


def same_tables(out: Path, whole: Path) -> bool:
    return all(
        (out / path.name).is_file() and pq.read_table(out / path.name).equals(pq.read_table(path))
        for path in whole.glob("*.parquet")
    ) and len([*out.glob("*.parquet")]) == len([*whole.glob("*.parquet")])


def same_photos(out: Path, whole: Path) -> bool:
    found, wanted = (pq.read_table(folder) for folder in (out, whole))
    if found.column_names != wanted.column_names or len(found) != len(wanted):
        return False
    near = [
        np.abs(np.subtract(found[name].to_pylist(), wanted[name].to_pylist())).max() <= 1e-5
        if pa.types.is_floating(wanted[name].type)
        else found[name].equals(wanted[name])
        for name in wanted.column_names
    ]
    return all(near)


def kills(folder: Path, engine: str, trials: int, rows: int) -> None:
    both = models(folder)
    inputs = shards(folder / "shards", SHARDS, rows), folder / "photos"
    whole = folder / "whole-0", folder / "whole-1"
    seconds = []
    for model, source, out in zip(both, inputs, whole, strict=True):
        began = time.monotonic()
        assert manyhot("predict", model, source, "--out", out, "--workers", 1).wait() == 0
        seconds.append(time.monotonic() - began)
    rng = np.random.default_rng()  # other moments each time
    good = hit = most = 0
    for number in range(trials):
        which = ("worker", "driver", "both")[number % 3]
        right = True
        for model, source, one, same, long in zip(
            both, inputs, whole, (same_tables, same_photos), seconds, strict=True
        ):
            out = folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            words = ["predict", model, source, "--out", out, "--workers", 2, "--engine", engine]
            runs, killed = trial(words, which, rng.random() * long, rng)
            right &= runs > 0 and (out / "_DONE").is_file() and same(out, one)
            right &= not [path for path in out.rglob("*") if path.suffix in (".part", ".parts")]
            hit, most = hit + killed, max(most, runs)
        good += right
        print(f"{engine} {number + 1}: {which} killed, {'the same' if right else 'NOT the same'}", flush=True)
    print(
        f"{engine}: {good} of {trials} trials end with every row once and the same answers; {hit} processes "
        f"killed, at most {most} runs of the command"
    )


def broken(folder: Path) -> None:
    model, source = models(folder)[0], shards(folder / "shards", SHARDS, 5_000)
    path = source / "part-00003.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    words = ["predict", model, source, "--out", folder / "out", "--workers", 2]
    status = manyhot(*words).wait()
    there = len([*(folder / "out").glob("*.parquet")])
    done = (folder / "out" / "_DONE").exists()
    path.write_bytes(data)
    again = manyhot(*words).wait()
    rows = json.loads((folder / "out" / "_DONE").read_text())["rows"]
    print(
        f"broken: status {status}, {there} of {SHARDS} answered, _DONE {done}; mended: {again}, {rows:,} rows"
    )


def memory(folder: Path, rows: int) -> None:
    model = models(folder)[0]
    found = {}
    for count in (8, 80):
        source = shards(folder / f"shards-{count}", count, rows)
        most: dict[int, float] = {}
        process = manyhot("predict", model, source, "--out", folder / f"out-{count}", "--workers", 1)

        def watch(process: subprocess.Popen[bytes] = process, most: dict[int, float] = most) -> None:
            while process.poll() is None:
                for pid in filter(is_worker, children(process.pid)):
                    try:
                        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    except OSError:
                        continue
                    held = [float(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")]
                    most[pid] = max([most.get(pid, 0), *held])
                time.sleep(0.05)

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert process.wait() == 0
        watcher.join()
        found[count] = max(most.values())
        print(f"{count} shards: a worker holds at most {found[count]:,.0f} MB", flush=True)
    print(f"memory: 80 shards take {found[80] / found[8]:.3f} times that of 8")


def two(folder: Path, rows: int) -> None:
    model, source = models(folder)[0], shards(folder / "shards", SHARDS, rows // SHARDS)
    seconds = {}
    for workers in (1, 2):
        began = time.monotonic()
        words = ["predict", model, source, "--out", folder / f"out-{workers}", "--workers", workers]
        assert manyhot(*words, env={**os.environ, "OMP_NUM_THREADS": "1"}).wait() == 0
        seconds[workers] = time.monotonic() - began
        print(f"{workers} workers: {seconds[workers]:.1f} s", flush=True)
    print(f"two: {seconds[1] / seconds[2]:.2f} times as fast as one")


def main(what: str, *more: str) -> None:
    print(machine())
    with scratch() as name:
        folder = Path(name)
        match what:
            case "kill":
                engine, trials, rows = (*more, *("local", "20", "40000")[len(more) :])
                kills(folder, engine, int(trials), int(rows))
            case "broken":
                broken(folder)
            case "memory":
                memory(folder, int((*more, "20000")[0]))
            case "two":
                two(folder, int((*more, "4000000")[0]))
            case _:
                sys.exit(__doc__)


if __name__ == "__main__":
    main(*(sys.argv[1:] or [""]))
