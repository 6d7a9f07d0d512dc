"""Pictures that do not fit into memory: read or decoded when they are asked for, by threads.

`ImageInputs` gives them in place of an array, `loader` and `predict` read them. Threads do for this, since
decoding leaves the interpreter to others, and so nothing has to be pickled, forked or shut down.

Shapes: N rows · H W C height, width and channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.machine import num_cores

ReadRow = Callable[[int], NDArray[np.uint8]]  # the picture of a row of the table
AHEAD = 2  # steps decoded beyond those that threads are at


class Pictures:
    """Pictures on disk that stand for uint8 (N, H, W, C): `pictures[rows]` picks, `np.asarray` reads."""

    def __init__(self, read: ReadRow, rows: NDArray[Any], shape: tuple[int, ...]) -> None:
        self.read = read
        self.rows = rows
        self.shape = (len(rows), *shape)
        self.size = int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | NDArray[Any]) -> Pictures:
        return Pictures(self.read, self.rows[rows], self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.uint8]:
        x = np.empty(self.shape, dtype=np.uint8)

        def fill(place: int) -> None:
            x[place] = self.read(self.rows[place])

        with ThreadPoolExecutor(num_cores()) as pool:
            deque(pool.map(fill, range(len(x))), maxlen=0)
        return x

    def decoded(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the pictures of some rows, read one after the other in the calling thread."""
        return np.stack([self.read(row) for row in self.rows[rows]])


X = NDArray[Any] | Pictures  # what inputs give: an array, or what stands for one


class Ahead:
    """The pictures of the coming steps, decoded while the present one is trained on.

    What they become for the step (`ready`), they become in a thread too.
    """

    def __init__(
        self,
        pictures: Pictures,
        rows: Callable[[int], NDArray[np.int64]],
        ready: Callable[[NDArray[np.uint8]], Any] = np.asarray,
    ) -> None:
        self.pictures, self.rows, self.ready = pictures, rows, ready
        self.threads = num_cores()
        self.pool = ThreadPoolExecutor(self.threads)
        self.first = 0
        self.waiting: deque[Future[Any]] = deque()

    def step(self, step: int) -> Any:
        """Return the pictures of a step, of uint8 (B, H, W, C).

        Quick where the last one was the step before.
        """
        if not self.waiting or step != self.first:
            self._drop(step)
        while len(self.waiting) <= self.threads + AHEAD:
            coming = self.rows(self.first + len(self.waiting))
            self.waiting.append(self.pool.submit(self._read, coming))
        self.first += 1
        return self.waiting.popleft().result()

    def _read(self, rows: NDArray[np.int64]) -> Any:
        return self.ready(self.pictures.decoded(rows))

    def _drop(self, step: int) -> None:
        for future in self.waiting:
            future.cancel()
        self.waiting.clear()
        self.first = step
