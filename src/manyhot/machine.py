"""What this machine has: cores, memory, disk, and what its processor can do; and how a card is described."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")  # the limits of a container (cgroup v2)


class Device(NamedTuple):
    """What computes, as far as settings follow from it; `device.describe` describes a card.

    kind    "cpu", "cuda" or "mps"
    name    what its maker calls it
    memory  GB of its own, 0 where that is not known
    halves  the numbers of 16 bits that it multiplies faster than float32, the best first
    tf32    whether it multiplies float32 faster with shorter fractions
    """

    kind: str
    name: str = ""
    memory: float = 0.0
    halves: tuple[str, ...] = ()
    tf32: bool = False


def processor() -> Device:
    """Describe the processor."""
    return Device("cpu", halves=("bfloat16",) if cpu_flags() & {"amx_bf16", "avx512_bf16"} else ())


def num_cores() -> int:
    """Return the cores this process may use: OMP_NUM_THREADS where it is set, else those it is given."""
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return given_cores()


def given_cores() -> int:
    """Return the cores that this machine gives to all processes that start here.

    In a container these are fewer than the machine's: some of its cores (cpuset), or a part of their time, as
    `docker run --cpus` and Kubernetes give it, which counts as so many cores, rounded up.
    """
    try:
        given = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        given = os.cpu_count() or 1
    quota, _, period = _limit("cpu.max").partition(" ")  # microseconds in so many
    return max(1, min(given, -(-int(quota) // int(period)))) if quota.isdigit() else given


def _limit(name: str) -> str:
    """Return a limit of this container as the kernel writes it; "max" is none."""
    path = CGROUP / name
    return path.read_text().strip() if path.exists() else "max"


def half_of_memory() -> float:
    """Return half of the memory that this process may use, in GB."""
    try:
        amount = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not on Windows
        amount = 8 << 30
    limit = _limit("memory.max")
    return round((min(amount, int(limit)) if limit.isdigit() else amount) / 2e9, 1)


def cache_folder() -> Path | None:
    """Return the folder for what can be made again, None where there is no home for it.

    MANYHOT_CACHE names it, else it is where the system keeps such things.
    """
    if os.environ.get("MANYHOT_CACHE"):
        return Path(os.environ["MANYHOT_CACHE"]).absolute()
    try:
        home = Path.home()
    except RuntimeError:
        return None
    places = {
        "Windows": os.environ.get("LOCALAPPDATA", ""),
        "Darwin": str(home / "Library" / "Caches"),
    }
    place = Path(places.get(platform.system(), os.environ.get("XDG_CACHE_HOME", "")))
    return (place if place.is_absolute() else home / ".cache") / "manyhot"


def tenth_of_disk() -> float:
    """Return a tenth of what is free on the disk of `cache_folder`, at most 10, in GB."""
    folder = cache_folder()
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), None) if folder else None
    return round(min(10.0, shutil.disk_usage(there).free / 1e10), 1) if there else 0.0


def cpu_flags() -> frozenset[str]:
    """Return what the processor says it can do, nothing where it does not say."""
    path = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not path.exists():
        return frozenset()
    lines = (line for line in path.read_text().splitlines() if line.startswith("flags"))
    return frozenset(next(lines, "").split())
