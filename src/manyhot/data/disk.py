"""What does not fit into memory: columns and arrays in files of the cache, which are mapped.

The system holds as much of such a file as it has room for, and reads the rest when it is asked for; whoever
has it need not know. `sources` maps the columns of large tables, converted once and kept for later runs;
`inputs` and `train` map what they make of all rows, which goes with the process. Where nothing can be kept,
memory is used as for any table.

Shapes: N rows · D numbers of a row.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot import files
from manyhot.data.arrays import take
from manyhot.machine import cache_folder, half_of_memory

SHARE = 1 / 4  # of `memory`, what the cells of a table may take, and x, and features: a fit has all of them
LEAST = 64 << 20  # bytes below which rows that are taken are not worth a file
ROWS = 1 << 17  # of a block
STALE = 86_400  # seconds after which no process is still about to map what it was left
COLUMNS, ARRAY = ".arrow", ".array"  # endings
WAITED = ".lock"  # the ending of the folder that is held while such a file is made
RULE = 3  # how columns are converted

Batch = TypeVar("Batch", bound=Sized)
Columns = dict[str, pa.ChunkedArray]
Step = Callable[[str, int, int], None]  # what is done, how far it is, and how far it will be
log = logging.getLogger("manyhot")
_left: list[Path] = []  # files that other processes of this run are still to map
_maps: WeakSet[mmap.mmap] = WeakSet()  # of this process


class Room(NamedTuple):
    """How many GB of memory may be used, half of the machine's unless said, and who is told of long steps.

    keeps  what is converted is kept for later runs
    """

    memory: float | None = None
    tell: Step | None = None
    keeps: bool = True

    def fits(self, size: float) -> bool:
        """Tell whether so many bytes are held in memory."""
        return size <= SHARE * (self.memory or half_of_memory()) * 1e9

    def told(self, what: str, batches: Iterator[Batch], rows: int = 0) -> Iterator[Batch]:
        """Give batches, and tell how many of `rows` have been given, as far as these are known."""
        done = 0
        for batch in batches:
            done += len(batch)
            if self.tell is not None:
                self.tell(what, done, rows)
            yield batch


def columns(
    path: Path, told: object, size: float, convert: Callable[[], Iterator[pa.RecordBatch]], keeps: bool = True
) -> Any:
    """Return the columns of a file as a table that is mapped; None where they cannot be kept.

    They are converted where no run has done so: the first one does, and others that want them wait for it.

    Args:
        told: what they depend on beside the file's path, size and times, as JSON.
        size: bytes that they are expected to take.
        convert: gives them, some rows at a time.
        keeps: for later runs; else they go with the process.
    """
    folder, status = _folder(), path.stat()
    if folder is None:
        return None
    # The last of these is set whenever a file is written, also by who gives it its old time back.
    stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    key = [RULE, pa.__version__, str(path.absolute()), *stamp, told]
    place = folder / (hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24] + COLUMNS)
    try:
        with _held(place):
            if not _is_whole(place):
                _make_room(folder, size)
                for left in folder.glob(f".{place.name}*{files.PART}"):  # by a run that was killed
                    files.clear(left)
                files.write_with(place, lambda temporary: _write(temporary, convert()))
            os.utime(place)
            found = _mapped(place)
        if not keeps:
            _remove(place)
        return found
    except OSError as error:
        log.warning("%s is held in memory: %s.", path, _reason(place, error))
        return None


def taken(columns: Columns, positions: NDArray[np.intp]) -> Columns:
    """Return some rows of mapped columns, mapped as well where they take much, until the process ends."""
    count = len(next(iter(columns.values()))) if columns else 0
    size = sum(column.nbytes for column in columns.values()) * len(positions) / max(count, 1)
    folder = _folder()
    if size > LEAST and folder is not None and (np.diff(positions) > 0).all():
        place = folder / f"{_own()}{COLUMNS}"
        try:
            _make_room(folder, size)
            files.write_with(
                place, lambda temporary: _write(temporary, _some(columns, positions)), sync=False
            )
            found = _mapped(place)
            _remove(place)
            return {name: found[name] for name in columns}
        except OSError as error:
            log.warning("rows of the table are held in memory: %s.", _reason(place, error))
    return {name: take(column, positions) for name, column in columns.items()}


def _some(columns: Columns, positions: NDArray[np.intp]) -> Iterator[pa.RecordBatch]:
    """Give some rows of columns, a block at a time."""
    for first in range(0, len(positions), ROWS):
        block = {name: take(c, positions[first : first + ROWS]) for name, c in columns.items()}
        yield from pa.table(block).combine_chunks().to_batches()


def array(
    shape: tuple[int, ...], memory: float | None, fill: Callable[[NDArray[np.float32]], None], key: str = ""
) -> NDArray[np.float32]:
    """Return the numbers that `fill` writes, float32, mapped where they do not fit into memory.

    Of several processes of a run that ask for the same `key` the first writes, and all map; see `release`.
    Without one each has its own.
    """
    size, folder = 4 * math.prod(shape), _folder()
    if not Room(memory).fits(size) and folder is not None:
        place = folder / f"{key or _own()}{ARRAY}"
        try:
            with _held(place):
                if not place.exists():
                    _make_room(folder, size)
                    files.write_with(place, lambda temporary: _fill(temporary, shape, fill), sync=False)
                found = np.memmap(place, np.float32, "c", shape=shape)
                if key and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) > 1:
                    _left.append(place)
                else:
                    _remove(place)
            return found
        except OSError as error:
            log.warning("prepared rows are held in memory: %s.", _reason(place, error))
    x = np.empty(shape, np.float32)
    fill(x)
    return x


def let_go() -> None:
    """Let the system have back the pages of mapped files; it reads them again when they are asked for."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for each in [*_maps]:
            each.madvise(mmap.MADV_DONTNEED)


