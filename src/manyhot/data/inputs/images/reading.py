"""All pictures of a table: files enter; an array or what stands for one leaves, with what cannot be read.

`ImageInputs` calls `read`. Each file is read once, and decoded where the cache does not have it.

Shapes: N pictures · H W C height, width and channels, always uint8.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.hashing import hash_bytes
from manyhot.data.inputs.images.alike import Compared
from manyhot.data.inputs.images.cache import Cache
from manyhot.data.inputs.images.paths import Picture, Progress, Unreadable, read_file
from manyhot.data.inputs.images.stream import Pictures
from manyhot.errors import RunError, UserError

PART = 16  # pictures that a thread reads in one go; handing over each by itself costs a tenth more
DECODED = "decoded"
First = tuple[NDArray[np.uint8] | None, str]  # pixels and how they came, or None and why there are none
Work = Callable[[range], list[First]]
PixelsOf = Callable[[bytes], NDArray[np.uint8]]  # from the bytes of a file, by `ImageInputs`


class ReadPictures(NamedTuple):
    """The pictures of a table, the rows without, and the hash of each file (0 for those).

    `notes` say what is odd about them to all who read them, `twins` which are alike to who learns from them.
    """

    x: NDArray[np.uint8] | Pictures
    unreadable: Unreadable
    hashes: NDArray[np.uint64]
    notes: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()


def read_pictures(
    pictures: Sequence[Picture],
    pixels_of: PixelsOf,
    shape: tuple[int, int, int],
    cache: Cache,
    memory: float,
    threads: int,
    progress: Progress | None = None,
    hashes: NDArray[np.uint64] | None = None,
) -> tuple[ReadPictures, Compared]:
    """Read pictures, held as an array where they take at most `memory` bytes; add those decoded to the cache.

    Some of them are compared on the way.

    Args:
        pictures: a file, or the reason why there is none.
        hashes: of the files, where they are known; what the cache has need not be read then.

    Shape:
        x: uint8 (N, H, W, C); the rows of unreadable pictures are zero, or cannot be asked for.
    """
    files = _Files(pictures, pixels_of, cache, hashes)
    streamed = Pictures(files.again, np.arange(len(pictures)), shape)
    x = np.zeros(streamed.shape, np.uint8) if streamed.size <= memory else None
    unreadable: Unreadable = {}
    alike = Compared(len(pictures))
    try:
        with ThreadPoolExecutor(threads) as pool:
            for rows, results in _ahead(pool, files.some, len(pictures), 2 * threads):
                for row, (pixels, news) in zip(rows, results, strict=True):
                    if pixels is None:
                        unreadable[row] = news
                    elif x is not None:
                        x[row] = pixels
                        pixels = x[row]  # so that the memory of the others is used again
                    if pixels is not None:
                        alike.add(row, int(files.hashes[row]), pixels)
                    if pixels is not None and news == DECODED:
                        cache.add(int(files.hashes[row]), pixels)
                    if progress is not None:
                        progress(row + 1, len(pictures))
    finally:
        cache.close()  # what a stopped run has decoded is there for the next
    return ReadPictures(streamed if x is None else x, unreadable, files.hashes), alike


def _ahead(
    pool: ThreadPoolExecutor, work: Work, count: int, most: int
) -> Iterator[tuple[range, list[First]]]:
    """Let threads work through the rows: far enough ahead to be busy, and no farther, for memory."""
    waiting: deque[tuple[range, Future[list[First]]]] = deque()
    for start in range(0, count, PART):
        rows = range(start, min(start + PART, count))
        waiting.append((rows, pool.submit(work, rows)))
        if len(waiting) > most:
            done, future = waiting.popleft()
            yield done, future.result()
    for done, future in waiting:
        yield done, future.result()


class _Files:
    """Picture files brought to one size: `first` meets each once, `again` reads one that could be read."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        pixels_of: PixelsOf,
        cache: Cache,
        hashes: NDArray[np.uint64] | None,
    ) -> None:
        self.pictures, self.pixels_of, self.cache = pictures, pixels_of, cache
        self.known = hashes is not None
        self.hashes = np.zeros(len(pictures), np.uint64) if hashes is None else hashes

    def some(self, rows: range) -> list[First]:
        """Return what `first` gives for each of some rows."""
        return [self.first(row) for row in rows]

    def first(self, row: int) -> First:
        """Return the pixels of a row and whether they were DECODED, or None and why there are none."""
        picture = self.pictures[row]
        try:
            data = b"" if self.known and not isinstance(picture, str) else read_file(picture)
            if not self.known:
                self.hashes[row] = hash_bytes(data)
            pixels = self.cache.get(int(self.hashes[row]))
            if pixels is None:
                return self.pixels_of(data or read_file(picture)), DECODED
        except UserError as error:
            return None, str(error)
        return pixels, ""

    def again(self, row: int) -> NDArray[np.uint8]:
        """Return the pixels of a row that could be read before."""
        pixels = self.cache.get(int(self.hashes[row]))
        if pixels is not None:
            return pixels
        try:
            return self.pixels_of(read_file(self.pictures[row]))
        except UserError as error:
            raise RunError(
                f"{self.pictures[row]}: could be read when the run began and now cannot ({error})."
            ) from None
