"""What members that are no networks learn from: the rows of each fold, as scikit-learn wants them.

`trees` and `logistic` call `examples`.

Shapes: N rows · R some of them · P prepared columns · M folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, assert_never

import numpy as np
from numpy.typing import NDArray

from manyhot.data.rows import split
from manyhot.model import inference
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, WEIGHT, IntArray, Weight, consistent_sets, weight_of
from manyhot.train.prepared import Prepared

T = TypeVar("T")
NEVER = -8.0  # the logit of a class that no row has
FEWEST, MOST = 20, 20_000  # rows that a target is learned from; of more, some drawn at random


class Columns:
    """The prepared columns of rows, those that are asked for alone: `columns[rows]` is float32 (R, P)."""

    def __init__(self, prepared: Prepared, stem: Any) -> None:
        self.prepared, self.stem = prepared, stem
        self.shape = (len(prepared.x), *stem.shape)

    def __getitem__(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        return inference.run(self.stem, self.prepared.x[rows])


Part = tuple[NDArray[np.intp], IntArray, Weight]  # rows, what these are, how much each counts


def examples(prepared: Prepared) -> Iterator[tuple[Target, list[Part]]]:
    """Give each target with the rows of each fold that teach it; not where they are few.

    A class is told by its number, a set by its place in the powerset, tags by a column each.
    """
    train, folds = prepared.of_part(split.TRAIN), prepared.config.folds
    fold = prepared.fold_of(train)
    labels = prepared.labels(train)
    weight = labels.get(WEIGHT)
    for target in prepared.schema.targets:
        y = labels_of(target, labels[target.name])
        there = (y != UNKNOWN).reshape(len(y), -1).all(axis=1)
        parts = [there if fold is None else there & (fold != number) for number in range(folds)]
        if all(part.sum() >= FEWEST and (y[part] != y[part][0]).any() for part in parts):
            some = [_some(np.flatnonzero(part), prepared.config.seed) for part in parts]
            yield target, [(train[rows], y[rows], weight_of(weight, rows)) for rows in some]


def told(prepared: Prepared) -> list[str]:
    """Say that these members learn from some of the rows, where there are more."""
    rows = len(prepared.of_part(split.TRAIN))
    if rows <= MOST:
        return []
    some = f"{MOST:,} of the {rows:,} training rows, drawn at random"
    return [f"what answers beside the network learned from {some}; the network from all"]


def of_each_fold(learn: Callable[..., T], parts: Sequence[Part], threads: int) -> list[T]:
    """Learn from the rows of each fold, the folds side by side: more threads for one would slow it down."""
    from threadpoolctl import threadpool_limits

    def alone(*part: Any) -> T:
        with threadpool_limits(1, "openmp"):  # which is set for each thread, and the other libraries' for all
            return learn(*part)

    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(alone, *zip(*parts, strict=True)))


def _some(rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return rows, or so many of them as growing and regressing bear, in order."""
    return rows if len(rows) <= MOST else np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])


def labels_of(target: Target, y: IntArray) -> IntArray:
    """Return labels as scikit-learn wants them, int (N,) or of tags (N, C); UNKNOWN for no known set."""
    match target.structure:
        case "multiclass":
            return y
        case "binary":
            return y[:, 0].astype(np.int32)
        case "powerset":
            agrees = consistent_sets(target, y)
            return np.where(agrees.sum(axis=1) == 1, agrees.argmax(axis=1), UNKNOWN).astype(np.int32)
        case "multilabel":
            return y.astype(np.int32)
        case _:
            assert_never(target.structure)
