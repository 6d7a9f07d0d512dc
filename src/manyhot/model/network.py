"""The network that is trained: a stem, a backbone, and a linear head for each target.

`train` builds and trains it; its state is a plain `state_dict`. What answers is a `predictor.Predictor`, in
which a network may be one of several. It knows how many numbers a target needs and nothing else of targets.

Shapes: N rows · M members · F features · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.data.inputs.fitted import Inputs
from manyhot.model.backbones import build_backbone
from manyhot.model.backbones.base import Backbone
from manyhot.model.backbones.mlp import begin_without_words
from manyhot.model.members import linear
from manyhot.model.stems import ImageStem, TableStem, build_stem
from manyhot.schema import Target
from manyhot.targets import num_outputs, set_table


class Network(nn.Module):
    """x → {target name: logits}. Several heads are a longer list of targets, not another network."""

    def __init__(self, stem: nn.Module, backbone: Backbone, heads: Heads) -> None:
        super().__init__()
        self.stem = stem
        self.backbone = backbone
        self.heads = heads

    def features(self, x: Tensor) -> Tensor:
        """Return what the heads read; float (N, F), or (N, M, F) of members."""
        features: Tensor = self.backbone(self.stem(x))
        return features

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of every target; float (N, W) each, or (N, M, W) of members.

        Shape:
            x: uint8 or float (N, H, W, C) in 0…255, or float (N, D).
        """
        logits: dict[str, Tensor] = self.heads(self.features(x))
        return logits


class Heads(nn.ModuleList):
    """A linear layer for each target: features → {target name: logits}."""

    def __init__(self, names: Sequence[str], layers: Iterable[nn.Module]) -> None:
        super().__init__(layers)
        self.names = list(names)

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        """Return float (N, W) each for features (N, F); (N, M, W) for (N, M, F)."""
        return {name: layer(features) for name, layer in zip(self.names, self, strict=True)}


class PowersetHead(nn.Module):
    """Logits of whole sets of tags: what each of its tags adds, and what is the set's own.

    Weights shared by all sets that have a tag let rare sets learn from frequent ones; the set's own part
    says how far its tags come together more, or less, than each alone.
    """

    table: Tensor

    def __init__(self, target: Target, backbone: Backbone) -> None:
        super().__init__()
        table = torch.from_numpy(set_table(target)).float()
        self.register_buffer("table", table.T.contiguous(), persistent=False)
        self.tags = linear(backbone.members, backbone.num_features, len(target.classes))
        self.sets = linear(backbone.members, backbone.num_features, len(target.label_sets))

    def forward(self, features: Tensor) -> Tensor:
        """Return float (N, K), or (N, M, K) of members."""
        logits: Tensor = self.tags(features) @ self.table.to(features.dtype) + self.sets(features)
        return logits


def build_heads(targets: Sequence[Target], backbone: Backbone) -> Heads:
    """Return the last layers of targets, with fresh weights."""
    return Heads([target.name for target in targets], [_head(target, backbone) for target in targets])


def _head(target: Target, backbone: Backbone) -> nn.Module:
    match target.structure:
        case "powerset":
            return PowersetHead(target, backbone)
        case "binary" | "multiclass" | "multilabel":
            return linear(backbone.members, backbone.num_features, num_outputs(target))
        case _:
            assert_never(target.structure)


@torch.no_grad()
def carry_over(target: Target, layer: nn.Module, before: Target, learned: nn.Module) -> None:
    """Give the last layer of a target what that of the same target has learned, before it had more classes.

    What is new in it says nothing yet: its weights and its bias are 0. So are those of the negative class of
    two, which a third joined: the odds between the two stay.
    """
    outputs = {name: place for part in _outputs(before, learned) for name, place in part.items()}
    for part in _outputs(target, layer):
        for name, (weight, bias) in part.items():
            known = outputs.get(name)
            for mine, learnt in zip((weight, bias), known or (0, 0), strict=True):
                mine.copy_(torch.as_tensor(learnt))


def _outputs(target: Target, layer: nn.Module) -> list[dict[object, tuple[Tensor, Tensor]]]:
    """Return for each linear layer of a head what its outputs are of → their weights and bias, as views."""
    match target.structure:
        case "binary":
            return [_by_name(layer, target.classes[1:])]
        case "multiclass" | "multilabel":
            return [_by_name(layer, target.classes)]
        case "powerset":
            assert isinstance(layer, PowersetHead)
            return [_by_name(layer.tags, target.classes), _by_name(layer.sets, target.label_sets)]
        case _:
            assert_never(target.structure)


def _by_name(layer: nn.Module, names: Sequence[object]) -> dict[object, tuple[Tensor, Tensor]]:
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    by_output = weight.T if isinstance(layer, nn.Linear) else weight  # (…, F, W)
    return {name: (by_output[..., k], bias[..., k]) for k, name in enumerate(names)}


def encoder(stem: ImageStem | TableStem, config: FitConfig) -> Backbone:
    """Build the backbone that reads what a stem gives, with fresh weights."""
    backbone = build_backbone(stem.shape, config)
    if config.backbone == "mlp" and isinstance(stem, TableStem) and stem.words.any():
        begin_without_words(backbone, stem.words)
    return backbone


def build(inputs: Inputs, targets: Sequence[Target], config: FitConfig) -> Network:
    """Build a network with fresh weights, drawn from `config.seed`.

    Raises:
        UserError: the backbone is unknown or does not fit the inputs.
    """
    torch.manual_seed(config.seed)
    stem = build_stem(inputs, config.piecewise)
    backbone = encoder(stem, config)
    network = Network(stem, backbone, build_heads(targets, backbone))
    return network.to(memory_format=torch.channels_last) if config.channels_last else network


def snapshot(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's state, for `load_state_dict`."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
