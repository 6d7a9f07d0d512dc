"""Pictures changed at random, a whole batch at once, on the device that they are on.

`loader` calls `augment`, `random_erasing` and `mixup` on training batches; prediction never does. All that
moves pixels is one map a picture, and so one sampling of it, at whatever side is wanted; all that
changes colours is one linear map. A generator is of the device of the pictures, so that nothing is sent.

Shapes: N rows · H W C · S the side of what leaves. In: uint8 (N, H, W, C). Out: float32 (N, S, S, C)
on the scale 0 to 255.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

EVERY = slice(None)
GREY = (0.299, 0.587, 0.114)  # how bright red, green and blue are to the eye; ITU-R BT.601
WARMER = (1.0, 0.0, -1.0)  # what a tint adds to red, green and blue
STEP = 16  # pixels; sides of growing pictures are multiples of it
SMALL_STEP = 4  # pixels by which small pictures grow
FARTHEST = 8  # pictures are moved by up to a part of so many of the side: 4 of 32 pixels
GROWTH = 1.5  # the power of the share of training that is through at which they grow


@dataclass(frozen=True)
class Augmentation:
    """How training pictures are changed.

    how         "shift" for symbols (turn, scale, slant and move a little), "warp" for the same and bent,
                "move" for small pictures of things (moved by whole pixels), "crop" for photos (a part of it,
                perhaps mirrored), "photo" for the same and one change drawn from several, "none"
    random_erasing  share of the pictures a part of which is painted over
    mixup       share of the pictures that are mixed with another one
    first_size  pixels of a side in the first epoch, growing until the last; 0 where it does not grow
    mirror      whether half of the pictures are mirrored that `how` does not mirror already
    """

    how: str = "none"
    random_erasing: float = 0.0
    mixup: float = 0.0
    first_size: int = 0
    mirror: bool = False

    def side(self, last: int, done: float) -> int:
        """Return the side of the pictures when a share `done` of the training is through.

        Small ones come for longer, since an epoch of them is short.

        >>> [Augmentation("photo", first_size=96).side(128, done) for done in (0, 0.4, 0.5, 0.9)]
        [96, 96, 112, 128]
        >>> [Augmentation("move", first_size=24).side(32, done) for done in (0, 0.4, 0.5, 0.9)]
        [24, 24, 28, 32]
        """
        if not 0 < self.first_size < last:
            return last
        step = SMALL_STEP if self.how == "move" else STEP
        stages = (last - self.first_size) // step + 1
        return min(last, self.first_size + step * int(done**GROWTH * stages))


def augment(
    x: Tensor,
    how: str,
    generator: torch.Generator,
    rows: int | None = None,
    mine: slice = EVERY,
    side: int = 0,
) -> Tensor:
    """Change pictures in the way that `how` names, and bring them to a side (0: as they are).

    `rows` and `mine` say which rows of how large a batch x is, where other processes have the rest;
    a row is changed in the same way whoever has it.
    """
    if how == "none":
        return x
    rows = len(x) if rows is None else rows
    if how == "move":
        return _resized(_moved(x, rows, generator, mine), side)
    recolour = None
    symbols = how in ("shift", "warp")
    affine = _small_changes(rows, generator) if symbols else _crops(rows, generator)
    if how == "photo":
        affine, recolour = _one_of_many(affine, generator)
    pictures = x.permute(0, 3, 1, 2).float()
    shape = [*pictures.shape[:2], *((side, side) if side else pictures.shape[2:])]
    grid = F.affine_grid(affine[mine], shape, align_corners=False)
    if how == "warp":
        grid = grid + _bends(rows, shape[2:], generator)[mine]
    padding = "border" if symbols else "reflection"
    moved = F.grid_sample(pictures, grid, padding_mode=padding, align_corners=False).permute(0, 2, 3, 1)
    return moved if recolour is None else _recoloured(moved, recolour[mine])


def mirror(x: Tensor, generator: torch.Generator, rows: int, mine: slice = EVERY) -> Tensor:
    """Mirror half of the pictures, left for right."""
    flipped = (_uniform(rows, -1, 1, generator) < 0)[mine, None, None, None]
    return torch.where(flipped, x.flip(2), x)


def random_erasing(
    x: Tensor, share: float, generator: torch.Generator, rows: int, mine: slice = EVERY
) -> Tensor:
    """Paint a rectangle of 2 to 25 % of the area over in the mean colour, in a share of the pictures.

    Source: random erasing, Zhong et al. 2017, with the mean in place of noise.
    """
    area = _uniform(rows, 0.02, 0.25, generator)
    inside = _rectangles(x.shape[1:3], area, generator)
    inside &= (_uniform(rows, 0, 1, generator) < share)[:, None, None]
    x = x.float()
    return torch.where(inside[mine, :, :, None], x.mean(dim=(1, 2), keepdim=True), x)


def mixup(x: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Mix a share of the pictures with the one before: half of them blended, half with a rectangle pasted in.

    Returns:
        The pictures; for each the place of its partner, int64 (N,); and how much of it is itself, in
        [0, 1], float (N,), 1 where it is not mixed.

    Source: mixup, Zhang et al. 2018, and CutMix, Yun et al. 2019, both with uniform shares.
    """
    rows = len(x)
    own = _uniform(rows, 0, 1, generator)
    pasted = _rectangles(x.shape[1:3], 1 - own, generator)
    blend = own[:, None, None].expand(pasted.shape)
    weight = torch.where((_uniform(rows, 0, 1, generator) < 0.5)[:, None, None], blend, (~pasted).float())
    mixed = _uniform(rows, 0, 1, generator) < share
    weight = torch.where(mixed[:, None, None], weight, 1.0)
    partner = torch.arange(rows, device=x.device).roll(1)
    over = weight[..., None]
    return x.float() * over + x.float()[partner] * (1 - over), partner, weight.mean(dim=(1, 2))


