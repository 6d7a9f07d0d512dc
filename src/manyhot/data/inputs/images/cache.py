"""Decoded pictures on disk, so that later epochs and later runs do not decode them again.

`images` looks a picture up by the hash of its file, and adds those that are missing; `cli` shows and clears.
Pictures lie in segments of some hundred: first the pixels of all, then a record of each. A segment is
written beside its place and renamed when whole, never changed, and named after what it holds; so runs can
share a cache, and be killed. It is a help and no more: whatever fails here costs a line of warning.

Shapes: N pictures in all · H W C height, width and channels, always uint8.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot import files
from manyhot.machine import cache_folder

RECORD = np.dtype([("file", "<u8"), ("check", "<u4")])  # the hash of a picture's file, the CRC of its pixels
SEGMENT = 128 << 20  # bytes; what is lost when a run is killed, and the least that is removed for others
LEAST = 8 << 20  # bytes that are worth a file: 160 pictures of 128 × 128, which take 0.1 s to 3 s to decode
ENDING = ".pixels"
NAME = re.compile(r"\d+x\d+x\d+-")  # what a folder of segments begins with
STALE = 3_600  # seconds after which nobody is still writing a file of this size

log = logging.getLogger("manyhot")


class Cache:
    """Pictures of one size, read in one way: `get` gives those decoded before, `add` and `close` keep others.

    `room` is how many bytes all decoded pictures together may take; 0 only looks. Without a folder there
    is nothing to look at.
    """

    def __init__(
        self, shape: tuple[int, int, int], reading: int | str, folder: Path | None, room: float = 0
    ) -> None:
        self.shape, self.bytes = shape, int(np.prod(shape)) + RECORD.itemsize  # of a picture
        self.room = room if folder else 0
        self.began = time.time() - 0.01  # the clock of files may lag behind by some milliseconds
        self.folder = Path(folder or "", "pictures", f"{'x'.join(map(str, shape))}-{rule(reading)}")
        self.waiting: list[tuple[int, NDArray[np.uint8]]] = []
        self.written = False
        self.writer: threading.Thread | None = None
        if self.room:
            with suppress(OSError):  # another run was faster
                files.sweep(self.folder, STALE)
        self._look(folder is not None)

    def _look(self, there: bool) -> None:
        """Map the segments, and sort their records by the file's hash."""
        self.segments: list[tuple[Path, NDArray[np.uint8]]] = []
        self.used: set[int] = set()  # numbers of segments
        self.damaged: set[int] = set()
        records = [np.zeros(0, RECORD)]
        for path in sorted(self.folder.glob(f"*{ENDING}")) if there else ():
            with suppress(OSError, ValueError):  # removed or cut short meanwhile
                pixels, found = _mapped(path, self.shape)
                self.segments.append((path, pixels))
                records.append(found)
        every = np.concatenate(records)
        order = np.argsort(every["file"], kind="stable")
        lengths = [len(found) for found in records[1:]]
        self.files, self.checks = every["file"][order], every["check"][order]
        self.segment = np.repeat(np.arange(len(lengths)), lengths)[order]
        self.row = np.concatenate([np.arange(0), *map(np.arange, lengths)])[order]

    def get(self, file: int) -> NDArray[np.uint8] | None:
        """Return the pixels of the file with this hash, None where they are not here."""
        at = int(np.searchsorted(self.files, np.uint64(file)))
        if at == len(self.files) or self.files[at] != file:
            return None
        number = int(self.segment[at])
        path, every = self.segments[number]
        pixels: NDArray[np.uint8] = every[self.row[at]].copy()
        if zlib.crc32(pixels.data) != self.checks[at]:
            self._drop(number, path)
            return None
        if number not in self.used:
            self.used.add(number)
            with suppress(OSError):
                os.utime(path)  # the longest unused is removed first
        return pixels

    def _drop(self, number: int, path: Path) -> None:
        if number not in self.damaged:
            self.damaged.add(number)
            log.warning("%s is damaged; its pictures are decoded anew.", path)
            with suppress(OSError):
                path.unlink()

    def add(self, file: int, pixels: NDArray[np.uint8]) -> None:
        """Keep the pixels of the file with this hash, as far as there is room."""
        if self.room:
            self.waiting.append((file, pixels))
            if (len(self.waiting) + 1) * self.bytes > min(SEGMENT, self.room):
                self._write()

    def close(self) -> None:
        """Write what still waits, where it is worth it; `get` finds all that was added from now on."""
        if self.writer:
            self.writer.join()
        if self.written or len(self.waiting) * self.bytes >= LEAST:
            self._save(self.waiting)
        self.waiting = []
        if self.written:
            self._look(True)

    def _write(self) -> None:
        """Write a segment of all that waits, beside those who decode the next one."""
        if self.writer:
            self.writer.join()
        waiting, self.waiting = self.waiting, []
        self.writer = threading.Thread(target=self._save, args=(waiting,))
        self.writer.start()

    def _save(self, waiting: list[tuple[int, NDArray[np.uint8]]]) -> None:
        """Write a segment; where that fails, stop keeping pictures."""
        if not (waiting and self.room):
            return
        records = np.array([(file, zlib.crc32(pixels.data)) for file, pixels in waiting], RECORD)
        name = hashlib.sha256(records.tobytes()).hexdigest()[:16] + ENDING

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                for _, pixels in waiting:
                    file.write(pixels.data)
                file.write(records.tobytes())

        try:
            if not _make_room(len(waiting) * self.bytes, self.room, self.began):
                raise OSError(0, "it is full; --set cache=GB gives it more room")
            self.folder.parents[1].mkdir(mode=0o700, parents=True, exist_ok=True)  # others' eyes stay out
            files.write_with(self.folder / name, write, sync=False)
            self.written = True
        except OSError as error:
            log.warning("decoded pictures are no longer kept in %s: %s.", self.folder, error.strerror)
            self.room = 0


