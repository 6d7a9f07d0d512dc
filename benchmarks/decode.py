"""Photos decoded per second, ours ÷ ImageFolder with Pillow in a DataLoader, with the same number of workers.

MANYHOT_DATA=… python benchmarks/decode.py [REPEATS [WORKERS]]

Both sides read the same copies of the car photos, a folder for each brand, and bring them to 128 × 128;
both run from listing the folder to the last picture, without imports, in turns. Ours gives uint8 and does
all that `fit` does on the way: it hashes every file and keeps the decoded pictures in a cache, which is
empty for the first pass and serves the second.
"""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

from race import by_hand, data, machine, scratch, timed

SIDE = 128


def ours(folder: Path) -> tuple[int, float]:
    """Return how many pictures were read, and the seconds it took."""
    import manyhot.data.inputs.images.reading  # noqa: F401  is loaded when the first picture is read
    from manyhot.data.inputs.images.images import ImageInputs
    from manyhot.data.sources.read import read

    start = time.perf_counter()
    table = read(folder)
    found = ImageInputs("image", (SIDE, SIDE), 3).read(table, cache=10.0)
    return len(found.x) - len(found.unreadable), time.perf_counter() - start


def side(folder: Path) -> tuple[int, float]:
    """Run the function above in a process of its own."""
    printed, _ = timed([sys.executable, __file__, "--side", str(folder)])
    count, seconds = printed.split()
    return int(count), float(seconds)


def folders(photos: Path, to: Path) -> None:
    """Copy the photos into a folder for each brand."""
    with (photos / "labels.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            brand = to / row["class_name"].split()[0]
            brand.mkdir(parents=True, exist_ok=True)
            shutil.copy(photos / row["image"], brand)


def main(repeats: int, workers: int) -> None:
    print(machine())
    os.environ["OMP_NUM_THREADS"] = str(workers)  # which manyhot takes for the number of its threads
    first, again = [], []
    with scratch() as name:
        folder = Path(name, "cars")
        folders(data("cars"), folder)
        for repeat in range(repeats):
            os.environ["MANYHOT_CACHE"] = f"{name}/cache-{repeat}"
            ((_, count, seconds),), _ = by_hand("decode", folder, workers)
            (num_first, cold), (num_again, warm) = side(folder), side(folder)
            assert count == num_first == num_again, f"{count}, {num_first} and {num_again} pictures"
            print(
                f"by hand {count / seconds:.0f} a second, ours {num_first / cold:.0f}, "
                f"again from the cache {num_again / warm:.0f}",
                flush=True,
            )
            first.append(seconds / cold)
            again.append(seconds / warm)
    for what, ratios in (("first pass", first), ("from the cache", again)):
        print(
            f"ratio, {what}: median {statistics.median(ratios):.2f} of {sorted(round(r, 2) for r in ratios)}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(*ours(Path(sys.argv[2])))
    else:
        numbers = [int(word) for word in sys.argv[1:]]
        main(*numbers, *(3, 2)[len(numbers) :])
