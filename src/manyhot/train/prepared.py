"""What training needs, and what the bundle remembers of the rows.

`prepare` makes it; the stages of `run` read it.

Shapes: N rows of the table that is left: without test rows of its own, and without unreadable ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manyhot.choose import SeenRows
from manyhot.config import HERE, FitConfig
from manyhot.data.inputs.fitted import Inputs
from manyhot.data.inputs.images.stream import X
from manyhot.data.rows import split
from manyhot.data.rows.conflicts import Conflict
from manyhot.data.table import Table
from manyhot.schema import Schema
from manyhot.targets import Labels

MIN_HALVED = 1_000  # validation rows from which on some choose the epoch and others calibrate
MAX_CHOOSING = 5_000  # rows of a network with folds that choose the epoch


@dataclass(frozen=True)
class Rows:
    """The rows of a run, in the same order in all arrays.

    x       what the inputs give, or the pictures that they are still to be fitted on; None before that
    y       the labels, and how much each row counts
    hashes  uint64 (N,): tells rows apart when they come again
    part    int8 (N,): the split.PARTS number of each row
    fold    int8 (N,): the fold whose member does not learn from it, −1 for none; None without folds
    """

    table: Table
    x: X | None
    y: Labels
    hashes: NDArray[np.uint64]
    part: NDArray[np.int8]
    fold: NDArray[np.int8] | None = None

    def __len__(self) -> int:
        return len(self.hashes)

    def take(self, index: NDArray[np.intp]) -> Rows:
        """Return the rows at these positions; without a copy where these are all of them, in order."""
        if len(index) == len(self) and (np.diff(index) == 1).all():
            return self
        return Rows(
            self.table.take(index),
            None if self.x is None else self.x[index],
            {name: values[index] for name, values in self.y.items()},
            self.hashes[index],
            self.part[index],
            None if self.fold is None else self.fold[index],
        )


@dataclass(frozen=True)
class Prepared:
    """Rows with settings and fitted inputs, all that can be wrong refused.

    `unreadable` has what was left out: name → reason; `conflicts` the equal rows with different labels.
    """

    rows: Rows
    schema: Schema
    config: FitConfig
    inputs: Inputs
    unreadable: Mapping[str, str]
    notes: tuple[str, ...]
    conflicts: tuple[Conflict, ...] = ()

    @property
    def x(self) -> X:
        """What the inputs give for all rows: uint8 (N, H, W, C), or float32 (N, D)."""
        assert self.rows.x is not None, "prepare fills it"
        return self.rows.x

    def with_x(self, x: X, config: FitConfig) -> Prepared:
        """Return the same rows as something else sees them, such as features, with settings for that."""
        return replace(self, rows=replace(self.rows, x=x), config=config)

    def of_part(self, part: int) -> NDArray[np.intp]:
        """Return the positions of the rows of one part."""
        return np.flatnonzero(self.rows.part == part)

    def labels(self, rows: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
        """Return the labels of some rows."""
        return {name: values[rows] for name, values in self.rows.y.items()}

    def fold_of(self, rows: NDArray[np.intp]) -> NDArray[np.int8] | None:
        """Return the fold of some rows."""
        return None if self.rows.fold is None else self.rows.fold[rows]

    def held_out(self) -> NDArray[np.intp]:
        """Return the positions of the rows that judge: with folds all training rows that are of one."""
        if self.rows.fold is None:
            return self.of_part(split.VAL)
        return np.flatnonzero((self.rows.part == split.TRAIN) & (self.rows.fold >= 0))

    def choosing_and_calibrating(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the held-out rows that choose the best epoch and the ensemble, and those that calibrate.

        Below 1,000, and in small tables with folds, there are too few for two parts, and all serve for both.
        """
        held = self.held_out()
        if len(held) < MIN_HALVED or (len(held) < MAX_CHOOSING and self.rows.fold is not None):
            return held, held
        if self.rows.fold is not None:  # all that train are held out once
            chosen = np.arange(len(held)) % (len(held) // MAX_CHOOSING + 1) == 0
            return held[chosen], held[~chosen]
        half = split.split(self.schema.targets, self.labels(held), [0.5, 0.5], self.config.seed)
        return held[half == 0], held[half == 1]

    def seen(self) -> SeenRows:
        """Return the rows that the fit uses, by which it knows them again."""
        rows = self.rows
        fold = np.full(len(rows), -1, np.int8) if rows.fold is None else rows.fold
        return SeenRows(rows.hashes, np.array(split.PARTS, object)[rows.part], rows.table.rows, fold)

    def fingerprint(self) -> str:
        """Return a text that two runs share only where their data and settings are the same."""
        digest = hashlib.sha256()
        rows, y = self.rows, self.rows.y.values()
        for values in (rows.hashes, rows.part, *([] if rows.fold is None else [rows.fold]), *y):
            digest.update(np.ascontiguousarray(values).data)
        config = {name: value for name, value in self.config.to_json().items() if name not in HERE}
        settings = [self.schema.to_json(), config, self.inputs.to_json()]
        digest.update(json.dumps(settings, sort_keys=True).encode())
        return digest.hexdigest()
