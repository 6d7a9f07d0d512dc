"""Columns that give an answer away: a Table and a Schema come in, names and shares leave.

`describe` asks from which columns a target follows, the report how much each column alone tells.

Shapes: N rows · K classes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from manyhot.data import dates
from manyhot.data.columns import words_of
from manyhot.data.plain import is_list
from manyhot.data.table import Table
from manyhot.schema import Input, Schema, Target
from manyhot.targets import UNKNOWN, Cells, IntArray, encode, text_of, value_of

ROWS_PER_VALUE = 5  # on average, at least, where each value has one class
SAMPLE = 2_000  # rows that are looked at before all of them are
BY_CHANCE = 1e-4  # how likely a column that has nothing to do with a target may be to determine it, at most
PIECES = 10  # of a number's range, of about equally many rows


def giving_away(table: Table, schema: Schema) -> dict[str, list[str]]:
    """Return the input columns from which targets follow, each with these targets."""
    columns = [column for column in schema.inputs if column.kind != "image"]
    exclusive = [target for target in schema.targets if target.exclusive] if columns else []
    cells = {t: [table.cells(name, schema.missing) for name in t.columns] for t in exclusive}
    labels = {t.name: encode(t, cells[t], "missing").reshape(-1).astype(np.int64) for t in exclusive}
    found: dict[str, list[str]] = {}
    for column in columns if labels else ():
        codes, ordered = _codes(table, schema, column)
        told = [name for name, y in labels.items() if follows(codes, y, ordered)]
        if told:
            found[column.name] = told
    return found


def follows(codes: IntArray, y: IntArray, ordered: bool = False) -> bool:
    """Tell whether classes follow from the values of a column, as they would not by chance.

    They do where each value has one class and rows enough, or where each class has a range of values of its
    own. A number for each row says nothing: by chance is meant that labels are dealt anew to the same rows.

    Shape:
        codes, y: int (N,), −1 for unknown. Where `ordered`, a larger code is a larger value.

    >>> y = np.arange(60) % 3
    >>> follows(y * 2, y), follows(np.arange(60), y), follows(np.arange(60), np.sort(y), ordered=True)
    (True, False, True)
    """
    both = (codes >= 0) & (y >= 0)
    rows = int(both.sum())
    if 2 * rows < (y >= 0).sum() or not rows:
        return False
    size = int(y.max()) + 1
    pairs = np.sort(codes[both].astype(np.int64) * size + y[both])  # np.unique takes far longer
    pairs = pairs[np.append(True, np.diff(pairs) > 0)]
    values, counts = 1 + np.count_nonzero(np.diff(pairs // size)), np.bincount(y[both])
    classes = int((counts > 0).sum())
    if len(pairs) > values or classes < 2:
        return False
    # Logarithms: of all deals of the labels to the rows, at most so many ways let each value have one class.
    deals = math.lgamma(rows + 1) - sum(math.lgamma(count + 1) for count in counts.tolist())
    ways = values * math.log(classes) if values * ROWS_PER_VALUE <= rows else math.inf
    if ordered and 1 + np.count_nonzero(np.diff(pairs % size)) == classes:
        ways = min(ways, math.log(math.comb(values - 1, classes - 1)) + math.lgamma(classes + 1))
    return bool(ways - deals < math.log(BY_CHANCE))


def restated(
    table: Table, names: Sequence[str], labels: Collection[str], missing: Sequence[str] = ()
) -> dict[str, str]:
    """Return the columns among `names` that are copies of a label column, with that one's name.

    Each value goes with one class and each class with one value; and these are equal texts or numbers, or the
    name of one column has that of the other in it. Any other column may be what decides.
    """
    found: dict[str, str] = {}
    single = {name for name in (*names, *labels) if not is_list(table.column(name).type)}
    few = Table({name: table.column(name).slice(0, SAMPLE) for name in single}, table.source)
    for label in labels:
        if label not in single:
            continue
        cells, some = table.cells(label, missing), few.cells(label, missing)
        for name in names:
            if name not in single or not _one_to_one(some, few.cells(name, missing)):
                continue  # as the first rows say of nearly every column
            other = table.cells(name, missing)
            both = (cells.codes >= 0) & (other.codes >= 0)
            pairs = np.unique(np.stack([cells.codes[both], other.codes[both]]), axis=1)
            if pairs.shape[1] != len(cells.values) or not follows(other.codes, cells.codes):
                continue
            texts = zip(*(map(text_of, np.array(c.values, object)[k]) for c, k in zip((cells, other), pairs)))
            alike = all(value_of(a.strip().casefold()) == value_of(b.strip().casefold()) for a, b in texts)
            if len(np.unique(pairs[1])) == pairs.shape[1] and (alike or words_of(label) <= words_of(name)):
                found.setdefault(name, label)
    return found


def _one_to_one(first: Cells, second: Cells) -> bool:
    """Tell whether each value of one column goes with one of another, and no two with the same."""
    both = (first.codes >= 0) & (second.codes >= 0)
    pairs = np.unique(np.stack([first.codes[both], second.codes[both]]), axis=1)
    return all(len(np.unique(values)) == len(values) for values in pairs)


def telling_alone(table: Table, schema: Schema, target: Target, y: IntArray) -> list[tuple[str, float]]:
    """Return how much each column alone tells of a target, the most first: the share of rows told right.

    A row is told right where most other rows of its value, or of its tenth of the numbers, have its class.

    Shape:
        y: what `encode` gives for the rows of the table.
    """
    found = []
    labels = y.reshape(-1).astype(np.int64)
    for column in schema.inputs if target.exclusive else ():
        if column.kind in ("image", "text") or column.name not in table.columns:
            continue
        codes, ordered = _codes(table, schema, column)
        if ordered:  # equal numbers stay together
            cuts = np.quantile(codes, np.linspace(0, 1, PIECES + 1)[1:-1], method="nearest")
            codes = np.where(codes < 0, codes, np.searchsorted(np.unique(cuts), codes))
        known = labels != UNKNOWN
        counts = np.zeros((codes.max(initial=0) + 2, len(target.classes)), np.int64)
        np.add.at(counts, (codes[known], labels[known]), 1)  # empty cells are the last line
        own = counts[codes[known], labels[known]]
        counts = counts[codes[known]]
        counts[np.arange(len(own)), labels[known]] = 0
        found.append((column.name, float((own - 1 > counts.max(axis=1)).mean()) if len(own) else 0.0))
    return sorted(found, key=lambda pair: -pair[1])


def _codes(table: Table, schema: Schema, column: Input) -> tuple[NDArray[np.int64], bool]:
    """Number the values of a column, −1 for none; tell whether larger numbers are larger values."""
    missing = (*schema.missing, *column.missing)
    if column.kind == "category":
        return table.cells(column.name, missing).codes.astype(np.int64), False
    if column.kind == "date":
        values = dates.read_days(table.cells(column.name, missing), column.notation)[0]
    else:
        values = table.read_numbers(column.name, missing, column.notation)[0]
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    codes[np.isnan(values)] = -1
    return codes, True
