"""What people should know of a table before training: a Table and its Schema come in, words leave.

`cli` prints all of it for `inspect` and `fit`; `infer` re-exports `describe`, `look` and `problems`.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np

from manyhot.data import dates
from manyhot.data.columns import (
    ROW,
    SAMPLE,
    feature,
    feature_kind,
    image_columns,
    repeated,
    split_column,
    split_of,
    words_among_numbers,
)
from manyhot.data.inputs.images.paths import Progress, named
from manyhot.data.table import PIXELS, Table
from manyhot.errors import listed
from manyhot.schema import Input, Schema, Target
from manyhot.targets import UNKNOWN, Cells, encode, known, number_of, unseen_classes, with_unseen_classes

MANY_NUMBERS = 30  # classes that are all numbers; more look like a quantity
FEW = 3  # how many of a kind a message names
EXAMPLES = 5
MOST_NAMED = 10  # pictures that cannot be read
FLAGS = {"0", "1"}
LONGEST = 150  # characters of a word that a note tells people to type
ROWS_PER_VALUE = 5  # on average, at least, of a column that could be a target


def problems(table: Table, schema: Schema, apart: Collection[str] = ()) -> list[str]:
    """List in plain lines what is odd in a table and what is left out of it.

    `apart` names the columns that are to stay unused, such as that of groups.

    Raises:
        UserError: a 0/1 column holds something else.
    """
    lines = list(table.notes)
    for target in schema.targets:
        lines += _target_problems(table, schema, target)
    lines += _contradictions(table, schema)
    lines += _left_out(table, schema, apart)
    return lines


def describe(table: Table, schema: Schema, apart: Collection[str] = ()) -> dict[str, Any]:
    """Summarise a table as JSON: rows, splits, inputs, targets, unused columns and `problems`.

    Raises:
        UserError: a 0/1 column holds something else.
    """
    splits = split_of(table)
    summary: dict[str, Any] = {"source": table.source, "rows": len(table)}
    if splits is not None:
        names, counts = np.unique(splits.astype(str), return_counts=True)
        summary["splits"] = dict(zip(names.tolist(), counts.tolist(), strict=True))
    summary["inputs"] = [_describe_input(table, schema, column) for column in schema.inputs]
    summary["targets"] = [_describe_target(table, schema, target) for target in schema.targets]
    summary["unused"] = unused(table, schema)
    summary["problems"] = problems(table, schema, apart)
    return summary


def look(table: Table) -> dict[str, Any]:
    """Summarise a table of which nobody has said yet what to predict: all columns, as `describe` has them."""
    from manyhot.data.inputs.images.opening import measure  # Pillow is not needed for tables

    columns = [Input(PIXELS, "image", table.pixels.shape[1:])] if table.pixels is not None else []
    pictures = image_columns(table)
    for name in table.names:
        if name in pictures:
            columns.append(Input(name, "image", measure(table, name)))
        elif name != split_column(table):
            columns.append(Input(name, feature_kind(table, name)))
    plain = Schema((), ())
    hints = ["no target is named yet; say what to predict with --target NAME or --tags NAME"]
    flags = _flags(table) if any(column.kind == "image" for column in columns) else []
    if len(flags) > 1:
        hints.append(f"columns {listed(flags, FEW)} hold 0 and 1: --tags {_typed(flags)} reads them as tags")
    return describe(table, plain) | {
        "inputs": [_describe_input(table, plain, column) for column in columns],
        "unused": [],
        "problems": [*table.notes, *hints],
    }


def _flags(table: Table) -> list[str]:
    """Name the columns that hold both 0 and 1 and nothing else."""

    def holds(name: str) -> bool:
        sample = table.columns[name].slice(0, SAMPLE).drop_null().to_pylist()
        few = all(str(cell).strip() in FLAGS for cell in sample)
        return few and {str(value).strip() for value in table.cells(name).values} == FLAGS

    return [name for name in table.names if holds(name)]


def _typed(flags: list[str]) -> str:
    """Write the word that names columns of tags as one types it; of many the first ones."""
    word = shlex.quote("NAME=" + ",".join(flags))
    return word if len(word) <= LONGEST else shlex.quote("NAME=" + ",".join(flags[:FEW]) + ",…")


def open_pictures(table: Table, summary: dict[str, Any], progress: Progress) -> None:
    """Open the pictures of a table and add to its summary which of them cannot be read."""
    lines = summary["problems"]
    for column in summary["inputs"]:
        if column["kind"] == "image" and column["name"] != PIXELS:
            from manyhot.data.inputs.images.opening import unreadable  # Pillow is not needed for tables

            reasons, opened = unreadable(table, column["name"], progress)
            names = named(table, column["name"], reasons)
            column["opened"], column["unreadable"] = opened, names
            if opened < len(table):
                lines.append(f"of {len(table)} pictures an even sample of {opened} was opened")
            if names:
                lines.append(f"{len(names)} of {opened} pictures cannot be read")
            lines += [f"cannot be read: {name}: {names[name]}" for name in list(names)[:MOST_NAMED]]
            if len(names) > MOST_NAMED:
                lines.append(f"and {len(names) - MOST_NAMED} more, which --json names")


def unused(table: Table, schema: Schema) -> list[str]:
    """Name the columns that are neither input nor target nor the split."""
    used = {column.name for column in schema.inputs} | {split_column(table)}
    used |= {name for target in schema.targets for name in target.columns}
    return [name for name in table.names if name not in used]


def count(target: Target, cells: list[Cells]) -> dict[str, int]:
    """Count the rows of each class, classes that the target lacks among them (at the end)."""
    wide = with_unseen_classes(target, unseen_classes(target, cells))
    y = encode(wide, cells)
    match y.ndim, len(wide.classes):
        case 1, size:
            counts = np.bincount(y[y != UNKNOWN], minlength=size)
        case _, 2 if target.exclusive:
            counts = np.array([(y == 0).sum(), (y == 1).sum()])
        case _:
            counts = (y == 1).sum(axis=0)
    return dict(zip(wide.classes, counts.tolist(), strict=True))


def _cells(table: Table, schema: Schema, target: Target) -> list[Cells]:
    return [table.cells(name, schema.missing) for name in target.columns]


def _describe_input(table: Table, schema: Schema, column: Input) -> dict[str, Any]:
    summary: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if column.kind == "image":
        summary["shape"] = list(column.shape)
        if column.name != PIXELS:
            summary["missing"] = int((table.cells(column.name, schema.missing).codes < 0).sum())
        return summary
    if column.kind == "number":
        numbers = table.numbers(column.name, schema.missing)
        real = numbers[np.isfinite(numbers)]
        summary["missing"] = int(np.isnan(numbers).sum())
        summary["distinct"] = len(np.unique(real))
        summary["min"] = float(real.min()) if len(real) else None
        summary["max"] = float(real.max()) if len(real) else None
        return summary
    cells = table.cells(column.name, schema.missing)
    if column.kind == "date":
        since = dates.days(cells)
        summary["missing"] = int(np.isnan(since).sum())
        for name, pick in (("first", np.nanargmin), ("last", np.nanargmax)):
            summary[name] = str(cells.values[cells.codes[pick(since)]]) if cells.values else None
        return summary
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    summary["missing"] = int((cells.codes < 0).sum())
    summary["distinct"] = len(cells.values)
    summary["most"] = {
        str(cells.values[i]): int(counts[i]) for i in np.argsort(-counts, kind="stable")[:EXAMPLES]
    }
    return summary


def _describe_target(table: Table, schema: Schema, target: Target) -> dict[str, Any]:
    cells = _cells(table, schema, target)
    if len(cells) == 1:  # a class that only test rows have is known all the same
        num_known = int((cells[0].codes >= 0).sum())
    else:
        num_known = int(known(encode(target, cells)).sum())
    examples = cells[0].values[:EXAMPLES] if len(cells) == 1 else ()
    return {
        "name": target.name,
        "kind": target.kind,
        "columns": list(target.columns),
        "known": num_known,
        "unknown": len(table) - num_known,
        "classes": count(target, cells),
        "examples": [value if isinstance(value, str) else list(value) for value in examples],
    }


def _target_problems(table: Table, schema: Schema, target: Target) -> Iterable[str]:
    """Say what is odd about one target: unknown labels, near spellings, classes too small to learn."""
    cells = _cells(table, schema, target)
    where = f"target '{target.name}'"
    y = encode(target, cells, "missing")
    counts = count(target, cells)
    extra = unseen_classes(target, cells)
    empty = int((cells[0].codes < 0).sum()) if len(cells) == 1 else int((~known(y)).sum())
    if empty:
        yield f"{where}: {empty} of {len(table)} rows have no label"
    partly = int((known(y) & (y == UNKNOWN).any(axis=1)).sum()) if y.ndim == 2 else 0
    if partly:
        yield f"{where}: {partly} of {len(table)} rows have some labels and lack others"
    if extra:
        rows = ", ".join(f"'{name}' ({_rows(counts[name])})" for name in extra[:FEW])
        yield f"{where}: {len(extra)} {_classes(extra)} only test rows have: {rows}{_more(extra)}"
    for names in spellings(counts):
        each = ", ".join(f"'{name}' ({_rows(counts[name])})" for name in names[:FEW]) + _more(names)
        yield f"{where}: classes that differ only by case or blanks are kept apart: {each}"
    if len(target.columns) > 1:
        never = [name for name in target.classes if counts[name] == 0]
        if never:
            yield f"{where}: no row has {listed(never)}"
    single = [name for name in target.classes if counts[name] == 1]
    if single:
        yield f"{where}: {len(single)} {_classes(single)} with one row: {listed(single, FEW)}"
    if len(target.classes) > MANY_NUMBERS and all(number_of(name) is not None for name in target.classes):
        yield f"{where}: its {len(target.classes)} classes are all numbers; is it a quantity, not a label?"


def spellings(names: Iterable[str]) -> list[list[str]]:
    """Group the names that differ only by case or blanks.

    >>> spellings(["cat", "Cat ", "dog"])
    [['cat', 'Cat ']]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups["".join(name.casefold().split())].append(name)
    return [group for group in groups.values() if len(group) > 1]


