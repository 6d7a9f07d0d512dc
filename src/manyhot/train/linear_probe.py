"""Linear probe: the heads alone learn, on features that the backbone gives each row once.

`run` trains what `heads_on_features` lends as it would train anything else: before the whole network learns
(linear probing, then fine-tuning), or, with `config.freeze`, instead.

Shapes: N rows · F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.data.arrays import BLOCK, blocks
from manyhot.data.rows import split
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout
from manyhot.model.inference import device_of
from manyhot.model.members import MemberLinear
from manyhot.model.network import Heads, Network
from manyhot.train.prepared import Prepared


@contextmanager
def heads_on_features(
    prepared: Prepared, network: Network, x: NDArray[np.float32], config: FitConfig
) -> Iterator[tuple[Prepared, Network]]:
    """Lend the rows as the features x (N, F) that the backbone gives, and a network of the heads alone.

    It scales the features to a mean of 0 and a deviation of 1 over the training rows. The heads are the
    network's own: what they learn is in it afterwards, where they read features as they are.

    Source: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features".
    """
    still: dict[str, Any] = {"augment": "none", "random_erasing": 0.0, "mixup": 0.0, "first_size": 0}
    mean, deviation = _moments(x, prepared.of_part(split.TRAIN))
    # A feature that is nearly always the same would be blown up beyond all others.
    deviation = np.maximum(deviation, max(deviation.mean() / 10, 1e-6))
    stem = Scaled(torch.from_numpy(mean), torch.from_numpy(deviation)).to(device_of(network))
    alone = Network(
        stem, Backbone(Dropout(config.dropout), x.shape[1], network.backbone.members), network.heads
    )
    if config.start:  # what the heads have learned of features as they are, they know of scaled ones too
        _unscale(network.heads, -mean / deviation, 1 / deviation)
    yield prepared.with_x(x, replace(config, channels_last=False, **still)), alone
    _unscale(network.heads, mean, deviation)


def _moments(x: NDArray[np.float32], rows: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the mean and the deviation of some rows of x, both (F,); of many rows a block at a time."""
    if len(rows) <= BLOCK:
        return x[rows].mean(axis=0), x[rows].std(axis=0)
    parts = [rows[block] for block in blocks(len(rows))]
    mean = np.sum([x[part].sum(axis=0, dtype=np.float64) for part in parts], axis=0) / len(rows)
    squares = np.sum([np.square(x[part] - mean).sum(axis=0) for part in parts], axis=0) / len(rows)
    return mean.astype(np.float32), np.sqrt(squares).astype(np.float32)


@torch.no_grad()
def _unscale(heads: Heads, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
    """Let heads that read (features − mean) / deviation, both (F,), read features: the answers stay."""
    for layer in heads.modules():
        if isinstance(layer, (nn.Linear, MemberLinear)):
            # (F, W), of members (M, F, W)
            by_feature = layer.weight.T if isinstance(layer, nn.Linear) else layer.weight
            by_feature /= torch.from_numpy(deviation).to(by_feature)[:, None]
            layer.bias.sub_(torch.from_numpy(mean).to(by_feature) @ by_feature)


class Scaled(nn.Module):
    """Features (N, F) less their mean, divided by their deviation, both (F,)."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("deviation", deviation, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, F)."""
        return (x - self.mean) / self.deviation
