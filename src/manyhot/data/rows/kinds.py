"""What kind a target is, and what its classes are: cells come in, a Target leaves.

`infer` calls it. Two classes are binary, tags are multi-label, everything else is multi-class; a
class is the text of its cell as it stands.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manyhot.data.columns import is_list, is_text
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.schema import Kind, Target
from manyhot.targets import YES, Cell, Cells, number_of, tags_of, text_of

SEPARATORS = (";", "|")  # these mean tags wherever they stand; comma and blank only where asked for
POSITIVE = YES - {"+", "pos"}

Tags = Mapping[str, Sequence[str] | None]


def target_of(
    table: Table,
    name: str,
    rows: NDArray[np.bool_] | None,
    tags: Tags,
    separator: str | None,
    missing: Sequence[str],
    override: str | None,
) -> Target:
    """Make one target from its column, or from its 0/1 columns.

    Raises:
        UserError: a column does not exist, nothing is known, or there are fewer than two classes.
    """
    flags = tags.get(name)
    if flags is not None:
        return _flags_target(table, name, flags, rows, missing)
    cells = _seen(table, name, rows, missing)
    where = f"{table.source}, column '{name}'"
    if not cells.values:
        raise UserError(f"{where}: all labels are unknown. Fill in some cells, or name another target.")
    asked = name in tags or override == "multilabel"
    kind = override if override in ("binary", "multiclass", "multilabel") else None
    if asked or (kind is None and _has_tags(table, name, cells, separator)):
        separators = _separators(cells.values, separator, asked)
        found = {tag for value in cells.values for tag in tags_of(value, separators)}
        if not found:
            raise UserError(f"{where}: no row has a tag. Fill in some cells, or name another target.")
        if len(found) == 1 and len(cells.values) == 1:
            raise UserError(f"{where}: only one class, '{found.pop()}'. Two are needed to tell apart.")
        return Target(name, "multilabel", in_order(found), (name,), separators, cells.typed)
    classes = in_order({*map(text_of, cells.values)})
    if len(classes) == 1:
        raise UserError(f"{where}: only one class, '{classes[0]}'. Two are needed to tell apart.")
    if kind == "binary" and len(classes) != 2:
        raise UserError(
            f"{where}: a binary target has 2 classes, this has {len(classes)}: {listed(classes)}."
        )
    chosen: Kind = "binary" if len(classes) == 2 and kind != "multiclass" else "multiclass"
    if chosen == "binary":
        classes = negative_first(classes)
    return Target(name, chosen, classes, (name,), numeric=cells.typed)


def _flags_target(
    table: Table, name: str, flags: Sequence[str], rows: NDArray[np.bool_] | None, missing: Sequence[str]
) -> Target:
    """Make one multi-label target of 0/1 columns."""
    if len(flags) < 2:
        raise UserError(
            f"target '{name}': --tags NAME=a,b,c takes two columns or more; use --target for one."
        )
    twice = [flag for flag in dict.fromkeys(flags) if list(flags).count(flag) > 1]
    if twice:
        raise UserError(f"target '{name}': {listed(twice)} named twice.")
    if not any(_seen(table, flag, rows, missing).values for flag in flags):
        raise UserError(f"{table.source}, target '{name}': all labels are unknown in {listed(flags)}.")
    typed = not any(is_text(table.column(flag).type) for flag in flags)
    return Target(name, "multilabel", tuple(flags), tuple(flags), numeric=typed)


def _seen(table: Table, name: str, rows: NDArray[np.bool_] | None, missing: Sequence[str]) -> Cells:
    """Return the cells of a column in the rows that classes may come from."""
    column = Table({name: table.column(name)}, table.source, rows=table.rows)
    return (column if rows is None else column.take(rows)).cells(name, missing)


def _has_tags(table: Table, name: str, cells: Cells, separator: str | None) -> bool:
    """Tell by its cells whether a column holds tags: lists, `[]`, or a separator."""
    if is_list(table.column(name).type):
        return True
    marks = (separator,) if separator else SEPARATORS
    return any(
        isinstance(value, str) and (any(mark in value for mark in marks) or _is_list_text(value))
        for value in cells.values
    )


def _is_list_text(text: str) -> bool:
    """Tell whether a cell is `[]` or a JSON list of texts."""
    text = text.strip()
    if text == "[]":
        return True
    if not (text.startswith('["') and text.endswith('"]')):
        return False
    try:
        return isinstance(json.loads(text), list)
    except ValueError:
        return False


def _separators(values: Sequence[Cell], separator: str | None, asked: bool) -> tuple[str, ...]:
    """Choose what stands between tags: as told, else `;` and `|`, else comma, else blank where asked for."""
    if separator:
        return (separator,)
    texts = [value.strip() for value in values if isinstance(value, str) and not _is_list_text(value)]
    for marks in (SEPARATORS, (",",), (" ",)) if asked else ():
        if any(mark in text for mark in marks for text in texts):
            return marks
    return SEPARATORS


def check_separator(
    table: Table, targets: Sequence[Target], separator: str | None, missing: Sequence[str]
) -> None:
    """Refuse a separator that no cell has: each cell would silently become one long tag.

    Raises:
        UserError: the separator is empty or occurs in no cell of the targets.
    """
    if separator is None:
        return
    if not separator:
        raise UserError("--separator must be at least one character.")
    columns = [target.columns[0] for target in targets if len(target.columns) == 1]
    tagged = [target.columns[0] for target in targets if not target.exclusive and len(target.columns) == 1]
    columns = [name for name in tagged or columns if is_text(table.column(name).type)]
    values = [value for name in columns for value in table.cells(name, missing).values]
    if columns and not any(separator in value for value in values):
        found = [mark for mark in (";", "|", ",", " ") if any(mark in value for value in values)]
        hint = f"its cells have {listed(found)}" if found else "its cells have one tag each"
        raise UserError(f"the separator '{separator}' never occurs in column {listed(columns)}; {hint}.")


def in_order(classes: Collection[str]) -> tuple[str, ...]:
    """Sort class names: as numbers when all are, else as text.

    >>> in_order({"10", "9"}), in_order({"10", "9", "x"})
    (('9', '10'), ('10', '9', 'x'))
    """
    numbers = {name: number_of(name) for name in classes}
    if all(number is not None and np.isfinite(number) for number in numbers.values()):
        return tuple(sorted(classes, key=lambda name: (numbers[name], name)))
    return tuple(sorted(classes))


def negative_first(classes: Sequence[str]) -> tuple[str, str]:
    """Put the class that means yes second; without one, or with two, the order stays.

    >>> negative_first(("1", "0")), negative_first(("no", "yes")), negative_first(("a", "b"))
    (('0', '1'), ('no', 'yes'), ('a', 'b'))
    """
    first, second = classes
    first_is, second_is = (name.strip().casefold() in POSITIVE for name in classes)
    return (second, first) if first_is and not second_is else (first, second)
