"""Corel-5k: a folder with labels.csv comes in, a Table with a column of tags leaves.

`data.datasets` calls it. The words of a picture stand in `labels` with blanks between them, which only
`--separator " "` would read; `tags` has them as every command reads them.

Source: Duygulu et al. 2002, "Object Recognition as Machine Translation", 5,000 pictures, 1 to 5 words each.
"""

from __future__ import annotations

from pathlib import Path

from manyhot.data.sources.read import read
from manyhot.data.table import Table
from manyhot.errors import UserError


def label_corel(folder: Path) -> Table:
    """Return the rows of labels.csv with the words of `labels` as tags beside them.

    Raises:
        UserError: there is no labels.csv, it has no column `labels`, or it has other tags already.
    """
    path = folder / "labels.csv"
    if not path.is_file():
        raise UserError(
            f"{folder}: holds no labels.csv, and nobody offers Corel-5k for download. Put the pictures and "
            "labels.csv with the columns file, split (train, test) and labels (words with blanks between "
            "them) there by hand."
        )
    table = read(path)
    cells = table.column("labels").to_pylist()
    tags = [";".join(dict.fromkeys(cell.split())) or None if cell else None for cell in cells]
    if "tags" in table.columns:
        for row, old, new in zip(table.rows, table.column("tags").to_pylist(), tags, strict=True):
            if old not in (None, new):
                raise UserError(
                    f"{table.source} row {row}, column 'tags': '{old}' is not what 'labels' says. "
                    "Rename or remove that column, so that it is not replaced."
                )
    return table.with_columns({"tags": tags})
