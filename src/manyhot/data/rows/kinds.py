"""What kind a target is, and what its classes are: cells come in, a Target leaves.

`infer` calls it. Two classes are binary, tags are multi-label, everything else is multi-class; a class is the
text of its cell as it stands, without blanks around it where these tell no classes apart.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manyhot.data.arrays import pc
from manyhot.data.columns import as_input, is_text
from manyhot.data.numbers import is_empty_word, is_unknown_word
from manyhot.data.plain import is_list
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, suggest
from manyhot.schema import Decision, Target
from manyhot.targets import NO, YES, Cell, Cells, list_of, number_of, tags_of, text_of

SEPARATORS = (";", "|")  # these mean tags wherever they stand; comma and blank only where asked for
SEPARATED = (  # in this order; C# and #1 are no lists
    (SEPARATORS, re.compile(r"[;|]")),
    ((",",), re.compile(",")),
    (("#",), re.compile(r"\S#\S|^#[^\d\s]")),
    ((" ",), re.compile(" ")),
)
BRACKETS = (("[", "]"), ("{", "}"), ("(", ")"), ("<", ">"))
LIST = re.compile(r"\s*(\[\s*[\"']|\[?\s*\{\s*\")")  # how a list of texts in quotes, or of objects, begins
MANY_NUMBERS = 30  # different numbers up to which they are taken for classes
FEW_NUMBERS = 10  # the same of fractions most of which stand in one row
ROWS_PER_NUMBER = 5  # on average, at least, of whole numbers that are classes
BINS = 5  # that a message proposes
POSITIVE = YES - {"+", "pos"}
NEGATIVE = NO - {"-", "f", "n"}  # letters may be of something else, as f and m are
RARER = 0.45  # share of the rows below which one of two classes is the rarer one

Tags = Mapping[str, Sequence[str] | None]


def target_of(
    table: Table,
    name: str,
    rows: NDArray[np.bool_] | None,
    tags: Tags,
    separator: str | None,
    none: Sequence[str],
    missing: Sequence[str],
    override: str | None,
    bins: int | None,
) -> Target:
    """Make one target from its column, or from its 0/1 columns; `bins` part its numbers into so many classes.

    Raises:
        UserError: a column does not exist, nothing is known, there are fewer than two classes, or they are
            the numbers of a quantity.
    """
    flags = tags.get(name)
    if flags is not None:
        return _flags_target(table, name, flags, rows, none, missing, override)
    cells = _seen(table, name, rows, missing)
    where = f"{table.source}, column '{name}'"
    if _has_fractions(table, name):
        raise UserError(
            f"{where}: its cells are rows of fractions, as of probabilities, and no labels. Give the class "
            "of each row instead, such as the place of the largest: y.argmax(axis=1)."
        )
    if not cells.values:
        raise UserError(f"{where}: all labels are unknown. Fill in some cells, or name another target.")
    if bins is not None:
        return _binned(table, name, rows, missing, bins)
    asked = name in tags or override == "multilabel"
    kind = override if override in ("binary", "multiclass", "multilabel") else None
    if asked or (kind is None and _has_tags(table, name, cells, separator)):
        return _tags_target(name, cells, where, separator, none, asked)
    texts = {*map(text_of, cells.values)}
    trimmed = {text.strip() for text in texts}
    classes = in_order(trimmed if len(trimmed) == len(texts) else texts)
    if len(classes) == 1:
        raise UserError(f"{where}: only one class, '{classes[0]}'. Two are needed to tell apart.")
    if kind == "binary" and len(classes) != 2:
        raise UserError(
            f"{where}: a binary target has 2 classes, this has {len(classes)}: {listed(classes)}."
        )
    if kind is None and name not in table.categories and is_quantity(cells):
        part = shlex.join(["--bins", f"{name}={BINS}"])
        keep = shlex.join(["--kind", f"{name}=multiclass"])
        rows_known = int((cells.codes >= 0).sum())
        raise UserError(
            f"{where}: has {len(classes)} different numbers in {rows_known} rows and looks like a quantity. "
            f"Part it into ranges with {part}, or keep each number as a class with {keep}."
        )
    if len(classes) > 2 or kind == "multiclass":
        return Target(name, "multiclass", classes, (name,), numeric=cells.typed)
    counts = dict.fromkeys(classes, 0)
    for text, rows_of in zip(map(text_of, cells.values), np.bincount(cells.codes + 1)[1:], strict=False):
        counts[text if text in counts else text.strip()] += int(rows_of)
    decision = Decision(positive=positive_of(counts)[0])
    return Target(name, "binary", negative_first(classes), (name,), numeric=cells.typed, decision=decision)


def _tags_target(
    name: str, cells: Cells, where: str, separator: str | None, none: Sequence[str], asked: bool
) -> Target:
    """Make one multi-label target of the tags in a column's cells."""
    values = [value for value in cells.values if text_of(value).strip() not in none]
    separators = _separators(values, separator, asked)
    found = {tag for value in values for tag in tags_of(value, separators)} - {*none}
    if not found:
        raise UserError(f"{where}: no row has a tag. Fill in some cells, or name another target.")
    if len(found) == 1 and len(cells.values) == 1:
        raise UserError(f"{where}: only one class, '{found.pop()}'. Two are needed to tell apart.")
    return Target(name, "multilabel", in_order(found), (name,), separators, cells.typed, none=tuple(none))


