"""Convolutional networks for small pictures (up to 64 pixels), trained from nothing.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.errors import UserError
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout

WIDTHS = (16, 48, 96, 192)
LARGE = (32, 64, 128, 256)


def cnn(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """A stage per halving, down to about 3 pixels: convolution, pooling, batch norm, ReLU.

    Pooling comes before the norm, which is the slowest part on a processor and so sees a quarter of
    the pixels. Colour pictures show things rather than signs and get a second convolution a stage.
    """
    return _stages(shape, config, WIDTHS)


def cnn_large(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """About twice as wide, and a second convolution a stage sees the pictures before they are halved."""
    return _stages(shape, config, LARGE, large=True)


def _stages(
    shape: tuple[int, ...], config: FitConfig, widths: Sequence[int], large: bool = False
) -> Backbone:
    channels, height, width = shape
    stages = max(2, min(len(widths), int(math.log2(max(2, min(height, width)) / 3))))
    layers: list[nn.Module] = []
    before = channels
    for stage, after in enumerate(widths[:stages]):
        if large and stage > 0:
            layers += _convolution(before, after, 3)
            before = after
        layers += _convolution(before, after, 5 if stage == 0 else 3, pooled=True)
        if not large and channels > 1 and stage > 0:
            layers += _convolution(after, after, 3)
        height, width, before = (height + 1) // 2, (width + 1) // 2, after
    layers += [Flat(), Dropout(config.dropout)]
    return Backbone(nn.Sequential(*layers), before * height * width)


def _convolution(before: int, after: int, size: int, pooled: bool = False) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, size, padding=size // 2, bias=False)
    pooling = [nn.MaxPool2d(2, ceil_mode=True)] if pooled else []
    return [convolution, *pooling, nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


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
