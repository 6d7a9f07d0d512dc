"""What a server adds to the model: `manyhot serve` beside a bare loop around onnxruntime, one JPEG a request.

python benchmarks/serving.py MODEL [PHOTOS] [SECONDS] [ROUNDS]

MODEL is a bundle with its model.onnx, or the file; PHOTOS a folder (default: cars of MANYHOT_DATA), whose
first 50 JPEGs are sent in turn. The bare process decodes with Pillow, resizes with Pillow and calls
onnxruntime picture by picture. It and the server stay in memory all the time, and only one of them works:

- requests per second of 16 connections, against a bare process of as many such loops as there are cores,
  one thread to a session, while the load generator is idle;
- the median time of a request of one connection, against that of one such loop with a session of one
  thread, and with a session of all cores.

Each number is the median of ROUNDS (5) of SECONDS (5) each; a round is bare, server, bare, and its ratio is
to the mean of the two. All ratios are server ÷ bare: requests are to be many and times short.
"""

from __future__ import annotations

import io
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from load import Server, generator, graph_of, load, photos_in, served
from race import data, machine, scratch

CONNECTIONS = 16


def bare(graph: str, *photos: str) -> None:
    """Answer orders from standard input, such as `2 1 5`: 2 loops, sessions of 1 thread, 5 seconds."""
    import os

    import numpy as np
    import onnxruntime
    from PIL import Image

    def session(threads: int) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    sessions = {1: session(1)}
    files = [Path(photo).read_bytes() for photo in photos]
    _, height, width, channels = sessions[1].get_inputs()[0].shape
    mode = "L" if channels == 1 else "RGB"

    def answer(model: Any, file: bytes) -> None:
        with Image.open(io.BytesIO(file)) as image:
            small = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR)
        model.run(None, {"x": np.asarray(small).reshape(1, height, width, channels)})

    def loop(model: Any, end: float, times: list[float]) -> None:
        at = 0
        while (start := time.perf_counter()) < end:
            answer(model, files[at % len(files)])
            times.append(time.perf_counter() - start)
            at += 1

    print(len(os.sched_getaffinity(0)), flush=True)
    for line in sys.stdin:
        loops, threads, seconds = int(line.split()[0]), int(line.split()[1]), float(line.split()[2])
        if threads not in sessions:
            sessions[threads] = session(threads)
        model = sessions[threads]
        answer(model, files[0])
        times: list[float] = []
        begun = time.perf_counter()
        work = [threading.Thread(target=loop, args=(model, begun + seconds, times)) for _ in range(loops)]
        for each in work:
            each.start()
        for each in work:
            each.join()
        rate = len(times) / (time.perf_counter() - begun)
        print(json.dumps([rate, statistics.median(times) * 1e3]), flush=True)


class Bare:
    """The bare process, as the other side of a round."""

    def __init__(self, graph: Path, photos: list[Path]) -> None:
        words = [sys.executable, __file__, "--bare", str(graph), *map(str, photos)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True)
        self.cores = int(self._line())

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline() or sys.exit("the bare process ended")

    def work(self, loops: int, threads: int, seconds: float) -> tuple[float, float]:
        """Return pictures per second, and the median of the milliseconds of one."""
        assert self.process.stdin
        self.process.stdin.write(f"{loops} {threads} {seconds}\n")
        self.process.stdin.flush()
        rate, median = json.loads(self._line())
        return rate, median


def compare(
    what: str, unit: str, rounds: int, server: Callable[[], float], other: Callable[[], float]
) -> None:
    """Print the ratio of the two sides, server ÷ bare."""
    ratios, ours, theirs = [], [], []
    for _ in range(rounds):
        before, ran, after = other(), server(), other()
        ours.append(ran)
        theirs += [before, after]
        ratios.append(ran / ((before + after) / 2))
    print(
        f"{what}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) of bare; "
        f"{statistics.median(ours):.1f} and {statistics.median(theirs):.1f} {unit} (n = {rounds})",
        flush=True,
    )


def run(server: Server, alone: Bare, photos: list[Path], seconds: float, rounds: int, folder: Path) -> None:
    cores = alone.cores

    def asked(connections: int, which: int) -> Callable[[], float]:
        return lambda: load(server.port, photos, connections, seconds, folder)[which]

    def worked(loops: int, threads: int, which: int) -> Callable[[], float]:
        return lambda: alone.work(loops, threads, seconds)[which]

    asked(CONNECTIONS, 0)()  # warms up
    requests = f"{CONNECTIONS} connections, requests ÷ pictures of {cores} loops"
    compare(requests, "per second", rounds, asked(CONNECTIONS, 0), worked(cores, 1, 0))
    for threads in dict.fromkeys((1, cores)):
        one = f"1 connection, median time ÷ that of a loop with a session of {threads}"
        compare(one, "ms", rounds, asked(1, 1), worked(1, threads, 1))


def main(model: str, photos: str = "", seconds: str = "5", rounds: str = "5") -> None:
    print(f"{machine('onnxruntime', 'pillow', 'starlette', 'uvicorn')}; load by {generator()}")
    found = photos_in(Path(photos) if photos else data("cars"))
    with scratch() as name, served(Path(model), Path(name) / "server.log") as server:
        alone = Bare(graph_of(Path(model)), found)
        try:
            run(server, alone, found, float(seconds), int(rounds), Path(name))
        finally:
            alone.process.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        bare(*sys.argv[2:])
    elif 2 <= len(sys.argv) <= 5:
        main(*sys.argv[1:])
    else:
        sys.exit(__doc__)
