"""The model: a stem, a backbone, and one linear head per target.

`classifier.fit` builds it, `train.fit` trains it, `bundle` saves and loads its weights, `predict`
runs it. It knows how many numbers a target needs and nothing else of targets.

Shapes: N rows · F features · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.data.inputs import Inputs
from manyhot.model.backbones import build_backbone
from manyhot.model.backbones.base import Backbone
from manyhot.model.stems import ImageStem, TableStem, build_stem
from manyhot.schema import Target
from manyhot.targets import num_outputs


class Model(nn.Module):
    """x → {target name: logits}. Several heads are a longer list of targets, not another model."""

    def __init__(self, stem: ImageStem | TableStem, backbone: Backbone, targets: Sequence[Target]) -> None:
        super().__init__()
        self.stem = stem
        self.backbone = backbone
        self.names = [target.name for target in targets]
        self.heads = nn.ModuleList(nn.Linear(backbone.num_features, num_outputs(t)) for t in targets)

    def embed(self, x: Tensor) -> Tensor:
        """Return the features that all heads read; float (N, F)."""
        features: Tensor = self.backbone(self.stem(x))
        return features

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of every target; float (N, W) each.

        Shape:
            x: uint8 or float (N, H, W, C) in 0…255, or float (N, D).
        """
        features = self.embed(x)
        return {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}


def build(inputs: Inputs, targets: Sequence[Target], config: FitConfig) -> Model:
    """Build a model with fresh weights, drawn from `config.seed`.

    Raises:
        UserError: the backbone is unknown or does not fit the inputs.
    """
    torch.manual_seed(config.seed)
    stem = build_stem(inputs)
    model = Model(stem, build_backbone(stem.shape, config), targets)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model
