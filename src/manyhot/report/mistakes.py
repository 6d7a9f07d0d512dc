"""The rows that a model was most wrong about: what was judged enters, rows to show leave.

`page` shows them, with their pictures or some of their cells.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from manyhot import metrics
from manyhot.data.table import Table
from manyhot.judge import Judged
from manyhot.report.sheet import as_jpeg, thumbnail
from manyhot.schema import Schema, Target
from manyhot.targets import UNKNOWN, FloatArray, IntArray, decide, marginals

ROWS = 24  # shown of each target
CELLS = 8  # shown of each row of a table
LETTERS = 60  # of a cell
CHIPS = 10  # tags shown of each row
PIXELS = 480  # of a picture's longer side, which a click shows whole
HEAVY = 30_000  # bytes of a PNG from which on a page has it as a JPEG


@dataclass(frozen=True)
class Chip:
    """One class or tag of a row: given ("missed"), answered ("extra") or both ("right")."""

    name: str
    state: str
    chance: float


@dataclass(frozen=True)
class Mistake:
    """One row: where it stands in its source, how it looks, what it is given as and what was answered."""

    row: int
    where: str
    picture: str
    cells: tuple[str, ...]
    chips: tuple[Chip, ...]
    more: int
    loss: float


def worst(
    target: Target, schema: Schema, judged: Judged, picture: Callable[[int], bytes | None] | None
) -> list[Mistake]:
    """Return the rows with the highest loss among those answered wrongly, the worst first."""
    y, chances = judged.y[target.name], judged.probabilities[target.name]
    answers = decide(target, chances)
    losses = metrics.row_losses(target, y, chances)
    chances = marginals(target, chances)
    wrong = (answers != y) & (y != UNKNOWN)
    wrong = wrong.reshape(len(losses), -1).any(axis=1) if len(losses) else np.zeros(0, bool)
    rows = np.flatnonzero(wrong)
    rows = rows[np.argsort(-losses[rows], kind="stable")][:ROWS]
    cells = _cells(schema, judged, rows)
    out = []
    for index, row in enumerate(int(row) for row in rows):
        chips = _chips(target, y[row], answers[row], chances[row])
        out.append(
            Mistake(
                row=int(judged.table.rows[row]),
                where=cells[index][0] if schema.is_image and cells[index] else "",
                picture=source(picture(row)) if picture is not None else "",
                cells=() if schema.is_image else cells[index],
                chips=tuple(chips[:CHIPS]),
                more=max(0, len(chips) - CHIPS),
                loss=float(losses[row]),
            )
        )
    return out


def columns(schema: Schema, table: Table, most: int = CELLS) -> list[str]:
    """Name the columns of a row that a page shows: the path of a picture, or the first features."""
    return [column.name for column in schema.inputs if column.name in table.columns][:most]


def _cells(schema: Schema, judged: Judged, rows: np.ndarray) -> list[tuple[str, ...]]:
    if not len(rows):
        return []
    part = judged.table.take(rows)
    lists = [part.columns[name].to_pylist() for name in columns(schema, judged.table)]
    most = sys.maxsize if schema.is_image else LETTERS  # a path is there to be copied
    return [tuple(cell(values[i], most) for values in lists) for i in range(len(rows))]


def cell(value: object, most: int = LETTERS) -> str:
    """Write a cell in so many letters at most."""
    words = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return words if len(words) <= most else words[: most - 1] + "…"


def _chips(target: Target, y: IntArray, answer: IntArray, chances: FloatArray) -> list[Chip]:
    """List what is given and what was answered, mistakes first."""
    if target.exclusive:
        pair = (("missed", int(y.reshape(-1)[0])), ("extra", int(answer.reshape(-1)[0])))
        return [Chip(target.classes[c], state, float(chances[c])) for state, c in pair]
    states = (("missed", (y == 1) & (answer == 0)), ("extra", (y == 0) & (answer == 1)))
    both = ("right", (y == 1) & (answer == 1))
    return [
        Chip(target.classes[c], state, float(chances[c]))
        for state, at in (*states, both)
        for c in np.flatnonzero(at)
    ]


def source(png: bytes | None, pixels: int = PIXELS) -> str:
    """Return a picture as the source of an <img>, "" for none, shrunk to so many pixels."""
    if png is None:
        return ""
    shown = thumbnail(png, pixels)
    kind, shown = ("png", shown) if len(shown) < HEAVY else ("jpeg", as_jpeg(shown))
    return f"data:image/{kind};base64,{base64.b64encode(shown).decode()}"
