"""The page about groups: rows, their clusters and a place for each enter, one HTML file leaves.

`clustering` writes it. The words are in clusters.html, the colours in page.css and clusters.css, the map is
drawn by clusters.js on a canvas: rows as dots, and as pictures where there is room. Nothing is loaded.

Shapes: N rows · K clusters.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from manyhot.data import dates
from manyhot.data.inputs.images.opening import picture
from manyhot.data.table import Table
from manyhot.metrics import crossed
from manyhot.report import svg
from manyhot.report.mistakes import cell, columns, source
from manyhot.report.page import made, percent, template, with_script
from manyhot.schema import Input, Schema
from manyhot.targets import UNKNOWN, IntArray

DOTS = 60_000  # on the map; of more rows a sample is drawn
SHOWN = 600  # pictures on the map
TILE = 32  # pixels of one of them
CENTRAL, BORDERLINE, OUTLYING = 16, 8, 8  # pictures or rows of each cluster
SIDE = 72  # pixels of a picture in a sheet
TOLD = 6  # columns that tell a cluster apart
WIDEST = 2.5  # standard deviations that fill half of a bar
MAX_CLASSES = 40  # known labels that are crossed with clusters
GOLDEN = 137.508  # degrees between the hues of clusters that follow each other


@dataclass(frozen=True)
class Clusters:
    """All that the page shows, for the rows that could be read.

    labels       int (N,): the nearest cluster of each row
    outliers     bool (N,)
    distances    float (N,): to the centroid; margins float (N,), in [0, 1], 0 half-way to the next
    silhouettes  positions of a sample of rows, and the silhouette of each
    drawn        positions of the rows on the map, all or a sample of 60,000
    places       float (n, 2) of these, from 0 on, at most 1; `method` says how they were found
    known        column → its classes and the number of each row's, −1 for unknown
    folder       what the command for naming calls the folder
    """

    title: str
    folder: str
    schema: Schema
    table: Table
    labels: IntArray
    outliers: NDArray[np.bool_]
    distances: NDArray[np.float32]
    margins: NDArray[np.float32]
    silhouettes: tuple[NDArray[np.intp], NDArray[np.float64]]
    drawn: NDArray[np.intp]
    places: NDArray[np.float32]
    method: str
    scores: Mapping[str, Any]
    known: Mapping[str, tuple[tuple[str, ...], IntArray]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def render(found: Clusters) -> str:
    """Return the page as HTML that loads nothing, with everything given by users escaped."""
    return template("clusters.html").render(
        found=found,
        title=f"{found.title} · clusters",
        **made(),
        **with_script("clusters.js"),
        chart=Markup(_data(found)),
        labels=_labels(found),
        clusters=_clusters(found),
        columns=columns(found.schema, found.table),
        strengths=_strengths(found.scores),
        crossed=[_crossed(found, name) for name in found.known],
        drawn=len(found.drawn),
    )


def hue(number: int) -> int:
    """Return the hue of a cluster in degrees; neighbours in number are far apart in colour."""
    return round(212 + number * GOLDEN) % 360


def _data(found: Clusters) -> str:
    """Return what the map is drawn from as JSON that may stand inside a <script>."""
    rows = found.drawn
    places = np.clip(found.places * 65535, 0, 65535).astype("<u2")
    document = {
        "places": base64.b64encode(places.tobytes()).decode(),
        "labels": base64.b64encode(found.labels[rows].astype("<u2").tobytes()).decode(),
        "outliers": np.flatnonzero(found.outliers[rows]).tolist(),
        "rows": base64.b64encode(found.table.rows[rows].astype("<u4").tobytes()).decode(),
        "ends": [max(0.05, float(end)) for end in found.places.max(axis=0)],
        "hues": [hue(number) for number in range(int(found.scores["clusters"]))],
        "known": _labels(found),
        "tile": TILE,
        **_tiles(found, rows),
    }
    return json.dumps(document).replace("<", "\\u003c")


def _labels(found: Clusters) -> list[dict[str, Any]]:
    """Return the known labels by which the map may be coloured: those of no more classes than colours."""
    every = []
    for name, (classes, y) in found.known.items():
        if len(classes) <= MAX_CLASSES:
            numbers = np.where(y == UNKNOWN, len(classes), y)[found.drawn].astype("<u2")  # the last: grey
            hues = [*map(hue, range(len(classes))), None]
            coded = base64.b64encode(numbers.tobytes()).decode()
            every.append({"name": name, "classes": list(classes), "hues": hues, "labels": coded})
    return every


def _tiles(found: Clusters, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Return one picture with small ones of some of the drawn rows, and which rows these are."""
    if not found.schema.is_image:
        return {"sprite": "", "shown": []}
    shown = _spaced(len(rows), SHOWN)
    across = int(np.ceil(np.sqrt(len(shown))))
    down = -(-len(shown) // across)
    sheet = Image.new("RGB", (across * TILE, down * TILE), (128, 128, 128))
    kept = []
    for place, index in enumerate(shown):
        png = picture(found.table, found.schema, int(rows[index]), longest=2 * TILE)
        if png is not None:
            with Image.open(io.BytesIO(png)) as image:
                small = image.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
            sheet.paste(small, (place % across * TILE, place // across * TILE))
            kept.append([int(index), place])
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=82)
    return {"sprite": "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode(), "shown": kept}


def _spaced(rows: int, most: int) -> NDArray[np.intp]:
    """Return at most so many positions, evenly spread over all."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(np.intp))


def _clusters(found: Clusters) -> list[dict[str, Any]]:
    """Gather what the page shows of each cluster."""
    members = [
        np.flatnonzero((found.labels == number) & ~found.outliers)
        for number in range(int(found.scores["clusters"]))
    ]
    told = [[] for _ in members] if found.schema.is_image else _told_apart(found, members)
    return [_cluster(found, number, own, told[number]) for number, own in enumerate(members)]


def _cluster(
    found: Clusters, number: int, own: NDArray[np.intp], told: list[dict[str, Any]]
) -> dict[str, Any]:
    """Gather what the page shows of one cluster, whose rows are `own`."""
    out = np.flatnonzero((found.labels == number) & found.outliers)
    rows, values = found.silhouettes
    mine = values[found.labels[rows] == number]
    central = own[np.argsort(found.distances[own], kind="stable")[:CENTRAL]]
    rest = np.setdiff1d(own, central)
    borderline = rest[np.argsort(found.margins[rest], kind="stable")[:BORDERLINE]]
    outlying = out[np.argsort(-found.distances[out], kind="stable")[:OUTLYING]]
    groups = (("Central", central), ("Borderline", borderline), ("Outliers", outlying))
    sizes = [int(size) for size in found.scores["sizes"].values()]
    return {
        "number": number,
        "hue": hue(number),
        "size": len(own),
        "share": len(own) / max(1, int(found.scores["rows"])),
        "of_largest": len(own) / max(1, *sizes),
        "outliers": len(out),
        "silhouette": float(mine.mean()) if len(mine) else None,
        "groups": [(name, [_row(found, int(row)) for row in rows]) for name, rows in groups if len(rows)],
        "told": told,
        "common": [_common(found, name, own) for name in found.known],
    }


def _row(found: Clusters, row: int) -> dict[str, Any]:
    """Return one row as a picture with its name, or as cells."""
    cells = [
        c
        for name in columns(found.schema, found.table)
        for c in found.table.columns[name].slice(row, 1).to_pylist()
    ]
    image = source(picture(found.table, found.schema, row, SIDE * 2), SIDE) if found.schema.is_image else ""
    return {
        "number": int(found.table.rows[row]),
        "picture": image,
        "cells": [cell(None if c is None else str(c)) for c in cells],
    }


def _told_apart(found: Clusters, members: list[NDArray[np.intp]]) -> list[list[dict[str, Any]]]:
    """Return for each cluster the columns in which it differs most from all rows.

    A number differs by its mean, in standard deviations of all rows; a category by the share of one of its
    values, in the same unit.
    """
    told: list[list[dict[str, Any]]] = [[] for _ in members]
    for column in found.schema.inputs:
        if column.kind == "text":
            continue  # whose words are too many to be told
        differences = _of_categories if column.kind == "category" else _of_numbers
        for lines, line in zip(told, differences(found, column, members), strict=True):
            if line is not None:
                lines.append(line | {"share": min(1.0, abs(line["apart"]) / WIDEST)})
    return [sorted(lines, key=lambda line: -abs(line["apart"]))[:TOLD] for lines in told]


def _of_numbers(
    found: Clusters, column: Input, members: list[NDArray[np.intp]]
) -> Iterator[dict[str, Any] | None]:
    missing = (*found.schema.missing, *column.missing)
    if column.kind == "date":
        cells = found.table.cells(column.name, missing)
        values, words = dates.read_days(cells, column.notation)[0], dates.written
    else:
        values, words = found.table.read_numbers(column.name, missing, column.notation)[0], "{:.4g}".format
    values = np.where(np.isfinite(values), values, np.nan)
    known = values[~np.isnan(values)]
    for own in members:
        here = values[own][~np.isnan(values[own])]
        if not (len(here) and known.std() > 0):
            yield None
            continue
        apart = float((here.mean() - known.mean()) / known.std())
        middle, everywhere = words(float(here.mean())), words(float(known.mean()))
        yield {"name": column.name, "here": middle, "all": everywhere, "apart": apart}


def _of_categories(
    found: Clusters, column: Input, members: list[NDArray[np.intp]]
) -> Iterator[dict[str, Any] | None]:
    cells = found.table.cells(column.name, found.schema.missing)
    size = len(cells.values)
    everywhere = np.bincount(cells.codes[cells.codes >= 0], minlength=size) / len(cells.codes)
    for own in members:
        if not (size and len(own)):
            yield None
            continue
        inside = np.bincount(cells.codes[own][cells.codes[own] >= 0], minlength=size) / len(own)
        apart = (inside - everywhere) / np.sqrt(np.maximum(everywhere * (1 - everywhere), 1e-6))
        best = int(np.abs(apart).argmax())
        yield {
            "name": f"{column.name} is {cell(str(cells.values[best]))}",
            "here": percent(float(inside[best])),
            "all": percent(float(everywhere[best])),
            "apart": float(apart[best]),
        }


def _common(found: Clusters, name: str, own: NDArray[np.intp]) -> tuple[str, str, float] | None:
    """Return a column's most frequent known label in a cluster, and its share of the known."""
    classes, y = found.known[name]
    there = y[own][y[own] != UNKNOWN]
    if not len(there):
        return None
    counts = np.bincount(there, minlength=len(classes))
    return name, classes[int(counts.argmax())], float(counts.max() / len(there))


def _crossed(found: Clusters, name: str) -> dict[str, Any]:
    """Count known labels (columns) by cluster (lines), each with its share of the line."""
    classes, y = found.known[name]
    clusters = int(found.scores["clusters"])
    counts = crossed(y, found.labels, len(classes), clusters)
    order = np.argsort(list(classes), kind="stable")
    return {
        "name": name,
        "known": int(counts.sum()),
        "scores": found.scores["targets"].get(name, {}),
        "classes": [classes[i] for i in order] if len(classes) <= MAX_CLASSES else [],
        "lines": [
            (hue(n), [(int(c), float(c / max(1, counts[n].sum()))) for c in counts[n][order]])
            for n in range(clusters)
        ],
    }


def _strengths(scores: Mapping[str, Any]) -> svg.Figure | None:
    """Draw the prediction strength of each number of clusters that was tried."""
    tried = {int(number): float(value) for number, value in scores["prediction_strength"].items()}
    if len(tried) < 2:
        return None
    axes = svg.Axes(48, 12, 520, 150, (min(tried) - 0.5, max(tried) + 0.5), (0, 1.02))
    axes.frame(list(tried), [0, 0.2, 0.4, 0.6, 0.8, 1.0], "clusters", "strength")
    axes.line(list(tried), list(tried.values()), "s0")
    for number, value in tried.items():
        chosen = number == scores["clusters"]
        style = "s1" if chosen else "s0"
        axes.dot(number, value, style, f"{number}: {value:.2f}", 5 if chosen else 3)
    name = "How many clusters"
    return svg.Figure(name, svg.picture(590, 205, axes.parts, name))
