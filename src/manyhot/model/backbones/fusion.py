"""Conv–batch-norm fusion: batch norms become part of the convolutions before them, to answer in less time.

`inference` and `train.loop` run what `fused` gives, which answers the same but for rounding.
"""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from manyhot.model.backbones.base import Backbone, Pairs

M = TypeVar("M", bound=nn.Module)


def fused(model: M, frozen: bool = False) -> M:
    """Return a copy whose batch norms do no work of their own; the model itself where it has none to fuse.

    It shares all weights but those of these convolutions with the model, and is for answering only. With
    `frozen` only what does not learn is fused, so that what learns in the copy learns in the model.
    """
    chosen = [_frozen(backbone) if frozen else backbone.pairs for backbone in _backbones(model)]
    if not any(chosen):
        return model
    copy = deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    for backbone, fusing in zip(_backbones(copy), chosen, strict=True):
        for names in fusing:
            _fuse(backbone, *names)
        backbone.pairs = tuple(pair for pair in backbone.pairs if pair not in fusing)
    return copy


def conv_bn_pairs(network: nn.Module, x: Tensor) -> tuple[Tensor, Pairs]:
    """Run a network; return what it gives, and which batch norms alone read what a convolution wrote."""
    network = deepcopy(network)  # which takes the hooks, and what some keep of what they computed
    names = {module: name for name, module in network.named_modules()}
    wrote: dict[int, tuple[nn.Module, Tensor]] = {}  # by id, with the tensor, so that it stays this one's
    found: list[tuple[nn.Module, nn.Module, Tensor]] = []
    runs: Counter[nn.Module] = Counter()

    def after(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        runs[module] += 1
        wrote[id(output)] = (module, output)

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        runs[module] += 1
        if id(inputs[0]) in wrote:
            convolution, output = wrote[id(inputs[0])]
            found.append((convolution, module, output))

    for module in names:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(after)
        elif _is_norm(module):
            module.register_forward_pre_hook(before)
    with torch.enable_grad():
        features: Tensor = network(x)
    readers = _readers(features)
    return features.detach(), tuple(
        (names[convolution], names[norm])
        for convolution, norm, output in found
        if readers[output.grad_fn] == runs[convolution] == runs[norm] == 1
    )


def _readers(result: Tensor) -> Counter[Any]:
    """Count how many steps read what each step wrote, on the way to a result."""
    readers: Counter[Any] = Counter()
    waiting: list[Any] = [result.grad_fn]
    while waiting:
        for node, _ in waiting.pop().next_functions:
            if node is not None:
                readers[node] += 1
                if readers[node] == 1:
                    waiting.append(node)
    return readers


def _is_norm(module: nn.Module) -> bool:
    """Tell whether a module is a batch norm with statistics, perhaps with an activation, as timm's are."""
    if type(module).__name__ not in ("BatchNorm2d", "BatchNormAct2d"):
        return False  # one of timm's that does more, or less
    return isinstance(module, nn.BatchNorm2d) and module.track_running_stats


@torch.no_grad()
def _fuse(network: nn.Module, convolution: str, norm: str) -> None:
    conv: Any = network.get_submodule(convolution)
    bn: Any = network.get_submodule(norm)
    weights = (conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)
    conv.weight, conv.bias = fuse_conv_bn_weights(*weights)
    activation: Any = getattr(bn, "act", nn.Identity())
    if hasattr(activation, "inplace"):
        activation.inplace = True  # nobody else reads it, nor asks for its gradient
    parent, _, name = norm.rpartition(".")
    setattr(network.get_submodule(parent), name, activation)


def _frozen(backbone: Backbone) -> Pairs:
    """Return the pairs none of which learns."""

    def is_frozen(name: str) -> bool:
        return not any(parameter.requires_grad for parameter in backbone.get_submodule(name).parameters())

    return tuple(pair for pair in backbone.pairs if all(map(is_frozen, pair)))


def _backbones(model: nn.Module) -> list[Backbone]:
    return [module for module in model.modules() if isinstance(module, Backbone)]
