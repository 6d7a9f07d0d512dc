"""Where the pictures of a table are: a column enters, paths that may be read or files in memory leave.

`images` and `hashing` call it. No path of a table may leave its folder.
"""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

import pyarrow as pa

from manyhot.data.arrays import BLOCK
from manyhot.data.columns import is_image_name
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shortened
from manyhot.files import inside

FOLDER_COLUMN = "image"  # what the paths of a folder of pictures are called
MAX_BYTES = 1 << 30  # of a file; 100 million pixels of 8 bytes, the most that is decoded, are fewer
ANY = "/*"  # behind a name without its ending
NO_FILE, NO_PATH = "no such file", "no path"  # why there is no picture
SAME_ENDING = {"jpeg": "jpg", "jpe": "jpg", "jfif": "jpg", "tiff": "tif"}

Picture: TypeAlias = Path | pa.Buffer | str  # a file, one that the table holds, or why there is none
Unreadable = dict[int, str]  # position of a row → why its picture could not be read
Progress = Callable[[int, int], None]  # rows done, rows in all


def by_columns(progress: Progress | None, done: int, columns: int, rows: int) -> None:
    """Tell of work that is done for so many columns of a large table as of that share of its rows."""
    if progress is not None and rows > BLOCK:
        progress(rows * done // max(columns, 1), rows)


def picture_column(table: Table, name: str) -> str:
    """Return the column of a table that holds its pictures: the one named, or a folder's `image`."""
    return name if name in table.columns or FOLDER_COLUMN not in table.columns else FOLDER_COLUMN


class Located(NamedTuple):
    """The picture of each row, and those found under another spelling: what the cell says → what is there."""

    pictures: list[Picture]
    respelled: dict[str, str]

    def told(self) -> list[str]:
        """Say how many paths are spelled otherwise than their files, with the first."""
        found = [*self.respelled.items()]
        if not found:
            return []
        said, there = map(shortened, found[0])
        alike = unicodedata.normalize("NFC", said) == unicodedata.normalize("NFC", there)
        first = f"'{said}' has letters composed otherwise" if alike else f"'{said}' is '{there}'"
        paths = "1 path is" if len(found) == 1 else f"{len(found):,} paths are"
        return [f"{paths} not spelled as the one file that fits: {first}"]


def pictures_of(table: Table, column: str) -> list[Picture]:
    """Return the picture of each row; see `locate`."""
    return locate(table, column).pictures


def locate(table: Table, column: str) -> Located:
    """Return the picture of each row: what the table holds, or else the path that the column names.

    Where there is no such file, the one that fits is meant, if there is exactly one: letters composed
    otherwise, of another case, without the ending, or as Windows or a URL would have it.

    Raises:
        UserError: a path leaves the table's folder.
    """
    root = table.root or Path()
    base = root.resolve()
    out: list[Picture] = []
    leaves: dict[Path, bool] = {}  # folders → whether a link on the way leads out of the table's folder
    there = _There(base)
    respelled: dict[str, str] = {}
    held = table.files.get(column)
    trusted = table.trusted and column == FOLDER_COLUMN
    for index, name in enumerate(table.column(column).to_pylist()):
        if held is not None and held[index] is not None:
            out.append(held[index] if len(held[index]) else "empty")
            continue
        if name is None or not str(name).strip() or "\0" in str(name):
            out.append(NO_PATH)
            continue
        name = str(name)
        path = Path(base, name)
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            status, meant = None, there.find(name)
            if meant is not None:
                respelled[name], name, path = meant, meant, Path(base, meant)
        except (OSError, ValueError):  # its name is too long
            status = None
        folder = path.parent
        if folder not in leaves:
            leaves[folder] = not trusted and not folder.resolve().is_relative_to(base)
        try:
            is_link = path.is_symlink() if status is None else stat.S_ISLNK(status.st_mode)
            if leaves[folder] or ".." in path.parts or (is_link and not trusted):
                path = inside(base, name)
            out.append(path)
        except UserError as error:
            raise UserError(f"{table.source} row {table.rows[index]}: {error.typed}") from None
        except OSError as error:  # its name is too long
            out.append(f"cannot be read ({error.strerror})")
    return Located(out, respelled)


class _There:
    """What lies in the folders below one, each listed once and only when it is asked for."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.folders: dict[str, tuple[set[str], dict[str, list[str]]]] = {}

    def find(self, name: str) -> str | None:
        """Return the one path that a name may mean; None where none or several fit."""
        trimmed = name.strip()
        slashed = trimmed.replace("\\", "/")
        for form in dict.fromkeys((trimmed, slashed, unquote(slashed))):
            found = self._walk(form)
            if found is not None:
                return found
        return None

    def _walk(self, name: str) -> str | None:
        """Go down a path, at each step to the entry that is called so, or else to the only one that fits."""
        at, parts = "", [part for part in name.split("/") if part not in ("", ".")]
        if not parts or name.startswith("/") or ".." in parts:
            return None
        for number, part in enumerate(parts):
            names, fitting = self._in(at)
            found = [part] if part in names else fitting.get(_folded(part), [])
            if not found and number == len(parts) - 1:
                found = fitting.get(_folded(part) + ANY, [])
            if len(found) != 1:
                return None
            at = f"{at}/{found[0]}" if at else found[0]
        return at

    def _in(self, folder: str) -> tuple[set[str], dict[str, list[str]]]:
        """List a folder: its names, and these by what they are without regard to spelling and ending."""
        if folder not in self.folders:
            names: set[str] = set()
            with suppress(OSError):
                names = {entry.name for entry in Path(self.base, folder).iterdir()}
            fitting: dict[str, list[str]] = {}
            for name in sorted(names):
                fitting.setdefault(_folded(name), []).append(name)
                if is_image_name(name):
                    fitting.setdefault(_folded(name.rpartition(".")[0]) + ANY, []).append(name)
            self.folders[folder] = names, fitting
        return self.folders[folder]


def _folded(name: str) -> str:
    """Return what spellings of a name share: composed letters, one case, one way to write JPEG and TIFF."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
    stem, dot, ending = folded.rpartition(".")
    return stem + dot + SAME_ENDING.get(ending, ending)


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
        raise UserError(NO_FILE) from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})") from None


def none_there(table: Table, name: str, unreadable: Unreadable) -> str:
    """Say where the pictures of a table were looked for where all are gone, as when they lie elsewhere."""
    if len(unreadable) < len(table) or not {NO_FILE} <= {*unreadable.values()} <= {NO_FILE, NO_PATH}:
        return ""
    paths = table.column(picture_column(table, name)).to_pylist()
    names = [str(path) for path in paths if path is not None]
    return (
        f"{table.source}: not one of its {len(table):,} pictures is there: {listed(names, 3)}; they are "
        f"looked for in {(table.root or Path()).absolute()}. Pass --root FOLDER."
    )


def named(table: Table, column: str, reasons: Mapping[int, str]) -> dict[str, str]:
    """Name pictures by row and path for people: positions enter, names leave, each with its reason."""
    paths = table.column(column) if reasons else []
    return {f"row {table.rows[i]}, {paths[i].as_py() or NO_PATH}": why for i, why in reasons.items()}
