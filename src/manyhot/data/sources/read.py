"""Reading: a path, or data already in Python, comes in, a Table leaves. The way in for everything.

`manyhot.read`, `classifier` and `cli` call it. What kind of source it is follows from the file's
ending, or from what a folder holds; each kind is read by a module of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from manyhot.data.columns import is_image_name
from manyhot.data.sources.arff import read_arff
from manyhot.data.sources.folder import read_folder
from manyhot.data.sources.idx import find_idx, read_idx
from manyhot.data.sources.join import join
from manyhot.data.sources.jsonl import read_jsonl
from manyhot.data.sources.mapping import add_mapped
from manyhot.data.sources.text import column_names, read_text
from manyhot.data.table import Table, from_python
from manyhot.errors import UserError, listed, suggest


def read(
    source: object,
    *,
    root: str | Path | None = None,
    labels: str | Path | None = None,
    maps: Mapping[str, str | Path] | None = None,
) -> Table:
    """Read a table, a folder of pictures, or data that are in Python already.

    `root` is the folder that image paths are relative to, by default the table's own. `labels` names
    a second table whose columns are joined to this one by the path of the picture or by `row`. `maps`
    names for a column a table of its classes, whose other columns are looked up by the class.

    Raises:
        UserError: there is no such file, it is of no known kind, or it cannot be read as what it is.

    >>> read({"colour": ["red", None], "size": [1, 2]}).names
    ('colour', 'size')
    """
    base = None if root is None else Path(root)
    if base is not None and not base.is_dir():
        raise UserError(f"{base}: no such folder{near(base)}. Correct --root.")
    if isinstance(source, (str, Path)):
        table = _read_path(Path(source), base)
    else:
        table = from_python(source)
        if base is not None:
            table = replace(table, root=base)
    if labels is not None:
        table = join(table, _read_path(Path(labels), None))
    for column, path in (maps or {}).items():
        table = add_mapped(table, column, _read_path(Path(path), None))
    return table


def read_parquet(path: Path, root: Path | None = None) -> Table:
    """Read a Parquet file; columns of nested values are left out and named in the notes.

    Raises:
        UserError: the file is no Parquet file, has no rows, or has two columns of the same name.
    """
    with open_parquet(path) as file:
        return from_arrow(file.read(), path, root)


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
    return replace(
        from_python({"image": [os.path.relpath(path, base) for path in paths]}, "INPUT"), root=base
    )


@contextmanager
def open_parquet(path: Path) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file, of which no more is read than is asked for. Raises UserError as `read_parquet`."""
    try:
        stream = pa.OSFile(os.fsencode(path))  # no file of Python's, see `text._as_utf_8`
        with stream, pq.ParquetFile(stream, buffer_size=1 << 20, pre_buffer=False) as file:
            if not file.metadata.num_rows:
                raise UserError(f"{path}: the file has no rows.")
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"{path}: cannot be read as Parquet ({reason}).") from None


def from_arrow(data: pa.Table, path: Path, root: Path | None = None) -> Table:
    """Make a table of what was read from a file; columns of nested values are left out and named."""
    names, notes = column_names(path, data.column_names)
    data = data.rename_columns(names)
    nested = [name for name in names if _is_nested(data[name].type)]
    columns = from_python(data.drop_columns(nested), path.name).columns
    if nested:
        notes = (*notes, f"left out: columns of nested values, {listed(nested)}")
    return Table(columns, path.name, path.parent if root is None else root, notes=notes)


READERS: dict[str, Callable[[Path, Path | None], Table]] = {
    ".csv": read_text,
    ".tsv": read_text,
    ".tab": read_text,
    ".txt": read_text,
    ".jsonl": read_jsonl,
    ".ndjson": read_jsonl,
    ".parquet": read_parquet,
    ".arff": read_arff,
}


def _read_path(path: Path, root: Path | None) -> Table:
    """Read a file by its ending, a folder by what it holds."""
    try:
        if path.is_dir():
            return _read_folder(path, root)
        if not path.exists():
            raise UserError(f"{path}: no such file or folder{near(path)}.")
        if not path.is_file():
            raise UserError(f"{path}: is neither a file nor a folder.")
        if is_image_name(path.name):
            return Table({"image": pa.chunked_array([[path.name]])}, path.name, path.parent)
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            kind = f"'{path.suffix}' is no known ending" if path.suffix else "the file has no ending"
            known = " ".join(READERS)
            raise UserError(f"{path}: {kind}. Give a file that ends in {known}, a picture, or a folder.")
        return reader(path, root)
    except OSError as error:
        raise UserError(f"{error.filename or path}: cannot be read ({error.strerror or error}).") from None


def _read_folder(path: Path, root: Path | None) -> Table:
    """Read IDX files, the table `labels.csv`, or pictures, whichever the folder holds."""
    place = find_idx(path)
    if place is not None:
        return replace(read_idx(place), source=path.resolve().name)
    if (path / "labels.csv").is_file():
        return read_text(path / "labels.csv", path if root is None else root)
    try:
        return read_folder(path)
    except UserError as error:
        tables = sorted(entry.name for entry in path.iterdir() if entry.suffix.lower() in READERS)
        if tables:
            raise UserError(
                f"{path}: holds no pictures, but {listed(tables)}. Name one of these files."
            ) from None
        raise error from None


def near(path: Path) -> str:
    """Suggest the entry of the folder whose name is nearest to a missing one."""
    try:
        return suggest(path.name, [entry.name for entry in path.parent.iterdir()])
    except OSError:
        return ""


def _is_nested(kind: pa.DataType) -> bool:
    """Tell whether cells of this type are neither plain values nor lists of these."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return bool(pa.types.is_nested(kind.value_type))
    return bool(pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
