"""Where the pictures of a table are: a column enters, paths that may be read or files in memory leave.

`images` and `hashing` call it. No path may leave the table's folder.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from manyhot.data.columns import picture_there
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.files import inside

FOLDER_COLUMN = "image"  # what the paths of a folder of pictures are called
MAX_BYTES = 1 << 30  # of a file; 100 million pixels of 8 bytes, the most that is decoded, are fewer

Picture: TypeAlias = Path | pa.Buffer | str  # a file, one that the table holds, or why there is none
Unreadable = dict[int, str]  # position of a row → why its picture could not be read
Progress = Callable[[int, int], None]  # rows done, rows in all


def picture_column(table: Table, name: str) -> str:
    """Return the column of a table that holds its pictures: the one named, or a folder's `image`."""
    return name if name in table.columns or FOLDER_COLUMN not in table.columns else FOLDER_COLUMN


def pictures_of(table: Table, column: str) -> list[Picture]:
    """Return the picture of each row: what the table holds, or else the path that the column names.

    Raises:
        UserError: a path leaves the table's folder.
    """
    root = table.root or Path()
    base = root.resolve()
    out: list[Picture] = []
    leaves: dict[Path, bool] = {}  # folders → whether a link on the way leads out of the table's folder
    held = table.files.get(column)
    for index, name in enumerate(table.column(column).to_pylist()):
        if held is not None and held[index] is not None:
            out.append(held[index] if len(held[index]) else "empty")
            continue
        if name is None or not str(name).strip() or "\0" in str(name):
            out.append("no path")
            continue
        name = _meant(base, str(name))
        path = Path(base, name)
        folder = path.parent
        if folder not in leaves:
            leaves[folder] = not folder.resolve().is_relative_to(base)
        try:
            if leaves[folder] or ".." in path.parts or path.is_symlink():
                path = inside(base, name)
            out.append(path)
        except UserError as error:
            raise UserError(f"{table.source} row {table.rows[index]}: {error.typed}") from None
        except OSError as error:  # its name is too long
            out.append(f"cannot be read ({error.strerror})")
    return out


def _meant(base: Path, name: str) -> str:
    """Return the form of a name that is there; the name itself where it is plain, or none is."""
    plain = not (name[:1].isspace() or name[-1:].isspace() or "\\" in name or "%" in name)
    return name if plain else picture_there(base, name) or name


def read_file(picture: Picture) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        UserError: there is none, or it is a folder, a pipe, empty, or larger than any picture.
    """
    if isinstance(picture, str):
        raise UserError(picture)
    if isinstance(picture, pa.Buffer):
        return bytes(picture)
    try:
        status = picture.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError("is a folder")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait forever
            raise UserError("is no file")
        if status.st_size == 0:
            raise UserError("empty file")
        if status.st_size > MAX_BYTES:
            raise UserError(f"{status.st_size:,} bytes are more than {MAX_BYTES:,}")
        return picture.read_bytes()
    except FileNotFoundError:
        raise UserError("no such file") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None


def named(table: Table, column: str, reasons: Mapping[int, str]) -> dict[str, str]:
    """Name pictures by row and path for people: positions enter, names leave, each with its reason."""
    paths = table.column(column) if reasons else []
    return {f"row {table.rows[i]}, {paths[i].as_py() or 'no path'}": why for i, why in reasons.items()}
