"""Training the heads alone: the backbone sees every row once, and the loop then runs on what it gave.

`classifier.fit` trains what `heads_alone` lends as it would train anything else: before the whole model
learns, or, with `config.freeze`, instead.

Shapes: N rows · F features.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyhot.data.rows import split
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout
from manyhot.model.network import Model
from manyhot.train.prepare import Prepared


@contextmanager
def heads_alone(prepared: Prepared, model: Model, x: NDArray[np.float32]) -> Iterator[tuple[Prepared, Model]]:
    """Lend the rows as the features x (N, F) that the model's backbone gives, and a model of its heads alone.

    It scales the features to a mean of 0 and a deviation of 1 over the training rows. The heads are the
    model's own: what they learn is in it afterwards, where they read features as they are.
    """
    config = replace(
        prepared.config, augment="none", erasing=0.0, mixing=0.0, first_size=0, views=1, channels_last=False
    )
    train = x[prepared.rows(split.TRAIN)]
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    # A feature that is nearly always the same would be blown up beyond all others.
    deviation = np.maximum(deviation, max(deviation.mean() / 10, 1e-6))
    stem = Scaled(torch.from_numpy(mean), torch.from_numpy(deviation)).to(next(model.parameters()).device)
    alone = Model(stem, Backbone(Dropout(config.dropout), x.shape[1]), prepared.schema.targets)
    alone.heads = model.heads
    yield replace(prepared, config=config, x=x), alone
    model.unscale(mean, deviation)


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
