"""Networks and predictors run over many rows, some at a time: x as the inputs give it in, numbers out.

`bundle` answers by it, `train` judges by it.

Shapes: N rows · M members · F features · W outputs of a target.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyhot.data import disk
from manyhot.data.batches.loader import in_order
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.inputs.images.stream import X
from manyhot.model.backbones.fusion import fused
from manyhot.model.network import Network
from manyhot.model.predictor import Predictor

BATCH = 512  # rows at a time; more gain nothing on a processor
# Numbers in a batch of large pictures: on a processor, layers that do not fit its cache take thrice the time.
BATCH_VALUES, BATCH_VALUES_CPU = 32 << 20, 1 << 20


def logits(model: nn.Module, x: X) -> dict[str, NDArray[np.float32]]:
    """Return the logits that a network or a predictor gives x, by target.

    Shape:
        out: float32 (N, W), or (N, M, W) of M members and views.
    """
    return _batched(model, x, lambda ready, batch: ready(batch))


def features(
    model: Network | Predictor, x: X, progress: Progress | None = None, memory: float | None = None
) -> NDArray[np.float32]:
    """Return the features that the heads of a network read for x; float32 (N, F), of members side by side.

    They are mapped where they take too much of `memory` GB, see `disk`.
    """

    def given(ready: Any, batch: Tensor) -> dict[str, Tensor]:
        return {"": ready.features(batch).flatten(1)}

    def fill(found: NDArray[np.float32]) -> None:
        _batched(model, x, given, progress, {"": found})

    return disk.array((len(x), *_batched(model, x[:1], given)[""].shape[1:]), memory, fill)


def run(model: nn.Module, x: X) -> NDArray[np.float32]:
    """Return what any module gives x; float32 (N, …)."""
    return _batched(model, x, lambda ready, batch: {"": ready(batch)})[""]


def device_of(model: nn.Module) -> torch.device:
    """Return where a model computes; a model without any numbers does so on the processor."""
    tensors = (*model.parameters(), *model.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def _batched(
    model: nn.Module,
    x: X,
    forward: Callable[[Any, Tensor], dict[str, Tensor]],
    progress: Progress | None = None,
    found: dict[str, NDArray[np.float32]] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return what `forward` gives x by name, in the arrays `found` where these are there."""
    ready, device = fused(model.eval()), device_of(model)
    values = BATCH_VALUES_CPU if device.type == "cpu" else BATCH_VALUES
    views = model.ensemble.views if isinstance(model, Predictor) else 1
    rows = max(1, min(BATCH, values // max(1, views * int(np.prod(x.shape[1:])))))
    first, found = 0, {} if found is None else found
    with torch.inference_mode():
        for batch in in_order(x, rows, device) if len(x) else [torch.from_numpy(np.asarray(x)).to(device)]:
            outputs = forward(ready, batch)
            for name, value in outputs.items():
                if name not in found:
                    found[name] = np.empty((len(x), *value.shape[1:]), np.float32)
                found[name][first : first + len(batch)] = value.float().cpu().numpy()
            first += len(batch)
            if progress is not None:
                progress(first, len(x))
    return found
