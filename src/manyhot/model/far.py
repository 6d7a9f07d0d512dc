"""How far a row lies from all that training saw, as a part of what answers: two numbers beside the logits.

`train.far` makes a Far and finds out from which numbers on a row is far; `predictor` asks it.

Shapes: N rows · D columns of x · F features · R training rows · K directions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyhot.data.inputs.features import BOUND

NEAREST = 10  # the training row whose distance counts


class Far(nn.Module):
    """The distance to the tenth nearest of some training rows, and how far a column is outside its range.

    Features are divided by their length, columns of tables taken as they are prepared; both are seen from the
    middle of the training rows, along the directions in which these differ most.

    Source: Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest Neighbors".
    """

    keys: Tensor
    middle: Tensor
    directions: Tensor
    low: Tensor
    high: Tensor
    unseen: Tensor

    def __init__(
        self, keys: Tensor, middle: Tensor, directions: Tensor, low: Tensor, high: Tensor, unseen: Tensor
    ) -> None:
        """Hold training rows.

        Shape:
            keys: (R, K). middle: (F,). directions: (F, K). low, high: (D,), the least and the largest of each
            number of x, spread again; of pictures D is 0. unseen: (D,), 1 for a category that no training row
            lacks, else 0.
        """
        super().__init__()
        for name, value in (
            ("keys", keys.half()),
            ("middle", middle),
            ("directions", directions),
            ("low", low),
            ("high", high),
            ("unseen", unseen),
        ):
            self.register_buffer(name, value)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Return the distance, and how many ranges a column lies outside of its own; float (N, 2).

        Shape:
            x: as the inputs give it. features: (N, F).
        """
        places = self.placed(features)
        keys = self.keys.float()
        squares = (places**2).sum(1, keepdim=True) + (keys**2).sum(1) - 2 * places @ keys.T
        nearest = min(NEAREST, len(keys))
        distance = squares.topk(nearest, dim=1, largest=False).values[:, -1:].clamp(min=0).sqrt()
        return torch.cat([distance, self.outside(x)], dim=1)

    def placed(self, features: Tensor) -> Tensor:
        """Return where rows lie, float (N, K)."""
        if not len(self.low):
            features = F.normalize(features.float(), dim=1)
        return (features - self.middle) @ self.directions

    def outside(self, x: Tensor) -> Tensor:
        """Return how many of its ranges the worst column is outside; 1 at least for a category not met."""
        if not len(self.low):
            return x.new_zeros((x.shape[0], 1), dtype=torch.float32)
        values = spread(torch.nan_to_num(x, nan=0.0))
        known = ~torch.isnan(x) & (self.high > self.low)
        reach = (self.high - self.low).clamp(min=1e-6)
        over = torch.maximum(values - self.high, self.low - values) / reach
        ranges = torch.where(known, over, 0.0).amax(1, keepdim=True).clamp(min=0)
        new = ((x == 0) & (self.unseen > 0)).any(1, keepdim=True).float()
        return torch.maximum(ranges, new)


def spread(x: Tensor) -> Tensor:
    """Undo `features._squash`, by which large values differ little."""
    inner = (x / BOUND).clamp(-1 + 1e-6, 1 - 1e-6)
    return BOUND * inner / (1 - inner**2).sqrt()
