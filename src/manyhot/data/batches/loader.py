"""Batches in an order that follows from the seed and one counter of steps alone.

`train.loop` asks for the batch of a step. Nothing is remembered between batches, so resuming at a
step costs nothing and changes nothing.

Shapes: N rows · B rows of a batch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manyhot.data.batches.augment import EVERY, Augmentation, augment, mirror, mixup, random_erasing
from manyhot.data.inputs.images.stream import Ahead, Pictures, X
from manyhot.device import has_room, pinned, sent, to_device
from manyhot.targets import UNKNOWN, WEIGHT

AS_IT_IS = Augmentation()
MIRRORING = ("crop", "photo")  # changes that mirror by themselves


class Batch(NamedTuple):
    """Some rows: x as the inputs give it, y as `targets.Labels`.

    Where pictures are mixed, each has a second one's labels too: a share `lam` (B,) of it is of y, the
    rest is of `y2`.
    """

    x: Tensor
    y: dict[str, Tensor]
    rows: NDArray[np.int64]
    y2: dict[str, Tensor] | None = None
    lam: Tensor | None = None


class Loader:
    """Training rows, given out in a seeded order without end.

    `rows` are the positions in x that y is of, where not all of x trains; `numbers` those of the rows of x in
    their source. Labels are held as they are encoded, and made what torch takes batch by batch: of `members`
    above 1 there are those of each, after B. A member knows nothing of the rows whose `fold` (N,) is its own.

    What fits in the device's memory lies there as it is. Pictures that are not held at all are decoded by
    threads, some steps ahead, and so is read what a card has no room for.

    The rows of all epochs form one long line, a new permutation for each epoch; step k takes the
    next B of it. So every row comes once an epoch, all batches are of one size, and a step's rows
    depend on its number alone.
    """

    def __init__(
        self,
        x: X,
        y: Mapping[str, NDArray[Any]],
        batch_size: int,
        seed: int,
        changes: Augmentation = AS_IT_IS,
        device: torch.device | str = "cpu",
        rows: NDArray[np.intp] | None = None,
        numbers: NDArray[np.int64] | None = None,
        share: tuple[int, int] = (0, 1),
        epochs: int = 1,
        members: int = 1,
        fold: NDArray[np.int8] | None = None,
    ) -> None:
        self.mine = slice(share[0], None, share[1])
        # A picture's partner may be another process's, so where they are mixed each has the whole batch.
        self.fetched = EVERY if changes.mixup else self.mine
        self.at = np.arange(len(x)) if rows is None else rows
        self.count = len(self.at)
        self.numbers = numbers
        if not isinstance(x, Pictures) and not has_room(device, x.nbytes):
            x = Pictures(x.__getitem__, np.arange(len(x)), x.shape[1:])
        self.x = (
            Ahead(x[self.at], self._fetched, functools.partial(pinned, device=device))
            if isinstance(x, Pictures)
            else to_device(x, device)
        )
        self.y = {name: to_device(values, device) for name, values in y.items()}
        self.members, self.fold = members, None if fold is None else to_device(fold, device)
        self.batch_size = min(batch_size, self.count)
        self.seed, self.changes, self.device, self.epochs = seed, changes, device, epochs
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        return self.count

    def step_after(self, epoch: int) -> int:
        """Return the number of steps by which `epoch` epochs are through."""
        return max(epoch, round(epoch * len(self) / self.batch_size))

    def batch(self, step: int, as_it_is: bool = False) -> Batch:
        """Return this process's share of the batch of a step, counted from 0, augmented or as it is."""
        rows = self._fetched(step)
        if isinstance(self.x, Ahead):
            x = sent(self.x.step(step), self.device)
        else:
            x = self.x.index_select(0, to_device(self.at[rows], self.device))
        index = to_device(rows, self.device)
        y = self.labels(index)
        if as_it_is and self.fetched != self.mine:
            return Batch(x[self.mine], {name: v[self.mine] for name, v in y.items()}, rows[self.mine])
        if as_it_is or self.changes == AS_IT_IS:
            return Batch(x, y, rows)
        return self._changed(Batch(x, y, rows), step)

    def labels(self, index: Tensor) -> dict[str, Tensor]:
        """Return the labels that some rows (B,) teach: class numbers as int64, for torch's cross-entropy."""
        y = {name: values.index_select(0, index) for name, values in self.y.items()}
        for name in y.keys() - {WEIGHT}:
            y[name] = y[name] if y[name].is_floating_point() else y[name].long()
            y[name] = y[name] if self.members == 1 else y[name][:, None]
            if self.fold is not None:
                own = self.fold[index][:, None] == torch.arange(self.members, device=index.device)
                own = own.reshape(own.shape + (1,) * (y[name].ndim - 2))
                y[name] = y[name].masked_fill(own, UNKNOWN)
        return y

    def _changed(self, batch: Batch, step: int) -> Batch:
        """Return a batch with its pictures changed at random, as the seed and the step say."""
        generator = torch.Generator(self.device).manual_seed(self.seed * 1_000_003 + step)
        x, y, rows, *_ = batch
        side = self.changes.side(x.shape[1], step * self.batch_size / (len(self) * self.epochs))
        side = 0 if side == x.shape[1] else side
        x = augment(x, self.changes.how, generator, self.batch_size, self.fetched, side)
        if self.changes.mirror and self.changes.how not in MIRRORING:
            x = mirror(x, generator, self.batch_size, self.fetched)
        if self.changes.random_erasing:
            x = random_erasing(x, self.changes.random_erasing, generator, self.batch_size, self.fetched)
        if not self.changes.mixup:
            return Batch(x, y, rows)
        x, partner, lam = mixup(x, self.changes.mixup, generator)
        mine = self.mine
        y2 = {name: values[partner][mine] for name, values in y.items()}
        return Batch(x[mine], {name: values[mine] for name, values in y.items()}, rows[mine], y2, lam[mine])

    def names(self, rows: NDArray[np.int64]) -> list[int]:
        """Return the row numbers that the source has for these positions."""
        at = self.at[rows]
        return [int(number) for number in (at + 1 if self.numbers is None else self.numbers[at])]

    def rows(self, step: int) -> NDArray[np.int64]:
        """Return the positions of a step's rows, whichever process has them; int64 (B,)."""
        first = step * self.batch_size
        place = np.arange(first, first + self.batch_size)
        epochs = place // len(self)
        return np.concatenate([self._order(e)[place[epochs == e] % len(self)] for e in np.unique(epochs)])

    def _fetched(self, step: int) -> NDArray[np.int64]:
        return self.rows(step)[self.fetched]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = np.random.default_rng((self.seed, int(epoch))).permutation(len(self))
        return self._orders[epoch]
