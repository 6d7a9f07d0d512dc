"""What `explain` returns: by row and class what spoke for it and against it, as numbers, a document, a page.

Shapes: N rows · H W of a picture · G groups of columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from manyhot import files, notebook
from manyhot.data.inputs.images.paths import Unreadable
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.schema import Schema

if TYPE_CHECKING:
    from manyhot.report.why import Panel

Method = Literal["gradients", "occlusion", "replacement"]
HEAT = 32  # of a picture's side, at most, in the document of --json
WIDEST = 40  # letters of a cell


@dataclass(frozen=True)
class Reason:
    """Why one row has, or has not, one class.

    row     its number in the source; `place` that among the rows explained, from 0 on
    answer  what the model answers for the target, as `predict` writes it
    name    the class that is explained
    chance  its probability, and `odds` the logarithm of its odds, which `values` take apart
    values  what spoke for the class (above 0) and against it: float64 (H, W) by pixel, (G,) by columns
    """

    row: int
    place: int
    target: str
    answer: str
    name: str
    chance: float
    odds: float
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Explanation:
    """Why some rows are answered as they are.

    table       the rows; `schema` is that of the model
    method      "gradients" or "occlusion" of pictures, "replacement" of the columns of a table
    columns     the groups that the values of a table are of; of pictures none
    gains       how well each method that was tried does in the deletion test; see `deletion`
    background  in words, what the rows were held against
    unreadable  position → why the picture of a row could not be read
    """

    table: Table
    schema: Schema
    method: Method
    columns: tuple[tuple[str, ...], ...]
    reasons: tuple[Reason, ...]
    gains: Mapping[str, float]
    background: str
    unreadable: Unreadable

    def values(self, target: str, name: str | None = None) -> NDArray[np.float64]:
        """Return what spoke for the answer of each row, or for a class; NaN where that is not explained.

        Of tags without a class it is the likeliest one that the row is answered with.

        Shape:
            out: float64 (N, H, W) of pictures, (N, G) of the `columns` of a table.
        """
        own = [reason for reason in self.reasons if reason.target == target and name in (None, reason.name)]
        if not own:
            there = listed(dict.fromkeys(f"{reason.target}.{reason.name}" for reason in self.reasons))
            raise UserError(
                f"no '{target if name is None else f'{target}.{name}'}' is explained, but {there}."
            )
        out = np.full((len(self.table), *own[0].values.shape), np.nan)
        for reason in reversed(own):  # the first of a row is its answer
            out[reason.place] = reason.values
        return out

    def details(self) -> dict[str, Any]:
        """Return the document of `explain --json`."""
        rows: list[dict[str, Any]] = []
        for place, row in enumerate(self.table.rows.tolist()):
            targets: dict[str, Any] = {}
            for reason in self.of_row(place):
                found = targets.setdefault(reason.target, {"answer": reason.answer, "classes": []})
                found["classes"].append(self._of_class(reason))
            why = {"error": self.unreadable[place]} if place in self.unreadable else {}
            rows.append({"row": row, **why, "targets": targets})
        gains = {name: round(value, 6) for name, value in self.gains.items()}
        return {"method": self.method, "background": self.background, "gains": gains, "rows": rows}

    def of_row(self, place: int) -> list[Reason]:
        """Return what is explained of the row at a position."""
        return [reason for reason in self.reasons if reason.place == place]

    def effects(self, reason: Reason) -> list[tuple[dict[str, str], float]]:
        """Return the columns of each group with their cells, and what they did; the strongest first."""
        order = np.argsort(-np.abs(reason.values), kind="stable").tolist()
        return [(self._cells(reason.place, group), float(reason.values[group])) for group in order]

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write a page (.html), or of one picture a drawing (.png).

        Raises:
            UserError: the file can be none, or exists and `overwrite` is False.
        """
        path = Path(path)
        check_out(path, self.schema, overwrite)
        from manyhot.report import explained  # drawing needs time, so only when asked for

        page = explained.Page(
            self.table, self.schema, self.told(), [*map(self.panel, self.reasons)], self.unreadable
        )
        if path.suffix.lower() == ".html":
            files.write_text(path, explained.render(page))
            return
        drawn = {reason.place for reason in self.reasons}
        if len(drawn) != 1:
            raise UserError(
                f"{path}: a drawing is of one picture, not of {len(drawn)}; write a page (.html)."
            )
        files.write_bytes(path, explained.drawing(page))

    def told(self) -> list[str]:
        """Say in sentences how it was found, and what its numbers mean."""
        if self.method == "replacement":
            how = (
                "The effect of a column is how far the log odds of the class fall where its cell is replaced "
                f"by {self.background}, the mean of these. Columns that go together are replaced together."
            )
            return [how]
        what = {
            "gradients": f"By expected gradients, held against {self.background}.",
            "occlusion": f"By covering parts of the picture, held against {self.background}.",
        }[self.method]
        if len(self.gains) < 2:
            return [what]
        first, second = sorted(self.gains, key=lambda name: -self.gains[name])
        return [
            f"{what} The answer falls sooner where what spoke for it by {first} is taken away (gain "
            f"{self.gains[first]:.3f}) than by {second} ({self.gains[second]:.3f})."
        ]

    def __repr__(self) -> str:
        names = [f"{reason.target} {reason.name} of row {reason.row}" for reason in self.reasons]
        return notebook.lines(f"Explanation by {self.method}: {notebook.names(names)}")

    def _of_class(self, reason: Reason) -> dict[str, Any]:
        chance, odds = round(reason.chance, 6), round(reason.odds, 6)
        found: dict[str, Any] = {"class": reason.name, "probability": chance, "log_odds": odds}
        if self.method == "replacement":
            each = [{"columns": cells, "effect": round(value, 6)} for cells, value in self.effects(reason)]
            return found | {"columns": each}
        heat, block = blocks(reason.values, HEAT)
        return found | {"block": block, "heat": [[float(f"{v:.4g}") for v in line] for line in heat.tolist()]}

    def panel(self, reason: Reason) -> Panel:
        """Return what a page shows of one class of a row."""
        from manyhot.report.why import Panel

        bars = self.effects(reason) if self.method == "replacement" else []
        heat = None if self.method == "replacement" else reason.values
        words = (reason.target, reason.answer, reason.name)
        return Panel(reason.place, *words, reason.chance, heat, bars)

    def _cells(self, place: int, group: int) -> dict[str, str]:
        found = {}
        for name in self.columns[group]:
            column = self.table.columns.get(name)
            cell = None if column is None else column[place].as_py()
            words = f"{cell:.6g}" if isinstance(cell, float) else "" if cell is None else str(cell)
            found[name] = words if len(words) <= WIDEST else f"{words[: WIDEST - 1]}…"
        return found


def check_out(path: Path, schema: Schema, overwrite: bool) -> None:
    """Refuse an --out that can be neither page nor drawing, or that exists.

    Raises:
        UserError: it is so.
    """
    ending = path.suffix.lower()
    if ending not in (".html", ".png"):
        raise UserError(f"{path}: must end in .html, or of one picture in .png.")
    if ending == ".png" and not schema.is_image:
        raise UserError(f"{path}: a drawing is of a picture; the reasons of a table are a page (.html).")
    files.check_out(path, overwrite)


def blocks(heat: NDArray[np.float64], most: int) -> tuple[NDArray[np.float64], int]:
    """Return sums of a heat map (H, W) over square blocks, at most so many a side; and the side of one.

    >>> blocks(np.ones((5, 4)), 3)
    (array([[4., 4.],
           [4., 4.],
           [2., 2.]]), 2)
    """
    side = -(-max(heat.shape) // most)
    lines = np.add.reduceat(heat, np.arange(0, heat.shape[0], side), axis=0)
    return np.add.reduceat(lines, np.arange(0, heat.shape[1], side), axis=1), side
