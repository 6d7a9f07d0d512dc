"""What else a table may be read as: a Table comes in, lines for people leave, each with the option to type.

`describe` calls it. Nothing is read otherwise by it; a line appears only where the cells leave little doubt.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np
import pyarrow as pa

from manyhot.data.arrays import pc
from manyhot.data.columns import as_input, image_columns, is_text, split_column
from manyhot.data.numbers import SAMPLE
from manyhot.data.plain import is_list
from manyhot.data.rows.kinds import SEPARATORS, separators_of
from manyhot.data.table import Table
from manyhot.errors import UserError
from manyhot.schema import Target
from manyhot.targets import Cells, encode, tags_of, text_of

ROWS_PER_TAG = 3  # on average, at least, of tags that come again
ROWS_PER_CLASS = 5  # on average, at least, of columns of which no row has two, or none
OFTEN = 0.8  # share of the rows of several tags, each of which stands in other cells too
MANY_CELLS = 20_000  # distinct ones, of which more are free text
SHOWN = 50  # columns that a line names
PAIRS = (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"), ("f", "t"))
FLAGS = {pair: {*pair} for pair in PAIRS} | {("0", "1"): {"0", "1", "0.0", "1.0"}}
NONE = r"(?i)\W*(no|none|nothing)\b"  # how words for no tags begin
UNSURE = ("-1", "-1.0")


def suggestions(table: Table) -> list[str]:
    """List what a table of which nobody has said yet what to predict looks like: tags, 0/1 columns, long."""
    lines = [*rows_for_each_label(table)]
    apart = {*image_columns(table), split_column(table)}
    for name in table.names:
        column = table.column(name)
        if name in apart or (is_text(column.type) and pc.count_distinct(column).as_py() > MANY_CELLS):
            continue
        if as_input(table, name).kind == "category":
            lines += tags_in(name, table.cells(name))
    return [*lines, *_flags(table)]


def tags_in(name: str, cells: Cells) -> Iterable[str]:
    """Say that the cells of a column look like tags, and with which options they are read so.

    They do where cells have different numbers of parts, there are fewer parts than cells of their own, parts
    come again over the rows, and nearly all parts of a cell stand in other cells too.
    """
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    if not 2 < len(cells.values) <= MANY_CELLS:
        return
    for separators in separators_of(cells.values):
        parts = [tags_of(value, separators) for value in cells.values]
        if _look_like_tags(parts, counts.tolist()) and (separators != (" ",) or _stand_alone(parts)):
            option = _option(["--tags", name], separators, _none(cells, parts))
            yield f"column '{name}' looks like tags{_between(cells, separators)}: {option}"
            return


def _look_like_tags(parts: Sequence[Sequence[str]], counts: Sequence[int]) -> bool:
    """Tell whether the parts of distinct cells, each in so many rows, behave as tags do."""
    cells = Counter(part for each in parts for part in each)  # in how many distinct cells each stands
    several = [(each, rows) for each, rows in zip(parts, counts, strict=True) if len(each) > 1]
    if not several or len({len(each) for each in parts}) < 2 or len(cells) >= len(parts):
        return False
    again = sum(rows for each, rows in several if all(cells[part] > 1 for part in each))
    in_rows = sum(len(each) * rows for each, rows in zip(parts, counts, strict=True))
    return again >= OFTEN * sum(rows for _, rows in several) and in_rows >= ROWS_PER_TAG * len(cells)


def _stand_alone(parts: Sequence[Sequence[str]]) -> bool:
    """Tell tags between blanks, numbers or each in a cell of its own, from phrases such as "very good"."""
    alone = {each[0] for each in parts if len(each) == 1}
    return all(part in alone or part.isdigit() for each in parts for part in each)


def _between(cells: Cells, separators: Sequence[str]) -> str:
    """Say what stands between tags."""
    if not any(isinstance(value, str) for value in cells.values):
        return ""
    marks = [mark for mark in separators if any(mark in text_of(value) for value in cells.values)]
    if len(separators) == 1:
        return f" separated by {'blanks' if separators == (' ',) else repr(separators[0])}"
    return f" separated by '{marks[0]}'" if set(separators) == {*SEPARATORS} and marks else " in lists"


def _none(cells: Cells, parts: Sequence[Sequence[str]]) -> list[str]:
    """Return the cells that say in words that there are no tags, and stand beside none."""
    beside = {part for each in parts if len(each) > 1 for part in each}
    return [text for text in map(text_of, cells.values) if re.match(NONE, text) and text not in beside]


def _option(words: Sequence[str], separators: Sequence[str], none: Sequence[str]) -> str:
    """Return the options that read tags with these separators, and these words as no tags."""
    separator = ["--separator", separators[0]] if len(separators) == 1 else []
    return shlex.join([*words, *separator, *(["--none", ",".join(none)] if none else [])])


def _flags(table: Table) -> Iterable[str]:
    """Name the columns of 0 and 1, or the like, that stand together."""
    forms = [(name, _form(table, name)) for name in table.names if name != split_column(table)]
    for form, group in groupby(forms, lambda pair: pair[1]):
        together = [name for name, _ in group if "," not in name]
        if not form or len(together) < 2:
            continue
        for single, names in _parted(table, together):
            if len(names) < 2:
                continue
            named = ",".join(names[:SHOWN]) + (",…" if len(names) > SHOWN else "")
            words = ["--tags", f"NAME={named}"]
            if single:
                option = _option([*words, "--kind", "NAME=multiclass"], (), ())
                yield f"{len(names)} columns have one {form[1]} in each row, as of one class: {option}"
                continue
            texts = {text_of(value).strip() for name in names for value in table.cells(name).values}
            option = _option(words, (), [name for name in names if re.match(NONE, name)])
            unsure = sorted(texts & {*UNSURE})
            option += f" --missing={','.join(unsure)}" if unsure else ""
            yield f"{len(names)} columns of {form[0]} and {form[1]} stand together: {option}"


def _parted(table: Table, names: Sequence[str]) -> Iterable[tuple[bool, list[str]]]:
    """Part 0/1 columns that stand together into those of which each row has one, and the others."""
    target = Target("", "multilabel", tuple(names), tuple(names), numeric=True)
    try:
        flags = encode(target, [table.cells(name) for name in names])
    except UserError:  # such as -1 for unsure
        flags = np.zeros((len(table), len(names)), np.int8)
    rest: list[str] = []
    start = 0
    while start < len(names):
        sums = np.zeros(len(table), np.int64)
        end = start
        while end < len(names) and sums.max(initial=0) <= 1 and (end == start or not (sums == 1).all()):
            sums += flags[:, end]
            end += 1
        if end - start > 1 and (sums == 1).all() and len(sums) >= ROWS_PER_CLASS * (end - start):
            yield False, rest
            yield True, [*names[start:end]]
            rest, start = [], end
        else:
            rest.append(names[start])
            start += 1
    yield False, rest


def _form(table: Table, name: str) -> tuple[str, str] | None:
    """Return how a column writes no and yes, None where it holds anything else, or nothing."""
    column = table.column(name)
    if is_list(column.type) or _form_of(column.slice(0, SAMPLE)) is None:
        return None
    return _form_of(column)


def _form_of(column: pa.ChunkedArray) -> tuple[str, str] | None:
    words = {str(cell).strip().casefold() for cell in pc.unique(column).to_pylist() if cell is not None}
    words -= {"", *UNSURE}
    return next((form for form, both in FLAGS.items() if words and words <= both), None)


def rows_for_each_label(table: Table) -> Iterable[str]:
    """Say that pictures stand in several rows, as in a table with a row for each label."""
    for name in image_columns(table):
        codes = table.cells(name).codes
        times = np.bincount(codes[codes >= 0])
        again = int((times > 1).sum())
        if again:
            rows = "two rows" if times.max() == 2 else f"up to {times.max()} rows"
            labels = [other for other in table.names if other != name and _tells_apart(table, name, other)]
            option = shlex.join(["--long", "--tags", labels[0] if len(labels) == 1 else "NAME"])
            yield f"{again} of {len(times)} pictures stand in {rows}; if a row has one label each: {option}"


def _tells_apart(table: Table, picture: str, name: str) -> bool:
    """Tell whether a column of texts is different in the rows of one picture."""
    if not is_text(table.column(name).type) or as_input(table, name).kind != "category":
        return False
    pairs = np.stack([table.cells(picture).codes, table.cells(name).codes], axis=1)
    return len(np.unique(pairs, axis=0)) > len(np.unique(pairs[:, 0]))
