"""Trees as arrays of numbers: scikit-learn grew them, torch answers by them, without a pickle.

`train.trees` grows one, `predictor` asks it.

Shapes: N rows · P columns · M folds · T trees of a fold · J nodes of all trees · L different leaves · W
outputs of a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from manyhot.schema import Target
from manyhot.targets import num_outputs

# Of every answer a share is that all are alike: no leaf of a few rows makes a class impossible.
DOUBT = 0.02
TOGETHER = 64  # trees gone down at once
ARRAYS = ("feature", "threshold", "branches", "leaf", "value", "roots")


class Trees(nn.Module):
    """The trees of one target. A leaf is a node whose branches are itself.

    Source: Geurts, Ernst and Wehenkel 2006, "Extremely randomized trees".
    """

    feature: Tensor
    threshold: Tensor
    branches: Tensor
    leaf: Tensor
    value: Tensor
    roots: Tensor
    onward: Tensor
    ordered: Tensor
    place: Tensor

    def __init__(self, target: Target, arrays: Mapping[str, Tensor]) -> None:
        """Hold trees.

        Shape:
            feature: int32 (J,), the column a node looks at. threshold: float (J,). branches: int32 (2, J),
                where it goes on above the threshold, and not above. leaf: int32 (J,), which of the different
                leaves a node is. value: float (L, C), what the rows of a leaf are, as probabilities.
                roots: int64 (M, T).
        """
        super().__init__()
        self.structure = target.structure
        for name in ARRAYS:
            self.register_buffer(name, arrays[name])
        depths = _depths(self.branches, self.roots)
        order = depths.argsort(stable=True)
        self.depths: list[int] = depths[order].tolist()
        # The roots from the lowest tree to the highest, and where each stands among them.
        self.register_buffer("ordered", self.roots.reshape(-1)[order], persistent=False)
        self.register_buffer("place", order.argsort(), persistent=False)
        # Where it goes on from a node, not above and above: what one step looks up, side by side.
        self.register_buffer("onward", self.branches.flip(0).T.reshape(-1).long(), persistent=False)

    def leaves(self, columns: Tensor) -> Tensor:
        """Return the leaf, int64 (M, T, N) below L, at which each row of columns (N, P) ends in each tree.

        All rows go down a tree one after the other, since a processor finds a tree's nodes near each other;
        and so few trees at a time, alike in depth, that its cache holds where they are.
        """
        rows, trees = columns.shape[0], len(self.depths)
        cells = columns.T.reshape(-1)  # (P · N)
        first = self.feature.long() * rows
        found = []
        for start in range(0, trees, TOGETHER):
            end = min(start + TOGETHER, trees)
            own = torch.arange(rows, device=columns.device).repeat(end - start)
            node = self.ordered[start:end].unsqueeze(1).expand(-1, rows).reshape(-1)
            for _ in range(self.depths[end - 1]):
                seen = cells.index_select(0, first.index_select(0, node) + own)
                above = seen > self.threshold.index_select(0, node)
                node = self.onward.index_select(0, node * 2 + above)
            found.append(self.leaf.index_select(0, node).reshape(end - start, rows))
        return torch.cat(found).index_select(0, self.place).long().reshape(*self.roots.shape, rows)

    def reached(self, columns: Tensor) -> Tensor:
        """Return what the leaves that rows (N, P) end in say, over all trees of a fold: here their mean.

        Shape:
            out: float (N, M, C).
        """
        ends = self.leaves(columns).permute(2, 0, 1)  # (N, M, T)
        share = torch.full_like(ends, 1 / ends.shape[2], dtype=columns.dtype)
        met = share.new_zeros((*ends.shape[:2], len(self.value)))
        return met.scatter_add(2, ends, share) @ self.value.to(columns.dtype)

    def forward(self, columns: Tensor) -> Tensor:
        """Return logits, float (N, M, W), for columns (N, P)."""
        chances = self.reached(columns)
        match self.structure:
            case "multiclass" | "powerset":
                return torch.log(chances * (1 - DOUBT) + DOUBT / chances.shape[-1])
            case "binary" | "multilabel":
                return torch.logit(chances * (1 - DOUBT) + DOUBT / 2)
            case _:
                assert_never(self.structure)


class BoostedTrees(Trees):
    """Trees whose leaves add to a logit, each tree to that of one output, in turn.

    Source: Friedman 2001, "Greedy Function Approximation: A Gradient Boosting Machine".
    """

    start: Tensor

    def __init__(self, target: Target, arrays: Mapping[str, Tensor]) -> None:
        """Hold trees.

        Shape:
            value: float (L, 1), what a leaf adds. start: float (M, W), what it is added to.
        """
        super().__init__(target, arrays)
        self.register_buffer("start", arrays["start"])

    def reached(self, columns: Tensor) -> Tensor:
        """Return the sum of what the leaves say that rows (N, P) end in; float (N, M, W)."""
        folds, width = self.start.shape
        added = self.value[self.leaves(columns), 0].reshape(folds, -1, width, columns.shape[0])
        return added.sum(1).permute(2, 0, 1)

    def forward(self, columns: Tensor) -> Tensor:
        """Return logits, float (N, M, W), for columns (N, P)."""
        return self.reached(columns) + self.start


class Forest(nn.Module):
    """The trees of every target that they could be grown for; 0 for the others."""

    def __init__(self, targets: Sequence[Target], trees: Mapping[str, Trees]) -> None:
        super().__init__()
        self.names = [target.name for target in targets]
        self.numbers = {target.name: number for number, target in enumerate(targets) if target.name in trees}
        self.folds = max((each.roots.shape[0] for each in trees.values()), default=1)
        self.widths = {target.name: num_outputs(target) for target in targets}
        self.trees = nn.ModuleDict({str(number): trees[name] for name, number in self.numbers.items()})

    def forward(self, columns: Tensor) -> dict[str, Tensor]:
        """Return the logits of each target, float (N, M, W), for columns (N, P)."""
        found = {name: self.trees[str(number)](columns) for name, number in self.numbers.items()}
        shape = (columns.shape[0], self.folds)
        none = {name: columns.new_zeros((*shape, width)) for name, width in self.widths.items()}
        return none | found


def of_state(targets: Sequence[Target], state: Mapping[str, Tensor]) -> Forest:
    """Build a forest, or boosted trees, from the `state_dict`."""
    trees: dict[str, Trees] = {}
    for number, target in enumerate(targets):
        below = f"trees.{number}."
        arrays = {name.removeprefix(below): state[name] for name in state if name.startswith(below)}
        if arrays:
            trees[target.name] = BoostedTrees(target, arrays) if "start" in arrays else Trees(target, arrays)
    return Forest(targets, trees)


def _depths(branches: Tensor, roots: Tensor) -> Tensor:
    """Return how many steps it takes from each root to the last of its leaves; int64 (M · T)."""
    node = roots.reshape(-1).int()
    tree, depths = torch.arange(len(node)), torch.zeros(len(node), dtype=torch.int64)
    while len(node):
        above = branches[0].index_select(0, node)
        inner = above != node  # leaves lead to themselves, on both sides
        node = torch.cat([above[inner], branches[1].index_select(0, node[inner])])
        tree = tree[inner].repeat(2)
        depths[tree] += 1
    return depths
