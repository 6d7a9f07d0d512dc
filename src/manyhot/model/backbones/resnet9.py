"""A small residual network for pictures of things (up to 64 pixels), trained from nothing.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.errors import UserError, listed
from manyhot.model.backbones.base import Backbone
from manyhot.model.dropout import Dropout

WIDTHS = (32, 128, 256, 256)
RESIDUAL = (False, False, True, True)  # whether a stage has a residual block


def resnet9(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """A stage per halving, the later ones with a residual block, and the largest of each feature.

    Pooling comes before the norm, also in the first stage, so that all but one convolution see a quarter of
    the pixels or less. What is found anywhere in a picture counts, wherever it is, so pictures may have any
    size. `backbone_options.width` is how many times as wide it is.

    Source: the ResNet-9 of Page 2018, "How to Train Your ResNet", narrower and pooled earlier.
    """
    before, layers, width = shape[0], list[nn.Module](), _width(config)
    stages = max(1, min(len(WIDTHS), int(math.log2(max(shape[1:]))) - 1))  # down to 2 pixels
    for number, (narrow, residual) in enumerate(zip(WIDTHS[:stages], RESIDUAL)):
        after = narrow * width
        layers.append(_convolution(before, after, 3 if number else 5, pooled=True))
        if residual:
            layers.append(Residual(_convolution(after, after, 3, pooled=False)))
        before = after
    return Backbone(nn.Sequential(*layers, Largest(), Dropout(config.dropout)), before)


def _width(config: FitConfig) -> int:
    given = {"width": "1", **config.backbone_options}
    if len(given) > 1 or not given["width"].isdecimal() or int(given["width"]) < 1:
        raise UserError(
            "backbone 'resnet9' has one option, backbone_options.width, a whole number from 1 on; got "
            f"{listed(config.backbone_options)} of {listed(config.backbone_options.values())}."
        )
    return int(given["width"])


def _convolution(before: int, after: int, size: int, pooled: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(before, after, size, padding=size // 2, bias=False)]
    layers += [nn.MaxPool2d(2, ceil_mode=True)] if pooled else []
    return nn.Sequential(*layers, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Layers, and beside them what they are given."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, C, H, W)."""
        return x + self.layers(x)  # type: ignore[no-any-return]


class Largest(nn.Module):
    """The largest value of each channel (global max pooling)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return float (N, C) for x of (N, C, H, W)."""
        return x.amax(dim=(2, 3))
