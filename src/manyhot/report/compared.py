"""The page about two models: what was compared enters, one HTML file that needs nothing else leaves.

`comparing` writes it. The words and the layout are in compared.html, the colours in page.css.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.images.opening import picture
from manyhot.data.table import Table
from manyhot.report.mistakes import PIXELS, columns, source
from manyhot.report.page import WORDS, made, template
from manyhot.schema import Schema, Target
from manyhot.targets import IntArray, decode

ROWS = 24  # shown of those that got worse, and of those that got better
CELLS = 6  # shown of each row of a table
CLASSES = 40  # shown of each target, those that changed most
SLICES = 20
WIDEST = 60  # letters of a cell


@dataclass(frozen=True)
class Page:
    """All that the page shows.

    schema    says whether rows are pictures
    details   the document of `compare --json`
    given     by target what `targets.encode` gives, `answered` alike by both models
    worse     positions of the rows that B answers worse, and `better`, those to show first at the front
    """

    names: tuple[str, str]
    split: str
    schema: Schema
    table: Table
    verdict: str
    fails: bool
    details: Mapping[str, Any]
    targets: Mapping[str, Target]
    given: Mapping[str, IntArray]
    answered: Mapping[str, tuple[IntArray, IntArray]]
    worse: NDArray[np.intp]
    better: NDArray[np.intp]


def render(page: Page) -> str:
    """Return the page as HTML that loads nothing, with everything given by users escaped."""
    groups = (("Worse", page.worse), ("Better", page.better))
    return template("compared.html").render(
        page=page,
        title=f"{page.names[1]} against {page.names[0]}",
        **made(),
        allowed="",
        words=WORDS,
        targets=[_target(name, found) for name, found in page.details["targets"].items()],
        slices=page.details["slices"][:SLICES],
        columns=columns(page.schema, page.table, CELLS),
        groups=[(name, len(rows), [_row(page, int(row)) for row in rows[:ROWS]]) for name, rows in groups],
    )


def _target(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is shown of a target, its classes by how much they changed."""
    classes = sorted(found["classes"], key=lambda each: -abs(each["fixed"] - each["broken"]))
    rest = max(0, len(classes) - CLASSES)
    return {"name": name, "found": found, "classes": classes[:CLASSES], "more": rest}


def _row(page: Page, row: int) -> dict[str, Any]:
    """Return one row with its picture or its cells, what it is given as and what both models answered."""
    cells = [
        c
        for name in columns(page.schema, page.table, CELLS)
        for c in page.table.columns[name].slice(row, 1).to_pylist()
    ]
    shown = source(picture(page.table, page.schema, row, PIXELS)) if page.schema.is_image else ""
    lines = []
    for name, target in page.targets.items():
        a, b = page.answered[name]
        if (a[row] != b[row]).any():
            each = (page.given[name], a, b)
            lines.append((name, *(decode(target, values[row : row + 1])[0] for values in each)))
    return {
        "number": int(page.table.rows[row]),
        "picture": shown,
        "cells": ["" if cell is None else str(cell)[:WIDEST] for cell in cells],
        "lines": lines,
    }
