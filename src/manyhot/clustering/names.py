"""Clusters get names: a folder that `cluster` wrote and names come in, a table that `fit` reads leaves.

`cli` calls `read`, `parse`, `label` and `fit_words` in this order. A cluster without a name leaves the cells
of its rows empty, which is unknown; several clusters may share a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manyhot import bundle as bundles
from manyhot.data.rows.kinds import SEPARATORS
from manyhot.data.sources.read import is_table
from manyhot.data.sources.read import read as read_table
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.files import read_json
from manyhot.predict import reasons_column
from manyhot.schema import Target

COLUMN = "cluster"
CLUSTERS = "clusters.csv"
METRICS = "metrics.json"


def target_of(clusters: int) -> Target:
    """Return the target that says which of so many clusters a row belongs to."""
    return Target(COLUMN, "multiclass", tuple(map(str, range(clusters))), (COLUMN,))


@dataclass(frozen=True)
class Found:
    """What a folder of clusters holds: its rows as clusters.csv has them, and what metrics.json says."""

    folder: Path
    table: Table
    metrics: Mapping[str, Any]

    @property
    def sizes(self) -> dict[str, int]:
        """The rows of each cluster by its name, the largest first."""
        return {str(name): int(size) for name, size in self.metrics["sizes"].items()}


def read_names(folder: Path) -> Found:
    """Read a folder that `cluster` wrote.

    Raises:
        UserError: there is no such folder, or it is of another kind.
    """
    bundles.check(folder)
    there = (folder / CLUSTERS).is_file() and (folder / METRICS).is_file()
    metrics = read_json(folder / METRICS) if there else None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("sizes"), dict):
        raise UserError(f"{folder} holds no clusters; name a folder that `manyhot cluster` wrote.")
    table = read_table(folder / CLUSTERS)
    table.column(COLUMN)
    return Found(folder, table, metrics)


def parse(words: Sequence[str], found: Found) -> dict[str, str]:
    """Read names as people give them: "3=dog", "7+9=bird", or a table of two columns.

    Raises:
        UserError: there is no such cluster, one is named twice, or a word is neither.
    """
    pairs: list[tuple[str, str]] = []
    for word in words:
        clusters, equals, name = word.partition("=")
        if equals:
            pairs += [(cluster.strip(), name.strip()) for cluster in clusters.split("+")]
        elif is_table(Path(word)):
            pairs += _lines(word, found.sizes)
        else:
            raise UserError(f"'{word}': must be N=NAME, such as 3=dog or 7+9=bird, or a table of names.")
    given: dict[str, str] = {}
    for cluster, name in pairs:
        if cluster not in found.sizes:
            raise UserError(
                f"{found.folder} has no cluster '{cluster}'{suggest(cluster, found.sizes)}; "
                f"there are {listed(found.sizes, 24)}."
            )
        if cluster in given:
            raise UserError(f"cluster {cluster} is named twice, '{given[cluster]}' and '{name}'.")
        if not name:
            raise UserError(f"cluster {cluster}: the name is empty; leave it out to leave it unknown.")
        given[cluster] = name
    return given


def label(found: Found, given: Mapping[str, str], column: str) -> Table:
    """Return the rows with the name of each one's cluster in `column`, and without the cluster itself.

    Raises:
        UserError: nothing is named, or `column` is in the way of one that the rows have.
    """
    if not given:
        raise UserError(f"no cluster is named; there are {listed(found.sizes, 24)}. Try 0=NAME.")
    reasons = reasons_column(found.table.columns).removesuffix("_input")  # what the last of them is called
    added = {COLUMN, reasons} if found.metrics.get("unreadable") else {COLUMN}
    kept = {n: c for n, c in found.table.columns.items() if n not in added}
    if column in kept:
        raise UserError(f"{found.table.source}: has a column '{column}' already; choose another --label.")
    cells = found.table.cells(COLUMN)
    names = np.array([*(given.get(str(value)) for value in cells.values), None], dtype=object)
    named = Table({}, CLUSTERS, rows=found.table.rows).with_columns(kept)
    return named.with_columns({column: [*names[cells.codes]]})


def fit_words(
    metrics: Mapping[str, Any],
    table: Path,
    column: str,
    model: Path,
    classes: Iterable[str] = (),
    ignored: Sequence[str] = (),
) -> list[str]:
    """Return the words of the `fit` line that makes `model` of a table of labels that clusters gave.

    Known labels and `ignored` columns are kept from the features of a table, since they would tell the label;
    one of `classes` that looks like several tags stays one class.
    """
    pixels = metrics.get("reads") == "pixels"
    words = [str(metrics.get("source")), "--labels", str(table)] if pixels else [str(table)]
    read = map(str, metrics.get("options", ()))
    known = [f"{name}_given" if name == COLUMN else name for name in metrics.get("targets", {})]
    kinds = [f"{name}=ignore" for name in (*known, *ignored) if name != column]
    as_read = [word for kind in kinds for word in ("--kind", kind)] if metrics.get("reads") == "table" else []
    if any(mark in name for name in classes for mark in SEPARATORS):
        as_read += ["--kind", f"{column}=multiclass"]
    return ["fit", *words, "--target", column, *read, *as_read, "--out", str(model)]


def _lines(path: str, sizes: Mapping[str, int]) -> list[tuple[str, str]]:
    """Read a table of clusters and names; without a header its first line is such a pair as well."""
    table = read_table(path)
    if len(table.names) != 2:
        raise UserError(f"{path}: must have two columns, a cluster and its name, got {listed(table.names)}.")
    clusters, names = (table.cells(name) for name in table.names)
    head = [(table.names[0].strip(), table.names[1].strip())] if table.names[0].strip() in sizes else []
    return head + [
        (str(clusters.values[a]).strip(), str(names.values[b]).strip())
        for a, b in zip(clusters.codes, names.codes, strict=True)
        if a >= 0 and b >= 0
    ]
