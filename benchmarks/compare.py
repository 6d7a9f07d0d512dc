"""How often `compare` calls one of two equal models worse.

python benchmarks/compare.py [DRAWS]

No model is trained: the labels, and answers of two models that are equally often right and differ in some 6 %
of the rows, are drawn. Each of 400 draws (default) has 1,000 rows, a column of eight values, another of
three, two numbers, and a target of four classes, so that some 60 slices are there to be found. Asked for: the
share of the draws that fail by default is at most 0.06, overall and by any slice; beside it with B worse by
two points, and the same of four tags.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from manyhot.comparing.paired import Answers, compared_target
from manyhot.comparing.slices import Changed, find
from manyhot.data.table import Table, from_python

ROWS, CLASSES, RIGHT, DIFFER = 1_000, 4, 0.9, 0.06


def table(rng: np.random.Generator) -> Table:
    columns = {
        "site": [f"s{i}" for i in rng.integers(0, 8, ROWS)],
        "colour": [("red", "green", "blue")[i] for i in rng.integers(0, 3, ROWS)],
        "age": rng.normal(40, 12, ROWS).round(1),
        "size": rng.gamma(2, 3, ROWS).round(2),
    }
    return from_python(columns)


def entries(rng: np.random.Generator, shape: tuple[int, ...], worse: float) -> tuple[np.ndarray, np.ndarray]:
    """Return which entries A and B have right: equally many, but for `worse`; bool of that shape."""
    chance = rng.random(shape)
    only_a, only_b = DIFFER / 2 + worse / 2, DIFFER / 2 - worse / 2
    both = RIGHT - DIFFER / 2
    a = (chance < both) | ((chance >= both) & (chance < both + only_a))
    b = (chance < both) | ((chance >= both + only_a) & (chance < both + only_a + only_b))
    return a, b


def answers(rng: np.random.Generator, tags: bool, worse: float) -> Answers:
    names = tuple("abcd"[:CLASSES])
    losses = np.zeros((ROWS, 2))
    if tags:
        marked = (rng.random((ROWS, CLASSES)) < 0.3).astype(np.int8)
        a, b = (np.where(right, marked, 1 - marked) for right in entries(rng, marked.shape, worse))
        return Answers(names, marked, a, b, losses)
    y = rng.integers(0, CLASSES, ROWS)
    off = (y + rng.integers(1, CLASSES, ROWS)) % CLASSES
    a, b = entries(rng, y.shape, worse)
    return Answers(names, y, np.where(a, y, off), np.where(b, y, off), losses)


def one(seed: int, tags: bool, worse: float) -> tuple[bool, bool, bool, bool]:
    """Return whether B fails overall, is surely worse in some slice, in some class, and is within a point."""
    rng = np.random.default_rng(seed)
    found = answers(rng, tags, worse)
    whole = compared_target(found, None, seed)
    errors = found.errors(found.a), found.errors(found.b)
    change = np.sign(errors[0] - errors[1]).astype(np.int8)
    changed = Changed(change, errors[0] == 0, errors[1] == 0)
    slices, _ = find(table(rng), {"y": found}, changed, ["site"], {"y"}, (), seed)
    classes: Any = whole.classes
    by_class = any(each["p"] <= 0.05 and each["broken"] > each["fixed"] for each in classes)
    return whole.surely_worse, any(each.sure and each.worse for each in slices), by_class, whole.within(0.01)


def main() -> None:
    draws = int(sys.argv[1]) if len(sys.argv) > 1 else 400
    for tags in (False, True):
        for worse in (0.0, 0.02):
            found = np.mean([one(seed, tags, worse) for seed in range(draws)], axis=0)
            kind = "tags, micro F1" if tags else "classes, accuracy"
            print(
                f"{kind}, B worse by {worse:g}: {draws} draws of {ROWS:,} rows; share that fails overall "
                f"{found[0]:.4f}, worse by any slice {found[1]:.4f}, by any class {found[2]:.4f}, fails with "
                f"--margin 0.01 {1 - found[3]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
