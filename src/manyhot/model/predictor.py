"""What answers: an ensemble of members over one or several encoders. It never trains.

`train.select` puts one together, `bundle` saves and loads it, `inference` runs it. It is one graph: whatever
answers by it, exported or not, gives the same logits.

Shapes: N rows · M members of a network, and views · F features · W outputs of a target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manyhot.config import FitConfig
from manyhot.data.inputs.fitted import Inputs
from manyhot.device import left_as_found
from manyhot.ensemble import COLUMNS, FAR, NETWORK, Ensemble, Member, equally
from manyhot.errors import listed
from manyhot.model import forest
from manyhot.model.backbones.base import Backbone
from manyhot.model.far import Far
from manyhot.model.forest import Forest
from manyhot.model.neighbours import FoldedNeighbours, Neighbours
from manyhot.model.network import Heads, Network, build_heads, encoder
from manyhot.model.stems import build_stem
from manyhot.schema import Target

FOLLOWING = "stem.pieces."  # what bundles once held of a stem, and which follows from its inputs
Answerer = Heads | Neighbours | Forest


class Predictor(nn.Module):
    """x → {target name: logits}, the weighted mean of its members' logits."""

    def __init__(
        self,
        ensemble: Ensemble,
        stem: nn.Module,
        encoders: Mapping[str, Backbone],
        members: Sequence[Answerer],
        far: Far | None = None,
    ) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.stem = stem
        self.encoders = nn.ModuleDict(encoders)
        self.members = nn.ModuleList(members)
        self.far: nn.Module = far or nn.Identity()  # which is asked where `ensemble.far` says so
        self.names = list(members[0].names)

    def features(self, x: Tensor) -> Tensor:
        """Return what the heads of the trained network read, float (N, F); those of members side by side."""
        features: Tensor = self.encoders[NETWORK](self.stem(x))
        return features.flatten(1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of every target; float (N, W) each, or (N, M, W) of members.

        Those of all views are their mean, or of an earlier model stand beside each other. All views pass
        through as more rows, which takes less time than one after the other. What tells how far rows are,
        float (N, 2), stands beside the targets.

        Shape:
            x: uint8 or float (N, H, W, C) in 0…255, or float (N, D).
        """
        prepared = self.stem(x)
        seen = views(prepared, self.ensemble.views, self.ensemble.mirrored)
        rows = torch.cat(seen) if len(seen) > 1 else seen[0]
        features = {name: encoder(rows) for name, encoder in self.encoders.items()}
        found = self.answer(features)
        if len(seen) > 1:
            each = {name: y.reshape(len(seen), -1, *y.shape[1:]) for name, y in found.items()}
            alike = self.ensemble.pooled == "logits"
            found = {name: y.mean(0) if alike else _by_row(y) for name, y in each.items()}
        if self.ensemble.far:
            columns = prepared.ndim == 2
            of_rows = prepared if columns else features[NETWORK].flatten(1)[: x.shape[0]]
            found[FAR] = self.far(x, of_rows)
        return found

    def answer(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the logits for the features (N, F) that each encoder gives, or (N, M, F) of members."""
        found = [member(features[m.encoder]) for m, member in zip(self.ensemble.members, self.members)]
        return {name: self._mean(name, [logits[name] for logits in found]) for name in self.names}

    def _mean(self, name: str, logits: Sequence[Tensor]) -> Tensor:
        weighed = [m.weights[name] * y for m, y in zip(self.ensemble.members, logits, strict=True)]
        if any(y.ndim == 3 for y in weighed):  # of members and folds, beside what has fewer of them
            weighed = [_by_member(y) for y in weighed]
            most = max(y.shape[1] for y in weighed)
            weighed = [y.repeat_interleave(most // y.shape[1], dim=1) for y in weighed]
        return sum(weighed[1:], weighed[0])


def _by_member(logits: Tensor) -> Tensor:
    """Return logits as those of members, float (N, M, W), also where there is one."""
    return logits if logits.ndim == 3 else logits.unsqueeze(1)


def _by_row(logits: Tensor) -> Tensor:
    """Return the logits of all views of a row beside each other, float (N, V · M, W), for (V, N, (M,) W)."""
    each = logits if logits.ndim == 4 else logits.unsqueeze(2)
    return each.transpose(0, 1).flatten(1, 2)


def views(x: Tensor, count: int, mirrored: bool) -> list[Tensor]:
    """Return pictures as they are and changed, for test-time augmentation: moved by a pixel, mirrored.

    Up to 5 views where they are not mirrored: as they are, and moved to the left, right, top and bottom. Up
    to 6 where they are: as they are, and moved to two corners, each of them mirrored after it.

    Shape:
        x: float (N, C, H, W), or anything where `count` is 1. out: so many of the same.
    """
    if count == 1:
        return [x]
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    places = ((1, 1), (0, 0), (2, 2)) if mirrored else ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1))
    moved = [padded[:, :, top : top + height, left : left + width] for top, left in places]
    return [view for each in moved for view in ((each, each.flip(3)) if mirrored else (each,))][:count]


def of_network(network: Network, count: int = 1, mirrored: bool = False) -> Predictor:
    """Return a predictor that a network alone is the member of; they share their weights."""
    ensemble = Ensemble(equally([("heads", NETWORK, 0)], network.heads.names), count, mirrored)
    return Predictor(ensemble, network.stem, {NETWORK: network.backbone}, [network.heads])


@left_as_found()
def build(
    ensemble: Ensemble,
    inputs: Inputs,
    targets: Sequence[Target],
    config: FitConfig,
    state: Mapping[str, Tensor],
) -> Predictor:
    """Build a predictor as it was declared, with the weights of its `state_dict`.

    Raises:
        RuntimeError, KeyError, ValueError: the names or shapes are another predictor's.
    """
    config = replace(config, weights="none")  # what the state holds replaces what the run began from
    stem = build_stem(inputs, config.piecewise)
    encoders = {
        name: columns_of(stem.shape, config.folds) if name == COLUMNS else encoder(stem, config)
        for name in dict.fromkeys((NETWORK, *ensemble.encoders))
    }
    members = [
        _member(member, encoders[member.encoder], targets, _below(state, f"members.{number}."))
        for number, member in enumerate(ensemble.members)
    ]
    far = Far(**_below(state, "far.")) if ensemble.far else None
    predictor = Predictor(ensemble, stem, encoders, members, far)
    if config.channels_last:
        predictor = predictor.to(memory_format=torch.channels_last)
    kept = {name: value for name, value in state.items() if not name.startswith(FOLLOWING)}
    predictor.load_state_dict(kept)
    return predictor.eval()


def columns_of(shape: tuple[int, ...], folds: int) -> Backbone:
    """Return the encoder that gives a table's prepared columns as they are, to members that have folds."""
    return Backbone(nn.Flatten(), math.prod(shape), folds)


def _member(
    member: Member, encoder: Backbone, targets: Sequence[Target], state: Mapping[str, Tensor]
) -> Answerer:
    absent = [target.name for target in targets if target.name not in member.weights]
    if absent:
        raise ValueError(f"no weights for {listed(absent)}")
    match member.kind:
        case "heads":
            return build_heads(targets, encoder)
        case "neighbours":
            values = {target.name: state[f"values{number}"] for number, target in enumerate(targets)}
            if "fold" in state:
                return FoldedNeighbours(state["keys"], values, state["fold"], float(state["temperature"]))
            return Neighbours(state["keys"], values, float(state["temperature"]))
        case "forest" | "boosted":
            return forest.of_state(targets, state)
        case _:
            assert_never(member.kind)


def _below(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Return the part of a state that belongs to a module, by its own names."""
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
