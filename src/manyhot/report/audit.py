"""The page of an audit: findings enter, one HTML file leaves, on which a person decides by keyboard.

`auditing` writes it. The words are in audit.html, the colours in page.css and audit.css; audit.js shows a
finding at a time and gives the decisions as REVIEWED.csv, which `manyhot audit --fix` reads. Nothing is
loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from manyhot.data.inputs.images.opening import picture
from manyhot.data.inputs.images.paths import picture_column
from manyhot.data.table import Table
from manyhot.report.mistakes import cell, source
from manyhot.report.page import made, template, with_script
from manyhot.schema import Schema

SHOWN = {"label": 500, "duplicate": 150}  # findings on the page, the worst of each problem; of the others:
OTHERS = 100
SIDE = 200  # pixels of a picture
COLUMNS, LETTERS = 12, 200  # of a row of a table that are shown; of a cell
WORDS = {
    "label": "probably wrong labels",
    "contradiction": "equal rows with different labels",
    "spelling": "misspelt classes",
    "duplicate": "copies",
    "leak": "columns that give the answer away",
    "unreadable": "rows that cannot be read",
}


@dataclass(frozen=True)
class Item:
    """One finding, as the page has it; `was` are the cells of its target, `other` is a row, or −1."""

    problem: str
    index: int
    target: str
    given: str
    suggested: str
    score: float
    note: str
    other: int
    changes: Sequence[tuple[str, str, str]]
    was: Sequence[str]


@dataclass(frozen=True)
class Page:
    """All that the page shows.

    counts  findings by problem, all of them; `items` has the worst
    record  the document of audit.json
    flags   column → how it says no and yes, of tags that have a column each
    """

    title: str
    schema: Schema
    table: Table
    items: Sequence[Item]
    counts: Mapping[str, int]
    record: Mapping[str, Any]
    flags: Mapping[str, tuple[str, str]]


def render(page: Page) -> str:
    """Return the page as HTML that loads nothing, with everything given by users escaped."""
    left = sum(page.counts.values()) - len(page.items)
    return template("audit.html").render(
        page=page,
        title=f"{page.title} · audit",
        **made(),
        **with_script("audit.js"),
        data=Markup(_data(page)),
        words=WORDS,
        left=left,
    )


def worst(counted: Sequence[Any]) -> list[Any]:
    """Return the findings that a page shows of some, in their order: the first of each problem."""
    kept, seen = [], dict[str, int]()
    for each in counted:
        seen[each.problem] = seen.get(each.problem, 0) + 1
        if seen[each.problem] <= SHOWN.get(each.problem, OTHERS):
            kept.append(each)
    return kept


def _data(page: Page) -> str:
    """Return what the script reads as JSON that may stand inside a <script>."""
    seen: dict[int, str] = {}
    rows = sorted({i for each in page.items for i in (each.index, each.other) if i >= 0})
    if page.schema.is_image:
        some = {each.index for each in page.items} | {e.other for e in page.items if e.problem == "duplicate"}
        seen = {i: source(picture(page.table, page.schema, i, 2 * SIDE), SIDE) for i in rows if i in some}
        columns = [picture_column(page.table, page.schema.inputs[0].name)]
    else:
        columns = [column.name for column in page.schema.inputs]
    columns = [name for name in columns if name in page.table.columns][:COLUMNS]
    cells = {name: page.table.columns[name] for name in columns}
    document = {
        "columns": columns,
        "rows": {
            i: {
                "row": int(page.table.rows[i]),
                "cells": [cell(cells[name][i].as_py(), LETTERS) for name in columns],
                "picture": seen.get(i, ""),
            }
            for i in rows
        },
        "targets": {
            t.name: {
                "exclusive": t.exclusive,
                "classes": list(t.classes),
                "columns": [c for c in t.columns if len(t.columns) == 1 or c not in t.none],
                "separators": list(t.separators),
                "flags": {c: page.flags[c] for c in t.columns if c in page.flags},
            }
            for t in page.schema.targets
        },
        "items": [
            {
                "problem": each.problem,
                "index": each.index,
                "target": each.target,
                "given": each.given,
                "suggested": each.suggested,
                "score": round(each.score, 4),
                "note": each.note,
                "other": each.other if each.problem == "duplicate" else -1,
                "changes": [list(change) for change in each.changes],
                "was": list(each.was),
            }
            for each in page.items
        ],
        "words": WORDS,
    }
    return json.dumps(document).replace("<", "\\u003c")
