"""What a training batch looks like: a Batch comes in, some of its pictures with what they teach leave.

`run` keeps a preview of every fit on pictures; `report` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from manyhot.data.batches.loader import Batch
from manyhot.schema import Target
from manyhot.targets import decode


@dataclass(frozen=True)
class BatchPreview:
    """Pictures of a training batch as the network is given them, uint8 (N, S, S, C), and what they teach."""

    pixels: NDArray[np.uint8]
    captions: list[str]


def preview(targets: Sequence[Target], batch: Batch, most: int = 16) -> BatchPreview:
    """Return the first pictures of a batch; a mixed one teaches both labels, the first by the share told."""
    captions = _named(targets, batch.y)
    if batch.y2 is not None and batch.lam is not None:
        pairs = zip(captions, _named(targets, batch.y2), batch.lam.tolist(), strict=True)
        captions = [f"{a} {lam:.0%}, {b}" if lam < 1 else a for a, b, lam in pairs]
    return BatchPreview(batch.x[:most].cpu().numpy().clip(0, 255).astype(np.uint8), captions[:most])


def _named(targets: Sequence[Target], y: Mapping[str, Tensor]) -> list[str]:
    """Write the labels of each row of a batch, ? for unknown."""
    each = [[text or "?" for text in decode(t, y[t.name].cpu().numpy())] for t in targets]
    return [" · ".join(texts) for texts in zip(*each, strict=True)]
