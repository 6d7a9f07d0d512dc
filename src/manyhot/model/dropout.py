"""Forgetting some features at random while learning.

Backbones and the heads of features use it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 1 << 16  # of a number of 16 bits
WORDS = 4  # numbers of 16 bits in one of 64


class Dropout(nn.Module):
    """As `nn.Dropout`, which takes six times as long on a processor: it draws a double for each number.

    This draws four numbers of 16 bits at once instead, so that a share is met to a 65,536th; on other devices
    it is torch's own.

    Source: Srivastava et al. 2014, "Dropout", scaled while learning.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """Return x with a share of its numbers 0 and the others larger by as much, outside of training x."""
        if not self.training or not self.share:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        dropped = min(round(self.share * LEVELS), LEVELS - 1)  # of as many equally likely numbers
        words = torch.empty(-(-x.numel() // WORDS), dtype=torch.int64)
        numbers = words.random_(-(2**63), None).view(torch.int16)[: x.numel()].view(x.shape)
        kept = numbers >= dropped - LEVELS // 2
        return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))
