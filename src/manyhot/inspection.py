"""What `manyhot.inspect` returns: a table comes in, an object that shows it as `manyhot inspect` does leaves.

Like `cli` it is for people; it prints nothing itself.
"""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manyhot.cli import show
from manyhot.data.rows.describe import describe, look, open_pictures
from manyhot.data.rows.infer import OPTIONS, infer
from manyhot.data.rows.plan import plan
from manyhot.data.sources.read import read
from manyhot.data.table import Table
from manyhot.errors import UserError, suggest
from manyhot.progress import Lines
from manyhot.schema import Schema
from manyhot.wording import in_python


@dataclass(frozen=True, repr=False)
class Inspection:
    """How a table is read: inputs, targets, examples, and what is odd.

    found   the document of `manyhot inspect --json`
    schema  what `fit` takes; None where nothing is to be predicted yet
    """

    found: Mapping[str, Any]
    schema: Schema | None

    @property
    def notes(self) -> list[str]:
        """What people should know before training."""
        return list(self.found["problems"])

    def to_json(self) -> dict[str, Any]:
        """Return plain dicts and lists, the schema among them."""
        return {**self.found} if self.schema is None else {**self.found, "schema": self.schema.to_json()}

    def __repr__(self) -> str:
        drawn = io.StringIO()
        show.description(self.found, into=drawn)
        return "\n".join(line.rstrip() for line in drawn.getvalue().splitlines())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"


def inspect(
    data: object, schema: Schema | str | Sequence[str] | None = None, *, verbose: bool = True, **options: Any
) -> Inspection:
    """Return how a table is read, for people to look at before they train.

    Args:
        data: a Table, or anything that `manyhot.read` reads.
        schema: from `manyhot.infer`, or the names of the target columns; without any all columns are shown,
            with what they look like.
        verbose: tell on standard error how many pictures are opened, where that takes long.
        options: of `manyhot.infer`, such as `tags={"look": None}`.

    Raises:
        UserError: the data or an option cannot be used.

    >>> inspect({"size": [1, 2, 3], "ripe": ["no", "yes", "no"]}, "ripe")  # doctest: +NORMALIZE_WHITESPACE
    table: 3 rows
    input  kind    values
    size   number  1 … 3, 3 distinct
    <BLANKLINE>
    target  kind    known  unknown  classes
    ripe    binary  3      0        no 2, yes 1
    <BLANKLINE>
    fit would train with effort balanced: backbone mlp, at most 60 epochs of batches of 16, rate 0.002, ...
    note: target 'ripe': 1 class with one row: 'yes'
    """
    strange = next((name for name in options if name not in OPTIONS), None)
    if strange is not None:
        raise UserError(f"inspect has no option '{strange}'{suggest(strange, OPTIONS)}; see manyhot.infer.")
    table = data if isinstance(data, Table) else read(data)
    if not isinstance(schema, Schema):
        known = schema or options.get("tags") or table.targets
        schema = infer(table, schema or (), **options) if known else None
    apart = {name for name, kind in dict(options.get("kinds") or {}).items() if kind == "ignore"}
    found = describe(table, schema, apart | {*options.get("ignore", ())}) if schema else look(table)
    with Lines(verbose) as told:
        open_pictures(table, found, told.reading)
    if schema:
        found["fit"] = plan(table, schema)
    return Inspection(found | {"problems": [*map(in_python, found["problems"])]}, schema)
