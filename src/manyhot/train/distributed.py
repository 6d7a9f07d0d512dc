"""One run in several processes: who this process is, and what they add up together.

`run` asks for the World once; the loop, the loader and the losses use it without asking
how many there are. Start a run with `torchrun --nproc-per-node 2 -m manyhot fit …`.

A batch is one batch however many share it: each process takes its share of the rows, losses
are divided by the known entries of the whole batch, and gradients and batch statistics are summed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from manyhot.errors import RunError
from manyhot.machine import given_cores

CPU = torch.device("cpu")
log = logging.getLogger("manyhot")
TIMEOUT_SECONDS = 120  # how long to wait for a process that does not answer


@dataclass(frozen=True)
class World:
    """This process (`rank`, from 0) among the processes of a run (`size`)."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True in the one process that writes files and tells people."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Add a tensor up over all processes, in place; return it."""
        if self.size > 1:
            _together(lambda: dist.all_reduce(values))
        return values

    def agree(self, value: float) -> float:
        """Return the value that the leading process has."""
        if self.size > 1:
            shared = torch.tensor([value], dtype=torch.float64)
            _together(lambda: dist.broadcast(shared, 0))
            return float(shared)
        return value

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.sum(torch.zeros(1))

    def sum_gradients(self, model: nn.Module) -> None:
        """Add the gradients of all processes up, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = self.sum(torch.cat([gradient.reshape(-1) for gradient in gradients]))
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, part in zip(gradients, torch.split(flat, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))


def start(device: torch.device = CPU) -> World:
    """Join the processes that torchrun started; a World of one where it did not."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    if not dist.is_initialized():
        backend = _backend(device, size)
        _together(lambda: dist.init_process_group(backend, timeout=timedelta(seconds=TIMEOUT_SECONDS)))
    return World(dist.get_rank(), size)


def _backend(device: torch.device, size: int) -> str:
    """Return what carries what is added up, and give this process its card: NCCL where it has one for itself.

    Two processes on one card are refused by NCCL; gloo takes what they add up over the processor.
    """
    here, rank = (int(os.environ.get(f"LOCAL_{what}", n)) for what, n in (("WORLD_SIZE", size), ("RANK", 0)))
    there, what = given_cores(), "core"
    if device.type == "cuda":
        there, what = torch.cuda.device_count(), "card"
        torch.cuda.set_device(rank % there)
    if here > there and rank == 0:
        plain = "%d processes share %d %s and wait for each other; %d of them take less time"
        log.warning(plain, here, there, what + "s" * (there > 1), there)
    return "cpu:gloo,cuda:nccl" if device.type == "cuda" and here <= there else "gloo"


def finish() -> None:
    """Leave the group, where there is one, once all processes are here."""
    if dist.is_available() and dist.is_initialized():
        # torch 2.6 ends its threads with Python's lock held; one of them that frees the last tensor waits for
        # the lock forever. This tensor is still ours then.
        last = torch.zeros(1)
        _together(lambda: dist.all_reduce(last))
        dist.destroy_process_group()


def share_statistics(model: nn.Module, world: World) -> None:
    """Let batch norms see the whole batch, of which this process has a share."""
    if world.size == 1:
        return
    norms: list[Any] = [m for m in model.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]
    for norm in norms:
        norm.__class__ = _shared(type(norm))


def _shared(kind: type[nn.Module]) -> type[nn.Module]:
    """Return a batch norm whose mean and variance are of all processes. torch's own is for GPUs only."""

    class Shared(kind):  # type: ignore[valid-type, misc]
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                plain: Tensor = super().forward(x)
                return plain
            values = x.float()
            axes = [axis for axis in range(x.ndim) if axis != 1]
            count = torch.tensor(x.numel() / x.shape[1], device=x.device)
            local = torch.stack([values.sum(axes), values.square().sum(axes), count.expand(x.shape[1])])
            total, squares, counts = _Sum.apply(local)
            mean = total / counts
            variance = (squares / counts - mean.square()).clamp(min=0)
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * counts / (counts - 1), self.momentum)
            shape = [1, -1] + [1] * (x.ndim - 2)
            scale = self.weight * torch.rsqrt(variance + self.eps)
            out: Tensor = values * scale.view(shape) + (self.bias - mean * scale).view(shape)
            out = out.to(x.dtype)
            for name in ("drop", "act"):  # which timm's norms have in them
                out = getattr(self, name, _as_it_is)(out)
            return out

    return Shared


def _as_it_is(x: Tensor) -> Tensor:
    return x


class _Sum(torch.autograd.Function):
    """The sum over all processes, whose gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        _together(lambda: dist.all_reduce(total))
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        _together(lambda: dist.all_reduce(total))
        return total


def _together(act: Callable[[], object]) -> None:
    """Do something that needs all processes; say what it means when one of them is gone."""
    try:
        act()
    except RuntimeError as error:
        raise RunError(
            f"another process of this run ended or does not answer ({str(error).splitlines()[0]}); "
            "--resume goes on"
        ) from error
