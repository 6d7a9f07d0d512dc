"""Any network that timm knows, without its classifier: `forward_features`, then its own pooling.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from manyhot.config import FitConfig
from manyhot.errors import UserError, listed, suggest
from manyhot.model.backbones.base import Backbone

log = logging.getLogger("manyhot")


class TimmBackbone(Backbone):
    """A timm model with its classifier taken off."""

    def forward(self, x: Tensor) -> Tensor:
        """Return pooled features; float (N, num_features)."""
        model: Any = self.layers
        features: Tensor = model.forward_head(model.forward_features(x), pre_logits=True)
        return features


def create(shape: tuple[int, ...], config: FitConfig, known: Sequence[str]) -> Backbone:
    """Return timm's model of the name `config.backbone`, for pictures of `shape` (C, H, W).

    Raises:
        UserError: timm has no such model, or it cannot take pictures of this size.
    """
    import timm  # takes seconds, so only where it is wanted

    channels, height, width = shape
    name = config.backbone
    if name.split(".")[0] not in timm.list_models():
        options = [*known, *timm.list_models()]
        raise UserError(
            f"no backbone '{name}'{suggest(name, options)}; there are {listed(known)} and timm's names."
        )
    settings: dict[str, Any] = {"num_classes": 0, "in_chans": channels, "drop_rate": config.dropout}
    try:
        try:
            model = timm.create_model(name, img_size=(height, width), **settings)
        except TypeError:  # convolutional networks take any size and no such argument
            model = timm.create_model(name, **settings)
        backbone = TimmBackbone(model, 0)
        with torch.no_grad():
            backbone.num_features = backbone.eval()(torch.zeros(1, channels, height, width)).shape[1]
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"backbone '{name}' cannot take pictures of {height}×{width} pixels ({reason})."
        ) from None
    if config.weights not in ("none", "auto"):
        _load(model, Path(config.weights))
    return backbone


def _load(model: Any, path: Path) -> None:
    """Take weights from a safetensors file; a classifier in it is passed over, other misfits are named."""
    if not path.exists():
        raise UserError(f"--weights {path}: no such file; give a safetensors file, 'auto' or 'none'.")
    try:
        state = load_file(path)
    except (SafetensorError, OSError):
        raise UserError(f"--weights {path}: not a safetensors file.") from None
    own = model.state_dict()
    fitting = {key: value for key, value in state.items() if key in own and own[key].shape == value.shape}
    heads = ("classifier.", "fc.", "head.")
    odd = [key for key in {*state, *own} if key not in fitting and not key.startswith(heads)]
    odd = [key for key in odd if not key.endswith("num_batches_tracked")]
    if len(odd) > len(own) // 2:
        raise UserError(f"--weights {path}: made for another backbone; {listed(sorted(odd), 3)} do not fit.")
    if odd:
        log.warning("--weights %s: %s do not fit and start from nothing", path, listed(sorted(odd), 5))
    model.load_state_dict(fitting, strict=False)
