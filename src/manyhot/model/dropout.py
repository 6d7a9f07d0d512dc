"""Forgetting some features at random while learning.

Backbones and the heads of features use it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """As `nn.Dropout`, which takes three times as long on a processor: it draws each number as a double.

    Source: Srivastava et al. 2014, "Dropout", scaled while learning.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a share of its numbers 0 and the others larger by as much, outside of training x."""
        if not self.training or not self.share:
            return x
        kept = torch.rand(x.shape, device=x.device) >= self.share
        return x * kept.to(x.dtype).div_(1 - self.share)
