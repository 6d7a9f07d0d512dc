"""A k-NN head: answers by the training rows that look most alike, for labels too rare for a linear head.

`train.select` makes one and finds out whether it helps; `predictor` asks it.

Shapes: N rows asked · R training rows · F features · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PRIOR = 0.05  # how much all rows alike count beside those that look alike, which have 1 together


class Neighbours(nn.Module):
    """What the training rows say of each target, each weighed by the softmax of its features' cosine.

    Source: Vinyals et al. 2016, "Matching Networks for One Shot Learning", section 2.1.1; that it helps along
    with a network's own answers, Khandelwal et al. 2020, "Generalization through Memorization".
    """

    keys: Tensor
    temperature: Tensor
    columns: Tensor

    def __init__(self, keys: Tensor, values: Mapping[str, Tensor], temperature: float = 1.0) -> None:
        """Hold training rows.

        Shape:
            keys: float (R, F), the features of each row divided by their length. values: by target (2, R, W),
                what a row says for and against each output, as `priors.votes` gives it.
        """
        super().__init__()
        self.register_buffer("keys", keys.half())
        self.register_buffer("temperature", torch.tensor(temperature))
        # What follows from the rows is kept, so that no batch makes it anew.
        self.register_buffer("columns", self.keys.float().T, persistent=False)
        self.names = list(values)
        for number, of_target in enumerate(values.values()):
            self.register_buffer(f"values{number}", of_target.half())  # 0 and 1, or the share of a set
            said = self.get_buffer(f"values{number}").float()
            self.register_buffer(f"smoothed{number}", said + PRIOR * _frequencies(said), persistent=False)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return the logits of each target, float (N, W), or (N, M, W) of folds, for features (N, F).

        A target of which the rows alike know nothing is answered with how often each class is met.
        """
        alike = F.normalize(features.float(), dim=1) @ self.columns / self.temperature
        weights = torch.softmax(self.heard(alike), dim=-1)
        found = {}
        for number, name in enumerate(self.names):
            smoothed = self.get_buffer(f"smoothed{number}")
            found[name] = (weights @ smoothed[0]).log() - (weights @ smoothed[1]).log()
        return found

    def heard(self, alike: Tensor) -> Tensor:
        """Return how much alike (N, R) the rows are that are heard."""
        return alike


class FoldedNeighbours(Neighbours):
    """A member for each fold, which does not hear the rows of it."""

    fold: Tensor

    def __init__(
        self, keys: Tensor, values: Mapping[str, Tensor], fold: Tensor, temperature: float = 1.0
    ) -> None:
        """Hold training rows. Shape: fold: int8 (R,). Others: see `Neighbours`."""
        super().__init__(keys, values, temperature)
        self.register_buffer("fold", fold)
        number = torch.arange(int(fold.max()) + 1, device=fold.device)
        self.register_buffer("own", fold == number[:, None], persistent=False)

    def heard(self, alike: Tensor) -> Tensor:
        """Return how much alike the rows are that each member hears, float (N, M, R)."""
        return alike[:, None].masked_fill(self.get_buffer("own"), -torch.inf)


def _frequencies(votes: Tensor) -> Tensor:
    """Return how often each output is voted for and against, as if once more than it was: never 0."""
    return (votes.sum(1, keepdim=True) + 1) / (votes.shape[1] + 1)
