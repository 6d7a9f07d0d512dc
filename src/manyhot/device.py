"""Where to compute, and how: the processor, a card with memory of its own, or an Apple device.

`fitting` asks once per fit and `bundle` per load. A card works on while the processor goes on, so what is
sent to it is not waited for. What is peculiar to one kind of device stands here; graphs in `train.step`.
"""

from __future__ import annotations

import os
import random
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from manyhot.config import FitConfig
from manyhot.errors import RunError, UserError
from manyhot.machine import Device, automatic, graphics_card, processor

CPU = torch.device("cpu")
CARD = "cuda"  # the kind of device that is a card
RESIDENT = 0.5  # of a card's free memory, which rows may fill for good
PINNED = 64 << 20  # bytes up to which what is sent to a card is pinned first, memory that all else lacks


def pick(name: str) -> torch.device:
    """Return the device of a name; "auto" takes CUDA, then MPS, then the processor.

    Raises:
        UserError: this machine, or this build of torch, has no such device.
    """
    there = {CARD: torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    if not there.get(name):
        found = ", ".join(kind for kind, yes in there.items() if yes)
        unused = f" {automatic().unused}." if name == CARD and automatic().unused else ""
        raise UserError(
            f"--device {name}: torch {torch.__version__} finds no such device here, only {found}.{unused}"
        )
    return torch.device(name)


def is_card(device: torch.device | str) -> bool:
    """Tell whether a device is a card."""
    return torch.device(device).type == CARD


def describe(device: torch.device) -> Device:
    """Describe a device."""
    if device.type == "cpu":
        return processor()
    if not is_card(device):
        return Device(device.type)
    found = torch.cuda.get_device_properties(device)
    return graphics_card(found.name, found.total_memory, found.major)


def described(asked: str = "auto") -> Device:
    """Describe what computes where so much is asked for: what settings follow from.

    Raises:
        UserError: as `pick`.
    """
    device = describe(pick(asked))
    return device._replace(unused=automatic().unused) if (asked, device.kind) == ("auto", "cpu") else device


def has_room(device: torch.device | str, size: int) -> bool:
    """Tell whether so many bytes may stay on a device for good, beside what training needs there."""
    return not is_card(device) or size <= RESIDENT * torch.get_device_module(device).mem_get_info(device)[0]


def free_unused() -> None:
    """Let go of the memory of a card that nothing is in, which torch keeps for what comes next."""
    torch.get_device_module(CARD).empty_cache()


def to_device(x: ArrayLike, device: torch.device | str) -> Tensor:
    """Return an array as a tensor on a device, which takes it without being waited for."""
    return sent(pinned(x, device), device)


def pinned(x: ArrayLike, device: torch.device | str) -> Tensor:
    """Return a tensor on the processor; for a card it is pinned, so that nobody waits while it is sent."""
    # torch warns of arrays that cannot be written to
    tensor = torch.from_numpy(np.require(x, requirements=["C", "W"]))
    return tensor.pin_memory() if is_card(device) and tensor.nbytes <= PINNED else tensor


def sent(x: Tensor, device: torch.device | str) -> Tensor:
    """Return a tensor on a device, which takes it without being waited for where it is pinned."""
    return x.to(device, non_blocking=is_card(device))


def seed(device: torch.device, value: int) -> None:
    """Seed what is drawn on a device without a generator.

    Not by `torch.manual_seed`, which takes 4 ms on a processor.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(value)
    else:
        torch.get_device_module(device).manual_seed(value)


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in halves where they are the precision; weights and losses stay float32."""
    halves = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
    with torch.autocast(device.type, dtype=halves or torch.bfloat16, enabled=halves is not None):
        yield


@contextmanager
def left_as_found(device: torch.device = CPU) -> Iterator[None]:
    """Lend what belongs to the caller and is one for a process, and give it back as it was found.

    That is the random numbers of torch (of the processor and of a device), NumPy and Python, the number of
    torch's threads and how `use` lets a card compute, and the filters of warnings, to which libraries add as
    they are imported. Whoever draws within seeds first, so that nothing follows from how the numbers were
    found.
    """
    lenders = [torch, torch.get_device_module(device)] if _draws(device) else [torch]
    states, threads = [lender.get_rng_state() for lender in lenders], torch.get_num_threads()
    products, exact = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    numpy, python = np.random.get_state(), random.getstate()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for lender, state in zip(lenders, states, strict=True):
            lender.set_rng_state(state)
        if is_card(device) and len(lenders) == 1:  # it had drawn nothing yet, and begins at this seed
            seed(device, torch.initial_seed())
        np.random.set_state(numpy)
        random.setstate(python)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        if is_card(device):
            torch.set_float32_matmul_precision(products)
            torch.use_deterministic_algorithms(exact)


def _draws(device: torch.device) -> bool:
    """Tell whether a card has numbers of its own to be kept: before it begins, to ask takes a second."""
    if is_card(device):
        return bool(torch.get_device_module(device).is_initialized())
    return device.type != "cpu"


def warm_up(device: torch.device, deterministic: bool = False) -> None:
    """Let a card and its libraries begin, which takes seconds, while rows are read."""
    if not is_card(device):
        return
    if deterministic:  # which cuBLAS reads as it begins
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def begin() -> None:
        with suppress(RuntimeError):  # which the fit will meet and tell
            x = torch.zeros(1, 8, 8, 8, device=device)
            torch.nn.functional.conv2d(x, x.new_zeros(8, 8, 3, 3)) @ x.new_zeros(6, 6)

    threading.Thread(target=begin, daemon=True).start()


def use(config: FitConfig, device: torch.device) -> None:
    """Compute as the settings of a run say, until `left_as_found` ends."""
    use_threads(config.threads)
    if is_card(device):
        torch.set_float32_matmul_precision("high" if config.precision == "tf32" else "highest")
        torch.use_deterministic_algorithms(config.deterministic)


@contextmanager
def kept_promise() -> Iterator[None]:
    """Say it where a card has no way to compute something that gives the same bits each time.

    Raises:
        RunError: it has none.
    """
    try:
        yield
    except RuntimeError as error:
        if "deterministic implementation" not in str(error):
            raise
        raise RunError(
            f"deterministic: {str(error).split(',')[0]}. Choose another --backbone, or leave it out: the "
            "same seed then gives nearly the same weights."
        ) from error


def use_threads(count: int) -> None:
    """Compute with so many threads; with one in a process that was forked.

    OpenMP's threads do not come along into a fork, and its first parallel loop there waits for them
    forever.
    """
    torch.set_num_threads(1 if _forked else count)


def _after_fork() -> None:
    global _forked
    _forked = True
    torch.set_num_threads(1)


_forked = False
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
