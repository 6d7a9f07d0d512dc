"""The settings that a card gets beside those of a processor, both run on a processor: are they no worse?

MANYHOT_DATA=… python benchmarks/plans.py [--only NAME,…] [--efforts fast,balanced] [--seeds 2]

A card gets the same settings for tables of up to 145,000 rows, but for its numbers (tf32); for more rows it
gets larger batches at a higher rate, and as many steps. So made tables of 160,000 and 300,000 rows, and
MNIST's digits as a table of 49 numbers, are learned with either plan in float32; six tables of
MANYHOT_DATA/keel in float32 and with all products of matrices as tf32 has them, rounded to 10 bits. The
network answers alone (`members=network`).

Printed are the log loss and the accuracy on test rows with the settings of a processor, and how far the
card's are off: means over seeds, and the standard error over test rows and seeds. Below 0 is better for the
log loss, above 0 for the accuracy.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pyarrow.csv
import torch
from race import data, machine
from torch.utils._python_dispatch import TorchDispatchMode

import manyhot
from manyhot.config import FitConfig
from manyhot.machine import Device
from manyhot.resolve import resolve

CARD = Device("cuda", "NVIDIA H200", 150.0, ("bfloat16", "float16"), tf32=True)
CPU = Device("cpu")
PLAN = ("batch_size", "epochs", "learning_rate")
KEEL = ("satimage", "segment", "phoneme", "spambase", "banana", "vehicle")
TEST = 30_000
aten = torch.ops.aten
# Where products of matrices begin among the arguments.
PRODUCTS = {aten.mm: 0, aten.bmm: 0, aten.addmm: 1, aten.baddbmm: 1, aten.linear: 0}


class Tf32(TorchDispatchMode):
    """Products of matrices as a card makes them in tf32: of numbers with 10 bits after the first."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        first = PRODUCTS.get(func.overloadpacket)
        if first is not None:
            args = [short(a) if first <= at < first + 2 else a for at, a in enumerate(args)]
        return func(*args, **(kwargs or {}))


def short(x: torch.Tensor) -> torch.Tensor:
    """Round to the nearest number of tf32."""
    bits = x.detach().contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def made(how: Callable[..., Any], rows: int, seed: int) -> Any:
    """Make a table; return its columns, and which rows are to be judged by."""
    x, y = how(np.random.default_rng(seed), rows + TEST)
    return columns_of(x.T if isinstance(x, np.ndarray) else x, y), np.arange(rows + TEST) >= rows


def columns_of(x: Any, y: Any) -> dict[str, Any]:
    """Name columns, the last of them `y`."""
    return {**{f"x{i}": values for i, values in enumerate(x)}, "y": np.array([f"c{i}" for i in y])}


def blobs(rng: np.random.Generator, rows: int) -> Any:
    """Five classes of eight clusters each in 12 of 20 columns; a twentieth of the labels is wrong."""
    centres = rng.normal(size=(40, 12)) * 1.4
    which = rng.integers(40, size=rows)
    x = np.hstack([centres[which] + rng.normal(size=(rows, 12)), rng.normal(size=(rows, 8))])
    return x.astype(np.float32), np.where(rng.random(rows) < 0.05, rng.integers(5, size=rows), which % 5)


def rectangles(rng: np.random.Generator, rows: int) -> Any:
    """A tree of depth 7 over 12 even columns, whose leaves have odds of two classes."""
    x = rng.random((rows, 12)).astype(np.float32)
    column, cut, odds = rng.integers(12, size=127), rng.uniform(0.2, 0.8, 127), rng.beta(0.5, 0.5, 128)
    at = np.zeros(rows, int)
    for _ in range(7):
        at = 2 * at + 1 + (x[np.arange(rows), column[at]] > cut[at])
    return x, (rng.random(rows) < odds[at - 127]).astype(int)


def words(rng: np.random.Generator, rows: int) -> Any:
    """Three classes by eight columns of 5 to 300 words each, two of which matter together."""
    sizes = (5, 10, 20, 50, 100, 200, 300, 12)
    codes = [np.minimum(rng.zipf(1.4, rows) - 1, size - 1) for size in sizes]
    score = sum(rng.normal(size=(size, 3))[code] for size, code in zip(sizes, codes, strict=True))
    score += rng.normal(size=(20, 50, 3))[codes[2], codes[3]] * 1.5 + rng.gumbel(size=(rows, 3)) * 2
    return [np.array([f"w{i}" for i in code]) for code in codes], score.argmax(1)


def rare(rng: np.random.Generator, rows: int) -> Any:
    """Two of a hundred rows are of one class, by products and squares of long-tailed numbers."""
    x = rng.standard_t(3, (rows, 15)).astype(np.float32)
    score = x[:, 0] * x[:, 1] + x[:, 2] ** 2 - np.abs(x[:, 3]) + 0.7 * x[:, 4] + rng.logistic(size=rows)
    return x, (score > np.quantile(score, 0.98)).astype(int)


