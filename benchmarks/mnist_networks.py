"""The networks that people write for MNIST by hand, as backbones, so that like is compared with like.

Importing this makes them known as "mnist-mlp" and "mnist-cnn".
"""

from __future__ import annotations

import itertools
import math

from torch import nn

from manyhot.config import FitConfig
from manyhot.model.backbones import BUILDERS
from manyhot.model.backbones.base import Backbone


def mlp(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """512, 256, 128 and 64 with ReLU; the head is the last layer."""
    widths = (math.prod(shape), 512, 256, 128, 64)
    layers = [layer for a, b in itertools.pairwise(widths) for layer in (nn.Linear(a, b), nn.ReLU())]
    return Backbone(nn.Sequential(nn.Flatten(), *layers), widths[-1])


def cnn(shape: tuple[int, ...], config: FitConfig) -> Backbone:
    """5×5 convolutions to 16 and 32 channels, each with ReLU and pooling."""
    channels, height, width = shape
    layers = [
        *(nn.Conv2d(channels, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        nn.Flatten(),
    ]
    return Backbone(nn.Sequential(*layers), 32 * (height // 4) * (width // 4))


BUILDERS["mnist-mlp"] = mlp
BUILDERS["mnist-cnn"] = cnn
