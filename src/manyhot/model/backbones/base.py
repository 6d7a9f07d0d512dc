"""What every backbone is: a module that says how many features it gives."""

from __future__ import annotations

from torch import Tensor, nn

Pairs = tuple[tuple[str, str], ...]  # names of a convolution and of the batch norm that alone reads it


class Backbone(nn.Module):
    """A network from prepared x to features (N, num_features), or of M members to (N, M, num_features)."""

    num_features: int
    members: int
    pairs: Pairs = ()  # for `fusion`

    def __init__(self, layers: nn.Module, num_features: int, members: int = 1) -> None:
        super().__init__()
        self.layers = layers
        self.num_features = num_features
        self.members = members

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of x; float (N, num_features), or (N, M, num_features)."""
        features: Tensor = self.layers(x)
        return features
