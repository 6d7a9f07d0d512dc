"""Losses on logits, for each structure of outputs.

Two are all there is: binary cross-entropy for the sigmoid, cross-entropy for the softmax, both computed on
logits, where they do not overflow; `targets.probabilities` has the links themselves. A label powerset is a
softmax over its sets; the loss of a row some of whose tags are unknown is that of all sets consistent with
it.

Shapes: N rows · M members · C classes · K sets · W outputs (1 for binary, K for a powerset, else C).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from manyhot.schema import Target
from manyhot.targets import UNKNOWN, WEIGHT, set_table

TINY = 1e-12  # keeps a loss of nothing known from being 0/0


def loss(
    target: Target, logits: Tensor, y: Tensor, smoothing: float | Tensor = 0.0, weight: Tensor | None = None
) -> Tensor:
    """Return the mean loss over the known entries of y; 0, with gradient 0, when there is none.

    Args:
        smoothing: share of the answer given to all classes alike, in [0, 1); a tensor where it changes while
            the step is captured.
        weight: for multiclass (C,), the weight of each class; otherwise (2, W), the weights of
            no and of yes. The mean is then a weighted one, of logits to which the logarithms of the weights
            are added: so they stay those of how often classes are met, and their probabilities true.

    Shape:
        logits: float (N, W). y: int64 as `targets.encode` gives it, −1 for unknown. out: ().
        For M members logits are (N, M, W), and y has a number after N that divides M: labels for each fold.

    Source: label smoothing after Szegedy et al. 2015, section 7; weights as a shift of logits after King and
    Zeng 2001, "Logistic Regression in Rare Events Data", section 4.1 (prior correction).

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
    smoothing: float | Tensor,
    weight: Tensor | None,
    counts: Tensor | None = None,
    tag_loss: str = "cross_entropy",
) -> tuple[Tensor, Tensor]:
    """Return the summed loss of the known entries and their summed weight, both ().

    `counts` (N,) is how much each row counts.
    """
    if logits.ndim == 3:  # the members of each fold have labels of their own
        y = y.repeat_interleave(logits.shape[1] // y.shape[1], dim=1)
        counts = None if counts is None else counts.repeat_interleave(logits.shape[1])
        logits, y = logits.flatten(0, 1), y.flatten(0, 1)
    every, amount = _each(target, logits, y, smoothing, weight, tag_loss)
    if counts is not None:
        amount = amount * counts.reshape(-1, *[1] * (amount.ndim - 1))
    return (every * amount).sum(), amount.sum()


def _each(
    target: Target, logits: Tensor, y: Tensor, smoothing: float | Tensor, weight: Tensor | None, tag_loss: str
) -> tuple[Tensor, Tensor]:
    """Return the loss of each entry of y and how much it counts, both (N,) or (N, W)."""
    match target.structure:
        case "powerset":
            return _of_sets(target, logits, y, smoothing)
        case "multiclass":
            logits = logits if weight is None else logits + weight.log()
            logits, there = _where_known(logits, y)
            safe = y.clamp(min=0)
            every = _cross_entropy(logits, safe, smoothing)
            return every, there.float() if weight is None else there * weight[safe]
        case "binary" | "multilabel":
            logits = logits if weight is None else logits + (weight[1] / weight[0]).log()
            logits, there = _where_known(logits, y)
            wanted = y.clamp(min=0).float() * (1 - smoothing) + smoothing / 2
            every = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
            if not target.exclusive and tag_loss != "cross_entropy":
                every = every * _focal_weight(logits, y, tag_loss)
            if weight is None:
                return every, there.float()
            return every, there * torch.where(y == 1, weight[1], weight[0])
        case _:
            assert_never(target.structure)


def _cross_entropy(logits: Tensor, y: Tensor, smoothing: float | Tensor) -> Tensor:
    """Return torch's cross-entropy of each row, which takes no smoothing that lies on a device."""
    if isinstance(smoothing, float):
        return F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
    logs = F.log_softmax(logits, dim=1)
    return F.nll_loss(logs, y, reduction="none") * (1 - smoothing) - logs.mean(dim=1) * smoothing


def _where_known(logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits, 0 where nothing is known, and where something is.

    What is unknown is cut out before anything is computed of it, so that even an infinite logit leaves no
    trace of itself in the loss or the gradient.
    """
    there = y != UNKNOWN
    return torch.where(there.reshape(len(y), -1), logits, torch.zeros_like(logits)), there


def _focal_weight(logits: Tensor, y: Tensor, tag_loss: str) -> Tensor:
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


def _of_sets(target: Target, logits: Tensor, y: Tensor, smoothing: float | Tensor) -> tuple[Tensor, Tensor]:
    """Return as `_each`: the log loss of a row's set, or of all sets that agree with its known tags.

    A row of which nothing is known, or with which no set agrees, counts as unknown.
    """
    table = _set_table(target, logits.device)
    clashes = (y == 1).float() @ (1 - table).T + (y == 0).float() @ table.T
    agrees = clashes == 0
    there = (y != UNKNOWN).any(dim=1) & agrees.any(dim=1)
    agrees = agrees | ~there[:, None]  # nothing known: all sets agree, the loss is 0 and so its gradient
    logits = torch.where(there[:, None], logits, torch.zeros_like(logits))
    logs = torch.log_softmax(logits, dim=1)
    every = -torch.logsumexp(logs.masked_fill(~agrees, -torch.inf), dim=1) * (1 - smoothing)
    every = every - smoothing * logs.mean(dim=1)
    return every, there.float()


@lru_cache(maxsize=8)
def _set_table(target: Target, device: torch.device) -> Tensor:
    """Return `targets.set_table` as float32 on a device, sent there once."""
    return torch.from_numpy(set_table(target)).to(device, torch.float32)


def total(
    targets: Sequence[Target],
    logits: Mapping[str, Tensor],
    y: Mapping[str, Tensor],
    smoothing: float | Tensor = 0.0,
    weights: Mapping[str, Tensor] | None = None,
    target_weights: Mapping[str, float] | None = None,
    add_up: Callable[[Tensor], Tensor] = lambda amounts: amounts,
    mixed: tuple[Mapping[str, Tensor], Tensor] | None = None,
    tag_loss: str = "cross_entropy",
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of the targets' losses, and each target's own.

    Args:
        y: as `targets.Labels`.
        mixed: labels as y of the pictures that are mixed into the rows, and what share (N,) of each row is
            of y; each label counts by its share, and an unknown one counts nothing.
        tag_loss: what of the cross-entropy of tags counts: all of it, or less of the easy ones.
        add_up: makes the weight of the known entries here that of the whole batch, where other
            processes have the rest of it; what is returned is then this share of the mean.
    """
    halves = [(y, y.get(WEIGHT))]
    if mixed is not None:
        both = ((y, mixed[1]), (mixed[0], 1 - mixed[1]))
        halves = [(labels, share * labels.get(WEIGHT, 1.0)) for labels, share in both]
    summed, known = [], []
    for t in targets:
        settings = (smoothing, (weights or {}).get(t.name))
        pairs = [_summed(t, logits[t.name], of[t.name], *settings, counts, tag_loss) for of, counts in halves]
        summed.append(reduce(torch.add, [loss for loss, _ in pairs]))
        known.append(reduce(torch.add, [amount.float() for _, amount in pairs]))
    amounts = add_up(torch.stack(known)).clamp(min=TINY)
    each = {t.name: summed[i] / amounts[i] for i, t in enumerate(targets)}
    shares = target_weights or {}
    weighted = [value * shares.get(name, 1.0) for name, value in each.items()]
    return torch.stack(weighted).sum(), each
