"""Networks and predictors run over many rows, some at a time: x as the inputs give it in, numbers out.

`bundle` answers by it, `train` judges by it.

Shapes: N rows · M members · F features · W outputs of a target.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manyhot.data import disk
from manyhot.data.inputs.images.paths import Progress
from manyhot.data.inputs.images.stream import X
from manyhot.device import free_unused, to_device
from manyhot.errors import RunError
from manyhot.model.backbones.fusion import fused
from manyhot.model.network import Network
from manyhot.model.predictor import Predictor

BATCH, BATCH_CARD = 512, 1 << 14  # rows at a time; more gain nothing on a processor
# Numbers in a batch of large pictures: on a processor, layers that do not fit its cache take thrice the time.
BATCH_VALUES, BATCH_VALUES_CPU = 32 << 20, 1 << 20
R = TypeVar("R")
log = logging.getLogger("manyhot")


def logits(model: nn.Module, x: X, progress: Progress | None = None) -> dict[str, NDArray[np.float32]]:
    """Return the logits that a network or a predictor gives x, by target.

    Shape:
        out: float32 (N, W), or (N, M, W) of M members and views.
    """
    return _batched(model, x, lambda ready, batch: ready(batch), progress)


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
    values, most = (BATCH_VALUES_CPU, BATCH) if device.type == "cpu" else (BATCH_VALUES, BATCH_CARD)
    views = model.ensemble.views if isinstance(model, Predictor) else 1
    rows = max(1, min(most, values // max(1, views * int(np.prod(x.shape[1:])))))
    coming: deque[dict[str, Tensor]] = deque()
    first, found = 0, {} if found is None else found
    with torch.inference_mode():
        for outputs, done in in_memory(lambda some: forward(ready, to_device(x[some], device)), len(x), rows):
            coming.append(outputs)
            while len(coming) > (behind_of(device) if done < len(x) else 0):
                for name, value in coming[0].items():
                    if name not in found:
                        found[name] = np.empty((len(x), *value.shape[1:]), np.float32)
                    found[name][first : first + len(value)] = value.float().cpu().numpy()
                first += len(next(iter(coming.popleft().values()), ()))
            if progress is not None:
                progress(done, len(x))
    return found


def behind_of(device: torch.device) -> int:
    """Return how many batches a card still computes while the answers of those before are fetched."""
    return 0 if device.type == "cpu" else 2


def in_memory(act: Callable[[slice], R], count: int, rows: int) -> Iterator[tuple[R, int]]:
    """Do something to all of `count` rows, some at a time, fewer of them where a card has no memory for more.

    Yields:
        What comes of some rows, and how many are done. Of no rows it is done once.

    Raises:
        RunError: there is no memory for a single one.
    """
    done = 0
    while True:
        found = None
        with suppress(torch.OutOfMemoryError):
            found = act(slice(done, done + rows))
        if found is not None:
            done = min(done + rows, count)
            yield found, done
            if done >= count:
                return
        elif rows == 1:
            raise RunError("the card has no memory for the model and one row. Choose --device cpu.")
        else:  # out here, where no traceback holds what filled the memory
            rows = -(-rows // 2)
            free_unused()
            log.info("the card has no memory for more than %d rows at a time", rows)
