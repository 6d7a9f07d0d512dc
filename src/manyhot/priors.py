"""How often each class is met among labels: what a model can know before it has seen an input.

`train` weighs the loss, begins the heads and lets nearest neighbours vote by it. No torch is needed.

Shapes: N rows · C classes · W outputs (1 for binary, K sets for a powerset, else C).
"""

from __future__ import annotations

from typing import Any, assert_never

import numpy as np
from numpy.typing import NDArray

from manyhot.schema import Target
from manyhot.targets import IntArray, Weight, consistent_sets, dense, known


def class_weights(target: Target, y: IntArray, weight: Weight = None) -> NDArray[np.float32]:
    """Return weights that make all classes count alike, from the known cells.

    A class that has no rows has weight 1; the mean weight of a row is 1.

    Shape:
        y: as `targets.encode` gives it. out: as `loss` takes it.
    """
    yes, known = _counts(target, y, weight)
    match target.kind:
        case "multiclass":
            share = yes.sum() / (np.where(yes > 0, yes, 1) * max((yes > 0).sum(), 1))
            return np.where(yes > 0, share, 1).astype(np.float32)
        case "binary" | "multilabel":
            counts = np.stack([known - yes, yes])
            return np.where(counts > 0, known / (2 * np.where(counts > 0, counts, 1)), 1).astype(np.float32)
        case _:
            assert_never(target.kind)


def _counts(target: Target, y: IntArray, weight: Weight) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return of each column of `targets.dense` how many cells say yes, and how many are known; both (C,)."""
    table = dense(target, y)
    each = np.ones(len(y)) if weight is None else weight.astype(np.float64)
    return (each @ np.nan_to_num(table)).astype(table.dtype), each @ ~np.isnan(table)


def log_odds(target: Target, y: IntArray, weight: Weight = None) -> NDArray[np.float32]:
    """Return the logits that answer any row with how often the known cells say so, each seen once more.

    Shape:
        y: as `targets.encode` gives it. out: float32 (C,), of a binary target (1,).

    >>> tags = Target("t", "multilabel", ("a", "b"), ("t",))
    >>> np.exp(log_odds(tags, np.array([[1, 0], [1, -1], [1, 0]]))).round(2)
    array([4.  , 0.33], dtype=float32)
    """
    yes, known = _counts(target, y, weight)
    match target.kind:
        case "multiclass":
            odds = np.log(yes + 1) - np.log(yes + 1).mean()
        case "binary" | "multilabel":
            odds = np.log((yes + 1) / (known - yes + 1))
        case _:
            assert_never(target.kind)
    return np.asarray(odds, np.float32)


def votes(target: Target, y: IntArray) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what each row says for each output and against it; 0 for what is not known.

    The ratio of the two is that of odds where each class is a question of its own; where one of them is
    right, all that is known counts against each alike, which a softmax does not see.

    Shape:
        y: as `targets.encode` gives it. out: two float32 (N, W).

    >>> tags = Target("t", "multilabel", ("a", "b"), ("t",))
    >>> [v.tolist() for v in votes(tags, np.array([[1, 0], [0, -1]]))]
    [[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]
    """
    match target.structure:
        case "powerset":
            agrees = (consistent_sets(target, y) & known(y)[:, None]).astype(np.float32)
            yes = agrees / np.maximum(
                agrees.sum(axis=1, keepdims=True), 1
            )  # a row of several sets is of each
        case "multiclass":
            yes = np.nan_to_num(dense(target, y))
        case "binary" | "multilabel":
            table = dense(target, y)
            return np.nan_to_num(table), np.nan_to_num(1 - table)
        case _:
            assert_never(target.structure)
    return yes, np.broadcast_to(known(y)[:, None].astype(np.float32), yes.shape)
