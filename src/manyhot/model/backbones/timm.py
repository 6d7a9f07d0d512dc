"""Any network that timm knows, without its classifier: `forward_features`, then its own pooling.

Shapes: x (N, C, H, W) → features (N, F).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from manyhot.config import FitConfig
from manyhot.errors import UserError, listed
from manyhot.model.backbones import weights
from manyhot.model.backbones.base import Backbone
from manyhot.model.backbones.fusion import conv_bn_pairs

ELSEWHERE = {  # what torchvision and others call networks that timm has, and timm's name
    "mobilenet": "mobilenetv2_100",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenetv2": "mobilenetv2_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "resnet": "resnet50",
    "efficientnet": "efficientnet_b0",
    "efficientnet_v2_s": "tf_efficientnetv2_s",
    "efficientnet_v2_m": "tf_efficientnetv2_m",
    "efficientnet_v2_l": "tf_efficientnetv2_l",
    "densenet": "densenet121",
    "vgg": "vgg16",
    "convnext": "convnext_tiny",
    "regnet_y_400mf": "regnety_004",
    "regnet_x_400mf": "regnetx_004",
    "vit": "vit_base_patch16_224",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "swin": "swin_tiny_patch4_window7_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "dinov2": "vit_small_patch14_dinov2",
    "dinov2_vits14": "vit_small_patch14_dinov2",
    "dinov2_vitb14": "vit_base_patch14_dinov2",
    "clip": "vit_base_patch32_clip_224",
}


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


def check_name(name: str, known: Sequence[str]) -> None:
    """Refuse a name that neither timm nor we (`known`) have."""
    import timm  # takes seconds, so only where it is wanted

    if name.split(".")[0] in timm.list_models():
        return
    plain = name.casefold().replace("-", "_")
    if plain in ELSEWHERE:
        raise UserError(f"no backbone '{name}': timm calls it '{ELSEWHERE[plain]}'.")
    near = get_close_matches(plain, [*known, *timm.list_models()], n=3, cutoff=0.65)
    meant = f" (did you mean {listed(near)}?)" if near else ""
    raise UserError(f"no backbone '{name}'{meant}; there are {listed(known)} and timm's names.")


def create(shape: tuple[int, ...], config: FitConfig, known: Sequence[str]) -> Backbone:
    """Return timm's model of the name `config.backbone`, for pictures of `shape` (C, H, W).

    Raises:
        UserError: timm has no such model, or it cannot take pictures of this size.
    """
    channels, height, width = shape
    name = config.backbone
    check_name(name, known)
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
            f"backbone '{name}' cannot take pictures of {width} × {height} pixels ({reason})."
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
