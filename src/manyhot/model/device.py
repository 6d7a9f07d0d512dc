"""Where to compute: the processor, or a CUDA or Apple device where there is one.

`classifier` asks once per fit and per load.
"""

from __future__ import annotations

import torch

from manyhot.errors import UserError


def pick(name: str) -> torch.device:
    """Return the device of a name; "auto" takes CUDA, then MPS, then the processor.

    Raises:
        UserError: this machine, or this build of torch, has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, found in there.items() if found))
    if not there[name]:
        found = ", ".join(kind for kind, yes in there.items() if yes)
        raise UserError(
            f"--device {name}: torch {torch.__version__} finds no such device here, only {found}."
        )
    return torch.device(name)