def empty_words(cells: Cells) -> list[str]:
    """Return those cells of a target that are words for an empty cell, beside two classes or more.

    >>> empty_words(Cells(("yes", "NA", "no"), np.arange(3))), empty_words(Cells(("a", "None"), np.arange(2)))
    (['NA'], [])
    """
    texts = [text.strip() for text in map(text_of, cells.values)]
    words = [text for text in texts if is_unknown_word(text)]
    return words if len(texts) - len(words) >= 2 else []


def is_quantity(cells: Cells) -> bool:
    """Tell the numbers of a quantity from those of classes: there are many, and hardly one comes again.

    Whole numbers from 0 or 1 on without a gap count classes, as soon as these have two rows each.

    >>> ids, sizes = tuple(map(str, range(50))), tuple(str(size / 2) for size in range(50))
    >>> is_quantity(Cells(ids, np.arange(100) % 50)), is_quantity(Cells(sizes, np.arange(100) % 50))
    (False, True)
    """
    texts = [text.strip() for text in map(text_of, cells.values) if not is_empty_word(text)]
    found = [number_of(text) for text in texts]
    numbers = {number for number in found if number is not None and math.isfinite(number)}
    if None in found or not numbers or any(re.match(r"-?0\d", text) for text in texts):
        return False
    rows = int((cells.codes >= 0).sum())
    if not all(number.is_integer() for number in numbers):
        return len(numbers) > (MANY_NUMBERS if 2 * len(numbers) <= rows else FEW_NUMBERS)
    least = 2 if are_counted(numbers) else ROWS_PER_NUMBER
    return len(numbers) > MANY_NUMBERS and rows < len(numbers) * least


def are_counted(numbers: Collection[float]) -> bool:
    """Tell whether whole numbers count from 0 or 1 on without a gap, as numbers of classes do."""
    return min(numbers) in (0, 1) and max(numbers) - min(numbers) < len(numbers)


