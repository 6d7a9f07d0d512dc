"""The model: a stem, a backbone, and one linear head per target; perhaps with others that answer along.

`classifier.fit` builds it, `train.fit` trains it, `bundle` saves and loads its weights, `predict`
runs it. It knows how many numbers a target needs and nothing else of targets.

Shapes: N rows · M members · F features · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from manyhot.config import FitConfig
from manyhot.data.inputs.fitted import Inputs
from manyhot.model.backbones import build_backbone
from manyhot.model.backbones.base import Backbone
from manyhot.model.members import linear
from manyhot.model.neighbours import Neighbours
from manyhot.model.stems import TableStem, build_stem
from manyhot.schema import Target
from manyhot.targets import num_outputs, set_table

BEFORE = "before."  # begins the names of all weights that the model had before, see `remember`
NEIGHBOURS = "neighbours."  # begins those of the rows that answer along


class Model(nn.Module):
    """x → {target name: logits}. Several heads are a longer list of targets, not another model."""

    def __init__(
        self,
        stem: nn.Module,
        backbone: Backbone,
        targets: Sequence[Target],
        views: int = 1,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        self.views, self.mirrored = views, mirrored
        self.stem = stem
        self.backbone = backbone
        self.names = [target.name for target in targets]
        self.heads = nn.ModuleList(head(target, backbone) for target in targets)
        self.offset_by([])
        self.before: Model | None = None  # answers along, and so do rows it has learned from
        self.neighbours: Neighbours | None = None
        self.alone = False  # for a while, see `seeing`

    def embed(self, x: Tensor) -> Tensor:
        """Return the features that all heads read, those of members one after the other; float (N, F).

        What the model was before reads features of its own, which are not told.
        """
        features: Tensor = self.backbone(self.stem(x))
        return features.flatten(1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the logits of every target; float (N, W) each, or (N, M, W) of members and views.

        Outside of training a picture is seen in several views, which count as members do: as it is and
        mirrored, or moved by a pixel. Those of one view come together.

        Shape:
            x: uint8 or float (N, H, W, C) in 0…255, or float (N, D).
        """
        prepared = self.stem(x)
        if self.views == 1 or self.training:
            return self._offset(x, self._answer(prepared))
        seen = [prepared, prepared.flip(3)] if self.mirrored else shifted(prepared, self.views)
        each = [self._answer(view) for view in seen]
        members = self.backbone.members
        return {
            n: torch.cat([view[n].reshape(len(x), members, view[n].shape[-1]) for view in each], dim=1)
            for n in self.names
        }

    @torch.no_grad()
    def begin_at(self, logits: Mapping[str, NDArray[np.float32]]) -> None:
        """Let the heads answer so before they have learned anything, as far as a bias can; float (W,) each.

        Rare classes then need not be unlearned first, which takes longer than many a run.

        Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4.1.
        """
        for name, layer in zip(self.names, self.heads, strict=True):
            # Of sets, what each of their tags adds begins so.
            last = layer.tags if isinstance(layer, SetHead) else layer
            last.get_parameter("bias").copy_(torch.from_numpy(logits[name]))

    @torch.no_grad()
    def begin_with(self, weights: Sequence[Tensor]) -> None:
        """Let counts answer before the heads have learned anything: of each target (folds, D + 1, W)."""
        self.offset_by(weights)
        for parameter in self.heads.parameters():
            parameter.zero_()

    def offset_by(self, weights: Sequence[Tensor]) -> None:
        """Add what counts say to the logits: of each target weights (folds, D + 1, W), or of none."""
        self.offsets = nn.ModuleList(map(Offset, weights))

    def remember(self) -> Model:
        """Answer, once it has learned more, with the mean of the logits that it then has and has now.

        What a pretrained network knows of rare labels is lost while all of it learns, so that both together
        often make fewer mistakes than either; `train.together` judges whether they do. Returns what it was.

        Source: Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", with answers averaged rather
        than weights; docs/experiments.md compares the two.
        """
        self.before = None  # of what it remembered till now nothing is left
        self.before = deepcopy(self).requires_grad_(False)
        return self.before

    def now(self) -> dict[str, Tensor]:
        """Return a copy of the state but for what it was before, which does not change."""
        state = self.state_dict().items()
        return {name: value.detach().clone() for name, value in state if not name.startswith(BEFORE)}

    def go_back(self, state: Mapping[str, Tensor]) -> None:
        """Take a state that `now` gave; what it was before stays."""
        self.load_state_dict(state, strict=False)

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take all that a trained model of the same targets gave as its `state_dict`.

        Raises:
            RuntimeError: the names or shapes are another model's.
        """
        device = next(self.parameters()).device
        names = [f"offsets.{number}.weight" for number in range(len(self.names))]
        self.offset_by([torch.empty_like(state[name], device=device) for name in names if name in state])
        rows, then = _below(state, NEIGHBOURS), _below(state, BEFORE)
        votes = {name: rows[f"votes{number}"] for number, name in enumerate(self.names) if rows}
        self.neighbours = Neighbours(rows["rows"], votes).to(device) if rows else None
        self.before = None
        if then:
            self.remember().restore(then)
        self.load_state_dict(state)

    @torch.no_grad()
    def unscale(self, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
        """Let heads that read (features − mean) / deviation, both (F,), read features: the answers stay."""
        for layer in self.heads.modules():
            if isinstance(layer, nn.Linear):
                layer.weight /= torch.from_numpy(deviation).to(layer.weight)
                layer.bias.sub_(layer.weight @ torch.from_numpy(mean).to(layer.weight))

    @contextmanager
    def seeing(self, views: int) -> Iterator[None]:
        """Let pictures be seen in so many views for a while, and by the heads alone."""
        own = self.views, self.alone
        self.views, self.alone = views, True
        try:
            yield
        finally:
            self.views, self.alone = own

    def answer(self, features: Tensor) -> dict[str, Tensor]:
        """Return the logits that the heads give features (N, F), together with neighbours where it has some.

        Those of members (N, M, F) have logits (N, M, W).
        """
        heads = {name: head(features) for name, head in zip(self.names, self.heads, strict=True)}
        if self.neighbours is None or self.training or self.alone:
            return heads
        return mean(heads, self.neighbours(features))

    def _answer(self, prepared: Tensor) -> dict[str, Tensor]:
        own = self.answer(self.backbone(prepared))
        if self.before is None or self.training or self.alone:
            return own
        return mean(own, self.before._answer(prepared))

    def _offset(self, x: Tensor, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        if not self.offsets or not isinstance(self.stem, TableStem):
            return logits
        counts = self.stem.counts(x)
        return {n: offset(counts, logits[n]) for n, offset in zip(self.names, self.offsets, strict=True)}


def _below(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    """Return what begins so, without it."""
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}


def mean(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of the logits of two that answer together."""
    return {name: (one[name] + other[name]) / 2 for name in one}


