"""What this machine has: cores, memory, disk, what its processor can do, and which card; without torch."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

CGROUP = Path("/sys/fs/cgroup")  # the limits of a container (cgroup v2)
DRIVER = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
DRIVER_SECONDS = 10  # in which it answers; the first time after a start it sets the card up
# Asks the driver for its version, and for the first card that a process may use: bytes, capability, name.
# 75 is CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR.
ASK = """import ctypes, sys
driver, name = ctypes.CDLL(sys.argv[1]), ctypes.create_string_buffer(256)
version, card, major, memory = ctypes.c_int(), ctypes.c_int(), ctypes.c_int(), ctypes.c_size_t()
failed = driver.cuInit(0) or driver.cuDriverGetVersion(ctypes.byref(version))
failed = failed or driver.cuDeviceGet(ctypes.byref(card), 0)
failed = failed or driver.cuDeviceTotalMem_v2(ctypes.byref(memory), card)
failed = failed or driver.cuDeviceGetAttribute(ctypes.byref(major), 75, card)
failed = failed or driver.cuDeviceGetName(name, len(name), card)
print(version.value // 1000, memory.value, major.value, name.value.decode("ascii", "ignore"))
sys.exit(failed)"""


class Device(NamedTuple):
    """What computes, as far as settings follow from it; `device.describe` has it from torch.

    kind    "cpu", "cuda" or "mps"
    name    what its maker calls it
    memory  GB of its own, 0 where that is not known
    halves  the numbers of 16 bits that it multiplies faster than float32, the best first
    tf32    whether it multiplies float32 faster with shorter fractions
    unused  which card is here besides, and why torch cannot take it
    """

    kind: str
    name: str = ""
    memory: float = 0.0
    halves: tuple[str, ...] = ()
    tf32: bool = False
    unused: str = ""

    def computes(self, precision: str) -> bool:
        """Tell whether it has numbers of such a precision, and gains by them where they are not float32."""
        return precision in ("float32", *self.halves) or (precision == "tf32" and self.tf32)


def processor() -> Device:
    """Describe the processor."""
    return Device("cpu", halves=("bfloat16",) if cpu_flags() & {"amx_bf16", "avx512_bf16"} else ())


def graphics_card(name: str, memory: int, capability: int) -> Device:
    """Describe a card of NVIDIA's by its bytes and the first number of its compute capability."""
    # Ampere brought bfloat16 and tf32, Volta products of float16.
    halves = ("bfloat16", "float16") if capability >= 8 else ("float16",) if capability == 7 else ()
    return Device("cuda", name, round(memory / 1e9, 1), halves, capability >= 8)


def automatic() -> Device:
    """Describe what torch takes here where it is not told.

    It says the same as `device.described` without loading torch, which takes seconds: by the driver of a
    card, and by what the torch that is installed says of its build.
    """
    version, cuda = _torch()
    card, newest = _card() or (None, 0)
    if card is not None and cuda and int(cuda) <= newest:
        return card
    if card is not None and version:
        why = f"is made for CUDA {cuda}, its driver for {newest} at most" if cuda else "has no CUDA in it"
        unused = f"{card.name} is not used: torch {version} {why} (pytorch.org/get-started has other builds)"
        return processor()._replace(unused=unused)
    return Device("mps") if (platform.system(), platform.machine()) == ("Darwin", "arm64") else processor()


def _torch() -> tuple[str, str]:
    """Return the version of the torch that is installed, and the CUDA that it is made for; "" for none."""
    found = importlib.util.find_spec("torch")
    path = Path(found.origin).with_name("version.py") if found and found.origin else None
    if path is None or not path.exists():
        return "", ""
    said = dict(re.findall(r"^(__version__|cuda)\b.*= '(\d+[^']*)'", path.read_text(), re.MULTILINE))
    return said.get("__version__", ""), said.get("cuda", "").split(".")[0]


@cache
def _card() -> tuple[Device, int] | None:
    """Describe the card that a process gets which may choose, and return the newest CUDA of its driver.

    CUDA_VISIBLE_DEVICES, and the part of a card that is shared out (MIG), are obeyed as torch does, since it
    is the same driver that answers. It is asked by a process of its own: a driver that hangs hangs alone, and
    who has asked may fork.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None  # no Python that could be started, but the program of somebody
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        ctypes.CDLL(DRIVER)  # nothing is started where there is none
        words = [sys.executable, "-I", "-S", "-c", ASK, DRIVER]
        done = subprocess.run(words, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=True)
        version, memory, capability, name = done.stdout.split(maxsplit=3)
        return graphics_card(name.strip(), int(memory), int(capability)), int(version)
    return None


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
