"""What is found wrong with a row, and what a table alone tells of it: no model is asked here.

`audit` gathers findings; each is a line of audit.csv.

Shapes: N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.paths import Unreadable
from manyhot.data.rows import conflicts
from manyhot.data.rows.describe import spellings
from manyhot.data.rows.leaks import giving_away
from manyhot.data.table import Table
from manyhot.errors import listed
from manyhot.schema import Schema, Target
from manyhot.targets import Cells, tags_of, text_of

Problem = Literal["label", "duplicate", "leak", "contradiction", "unreadable", "spelling"]
PROBLEMS: tuple[Problem, ...] = ("unreadable", "contradiction", "leak", "label", "spelling", "duplicate")
FEW_VALUES = 0.3  # share of a table's rows that equal others, from which on equal rows are no copies
TYPO, LONG, ALIKE = 0.01, 5, 0.85  # of a class: rows beside another's, letters, likeness of the two names


class Change(NamedTuple):
    """A cell that would be written anew: its column, what it is, what it would be."""

    column: str
    given: str
    value: str


@dataclass(frozen=True)
class Finding:
    """One problem of one row.

    index      the position of the row in the table; −1 of a whole column
    target     "" where none is concerned
    given      what the row says, and `suggested` what would be right; "" where nothing is known
    score      how surely it is a problem, in [0, 1]
    note       the same in words
    other      the position of the row that this one copies, or −1
    changes    the cells that would be written anew, where it is right
    chance     the probability of what is suggested, where a model says so
    """

    problem: Problem
    index: int
    target: str = ""
    given: str = ""
    suggested: str = ""
    score: float = 1.0
    note: str = ""
    other: int = -1
    changes: tuple[Change, ...] = ()
    chance: float | None = None


def unreadable(table: Table, schema: Schema, bad: Unreadable) -> Iterator[Finding]:
    """Give the rows whose picture cannot be read, or that have no input at all."""
    for index, reason in sorted(bad.items()):
        yield Finding("unreadable", index, note=reason)
    for row in np.flatnonzero(conflicts.without_input(table, schema)):
        yield Finding("unreadable", int(row), note="every column to predict from is empty")


def contradictions(found: Sequence[conflicts.Conflict], table: Table, schema: Schema) -> Iterator[Finding]:
    """Give the rows of equal inputs with different labels; what most of them say is suggested."""
    for conflict in found:
        target = schema.target(conflict.target)
        counts = Counter(conflict.given)
        (most, number), *others = counts.most_common()
        clear = bool(others) and others[0][1] < number
        for index, given in zip(map(int, conflict.index), conflict.given, strict=True):
            if clear and given == most:
                continue
            suggested = most if clear else ""
            twins = [n for n, g in zip(conflict.names, conflict.given, strict=True) if g != given]
            sides = [g for g in conflict.given if g != given]
            note = f"equal to {twins[0]}, which is '{sides[0]}'"
            edits = changes(table, target, index, suggested) if suggested else ()
            share = 1 - counts[given] / len(conflict.given)
            yield Finding("contradiction", index, target.name, given, suggested, share, note, changes=edits)


def copies(hashes: NDArray[np.uint64], empty: NDArray[np.bool_], table: Table) -> Iterator[tuple[int, int]]:
    """Give the rows that equal an earlier one, with that; none where equal rows of a table are no copies."""
    first: dict[int, int] = {}
    pairs = []
    for row in np.flatnonzero(~empty):
        before = first.setdefault(int(hashes[row]), int(row))
        if before != row:
            pairs.append((int(row), before))
    if table.holds_pictures or len(pairs) <= FEW_VALUES * len(hashes):
        yield from pairs


def misspelt(table: Table, schema: Schema) -> Iterator[Finding]:
    """Give the rows whose class differs from a more frequent one by case, blanks, or a letter or two."""
    for target in schema.targets:
        if len(target.columns) > 1:
            continue
        cells = table.cells(target.columns[0], schema.missing)
        counts = _counts(target, cells)
        meant = {**_by_letters(counts), **_by_case(counts)}
        if not meant:
            continue
        names = [_names(target, value) for value in cells.values]
        for code in (n for n, each in enumerate(names) if meant.keys() & {*each}):
            wrong = [name for name in names[code] if name in meant]
            right = tuple(dict.fromkeys(meant.get(name, name) for name in names[code]))
            score = 1.0 if all(_plain(name) == _plain(meant[name]) for name in wrong) else 0.5
            for index in np.flatnonzero(cells.codes == code):
                suggested = right[0] if target.exclusive else _joined(right)
                given = text_of(cells.values[code])
                note = ", ".join(
                    f"'{name}' for '{meant[name]}' ({counts[meant[name]]:,} rows)" for name in wrong
                )
                edits = changes(table, target, int(index), suggested)
                yield Finding("spelling", int(index), target.name, given, suggested, score, note, -1, edits)


def leaking(table: Table, schema: Schema) -> Iterator[Finding]:
    """Give the columns from which targets follow."""
    for name, targets in giving_away(table, schema).items():
        note = f"column '{name}' gives {listed(targets)} away: the class of each row follows from it"
        yield Finding("leak", -1, ";".join(targets), name, "", 1.0, note)


def changes(table: Table, target: Target, index: int, label: str) -> tuple[Change, ...]:
    """Return the cells to write for a row to be given a label: a class, or tags as `decode` has them."""
    if target.exclusive:
        name = target.columns[0]
        return (Change(name, cell(table, name, index), label),)
    tags = {*tags_of(label, (";",))} if label else {*()}
    if len(target.columns) > 1:
        flags = [column for column in target.columns if column not in target.none]
        found = []
        for column, tag in zip(flags, target.classes, strict=True):
            given = cell(table, column, index)
            value = flag_like(table, column, tag in tags)
            if given and _is_yes(given) != (tag in tags):
                found.append(Change(column, given, value))
        return tuple(found)
    name = target.columns[0]
    given = cell(table, name, index)
    separator = next(
        (s for s in target.separators if s in given), target.separators[0] if target.separators else ";"
    )
    ordered = [tag for tag in tags_of(given, target.separators) if tag in tags]
    ordered += [tag for tag in target.classes if tag in tags and tag not in ordered]
    return (Change(name, given, separator.join(ordered) if ordered else "[]"),)


def cell(table: Table, name: str, index: int) -> str:
    """Return a cell as text: that of a CSV; of a list, its tags."""
    value = table.columns[name][index].as_py()
    if isinstance(value, (list, tuple)):
        return _joined(tuple(str(each) for each in value if each is not None))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value)


def _joined(tags: Sequence[str]) -> str:
    return ";".join(tags) if tags else "[]"


def _is_yes(text: str) -> bool:
    return text.strip().lower() in ("1", "1.0", "true", "yes", "y", "t", "x")


def flag_like(table: Table, column: str, yes: bool) -> str:
    """Return yes or no in the way in which a column says it."""
    some = {cell(table, column, index) for index in range(min(len(table), 200))}
    found = [text for text in sorted(some) if text and _is_yes(text) == yes]
    return found[0] if found else str(int(yes))


def _names(target: Target, value: object) -> tuple[str, ...]:
    if target.exclusive:
        return (text_of(value).strip(),)  # type: ignore[arg-type]
    return tags_of(value, target.separators)  # type: ignore[arg-type]


def _counts(target: Target, cells: Cells) -> dict[str, int]:
    numbers = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values)).tolist()
    found: Counter[str] = Counter()
    for value, count in zip(cells.values, numbers, strict=True):
        for name in _names(target, value):
            found[name] += count
    return found


def _by_case(counts: Mapping[str, int]) -> dict[str, str]:
    """Name for each spelling the most frequent that differs by case or blanks only."""
    found = {}
    for group in spellings(counts):
        most = max(group, key=lambda name: counts[name])
        found.update({name: most for name in group if name != most})
    return found


def _by_letters(counts: Mapping[str, int]) -> dict[str, str]:
    """Name for each rare class the frequent one that it is spelt almost like; numbers are no words."""
    frequent = sorted(counts, key=lambda name: -counts[name])
    found = {}
    for name in counts:
        if len(name) < LONG or not name.replace(" ", "").isalpha():
            continue
        for other in frequent:
            if counts[name] > max(1, TYPO * counts[other]) or counts[other] < 20:
                break
            likeness = SequenceMatcher(None, name.casefold(), other.casefold())
            is_form = other.startswith(name) or name.startswith(other)  # a plural is another word
            if name != other and not is_form and likeness.quick_ratio() >= ALIKE <= likeness.ratio():
                found[name] = other
                break
    return found


def _plain(name: str) -> str:
    return "".join(name.casefold().split())
