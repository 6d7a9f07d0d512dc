"""Trees on the prepared columns of a table: members beside its network, a forest and boosted trees.

`select` offers them. They are grown once for each fold, without the rows of the fold.

Shapes: N rows · P prepared columns · M folds · L leaves · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, assert_never

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.config import FitConfig
from manyhot.model.forest import BoostedTrees, Forest, Trees
from manyhot.schema import Target
from manyhot.targets import IntArray, Weight, num_outputs, set_table, weighed
from manyhot.train.examples import NEVER, Columns, examples, of_each_fold
from manyhot.train.prepared import Prepared

Values = NDArray[np.float32]
TREES = 300  # of a forest, of all folds together
# Of boosted trees of all folds together, and the rounds; a round has one for each class.
BOOSTED, ROUNDS = 3_000, (20, 100)
STEPS = 10.0  # the sum of the learning rates of all rounds
LEAVES, BINS = 15, 63  # half and a quarter of scikit-learn's defaults: as good on the suite, in half the time
MOST_CLASSES = 30  # that trees are boosted for


class Tree(NamedTuple):
    """One tree, its nodes counted from 0.

    feature, threshold, branches  as `Trees` has them
    ends  the nodes that are leaves and are met. says: (L, W), what each tells
    """

    feature: NDArray[Any]
    threshold: NDArray[Any]
    branches: NDArray[Any]
    ends: NDArray[Any]
    says: NDArray[Any]


_NODE = np.zeros(1, int)
NOTHING = Tree(_NODE, _NODE, np.zeros((2, 1), int), _NODE, np.zeros((1, 1)))


def grow(prepared: Prepared, columns: Columns) -> Forest:
    """Grow a forest for each target."""
    from sklearn.ensemble import ExtraTreesClassifier

    config = prepared.config
    count = max(20, TREES // config.folds)
    trees = {}
    for target, parts in examples(prepared):
        grown: list[Tree] = []
        for rows, y, weight in parts:
            forest = ExtraTreesClassifier(count, n_jobs=config.threads, random_state=config.seed)
            x, (parted_by, shares) = columns[rows], _leaves(target, y)
            forest.fit(x, parted_by, weight)
            while forest.estimators_:  # which take as much again as what is made of them
                grown.append(_tree(forest.estimators_.pop(0).tree_, x, shares, weight))
        trees[target.name] = Trees(target, _joined(grown, len(parts)))
    return Forest(prepared.schema.targets, trees)


def _leaves(target: Target, y: IntArray) -> tuple[IntArray, Values]:
    """Return by what rows are parted, and what a leaf would tell of each of them alone, float (N, W).

    Rows of a powerset are parted by their tags, which says more of sets that are rarely met.
    """
    match target.structure:
        case "binary":
            return y, y[:, None].astype(np.float32)
        case "multilabel":
            return y, y.astype(np.float32)
        case "multiclass":
            return y, np.eye(target.outcomes, dtype=np.float32)[y]
        case "powerset":
            return set_table(target)[y], np.eye(target.outcomes, dtype=np.float32)[y]
        case _:
            assert_never(target.structure)


def boost(prepared: Prepared, columns: Columns) -> Forest:
    """Boost trees for each target of one answer a row; for tags and their sets that takes too long."""
    config = prepared.config
    trees: dict[str, Trees] = {}
    for target, parts in examples(prepared):
        if not target.exclusive or target.outcomes > MOST_CLASSES:
            continue
        of_fold = partial(_boosted, columns, num_outputs(target), config)
        grown, starts = zip(*of_each_fold(of_fold, parts, config.threads), strict=True)
        arrays = _joined([tree for fold in grown for tree in fold], len(parts))
        trees[target.name] = BoostedTrees(target, {**arrays, "start": torch.from_numpy(np.stack(starts))})
    return Forest(prepared.schema.targets, trees)


def _boosted(
    columns: Columns,
    width: int,
    config: FitConfig,
    rows: NDArray[np.intp],
    y: IntArray,
    weight: Weight = None,
) -> tuple[list[Tree], Values]:
    """Return the trees of one fold, round by round, one for each output, and what they add to, float (W,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rounds = int(np.clip(BOOSTED // (config.folds * width), *ROUNDS))
    model = HistGradientBoostingClassifier(
        max_iter=rounds,
        learning_rate=STEPS / rounds,
        max_leaf_nodes=LEAVES,
        max_bins=BINS,
        early_stopping=False,
        random_state=config.seed,
    ).fit(columns[rows], y, weight)
    start, outputs = np.full(width, NEVER, np.float32), list(model.classes_)
    if len(outputs) == 2:  # one tree a round, which says how much likelier the second is
        start[outputs[0] if width > 1 else 0] = 0.0
        outputs = [outputs[1] if width > 1 else 0]
    start[outputs] = model._baseline_prediction[0]
    grown = []
    for trees in model._predictors:
        of_round = [NOTHING] * width
        for output, tree in zip(outputs, trees, strict=True):
            of_round[output] = _boosted_tree(tree.nodes)
        grown += of_round
    return grown, start


def _tree(tree: Any, x: Values, shares: Values, weight: Weight) -> Tree:
    """Return one of scikit-learn's trees; a leaf says what the rows (x, shares) are that end there."""
    own, leaf = np.arange(tree.node_count), tree.children_left < 0
    left, right = (np.where(leaf, own, side) for side in (tree.children_left, tree.children_right))
    of_row = tree.apply(x)
    amounts = np.bincount(of_row, weight, tree.node_count)
    ends = np.flatnonzero(amounts)
    says = np.zeros((tree.node_count, shares.shape[1]), np.float32)
    np.add.at(says, of_row, weighed(shares, weight))
    feature = np.where(leaf, 0, tree.feature).astype(np.int32)
    branches = np.stack([right, left]).astype(np.int32)
    return Tree(
        feature,
        tree.threshold.astype(np.float32),
        branches,
        ends,
        (says[ends] / amounts[ends, None]).astype(np.float32),
    )


def _boosted_tree(nodes: NDArray[Any]) -> Tree:
    """Return one of scikit-learn's boosted trees."""
    own, leaf = np.arange(len(nodes)), nodes["is_leaf"].astype(bool)
    left, right = (np.where(leaf, own, nodes[side]) for side in ("left", "right"))
    feature = np.where(leaf, 0, nodes["feature_idx"])
    branches = np.stack([right, left])
    return Tree(feature, nodes["num_threshold"], branches, own[leaf], nodes["value"][leaf, None])


def _joined(trees: Sequence[Tree], folds: int) -> dict[str, torch.Tensor]:
    """Put the nodes of all trees one after the other, and each different leaf once."""
    first = np.cumsum([0, *(len(tree.feature) for tree in trees)])
    leaf, seen = np.zeros(first[-1], np.int32), dict[bytes, int]()
    for start, tree in zip(first, trees, strict=False):
        says = np.ascontiguousarray(tree.says, np.float32)
        each = says.view(f"V{says[:1].nbytes}")[:, 0].tolist()  # the bytes of a row
        leaf[start + tree.ends] = [seen.setdefault(key, len(seen)) for key in each]
    arrays = {
        "feature": np.concatenate([tree.feature for tree in trees]).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]).astype(np.float32),
        "branches": np.concatenate(
            [tree.branches + start for start, tree in zip(first, trees, strict=False)], axis=1, dtype=np.int32
        ),
        "leaf": leaf,
        "value": np.frombuffer(b"".join(seen), np.float32).reshape(len(seen), -1).copy(),
        "roots": first[:-1].astype(np.int64).reshape(folds, -1),
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in arrays.items()}