def release() -> None:
    """Remove the files of arrays that by now all processes of a run have mapped."""
    let_go()
    while _left:
        _remove(_left.pop())


def told(source: str, memory: float | None) -> str:
    """Say of a table that it is mapped, and where."""
    most = SHARE * (memory or half_of_memory())
    return (
        f"{source} takes more than {most:.3g} GB of memory, so its cells stay on the disk and are read when "
        f"they are needed, converted ones from {_folder()}"
    )


def usage() -> dict[str, Any]:
    """Return how many tables are kept, and how many bytes these files take."""
    there = _kept()
    return {
        "tables": sum(path.suffix == COLUMNS for _, _, path in there),
        "bytes": sum(s for _, s, _ in there),
    }


def clear() -> None:
    """Remove all tables that are kept; who has mapped one keeps it to its end."""
    for _, _, path in _kept():
        _remove(path)
    folder = _folder()
    if folder is not None and folder.is_dir():
        files.sweep(folder)


def _held(place: Path) -> AbstractContextManager[None]:
    """Hold a file to be made; whoever else wants it waits until it is there."""
    return files.held(place.with_name(place.name + WAITED), place, wait=True)


def _own() -> str:
    """Name a file that no other process has."""
    return f"{os.getpid()}-{time.time_ns()}"


def _folder() -> Path | None:
    folder = cache_folder()
    return None if folder is None else folder / "tables"


def _kept() -> list[tuple[float, int, Path]]:
    """List when each file was last used, how many bytes it takes, and its path; the longest unused first."""
    found, folder = [], _folder()
    for path in folder.glob("*") if folder is not None else ():
        with suppress(OSError):  # another run removed it
            if path.suffix in (COLUMNS, ARRAY):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    return sorted(found)


def _make_room(folder: Path, size: float) -> None:
    """Remove what was left behind, and the longest unused tables until half of what is free suffices."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # others' eyes stay out
    files.sweep(folder, STALE)
    for used, _, path in _kept():
        left = (
            time.time() - used > STALE if path.suffix == ARRAY else shutil.disk_usage(folder).free < 2 * size
        )
        if left:
            _remove(path)


def _remove(path: Path) -> None:
    """Remove a file, where the system lets one go that is mapped; Windows does not until its process ends."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
        files.clear(path.with_name(path.name + WAITED))


def _write(temporary: Path, batches: Iterator[pa.RecordBatch]) -> None:
    """Write columns, some rows at a time."""
    writer = None
    with pa.OSFile(os.fsencode(temporary), "wb") as file:
        for batch in batches:
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is not None:
            writer.close()
    pa.default_memory_pool().release_unused()  # which would hold as much as the largest blocks took


def _is_whole(place: Path) -> bool:
    """Tell whether columns are kept there; of a file that was cut short, which others may do, none are."""
    try:
        return place.exists() and bool(_mapped(place).num_rows)
    except (pa.ArrowException, ValueError):  # nothing at all is not mapped
        return False


def _mapped(place: Path) -> pa.Table:
    with place.open("rb") as file:
        cells = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # which stay while any of them is there
    _maps.add(cells)
    return pa.ipc.open_file(pa.py_buffer(cells)).read_all()


def _fill(temporary: Path, shape: tuple[int, ...], fill: Callable[[NDArray[np.float32]], None]) -> None:
    """Let an array be written that lies in a file, for which there is room before it is."""
    with temporary.open("rb+") as file:
        size = 4 * math.prod(shape)
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # mapped files that find no room end the process
        else:
            file.truncate(size)
        numbers = mmap.mmap(file.fileno(), size)
    _maps.add(numbers)
    fill(np.frombuffer(numbers, np.float32).reshape(shape))


def _reason(place: Path, error: OSError) -> str:
    """Say why something cannot be kept."""
    mended = files.unwritten(place, error)
    return (str(mended or error)).rstrip(".")
