"""A Parquet file, a piece at a time: rows come in pieces, and what was made of each is kept until all is.

`classifier.answer_file` uses both. Memory is bounded by a piece, however long the file is or however its
rows are grouped, and a run that was stopped goes on after its last finished piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

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


class Parts:
    """The finished pieces of an output, in a folder beside it."""

    def __init__(self, out: Path, key: object, resume: bool) -> None:
        """Find the pieces that a stopped run left; without `resume`, or from another run (`key`), they go.

        Raises:
            UserError: the folder is there and holds something else.
        """
        self.out, self.folder = out, out.with_name(f"{out.name}.parts")
        files.check_ours(self.folder, (KEY,))
        same = (self.folder / KEY).is_file() and files.read_json(self.folder / KEY) == key
        if self.folder.exists() and not (resume and same):
            files.clear(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        files.sweep(self.folder)
        files.write_json(self.folder / KEY, key)
        self.count = 0
        while self._path(self.count).is_file():
            self.count += 1

    def add(self, table: Table) -> None:
        """Keep the next piece."""
        write(table, self._path(self.count))
        self.count += 1

    def join(self) -> None:
        """Make the output of all pieces, whole or not at all, and remove them."""

        def fill(temporary: Path) -> None:
            first = pq.read_schema(self._path(0))
            with pq.ParquetWriter(temporary, first) as writer:
                for number in range(self.count):
                    writer.write_table(pq.read_table(self._path(number)).cast(first))

        files.write_with(self.out, fill)
        files.clear(self.folder)

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