def rule(reading: int | str) -> str:
    """Name how pixels follow from bytes: by a rule of decode.py, levels, and the versions of the decoders."""
    from PIL import __version__ as pillow
    from simplejpeg import __version__ as simplejpeg

    return f"{reading}-pillow{pillow}-simplejpeg{simplejpeg}"


def usage() -> dict[str, Any]:
    """Return as JSON where decoded pictures are kept, how many there are and how many bytes they take."""
    count = size = 0
    for _, length, path in _segments():
        sides = [int(side) for side in path.parent.name.split("-")[0].split("x")]
        count += length // (int(np.prod(sides)) + RECORD.itemsize)
        size += length
    return {"folder": str(cache_folder() or ""), "pictures": count, "bytes": size}


def clear() -> None:
    """Remove all decoded pictures, and nothing else that may lie in the folder."""
    for _, _, path in _segments():
        path.unlink(missing_ok=True)
    for folder in _folders():
        files.sweep(folder)
        with suppress(OSError):  # somebody else's files are in it
            folder.rmdir()


def _mapped(path: Path, shape: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return the pixels of a segment, uint8 (N, H, W, C), and its records. ValueError: it is none."""
    row = int(np.prod(shape))
    count, rest = divmod(path.stat().st_size, row + RECORD.itemsize)
    if rest:
        raise ValueError(f"{path}: not a segment")
    data = np.asarray(np.memmap(path, np.uint8, mode="r"))
    return data[: count * row].reshape(count, *shape), data[count * row :].view(RECORD)


def _folders() -> list[Path]:
    """List the folders of segments: one for each size and rule."""
    folder = cache_folder()
    there = (folder / "pictures").glob("*") if folder else ()
    return [path for path in there if NAME.match(path.name) and path.is_dir() and not path.is_symlink()]


def _segments() -> Iterator[tuple[float, int, Path]]:
    """Give when each segment was last used, how many bytes it takes, and its path."""
    for folder in _folders():
        for path in folder.glob(f"*{ENDING}"):
            with suppress(OSError):  # another run removed it
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def _make_room(needed: int, room: float, began: float) -> bool:
    """Remove segments that this run has no use for, the longest unused first; tell whether there is room."""
    there = sorted(_segments())
    total = sum(size for _, size, _ in there) + needed
    for used, size, path in there:
        if total <= room or used >= began:
            break
        path.unlink(missing_ok=True)
        total -= size
    return total <= room
