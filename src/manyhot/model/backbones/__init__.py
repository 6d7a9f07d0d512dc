"""Networks from prepared x to features; one file each, and any name that timm knows.

`model.build` asks for one by name. A backbone is a module with `num_features` that gives (N, F).

Shapes: N rows · F features · C H W channels, height and width.
"""

from __future__ import annotations

from collections.abc import Callable

from manyhot.config import FitConfig
from manyhot.errors import UserError, suggest
from manyhot.model.backbones import cnn, mlp, timm
from manyhot.model.backbones.base import Backbone

Shape = tuple[int, ...]  # (D,) for features, (C, H, W) for pictures

# The two named mnist-* are the networks that people write for MNIST by hand, for comparing like with like.
BUILDERS: dict[str, Callable[[Shape, FitConfig], Backbone]] = {
    "mlp": mlp.mlp,
    "cnn": cnn.cnn,
    "mnist-mlp": mlp.mnist_mlp,
    "mnist-cnn": cnn.mnist_cnn,
}


def build_backbone(shape: Shape, config: FitConfig) -> Backbone:
    """Return the backbone that `config.backbone` names, for x of this shape.

    Raises:
        UserError: the name is unknown, or the backbone cannot take such x.
    """
    name = config.backbone
    if name not in BUILDERS and len(shape) == 1:
        raise UserError(f"backbone '{name}' is not one for tables{suggest(name, ['mlp'])}; there is 'mlp'.")
    if name in ("cnn", "mnist-cnn") and len(shape) == 1:
        raise UserError(f"backbone '{name}' takes pictures, and these are features; use 'mlp'.")
    if name in BUILDERS and config.weights not in ("auto", "none"):
        raise UserError(
            f"--weights {config.weights}: '{name}' starts from nothing; weights are for timm's names."
        )
    if name in BUILDERS:
        return BUILDERS[name](shape, config)
    return timm.create(shape, config, known=tuple(BUILDERS))
