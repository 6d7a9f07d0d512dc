"""What the benchmarks share: where the data are, how the two sides are run, how a claim is printed.

Both sides of a claim run in one call, one after the other, each in a process of its own.
"""

from __future__ import annotations

import gzip
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent


def data(name: str) -> Path:
    """Return a folder of the data that MANYHOT_DATA holds; stop with the reason where it is unset."""
    root = os.environ.get("MANYHOT_DATA")
    if not root:
        sys.exit("set MANYHOT_DATA to a folder that holds mnist/MNIST/raw as distributed, and cars")
    return Path(root) / name


def unzipped_mnist(folder: Path) -> Path:
    """Unzip MNIST for torchvision, which does not read it as distributed; return the folder above."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in data("mnist").glob("MNIST/raw/*.gz"):
        with gzip.open(path) as source, (raw / path.stem).open("wb") as target:
            shutil.copyfileobj(source, target)
    return folder


def by_hand(script: str, *arguments: object) -> tuple[list[tuple[int, float, float]], float]:
    """Run a hand-written script; return (epoch, score, seconds) per epoch and the whole command's seconds."""
    words = [sys.executable, str(HERE / "by_hand" / f"{script}.py"), *map(str, arguments)]
    printed, whole = timed(words)
    lines = (line.split() for line in printed.splitlines())
    return [(int(epoch), float(score), float(seconds)) for epoch, score, seconds, *_ in lines], whole


def timed(words: list[str]) -> tuple[str, float]:
    """Run a command; return what it printed and the seconds it took. Ends with its errors where it fails."""
    start = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(words)} failed:\n{done.stderr}")
    return done.stdout, time.perf_counter() - start


def first_at(epochs: list[tuple[int, float, float]], score: float) -> float:
    """Return the seconds at which a score was first reached; infinity where it never was."""
    return min((seconds for _, found, seconds in epochs if found >= score), default=float("inf"))


def machine(*packages: str) -> str:
    """Name the machine and the versions that a ratio was measured with."""
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    cores = len(os.sched_getaffinity(0))
    versions = (f"{name} {version(name)}" for name in packages or ("torch", "scikit-learn"))
    return f"{cpu}, {cores} cores; {', '.join(versions)}"


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a temporary folder for models and unzipped data."""
    return tempfile.TemporaryDirectory(prefix="manyhot-bench-")
