"""Reading: a path, or data already in Python, comes in, a Table leaves. The way in for everything.

`manyhot.read`, `classifier` and `cli` call it. What kind of source it is follows from the file's
ending, or from what a folder holds; each kind is read by a module of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import pyarrow as pa

from manyhot.data.arrays import texts
from manyhot.data.columns import is_image_name
from manyhot.data.disk import Room, Step
from manyhot.data.sources.folder import read_folder
from manyhot.data.sources.headers import check_header
from manyhot.data.sources.idx import find_idx, read_idx
from manyhot.data.sources.join import join
from manyhot.data.sources.mapping import add_mapped
from manyhot.data.sources.packed import ENDINGS, is_packed, unpacked
from manyhot.data.sources.parts import parts_of, together
from manyhot.data.sources.pictures import are_pictures, held
from manyhot.data.sources.remote import as_local, here, is_remote
from manyhot.data.sources.text import read_text
from manyhot.data.table import NoRowsError, Table, from_python, labelled
from manyhot.errors import UserError, listed, suggest
from manyhot.machine import half_of_memory


def read(
    source: object,
    *,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    maps: Mapping[str, str | Path] | None = None,
    header: str | None = None,
    sheet: str | None = None,
    memory: float | None = None,
    tell: Step | None = None,
) -> Table:
    """Read a table, a folder of pictures or of the parts of a table, or data that are in Python already.

    `root` is the folder that image paths are relative to, by default the table's own. `labels` names
    a second table whose columns are joined to this one by the path of the picture or by `row`. `maps`
    names for a column a table of its classes, whose other columns are looked up by the class. `header` is
    "first" where the first row of a text or a workbook is names, "none" where it is data, and found out
    unless it is said; `sheet` names the one of a workbook that is read.

    A table that takes more than a quarter of `memory` GB (half of this machine's unless said) is converted
    once and mapped, see `disk`; `tell` is called with what is done, how far it is and how far it will be.

    In Python are a DataFrame, an Arrow table, a dict of columns or of one row's values, a list of dicts,
    pictures as an array, pictures of Pillow's, a list of pictures or of their paths, and `(images, labels)`.

    Raises:
        UserError: there is no such file, it is of no known kind, or it cannot be read as what it is.

    >>> read({"colour": ["red", None], "size": [1, 2]}).names
    ('colour', 'size')
    """
    base = check_options(root, header)
    said = {name: value for name, value in (("header", header), ("sheet", sheet)) if value is not None}
    if isinstance(source, (str, Path)):
        table = _read_source(source, base, said, Room(memory, tell))
    else:
        _refuse_said("table", said)
        table = read_pictures([*map(str, source)], base) if _are_paths(source) else _in_memory(source)
        if base is not None:
            table = replace(table, root=base)
    if labels is not None:
        table = join(table, _read_source(labels, None, {}))
    if maps is not None and not isinstance(maps, Mapping):
        raise UserError(f"maps must be a dict of tables by the names of columns, got {maps!r}.")
    for column, path in (maps or {}).items():
        table = add_mapped(table, column, _read_source(path, None, {}))
    if isinstance(source, (str, Path)):
        files = {"source": source, "root": root, "labels": labels}
        again: dict[str, Any] = {name: _absolute(f) for name, f in files.items() if f is not None}
        again |= {"maps": {column: _absolute(path) for column, path in maps.items()}} if maps else {}
        table = replace(table, origin=({**again, **said},))
    return table


def check_options(root: str | Path | None, header: str | None) -> Path | None:
    """Return `root` as a path. Raises UserError where it is no folder, or `header` no word that is known."""
    base = None if root is None else Path(root)
    if base is not None and not base.is_dir():
        raise UserError(f"{base}: no such folder{near(base)}. Correct --root.")
    check_header(header)
    return base


def read_pictures(paths: Sequence[str], root: str | Path | None = None) -> Table:
    """Make a table of files of pictures, a row for each, by default relative to the folder they share.

    Raises:
        UserError: one of the files is not there.
    """
    for path in paths:
        if not Path(path).exists():
            raise UserError(f"{path}: no such file{near(Path(path))}.")
    folders = [Path(os.path.normpath(Path(path).absolute())).parent for path in paths]
    base = Path(root or os.path.commonpath(folders))
    names = [os.path.relpath(path, base) for path in paths]
    inside = not any(name.startswith("..") for name in names)  # of a root that was said
    return replace(from_python({"image": names}, "INPUT"), root=base, trusted=inside)


def _are_paths(source: object) -> TypeGuard[list[str | Path]]:
    """Tell a list of files of pictures."""
    return (
        isinstance(source, list)
        and len(source) > 0
        and all(isinstance(path, (str, Path)) and is_image_name(str(path)) for path in source)
    )


def _in_memory(source: object) -> Table:
    """Make a table of data in Python; pictures of several sizes are held as files."""
    if isinstance(source, tuple) and len(source) == 2 and are_pictures(source[0]):
        images, labels = source
        if len({getattr(image, "shape", None) for image in images}) > 1 or hasattr(images[0], "getexif"):
            return labelled(replace(read(images), source="table"), labels)
        return from_python((np.stack(images), labels))
    pictures = held(source)
    return from_python(source) if pictures is None else pictures


def _late(module: str, name: str) -> Callable[..., Table]:
    """Return a reader of the modules here, which is imported when it first reads."""

    def reader(*args: Any, **said: Any) -> Table:
        found: Table = getattr(import_module(f"manyhot.data.sources.{module}"), name)(*args, **said)
        return found

    return reader


read_excel = _late("excel", "read_excel")
READERS: dict[str, Callable[..., Table]] = {
    ".csv": read_text,
    ".tsv": read_text,
    ".tab": read_text,
    ".txt": read_text,
    **dict.fromkeys((".jsonl", ".ndjson"), _late("jsonl", "read_jsonl")),
    ".json": _late("jsonl", "read_json"),
    ".parquet": _late("arrow", "read_parquet"),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), _late("arrow", "read_arrow")),
    ".arff": _late("arff", "read_arff"),
    **dict.fromkeys((".xlsx", ".xlsm"), read_excel),  # not .xls, whose reader a damaged one brings down
}
TAKEN: dict[Callable[..., Table], tuple[str, ...]] = {read_text: ("header",), read_excel: ("header", "sheet")}
LARGE = [READERS[f".{ending}"] for ending in ("csv", "jsonl", "json", "parquet", "arrow")]  # those that map
ROOM = Room()
OPTIONS = {"header": "--header (of text and workbooks)", "sheet": "--sheet-name (of workbooks)"}


def _read_source(source: str | Path, root: Path | None, said: Mapping[str, str], room: Room = ROOM) -> Table:
    """Read a path, or a file elsewhere by its URI, from where no paths of pictures lead on."""
    if not is_remote(source):
        return _read_path(Path(as_local(str(source))), root, said, room)
    with here(source) as copy:
        return replace(_read_path(copy, root, said, room._replace(keeps=False)), root=root)


def _absolute(source: str | Path) -> str:
    return str(source) if is_remote(source) else str(Path(as_local(str(source))).absolute())


def _read_path(path: Path, root: Path | None, said: Mapping[str, str], room: Room = ROOM) -> Table:
    """Read a file by its ending, a folder by what it holds; `said` is what its reader is told."""
    try:
        if path.is_dir():
            return _read_folder(path, root, said, room)
        if not path.exists():
            raise UserError(f"{path}: no such file or folder{near(path)}.")
        if not path.is_file():
            raise UserError(f"{path}: is neither a file nor a folder.")
        if is_image_name(path.name):
            image = pa.chunked_array([texts([path.name])])
            return Table({"image": image}, path.name, path.parent, trusted=True)
        if not is_packed(path):
            reader = _reader_of(path, path.name, said)
            return reader(path, root, **said, **_large(reader, room))
        with unpacked(path) as inside:
            reader = _reader_of(path, inside.name, said)
            try:
                large = _large(reader, room._replace(keeps=False))  # the unpacked file is another each time
                table = reader(inside, path.parent if root is None else root, **said, **large)
            except UserError as error:  # nobody knows the file that was read
                raise UserError(error.typed.replace(str(inside), str(path))) from None
            return replace(table, source=path.name)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error}).") from None


def _large(reader: Callable[..., Table], room: Room) -> dict[str, Room]:
    """Return what a reader is told of the room there is, where it can do with less."""
    return {"room": room} if reader in LARGE else {}


def _reader_of(path: Path, name: str, said: Mapping[str, str]) -> Callable[..., Table]:
    """Return the reader for the ending of a name, if it takes what it is to be told."""
    ending = Path(name).suffix.lower()
    if ending not in READERS:
        kind = f"'{ending}' is no known ending" if ending else "the file has no ending"
        where = f"{path}: in it, " if path.name != name else f"{path}: "
        known, packings = " ".join(READERS), " ".join(ENDINGS)
        raise UserError(
            f"{where}{kind}. Give a picture, a folder, or a file that ends in {known} (packed: {packings})."
        )
    reader = READERS[ending]
    _refuse_said(str(path), [option for option in said if option not in TAKEN.get(reader, ())])
    return reader


def _refuse_said(what: str, said: Iterable[str]) -> None:
    """Refuse options that say nothing about what is read."""
    for option in said:
        raise UserError(f"{what}: {OPTIONS[option]} says nothing about it. Leave it out.")


def options_of(path: Path) -> tuple[str, ...]:
    """Return which of `read`'s options say something about a file of this name, which must be a table's."""
    return TAKEN.get(_reader_of(path, path.stem if is_packed(path) else path.name, {}), ())


def is_table(path: Path) -> bool:
    """Tell by its name whether a file is a table, packed or not.

    >>> is_table(Path("a.csv.gz")), is_table(Path("a.gz")), is_table(Path("a.PARQUET"))
    (True, False, True)
    """
    return Path(path.stem if is_packed(path) else path.name).suffix.lower() in READERS


def _read_folder(path: Path, root: Path | None, said: Mapping[str, str], room: Room) -> Table:
    """Read IDX files, the table `labels.csv`, pictures, or parts of a table, whichever the folder holds."""
    place = find_idx(path)
    parts = [] if place is not None or (path / "labels.csv").is_file() else parts_of(path, is_table)
    if not parts and (place is not None or not (path / "labels.csv").is_file()):
        _refuse_said(str(path), said)
    if place is not None:
        return replace(read_idx(place), source=path.resolve().name)
    if (path / "labels.csv").is_file():
        return _read_path(path / "labels.csv", path if root is None else root, said, room)
    if parts:
        whole = sum(part.stat().st_size for part in parts) or 1
        memory = room.memory or half_of_memory()
        shares = [room._replace(memory=memory * part.stat().st_size / whole) for part in parts]
        return together(path, [_read_part(*each, root, said) for each in zip(parts, shares, strict=True)])
    try:
        return read_folder(path)
    except UserError as error:
        tables = sorted(entry.name for entry in path.iterdir() if is_table(entry))
        if tables:
            raise UserError(
                f"{path}: holds no pictures, but {listed(tables, 4)}. Name one of these files. "
                "(Tables of one ending, alone in a folder, are one table; `manyhot predict` answers all into "
                "--out FOLDER.)"
            ) from None
        raise error from None


def _read_part(path: Path, room: Room, root: Path | None, said: Mapping[str, str]) -> Table:
    """Read a part of a table, which may be without rows, as engines leave some."""
    try:
        return _read_path(path, root, said, room)
    except NoRowsError as error:
        return error.table


def near(path: Path) -> str:
    """Suggest the entry of the folder whose name is nearest to a missing one."""
    try:
        return suggest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""
