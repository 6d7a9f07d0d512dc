"""Where the pictures of a table are: a column of paths enters, paths that may be read and bytes leave.

`images` and `hashing` call it. No path may leave the table's folder.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path

from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.files import inside

FOLDER_COLUMN = "image"  # what the paths of a folder of pictures are called
MAX_BYTES = 1 << 30  # of a file; 100 million pixels of 8 bytes, the most that is decoded, are fewer

Unreadable = dict[int, str]  # position of a row → why its picture could not be read
Progress = Callable[[int, int], None]  # rows done, rows in all


def picture_column(table: Table, name: str) -> str:
    """Return the column of a table that holds its pictures: the one named, or a folder's `image`."""
    return name if name in table.columns or FOLDER_COLUMN not in table.columns else FOLDER_COLUMN


def picture_paths(table: Table, column: str) -> list[Path | str]:
    """Return the path of each row's picture, or the reason why there is none.

    Raises:
        UserError: a path leaves the table's folder.
    """
    root = table.root or Path()
    base = root.resolve()
    out: list[Path | str] = []
    leaves: dict[Path, bool] = {}  # folders → whether a link on the way leads out of the table's folder
    for index, name in enumerate(table.column(column).to_pylist()):
        if name is None or not str(name).strip():
            out.append("no path")
            continue
        path = Path(base, str(name))
        folder = path.parent
        if folder not in leaves:
            leaves[folder] = not folder.resolve().is_relative_to(base)
        if leaves[folder] or ".." in path.parts or path.is_symlink():
            try:
                path = inside(base, str(name))
            except UserError as error:
                raise UserError(f"{table.source} row {table.rows[index]}: {error}") from None
        out.append(path)
    return out


def read_file(path: Path) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        UserError: there is none, or it is a folder, a pipe, empty, or larger than any picture.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError("is a folder")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
            raise UserError("is no file")
        if status.st_size == 0:
            raise UserError("empty file")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{status.st_size:,} bytes are more than {MAX_BYTES:,}")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None


def named(table: Table, column: str, reasons: Mapping[int, str]) -> dict[str, str]:
    """Name pictures by row and path for people: positions enter, names leave, each with its reason."""
    paths = table.column(column) if reasons else []
    return {f"row {table.rows[i]}, {paths[i].as_py() or 'no path'}": why for i, why in reasons.items()}
