"""One run in several processes: who this process is, and what they add up together.

`run` asks for the World once; the loop, the loader and the losses use it without asking
how many there are. Start a run with `torchrun --nproc-per-node 2 -m manyhot fit …`.

A batch is one batch however many share it: each process takes its share of the rows, losses
are divided by the known entries of the whole batch, and gradients and batch statistics are summed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from manyhot.device import CPU, is_card
from manyhot.errors import RunError
from manyhot.machine import given_cores

TIMEOUT_SECONDS = 120  # how long a step waits for a process that does not answer
BEAT_SECONDS = 2.0  # between two signs that a process is alive, however long it is at work on its own
DEAD_SECONDS = 60.0  # without one, after which it is taken for dead
LATE_SECONDS = 3_600.0  # in which a process must have begun, that is, have read the table
PATIENCE_SECONDS = 20.0  # after which it is said who is waited for
FIRST_PAUSE, PAUSE = 1e-4, 0.2  # seconds between two looks at who is there
log = logging.getLogger("manyhot")


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
            self.wait()
            shared = torch.tensor([value], dtype=torch.float64)
            _together(lambda: dist.broadcast(shared, 0))
            return float(shared)
        return value

    def wait(self) -> None:
        """Wait until all processes are here, for as long as the others show that they are alive.

        A step has TIMEOUT_SECONDS for its messages. Whatever one process may do for longer than others (read,
        judge, write a report, on a slower machine) is followed by this.

        Raises:
            RunError: another process does not show it any longer.
        """
        if self.size > 1:
            assert _meeting is not None, "start() joined the others"
            _together(_meeting.wait)

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
        timeout = timedelta(seconds=TIMEOUT_SECONDS)

        def join() -> None:
            global _meeting
            from torch.distributed.distributed_c10d import PrefixStore
            from torch.distributed.rendezvous import rendezvous

            store, rank, _ = next(rendezvous("env://", timeout=timedelta(seconds=LATE_SECONDS)))
            _meeting = _Meeting(PrefixStore("manyhot", store), rank, size)
            _meeting.wait()
            dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)

        _together(join)
    return World(dist.get_rank(), size)


def _backend(device: torch.device, size: int) -> str:
    """Return what carries what is added up, and give this process its card: NCCL where it has one for itself.

    Two processes on one card are refused by NCCL; gloo takes what they add up over the processor.
    """
    here, rank = (int(os.environ.get(f"LOCAL_{what}", n)) for what, n in (("WORLD_SIZE", size), ("RANK", 0)))
    there, what = given_cores(), "core"
    if is_card(device):
        cards = torch.get_device_module(device)
        there, what = cards.device_count(), "card"
        cards.set_device(rank % there)
    if here > there and rank == 0:
        plain = "%d processes share %d %s and wait for each other; %d of them take less time"
        log.warning(plain, here, there, what + "s" * (there > 1), there)
    return "cpu:gloo,cuda:nccl" if is_card(device) and here <= there else "gloo"


def finish() -> None:
    """Leave the group, where there is one, once all processes are here."""
    global _meeting
    if dist.is_available() and dist.is_initialized():
        assert _meeting is not None, "start() joined the others"
        _together(_meeting.wait)  # for the first, which writes the model
        # torch 2.6 ends its threads with Python's lock held; one of them that frees the last tensor waits for
        # the lock forever. This tensor is still ours then.
        last = torch.zeros(1)
        _together(lambda: dist.all_reduce(last))
        dist.destroy_process_group()
        _meeting.end()
        _meeting = None


class _Meeting:
    """Where processes wait for each other: in the store that all of them reach, with signs of life.

    A collective of torch's cannot tell one who is busy from one who is dead, but by a timeout.
    """

    def __init__(self, store: Any, rank: int, size: int) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.count = 0
        self.over = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        beats = 0
        with suppress(RuntimeError):  # the store is gone, and with it the run
            while not self.over.is_set():
                beats += 1
                self.store.set(f"alive/{self.rank}", str(beats))
                self.over.wait(BEAT_SECONDS)

    def end(self) -> None:
        """Show no sign of life any longer."""
        self.over.set()

    def wait(self) -> None:
        """Wait until all are here."""
        self.count += 1
        self.store.set(f"{self.count}/{self.rank}", "")
        self.store.delete_key(f"{self.count - 2}/{self.rank}")  # which all have passed
        missing, pause = [rank for rank in range(self.size) if rank != self.rank], FIRST_PAUSE
        began = looked = time.monotonic()
        signs = dict.fromkeys(missing, ("", began))
        told = False
        while missing := [rank for rank in missing if not self.store.check([f"{self.count}/{rank}"])]:
            time.sleep(pause)
            pause, now = min(2 * pause, PAUSE), time.monotonic()
            if now - looked < min(BEAT_SECONDS, DEAD_SECONDS / 4):
                continue
            looked = now
            for rank in missing:
                self._look(rank, signs, now)
            if not told and now - began > PATIENCE_SECONDS:
                told = True
                which = ", ".join(str(rank + 1) for rank in missing)
                log.info("waiting for process %s of %d, which is still at work", which, self.size)

    def _look(self, rank: int, signs: dict[int, tuple[str, float]], now: float) -> None:
        """See whether a process is alive.

        Raises:
            RunError: it is not.
        """
        key, (last, since) = f"alive/{rank}", signs[rank]
        sign = self.store.get(key).decode() if self.store.check([key]) else ""
        if sign != last:
            signs[rank] = (sign, now)
        elif now - since > (DEAD_SECONDS if sign else LATE_SECONDS):
            raise RunError(
                f"process {rank + 1} of {self.size} shows no sign of life for {now - since:.0f} s: it has "
                "ended, or was cut off; --resume goes on."
            )


_meeting: _Meeting | None = None  # of this process, while it is one of several


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
    except RunError:
        raise
    except RuntimeError as error:
        raise RunError(
            "another process of this run has ended, or does not answer; checkpoints are kept, and --resume "
            "goes on."
        ) from error