class Offset(nn.Module):
    """What each count of a row adds to the logits of a target: set before the heads learn, then left alone.

    The heads then learn only what it leaves over. There is one for each fold, whose members share it; the
    last of its weights is added to every row.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, counts: Tensor, logits: Tensor) -> Tensor:
        """Return logits (N, W), or (N, M, W) of members, with that of counts (N, D) added; float32."""
        with torch.autocast(counts.device.type, enabled=False):  # sums of many counts are large
            added = torch.einsum("nd,fdw->nfw", F.pad(counts, (0, 1), value=1.0), self.weight)
            if logits.ndim == 2:
                return logits.float() + added[:, 0]
            return logits.float() + added.repeat_interleave(logits.shape[1] // added.shape[1], dim=1)


class SetHead(nn.Module):
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
        self.sets = linear(backbone.members, backbone.num_features, len(target.sets))

    def forward(self, features: Tensor) -> Tensor:
        """Return float (N, K), or (N, M, K) of members."""
        logits: Tensor = self.tags(features) @ self.table.to(features.dtype) + self.sets(features)
        return logits


def head(target: Target, backbone: Backbone) -> nn.Module:
    """Return the last layer of a target."""
    if target.sets:
        return SetHead(target, backbone)
    return linear(backbone.members, backbone.num_features, num_outputs(target))


def shifted(x: Tensor, views: int) -> list[Tensor]:
    """Return pictures as they are and moved by a pixel to the left, right, top and bottom; up to 5 views.

    Shape:
        x: float (N, C, H, W). out: so many of the same.
    """
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    corners = ((1, 1), (1, 0), (1, 2), (0, 1), (2, 1))[:views]
    return [padded[:, :, top : top + height, left : left + width] for top, left in corners]


def build(inputs: Inputs, targets: Sequence[Target], config: FitConfig) -> Model:
    """Build a model with fresh weights, drawn from `config.seed`.

    Raises:
        UserError: the backbone is unknown or does not fit the inputs.
    """
    torch.manual_seed(config.seed)
    stem = build_stem(inputs, config.piecewise)
    mirrored = config.augment in ("crop", "photo")
    model = Model(stem, build_backbone(stem.shape, config), targets, config.views, mirrored)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model
