"""What a training batch looks like: a Batch comes in, a sheet of pictures with their labels leaves, as PNG.

`classifier` draws it before training pictures; the page shows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from manyhot.data.loader import Batch
from manyhot.report.sheet import as_png, contact_sheet
from manyhot.schema import Target
from manyhot.targets import decode


def lesson(targets: Sequence[Target], batch: Batch, members: int = 1, most: int = 16) -> bytes:
    """Draw the first pictures of a training batch as the network is given them, with what they teach; PNG."""
    pixels = batch.x[:most].cpu().numpy().clip(0, 255).astype(np.uint8)
    pictures = [as_png(Image.fromarray(p[..., 0] if p.shape[-1] == 1 else p)) for p in pixels]
    captions = _named(targets, batch.y, members)
    if batch.other is not None and batch.own is not None:
        pairs = zip(captions, _named(targets, batch.other, members), batch.own.tolist(), strict=True)
        captions = [f"{a} {own:.0%}, {b}" if own < 1 else a for a, b, own in pairs]
    return contact_sheet(pictures, captions[: len(pictures)])


def _named(targets: Sequence[Target], y: Mapping[str, Tensor], members: int) -> list[str]:
    """Write the labels of each row of a batch, ? for unknown; with members, what any of them learns."""
    each = []
    for target in targets:
        values = y[target.name].cpu().numpy()
        values = values.max(axis=1) if members > 1 else values
        each.append([text or "?" for text in decode(target, values)])
    return [" · ".join(texts) for texts in zip(*each, strict=True)]
