"""Trees as the standard's operator for them: `TreeEnsembleRegressor` of ai.onnx.ml 3.

`onnx` puts it where a predictor asks its trees. The later operator, of version 5, gives a leaf one output
only, and so needs every tree once for each class.

Shapes: J nodes of all trees · L different leaves · C what a leaf says · M folds · T trees of a fold.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.model.forest import BoostedTrees, Trees


def outputs_of(trees: Trees) -> tuple[int, int]:
    """Return how many folds there are, and how many numbers a row's leaves say in each."""
    if isinstance(trees, BoostedTrees):
        folds, width = trees.start.shape
        return folds, width
    return trees.roots.shape[0], trees.value.shape[1]


def attributes(trees: Trees) -> dict[str, Any]:
    """Return the operator's attributes, so that it gives what `reached` gives, its folds side by side.

    Thresholds are float32 already, and a row goes on below where it is not above: BRANCH_LEQ.
    """
    roots = trees.roots.numpy()
    branches, leaf, value = trees.branches.numpy(), trees.leaf.numpy(), trees.value.float().numpy()
    tree, node = _nodes(branches, roots.reshape(-1))
    first = np.searchsorted(tree, np.arange(roots.size))  # where each tree begins
    place = np.empty(branches.shape[1], np.int64)  # of a node within its tree
    place[node] = np.arange(len(node)) - first[tree]
    ends = branches[0, node] == node
    inner = ~ends
    folds, width = outputs_of(trees)
    fold, number = tree[ends] // roots.shape[1], tree[ends] % roots.shape[1]
    said = value[leaf[node[ends]]]  # (leaves, C)
    if isinstance(trees, BoostedTrees):  # each tree adds to one output, in turn
        outputs = (fold * width + number % width)[:, None]
    else:
        outputs, said = fold[:, None] * width + np.arange(width), said / roots.shape[1]
    told = said != 0  # most leaves of a forest are of one class, and nothing need be said of the others
    told[:, 0] |= ~told.any(axis=1)  # but a leaf must say something
    which = np.nonzero(told)[0]

    def of_inner(values: NDArray[Any], other: float = 0) -> list[Any]:
        found: list[Any] = np.where(inner, values, np.asarray(other, values.dtype)).tolist()
        return found

    return {
        "n_targets": folds * width,
        "post_transform": "NONE",
        "nodes_treeids": tree.tolist(),
        "nodes_nodeids": place[node].tolist(),
        "nodes_modes": np.where(inner, "BRANCH_LEQ", "LEAF").tolist(),
        "nodes_featureids": of_inner(trees.feature.numpy()[node].astype(np.int64)),
        "nodes_values": of_inner(trees.threshold.float().numpy()[node]),
        "nodes_truenodeids": of_inner(place[branches[1, node]]),
        "nodes_falsenodeids": of_inner(place[branches[0, node]]),
        "target_treeids": tree[ends][which].tolist(),
        "target_nodeids": place[node[ends]][which].tolist(),
        "target_ids": outputs[told].tolist(),
        "target_weights": said[told].tolist(),
    }


def _nodes(
    branches: NDArray[np.int32], roots: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the tree of each node, and the node, tree by tree and each from its root on; int64 (J,) both."""
    tree, node = np.arange(len(roots)), roots
    trees, nodes = [tree], [node]
    while len(node):
        inner = branches[0, node] != node  # leaves lead to themselves
        tree = np.repeat(tree[inner], 2)
        node = branches[:, node[inner]].T.reshape(-1).astype(np.int64)
        trees.append(tree)
        nodes.append(node)
    every, found = np.concatenate(trees), np.concatenate(nodes)
    order = np.argsort(every, kind="stable")
    return every[order], found[order]
