"""A Parquet file, a piece at a time: rows come in pieces, and what was made of each is kept until all is.

`classifier.answer_file` uses both. Memory is bounded by a piece, however long the file is or however its
rows are grouped, and a run that was stopped goes on after its last finished piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from manyhot import files
from manyhot.data.sources.arrow import from_arrow, open_parquet
from manyhot.data.sources.write import write
from manyhot.data.table import Table

ROWS = 1 << 14  # of a piece
KEY = "run.json"


def num_rows(path: Path) -> int:
    """Return how many rows a Parquet file has. Raises UserError when it is none, or has none."""
    with open_parquet(path) as file:
        return int(file.metadata.num_rows)


def pieces(path: Path, skip: int = 0) -> Iterator[Table]:
    """Read a Parquet file in tables of at most ROWS rows, without the first `skip` of these pieces.

    Rows are numbered through the file. Raises UserError as `arrow.read_parquet`.
    """
    with open_parquet(path) as file:
        first = 0
        for number, batch in enumerate(file.iter_batches(ROWS)):
            if number >= skip:
                table = from_arrow(pa.Table.from_batches([batch]), path)
                yield Table(table.columns, table.source, table.root, rows=first + table.rows)
            first += len(batch)


@contextmanager
def parts_of(out: Path, key: object, resume: bool) -> Iterator[Parts]:
    """Hold the folder of the finished pieces of an output, which goes once they are joined.

    Raises:
        UserError: the folder is there and holds something else, or another run writes to it.
    """
    folder = out.with_name(f"{out.name}.parts")
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

        def fill(temporary: Path) -> None:
            first, *others = (pq.read_schema(self._path(number)) for number in range(self.count))
            for each in others:  # only pieces with a cell that cannot be read have a column that says so
                for name in {*each.names} - {*first.names}:
                    first = first.append(each.field(name))
            with pq.ParquetWriter(temporary, first) as writer:
                for number in range(self.count):
                    piece = pq.read_table(self._path(number))
                    for name in first.names[piece.num_columns :]:
                        piece = piece.append_column(name, pa.nulls(len(piece), first.field(name).type))
                    writer.write_table(piece.cast(first))

        files.write_with(self.out, fill)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.parquet"


def key_of(path: Path, model: str) -> dict[str, object]:
    """Return what two runs share where the pieces of one serve the other: the file and the model."""
    found = path.stat()
    return {
        "input": str(path.absolute()),
        "bytes": found.st_size,
        "changed": found.st_mtime_ns,
        "model": model,
        "rows": ROWS,
    }
