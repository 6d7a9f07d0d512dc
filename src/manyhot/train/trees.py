"""Members for tables that are no networks: a forest of extra trees, and logistic regression.

`select` offers them. Each learns from the prepared columns, once for each fold, without the rows of the fold,
and of each target from the rows of which it is known whole.

Shapes: N rows · P prepared columns · M folds · W outputs of a target.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.data.rows import split
from manyhot.model.backbones.base import Backbone
from manyhot.model.forest import BoostedTrees, Forest, Trees
from manyhot.model.network import Heads, PowersetHead, build_heads
from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray, consistent_sets, num_outputs
from manyhot.train.prepared import Prepared

Columns = NDArray[np.float32]
TREES = 300  # of all folds together
# Boosted trees: rounds and the sum of their steps, leaves, bins; trees of all folds together, and classes.
ROUNDS, PACE, LEAVES, BINS, BOOSTED, MOST_BOOSTED = 100, 10.0, 15, 63, 3000, 30
FEWEST, MOST = 20, 20_000  # rows that a member learns a target from; of more, some drawn at random


def grow(prepared: Prepared, columns: Columns) -> Forest:
    """Grow a forest for each target."""
    from sklearn.ensemble import ExtraTreesClassifier

    config = prepared.config
    count = max(20, TREES // config.folds)
    trees = {}
    for target, parts in _taught(prepared):
        arrays: list[dict[str, NDArray[Any]]] = []
        for rows, y in parts:
            forest = ExtraTreesClassifier(
                count, min_samples_leaf=1, n_jobs=config.threads, random_state=config.seed
            )
            forest.fit(columns[rows], y)
            arrays += [_arrays(tree.tree_, forest, target) for tree in forest.estimators_]
        trees[target.name] = Trees(target, _joined(arrays, len(parts)))
    return Forest(prepared.schema.targets, trees)


def boost(prepared: Prepared, columns: Columns) -> Forest:
    """Boost trees for each target of one answer a row; for tags and their sets that takes too long."""
    config = prepared.config
    trees: dict[str, Trees] = {}
    for target, parts in _taught(prepared):
        if not target.exclusive or target.outcomes > MOST_BOOSTED:
            continue
        width = num_outputs(target)
        rounds = min(ROUNDS, max(20, BOOSTED // (config.folds * width)))
        each = [_boosted(columns[rows], y, width, rounds, config.seed) for rows, y in parts]
        arrays = _joined([tree for grown, _ in each for tree in grown], len(parts))
        starts = np.stack([start for _, start in each])
        trees[target.name] = BoostedTrees(target, {**arrays, "start": torch.from_numpy(starts)})
    return Forest(prepared.schema.targets, trees)


def _boosted(
    x: Columns, y: IntArray, width: int, rounds: int, seed: int
) -> tuple[list[dict[str, NDArray[Any]]], Columns]:
    """Return the trees of one fold, round by round, one for each output, and what they add to (W,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_iter=rounds,
        learning_rate=PACE / rounds,
        max_leaf_nodes=LEAVES,
        max_bins=BINS,
        early_stopping=False,
        random_state=seed,
    )
    with threadpool_limits(1):  # of small tables more threads take many times as long
        model.fit(x, y)
    start, none = np.full(width, -8.0, np.float32), _leaf()
    outputs = [width - 1] if len(model.classes_) == 2 else list(model.classes_)
    if width > 1 and len(model.classes_) == 2:
        outputs = [int(model.classes_[1])]
        start[int(model.classes_[0])] = 0.0
    start[outputs] = model._baseline_prediction[0]
    grown = []
    for trees in model._predictors:
        of_round = [none] * width
        for output, tree in zip(outputs, trees, strict=True):
            of_round[output] = _nodes(tree.nodes)
        grown += of_round
    return grown, start


def _nodes(nodes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return one of scikit-learn's boosted trees as `Trees` wants it."""
    own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, own, nodes[side]) for side in ("left", "right"))
    return {
        "feature": np.where(leaf, 0, nodes["feature_idx"]).astype(np.int32),
        "threshold": nodes["num_threshold"].astype(np.float32),
        "branches": np.stack([right, left]).astype(np.int32),
        "value": np.where(leaf, nodes["value"], 0.0).astype(np.float32)[:, None],
    }


def _leaf() -> dict[str, NDArray[Any]]:
    """Return a tree that adds nothing."""
    return {
        "feature": np.zeros(1, np.int32),
        "threshold": np.zeros(1, np.float32),
        "branches": np.zeros((2, 1), np.int32),
        "value": np.zeros((1, 1), np.float32),
    }


