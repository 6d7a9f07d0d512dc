"""The optimiser: torch's kernel and the same by public functions."""

import copy

import pytest
import torch
from torch import nn

from manyhot.config import FitConfig
from manyhot.model import optim

CONFIG = FitConfig(epochs=1, batch_size=16, learning_rate=3e-3, weight_decay=0.1, clip=0.5)
KERNEL = torch._fused_adamw_
FLOAT = (torch.device("cpu"), torch.float32)


@pytest.fixture(autouse=True)
def _asked_anew():
    """Let no test see which step another found to be the fastest."""
    optim.fastest.cache_clear()
    yield
    optim.fastest.cache_clear()


def network(dtype=torch.float32):
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.Flatten(), nn.Linear(144, 3)
    return nn.Sequential(*layers).to(dtype)


def trained(network, make, scheduled, size=1.0):
    """Return the weights after some steps at changing rates, and the optimiser."""
    optimizer = make(network)
    for number, rate in enumerate(scheduled):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(16, 1, 8, 8, generator=generator).to(next(network.parameters()).dtype)
        optimizer.zero_grad()
        (network(x) * size).square().mean().backward()
        optimizer.step(rate)
    return nn.utils.parameters_to_vector(network.parameters()).detach(), optimizer


def ours(network):
    return optim.AdamW(network, CONFIG)


class Torchs:
    """torch.optim.AdamW with the gradient clipped, as a page of plain PyTorch has it."""

    def __init__(self, network):
        parts = [
            [p for p in network.parameters() if p.ndim > 1],
            [p for p in network.parameters() if p.ndim < 2],
        ]
        groups = [{"params": part, "weight_decay": decay} for part, decay in zip(parts, (0.1, 0.0))]
        self.network, self.adamw = network, torch.optim.AdamW(groups, lr=1.0)
        self.zero_grad = self.adamw.zero_grad

    def step(self, rate):
        nn.utils.clip_grad_norm_(self.network.parameters(), CONFIG.clip)
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()


RATES = [1e-3, 3e-3, 3e-3, 2e-3, 1e-3, 5e-4, 1e-4, 1e-5]


@pytest.mark.parametrize("size", [0.01, 100.0], ids=["not clipped", "clipped"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_public_functions_make_the_step_of_the_kernel(monkeypatch, dtype, size):
    start = network(dtype)
    by_kernel, first = trained(copy.deepcopy(start), ours, RATES, size)
    assert first.move is optim.fused
    monkeypatch.delattr(torch, "_fused_adamw_")
    optim.fastest.cache_clear()
    plainly, second = trained(copy.deepcopy(start), ours, RATES, size)
    assert second.move is optim.plain
    assert (by_kernel - nn.utils.parameters_to_vector(start.parameters())).abs().max() > 1e-3
    torch.testing.assert_close(plainly, by_kernel, rtol=1e-6, atol=1e-6)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("move", [optim.fused, optim.plain])
def test_a_step_is_that_of_torchs_own_optimizer(monkeypatch, move):
    monkeypatch.setattr(optim, "fastest", lambda device, dtype: move)
    start = network()
    found, _ = trained(copy.deepcopy(start), ours, RATES, 100.0)
    wanted, _ = trained(copy.deepcopy(start), Torchs, RATES, 100.0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def refuse(*tensors, **options):
    raise NotImplementedError("no kernel for this device")


def clip_nothing(*tensors, grad_scale, **options):
    KERNEL(*tensors, **options)


def take_other_words(tensors):
    """A kernel whose arguments are others."""


@pytest.mark.parametrize("kernel", [refuse, clip_nothing, take_other_words])
def test_a_kernel_that_refuses_or_does_another_thing_is_not_used(monkeypatch, kernel):
    assert optim.fastest(*FLOAT) is optim.fused
    monkeypatch.setattr(torch, "_fused_adamw_", kernel)
    optim.fastest.cache_clear()
    assert optim.fastest(*FLOAT) is optim.plain


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_kernel_is_used_for_other_numbers_too(dtype):
    assert optim.fastest(FLOAT[0], dtype) is optim.fused


@pytest.mark.parametrize("move", [optim.fused, optim.plain])
def test_weights_without_a_gradient_stay(monkeypatch, move):
    monkeypatch.setattr(optim, "fastest", lambda device, dtype: move)
    half = network()
    optimizer = ours(half)
    before = copy.deepcopy(half.state_dict())
    half(torch.ones(2, 1, 8, 8)).sum().backward()
    half[4].weight.grad = None
    optimizer.step(1e-3)
    moved = {name for name, value in half.state_dict().items() if not torch.equal(value, before[name])}
    assert "4.weight" not in moved
    assert {"0.weight", "4.bias"} <= moved
