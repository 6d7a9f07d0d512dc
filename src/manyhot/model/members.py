"""Several members in one network: layers that hold one set of weights for each, or networks side by side.

A network of members gives (N, M, ·) where one network gives (N, ·). With `config.folds` each member
is trained without one part of the rows, so that every row is judged by a member that never saw it;
a prediction is the mean of all members' probabilities.

Shapes: N rows · M members · I in · O out.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MemberLinear(nn.Module):
    """A linear layer for each member; begins as `nn.Linear` does."""

    def __init__(self, members: int, before: int, after: int) -> None:
        super().__init__()
        bound = before**-0.5
        self.weight = nn.Parameter(torch.empty(members, before, after).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(members, after).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, M, O) for x of (N, M, I), or of (N, I), which all members then share."""
        shape = "nmi,mio->nmo" if x.ndim == 3 else "ni,mio->nmo"
        return torch.einsum(shape, x, self.weight) + self.bias


def linear(members: int, before: int, after: int) -> nn.Module:
    """Return a linear layer for so many members; an ordinary one for one."""
    return MemberLinear(members, before, after) if members > 1 else nn.Linear(before, after)


class SideBySide(nn.Module):
    """A network for each member; all see the same x, but in training `own_batches` where they have such."""

    def __init__(self, networks: Iterable[nn.Module], own_batches: bool = False) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.own_batches = own_batches

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, M, O) where each network gives (N, O), or has members of its own.

        Of batches of their own, the first N rows of x are the first member's, and so on.
        """
        own = self.own_batches and self.training
        parts = x.chunk(len(self.networks)) if own else [x] * len(self.networks)
        each = [network(part) for network, part in zip(self.networks, parts, strict=True)]
        return torch.cat(each, dim=1) if each[0].ndim == 3 else torch.stack(each, dim=1)
