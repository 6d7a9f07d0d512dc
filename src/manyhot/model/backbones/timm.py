"""Any network that timm knows, without its classifier: `forward_features`, then its own pooling.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.errors import UserError, listed, suggest
from manyhot.model.backbones import weights
from manyhot.model.backbones.base import Backbone
from manyhot.model.backbones.fusion import conv_bn_pairs


class TimmBackbone(Backbone):
    """A timm model with its classifier taken off; what is `frozen` stays as it is in training."""

    frozen: tuple[nn.Module, ...] = ()

    def train(self, mode: bool = True) -> TimmBackbone:
        """Begin training, or end it; the batch norms of what is frozen keep their statistics."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

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
    settings = {"num_classes": 0, "in_chans": channels, "drop_rate": config.dropout}
    try:
        model = _made(name, settings | _read(config.backbone_options), (height, width))
        _out_of_place(model)
        backbone = TimmBackbone(model, 0)
        features, backbone.pairs = conv_bn_pairs(backbone.eval(), torch.zeros(1, channels, height, width))
        backbone.num_features = features.shape[1]
    except UserError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"backbone '{name}' cannot take pictures of {height}×{width} pixels ({reason})."
        ) from None
    if config.weights not in ("none", "auto"):
        weights.load(model, Path(config.weights), channels)
        backbone.frozen = _first_stages(model, config.frozen_stages)
        for parameter in (p for module in backbone.frozen for p in module.parameters(recurse=False)):
            parameter.requires_grad_(False)
    return backbone


def _first_stages(model: Any, count: int) -> tuple[nn.Module, ...]:
    """Return the layers up to the last one that sees pictures halved `count` times or less.

    They take most of the time of a step, since they see most pixels, and tell edges and colours apart
    whatever the pictures show.
    """
    ends = [stage["module"] for stage in model.feature_info if stage.get("reduction", 2) <= 2**count]
    if count == 0 or not ends:
        return ()
    # timm's batch norms hold their activation, so that it is no matter of having no children.
    layers = [(name, m) for name, m in model.named_modules() if name and (_own(m) or not list(m.children()))]
    last = max(i for i, (name, _) in enumerate(layers) if f"{name}.".startswith(f"{ends[-1]}."))
    return tuple(module for _, module in layers[: last + 1])


def _own(module: nn.Module) -> bool:
    """Tell whether a module holds numbers itself, and not only in modules inside it."""
    return any(True for each in (module.parameters, module.buffers) for _ in each(recurse=False))


def _made(name: str, settings: Mapping[str, Any], size: tuple[int, int]) -> Any:
    """Make a network for pictures of one size, or, where it takes no such argument, of any size."""
    import timm

    try:
        return timm.create_model(name, img_size=size, **settings)
    except TypeError:
        pass
    try:
        return timm.create_model(name, **settings)
    except TypeError as error:
        raise UserError(f"backbone '{name}': {error}; see backbone_options.") from None


def _out_of_place(model: nn.Module) -> None:
    """Let activations write a new tensor: in place, ReLU6 costs 5 % of a step of MobileNetV2 more."""
    for module in model.modules():
        if isinstance(module, (nn.ReLU6, nn.Hardtanh)):
            module.inplace = False


def _read(options: Mapping[str, str]) -> dict[str, Any]:
    """Read values as JSON where they are such, else as the text that they are."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
