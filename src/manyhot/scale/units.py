"""What is answered as one piece of work: the inputs come in, units leave, each with a file of answers.

`folder` calls it. A table is a unit, and so is every PART of pictures by sorted path. Where the answers of an
input lie follows from where it lies below the folder that holds all inputs, so that no two meet.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np

from manyhot.data.columns import is_image_name
from manyhot.data.inputs.images.paths import FOLDER_COLUMN
from manyhot.data.sources import remote
from manyhot.data.sources.folder import read_folder, walk
from manyhot.data.sources.idx import find_idx
from manyhot.data.sources.read import is_table, near, options_of, read_pictures
from manyhot.data.sources.write import ENDINGS
from manyhot.data.table import Table
from manyhot.errors import UserError, listed

PART = 2048  # pictures of a unit: a minute's work
LABELS = "labels.csv"  # the table of a folder of pictures
RUN, PLAN = "_run", "run.json"  # beside the answers what a run keeps of itself; Spark and others read past it


@dataclass(frozen=True)
class Unit:
    """One input, or a part of one.

    name      the file of its answers, below the folder of all answers
    source    the path or URI that is read; of pictures what their paths are relative to
    bytes     how large it is, of pictures all together
    changed   what is another where its files are: when they changed
    pictures  the rows of a part of the pictures, which are read already; None of a table
    """

    name: str
    source: str
    bytes: int = 0
    changed: str = ""
    pictures: Table | None = None

    def stamped(self) -> Unit:
        """Return it as its files are now.

        Raises:
            UserError: there is no such file any more.
        """
        if remote.is_remote(self.source):
            files = [_stamp_of(item) for item in remote.listing(self.source)]
        elif self.pictures is not None:
            names = self.pictures.column(FOLDER_COLUMN).to_pylist()
            files = [_stamp(name, Path(self.source, name)) for name in names]
        else:
            path = Path(self.source)
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            files = [_stamp(entry.name, entry) for entry in inside]
        return self.as_of(files)

    def as_of(self, files: Sequence[tuple[str, int, int]]) -> Unit:
        """Return it with the names of its files, their sizes, and when they changed."""
        digest = hashlib.sha256(repr(files).encode(errors="surrogateescape")).hexdigest()[:16]
        return replace(self, bytes=sum(size for _, size, _ in files), changed=digest)

    def to_json(self) -> dict[str, object]:
        """Return what two runs must share of it."""
        pictures = 0 if self.pictures is None else len(self.pictures)
        return {"name": self.name, "bytes": self.bytes, "changed": self.changed, "pictures": pictures}


def units_of(
    inputs: Sequence[str], is_image: bool, out: Path, root: Path | None = None
) -> tuple[list[Unit], list[str]]:
    """Return the units of some inputs, sorted by name, and what was left out.

    Args:
        inputs: tables, folders of tables or of pictures, pictures; paths or URIs.
        is_image: the model reads pictures.
        out: the folder of the answers, which are no input.

    Raises:
        UserError: an input is not there, holds nothing that the model reads, or lies in `out`.
    """
    each_once = {each.place: each for each in (_Input.of(text, is_image) for text in inputs)}
    found = [*each_once.values()]
    pictures = [str(each.place) for each in found if each.kind == "picture"]
    folders = [each for each in found if each.rows is not None]
    inside = {*_inside(pictures, folders), *_inside([str(each.place) for each in folders], folders)}
    base = _shared(each.base for each in found)
    own = [PurePosixPath(Path(path).as_posix()) for path in (os.path.realpath(out), os.path.abspath(out))]  # noqa: PTH100
    units: dict[PurePosixPath, Unit] = {}
    notes = list(dict.fromkeys(note for each in found for note in each.notes))
    for each in found:
        for place, unit in each.tables.items():
            if not any(map(place.is_relative_to, own)):
                units[place] = replace(unit, name=_name(place, base))
            elif each.kind == "table":
                lies = f"{unit.source}: lies in --out, where its answers would be"
                raise UserError(f"{lies}. Choose another --out.")
    tables = [(each.place, each.rows) for each in folders if each.rows and str(each.place) not in inside]
    alone = sorted({*pictures} - inside)
    if alone:
        tables.append((_shared(PurePosixPath(path).parent for path in alone), read_pictures(alone, root)))
    every = list(units.values())
    for place, table in tables:
        notes += [note for note in table.notes if note.startswith("left out")]
        every += _parts_of(table, _below(place, base))
    if inside:
        notes.append(f"left out: {listed(sorted(inside))}, which another INPUT holds")
    names = [unit.name for unit in every]
    twice = [name for name in names if names.count(name) > 1] if len({*names}) < len(names) else []
    if twice:
        raise UserError(f"two INPUTs would be answered into '{twice[0]}'. Rename one, or answer it alone.")
    every = [unit if unit.changed else unit.stamped() for unit in every]
    return sorted(every, key=lambda unit: unit.name), notes


@dataclass(frozen=True)
class _Input:
    """One input that was named: a table, a picture, a folder of tables, or a folder of pictures.

    place   where it is, absolute; of a URI with what stands before `://` as its first folder
    tables  the tables that it is or holds, by their places, as units without a name
    rows    the pictures that a folder holds
    notes   what was left out of a folder of tables
    """

    kind: str
    place: PurePosixPath
    tables: Mapping[PurePosixPath, Unit] = field(default_factory=dict)
    rows: Table | None = None
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> PurePosixPath:
        """The folder below which its files lie."""
        return self.place if self.kind in ("tables", "pictures") else self.place.parent

    @classmethod
    def of(cls, text: str, is_image: bool) -> _Input:
        """Look what an input is."""
        if remote.is_remote(text):
            return cls._elsewhere(text)
        path = Path(os.path.abspath(remote.as_local(text)))  # noqa: PTH100, which removes '..' too
        place = PurePosixPath(path.as_posix())
        if not path.exists():
            raise UserError(f"{text}: no such file or folder{near(path)}.")
        if not path.is_dir():
            if not is_image_name(path.name):
                options_of(path)  # which refuses what is no table
                return cls("table", place, {place: Unit("", str(path))})
            if not is_image:
                raise UserError(f"{text}: the model reads features, not pictures; INPUT must be a table.")
            return cls("picture", place)
        try:
            found = cls._of_folder(path, place, is_image)
        except OSError as error:
            where, why = error.filename or text, error.strerror or error
            raise UserError(f"{where}: cannot be read ({why}).") from None
        if found.rows is None and not found.tables:
            what = "neither a picture nor a table" if is_image else "no table, which the model reads"
            raise UserError(f"{text}: holds {what}.")
        return found

    @classmethod
    def _of_folder(cls, path: Path, place: PurePosixPath, is_image: bool) -> _Input:
        if is_image and find_idx(path) is not None:
            return cls("tables", place, {place / f"{path.name}.idx": Unit("", str(path))})
        if is_image and (path / LABELS).is_file():
            return cls("tables", place, {place / LABELS: Unit("", str(path / LABELS))})
        with suppress(UserError):  # it holds no picture
            if is_image:
                return cls("pictures", place, rows=read_folder(path))
        found = walk(path, _may_be_table)
        tables, notes = _tables_of(found.paths)
        units = {place / name: Unit("", str(path / name)) for name in sorted(tables)}
        told = replace(
            found, endings=Counter()
        ).told()  # what is no table by its ending is told by no command
        return cls("tables", place, units, notes=(*notes, *(f"left out: {what}" for what in told)))

    @classmethod
    def _elsewhere(cls, uri: str) -> _Input:
        first = PurePosixPath("/", uri.partition("://")[0])
        whole = first / remote.path_of(uri).strip("/")
        places = {first / item.path.lstrip("/"): item for item in remote.listing(uri)}
        notes: Iterable[str] = ()
        if whole in places:
            options_of(Path(whole.name))
        else:
            kept = [_below(place, whole) for place in places if is_table(Path(place.name))]
            kept, notes = _tables_of(kept)
            places = {whole / name: places[whole / name] for name in kept}
        if not places:
            raise UserError(f"{uri}: there is no table. Pictures are read from a disk of this machine.")
        kind = "table" if whole in places else "tables"
        units = {place: Unit("", item.uri).as_of([_stamp_of(item)]) for place, item in places.items()}
        return cls(kind, whole, units, notes=tuple(notes))


def _may_be_table(name: str) -> bool:
    return is_table(Path(name))


def _tables_of(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return which paths in a folder are input, and what is told of the others.

    What Spark and others put beside tables is left out: _SUCCESS, _metadata, _temporary/, ._SUCCESS.crc. So
    are the answers of other runs.

    >>> _tables_of(["a.csv", "_metadata.csv", "out/a.csv", "out/_run/run.json"])
    (['a.csv'], ["left out: the answers in 'out'"])
    """
    seen = [PurePosixPath(path) for path in paths]
    answers = {path.parents[1] for path in seen if path.parts[1:][-2:] == (RUN, PLAN)}
    tables = [path for path in seen if not any(part.startswith(("_", ".")) for part in path.parts)]
    kept = [path.as_posix() for path in tables if not answers & {*path.parents}]
    return kept, [f"left out: the answers in {listed(sorted(map(str, answers)))}"] if answers else []


