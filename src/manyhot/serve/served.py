"""One model as the server has it: rows enter, probabilities leave, with the reason for each row without any.

`batcher` answers by it, `app`, `protocol` and `openapi` describe it.

Shapes: N rows · P probabilities of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data.numbers import example as written
from manyhot.predict import Answering, readable, spread
from manyhot.schema import Schema
from manyhot.serve.rows import Row, to_x

Found = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Served:
    """A model under the name that requests have for it.

    one          answers with one thread, beside others that do
    wide         the same model, which answers a lone request with all cores
    fingerprint  is another for a model that answers otherwise
    card         what it was trained on and how good it is; JSON
    """

    name: str
    one: Answering
    wide: Answering
    fingerprint: str
    card: Mapping[str, Any] = field(default_factory=dict)

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

    def probabilities(self, rows: Sequence[Row], alone: bool) -> tuple[Found, dict[int, str]]:
        """Return the probabilities of rows by target, float32 (N, P), NaN where a row has a reason."""
        x, reasons = to_x(self.one.inputs, rows)
        if len(reasons) == len(rows):
            nothing = {
                t.name: np.full((len(rows), t.outcomes), np.nan, np.float32) for t in self.schema.targets
            }
            return nothing, reasons
        found = (self.wide if alone else self.one).probabilities(readable(x, reasons))
        whole = {name: spread(np.asarray(values), reasons) for name, values in found.items()}
        spoilt = np.logical_or.reduce([np.isnan(values).any(axis=1) for values in whole.values()])
        for number in np.flatnonzero(spoilt):
            reasons.setdefault(int(number), "the model gives no probabilities for it")
        return whole, reasons

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
