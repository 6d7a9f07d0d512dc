"""What a training batch looks like: a Batch comes in, a sheet of pictures with their labels leaves, as PNG.

`classifier` keeps a Lesson of every fit on pictures; the page draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from manyhot.data.batches.loader import Batch
from manyhot.report.sheet import as_png, contact_sheet
from manyhot.schema import Target
from manyhot.targets import decode


@dataclass(frozen=True)
class Lesson:
    """Pictures of a training batch as the network is given them, uint8 (N, S, S, C), and what they teach."""

    pixels: NDArray[np.uint8]
    captions: list[str]

    def sheet(self) -> bytes:
        """Draw them with their labels; PNG."""
        pictures = [as_png(Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p)) for p in self.pixels]
        return contact_sheet(pictures, self.captions)


def lesson(targets: Sequence[Target], batch: Batch, members: int = 1, most: int = 16) -> Lesson:
    """Return the first pictures of a batch; a mixed one teaches both labels, the first by the share told."""
    captions = _named(targets, batch.y, members)
    if batch.other is not None and batch.own is not None:
        pairs = zip(captions, _named(targets, batch.other, members), batch.own.tolist(), strict=True)
        captions = [f"{a} {own:.0%}, {b}" if own < 1 else a for a, b, own in pairs]
    return Lesson(batch.x[:most].cpu().numpy().clip(0, 255).astype(np.uint8), captions[:most])


def _named(targets: Sequence[Target], y: Mapping[str, Tensor], members: int) -> list[str]:
    """Write the labels of each row of a batch, ? for unknown; with members, what any of them learns."""
    each = []
    for target in targets:
        values = y[target.name].cpu().numpy()
        values = values.max(axis=1) if members > 1 else values
        each.append([text or "?" for text in decode(target, values)])
    return [" · ".join(texts) for texts in zip(*each, strict=True)]
