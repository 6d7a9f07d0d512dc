"""Pictures changed at random, a whole batch at once, on the device that they are on.

`loader` calls `augment` on training batches; prediction never does.

Shapes: N rows · H W C. In: uint8 (N, H, W, C). Out: float32 (N, H, W, C) on the scale 0 to 255.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

EVERY = slice(None)


def augment(
    x: Tensor, how: str, generator: torch.Generator, rows: int | None = None, mine: slice = EVERY
) -> Tensor:
    """Apply "shift" (for symbols: turn, scale, slant and move a little) or "crop" (for photos), or "none".

    `rows` and `mine` say which rows of how large a batch x is, where other processes have the rest;
    a row is changed in the same way whoever has it.
    """
    if how == "none":
        return x
    rows = len(x) if rows is None else rows
    affine = (_small_changes(rows, generator) if how == "shift" else _crops(rows, generator))[mine]
    pictures = x.permute(0, 3, 1, 2).float()
    grid = F.affine_grid(affine.to(x.device), list(pictures.shape), align_corners=False)
    padding = "border" if how == "shift" else "reflection"
    moved = F.grid_sample(pictures, grid, padding_mode=padding, align_corners=False)
    return moved.permute(0, 2, 3, 1)


def _small_changes(rows: int, generator: torch.Generator) -> Tensor:
    """Turn by up to 15°, scale and stretch by 15 %, slant by 0.2, move by 8 % of the side; (N, 2, 3)."""
    angle = _uniform(rows, -1, 1, generator) * math.radians(15)
    scale_x, scale_y = 1 + _uniform(rows, -0.15, 0.15, generator), 1 + _uniform(rows, -0.15, 0.15, generator)
    move_x, move_y = _uniform(rows, -0.16, 0.16, generator), _uniform(rows, -0.16, 0.16, generator)
    slant = _uniform(rows, -0.2, 0.2, generator)
    cos, sin = torch.cos(angle), torch.sin(angle)
    top = torch.stack([cos * scale_x, (slant - sin) * scale_y, move_x], dim=1)
    bottom = torch.stack([sin * scale_x, cos * scale_y, move_y], dim=1)
    return torch.stack([top, bottom], dim=1)


def _crops(rows: int, generator: torch.Generator) -> Tensor:
    """Cut out 50 to 100 % of the area, at an aspect between 4:5 and 5:4, half of them mirrored; (N, 2, 3).

    Source: random resized cropping, Szegedy et al. 2015, with a larger least area since the
    pictures are small.
    """
    side = _uniform(rows, 0.5, 1.0, generator).sqrt()
    aspect = torch.exp(_uniform(rows, -1, 1, generator) * math.log(1.25)).sqrt()
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    mirror = torch.where(_uniform(rows, -1, 1, generator) < 0, -1.0, 1.0)
    zero = torch.zeros(rows)
    move_x = _uniform(rows, -1, 1, generator) * (1 - width)
    move_y = _uniform(rows, -1, 1, generator) * (1 - height)
    top = torch.stack([width * mirror, zero, move_x], dim=1)
    return torch.stack([top, torch.stack([zero, height, move_y], dim=1)], dim=1)


def _uniform(rows: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, generator=generator) * (high - low) + low
