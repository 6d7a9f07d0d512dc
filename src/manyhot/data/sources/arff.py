"""ARFF: the path of a file as Weka and Mulan write it comes in, a Table leaves.

`sources.read` calls it. Numeric attributes become numbers, nominal, string and date ones text, `?` an
empty cell. Rows may be sparse (`{3 yes, 7 1}`): what such a row leaves out is 0, or the first of the
nominal values.

Source: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from manyhot.data.numbers import is_number
from manyhot.data.sources.dialect import codec_of
from manyhot.data.sources.text import column_names, encoding_of
from manyhot.data.table import Table
from manyhot.errors import UserError, listed, shortened, suggest

NUMERIC = ("numeric", "real", "integer")
TEXTUAL = ("string", "date")
TOKEN = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s,'"{}][^\s,{}]*"""
VALUE = re.compile(rf"\s*({TOKEN})?\s*(,|$)")
ITEM = re.compile(rf"\s*(\d+)\s+({TOKEN})\s*(?:,|$)")
ATTRIBUTE = re.compile(rf"@attribute\s+({TOKEN}|\S+)\s+(.+)", re.IGNORECASE)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


@dataclass(frozen=True)
class Attribute:
    """One column: `values` are those of a nominal attribute, () otherwise."""

    name: str
    numeric: bool
    values: tuple[str, ...] = ()

    @property
    def default(self) -> str | None:
        """What a sparse row means by leaving the attribute out."""
        return "0" if self.numeric else self.values[0] if self.values else None


def read_arff(path: Path, root: Path | None = None) -> Table:
    """Read an ARFF file.

    Raises:
        UserError: a line cannot be read, or a value is not what its attribute allows; the message
            names the line.
    """
    encoding = encoding_of(path)
    attributes: list[Attribute] = []
    columns: list[list[str | None]] = []
    data = False
    with path.open(encoding=codec_of(encoding.name)) as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if not text or text.startswith("%"):
                continue
            where = f"{path} line {number}"
            if data:
                for column, cell in zip(columns, _row(text, attributes, where), strict=True):
                    column.append(cell)
            elif text.lower().startswith("@data"):
                data, columns = True, [[] for _ in attributes]
            elif text.lower().startswith("@attribute"):
                attributes.append(_attribute(text, where))
            elif not text.lower().startswith("@relation"):
                raise UserError(f"{where}: expected @relation, @attribute or @data, got '{text[:40]}'.")
    if not attributes or not columns or not columns[0]:
        raise UserError(f"{path}: has no rows. An ARFF file has @attribute lines, then @data, then rows.")
    names, notes = column_names(path, [attribute.name for attribute in attributes])
    arrays = {
        name: _array(column, attribute)
        for name, column, attribute in zip(names, columns, attributes, strict=True)
    }
    notes = (*notes, encoding.note) if encoding.note else notes
    return Table(arrays, path.name, path.parent if root is None else root, notes=notes)


def _attribute(text: str, where: str) -> Attribute:
    """Read a line such as `@attribute 'sepal length' real` or `@attribute class {a, b}`."""
    found = ATTRIBUTE.match(text)
    if not found:
        raise UserError(f"{where}: expected '@attribute NAME TYPE', got '{text[:60]}'.")
    name, kind = _plain(found[1]), found[2].strip()
    if kind.startswith("{") and kind.rstrip().endswith("}"):
        values = tuple(value for value in _values(kind[1:-1], where) if value is not None)
        return Attribute(name, False, values)
    if kind.startswith("{"):
        raise UserError(f"{where}: the values of '{shortened(name)}' begin with {{ and do not end with }}.")
    word = kind.split()[0].lower()
    if word not in NUMERIC + TEXTUAL:
        known = NUMERIC + TEXTUAL
        raise UserError(
            f"{where}: unknown type '{shortened(word)}'{suggest(word, known)}; known are {listed(known)}."
        )
    return Attribute(name, word in NUMERIC)


def _row(text: str, attributes: list[Attribute], where: str) -> Iterable[str | None]:
    """Read one row, dense or sparse, as texts; None is an empty cell."""
    if text.startswith("{"):
        row = _sparse(text, attributes, where)
    elif "'" in text or '"' in text or " " in text or "\t" in text or "{" in text:
        row = _values(text, where)
    else:
        row = [None if cell in ("?", "") else cell for cell in text.split(",")]
    if len(row) == len(attributes) + 1 and text.endswith("}") and "{" in text:
        row.pop()  # the weight of the row
    if len(row) != len(attributes):
        raise UserError(
            f"{where}: {len(row)} values, there are {len(attributes)} attributes. Correct the row."
        )
    for cell, attribute in zip(row, attributes, strict=True):
        if cell is not None and attribute.numeric and not is_number(cell):
            raise UserError(f"{where}, attribute '{attribute.name}': '{shortened(cell)}' is not a number.")
        if cell is not None and attribute.values and cell not in attribute.values:
            near = suggest(cell, attribute.values)
            raise UserError(
                f"{where}, attribute '{attribute.name}': '{shortened(cell)}' is not one of its values{near}."
            )
    return row


def _values(text: str, where: str) -> list[str | None]:
    """Take a comma-separated line apart; an unquoted `?` is an empty cell, a row's weight is passed over."""
    text = re.sub(r",\s*\{[^{}]*\}\s*$", "", text)
    out: list[str | None] = []
    position = 0
    while True:
        found = VALUE.match(text, position)
        if not found:
            raise UserError(f"{where}: cannot be read from '{text[position : position + 30]}' on.")
        token = found[1]
        out.append(None if token in (None, "?") else _plain(token))
        position = found.end()
        if found[2] != ",":
            return out


def _sparse(text: str, attributes: list[Attribute], where: str) -> list[str | None]:
    """Read `{index value, …}`; what is not there has its attribute's default."""
    row = [attribute.default for attribute in attributes]
    inside = text[1 : text.rfind("}")] if "}" in text else text[1:] + "}"
    position = 0
    while position < len(inside) and inside[position:].strip():
        found = ITEM.match(inside, position)
        if not found or int(found[1]) >= len(row):
            raise UserError(f"{where}: cannot be read from '{inside[position : position + 30].strip()}' on.")
        row[int(found[1])] = None if found[2] == "?" else _plain(found[2])
        position = found.end()
    return row


def _plain(token: str) -> str:
    """Take the quotes and backslashes of a quoted token away."""
    if len(token) > 1 and token[0] in "'\"" and token[-1] == token[0]:
        return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), token[1:-1])
    return token


def _array(column: list[str | None], attribute: Attribute) -> pa.Array:
    if not attribute.numeric:
        return pa.chunked_array([pa.array(column, pa.string())])
    numbers = [None if cell is None else float(cell) for cell in column]
    return pa.chunked_array([pa.array(numbers, pa.float64())])