def waves(rng: np.random.Generator, rows: int) -> Any:
    """Two classes by waves over six of ten columns, which a small network learns slowly."""
    x = rng.uniform(-1, 1, (rows, 10)).astype(np.float32)
    score = np.sin(3 * np.pi * x[:, :3]).sum(1) + np.cos(2 * np.pi * x[:, 3:6]).prod(1) * 2
    return x, (score + 0.3 * rng.logistic(size=rows) > 0).astype(int)


MADE = {"blobs": blobs, "rectangles": rectangles, "words": words, "rare": rare, "waves": waves}
ROWS = (160_000, 300_000)


def judged(columns: dict[str, Any], test: Any, options: dict[str, Any], tf32: bool) -> tuple[Any, Any]:
    """Fit on all rows but those of `test`; return their log losses and whether they are right."""
    parts = [{name: np.asarray(v)[keep] for name, v in columns.items()} for keep in (~test, test)]
    schema = manyhot.infer(parts[0], ["y"])
    with Tf32() if tf32 else nullcontext():
        model = manyhot.fit(parts[0], schema, device="cpu", members="network", verbose=False, **options)
    chances = model.predict_proba(parts[1])["y"]
    (target,) = model.schema.targets
    chances = np.stack([1 - chances, chances], 1) if chances.ndim == 1 else chances
    truth = np.array([target.classes.index(str(c)) for c in parts[1]["y"]])
    return -np.log(np.maximum(chances[np.arange(len(truth)), truth], 1e-7)), chances.argmax(1) == truth


def beside(name: str, tables: Callable[[int], Any], effort: str, seeds: int) -> None:
    """Print how a card's settings do beside a processor's."""
    losses, rights, plans = [], [], []
    for seed in range(seeds):
        columns, test = tables(seed)
        plain = {k: np.asarray(v)[:1_000] for k, v in columns.items()}
        schema, rows = manyhot.infer(plain, ["y"]), int((~test).sum())
        both: list[FitConfig] = [
            resolve({"effort": effort}, schema, rows, device=device) for device in (CPU, CARD)
        ]
        same = both[0].batch_size == both[1].batch_size
        found = []
        for config in both:
            plan = {} if same else {setting: getattr(config, setting) for setting in PLAN}
            options = {"effort": effort, "seed": seed, "precision": "float32", **plan}
            found.append(judged(columns, test, options, tf32=same and config is both[1]))
        losses.append([f[0] for f in found])
        rights.append([f[1].astype(float) for f in found])
        plans = ["float32", "tf32"] if same else [f"{c.epochs}×{c.batch_size}" for c in both]
    line = f"{name:14} {rows:>7,} rows {effort:8} {plans[0]:>8} → {plans[1]:8}"
    for what, every in (("log loss", losses), ("accuracy", rights)):
        mean = np.mean([values[0].mean() for values in every])
        off = [values[1] - values[0] for values in every]
        over_rows = np.sqrt(np.mean([each.var() / len(each) for each in off]) / len(off))
        over_seeds = np.std([each.mean() for each in off], ddof=1) / len(off) ** 0.5 if seeds > 1 else 0.0
        shift = np.mean([each.mean() for each in off])
        line += f"  {what} {mean:.4f} {shift:+.4f} ± {max(over_rows, over_seeds):.4f}"
    print(line, flush=True)


def digits(seed: int) -> Any:
    """MNIST's digits shrunk to 7 × 7, those to learn from moved five times by up to two pixels."""
    raw, rng = data("mnist") / "MNIST" / "raw", np.random.default_rng(seed)

    def read(name: str, head: int) -> Any:
        return np.frombuffer(gzip.decompress((raw / f"{name}-ubyte.gz").read_bytes()), np.uint8)[head:]

    moves = [(0, 0), *rng.integers(-2, 3, (4, 2))]
    train, test = (read(f"{part}-images-idx3", 16).reshape(-1, 28, 28) for part in ("train", "t10k"))
    every = np.concatenate([*(np.roll(train, move, (1, 2)) for move in moves), test])
    x = every.reshape(-1, 7, 4, 7, 4).mean((2, 4), dtype=np.float32).reshape(len(every), 49)
    labels = [read(f"{part}-labels-idx1", 8) for part in ("train", "t10k")]
    y = np.concatenate([*[labels[0]] * len(moves), labels[1]])
    return columns_of(x.T, y), np.arange(len(x)) >= len(train) * len(moves)


def keel(name: str, seed: int) -> Any:
    """A table of KEEL's, three rows of ten to be judged by."""
    read = pyarrow.csv.read_csv(data("keel") / f"{name}.csv")
    columns = [read[n].to_numpy(zero_copy_only=False) for n in read.column_names]
    test = np.random.default_rng(seed).random(len(read)) < 0.3
    return columns_of(columns[:-1], columns[-1]), test


def main() -> None:
    every: dict[str, Callable[[int], Any]] = {}
    for rows in ROWS:
        every |= {f"{name}-{rows // 1000}": partial(made, how, rows) for name, how in MADE.items()}
    every |= {"digits": digits} | {name: partial(keel, name) for name in KEEL}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", default=",".join(every))
    parser.add_argument("--efforts", default="fast,balanced")
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()
    print(machine("torch"))
    for name in args.only.split(","):
        for effort in args.efforts.split(","):
            beside(name, every[name], effort, args.seeds)


if __name__ == "__main__":
    main()
