"""Convolutional networks for small pictures (up to 64 pixels), trained from nothing.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout

WIDTHS = (16, 48, 96, 192)


def cnn(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """A stage per halving, down to about 3 pixels: convolution, pooling, batch norm, ReLU.

    Pooling comes before the norm, which is the slowest part on a processor and so sees a quarter of
    the pixels. Colour pictures show things rather than signs and get a second convolution a stage.
    """
    channels, height, width = shape
    stages = max(2, min(len(WIDTHS), int(math.log2(max(2, min(height, width)) / 3))))
    layers: list[nn.Module] = []
    before = channels
    for stage, after in enumerate(WIDTHS[:stages]):
        size = 5 if stage == 0 else 3
        layers += [nn.Conv2d(before, after, size, padding=size // 2, bias=False)]
        layers += [nn.MaxPool2d(2, ceil_mode=True), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        if channels > 1 and stage > 0:
            layers += [nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(inplace=True)]
        height, width, before = (height + 1) // 2, (width + 1) // 2, after
    layers += [Flat(), Dropout(config.dropout)]
    return Backbone(nn.Sequential(*layers), before * height * width)


class Flat(nn.Module):
    """Lay pictures flat as they lie in memory, pixel by pixel: in channels-last layout nothing is moved."""

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, H·W·C) for x of (N, C, H, W)."""
        return x.permute(0, 2, 3, 1).flatten(1)
