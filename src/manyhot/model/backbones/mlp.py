"""Multilayer perceptrons, for features and for small pictures laid flat.

Shapes: x (N, D) or (N, C, H, W) → features (N, F). P prepared columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout
from manyhot.model.members import MemberLinear, linear

QUIET = 1 / 30  # docs/experiments.md: at 1 it learns the words of noise by heart


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


class Quiet(nn.Module):
    """Lay words of texts nearer to 0, so that a network learns slowly from each: they are many, and rare."""

    by: Tensor

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        self.register_buffer("by", torch.where(words, QUIET, 1.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, P)."""
        return x * self.by


@torch.no_grad()
def begin_without_words(backbone: Backbone, words: Tensor) -> None:
    """Let a fresh perceptron begin as if words were not there: noise that it adds nothing of is soon ignored.

    Its first layer was drawn for as many inputs as there are, in which a few numbers would be drowned.

    Shape:
        words: bool (P,), which of the prepared columns are some.
    """
    layers = backbone.layers
    assert isinstance(layers, nn.Sequential)
    layers[0], first = Quiet(words), layers[1]
    weight, bias = first.get_parameter("weight"), first.get_parameter("bias")
    for drawn in (weight, bias):
        drawn.mul_((len(words) / max(1, int((~words).sum()))) ** 0.5)
    (weight if isinstance(first, MemberLinear) else weight.T)[..., words, :] = 0.0
