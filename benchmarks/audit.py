"""Wrong labels found by `manyhot.audit`: labels are changed, and looked for in the top as many of a list.

MANYHOT_DATA=… python benchmarks/audit.py [CASE …]

Label errors (each a twentieth of the rows, seed 0):
  random    12,000 digits of MNIST, 600 labels changed to any other (asked: 0.95 in the top 600)
  confused  the same, changed to the class that each is most taken for by a forest (0.85)
  removed   row A's tags (d, d + 10 and d + 50 of digit d), one removed in 600 rows (0.80 in its own list)
  yeast+ yeast- scene+ scene-  a tag added, or removed, in a twentieth of the rows: not behind the softmin of
            out-of-fold answers of a forest of extra trees
and the number of errors that is estimated, over the number that were changed (a third, either way).
copies: 25 of Corel's photos for each of JPEG of quality 40, half size, grey, a crop of 15 %, mirrored and
with a border, beside all originals: how many are found (0.95), and wrong ones among the first 100 pairs (2).
"""

from __future__ import annotations

import io
import shutil
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from race import data, machine

ROWS, SHARE = 12_000, 20


def digits(rows: int = ROWS):
    """Return some digits of MNIST's training set, and their labels."""
    import manyhot

    table = manyhot.read(data("mnist/MNIST/raw"))
    some = table.take(np.random.default_rng(1).permutation(len(table))[: 2 * rows])
    train = np.arange(rows)
    some = some.take(train)
    return some.pixels, np.array([int(cell) for cell in some.column("label").to_pylist()])


def random_errors(y: np.ndarray, rows: np.ndarray, random: np.random.Generator, x: np.ndarray) -> np.ndarray:
    return (y[rows] + random.integers(1, 10, len(rows))) % 10


def confused_errors(
    y: np.ndarray, rows: np.ndarray, random: np.random.Generator, x: np.ndarray
) -> np.ndarray:
    """Change each to the class that a forest finds second likeliest, or likeliest if that is another."""
    p = forest(x.reshape(len(x), -1), y, random)
    p[np.arange(len(y)), y] = -1
    return p[rows].argmax(axis=1)


