"""Data that comes with a dependency, written out as people have it: pictures and a table.

`cli.demo` and the tests use it.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

# What is true of the shape of each digit as most people write it.
STROKES = {
    0: ("loop", "curve"),
    1: ("straight", "open"),
    2: ("curve", "straight", "open"),
    3: ("curve", "open"),
    4: ("straight", "corner"),
    5: ("straight", "curve", "corner", "open"),
    6: ("loop", "curve"),
    7: ("straight", "corner", "open"),
    8: ("loop", "curve", "crossing"),
    9: ("loop", "straight"),
}


def write_digits(folder: Path, seed: int = 0, empty: float = 0.1) -> Path:
    """Write scikit-learn's 1,797 handwritten digits as PNG files and labels.csv; return the table's path.

    The table has a multi-class column (`digit`), a binary one (`even`) and a multi-label one
    (`strokes`). A share `empty` of all label cells is left out, as in tables that people have.

    Source: Alpaydin and Kaynak 1998, "Optical Recognition of Handwritten Digits", 8×8 grey levels.
    """
    from sklearn.datasets import load_digits  # takes a second, so only where it is wanted

    digits = load_digits()
    rng = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    path = folder / "labels.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "digit", "even", "strokes"])
        for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            name = f"images/{number:04d}.png"
            Image.fromarray((pixels * 255 / 16).round().astype(np.uint8)).save(folder / name)
            cells = [str(digit), "yes" if digit % 2 == 0 else "no", ";".join(STROKES[int(digit)])]
            writer.writerow([name, *("" if rng.random() < empty else cell for cell in cells)])
    return path
