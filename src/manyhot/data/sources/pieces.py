"""A table, a piece at a time: rows come in pieces, and what was made of each is kept until all is.

`classifier.answer_file` uses both, of a Parquet file, which is read so, or of a table that is mapped. Memory
is bounded by a piece, however long the table is or however its rows are grouped, and a run that was stopped
goes on after its last finished piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from manyhot import files
from manyhot.data.disk import let_go
from manyhot.data.sources.arrow import from_arrow, open_parquet
from manyhot.data.sources.write import write, write_pieces
from manyhot.data.table import Table

ROWS = 1 << 14  # of a piece
KEY = "run.json"


def num_rows(source: Path | Table) -> int:
    """Return how many rows a table or a Parquet file has. Raises UserError when it is none, or has none."""
    if isinstance(source, Table):
        return len(source)
    with open_parquet(source) as file:
        return int(file.metadata.num_rows)


def pieces(source: Path | Table, skip: int = 0) -> Iterator[Table]:
    """Give a table or a Parquet file in tables of at most ROWS rows, without the first `skip` of these.

    Rows are numbered through all. Raises UserError as `arrow.read_parquet`.
    """
    if isinstance(source, Table):
        for first in range(skip * ROWS, len(source), ROWS):
            yield source.slice(slice(first, first + ROWS))
            let_go()
        return
    path = source
    with open_parquet(path) as file:
        first = 0
        for number, batch in enumerate(file.iter_batches(ROWS)):
            if number >= skip:
                table = from_arrow(pa.Table.from_batches([batch]), path)
                yield Table(table.columns, table.source, table.root, rows=first + table.rows)
            first += len(batch)


def is_parquet(path: Path) -> bool:
    """Tell by its name whether a file is one of Parquet's, which is read a piece at a time."""
    return path.suffix.lower() == ".parquet" and not path.is_dir()


def folder_of(out: Path) -> Path:
    """Return where the finished pieces of an output are."""
    return out.with_name(f"{out.name}.parts")


@contextmanager
def parts_of(out: Path, key: object, resume: bool) -> Iterator[Parts]:
    """Hold the folder of the finished pieces of an output, which goes once they are joined.

    Raises:
        UserError: the folder is there and holds something else, or another run writes to it.
    """
    folder = folder_of(out)
    files.check_ours(folder, (KEY, files.LOCK))
    with files.held(folder, out):
        yield Parts(out, folder, key, resume)
    files.clear(folder)


class Parts:
    """The finished pieces of an output, in a folder beside it."""

    def __init__(self, out: Path, folder: Path, key: object, resume: bool) -> None:
        """Find the pieces that a stopped run left; without `resume`, or from another run (`key`), they go."""
        self.out, self.folder = out, folder
        same = (folder / KEY).is_file() and files.read_json(folder / KEY) == key
        files.sweep(folder) if resume and same else files.empty(folder)
        files.write_json(folder / KEY, key)
        self.count = 0
        while self._path(self.count).is_file():
            self.count += 1

    def add(self, table: Table) -> None:
        """Keep the next piece."""
        write(table, self._path(self.count))
        self.count += 1

    def join(self) -> None:
        """Make the output of all pieces, whole or not at all."""
        import pyarrow.parquet as pq

        first, *others = (pq.read_schema(self._path(number)) for number in range(self.count))
        for each in others:  # only pieces with a cell that cannot be read have a column that says so
            for name in {*each.names} - {*first.names}:
                first = first.append(each.field(name))

        def alike() -> Iterator[Table]:
            for number in range(self.count):
                piece = pq.read_table(self._path(number))
                for name in first.names[piece.num_columns :]:
                    piece = piece.append_column(name, pa.nulls(len(piece), first.field(name).type))
                piece = piece.cast(first)
                yield Table(dict(zip(first.names, piece.columns, strict=True)))

        write_pieces(alike(), self.out)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"


def key_of(source: Path | Table, model: str) -> dict[str, object]:
    """Return what two runs share where the pieces of one serve the other: how what is read, and the model."""
    how = [*map(dict, source.origin)] if isinstance(source, Table) else [{"source": str(source.absolute())}]
    named = [Path(text) for each in how for value in each.values() for text in _texts(value)]
    read = [path for each in named for path in ([each] if each.is_file() else sorted(each.glob("*")))]
    stamps = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in read]
    return {"read": how, "files": stamps, "model": model, "rows": ROWS}


def _texts(value: Any) -> list[str]:
    return [*map(str, value.values())] if isinstance(value, dict) else [str(value)]
