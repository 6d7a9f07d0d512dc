"""Answers by the training rows that look most alike, for labels too rare for a head to learn.

`network.Model` asks them along with its heads; `train.together` finds out whether that is better.

Shapes: N rows asked · R rows remembered · F features · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PRIOR = 0.05  # how much all rows alike count beside those that look alike, which have 1 together


class Neighbours(nn.Module):
    """What the rows remembered say of each target, each weighed by the softmax of its features' cosine.

    Source: Vinyals et al. 2016, "Matching Networks for One Shot Learning", section 2.1.1; that it helps along
    with a network's own answers, Khandelwal et al. 2020, "Generalization through Memorization".
    """

    rows: Tensor
    temperature: Tensor

    def __init__(self, features: Tensor, votes: Mapping[str, Tensor], temperature: float = 1.0) -> None:
        """Remember rows.

        Shape:
            features: float (R, F). votes: by target (2, R, W), what a row says for and against each output,
                as `losses.votes` gives it.
        """
        super().__init__()
        self.register_buffer("rows", F.normalize(features.float(), dim=1).half())
        self.register_buffer("temperature", torch.tensor(temperature))
        self.votes = {name: f"votes{number}" for number, name in enumerate(votes)}
        for name, of_target in votes.items():
            self.register_buffer(self.votes[name], of_target.half())  # 0 and 1, or the share of a set

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the logits of each target, float (N, W), for features (N, F).

        A target of which the rows alike know nothing is answered with how often each class is met.
        """
        cosines = F.normalize(features.float(), dim=1) @ self.rows.float().T
        weights = torch.softmax(cosines / self.temperature, dim=1)
        return {name: _logits(weights, self.get_buffer(own).float()) for name, own in self.votes.items()}


def _logits(weights: Tensor, votes: Tensor) -> Tensor:
    frequencies = (votes.sum(1, keepdim=True) + 1) / (votes.shape[1] + 1)  # each seen once more: never 0
    said = weights @ votes + PRIOR * frequencies
    return said[0].log() - said[1].log()
