"""One step of gradient descent: a batch goes in, its losses come out, and the weights have moved.

`loop` calls what `launched` returns. On a card a step is captured once as a graph and then launched
as a whole, since launching its hundreds of kernels one by one takes longer than small ones run.

Shapes: B rows of a batch · T targets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from operator import itemgetter
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manyhot.config import FitConfig
from manyhot.data.batches.loader import Batch
from manyhot.device import autocast, free_unused, is_card, seed
from manyhot.errors import RunError
from manyhot.model import losses, optim
from manyhot.model.network import Network
from manyhot.schema import Target
from manyhot.train.distributed import World

WARM_UP = 3  # steps of a new shape before it is captured, in which libraries choose and allocate
log = logging.getLogger("manyhot")


class TakeStep(Protocol):
    """What makes a step."""

    def __call__(self, batch: Batch, number: int, rate: float, smoothing: float) -> Tensor:
        """Make step `number` (from 0) on a batch, at a learning rate and with labels smoothed so far.

        Shape:
            out: float (1 + T,), the loss and each target's own, on the device; the next may write over it.
        """


def launched(step: Step) -> TakeStep:
    """Return how the steps of a run are launched: captured on a card that this process has for itself."""
    alone = is_card(step.device) and step.world.size == 1
    return Captured(step, CudaGraphs()) if alone else step


class Step:
    """A step whose kernels are launched one by one.

    A batch that the memory of a card does not hold passes through in parts, whose gradients add up to those
    of the batch but for rounding. (Batch norms see a part at a time, and dropout draws for each.)
    """

    def __init__(
        self,
        network: Network,
        optimizer: optim.AdamW,
        targets: tuple[Target, ...],
        config: FitConfig,
        weights: Mapping[str, Tensor],
        world: World,
    ) -> None:
        self.network, self.optimizer, self.world = network, optimizer, world
        self.targets, self.config, self.weights = targets, config, weights
        self.parts = 1
        self.device = optimizer.steps.device

    def __call__(self, batch: Batch, number: int, rate: float, smoothing: float) -> Tensor:
        """As `TakeStep`.

        Raises:
            RunError: the memory of the card does not hold a single row, or one of several processes ran out.
        """
        while True:
            self.seed(number)
            with suppress(torch.OutOfMemoryError):
                found = self.gradients(batch, smoothing)
                break
            self._halve(batch)  # out here, where no traceback holds what filled the memory
        self.optimizer.step(rate)
        return self.world.sum(found)

    def seed(self, number: int) -> None:
        """Seed what dropout draws from, the same after a resume."""
        seed(self.device, self.config.seed * 1_000_003 + number)

    def gradients(self, batch: Batch, smoothing: float | Tensor) -> Tensor:
        """Leave the gradients of a batch with the weights; return its losses, or this process's share."""
        self.optimizer.zero_grad()
        found: list[Tensor] = []
        add_up: Callable[[Tensor], Tensor] = self.world.sum
        for part in _parts(batch, self.parts):
            with autocast(self.config.precision, part.x.device):
                outputs = self.network(part.x)
            outputs = {name: value.float() for name, value in outputs.items()}
            if self.parts > 1 and not found:
                add_up = self._of_whole(batch, outputs)
            loss, each = self._losses(part, outputs, smoothing, add_up)
            self.optimizer.scaled(loss).backward()  # type: ignore[no-untyped-call]
            found.append(torch.stack([loss.detach(), *(value.detach() for value in each.values())]))
        self.world.sum_gradients(self.network)
        return found[0] if len(found) == 1 else torch.stack(found).sum(0)

    def _losses(
        self,
        batch: Batch,
        outputs: Mapping[str, Tensor],
        smoothing: float | Tensor,
        add_up: Callable[[Tensor], Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        mixed = None if batch.y2 is None or batch.lam is None else (batch.y2, batch.lam)
        settings = (smoothing, self.weights, self.config.target_weights, add_up, mixed, self.config.tag_loss)
        return losses.total(self.targets, outputs, batch.y, *settings)

    def _of_whole(self, batch: Batch, outputs: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
        """Return an `add_up` by which a part's losses are its share of the batch's: whatever the logits are,
        the known entries of all its rows count as much."""
        amounts: list[Tensor] = []

        def noted(amount: Tensor) -> Tensor:
            amounts.append(amount)
            return amount

        any_logits = {n: value.new_zeros(len(batch.x), *value.shape[1:]) for n, value in outputs.items()}
        with torch.no_grad():
            self._losses(batch, any_logits, 0.0, noted)
        return lambda _: amounts[0]

    def _halve(self, batch: Batch) -> None:
        """Let the coming batches pass through in parts half as large."""
        rows = -(-len(batch.x) // self.parts)
        if self.world.size > 1:
            raise RunError(
                f"a card has no memory for its share of a batch, {rows} rows, and the other processes count "
                f"on it: --resume goes on with --set batch_size={max(1, self.config.batch_size // 2)}"
            )
        if rows == 1:
            raise RunError(
                "the card has no memory for the network and one row. Choose a smaller --backbone or --size, "
                "or --device cpu."
            )
        self.optimizer.zero_grad()
        self.parts *= 2
        free_unused()
        log.warning(
            "the card has no memory for %d rows at a time: batches of %d go through it in %d parts from here "
            "on, and teach the same.",
            rows,
            len(batch.x),
            self.parts,
        )


def _parts(batch: Batch, count: int) -> Iterator[Batch]:
    """Give a batch in so many parts, or in as many as it has rows; itself where there is one."""
    if count == 1:
        yield batch
        return
    size = -(-len(batch.x) // count)
    for first in range(0, len(batch.x), size):
        some = slice(first, first + size)
        yield _with_tensors(batch, itemgetter(some), batch.rows[some])


class Graphs(Protocol):
    """What captures work that is launched again and again; `CudaGraphs`, or a pretended one."""

    def aside(self) -> AbstractContextManager[None]:
        """Launch what is within as it will be captured: not on the stream that all else is on."""

    def capture(self, act: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """Note what `act` launches without running it; return what launches it, and where its result lies.

        Raises:
            RuntimeError: it does something that cannot be captured, such as to wait for the device.
        """


class CudaGraphs:
    """CUDA graphs. Source: Nguyen et al. 2021, "Accelerating PyTorch with CUDA Graphs"."""

    def __init__(self) -> None:
        self.stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """As `Graphs`."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            yield
        torch.cuda.current_stream().wait_stream(self.stream)

    def capture(self, act: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        """As `Graphs`."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may pin what they read
            found = act()
        return graph.replay, found


class Captured:
    """A step that is launched as a whole, once some of its shape were made one kernel after the other.

    What changes from step to step lies where the graph reads it: the batch, the rate, and by how much labels
    are smoothed. Where pictures grow another graph is captured in place of the last.
    """

    def __init__(self, step: Step, graphs: Graphs) -> None:
        self.step, self.graphs = step, graphs
        self.key: object = None
        self.made = 0  # steps of this key
        self.replay: Callable[[], None] | None = None
        self.possible = True
        self.rate = torch.zeros_like(step.optimizer.steps)
        self.smoothing = torch.zeros_like(self.rate) if step.config.label_smoothing else 0.0

    def __call__(self, batch: Batch, number: int, rate: float, smoothing: float) -> Tensor:
        """As `TakeStep`."""
        if not self.possible:
            return self.step(batch, number, rate, smoothing)
        key = ([(t.shape, t.dtype) for t in _tensors(batch)], self.step.parts)
        if key != self.key:
            self.key, self.made, self.replay = key, 0, None
        self.made += 1
        if self.made <= WARM_UP:
            with self.graphs.aside():
                return self.step(batch, number, rate, smoothing)
        if self.replay is None and not self._capture(batch):
            return self.step(batch, number, rate, smoothing)
        assert self.replay is not None
        for held, tensor in zip(_tensors(self.held), _tensors(batch), strict=True):
            held.copy_(tensor)
        self.rate.fill_(rate)
        if isinstance(self.smoothing, Tensor):
            self.smoothing.fill_(smoothing)
        self.step.seed(number)
        self.replay()
        return self.losses

    def _capture(self, batch: Batch) -> bool:
        """Capture a step on batches like this one; return whether that can be."""
        self.held = _with_tensors(batch, torch.clone, batch.rows)

        def act() -> Tensor:
            found = self.step.gradients(self.held, self.smoothing)
            self.step.optimizer.step(self.rate)
            return found

        try:
            self.replay, self.losses = self.graphs.capture(act)
        except RuntimeError as error:
            self.possible = False
            reason = str(error).strip().splitlines()[0]
            log.info(
                "steps are launched one kernel after the other, since they cannot be captured: %s", reason
            )
        return self.possible


def _tensors(batch: Batch) -> list[Tensor]:
    mixed = [] if batch.lam is None else [batch.lam]
    return [batch.x, *batch.y.values(), *(batch.y2 or {}).values(), *mixed]


def _with_tensors(batch: Batch, change: Callable[[Tensor], Tensor], rows: NDArray[np.int64]) -> Batch:
    """Return a batch whose tensors are changed."""
    y2 = None if batch.y2 is None else {name: change(value) for name, value in batch.y2.items()}
    lam = None if batch.lam is None else change(batch.lam)
    return Batch(change(batch.x), {n: change(v) for n, v in batch.y.items()}, rows, y2, lam)
