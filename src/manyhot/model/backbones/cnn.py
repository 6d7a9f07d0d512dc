"""Convolutional networks for small pictures (up to 64 pixels), trained from nothing.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import math

from torch import nn

from manyhot.config import FitConfig
from manyhot.errors import UserError
from manyhot.model.backbones.base import Backbone

WIDTHS = (32, 64, 128, 256)


def cnn(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """As many stages as the picture has halvings down to 3 or 4 pixels; a stage is two 3×3 convolutions."""
    channels, *sides = shape
    stages = max(1, min(len(WIDTHS), int(math.log2(max(2, min(sides)) / 3))))
    layers: list[nn.Module] = []
    for width in WIDTHS[:stages]:
        layers += [*_convolution(channels, width), *_convolution(width, width), nn.MaxPool2d(2)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(config.dropout)]
    return Backbone(nn.Sequential(*layers), channels * 4)


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


def _convolution(before: int, after: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