def forest(x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the out-of-fold probabilities of extra trees."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import cross_val_predict

    trees = ExtraTreesClassifier(200, n_jobs=2, random_state=0)
    return cross_val_predict(trees, x, y, cv=5, method="predict_proba")


def of_digits(change):
    """Return the table, the schema, the target, the rows changed, and which list they are to be in."""
    import manyhot

    random = np.random.default_rng(0)
    x, y = digits()
    rows = random.permutation(len(y))[: len(y) // SHARE]
    given = y.copy()
    given[rows] = change(y, rows, random, x)
    table = manyhot.read((x, {"digit": [str(each) for each in given]}))
    return table, manyhot.infer(table, ["digit"]), rows, "class"


def removed():
    import manyhot

    random = np.random.default_rng(0)
    x, y = digits()
    rows = random.permutation(len(y))[: len(y) // SHARE]
    tags = [[f"t{d + offset}" for offset in (0, 10, 50)] for d in y]
    for row in rows:
        tags[row].pop(int(random.integers(3)))
    table = manyhot.read((x, {"tags": tags}))
    return table, manyhot.infer(table, tags={"tags": None}), rows, "absent"


def mulan(name: str, side: str):
    """Return yeast or scene with tags added ("there") or removed ("absent")."""
    import json

    import manyhot

    folder = data(f"mulan/{name}")
    names = json.loads((folder / "labels.json").read_text())["labels"]
    tables = [manyhot.read(folder / f"{part}.csv") for part in ("train", "test")]
    columns = {
        n: [*tables[0].column(n).to_pylist(), *tables[1].column(n).to_pylist()] for n in tables[0].names
    }
    y = np.array([[int(float(cell)) for cell in columns[n]] for n in names]).T
    random = np.random.default_rng(0)
    able = np.flatnonzero((y == (0 if side == "there" else 1)).any(axis=1))
    rows = random.permutation(able)[: len(y) // SHARE]
    for row in rows:
        tag = random.choice(np.flatnonzero(y[row] == (0 if side == "there" else 1)))
        y[row, tag] = 1 if side == "there" else 0
    columns |= {n: [str(each) for each in column] for n, column in zip(names, y.T, strict=True)}
    table = manyhot.read(columns)
    return table, manyhot.infer(table, tags={"tags": names}), rows, side, y


def by_forest(table, schema, y: np.ndarray, rows: np.ndarray, side: Any) -> float:
    """Return the share found by the softmin of a forest's out-of-fold answers."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import cross_val_predict

    from manyhot.auditing.labels import softmin

    x = np.stack([table.numbers(column.name) for column in schema.inputs], axis=1)
    trees = ExtraTreesClassifier(300, n_jobs=2, random_state=0, min_samples_leaf=2)
    found = cross_val_predict(trees, x, y, cv=5, method="predict_proba")
    p = np.stack([each[:, 1] for each in found], axis=1)
    best = np.argsort(-softmin(y, p, side), kind="stable")[: len(rows)]
    return float(np.isin(best, rows).mean())


CASES = {
    "random": lambda: of_digits(random_errors),
    "confused": lambda: of_digits(confused_errors),
    "removed": removed,
    "yeast+": lambda: mulan("yeast", "there"),
    "yeast-": lambda: mulan("yeast", "absent"),
    "scene+": lambda: mulan("scene", "there"),
    "scene-": lambda: mulan("scene", "absent"),
}


def labels(name: str) -> None:
    import manyhot

    start = time.perf_counter()
    table, schema, rows, side, *y = CASES[name]()
    found = manyhot.audit(table, schema, effort="fast", threads=1, verbose=False)
    (own,) = [each for each in found.suspects if each.side == side]
    share = found_in(own.rows[: len(rows)], rows)
    beside = f", a forest {by_forest(table, schema, y[0], rows, side):.3f}" if y else ""
    number, low, high = own.number
    print(
        f"{name}: {share:.3f} of {len(rows)} in the top as many{beside}; ranked by {own.method}, trusted "
        f"{own.trust:.2f}; {number:.0f} errors estimated ({low:.0f} to {high:.0f}); "
        f"{time.perf_counter() - start:.0f} s",
        flush=True,
    )


def found_in(listed: np.ndarray, rows: np.ndarray) -> float:
    return float(np.isin(rows, listed).mean())


def changed(image, how: str, random: np.random.Generator):
    """Return a picture changed in one of the ways in which copies of photos are met."""
    from PIL import Image, ImageOps

    width, height = image.size
    match how:
        case "JPEG":
            out = io.BytesIO()
            image.save(out, "JPEG", quality=40)
            return Image.open(out).convert("RGB")
        case "half size":
            return image.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
        case "grey":
            return image.convert("L").convert("RGB")
        case "crop 15 %":
            w, h = round(width * 0.85), round(height * 0.85)
            left, top = int(random.integers(0, width - w + 1)), int(random.integers(0, height - h + 1))
            return image.crop((left, top, left + w, top + h))
        case "mirrored":
            return ImageOps.mirror(image)
        case _:
            return ImageOps.expand(image, round(min(image.size) * 0.06), "white")


WAYS = ("JPEG", "half size", "grey", "crop 15 %", "mirrored", "border")


def near_copies(each: int = 25) -> None:
    import tempfile
    from pathlib import Path

    from PIL import Image

    import manyhot
    from manyhot.auditing import copies
    from manyhot.progress import Lines

    start = time.perf_counter()
    source = manyhot.read(data("corel5k/labels.csv"))
    paths = [source.root / name for name in source.column("file").to_pylist()]
    random = np.random.default_rng(0)
    chosen = random.permutation(len(paths))[: each * len(WAYS)]
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            shutil.copy(path, folder)
        names = [path.name for path in paths]
        truth = {}
        for number, at in enumerate(chosen):
            with Image.open(paths[at]) as image:
                new = changed(image.convert("RGB"), WAYS[number % len(WAYS)], random)
            names.append(f"copy{number}.png")
            new.save(Path(folder) / names[-1])
            truth[len(names) - 1, int(at)] = WAYS[number % len(WAYS)]
        table = replace(manyhot.read({"image": names}), root=Path(folder))
        schema = manyhot.Schema((manyhot.Input("image", "image", (128, 192, 3)),), ())
        pairs = copies.near(copies.look(table, schema, lambda done, rows: None), [], Lines(False))
    hit = {(pair.row, pair.other) for pair in pairs}
    for way in WAYS:
        mine = [key for key, how in truth.items() if how == way]
        print(f"{way}: {sum(key in hit for key in mine) / len(mine):.2f} found")
    first = pairs[: max(100, len(truth))]
    strange = [pair for pair in first if (pair.row, pair.other) not in truth]
    told = [(names[p.row], names[p.other], round(p.likeness, 3)) for p in strange]
    print(
        f"all: {sum(key in hit for key in truth) / len(truth):.3f} of {len(truth)} found; of the first "
        f"{len(first)} pairs of {len(pairs)}, {len(strange)} were not made here: {told}; "
        f"{time.perf_counter() - start:.0f} s"
    )


def main() -> None:
    print(machine())
    words = sys.argv[1:] or [*CASES, "copies"]
    for name in words:
        near_copies() if name == "copies" else labels(name)


if __name__ == "__main__":
    main()