def _moved(x: Tensor, rows: int, generator: torch.Generator, mine: slice) -> Tensor:
    """Move pictures by whole pixels, up to an eighth of the side; what comes in is their mirror image.

    Source: He et al. 2016, "Deep Residual Learning", section 4.2 (4 of 32 pixels, there zeros come in).
    """
    places = []
    for side in x.shape[1:3]:
        most = max(1, side // FARTHEST) if side > 1 else 0
        moves = torch.randint(-most, most + 1, (rows, 1), generator=generator, device=x.device)[mine]
        place = (torch.arange(side, device=x.device) + moves).abs()
        places.append(torch.where(place < side, place, 2 * (side - 1) - place))
    each = torch.arange(len(x), device=x.device)
    return x[each[:, None, None], places[0][:, :, None], places[1][:, None, :]].float()


def _resized(x: Tensor, side: int) -> Tensor:
    """Bring pictures (N, H, W, C) to a side; 0 leaves them as they are."""
    if not side:
        return x
    size = (side, side)
    small = F.interpolate(x.permute(0, 3, 1, 2), size, mode="bilinear", antialias=True)
    return small.permute(0, 2, 3, 1)


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


def _bends(rows: int, sides: Sequence[int], generator: torch.Generator) -> Tensor:
    """Move the pixels of smooth places apart, by 2.5 % of the side (one deviation); (N, H, W, 2).

    Source: elastic distortions, Simard et al. 2003, drawn on 5 × 5 places and interpolated between.
    """
    places = torch.randn(rows, 2, 5, 5, generator=generator, device=generator.device) * 0.05
    moved = F.interpolate(places, size=tuple(sides), mode="bicubic", align_corners=True)
    return moved.permute(0, 2, 3, 1)


def _crops(rows: int, generator: torch.Generator) -> Tensor:
    """Cut out 50 to 100 % of the area, at an aspect between 4:5 and 5:4, half of them mirrored; (N, 2, 3).

    Source: random resized cropping, Szegedy et al. 2015, with a larger least area since the
    pictures are small.
    """
    side = _uniform(rows, 0.5, 1.0, generator).sqrt()
    aspect = torch.exp(_uniform(rows, -1, 1, generator) * math.log(1.25)).sqrt()
    width, height = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    mirror = torch.where(_uniform(rows, -1, 1, generator) < 0, -1.0, 1.0)
    zero = torch.zeros_like(side)
    move_x = _uniform(rows, -1, 1, generator) * (1 - width)
    move_y = _uniform(rows, -1, 1, generator) * (1 - height)
    top = torch.stack([width * mirror, zero, move_x], dim=1)
    return torch.stack([top, torch.stack([zero, height, move_y], dim=1)], dim=1)


def _one_of_many(affine: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add one change a picture: none, turned, slanted, gain, contrast, colour, tint, or a negative.

    Returns:
        Affine maps (N, 2, 3), and for the colours (N, 5): gain, contrast, colour, tint, and 1 for a negative.

    Source: TrivialAugment, Müller and Hutter 2021: one change, its strength uniform, nothing to tune. What
    is no affine map of places or colours (sharpness, posterising, equalising) is left out.
    """
    rows = len(affine)
    which = torch.randint(0, 8, (rows,), generator=generator, device=generator.device)
    strength = _uniform(rows, -1, 1, generator)

    def drawn(number: int, most: float) -> Tensor:
        return torch.where(which == number, strength * most, 0.0)

    angle, slant = drawn(1, math.radians(30)), drawn(2, 0.3)
    cos, sin, zero = torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)
    top = torch.stack([cos, slant - sin, zero], dim=1)
    turn = torch.stack([top, torch.stack([sin, cos, zero], dim=1)], dim=1)
    turned = torch.cat([affine[:, :, :2] @ turn[:, :, :2], affine[:, :, 2:]], dim=2)
    gain, contrast, colour = (1 + drawn(number, 0.7) for number in (3, 4, 5))
    negative = ((which == 7) & (strength > 0.5)).float()
    return turned, torch.stack([gain, contrast, colour, drawn(6, 0.2), negative], dim=1)


def _recoloured(x: Tensor, changes: Tensor) -> Tensor:
    """Apply gain, contrast around the mean, colour around grey, a tint and a negative to (N, S, S, C)."""
    gain, contrast, colour, tint, negative = (part[:, None, None, None] for part in changes.unbind(1))
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    if x.shape[-1] == 3:
        grey = (x * _constant(GREY, x.device)).sum(dim=-1, keepdim=True)
        x = (x * colour + grey * (1 - colour)) * (1 + tint * _constant(WARMER, x.device))
    x = ((x - mean) * contrast + mean) * gain
    x = torch.where(negative > 0, 255 - x, x)
    return x.clamp_(0, 255)


def _rectangles(shape: torch.Size, area: Tensor, generator: torch.Generator) -> Tensor:
    """Return a mask for each share of the area: a rectangle somewhere inside; bool (N, H, W)."""
    rows = len(area)
    aspect = torch.exp(_uniform(rows, -1, 1, generator) * math.log(1.5)).sqrt()
    inside = []
    for side, length in zip(shape, (area.sqrt() / aspect, area.sqrt() * aspect)):
        size = (length.clamp(max=1) * side).round()
        first = (_uniform(rows, 0, 1, generator) * (side - size + 1)).floor()
        place = torch.arange(side, device=area.device)
        inside.append((place >= first[:, None]) & (place < (first + size)[:, None]))
    return inside[0][:, :, None] & inside[1][:, None, :]


def _uniform(rows: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(rows, generator=generator, device=generator.device) * (high - low) + low


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return numbers on a device, sent there once: to send them is to wait for it."""
    return torch.tensor(values, device=device)
