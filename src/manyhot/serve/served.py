"""One model as the server has it: rows enter, probabilities leave, with the reason for each row without any.

`batcher` answers by it, `app`, `protocol` and `openapi` describe it.

Shapes: N rows · P probabilities of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manyhot.data.numbers import example as written
from manyhot.data.sources.read import read
from manyhot.ensemble import FAR
from manyhot.explaining.explain import Background, background
from manyhot.explaining.scores import Scores
from manyhot.predict import Answering, blank_rows, readable, spread
from manyhot.schema import Schema
from manyhot.serve.rows import Row, to_x

Found = dict[str, NDArray[np.float32]]


class Answered(NamedTuple):
    """The answers of some rows.

    found    the probabilities by target, float32 (N, P), NaN where a row has none
    reasons  by number why a row has none, or which of its cells count as missing
    notes    by number which of its words training did not have
    """

    found: Found
    reasons: dict[int, str]
    notes: dict[int, str]

    def part(self, first: int, last: int) -> Answered:
        """Return the answers of the rows from one number up to another."""
        found = {name: values[first:last] for name, values in self.found.items()}
        both = (
            {number - first: text for number, text in said.items() if first <= number < last}
            for said in (self.reasons, self.notes)
        )
        return Answered(found, *both)


@dataclass(frozen=True)
class Served:
    """A model under the name that requests have for it.

    one          answers with one thread, beside others that do
    wide         the same model, which answers a lone request with all cores
    fingerprint  is another for a model that answers otherwise
    card         what it was trained on and how good it is; JSON
    held_back    the file of rows that an explained one is held against; None where there is none
    """

    name: str
    one: Answering
    wide: Answering
    fingerprint: str
    card: Mapping[str, Any] = field(default_factory=dict)
    held_back: Path | None = None

    @property
    def schema(self) -> Schema:
        """What it reads, and its targets with their decisions."""
        return self.one.schema

    @property
    def pictures(self) -> list[str]:
        """The inputs that are pictures."""
        return [column.name for column in self.schema.inputs if column.kind == "image"]

    @property
    def at_once(self) -> int:
        """Rows that one runner takes: pictures fill a core alone, rows of numbers cost next to nothing."""
        return 4 if self.pictures else 1024

    @property
    def room(self) -> int:
        """Rows that may wait: what is answered in a few seconds; and so the most rows of a request."""
        return 256 if self.pictures else 16_384

    @cached_property
    def scores(self) -> Scores:
        """What is explained."""
        return Scores(self.one)

    @cached_property
    def background(self) -> Background:
        """What an explained row is held against."""
        usual = None if self.held_back is None or self.pictures else read(self.held_back)
        return background(self.one.inputs, usual, "rows that fit held back", 0, None)

    def nothing(self, rows: int, reasons: dict[int, str]) -> Answered:
        """Return the answers of rows that have none, for reasons."""
        blank = {t.name: np.full((rows, t.outcomes), np.nan, np.float32) for t in self.schema.targets}
        if self.schema.far is not None:
            blank[FAR] = np.full((rows, 2), np.nan, np.float32)
        return Answered(blank, reasons, {})

    def answers(self, rows: Sequence[Row], alone: bool) -> Answered:
        """Return the answers of rows."""
        x, noticed = to_x(self.one.inputs, rows)
        unreadable, reasons = noticed.unreadable, noticed.reasons()
        if len(unreadable) == len(rows):
            return self.nothing(len(rows), reasons)
        found = (self.wide if alone else self.one).probabilities(readable(x, unreadable))
        whole = {name: spread(np.asarray(values), unreadable) for name, values in found.items()}
        for number in np.flatnonzero(blank_rows(whole)).tolist():
            if number not in unreadable:
                reasons[number] = "the model gives no probabilities for it"
        return Answered(whole, reasons, noticed.words())

    def example(self) -> dict[str, str | float | None]:
        """Return a row that the model could be asked about; a picture is None."""
        features = {feature.name: feature for feature in getattr(self.one.inputs, "features", ())}
        row: dict[str, str | float | None] = {}
        for column in self.schema.inputs:
            feature = features.get(column.name)
            match column.kind:
                case "image":
                    row[column.name] = None
                case "date":
                    row[column.name] = "2026-05-01"
                case "text":
                    row[column.name] = "a few words"
                case "number":
                    value = float(f"{feature.center:.4g}") if feature else 1.0
                    row[column.name] = value if column.notation is None else written(column.notation)
                case "category":
                    row[column.name] = feature.classes[0] if feature and feature.classes else ""
        return row

    def describe(self) -> dict[str, Any]:
        """Return what `GET /models` says of it; JSON."""
        features = {feature.name: feature for feature in getattr(self.one.inputs, "features", ())}
        example, inputs = self.example(), []
        for column in self.schema.inputs:
            said: dict[str, Any] = {"name": column.name, "kind": column.kind, "example": example[column.name]}
            if column.kind == "category" and column.name in features:
                said["classes"] = [*features[column.name].classes]
            inputs.append(said)
        targets = [{"name": t.name, "kind": t.kind, "classes": [*t.classes]} for t in self.schema.targets]
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "inputs": inputs,
            "targets": targets,
            "card": {**self.card},
        }
