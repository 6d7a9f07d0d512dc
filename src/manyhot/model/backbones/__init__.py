"""Networks from prepared x to features; one file each, and any name that timm knows.

`model.build` asks for one by name. A backbone is a module with `num_features` that gives (N, F).

Shapes: N rows · F features · C H W channels, height and width.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from manyhot.config import FitConfig
from manyhot.errors import UserError, listed, suggest
from manyhot.model.backbones import cnn, mlp, resnet9, tabm, timm, weights
from manyhot.model.backbones.base import Backbone
from manyhot.model.members import SideBySide
from manyhot.resolve import CONVOLUTIONAL, FOR_TABLES, Pretrained

Shape = tuple[int, ...]  # (D,) for features, (C, H, W) for pictures

# Whoever wants another network adds it here by its name, as benchmarks/mnist_networks.py does.
BUILDERS: dict[str, Callable[[Shape, FitConfig], Backbone]] = {
    "mlp": mlp.mlp,
    "linear": mlp.linear_model,
    "tabm": tabm.tabm,
    "cnn": cnn.cnn,
    "resnet9": resnet9.resnet9,
}


FOR_PICTURES = ("cnn", "resnet9")
MEMBERED = ("mlp",)  # that hold all members' weights in layers of their own


def find_weights(backbone: str, asked: str) -> Pretrained:
    """Return what there is of a backbone's weights; what is `asked` for stays, unless it is "auto".

    Raises:
        UserError: neither we nor timm have such a backbone, or there is no such file.
    """
    if backbone in BUILDERS:
        return Pretrained(asked)
    timm.check_name(backbone, tuple(BUILDERS))
    if asked == "auto":
        return Pretrained(weights.find(backbone), weights.side(backbone))
    if asked == "none":
        return Pretrained(asked)
    weights.check(Path(asked))
    return Pretrained(asked, weights.side(backbone), weights.padding(backbone, Path(asked)))


def pixels(config: FitConfig) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and deviation of pixels that pretrained weights expect, None where there are none."""
    if config.backbone in BUILDERS or config.weights in ("auto", "none"):
        return None
    return weights.pixels(config.backbone)


def build_backbone(shape: Shape, config: FitConfig) -> Backbone:
    """Return the backbone that `config.backbone` names, for x of this shape; with folds, of as many members.

    Raises:
        UserError: the name is unknown, or the backbone cannot take such x.
    """
    if config.folds == 1 or config.backbone in MEMBERED:
        network = _one(shape, config)
        if 0 < config.first_size < shape[-1] and not config.backbone.startswith(CONVOLUTIONAL):
            _check_growing(network, shape, config)
        return network
    if config.freeze:  # what never learns is shared; the heads are each member's own
        shared = _one(shape, config)
        shared.members = config.folds
        return shared
    networks = [_one(shape, config) for _ in range(config.folds)]
    members = config.folds * networks[0].members
    return Backbone(SideBySide(networks), networks[0].num_features, members)


@torch.no_grad()
def _check_growing(network: Backbone, shape: Shape, config: FitConfig) -> None:
    """Refuse pictures that grow where a backbone takes those of one size only."""
    features = 0
    with suppress(RuntimeError, AssertionError):  # timm asserts
        small = torch.zeros(1, shape[0], config.first_size, config.first_size)
        features = network.eval()(small).shape[-1]
    network.train()
    if features != network.num_features:
        raise UserError(
            f"first_size={config.first_size}: backbone '{config.backbone}' takes pictures of one size, here "
            f"{shape[-1]} pixels. Leave it out."
        )


def _one(shape: Shape, config: FitConfig) -> Backbone:
    name = config.backbone
    if name not in BUILDERS and len(shape) == 1:
        hint = f"{suggest(name, FOR_TABLES)}; there are {listed(FOR_TABLES)}"
        raise UserError(f"backbone '{name}' is not one for tables{hint}.")
    if name in FOR_PICTURES and len(shape) == 1:
        raise UserError(f"backbone '{name}' takes pictures, and these are features; use 'mlp'.")
    if name == "tabm" and len(shape) == 3:
        raise UserError("backbone 'tabm' is for tables; for pictures use 'cnn' or one of timm's.")
    if name in BUILDERS and config.weights not in ("auto", "none"):
        raise UserError(
            f"--weights {config.weights}: '{name}' starts from nothing; weights are for timm's names."
        )
    if name in BUILDERS:
        return BUILDERS[name](shape, config)
    return timm.create(shape, config, known=tuple(BUILDERS))