def _inside(places: Iterable[str], folders: Sequence[_Input]) -> Iterator[str]:
    """Give those of some places that lie in one of the folders."""
    above = {each.place for each in folders}
    return (place for place in places if above & {*PurePosixPath(place).parents})


def _shared(places: Iterable[PurePosixPath]) -> PurePosixPath:
    """Return the folder that all places lie in."""
    try:
        return PurePosixPath(Path(os.path.commonpath([*map(str, places)])).as_posix())
    except ValueError:
        raise UserError("the INPUTs lie on several drives. Answer those of each by themselves.") from None


def _below(place: PurePosixPath, base: PurePosixPath) -> str:
    return place.relative_to(base).as_posix()


def _name(place: PurePosixPath, base: PurePosixPath) -> str:
    """Name the answers of a table as itself, with .parquet behind it where its kind is not written.

    >>> at = PurePosixPath("/d")
    >>> _name(at / "a.csv", at), _name(at / "b/a.csv.gz", at)
    ('a.csv', 'b/a.csv.gz.parquet')
    """
    name = _below(place, base)
    return name if place.suffix.lower() in ENDINGS else f"{name}.parquet"


def _parts_of(table: Table, below: str) -> Iterator[Unit]:
    """Cut a table of pictures into units."""
    for number, first in enumerate(range(0, len(table), PART)):
        rows = table.take(np.arange(first, min(first + PART, len(table))))
        name = PurePosixPath(below, f"pictures-{number:05d}.parquet").as_posix()
        yield Unit(name, str(table.root), pictures=rows)


def _stamp_of(item: remote.Listed) -> tuple[str, int, int]:
    return str(item.path), item.bytes, item.changed


def _stamp(name: str, path: Path) -> tuple[str, int, int]:
    try:
        found = path.stat()
    except OSError:  # a picture that is gone has no answer, a table is told when it is read
        return name, 0, 0
    return name, found.st_size, found.st_mtime_ns
