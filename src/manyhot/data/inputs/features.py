"""Columns of numbers, categories and dates into one float array, by rules fitted on training rows.

`fitting.fit` fits TableInputs; training, `evaluate`, `predict` and the server call `transform`.

Shapes: N rows · D features. A number stands in x scaled, NaN where it is missing; a category as
its code, 0 for a missing, rare or never-seen one. The model's first layer takes it from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.data import dates
from manyhot.data.numbers import alike
from manyhot.data.table import Table
from manyhot.errors import UserError, listed
from manyhot.schema import Notation, Schema, checked
from manyhot.targets import Cells, text_of, value_of

LARGEST = 1e100  # what is larger counts as so large, since squares of it overflow
PIECES = 4  # of a number's range
BOUND = 3  # of scaled numbers, which no bent one reaches
MAX_CATEGORIES = 255  # the most frequent ones; the rest share the unknown bucket


@dataclass(frozen=True)
class Feature:
    """One number with its centre and scale, or one category with its known classes.

    Of a date, `part` says which of its parts the number is; see `dates.part`.

    `edges` part the scaled values of a number into pieces of equally many training rows. `notation` and
    `missing` are those of its column; see `schema.Input`.
    """

    name: str
    kind: str
    center: float = 0.0
    scale: float = 1.0
    classes: tuple[str, ...] = ()
    has_missing: bool = False
    edges: tuple[float, ...] = ()
    part: str = ""
    notation: Notation | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableInputs:
    """How the feature columns of a table become one array."""

    features: tuple[Feature, ...]
    missing: tuple[str, ...] = ()
    kind: str = "table"

    @property
    def shape(self) -> tuple[int]:
        """(D,) of the rows that `transform` gives."""
        return (len(self.features),)

    @property
    def columns(self) -> dict[str, list[int]]:
        """The places in x of each column; a date has several."""
        found: dict[str, list[int]] = {}
        for place, feature in enumerate(self.features):
            found.setdefault(feature.name, []).append(place)
        return found

    def transform(
        self, table: Table, progress: object = None, hashes: object = None
    ) -> tuple[NDArray[np.float32], dict[int, str]]:
        """Turn the feature columns into numbers; columns that are no feature are passed over.

        Shape:
            out: float32 (N, D).

        Raises:
            UserError: a feature's column is missing, or holds text where numbers were.
        """
        absent = [name for name in {f.name: None for f in self.features} if name not in table.columns]
        if absent:
            raise UserError(
                f"{table.source}: lacks {listed(absent)}, which the model was trained with; "
                f"there are {listed(table.names) or 'none'}. Give an empty column for what is unknown."
            )
        dated = {f.name: alike((*self.missing, *f.missing)) for f in self.features if f.part}
        days = {name: dates.days(table.cells(name, words)) for name, words in dated.items()}
        x = np.empty((len(table), len(self.features)), dtype=np.float32)
        for column, feature in enumerate(self.features):
            missing = (*self.missing, *feature.missing)
            if feature.kind == "number":
                if feature.part:
                    values = dates.part(days[feature.name], feature.part)
                else:
                    values = table.numbers(feature.name, missing, feature.notation)
                with np.errstate(over="ignore"):  # an infinity is clipped as any extreme value is
                    x[:, column] = _squash((values - feature.center) / feature.scale)
            else:
                x[:, column] = _codes(feature.classes, table.cells(feature.name, missing))
        return x, {}

    def to_json(self) -> dict[str, Any]:
        """Return a plain dict that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TableInputs:
        """Read what `to_json` gave. Raises UserError when it is something else."""
        features = data.get("features")
        if not isinstance(features, (list, tuple)) or not features:
            raise UserError("inputs: 'features' must be a list with one at least.")
        rest = checked(cls, {**data, "features": []}, "inputs")
        return cls(**{**rest, "features": tuple(map(_feature, features))})


def _feature(document: object) -> Feature:
    """Read one feature, of today or of the first format, which said which features count something."""
    if isinstance(document, dict):
        document = {key: value for key, value in document.items() if key != "counts"}
        if isinstance(document.get("notation"), dict):
            document["notation"] = Notation(**checked(Notation, document["notation"], "inputs notation"))
    found = Feature(**checked(Feature, document, "inputs features"))
    if found.kind not in ("number", "category") or found.part not in ("", *dates.PARTS):
        raise UserError(f"inputs: '{found.name}' is of no known kind.")
    return found


def table_inputs(schema: Schema, table: Table, rows: NDArray[np.intp]) -> TableInputs:
    """Fit the features on the training rows (positions) of a table."""
    train = table.take(rows)
    features: list[Feature] = []
    for column in schema.inputs:
        missing = (*schema.missing, *column.missing)
        number = Feature(column.name, "number", notation=column.notation, missing=column.missing)
        match column.kind:
            case "category":
                features.append(replace(_category(train, column.name, missing), missing=column.missing))
            case "date":
                days = dates.days(train.cells(column.name, missing))
                parts = [_number(replace(number, part=p), dates.part(days, p)) for p in dates.PARTS]
                features += [f for f in parts if f.part == "days" or len(f.edges) > 1]
            case _:
                values = train.numbers(column.name, missing, column.notation)
                features.append(_number(number, values))
    return TableInputs(tuple(features), schema.missing)


def _category(table: Table, name: str, missing: Sequence[str]) -> Feature:
    cells = table.cells(name, missing)
    counts = np.bincount(cells.codes[cells.codes >= 0], minlength=len(cells.values))
    frequent = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    classes = sorted(text_of(cells.values[code]) for code in frequent)
    return Feature(name, "category", classes=tuple(classes))


def _number(feature: Feature, values: NDArray[np.float64]) -> Feature:
    there = np.clip(values[np.isfinite(values)], -LARGEST, LARGEST)
    if len(there) == 0:
        return replace(feature, has_missing=True)
    quarter, middle, three = np.quantile(there, [0.25, 0.5, 0.75])
    # The interquartile range withstands outliers; where half of the values are equal it is nothing.
    scale = (three - quarter) / 1.349 or float(there.std()) or 1.0
    missing_here = bool(np.isnan(values).any())
    cuts = np.quantile(there, np.linspace(0, 1, PIECES + 1), method="nearest")
    edges = np.unique(_squash((cuts - middle) / scale).round(4))
    return replace(
        feature,
        center=float(middle),
        scale=float(scale),
        has_missing=missing_here,
        edges=tuple(map(float, edges)),
    )


def _squash(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep small values as they are and bend large ones towards ±BOUND.

    Source: Holzmüller, Grinsztajn and Steinwart 2024, "Better by Default", section 3 (smooth clipping).
    """
    z = np.clip(z, -1e6, 1e6)  # infinities in a table are extreme values, not errors
    return np.asarray(z / np.sqrt(1 + (z / BOUND) ** 2))


def _codes(classes: Sequence[str], cells: Cells) -> NDArray[np.float32]:
    """Return the code of each row's category: 1 and up for known ones, 0 for any other.

    A number or a boolean may be written otherwise than in training, 7 for 7.0 or true for True: how a typed
    one is written depends on the rows beside it.
    """
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    equal = {value_of(name): number for name, number in numbers.items()}
    codes = [numbers.get(text, equal.get(value_of(text), 0)) for text in map(text_of, cells.values)]
    return np.array([*codes, 0], dtype=np.float32)[cells.codes]
