"""Networks from prepared x to features; one file each, and any name that timm knows.

`model.build` asks for one by name. A backbone is a module with `num_features` that gives (N, F).

Shapes: N rows · F features · C H W channels, height and width.
"""

from __future__ import annotations

from collections.abc import Callable

from manyhot.config import FitConfig
from manyhot.errors import UserError, listed, suggest
from manyhot.model.backbones import cnn, mlp, tabm, timm, weights
from manyhot.model.backbones.base import Backbone
from manyhot.model.members import SideBySide

Shape = tuple[int, ...]  # (D,) for features, (C, H, W) for pictures

# The two named mnist-* are the networks that people write for MNIST by hand, for comparing like with like.
BUILDERS: dict[str, Callable[[Shape, FitConfig], Backbone]] = {
    "mlp": mlp.mlp,
    "linear": mlp.linear_model,
    "tabm": tabm.tabm,
    "cnn": cnn.cnn,
    "cnn-large": cnn.cnn_large,
    "mnist-mlp": mlp.mnist_mlp,
    "mnist-cnn": cnn.mnist_cnn,
}


FOR_TABLES = ("mlp", "tabm", "linear")


def pretrained(config: FitConfig) -> str:
    """Return the file that a network's weights come from, "none" where there is none to be had."""
    if config.backbone in BUILDERS or config.weights != "auto":
        return config.weights
    return weights.find(config.backbone)


def pixels(config: FitConfig) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return the mean and deviation of pixels that pretrained weights expect, None where there are none."""
    if config.backbone in BUILDERS or config.weights in ("auto", "none"):
        return None
    return weights.pixels(config.backbone)


def build_backbone(shape: Shape, config: FitConfig) -> Backbone:
    """Return the backbone that `config.backbone` names, for x of this shape, with all its members.

    Some hold them in layers of their own; of others there are as many networks side by side.

    Raises:
        UserError: the name is unknown, or the backbone cannot take such x.
    """
    first = _one(shape, config)
    count = config.folds * config.members // first.members
    if count == 1:
        return first
    networks = [first, *(_one(shape, config) for _ in range(count - 1))]
    return Backbone(
        SideBySide(networks, config.own_batches), first.num_features, config.folds * config.members
    )


def _one(shape: Shape, config: FitConfig) -> Backbone:
    name = config.backbone
    if name not in BUILDERS and len(shape) == 1:
        hint = f"{suggest(name, FOR_TABLES)}; there are {listed(FOR_TABLES)}"
        raise UserError(f"backbone '{name}' is not one for tables{hint}.")
    if name in ("cnn", "cnn-large", "mnist-cnn") and len(shape) == 1:
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
