"""Bodies of requests → rows → what a model reads; and probabilities → the answers of each row.

A row is a mapping of the names of inputs to values: a number, a text, a truth value, None for unknown, or the
bytes of a picture. What is wrong with a whole body is a UserError; what is wrong with one row stands in its
place, and fails no other row. A cell that cannot be read counts as missing, and its row is answered.

Shapes: N rows · P probabilities of a row.
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.images import ImageInputs
from manyhot.data.inputs.images.stream import X
from manyhot.data.inputs.noticed import Noticed, Odd
from manyhot.data.table import from_python
from manyhot.errors import UserError, listed, shortened, suggest
from manyhot.predict import blank_rows, far_rows, in_doubt
from manyhot.schema import Schema
from manyhot.targets import decide, decode, marginals

MAX_VALUES = 1_000_000  # of a body
MAX_PIXELS = 25_000_000  # of a picture that is no JPEG: 0.4 GB while it is decoded, from a file of 80 kB

SURROGATES = re.compile("[\ud800-\udfff]")  # JSON can say one alone, UTF-8 cannot
MAX_SIDE = 65_535  # pixels, as JPEG has it: each line of a picture takes memory of its own

Value = float | str | bytes | None
Row = Mapping[str, Value] | str  # or why there is none
Form = Sequence[tuple[str, str | bytes]]  # a field is a text, a file is bytes


def json_of(body: bytes) -> Any:
    """Read JSON. Raises UserError where it is none; NaN is no JSON."""
    _bound(body, b",")
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UserError(f"The body is no JSON ({error}).") from None


def of_json(schema: Schema, body: bytes) -> list[Row]:
    """Return the rows of `{"rows": [{…}, …]}`, of a list of rows, or of one row `{…}`."""
    found = json_of(body)
    if isinstance(found, dict) and isinstance(found.get("rows"), list):
        found = found["rows"]
    elif isinstance(found, dict):
        found = [found]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        row = {column.name: "…" for column in schema.inputs[:2]}
        example = json.dumps({"rows": [row]}, ensure_ascii=False)
        raise UserError(f"The body must be rows by the names of the inputs, such as {example}.")
    return [of_values(schema, row) for row in found]


def _bound(body: bytes, *marks: bytes) -> None:
    """Refuse before it is read what would take fifty times its bytes."""
    if sum(map(body.count, marks)) > MAX_VALUES:
        raise UserError(f"The body has more than {MAX_VALUES:,} values; send fewer rows at a time.")


def of_csv(schema: Schema, body: bytes) -> list[Row]:
    """Return the rows of a CSV in UTF-8 with a header, its fields parted by commas, semicolons or tabs.

    Raises:
        UserError: it is in no UTF-8, has no row, or a row has more or fewer fields than the header.
    """
    from manyhot.data.sources.write import ESCAPED  # of a text that a spreadsheet would run

    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("The CSV is not in UTF-8. Save it as UTF-8.") from None
    first = text.partition("\n")[0]
    _bound(body, b",", b";", b"\t", b"\n")
    limit = csv.field_size_limit(len(text) + 1)
    try:
        delimiter = max(",;\t", key=first.count)
        header, *lines = [line for line in csv.reader(io.StringIO(text, ""), delimiter=delimiter) if line]
    except (csv.Error, ValueError) as error:
        raise UserError(f"The body is no CSV with a header ({error}).") from None
    finally:
        csv.field_size_limit(limit)
    names = [re.sub(ESCAPED, r"\1", name.strip()) for name in header]
    if len({*names}) < len(names):
        raise UserError("The CSV has a column twice; leave one out.")
    for number, line in enumerate(lines, 1):
        if len(line) != len(names):
            raise UserError(f"CSV row {number}: {len(line)} fields, the header has {len(names)}.")
    if not lines:
        raise UserError("The CSV has no row below its header.")
    cells = ([re.sub(ESCAPED, r"\1", cell) for cell in line] for line in lines)
    return [of_values(schema, dict(zip(names, line, strict=True))) for line in cells]


def of_form(schema: Schema, form: Form) -> list[Row]:
    """Return the rows of a form: its files are pictures, its other fields the columns of one row.

    Where there is one picture in a row, a file may have any name, and several files are several rows.
    """
    pictures = [column.name for column in schema.inputs if column.kind == "image"]
    files = [(name, value) for name, value in form if isinstance(value, bytes)]
    names = {column.name for column in schema.inputs}
    fields = [(name, value) for name, value in form if isinstance(value, str) and name in names]
    twice = sorted({name for name, _ in fields if [name for name, _ in fields].count(name) > 1})
    if twice:
        raise UserError(f"The form has {listed(twice)} more than once. Send several rows as JSON or CSV.")
    if files and not pictures:
        raise UserError(
            "The model reads no pictures, and the form has a file. Send a table with Content-Type: text/csv."
        )
    if len(pictures) == 1:
        each = [{pictures[0]: value} for _, value in files]
    else:
        strange = sorted({name for name, _ in files} - {*pictures})
        if strange:
            raise UserError(f"The form has files {listed(strange)}; the pictures are {listed(pictures)}.")
        each = [dict(files)] if files else []
    if len(each) > 1 and fields:
        raise UserError("The form has several pictures and other fields; send one row at a time, or JSON.")
    if not each and not fields:
        raise UserError(f"The form has nothing to answer. Send {listed(names)}.")
    return [of_values(schema, {**row, **dict(fields)}) for row in each or [{}]]


def of_values(schema: Schema, given: Mapping[str, Any]) -> Row:
    """Return a row of what was given, whose pictures may be base64; or why it is none."""
    absent = [column.name for column in schema.inputs if column.name not in given]
    if absent:
        strange = [name for name in given if name not in {column.name for column in schema.inputs}]
        near = next(((name, meant) for name in strange if (meant := suggest(name, absent))), None)
        typo = f"; '{shortened(near[0])}' is no input{near[1]}" if near else ""
        return f"lacks {listed(absent, 4)}{typo}; give null or an empty cell for what is unknown"
    row: dict[str, Value] = {}
    for column in schema.inputs:
        value = given[column.name]
        if column.kind == "image":
            value = _picture(value)
            if isinstance(value, str):
                return f"'{shortened(column.name)}': {value}"
        elif isinstance(value, (dict, list, bytes)):
            return f"'{shortened(column.name)}': must be a number, a text, true, false or null"
        elif isinstance(value, str) and SURROGATES.search(value):
            return f"'{shortened(column.name)}': has half a character in it, which is no text"
        elif column.kind == "number" and isinstance(value, (bool, int, float)):
            try:
                value = float(value)
            except OverflowError:
                value = math.inf
        row[column.name] = value
    return row


def _picture(value: object) -> bytes | str:
    """Return the bytes of a picture, or why there are none."""
    if isinstance(value, str):
        try:
            value = base64.b64decode(value.removeprefix(_data_url(value)), validate=True)
        except (binascii.Error, ValueError):
            return "is no picture in base64"
    if not isinstance(value, bytes):
        return "must be a picture: a file of a form, or base64 in JSON"
    return value or "is empty"


def _data_url(text: str) -> str:
    """Return how a picture begins that a browser wrote: data:image/jpeg;base64,"""
    return text[: text.index(",") + 1] if text.startswith("data:") and "," in text[:100] else ""


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON; write null for what is unknown")


def to_x(inputs: Inputs, rows: Sequence[Row]) -> tuple[X, Noticed]:
    """Return what a model reads of rows, and what is odd about them; rows that cannot be read are zero in x.

    Equal rows come out equal whatever stands beside them.

    Shape:
        x: uint8 (N, H, W, C) of pictures, float32 (N, D) of columns.
    """
    reasons = {position: row for position, row in enumerate(rows) if isinstance(row, str)}
    there = {position: row for position, row in enumerate(rows) if not isinstance(row, str)}
    if isinstance(inputs, ImageInputs):
        x: NDArray[Any] = np.zeros((len(rows), *inputs.shape), np.uint8)
        for position, row in there.items():
            data = row[inputs.column]
            assert isinstance(data, bytes)
            try:
                _refuse_large(data)
                x[position] = inputs.pixels_of(data)
            except UserError as error:
                reasons[position] = error.typed
        return x, Noticed(len(rows), 1, reasons)
    x = np.zeros((len(rows), len(inputs.features)), np.float32)
    # Cells of one type share a table: beside a text a number would be read as one, by the column's notation.
    parts: dict[frozenset[str], list[int]] = {}
    for position, row in there.items():
        typed = frozenset(name for name, value in row.items() if isinstance(value, (bool, int, float)))
        parts.setdefault(typed, []).append(position)
    odd: list[Odd] = []
    for part in parts.values():
        columns = {name: [there[position][name] for position in part] for name in there[part[0]]}
        x[part], noticed = inputs.read(from_python(columns))
        odd += (replace(found, rows=np.array(part)[found.rows]) for found in noticed.odd)
    return x, Noticed(len(rows), len(inputs.columns), reasons, tuple(odd))


def _refuse_large(data: bytes) -> None:
    """Refuse by its header a picture that would take too much memory; JPEGs are decoded at a fraction."""
    if data.startswith(b"\xff\xd8"):
        return
    from PIL import Image

    from manyhot.data.inputs.images.opening import FORMATS

    pixels, side = 0, 0
    with suppress(Exception), warnings.catch_warnings():  # what else is wrong is said by who decodes it
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            pixels, side = image.width * image.height, max(image.size)
    if pixels > MAX_PIXELS:
        raise UserError(f"{pixels:,} pixels are more than {MAX_PIXELS:,}; send a JPEG, or a smaller picture")
    if side > MAX_SIDE:
        raise UserError(f"{side:,} pixels along a side are more than {MAX_SIDE:,}; send a smaller picture")


def answers(
    schema: Schema,
    found: Mapping[str, NDArray[np.float32]],
    reasons: Mapping[int, str],
    notes: Mapping[int, str],
    count: int,
) -> list[dict[str, Any]]:
    """Return the answers of rows as JSON: for each target the best answer and the probability of each class.

    Where it has a coverage, `set` names the classes that stay possible, and `unsure` says why it is not sure.
    One of the `reasons` is the `error` of a row: why it has no answer, or which cells count as missing.
    One of the `notes` is its `note`, where there is one.

    Shape:
        found: float32 (N, P) by target, NaN where a row has no answer.
    """
    rows: list[dict[str, Any]] = [{"answers": {}, "error": reasons.get(number)} for number in range(count)]
    for number, note in notes.items():
        rows[number]["note"] = note
    blank, far = blank_rows(found), far_rows(schema, found)
    for target in schema.targets:
        decided = decide(target, found[target.name])
        names = (
            decode(target, decided)
            if target.exclusive
            else [[target.classes[place] for place in np.flatnonzero(row == 1)] for row in decided]
        )
        chances = marginals(target, found[target.name]).astype(float).round(6).tolist()
        for number in np.flatnonzero(~blank).tolist():
            by_class = dict(zip(target.classes, chances[number], strict=True))
            rows[number]["answers"][target.name] = {"answer": names[number], "probabilities": by_class}
        if target.decision.coverage is not None:
            sets, doubts = in_doubt(target, found[target.name], far)
            for number in np.flatnonzero(~blank).tolist():
                classes = [target.classes[place] for place in np.flatnonzero(sets[number])]
                rows[number]["answers"][target.name] |= {"set": classes, "unsure": doubts[number]}
    return rows
