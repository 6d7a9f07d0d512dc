"""Parts of the rows in which one model may be worse: a table and what changed in it in, tested slices out.

A slice that people name is tested on all of its rows. Others are searched: on one half of the rows the parts
are found that got worse or better most, and tested on the other half, which had no say in it. All p-values
together are Holm's, so that of two equal models one comparison in twenty at most shows any slice.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from manyhot.comparing.paired import ALPHA, Answers, Bools, below, holm
from manyhot.data import dates
from manyhot.data.columns import SPLIT, as_input, is_image_name, numbers_rows
from manyhot.data.plain import is_list
from manyhot.data.table import Table
from manyhot.errors import UserError, shortened
from manyhot.targets import IntArray, text_of

FEWEST = 30  # rows of a slice, and in either half of one that is searched
PARTS = 4  # of a column of numbers or dates: equally many rows each
MOST_VALUES = 60  # categories of a column that are searched, the most frequent
CROSSED = 6  # columns whose pairs are searched
TESTED = 10  # slices that the search hands over to the test
ALIKE = 0.8  # of the rows of both, from which on two slices are one
SEARCHED = 100_000  # rows of a half that are searched


@dataclass(frozen=True)
class Cut:
    """A way to part the rows.

    name    the column, or the columns
    codes   int (N,): the part of each row, −1 for none
    words   what each part is called, such as "colour is red"
    """

    name: str
    codes: IntArray
    words: Sequence[str]

    def __and__(self, other: Cut) -> Cut:
        """Return the parts of both."""
        size = len(other.words)
        codes = np.where((self.codes < 0) | (other.codes < 0), -1, self.codes * size + other.codes)
        words = [f"{one} and {two}" for one in self.words for two in other.words]
        return Cut(f"{self.name}, {other.name}", codes, words)


@dataclass(frozen=True)
class Slice:
    """One part of the rows, and what changed in it.

    rows, fixed, broken  of those that test it: all of its rows, or where it was `searched` one half
    a, b                 the share of them that each model has wholly right
    p                    one-sided, Holm's over all slices
    worse                whether it looks worse rather than better
    """

    name: str
    rows: int
    a: float
    b: float
    fixed: int
    broken: int
    p: float
    worse: bool
    searched: bool

    @property
    def sure(self) -> bool:
        """Whether it changed by more than chance."""
        return self.p <= ALPHA

    def to_json(self) -> dict[str, object]:
        """Return what `compare --json` says of it."""
        return {
            "slice": self.name,
            "rows": self.rows,
            "a": self.a,
            "b": self.b,
            "fixed": self.fixed,
            "broken": self.broken,
            "p": self.p,
            "sure": self.sure,
            "worse": self.worse,
            "searched": self.searched,
        }


@dataclass(frozen=True)
class Changed:
    """What changed in each row, 1 where B has fewer entries wrong, −1 where more; and who is right."""

    change: NDArray[np.int8]
    a: Bools
    b: Bools
    groups: IntArray | None = None

    def tested(self, name: str, rows: NDArray[np.intp], searched: bool, worse: bool | None = None) -> Slice:
        """Test a slice by some of its rows, one-sided: as `worse` says, else to the side it leans to."""
        change = self.change[rows]
        if self.groups is not None:  # a group got better or worse as a whole
            group = np.unique(self.groups[rows], return_inverse=True)[1].reshape(-1)
            change = np.sign(np.bincount(group, change))
        fixed, broken = int((change > 0).sum()), int((change < 0).sum())
        leans = broken > fixed if worse is None else worse
        p = below(fixed + broken, fixed if leans else broken)
        p = min(1.0, 2 * p) if worse is None else p
        a, b = (float(each[rows].mean()) if len(rows) else 0.0 for each in (self.a, self.b))
        return Slice(name, len(rows), a, b, fixed, broken, p, leans, searched)


def find(
    table: Table,
    answers: Mapping[str, Answers],
    changed: Changed,
    asked: Sequence[str],
    labels: Collection[str],
    missing: Sequence[str],
    seed: int,
) -> tuple[list[Slice], list[str]]:
    """Return the slices of the columns that are `asked` for and those found by searching, and notes.

    Args:
        labels: the columns of targets, which are parted by the classes of these.

    Raises:
        UserError: a column that is asked for is not there, or cannot be parted.
    """
    notes: list[str] = []
    found: list[Slice] = []
    for name in asked:
        own = [cut for cut in _of_targets(answers) if cut.name == name]
        cuts = own or [_cut_of(table, name, missing)]
        before = len(found)
        for cut in cuts:
            for code, words in enumerate(cut.words):
                rows = np.flatnonzero(cut.codes == code)
                if len(rows) >= FEWEST:
                    found.append(changed.tested(words, rows, searched=False))
        if len(found) == before:
            notes.append(f"'{name}' has no part of {FEWEST} rows, too few to tell of any slice.")
    every = [*_of_targets(answers), *_of_columns(table, labels, missing)]
    every = [cut for cut in every if cut.name not in asked]
    found += _searched(every, changed, seed)
    tests = [each.p for each in found]
    slices = [replace(each, p=p) for each, p in zip(found, holm(tests), strict=True)]
    return sorted(slices, key=lambda each: (each.p, -abs(each.broken - each.fixed))), notes


def _searched(cuts: Sequence[Cut], changed: Changed, seed: int) -> list[Slice]:
    """Look for slices on one half of the rows, and test them on the other; groups stay on one side."""
    count = len(changed.change)
    rng = np.random.default_rng(seed)
    unit = np.arange(count) if changed.groups is None else np.unique(changed.groups, return_inverse=True)[1]
    mine = (rng.permutation(int(unit.max(initial=-1)) + 1) % 2 == 0)[unit.reshape(-1)]
    seen, held = np.flatnonzero(mine)[:SEARCHED], np.flatnonzero(~mine)
    scored = [(_scores(cut, changed, seen, held), cut) for cut in cuts]
    scored = [(scores, cut) for scores, cut in scored if len(scores)]
    best = sorted(scored, key=lambda each: -float(np.nanmax(np.abs(each[0]), initial=0)))[:CROSSED]
    for (_, one), (_, two) in combinations(best, 2):
        if len(one.words) * len(two.words) <= MOST_VALUES**2:
            both = one & two
            scored.append((_scores(both, changed, seen, held), both))
    ranked = [
        (float(scores[code]), cut, int(code))
        for scores, cut in scored
        for code in np.flatnonzero(np.isfinite(scores))
    ]
    ranked.sort(key=lambda each: -abs(each[0]))
    out: list[Slice] = []
    taken: list[Bools] = []
    for score, cut, code in ranked[: 20 * TESTED]:
        inside = np.asarray(cut.codes == code)
        if score == 0 or any((inside & o).sum() > ALIKE * (inside | o).sum() for o in taken):
            continue
        taken.append(inside)
        rows = held[inside[held]]
        out.append(changed.tested(cut.words[code], rows, searched=True, worse=score > 0))
        if len(out) == TESTED:
            break
    return out


def _scores(
    cut: Cut, changed: Changed, seen: NDArray[np.intp], held: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Return how far each part got worse in the seen rows, in standard deviations; NaN for small ones."""
    size = len(cut.words)

    def counted(rows: NDArray[np.intp], weight: NDArray[np.generic] | None = None) -> NDArray[np.float64]:
        codes = cut.codes[rows]
        there = codes >= 0
        return np.bincount(codes[there], None if weight is None else weight[rows][there], size).astype(float)

    large = (counted(seen) >= FEWEST) & (counted(held) >= FEWEST)
    change = changed.change.astype(np.float64)
    moved = counted(seen, np.abs(change))
    return np.where(large, -counted(seen, change) / np.sqrt(np.maximum(moved, 1)), np.nan)


