"""What a kind of target means for logits: their loss, and the probabilities they stand for.

Two links are all there is: sigmoid with binary cross-entropy, softmax with cross-entropy. Both
are computed on logits, where they do not overflow.

Shapes: N rows · C classes · W outputs (1 for binary, else C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from manyhot.schema import Target
from manyhot.targets import UNKNOWN, IntArray, dense

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

    Source: label smoothing after Szegedy et al. 2015, section 7.

    >>> t = Target("t", "multiclass", ("a", "b", "c"), ("t",))
    >>> round(loss(t, torch.tensor([[0.2, 0.1, -0.1]]), torch.tensor([0])).item(), 5)
    0.97292
    """
    summed, amount = _summed(target, logits, y, smoothing, weight)
    return summed / amount.clamp(min=TINY)


def _summed(
    target: Target, logits: Tensor, y: Tensor, smoothing: float, weight: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the summed loss of the known entries and their summed weight, both ()."""
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
            amount = there.float() if weight is None else there * torch.where(y == 1, weight[1], weight[0])
        case _:
            assert_never(target.kind)
    return (every * amount).sum(), amount.sum()


def probabilities(target: Target, logits: Tensor) -> Tensor:
    """Return probabilities of all classes, in [0, 1].

    Shape:
        logits: float (N, W). out: float (N, C); for binary, of no and of yes.
    """
    match target.kind:
        case "multiclass":
            return torch.softmax(logits / target.temperature, dim=1)
        case "binary":
            return torch.sigmoid(torch.cat([-logits, logits], dim=1) / target.temperature)
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
    table = dense(target, y)
    yes = np.nansum(table, axis=0)
    known = (~np.isnan(table)).sum(axis=0)
    match target.kind:
        case "multiclass":
            share = yes.sum() / (np.maximum(yes, 1) * max((yes > 0).sum(), 1))
            return np.where(yes > 0, share, 1).astype(np.float32)
        case "binary" | "multilabel":
            counts = np.stack([known - yes, yes])
            return np.where(counts > 0, known / (2 * np.maximum(counts, 1)), 1).astype(np.float32)
        case _:
            assert_never(target.kind)


def total(
    targets: Sequence[Target],
    logits: Mapping[str, Tensor],
    y: Mapping[str, Tensor],
    smoothing: float = 0.0,
    weights: Mapping[str, Tensor] | None = None,
    target_weights: Mapping[str, float] | None = None,
    add_up: Callable[[Tensor], Tensor] = lambda amounts: amounts,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of the targets' losses, and each target's own.

    Args:
        add_up: makes the weight of the known entries here that of the whole batch, where other
            processes have the rest of it; what is returned is then this share of the mean.
    """
    pairs = [_summed(t, logits[t.name], y[t.name], smoothing, (weights or {}).get(t.name)) for t in targets]
    amounts = add_up(torch.stack([amount.float() for _, amount in pairs])).clamp(min=TINY)
    each = {t.name: pairs[i][0] / amounts[i] for i, t in enumerate(targets)}
    shares = target_weights or {}
    weighted = [value * shares.get(name, 1.0) for name, value in each.items()]
    return torch.stack(weighted).sum(), each
