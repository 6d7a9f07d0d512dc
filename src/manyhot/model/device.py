"""Where to compute: the processor, or a CUDA or Apple device where there is one; and with how many threads.

`classifier` asks once per fit and per load.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from manyhot.errors import UserError

# The kernel clears and maps the memory of a tensor of some MB anew each time, page by page: on photos a
# tenth of a step's time, unless the pages are large. torch reads this once, at its first tensor.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def pick(name: str) -> torch.device:
    """Return the device of a name; "auto" takes CUDA, then MPS, then the processor.

    Raises:
        UserError: this machine, or this build of torch, has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    if not there.get(name):
        found = ", ".join(kind for kind, yes in there.items() if yes)
        raise UserError(
            f"--device {name}: torch {torch.__version__} finds no such device here, only {found}."
        )
    return torch.device(name)


@contextmanager
def autocast(precision: str, device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 where that is the precision; weights and losses stay float32."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        yield


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
