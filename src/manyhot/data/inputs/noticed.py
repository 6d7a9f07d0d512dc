"""What is odd about new rows beside those that a model was trained on: cells enter, sentences leave.

`features` finds it, `fitted.read_new` gives it beside x, and `predict` hands it on: `classifier` says it of
all rows, the column `error` and `serve` row by row.

Shapes: K cells of one column that are odd in one way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.paths import Unreadable
from manyhot.errors import listed, shortened
from manyhot.targets import IntArray

What = Literal["renamed", "absent", "empty", "unreadable", "unseen", "matched"]
Rises = Mapping[str, Mapping[str, tuple[float, float]]]  # target → column → see `importance`

WITHOUT: tuple[What, ...] = ("absent", "empty")
LOUD = 0.05  # share of cells with unknown words above which these are a warning
HALF = 0.5  # share of cells without which it is told what the column is worth
FEW = 10  # rows, below which a column without a filled cell tells nothing
SHOWN, COLUMNS = 3, 8  # examples, and columns of which one thing is told


class Line(NamedTuple):
    """A sentence for people, and whether it is a warning."""

    loud: bool
    text: str


@dataclass(frozen=True)
class Odd:
    """Cells of one column that are odd in one way.

    what   "absent", where there is no such column, or "renamed", where its name is written otherwise;
           "empty", where none of its cells is filled; "unreadable" are cells that are no `kind`, "unseen"
           words that training did not have, and "matched" those that it had, written otherwise
    count  how many cells
    rows   intp (K,): their positions
    texts  object (K,): what stands in each
    kind   what they should be, of "unreadable" ones
    meant  what a text stands for, of "matched" and "renamed" ones
    usual  the share of unseen words that is to be expected
    """

    column: str
    what: What
    count: int
    rows: IntArray = field(default_factory=lambda: np.zeros(0, np.intp))
    texts: NDArray[np.object_] = field(default_factory=lambda: np.zeros(0, object))
    kind: str = ""
    meant: Mapping[str, str] = field(default_factory=dict)
    usual: float = 0.0

    @property
    def examples(self) -> list[str]:
        """A few different texts."""
        return list(dict.fromkeys(self.texts[:1000]))[:SHOWN]

    def counted(self) -> Odd:
        """Return it with a few texts and no rows, so that it takes no memory."""
        few = self.examples
        meant = {text: self.meant[text] for text in few if text in self.meant}
        return replace(self, rows=np.zeros(0, np.intp), texts=np.array(few, object), meant=meant)


@dataclass(frozen=True)
class Noticed:
    """What was noticed of new rows.

    rows        how many there are
    inputs      how many columns the model reads
    unreadable  the positions of rows without an answer → why
    odd         what is odd in the columns of the others
    far         how many are far from all that the model learned from, where these are many
    """

    rows: int = 0
    inputs: int = 0
    unreadable: Unreadable = field(default_factory=dict)
    odd: tuple[Odd, ...] = ()
    far: int = 0

    def reasons(self) -> dict[int, str]:
        """Return why a row has no answer, or which of its cells count as missing; by position."""
        return {**self._by_row("unreadable", "'{}': '{}' is not a {}"), **self.unreadable}

    def words(self) -> dict[int, str]:
        """Return which words of a row training did not have; by position."""
        return self._by_row("unseen", "'{}': '{}' was not in training")

    def counted(self) -> Noticed:
        """Return it without what is known of single rows."""
        return replace(self, unreadable={}, odd=tuple(odd.counted() for odd in self.odd))

    def lines(self, rises: Rises) -> list[Line]:
        """Say what is odd, warnings first; `rises` tell what a column is worth, where that is known."""
        found = self.without(rises)
        if self.far:
            share = f"{self.far:,} of {self.rows:,} rows ({self.far / max(self.rows, 1):.0%})"
            text = f"{share} are unlike all that the model learned from; by chance 1 % are"
            found.append(Line(True, text))
        for what in ("unreadable", "unseen", "matched", "renamed"):
            each = [odd for odd in self.odd if odd.what == what and self._is_told(odd)]
            found += [self._line(odd, rises) for odd in each[:COLUMNS]]
            if len(each) > COLUMNS:
                more = listed(odd.column for odd in each[COLUMNS:])
                found.append(Line(any(map(self._is_loud, each)), f"and likewise in the columns {more}"))
        return sorted(found, key=lambda line: not line.loud)

    def without(self, rises: Rises) -> list[Line]:
        """Say which columns are absent or empty in all rows."""
        return [line for what in WITHOUT for line in self._without(what, rises)]

    def _by_row(self, what: What, said: str) -> dict[int, str]:
        found: dict[int, str] = {}
        for odd in self.odd:
            if odd.what == what:
                for row, text in zip(odd.rows.tolist(), odd.texts, strict=True):
                    why = said.format(shortened(odd.column), shortened(text), odd.kind)
                    found[row] = f"{found[row]}; {why}" if row in found else why
        return found

    def _without(self, what: What, rises: Rises) -> Iterator[Line]:
        """Say which columns are absent, or have no filled cell in any row."""
        names = [odd.column for odd in self.odd if odd.what == what and odd.count == self.rows]
        if names and (what == "absent" or self.rows >= FEW):
            columns = f"column {listed(names)} is" if len(names) == 1 else f"columns {listed(names)} are"
            counts = f"{what}: all {self.rows:,} rows are answered without"
            yield Line(True, f"{columns} {counts}{self._worth(names, rises)}")

    def _is_told(self, odd: Odd) -> bool:
        """Tell whether something is worth a line: where unseen words are usual, only more of them are."""
        return odd.what != "unseen" or not odd.usual or self._is_loud(odd)

    def _is_loud(self, odd: Odd) -> bool:
        share = odd.count / max(self.rows, 1)
        return odd.what == "unreadable" or (odd.what == "unseen" and share > LOUD + odd.usual)

    def _line(self, odd: Odd, rises: Rises) -> Line:
        """Say what is odd in some cells of one column."""
        where, one = f"column '{shortened(odd.column)}'", odd.count == 1
        cells = f"{where}: {odd.count:,} of {self.rows:,} cells"
        examples = [shortened(text) for text in odd.examples]
        such = " or ".join(f"'{text}'" for text in examples)
        text = f"{where} is read as {such}, as training had it"
        if odd.what == "unreadable":
            be, count = ("is", "counts") if one else ("are", "count")
            text = (
                f"{cells} {be} no {odd.kind}, such as {such}, and {count} as missing; every row is answered"
            )
        elif odd.what == "unseen":
            have = "has a word" if one else "have words"
            text = f"{cells} ({odd.count / self.rows:.1%}) {have} that training never saw, such as {such}"
        elif odd.what == "matched":
            be, was = ("is", "was") if one else ("are", "were")
            first = f"'{examples[0]}' for '{shortened(odd.meant[odd.examples[0]])}'"
            text = f"{cells} {be} written otherwise than in training and {was} matched, such as {first}"
        lost = odd.what in ("unreadable", "unseen") and odd.count >= HALF * self.rows >= HALF * FEW
        return Line(self._is_loud(odd), text + (self._worth([odd.column], rises) if lost else ""))

    def _worth(self, names: Collection[str], rises: Rises) -> str:
        """Say what the answers lose without some columns: how much the loss rose where they were shuffled."""
        known = [(each[name][0], name, t) for t, each in rises.items() for name in names if name in each]
        if not known:
            return f" ({len(names)} of the {self.inputs} columns that the model reads)"
        rise, name, target = max(known)
        place = 1 + sum(other > rise for other, _ in rises[target].values())
        most = (
            f"the most of {len(rises[target])}"
            if place == 1
            else f"as number {place} of {len(rises[target])}"
        )
        return (
            f"; shuffling '{shortened(name)}' after training raised the log loss of '{shortened(target)}' by "
            f"{max(rise, 0):.3f}, {most} columns"
        )


def together(parts: Iterable[Noticed]) -> Noticed:
    """Return what was noticed of the pieces of one table, counted."""
    rows, inputs, far, found = 0, 0, 0, dict[tuple[str, What], Odd]()
    for part in parts:
        rows, inputs, far = rows + part.rows, part.inputs, far + part.far
        for odd in part.counted().odd:
            old = found.get((odd.column, odd.what), replace(odd, count=0))
            texts, meant = np.concatenate([old.texts, odd.texts]), {**odd.meant, **old.meant}
            more = replace(odd, count=old.count + odd.count, texts=texts, meant=meant)
            found[odd.column, odd.what] = more.counted()
    return Noticed(rows, inputs, odd=tuple(found.values()), far=far)