def _contradictions(table: Table, schema: Schema) -> Iterable[str]:
    """Name the pictures that stand in the table with more than one class of one target."""
    pictures = [column.name for column in schema.inputs if column.kind == "image" and column.name != PIXELS]
    for name in pictures:
        paths = table.cells(name)
        for target in schema.targets:
            if not target.exclusive:
                continue
            labels = table.cells(target.columns[0], schema.missing)
            both = np.flatnonzero((paths.codes >= 0) & (labels.codes >= 0))
            pairs = np.unique(np.stack([paths.codes[both], labels.codes[both]], axis=1), axis=0)
            codes, times = np.unique(pairs[:, 0], return_counts=True)
            clashing = codes[times > 1]
            some = [_clash(table, paths, labels, int(code)) for code in clashing[:FEW]]
            if some:
                images = "image has" if len(clashing) == 1 else "images have"
                told = "; ".join(some) + _more(clashing)
                yield f"target '{target.name}': {len(clashing)} {images} more than one class: {told}"


def _clash(table: Table, paths: Cells, labels: Cells, code: int) -> str:
    """Say of one picture which rows give it which class."""
    index = np.flatnonzero((paths.codes == code) & (labels.codes >= 0))
    _, first = np.unique(labels.codes[index], return_index=True)
    given = [f"'{labels.values[labels.codes[i]]}' (row {table.rows[i]})" for i in index[np.sort(first)][:FEW]]
    return f"'{paths.values[code]}' is " + " and ".join(given)