def _of_targets(answers: Mapping[str, Answers]) -> Iterator[Cut]:
    """Part rows by what they are given as: a class, or whether a tag is there."""
    for name, found in answers.items():
        if found.exclusive:
            yield Cut(name, found.y, [f"{name} is {shortened(each)}" for each in found.classes])
            continue
        for number, each in enumerate(found.classes):
            tag = shortened(each)
            yield Cut(name, found.y[:, number].astype(np.intp), [f"{name} lacks {tag}", f"{name} has {tag}"])


def _of_columns(table: Table, labels: Collection[str], missing: Sequence[str]) -> Iterator[Cut]:
    """Part rows by every column that parts them into few."""
    for name in table.names:
        if name in labels or name == SPLIT or numbers_rows(table, name):
            continue
        try:
            cut = _cut_of(table, name, missing)
        except UserError:
            continue
        if len(cut.words) > 1:
            yield cut


def _cut_of(table: Table, name: str, missing: Sequence[str]) -> Cut:
    """Part rows by a column: numbers and dates into quarters, anything else by its most frequent values."""
    if is_list(table.column(name).type):
        raise UserError(f"{table.source}: column '{name}' holds lists, which part no rows.")
    column = as_input(table, name, missing)
    words = (*missing, *column.missing)
    if column.kind in ("number", "date"):
        cells = table.cells(name, words)
        if column.kind == "date":
            values, written = dates.days(cells, column.notation), dates.written
        else:
            values, written = table.numbers(name, words, column.notation), "{:.4g}".format
        if len(np.unique(values[np.isfinite(values)])) > 2 * PARTS:
            return _quarters(name, values, written)
    cells = table.cells(name, missing)
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    texts = [text_of(value) for value in cells.values]
    if sum(map(is_image_name, texts[:20])) > 10:
        raise UserError(f"{table.source}: column '{name}' holds paths, which part no rows.")
    kept = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    kept = kept[counts[kept] >= FEWEST]
    codes = np.full(len(cells.values) + 1, -1)
    codes[kept] = np.arange(len(kept))
    codes[-1] = len(kept)  # of empty cells
    parts = [f"{name} is {shortened(texts[each])}" for each in kept]
    return Cut(name, codes[cells.codes], [*parts, f"{name} is empty"])


def _quarters(name: str, values: NDArray[np.float64], written: object) -> Cut:
    """Part numbers by their quartiles."""
    assert callable(written)
    there = values[np.isfinite(values)]
    edges = np.unique(np.quantile(there, np.arange(1, PARTS) / PARTS, method="higher"))
    codes = np.searchsorted(edges, values, side="right")
    codes[~np.isfinite(values)] = len(edges) + 1
    ends = [written(float(edge)) for edge in edges]
    words = [
        f"{name} below {ends[0]}",
        *(f"{name} from {a} to {b}" for a, b in pairwise(ends)),
    ]
    return Cut(name, codes, [*words, f"{name} from {ends[-1]}", f"{name} is empty"])