def _binned(
    table: Table, name: str, rows: NDArray[np.bool_] | None, missing: Sequence[str], bins: int
) -> Target:
    """Make one target whose classes are ranges of numbers, each of as many rows as can be."""
    where = f"{table.source}, column '{name}'"
    if as_input(table, name, missing).kind != "number":
        texts = map(text_of, table.cells(name, missing).values)
        word = next((text for text in texts if number_of(text) is None), "")
        raise UserError(f"{where}: --bins parts numbers, and '{word}' is none. Leave --bins out.")
    numbers = table.numbers(name, missing)
    numbers = numbers[np.isfinite(numbers) & (True if rows is None else rows)]
    edges = next(cut for size in range(bins, 0, -1) if len(cut := _edges(numbers, size)) == size - 1)
    if not edges:
        raise UserError(f"{where}: only one number. Two are needed to tell apart.")
    if len(edges) < bins - 1:
        option = shlex.join(["--bins", f"{name}={len(edges) + 1}"])
        raise UserError(f"{where}: too many of its numbers are equal for {bins} ranges; use {option}.")
    ends = [str(int(edge)) if edge.is_integer() else str(edge) for edge in edges]
    between = [f"{least} to {end}" for least, end in pairwise(ends)]
    classes = (f"below {ends[0]}", *between, f"{ends[-1]} or more")
    return Target(name, "binary" if bins == 2 else "multiclass", classes, (name,), edges=edges)


def _edges(numbers: NDArray[np.float64], bins: int) -> tuple[float, ...]:
    """Return the least number of each range but the first: those nearest to the quantiles, each once."""
    values, counts = np.unique(numbers, return_counts=True)
    below = np.cumsum(counts)[:-1] / len(numbers)  # share of the rows below each value but the least
    if not len(below):
        return ()
    nearest = np.searchsorted((below[1:] + below[:-1]) / 2, np.arange(1, bins) / bins)
    return tuple(map(float, values[1:][np.unique(nearest)]))


def _flags_target(
    table: Table,
    name: str,
    flags: Sequence[str],
    rows: NDArray[np.bool_] | None,
    none: Sequence[str],
    missing: Sequence[str],
    override: str | None,
) -> Target:
    """Make one target of 0/1 columns: of tags, or of classes where `override` says that a row has one."""
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
    classes = tuple(flag for flag in flags if flag not in none)
    if not classes:
        raise UserError(f"target '{name}': all its columns are named by --none; none is left to be a tag.")
    if override in (None, "multilabel"):
        return Target(name, "multilabel", classes, tuple(flags), numeric=typed, none=tuple(none))
    if none or override not in ("binary", "multiclass"):
        raise UserError(
            f"target '{name}': of 0/1 columns, --kind may be multiclass, and then without --none."
        )
    classes = negative_first(classes) if len(classes) == 2 else classes
    return Target(name, "binary" if len(classes) == 2 else "multiclass", classes, classes)


def _seen(table: Table, name: str, rows: NDArray[np.bool_] | None, missing: Sequence[str]) -> Cells:
    """Return the cells of a column in the rows that classes may come from."""
    column = Table({name: table.column(name)}, table.source, rows=table.rows)
    return (column if rows is None else column.take(rows)).cells(name, missing)


def _has_fractions(table: Table, name: str) -> bool:
    """Tell whether the lists of a column hold numbers that are not whole."""
    column = table.column(name)
    if not (is_list(column.type) and pa.types.is_floating(column.type.value_type)):
        return False
    flat = pc.list_flatten(column)
    return bool(pc.any(pc.not_equal(flat, pc.floor(flat))).as_py())


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
    """Tell whether a cell is `[]` or a list of texts in quotes."""
    return text.strip() == "[]" or bool(LIST.match(text) and list_of(text) is not None)


def _separators(values: Sequence[Cell], separator: str | None, asked: bool) -> tuple[str, ...]:
    """Choose what stands between tags: as told, else `;` and `|`, else where asked for what they have."""
    if separator:
        return (separator,)
    return next(separators_of(values), SEPARATORS) if asked else SEPARATORS


