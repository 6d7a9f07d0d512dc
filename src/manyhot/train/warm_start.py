"""Warm start: a trained model gives a run its settings, the parts of its rows, and its weights.

`prepare` asks it for settings and parts, `fitting.fit` for the network. Which rows and classes there are is
found before, in `starting`.

Shapes: N rows · C classes · M members.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from manyhot.bundle import Bundle
from manyhot.choose import SeenRows
from manyhot.config import FitConfig, parse_options
from manyhot.data.rows import split
from manyhot.device import described
from manyhot.ensemble import NETWORK, PRETRAINED
from manyhot.errors import UserError
from manyhot.machine import half_of_memory, num_cores, tenth_of_disk
from manyhot.model import inference
from manyhot.model.network import Network, PowersetHead, build, carry_over
from manyhot.priors import log_odds
from manyhot.resolve import of_heads, precision
from manyhot.schema import Schema
from manyhot.targets import WEIGHT, IntArray
from manyhot.train.prepared import Prepared

# Of a whole run's epochs. benchmarks/fit_from.py: a new class takes longer than more rows of known ones.
SHARE, SHARE_OF_NEW = 1 / 4, 1 / 2
RATE = 1 / 4  # of a whole run's, at which what is known is not lost
RATE_OF_NEW = 1.0
SETTLED = (  # what the weights, the inputs and the folds of a model cannot do without
    *("effort", "backbone", "backbone_options", "weights", "size", "tabm_members", "piecewise", "folds"),
    "group",
)
OF_HEADS = ("batch_size", "epochs", "learning_rate", "weight_decay", "dropout", "patience")
SAMPLE = 512  # rows that say at which level the logits of known classes lie


@dataclass(frozen=True)
class Start:
    """A model to go on from: its bundle, the rows that it has seen, and its name, a path where it has one."""

    bundle: Bundle
    seen: SeenRows
    name: str

    def settings(self, options: Mapping[str, Any], schema: Schema, rows: int) -> FitConfig:
        """Return those of the model, at a part of its epochs and its rate, with the options somebody gave.

        Raises:
            UserError: an option would make another network, or other inputs, than the model has.
        """
        old, chosen = self.bundle.config, parse_options(options)
        for name in SETTLED:
            given, there = chosen.get(name, getattr(old, name)), getattr(old, name)
            if given != there:
                raise UserError(
                    f"--from {self.name}: its {name} is '{there}', so '{given}' is not possible. Leave it "
                    "out, or train without --from."
                )
        base = replace(old, start=self.name, share=1.0, threads=num_cores(), memory=half_of_memory())
        base = replace(base, cache=tenth_of_disk(), epochs=round(old.epochs / old.share))
        base = replace(base, patience=round(old.patience / old.share))
        device = described(chosen.get("device", old.device))
        other = device.kind != "cpu" and not device.computes(old.precision)
        if device.kind != old.device or other:  # it multiplies other numbers fast
            base = replace(base, precision=precision(old.backbone, device))
        if old.share < 1:  # it went on from another itself
            base = replace(base, learning_rate=old.learning_rate / _rate(old.share))
        if chosen.get("freeze") and not old.freeze:
            if not schema.is_image:
                raise UserError(
                    "freeze: a table's model is more than its network, and all of it learns from the rows at "
                    "hand. Leave it out."
                )
            alone = of_heads(base, rows)
            base = replace(base, **{name: getattr(alone, name) for name in OF_HEADS})
        grown = any(len(t.classes) > len(self.bundle.schema.target(t.name).classes) for t in schema.targets)
        share = chosen.get("share", SHARE_OF_NEW if grown else SHARE)
        parts = {
            "share": share,
            "epochs": math.ceil(share * base.epochs),
            "patience": math.ceil(share * base.patience),
            "learning_rate": _rate(share) * base.learning_rate,
        }
        return replace(base, **{**parts, **chosen})

    def parts(
        self, rows: NDArray[np.int64], hashes: NDArray[np.uint64], group: IntArray | None
    ) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
        """Return the part and the fold that each row had, so that scores stay comparable; −1 for a new row.

        One of a group, or equal to one, that the model has seen is where that is.

        Shape:
            rows, hashes: (N,), see `SeenRows.places`. group: (N,), −1 for none. out: two int8 (N,).
        """
        places = self.seen.places(rows, hashes)
        if group is not None:
            known = np.flatnonzero((places >= 0) & (group >= 0))
            codes, first = np.unique(group[known], return_index=True)
            place_of = np.full(group.max(initial=-1) + 2, -1)  # the last is that of no group
            place_of[codes] = places[known[first]]
            places = np.where(places < 0, place_of[group], places)
        numbers = np.array([*map(split.PARTS.index, self.seen.parts), -1], np.int8)
        return numbers[places], np.append(self.seen.fold, np.int8(-1))[places]

    def network(self, prepared: Prepared, encoder: str = NETWORK) -> Network:
        """Return the network that the model is, or was before it was tuned, with heads for new classes too.

        Those begin at how often they are met, beside what the others already answer.
        """
        predictor = self.bundle.predictor
        config, targets = replace(prepared.config, weights="none"), prepared.schema.targets
        network = build(prepared.inputs, targets, config)
        network.backbone.load_state_dict(predictor.encoders[encoder].state_dict())
        found = zip(predictor.ensemble.members, predictor.members, strict=True)
        heads: Any = next(who for m, who in found if m.kind == "heads" and m.encoder == encoder)
        for target, layer in zip(targets, network.heads, strict=True):
            before = self.bundle.schema.target(target.name)
            carry_over(target, layer, before, heads[heads.names.index(target.name)])
        self._begin_new(prepared, network)
        return network

    def pretrained(self, prepared: Prepared, device: torch.device) -> Network | None:
        """Return what the network was before it was tuned, where the model answers by that too."""
        if PRETRAINED not in self.bundle.ensemble.encoders or prepared.config.freeze:
            return None
        return self.network(prepared, PRETRAINED).to(device)

    @torch.no_grad()
    def _begin_new(self, prepared: Prepared, network: Network) -> None:
        """Let new classes be answered as often as they are met, at the level of the others' logits.

        Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4.1 (of all classes).
        """
        train = prepared.of_part(split.TRAIN)
        y = prepared.labels(train)
        some = train[:: max(1, len(train) // SAMPLE)]
        logits: dict[str, NDArray[np.float32]] = {}
        for target, layer in zip(prepared.schema.targets, network.heads, strict=True):
            old = len(self.bundle.schema.target(target.name).classes)
            if len(target.classes) == old:
                continue
            odds = torch.from_numpy(log_odds(target, y[target.name], y.get(WEIGHT)))
            begin = odds[old:]
            if target.exclusive:
                logits = logits or inference.logits(network, prepared.x[some])
                known = torch.from_numpy(logits[target.name][..., :old])  # (N, …, C)
                level = known.logsumexp(-1, keepdim=True).mean(0) - odds[:old].logsumexp(0)
                begin = begin + level
            last = layer.tags if isinstance(layer, PowersetHead) else layer
            last.get_parameter("bias")[..., old:] = begin


def _rate(share: float) -> float:
    """Return the part of a whole run's rate for a share of its epochs."""
    return RATE if share <= SHARE else RATE_OF_NEW