def _left_out(table: Table, schema: Schema, apart: Collection[str]) -> Iterable[str]:
    """Say which columns are not used and why."""
    rest = [name for name in unused(table, schema) if name != ROW]
    if schema.is_image:
        if rest:
            yield f"not used beside the images: {listed(rest)}"
        yield from _finer(table, schema, [name for name in rest if name not in apart])
        return
    for column in schema.inputs:
        words = words_among_numbers(table, column.name, schema.missing) if column.kind == "category" else []
        if words:
            rest_is = f"all but {listed(words)} are numbers, see --missing"
            yield f"column '{column.name}' is read as categories: {rest_is}"
    twins = repeated(table, [*(column.name for column in schema.inputs), *rest])
    for name in rest:
        reason = feature(table, name, schema.missing)[1]
        if not reason and name in twins:
            reason = f"it repeats column '{twins[name]}'"
        yield f"column '{name}' is left out: {reason}" if reason else f"column '{name}' is not used"


def _finer(table: Table, schema: Schema, names: Iterable[str]) -> Iterable[str]:
    """Say from which unused columns targets follow, as the brand of a car does from its model.

    Learned as well, these tell the backbone more about the same pictures; see docs/experiments.md.
    """
    labels = {t.name: table.cells(t.columns[0], schema.missing) for t in schema.targets if t.exclusive}
    for name in names if labels else ():
        fine = table.cells(name, schema.missing)
        told = [target for target, coarse in labels.items() if _tells(fine, coarse)]
        if told:
            yield (
                f"column '{name}' tells {listed(told)}; where pictures show it, make it a target too, of "
                f"half the weight (target_weights.{name}=0.5)"
            )


def _tells(fine: Cells, coarse: Cells) -> bool:
    """Tell whether each value has one label, labels have several values, and values have rows enough."""
    if len(fine.values) <= 2:  # before anything is sorted: no finer than any labels
        return False
    both = np.flatnonzero((fine.codes >= 0) & (coarse.codes >= 0))
    pairs = np.unique(fine.codes[both].astype(np.int64) * len(coarse.values) + coarse.codes[both])
    values, labels = len(np.unique(fine.codes[both])), len(np.unique(coarse.codes[both]))
    often = values * ROWS_PER_VALUE <= len(both) and 2 * len(both) >= (coarse.codes >= 0).sum()
    return bool(often and len(pairs) == values > labels > 1)


def _rows(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"


def _classes(names: Any) -> str:
    return "class" if len(names) == 1 else "classes"


def _more(names: Any) -> str:
    return f" and {len(names) - FEW} more" if len(names) > FEW else ""