def separators_of(values: Sequence[Cell]) -> Iterator[tuple[str, ...]]:
    """Yield what may stand between the tags of these cells, or around them, the likeliest first.

    >>> [*separators_of(["[sky, sea]", "[sky]"])], [*separators_of(["old town#sea", "sea"])]
    ([('[', ',', ']')], [('#',), (' ',)])
    """
    every = [value.strip() for value in values if isinstance(value, str)]
    texts = [text for text in every if list_of(text) is None]
    if not texts or any(text.startswith(("{", "[{")) for text in {*every} - {*texts}):
        yield SEPARATORS  # beside the objects of Label Studio a single choice stands as it is
        return
    for left, right in BRACKETS:
        if all(text.startswith(left) and text.endswith(right) for text in texts):
            marks = () if left == "<" else next(_marks([text[1:-1] for text in texts]), ())
            yield (left, *marks, right)
            return
    yield from _marks(texts)


def _marks(texts: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield those of the usual separators that a text has."""
    return (marks for marks, form in SEPARATED if any(form.search(text) for text in texts))


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
        found = [mark for mark in (";", "|", ",", "#", " ") if any(mark in value for value in values)]
        hint = f"its cells have {listed(found)}" if found else "its cells have one tag each"
        raise UserError(f"the separator '{separator}' never occurs in column {listed(columns)}; {hint}.")


def check_none(table: Table, targets: Sequence[Target], none: Sequence[str], missing: Sequence[str]) -> None:
    """Refuse words for no tags that are none: misspelt, they would silently stay tags.

    Raises:
        UserError: no target has tags, or a word is no tag, no cell and no 0/1 column of one.
    """
    tagged = [target for target in targets if not target.exclusive]
    if none and not tagged:
        raise UserError("--none names words that mean no tags, and no target has tags; see --tags.")
    found: set[str] = set()
    for target in tagged if none else ():
        if len(target.columns) > 1:
            found.update(target.columns)
            continue
        for value in table.cells(target.columns[0], missing).values:
            found.update((text_of(value).strip(), *tags_of(value, target.separators)))
    for word in none:
        if word not in found:
            raise UserError(
                f"--none: '{word}' is no cell of {listed(target.name for target in tagged)}"
                f"{suggest(word, found)}. Write it as the cells do."
            )


def in_order(classes: Collection[str]) -> tuple[str, ...]:
    """Sort class names: as numbers when all are, else as text.

    >>> in_order({"10", "9"}), in_order({"10", "9", "x"})
    (('9', '10'), ('10', '9', 'x'))
    """
    numbers = {name: number_of(name) for name in classes}
    if all(number is not None and np.isfinite(number) for number in numbers.values()):
        return tuple(sorted(classes, key=lambda name: (numbers[name], name)))
    return tuple(sorted(classes))


def positive_of(counts: Mapping[str, int]) -> tuple[str, str]:
    """Choose which of two classes is the one meant, by their rows; return it and why, "" where words say so.

    It is the one that is a word for yes, or beside a word for no; else the rarer one; else the second.

    >>> positive_of({"ok": 90, "defect": 10}), positive_of({"no": 10, "yes": 90})
    (('defect', 'the rarer one'), ('yes', ''))
    >>> positive_of({"cat": 50, "dog": 50})
    ('dog', 'the second of two about equally frequent ones')
    """
    first, second = negative_first(in_order(counts))
    said = [name.strip().casefold() for name in (first, second)]
    if said[1] in POSITIVE or said[0] in NEGATIVE:
        return second, ""
    if said[1] in NEGATIVE:
        return first, ""
    rarer = min((second, first), key=lambda name: counts[name])
    if counts[rarer] < RARER * sum(counts.values()):
        return rarer, "the rarer one"
    return second, "the second of two about equally frequent ones"


def negative_first(classes: Sequence[str]) -> tuple[str, str]:
    """Put the class that means yes second; without one, or with two, the order stays.

    >>> negative_first(("1", "0")), negative_first(("no", "yes")), negative_first(("a", "b"))
    (('0', '1'), ('no', 'yes'), ('a', 'b'))
    """
    first, second = classes
    first_is, second_is = (name.strip().casefold() in POSITIVE for name in classes)
    return (second, first) if first_is and not second_is else (first, second)
