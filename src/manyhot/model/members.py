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
    """A network for each member; all see the same x."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, M, O) where each network gives (N, O), or has members of its own."""
        each = [network(x) for network in self.networks]
        return torch.cat(each, dim=1) if each[0].ndim == 3 else torch.stack(each, dim=1)
