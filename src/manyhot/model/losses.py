"""What a kind of target means for logits: their loss, and the probabilities they stand for.

Two links are all there is: sigmoid with binary cross-entropy, softmax with cross-entropy. Both
are computed on logits, where they do not overflow. A multilabel target that has sets is a softmax
over these; the loss of a row some of whose tags are unknown is that of all sets that agree with it.

Shapes: N rows · C classes · K sets · W outputs (1 for binary, K for sets, else C) · P probabilities
(K for sets, else C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray, agreeing, dense, known, set_table

TINY = 1e-12  # keeps a loss of nothing known from being 0/0


def loss(
    target: Target, logits: Tensor, y: Tensor, smoothing: float = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the mean loss over the known entries of y; 0, with gradient 0, when there is none.

    Args:
        smoothing: share of the answer given to all classes alike, in [0, 1).
        weight: for multiclass (C,), the weight of each class; otherwise (2, W), the weights of
            no and of yes. The mean is then a weighted one.

    Shape:
        logits: float (N, W). y: int64 as `targets.encode` gives it, −1 for unknown. out: ().
        For M members logits are (N, M, W), and y has a number after N that divides M: labels for each fold.

    Source: label smoothing after Szegedy et al. 2015, section 7.

    >>> t = Target("t", "multiclass", ("a", "b", "c"), ("t",))
    >>> round(loss(t, torch.tensor([[0.2, 0.1, -0.1]]), torch.tensor([0])).item(), 5)
    0.97292
    """
    summed, amount = _summed(target, logits, y, smoothing, weight)
    return summed / amount.clamp(min=TINY)


