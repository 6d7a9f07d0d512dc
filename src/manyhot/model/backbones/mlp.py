"""Multilayer perceptrons, for features and for small pictures laid flat.

Shapes: x (N, D) or (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from manyhot.config import FitConfig
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout
from manyhot.model.members import linear


def mlp(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """Two hidden layers with SiLU and dropout: the default for tables.

    They are of 256, or of 192 where columns come in pieces, since those are many and bent already. With
    `config.folds` it is a network of as many members.
    """
    width = 192 if config.piecewise else 256
    return _perceptron(shape, (width, width), nn.SiLU, config.dropout, config.folds)


def linear_model(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """No layer of its own: heads read the prepared columns as they are, which is logistic regression.

    Clustering sees a table through it, so that a table's groups lie in the space of its own columns.
    """
    return Backbone(nn.Flatten(), math.prod(shape))


def _perceptron(
    shape: tuple[int, ...],
    widths: Sequence[int],
    activation: type[nn.Module],
    dropout: float,
    members: int = 1,
) -> Backbone:
    layers: list[nn.Module] = [nn.Flatten()]
    before = math.prod(shape)
    for width in widths:
        layers += [linear(members, before, width), activation()]
        if dropout:
            layers.append(Dropout(dropout))
        before = width
    return Backbone(nn.Sequential(*layers), before, members)
