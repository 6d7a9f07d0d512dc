"""Packed files: a path such as train.csv.gz comes in, for a while a file with what is in it is there.

`sources.read` calls it. One file is unpacked, a block at a time, into a folder that is removed afterwards;
how much may come out of it is limited, and what the archive itself says of that is not believed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from manyhot.data.sources.folder import is_litter
from manyhot.errors import UserError, listed, shortened

ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zip")
# How packed files begin, without .zip, which workbooks are.
STARTS = (b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", *(b"BZh%d1AY&SY" % n for n in range(1, 10)))
BLOCK = 1 << 20  # bytes held at a time
SMALL = 1 << 30  # bytes that any file may become
TIMES = 100  # beyond which a file may not grow, where it becomes no small one; tables of text grow by 3 to 50
BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    pa.ArrowException,
)


def is_packed(path: Path) -> bool:
    """Tell by its name whether a file is packed.

    >>> is_packed(Path("train.csv.GZ")), is_packed(Path("train.csv"))
    (True, False)
    """
    return path.suffix.lower() in ENDINGS


def limit(path: Path, place: Path) -> int:
    """Return how many bytes a file may be unpacked to: half of what is free there, and no bomb."""
    return min(shutil.disk_usage(place).free // 2, max(SMALL, TIMES * path.stat().st_size))


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack the one file that is in a packed one; it is removed at the end.

    Raises:
        UserError: it is damaged, cut short, encrypted or packed twice, holds no file or several, or
            would become too large.
    """
    with tempfile.TemporaryDirectory(prefix="manyhot-") as folder:
        try:
            with ExitStack() as opened:
                packed, name = _opened(path, opened)
                inside = Path(folder, name)
                if is_packed(inside):
                    raise UserError(
                        f"{path}: holds '{shortened(name)}', which is packed again. Unpack it once."
                    )
                with inside.open("wb") as out:
                    _copy(packed, out, path, limit(path, Path(folder)))
        except BROKEN as error:
            if getattr(error, "errno", None):  # of the disk, not of the archive
                raise
            raise UserError(f"{path}: is damaged, cut short or no {path.suffix} file ({error}).") from None
        yield inside


def _opened(path: Path, opened: ExitStack) -> tuple[Any, str]:
    """Open what is in a packed file, and name it."""
    if path.suffix.lower() == ".zip":
        return _member(path, opened)
    openers: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    if path.suffix.lower() in openers:
        return opened.enter_context(openers[path.suffix.lower()](path)), path.stem
    file = opened.enter_context(pa.OSFile(os.fsencode(path)))
    return opened.enter_context(pa.CompressedInputStream(file, "zstd")), path.stem


def _member(path: Path, opened: ExitStack) -> tuple[Any, str]:
    """Open the one file of a .zip that is not litter of systems."""
    archive = opened.enter_context(zipfile.ZipFile(path))
    names = {member: PurePosixPath(member.filename.replace("\\", "/")) for member in archive.infolist()}
    found = {
        member: name.name
        for member, name in names.items()
        if not member.is_dir() and not any(is_litter(part) for part in name.parts if part != "..")
    }
    if len(found) != 1:
        what = f"holds {len(found)} files, {listed(found.values(), 3)}" if found else "holds no file"
        raise UserError(f"{path}: {what}; one is read. Unpack it, and name the file.")
    ((member, name),) = found.items()
    if member.flag_bits & 1:
        raise UserError(
            f"{path}: '{shortened(name)}' is encrypted. Unpack it with its password, and name the file."
        )
    return opened.enter_context(archive.open(member)), name


def _copy(packed: Any, out: IO[bytes], path: Path, most: int) -> None:
    """Copy a block at a time, up to a limit."""
    done = 0
    while block := packed.read(BLOCK):
        if not done and block.startswith(STARTS):
            raise UserError(f"{path}: what is in it is packed again. Unpack it once.")
        done += len(block)
        if done > most:
            raise UserError(
                f"{path}: {path.stat().st_size:,} bytes become more than {most:,}, which is too much. "
                "Unpack it by hand if you trust it."
            )
        out.write(block)
