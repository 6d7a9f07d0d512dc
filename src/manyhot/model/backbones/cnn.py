"""Convolutional networks for small pictures (up to 64 pixels), trained from nothing.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.errors import UserError
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


def mnist_cnn(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """The two-layer network people write for MNIST: 5×5 convolutions to 16 and 32 channels, ReLU, pooling."""
    channels, height, width = shape
    if min(height, width) < 4:
        raise UserError(f"backbone 'mnist-cnn' needs pictures of 4 pixels at least, got {height}×{width}.")
    layers = [
        *(nn.Conv2d(channels, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
    ]
    return Backbone(nn.Sequential(*layers), 32 * (height // 4) * (width // 4))
