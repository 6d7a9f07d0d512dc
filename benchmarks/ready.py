"""How soon a server answers: from its start until it is ready, as multiples of importing what it needs.

python benchmarks/ready.py MODEL [REPEATS]

MODEL is a bundle with its model.onnx, or the file. The three commands run in turns; the first round, which
also fills the caches, does not count. `import starlette` imports next to nothing, so the second ratio, to
what any server must import, says more.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from load import free_port, graph_of, start, wait_until_ready
from race import machine, scratch, timed

IMPORTS = {
    "import onnxruntime, starlette": "import onnxruntime, starlette",
    "what any server imports": "import onnxruntime, starlette.applications, uvicorn",
}


def ready(model: Path, log: Path) -> float:
    """Return the seconds until a server says that it is ready; then end it."""
    port, begun = free_port(), time.perf_counter()
    process = start(model, port, log)
    try:
        wait_until_ready(process, port, log)
        return time.perf_counter() - begun
    finally:
        process.kill()
        process.wait()


def main(model: str, repeats: str = "7") -> None:
    print(machine("onnxruntime", "starlette", "uvicorn"))
    graph_of(Path(model))
    seconds: dict[str, list[float]] = {name: [] for name in ("ready", *IMPORTS)}
    with scratch() as name:
        for _ in range(int(repeats) + 1):
            seconds["ready"].append(ready(Path(model), Path(name) / "server.log"))
            for what, code in IMPORTS.items():
                seconds[what].append(timed([sys.executable, "-c", code])[1])
    for what in IMPORTS:
        median, least = (
            each(seconds["ready"][1:]) / each(seconds[what][1:]) for each in (statistics.median, min)
        )
        print(f"ready ÷ {what}: {median:.2f} by medians, {least:.2f} by the least (n = {repeats})")
    print("; ".join(f"{what} {statistics.median(each[1:]):.2f} s" for what, each in seconds.items()))


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