def _summed(
    target: Target,
    logits: Tensor,
    y: Tensor,
    smoothing: float,
    weight: Tensor | None,
    own: Tensor | None = None,
    tag_loss: str = "cross_entropy",
) -> tuple[Tensor, Tensor]:
    """Return the summed loss of the known entries and their summed weight, both ().

    `own` (N,) is how much each row counts.
    """
    if logits.ndim == 3:  # the members of each fold have labels of their own
        y = y.repeat_interleave(logits.shape[1] // y.shape[1], dim=1)
        own = None if own is None else own.repeat_interleave(logits.shape[1])
        logits, y = logits.flatten(0, 1), y.flatten(0, 1)
    if target.sets:
        every, amount = _over_sets(target, logits, y, smoothing)
    else:
        every, amount = _over_entries(target, logits, y, smoothing, weight, tag_loss)
    if own is not None:
        amount = amount * own.reshape(-1, *[1] * (amount.ndim - 1))
    return (every * amount).sum(), amount.sum()


def _over_entries(
    target: Target, logits: Tensor, y: Tensor, smoothing: float, weight: Tensor | None, tag_loss: str
) -> tuple[Tensor, Tensor]:
    """Return the loss of each entry of y and how much it counts, both (N,) or (N, W)."""
    there = y != UNKNOWN
    # Where nothing is known the logit is cut out before anything is computed of it, so that even an
    # infinite one leaves no trace of itself in the loss or the gradient.
    logits = torch.where(there.reshape(len(y), -1), logits, torch.zeros_like(logits))
    match target.kind:
        case "multiclass":
            safe = y.clamp(min=0)
            every = F.cross_entropy(logits, safe, reduction="none", label_smoothing=smoothing)
            amount = there.float() if weight is None else there * weight[safe]
        case "binary" | "multilabel":
            wanted = y.clamp(min=0).float() * (1 - smoothing) + smoothing / 2
            every = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            if not target.exclusive and tag_loss != "cross_entropy":
                every = every * _less_of_the_easy(logits, y, tag_loss)
            amount = there.float() if weight is None else there * torch.where(y == 1, weight[1], weight[0])
        case _:
            assert_never(target.kind)
    return every, amount


def _less_of_the_easy(logits: Tensor, y: Tensor, tag_loss: str) -> Tensor:
    """Return how much of the loss of each tag is kept, the less the surer the answer is and right.

    Source: "focal", Lin et al. 2017, equation 4, γ = 2; "asymmetric", Ridnik et al. 2021, γ+ = 0, γ− = 4 and
    a margin of 0.05 below which an absent tag counts nothing (here a factor, without moving the
    logarithm's argument), so that the many absent tags do not drown the few that are there.
    """
    chance = torch.sigmoid(logits.detach())
    wrong = torch.where(y == 1, 1 - chance, chance)
    if tag_loss == "focal":
        return wrong.square()
    return torch.where(y == 1, 1.0, (wrong - 0.05).clamp(min=0) ** 4)


def _over_sets(target: Target, logits: Tensor, y: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Return as `_over_entries`: the log loss of a row's set, or of all sets that agree with its known tags.

    A row of which nothing is known, or with which no set agrees, counts as unknown.
    """
    table = torch.from_numpy(set_table(target)).to(logits.device, torch.float32)
    clashes = (y == 1).float() @ (1 - table).T + (y == 0).float() @ table.T
    agrees = clashes == 0
    there = (y != UNKNOWN).any(dim=1) & agrees.any(dim=1)
    agrees = agrees | ~there[:, None]  # nothing known: all sets agree, the loss is 0 and so its gradient
    logits = torch.where(there[:, None], logits, torch.zeros_like(logits))
    logs = torch.log_softmax(logits, dim=1)
    every = -torch.logsumexp(logs.masked_fill(~agrees, -torch.inf), dim=1) * (1 - smoothing)
    every = every - smoothing * logs.mean(dim=1)
    return every, there.float()


def probabilities(target: Target, logits: Tensor) -> Tensor:
    """Return probabilities of all classes (of all sets, where the target has some), in [0, 1].

    Shape:
        logits: float (N, W), or (N, M, W) of M members, whose mean it then is.
        out: float (N, P); for binary, of no and of yes.
    """
    if logits.ndim == 3:
        return torch.stack([probabilities(target, member) for member in logits.unbind(1)]).mean(0)
    match target.kind:
        case "multiclass":
            return torch.softmax(logits / target.temperature, dim=1)
        case "binary":
            return torch.sigmoid(torch.cat([-logits, logits], dim=1) / target.temperature)
        case "multilabel" if target.sets:
            return torch.softmax(logits / target.temperature, dim=1)
        case "multilabel":
            return torch.sigmoid(logits / target.temperature)
        case _:
            assert_never(target.kind)


def class_weights(target: Target, y: IntArray) -> NDArray[np.float32]:
    """Return weights that make all classes count alike, from the known cells.

    A class that has no rows has weight 1; the mean weight of a row is 1.

    Shape:
        y: as `targets.encode` gives it. out: as `loss` takes it.
    """
    yes, known = _counts(target, y)
    match target.kind:
        case "multiclass":
            share = yes.sum() / (np.maximum(yes, 1) * max((yes > 0).sum(), 1))
            return np.where(yes > 0, share, 1).astype(np.float32)
        case "binary" | "multilabel":
            counts = np.stack([known - yes, yes])
            return np.where(counts > 0, known / (2 * np.maximum(counts, 1)), 1).astype(np.float32)
        case _:
            assert_never(target.kind)


def _counts(target: Target, y: IntArray) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return of each column of `targets.dense` how many cells say yes, and how many are known; both (C,)."""
    table = dense(target, y)
    return np.nansum(table, axis=0), (~np.isnan(table)).sum(axis=0)


def log_odds(target: Target, y: IntArray) -> NDArray[np.float32]:
    """Return the logits that answer any row with how often the known cells say so, each seen once more.

    Shape:
        y: as `targets.encode` gives it. out: float32 (C,), of a binary target (1,).

    >>> tags = Target("t", "multilabel", ("a", "b"), ("t",))
    >>> np.exp(log_odds(tags, np.array([[1, 0], [1, -1], [1, 0]]))).round(2)
    array([4.  , 0.33], dtype=float32)
    """
    yes, known = _counts(target, y)
    match target.kind:
        case "multiclass":
            odds = np.log(yes + 1) - np.log(yes + 1).mean()
        case "binary" | "multilabel":
            odds = np.log((yes + 1) / (known - yes + 1))
        case _:
            assert_never(target.kind)
    return np.asarray(odds, np.float32)


def naive_bayes(target: Target, counts: NDArray[np.float32], y: IntArray) -> NDArray[np.float32]:
    """Return what each count adds to the logits, by how often each class or set meets it.

    Every class counts as having met every column once more than it has; unknown rows count nothing.

    Shape:
        counts: float32 (N, D), 0 and up. y: as `targets.encode` gives it.
        out: float32 (D + 1, W); the last is added to every row, by how frequent each class or set is.

    Source: McCallum and Nigam 1998, "A Comparison of Event Models for Naive Bayes Text Classification",
    section 2 (multinomial).

    >>> kinds = Target("t", "multiclass", ("a", "b"), ("t",))
    >>> weight = naive_bayes(kinds, np.array([[3, 0], [0, 1], [9, 9]], np.float32), np.array([0, 1, -1]))
    >>> np.exp(weight[:, 0] - weight[:, 1]).round(2)  # 4 to 1 words of 5, 1 to 2 of 3; rows 1 to 1
    array([2.4, 0.3, 1. ], dtype=float32)
    """
    yes, no = votes(target, y)
    return np.asarray(_logs_of_meeting(counts, yes) - _logs_of_meeting(counts, no), np.float32)


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
    match target.kind:
        case "multilabel" if target.sets:
            agrees = (agreeing(target, y) & known(y)[:, None]).astype(np.float32)
            yes = agrees / np.maximum(
                agrees.sum(axis=1, keepdims=True), 1
            )  # a row of several sets is of each
        case "multiclass":
            yes = np.nan_to_num(dense(target, y))
        case "binary" | "multilabel":
            table = dense(target, y)
            return np.nan_to_num(table), np.nan_to_num(1 - table)
        case _:
            assert_never(target.kind)
    return yes, np.broadcast_to(known(y)[:, None].astype(np.float32), yes.shape)


def _logs_of_meeting(counts: NDArray[np.float32], rows: NDArray[Any]) -> NDArray[Any]:
    """Return for rows (N, W) of W classes the logarithms of their shares of columns, and of their number."""
    met = counts.T @ rows + 1
    return np.asarray(np.log(np.vstack([met / met.sum(axis=0), rows.sum(axis=0) + 1])))


def total(
    targets: Sequence[Target],
    logits: Mapping[str, Tensor],
    y: Mapping[str, Tensor],
    smoothing: float = 0.0,
    weights: Mapping[str, Tensor] | None = None,
    target_weights: Mapping[str, float] | None = None,
    add_up: Callable[[Tensor], Tensor] = lambda amounts: amounts,
    mixed: tuple[Mapping[str, Tensor], Tensor] | None = None,
    tag_loss: str = "cross_entropy",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of the targets' losses, and each target's own.

    Args:
        mixed: labels as y of the pictures that are mixed into the rows, and what share (N,) of each row is
            of y; each label counts by its share, and an unknown one counts nothing.
        tag_loss: what of the cross-entropy of tags counts: all of it, or less of the easy ones.
        add_up: makes the weight of the known entries here that of the whole batch, where other
            processes have the rest of it; what is returned is then this share of the mean.
    """
    own = None if mixed is None else mixed[1]
    pairs = []
    for t in targets:
        settings = (smoothing, (weights or {}).get(t.name))
        pair = _summed(t, logits[t.name], y[t.name], *settings, own, tag_loss)
        if mixed is not None:
            of_other = _summed(t, logits[t.name], mixed[0][t.name], *settings, 1 - mixed[1], tag_loss)
            pair = (pair[0] + of_other[0], pair[1] + of_other[1])
        pairs.append(pair)
    amounts = add_up(torch.stack([amount.float() for _, amount in pairs])).clamp(min=TINY)
    each = {t.name: pairs[i][0] / amounts[i] for i, t in enumerate(targets)}
    shares = target_weights or {}
    weighted = [value * shares.get(name, 1.0) for name, value in each.items()]
    return torch.stack(weighted).sum(), each