def regress(prepared: Prepared, columns: Columns) -> Heads:
    """Fit logistic regression for each target, as linear heads on the columns."""
    targets, folds = prepared.schema.targets, prepared.config.folds
    heads = build_heads(targets, Backbone(torch.nn.Identity(), columns.shape[1], folds))
    layers: dict[str, Any] = dict(zip(heads.names, heads, strict=True))
    for parameter in heads.parameters():
        parameter.requires_grad_(False).zero_()
    for target, parts in _taught(prepared):
        layer = layers[target.name]
        last = layer.sets if isinstance(layer, PowersetHead) else layer
        weights, biases = zip(*(_line(target, columns[rows], y) for rows, y in parts), strict=True)
        weight, bias = torch.from_numpy(np.stack(weights)), torch.from_numpy(np.stack(biases))
        last.get_parameter("weight").copy_(weight if folds > 1 else weight[0].T)
        last.get_parameter("bias").copy_(bias if folds > 1 else bias[0])
    return heads


def _line(target: Target, x: Columns, y: IntArray) -> tuple[Columns, Columns]:
    """Return the weights (P, W) and biases (W,) of logistic regression."""
    width = num_outputs(target)
    weight, bias = np.zeros((x.shape[1], width), np.float32), np.full(width, -8.0, np.float32)
    if y.ndim == 2:
        for tag in range(width):
            weight[:, [tag]], bias[[tag]] = _yes_or_no(x, y[:, tag])
        return weight, bias
    if width == 1:
        return _yes_or_no(x, y)
    model = _fitted(x, y)
    if len(model.classes_) == 2:
        bias[model.classes_] = 0.0
        weight[:, model.classes_[1]], bias[model.classes_[1]] = model.coef_[0], model.intercept_[0]
    else:
        weight[:, model.classes_], bias[model.classes_] = model.coef_.T, model.intercept_
    return weight, bias


def _yes_or_no(x: Columns, y: IntArray) -> tuple[Columns, Columns]:
    """Return the weights (P, 1) and bias (1,) of one question; of one answer alone, how sure it is."""
    if len(np.unique(y)) < 2:
        odds = np.log((y.sum() + 1) / (len(y) - y.sum() + 1))
        return np.zeros((x.shape[1], 1), np.float32), np.array([odds], np.float32)
    model = _fitted(x, y)
    return model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)


def _fitted(x: Columns, y: IntArray) -> Any:
    """Return scikit-learn's logistic regression; one that has not converged is weighed like others."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=1.0, max_iter=300).fit(x, y)


def _taught(prepared: Prepared) -> Iterator[tuple[Target, list[tuple[NDArray[np.intp], IntArray]]]]:
    """Give each target with the rows of each fold that teach it, and what these are; not where they are few.

    A class is told by its number, a set by its place in the powerset, tags by a column each.
    """
    train, folds = prepared.of_part(split.TRAIN), prepared.config.folds
    fold = prepared.fold_of(train)
    for target in prepared.schema.targets:
        y = _numbers(target, prepared.labels(train)[target.name])
        there = (y != UNKNOWN).reshape(len(y), -1).all(axis=1)
        parts = [there if fold is None else there & (fold != number) for number in range(folds)]
        if all(part.sum() >= FEWEST and (y[part] != y[part][0]).any() for part in parts):
            some = [_some(np.flatnonzero(part), prepared.config.seed) for part in parts]
            yield target, [(train[rows], y[rows]) for rows in some]


def _some(rows: NDArray[np.intp], seed: int) -> NDArray[np.intp]:
    """Return rows, or so many of them as growing and regressing bear, in order."""
    return rows if len(rows) <= MOST else np.sort(np.random.default_rng(seed).permutation(rows)[:MOST])


def _numbers(target: Target, y: IntArray) -> IntArray:
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


def _arrays(tree: Any, forest: Any, target: Target) -> dict[str, NDArray[Any]]:
    """Return one of scikit-learn's trees as `Trees` wants it, its nodes counted from 0."""
    own, leaf = np.arange(tree.node_count), tree.children_left < 0
    left, right = (np.where(leaf, own, side) for side in (tree.children_left, tree.children_right))
    if forest.n_outputs_ > 1:
        seen = [
            1.0 * (classes[-1] == 1) * tree.value[:, t, len(classes) - 1]
            for t, classes in enumerate(forest.classes_)
        ]
        value = np.stack(seen, axis=1)
    else:
        value = np.zeros((tree.node_count, max(target.outcomes, 2)))
        value[:, forest.classes_] = tree.value[:, 0]
        value = value[:, 1:] if target.structure == "binary" else value
    return {
        "feature": np.where(leaf, 0, tree.feature).astype(np.int32),
        "threshold": tree.threshold.astype(np.float32),
        "branches": np.stack([right, left]).astype(np.int32),
        "value": value.astype(np.float16),
    }


def _joined(trees: list[dict[str, NDArray[Any]]], folds: int) -> dict[str, torch.Tensor]:
    """Put the nodes of all trees one after the other."""
    first = np.cumsum([0, *(len(tree["feature"]) for tree in trees)], dtype=np.int32)
    branches = [tree["branches"] + start for tree, start in zip(trees, first, strict=False)]
    arrays = {
        name: np.concatenate([tree[name] for tree in trees]) for name in ("feature", "threshold", "value")
    }
    arrays |= {
        "branches": np.concatenate(branches, axis=1),
        "roots": first[:-1].astype(np.int64).reshape(folds, -1),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
